"""Grants: read one, redeem it once, say how its effect ended."""

from quarterdeck_api.grants.router import router

__all__ = ("router",)
