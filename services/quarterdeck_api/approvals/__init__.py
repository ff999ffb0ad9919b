"""People's door to approvals: what waits, what was asked, what one may decide; and what callbacks are verified with."""

from fastapi import APIRouter

from quarterdeck_api.approvals import callback_keys
from quarterdeck_api.approvals.router import router as approvals

router = APIRouter()
router.include_router(approvals)
router.include_router(callback_keys.router)

__all__ = ("router",)
