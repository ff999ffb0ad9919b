"""The log over HTTP: what auditors take away and check without trusting us."""

from quarterdeck_api.log.router import router

__all__ = ["router"]
