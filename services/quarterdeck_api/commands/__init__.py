"""Commands over REST, derived from the catalogue: a route each, one way to run them all."""

from quarterdeck_api.commands.router import router

__all__ = ["router"]
