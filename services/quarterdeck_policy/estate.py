"""What the estate says of the objects that a request names, and what that means for a decision. Pure.

A request names an object by the type and id of its subject or resource (`tool`, `crm/refund`), by the principal that an
agent acts as, by its action (`refund` is the tool of that name), and by `tool` and `mcp_server` in its context or among
its resource's properties; where the resource is a server, what is called is that server's. A name that was merged away
is the survivor's, and so is a merged server's name in the names of its tools; what importers had to rename is found by
what it is really called. A tool, prompt or dataset stands and falls with the servers that expose it and, whatever is
known of it and of them, with the server that the request itself names: what a server in quarantine lists, or what
anybody says of its tools, opens nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from quarterdeck_domain.policy.events import Barred
from quarterdeck_domain.policy.values import Verdict

ATTRIBUTES: Final = (
    "lifecycle",
    "classification",
    "risk",
    "policy_class",
    "team",
    "tier",
    "environments",
    "digest",
    "as_pinned",
)
"""What policy sees of a registered principal or resource, as attributes of the entity; see `docs/policy.md`."""

MAX_SEEN: Final = 16
"""How many registered objects one decision may see, since it records them."""
MAX_BARRED: Final = 8
TANGLED: Final = "what this names hangs on too many objects of the estate to be judged"
SERVED: Final = frozenset({"tool", "prompt", "dataset"})
"""The kinds of what servers offer: named within their server, and standing and falling with it."""


class Served(NamedTuple):
    """Something of a server, as a request calls both: which objects that may be depends on what the server is called
    besides, and on what it exposes."""

    kind: str
    server: str
    name: str


Name = str | Served
"""`asset:kind:name`, `acts-as:<principal>`, or something of a server."""


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one name. Nothing, if it is not registered."""

    assets: tuple[str, ...] = ()
    """What it is called now, and the servers that expose it."""
    attributes: Mapping[str, Any] = {}
    barred: tuple[Barred, ...] = ()
    tags: frozenset[str] = frozenset()
    """An event with none of these changes nothing of it."""
    since: datetime | None = None
    until: datetime | None = None
    """It holds from `since` until `until`, if nothing is recorded; None: however early, for ever."""
    problem: str = ""

    def at(self, moment: datetime) -> bool:
        """Tell whether it holds at a moment."""
        return (self.since is None or self.since <= moment) and (self.until is None or moment < self.until)


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """The names in a request: those of the entities that policy is shown, by (type, id), and the others."""

    entities: Mapping[tuple[str, str], tuple[Name, ...]]
    others: tuple[Name, ...] = ()
    problem: str = ""
    """Why they are not told apart, so that nothing can be judged by them; then there are none."""

    def every(self) -> tuple[Name, ...]:
        """Return each name once, the entities' first."""
        return tuple(dict.fromkeys((*(name for names in self.entities.values() for name in names), *self.others)))


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """What one decision sees of the estate."""

    estate: tuple[str, ...] = ()
    barred: tuple[Barred, ...] = ()
    attributes: Mapping[tuple[str, str], Mapping[str, Any]] = {}
    """By type and id of the entity, as the request names it."""
    until: datetime | None = None
    """When a dated fact changes that; None: no date does."""
    problem: str = ""


NOTHING_SEEN: Final = Sight()


def see(names: Names, known: Mapping[Name, Known]) -> Sight:
    """Return what a decision sees, from what is known of each name in its request."""
    if names.problem:
        return Sight(problem=names.problem)
    found = [known[name] for name in names.every()]
    ends = [item.until for item in found if item.until is not None]
    attributes = {}
    for entity, mine in names.entities.items():
        said = next((known[name].attributes for name in mine if known[name].attributes), None)
        if said is not None:
            attributes[entity] = said
    estate = tuple(dict.fromkeys(asset for item in found for asset in item.assets))
    if len(estate) > MAX_SEEN:
        return Sight(until=min(ends, default=None), problem=TANGLED)
    return Sight(
        estate=estate,
        barred=tuple(dict.fromkeys(bar for item in found for bar in item.barred)),
        attributes=attributes,
        until=min(ends, default=None),
        problem=next((item.problem for item in found if item.problem), ""),
    )


def refusal(barred: Sequence[Barred]) -> Verdict:
    """Return the verdict on what names objects that may not be used: deny, with what it is and the way out."""
    ordered = sorted(barred, key=lambda bar: bar.lifecycle != "quarantined")
    first = ordered[0]
    through = "" if first.named == first.asset else f", on which {first.named} stands,"
    if first.lifecycle == "quarantined":
        reason = f"{first.asset}{through} is in quarantine until somebody has looked at it and releases it"
    else:
        reason = f"{first.asset}{through} is retired: name what took its place"
    return Verdict(outcome="deny", reason=reason, barred=tuple(ordered[:MAX_BARRED]))
