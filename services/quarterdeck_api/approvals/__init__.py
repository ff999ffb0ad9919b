"""People's door to approvals: what waits, what was asked, what one may decide."""

from quarterdeck_api.approvals.router import router

__all__ = ("router",)
