"""The estate's own doors: whole files are planned, applied and exported here."""

from quarterdeck_api.estate.router import router

__all__ = ["router"]
