"""The AuthZEN doors: decisions and metadata. See `docs/agents.md`."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from quarterdeck_api.authzen import discovery, evaluation

router: Final = APIRouter()
router.include_router(evaluation.router)
router.include_router(discovery.router)

__all__ = ("router",)
