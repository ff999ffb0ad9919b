"""Everybody who listens to one process: the places that they take, and the turns in which they are served."""

from __future__ import annotations

from typing import Final

from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_graphql.context import Context
from quarterdeck_graphql.turns import Turns

MAX_CONNECTIONS: Final = 10
MAX_CONNECTIONS_OF_TENANT: Final = 100
MAX_STREAMS: Final = 50
MAX_STREAMS_OF_TENANT: Final = 200


class TooManyConnections(QuarterdeckError):
    """The caller, or its tenant, has as many connections as it may. Close some, or try again later."""

    code = "too_many_connections"


class TooManySubscriptions(QuarterdeckError):
    """The connection, the caller or its tenant has as many subscriptions as it may. End some, or try again later."""

    code = "too_many_subscriptions"


class Places:
    """What callers and their tenants hold of one kind of thing, counted."""

    def __init__(self, refusal: type[QuarterdeckError], what: str, of_caller: int, of_tenant: int) -> None:
        self._refusal = refusal
        self._what = what
        self._limits = {"principal": of_caller, "tenant": of_tenant}
        self._held: dict[tuple[str, ...], int] = {}

    def take(self, context: Context) -> None:
        """Take a place for a caller, until `leave`.

        Raises:
            QuarterdeckError: the refusal; the caller or its tenant holds as many as it may.
        """
        whose = _whose(context)
        for key, (kind, limit) in zip(whose, self._limits.items(), strict=True):
            if self._held.get(key, 0) >= limit:
                message = f"a {kind} has at most {limit} {self._what} in one process; end some, or try again later"
                raise self._refusal(message, limit=limit)
        for key in whose:
            self._held[key] = self._held.get(key, 0) + 1

    def leave(self, context: Context) -> None:
        """Give a place back."""
        for key in _whose(context):
            self._held[key] -= 1
            if not self._held[key]:
                del self._held[key]


def _whose(context: Context) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return (context.tenant, context.actor.principal), (context.tenant,)


class Listeners:
    """The listeners of one process."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.connections = Places(TooManyConnections, "connections", MAX_CONNECTIONS, MAX_CONNECTIONS_OF_TENANT)
        self.streams = Places(TooManySubscriptions, "subscriptions", MAX_STREAMS, MAX_STREAMS_OF_TENANT)
