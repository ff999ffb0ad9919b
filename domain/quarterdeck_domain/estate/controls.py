"""Which controls an object should have, and whether it has them.

What acts should be governed, funded and monitored. It should be gated if it can do something of consequence: the gate
may stand at itself, at all that it is part of, or on each way to what has consequences (grant, server, tool or data).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from quarterdeck_domain.estate.findings_grants import Scope
from quarterdeck_domain.estate.kinds import KINDS
from quarterdeck_domain.estate.landscape import Landscape

Control = Literal["owned", "governed", "gated", "funded", "monitored"]
CONTROLS: Final[tuple[Control, ...]] = ("owned", "governed", "gated", "funded", "monitored")
RELATION: Final[Mapping[Control, str]] = {
    "governed": "governed_by",
    "gated": "gated_by",
    "funded": "funded_by",
    "monitored": "monitored_by",
}
_CONSEQUENTIAL: Final = frozenset({"write", "trigger", "route"})
_ONCE: Final = frozenset({"check_then_act", "at_most_once"})
_WRITTEN: Final = frozenset({"dataset", "feature_store", "model", "model_version", "deployment", "route"})


class Way(NamedTuple):
    """How an object can do something of consequence: through what, to what."""

    through: tuple[str, ...]
    to: str


def consequential(landscape: Landscape, tool: str) -> bool:
    """Tell whether using a tool has consequences, as far as anybody has said."""
    facts = landscape.objects[tool].facts
    privileges = facts.get("attributes.privileges") or ()
    return not _CONSEQUENTIAL.isdisjoint(privileges) or facts.get("attributes.side_effect") in _ONCE


def consequences(landscape: Landscape, scope: Scope, actor: str) -> list[Way]:
    """Return the ways on which an object can do something of consequence by itself."""
    ways = [Way((*passed, tool), tool) for passed, tool in scope.usable(actor) if consequential(landscape, tool)]
    ways += [Way((end,), end) for end in landscape.after(actor, "writes") if end.partition(":")[0] in _WRITTEN]
    return ways


def ungated(landscape: Landscape, scope: Scope, actor: str) -> list[Way]:
    """Return the ways on which an object can do something of consequence with no gate before it."""
    if landscape.has(actor, "gated_by"):
        return []
    return [
        way
        for way in consequences(landscape, scope, actor)
        if not any(landscape.has(passed, "gated_by") for passed in way.through)
    ]


def expected(landscape: Landscape, scope: Scope, name: str) -> Mapping[Control, bool]:
    """Return the controls that an object should have, and for each whether it has it."""
    kind = landscape.objects[name].kind
    found: dict[Control, bool] = {}
    if kind != "team":
        found["owned"] = name in landscape.owned
    if KINDS[kind].acts:
        found |= {control: landscape.has(name, RELATION[control]) for control in ("governed", "funded", "monitored")}
        if consequences(landscape, scope, name):
            found["gated"] = not ungated(landscape, scope, name)
    return found
