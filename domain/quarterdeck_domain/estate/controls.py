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
_ALWAYS: Final[tuple[Control, ...]] = ("governed", "funded", "monitored")
_CONSEQUENTIAL: Final = frozenset({"write", "trigger", "route"})
_ONCE: Final = frozenset({"check_then_act", "at_most_once"})
_WRITTEN: Final = frozenset({"dataset", "feature_store", "model", "model_version", "deployment", "route"})


class Way(NamedTuple):
    """How an object can do something of consequence: through what, to what."""

    through: tuple[str, ...]
    to: str


class Controls:
    """Which controls each object in use should have, and has; worked out once for each."""

    def __init__(self, landscape: Landscape) -> None:
        self.landscape = landscape
        self.scope = Scope(landscape)
        self._expected: dict[str, Mapping[Control, bool]] = {}
        self._consequential: dict[str, bool] = {}

    def consequential(self, tool: str) -> bool:
        """Tell whether using a tool has consequences, as far as anybody has said."""
        if tool not in self._consequential:
            facts = self.landscape.objects[tool].facts
            privileges = facts.get("attributes.privileges") or ()
            self._consequential[tool] = (
                not _CONSEQUENTIAL.isdisjoint(privileges) or facts.get("attributes.side_effect") in _ONCE
            )
        return self._consequential[tool]

    def consequences(self, actor: str) -> list[Way]:
        """Return the ways on which an object can do something of consequence by itself."""
        ways = [Way((*passed, tool), tool) for passed, tool in self.scope.usable(actor) if self.consequential(tool)]
        ways += [Way((end,), end) for end in self.landscape.after(actor, "writes") if end.partition(":")[0] in _WRITTEN]
        return ways

    def ungated(self, actor: str) -> list[Way]:
        """Return the ways on which an object can do something of consequence with no gate before it."""
        return self._open(actor, self.consequences(actor))

    def _open(self, actor: str, ways: list[Way]) -> list[Way]:
        if self.landscape.has(actor, "gated_by"):
            return []
        return [way for way in ways if not any(self.landscape.has(passed, "gated_by") for passed in way.through)]

    def expected(self, name: str) -> Mapping[Control, bool]:
        """Return the controls that an object should have, and for each whether it has it."""
        if name not in self._expected:
            self._expected[name] = self._find(name)
        return self._expected[name]

    def _find(self, name: str) -> Mapping[Control, bool]:
        land = self.landscape
        kind = land.objects[name].kind
        found: dict[Control, bool] = {}
        if kind != "team":
            found["owned"] = name in land.owned
        if KINDS[kind].acts:
            found |= {control: land.has(name, RELATION[control]) for control in _ALWAYS}
            if ways := self.consequences(name):
                found["gated"] = not self._open(name, ways)
        return found
