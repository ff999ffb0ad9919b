"""The access-request doors: ask a human, wait, take it back. See `docs/decisions/0006-arap.md`."""

from quarterdeck_api.arap.router import router

__all__ = ("router",)
