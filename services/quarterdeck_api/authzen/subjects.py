"""Who may ask a decision about whom.

An enforcement point is trusted to say who wants what: that is what one is. An agent is not one. So:

- a service acting for nobody else, an operator and an administrator may ask about any subject;
- everybody else asks about itself, or about whom its credential says it acts for: the subject's `id` is one of those
  principals, and so is every actor named in `subject.properties.act`;
- an auditor only reads: asking records a decision.

Source: AuthZEN Authorization API 1.0, 'Trust'; ARAP draft, 'Delegation and On-Behalf-Of'.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from quarterdeck_api.auth.caller import Caller
from quarterdeck_domain.errors import InvalidInput, NotAllowed
from quarterdeck_domain.intent import Intent

MAX_ACTORS: Final = 8
TRUSTED_ROLES: Final = frozenset({"administrator", "operator"})


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """One link of a claimed delegation chain. (`issuer`, `id`) names it; an absent issuer means ours."""

    id: str
    issuer: str | None = None


def is_enforcement_point(caller: Caller) -> bool:
    """Tell whether a caller may ask about subjects other than itself and whom it acts for."""
    plain_service = caller.actor.kind == "service" and not caller.actor.on_behalf_of and caller.roles != {"auditor"}
    return plain_service or not TRUSTED_ROLES.isdisjoint(caller.roles)


def require_may_ask(caller: Caller, intent: Intent, issuer: str) -> None:
    """Refuse a decision that this caller may not ask for.

    Raises:
        NotAllowed: it only reads, or the subject is somebody else.
        InvalidInput: `subject.properties.act` is malformed.
    """
    if caller.roles == {"auditor"}:
        raise NotAllowed("an auditor reads everything and commands nothing; asking records a decision")
    actors = tuple(subject_actors(intent))
    if is_enforcement_point(caller):
        return
    if intent.subject.id not in caller.actor.everyone():
        raise NotAllowed(
            "ask about yourself, or about whom your credential acts for; a service that enforces may ask about others",
            subject=intent.subject.ref,
            yourself=caller.actor.principal,
        )
    for actor in actors:
        if actor.id not in caller.actor.everyone() or actor.issuer not in (None, issuer):
            raise NotAllowed("subject.properties.act names somebody your credential does not speak for", actor=actor.id)


def subject_actors(intent: Intent) -> Iterator[Actor]:
    """Yield the actors that the subject names in `properties.act`, from the immediate one outward.

    Raises:
        InvalidInput: the chain is malformed or too long.
    """
    yield from act_chain((intent.subject.properties or {}).get("act"), "subject.properties.act")


def act_chain(value: object, field: str) -> Iterator[Actor]:
    """Yield the actors of an `act` claim and the ones nested in it.

    Raises:
        InvalidInput: the chain is malformed or too long.
    """
    for depth in range(MAX_ACTORS + 1):
        if value is None:
            return
        if depth == MAX_ACTORS:
            raise InvalidInput(f"{field} nests more than {MAX_ACTORS} actors", field=field, limit=MAX_ACTORS)
        if not isinstance(value, dict) or not isinstance(value.get("sub"), str):
            raise InvalidInput(f"{field} must be an object with a string sub", field=field)
        yield Actor(id=value["sub"], issuer=optional_text(value, "iss", field))
        value, field = value.get("act"), f"{field}.act"


def optional_text(value: dict[str, Any], name: str, where: str) -> str | None:
    """Return a member that is a string or absent.

    Raises:
        InvalidInput: it is something else.
    """
    found = value.get(name)
    if found is not None and not isinstance(found, str):
        raise InvalidInput(f"{where}.{name} must be a string", field=f"{where}.{name}")
    return found
