"""The caller of a request: a tenant, an actor and its roles, from whatever credential it presented."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from quarterdeck_api.services import services
from quarterdeck_domain.access.values import Held
from quarterdeck_domain.errors import NotAllowed
from quarterdeck_domain.events import Actor

if TYPE_CHECKING:
    from quarterdeck_api.auth.authenticator import Recognised


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling. `roles` are already narrowed to what everyone in the delegation chain holds."""

    tenant: str
    actor: Actor
    roles: frozenset[str]
    credential: Recognised | None = field(default=None, repr=False, compare=False)
    """What it was recognised by; long-lived streams ask `authenticator.still_valid(caller)` with it."""
    held: Held = field(default=Held(), repr=False, compare=False)
    """The same, as far as it decides how long anything lasts that is made with it."""


async def caller(connection: HTTPConnection) -> Caller:
    """Return the caller of a request or WebSocket handshake.

    Raises:
        Unauthenticated: no credential, or one that opens nothing (401).
        TooManyRequests: too many refused credentials from this address, or requests by this principal (429).
    """
    found = await services(connection).authenticator.of_connection(connection)
    connection.app.state.outages.answered()  # whoever is recognised was looked up
    return found


CallerDep = Annotated[Caller, Depends(caller)]


def require(who: Caller, *roles: str) -> None:
    """Refuse a caller that holds none of these roles.

    Raises:
        NotAllowed: it holds none of them (403).
    """
    if who.roles.isdisjoint(roles):
        raise NotAllowed(f"only {' or '.join(roles)} may do this", needs=roles)
