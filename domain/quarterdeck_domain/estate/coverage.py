"""How much is known of an estate, and how much of it is under control: per team and per kind. Pure.

Completeness counts what should be known of a live object (S0-59): the six things that every object carries (owner,
purpose, environment, what data it can reach, what tools it can call, what gates stand before them), how sensitive its
data is, and what its kind alone should say. Coverage counts controls (S0-04).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

import msgspec

from quarterdeck_domain.estate.controls import CONTROLS, Control, Controls
from quarterdeck_domain.estate.kinds import KINDS
from quarterdeck_domain.estate.landscape import Landscape
from quarterdeck_domain.estate.lasting import end_of
from quarterdeck_domain.estate.relations import REACH

Facet = Literal["owner", "purpose", "environments", "data", "tools", "gates", "classification", "attributes"]
FACETS: Final[tuple[Facet, ...]] = (
    "owner",
    "purpose",
    "environments",
    "data",
    "tools",
    "gates",
    "classification",
    "attributes",
)
ASKED: Final[frozenset[Facet]] = frozenset({"purpose", "environments", "classification", "attributes"})
"""Facets whose absence is a finding. An owner and gates have findings of their own; of data and tools there may be
none, and nobody can tell that from nobody having said it."""
NO_TEAM: Final = ""
"""The group of what belongs to no team."""
OUTLIER: Final = 20
"""So many of a hundred below the whole estate's share a group is an outlier."""
_NOWHERE: Final = frozenset({"team", "provider", "model", "prompt"})
"""Kinds that run nowhere: their versions and deployments do."""


class Covered(msgspec.Struct, kw_only=True):
    """How many objects should have a control, how many have it, and whether that is far below the rest."""

    required: int = 0
    covered: int = 0
    outlier: bool = False


class Group(msgspec.Struct, kw_only=True):
    """A team's or a kind's objects in use, counted."""

    name: str
    objects: int = 0
    asked: int = 0
    """How many facets are asked for, of all its objects."""
    missing: dict[Facet, int]
    controls: dict[Control, Covered]

    @property
    def completeness(self) -> float:
        """The share of what is asked for that is known; 1 where nothing is asked for."""
        return 1.0 - sum(self.missing.values()) / self.asked if self.asked else 1.0


class Completeness:
    """What should be known of each object, and what is."""

    def __init__(self, landscape: Landscape) -> None:
        self.landscape = landscape
        self.controls = Controls(landscape)
        self.scope = self.controls.scope
        data = (name for name in landscape.in_use if KINDS[name.partition(":")[0]].holds_data)
        tools = (name for name in landscape.in_use if name.startswith("tool:"))
        self._facets: dict[str, Mapping[Facet, bool]] = {}
        self._reaches_data = landscape.reaching(data, REACH)
        self._reaches_tools = landscape.reaching(tools, REACH)

    def facets(self, name: str) -> Mapping[Facet, bool]:
        """Return which facets an object should have, and of each whether somebody has said it."""
        if name not in self._facets:
            self._facets[name] = self._find(name)
        return self._facets[name]

    def _find(self, name: str) -> Mapping[Facet, bool]:
        controls = self.controls.expected(name)
        land, found = self.landscape, self.landscape.objects[name]
        kind = KINDS[found.kind]
        asked: dict[Facet, bool] = {}
        if found.kind != "team":
            asked["owner"] = name in land.with_owner
            asked["purpose"] = bool(land.facet(name, "purpose"))
        if not kind.control and found.kind not in _NOWHERE:
            asked["environments"] = bool(land.facet(name, "environments"))
        if kind.acts:
            asked["data"] = name in self._reaches_data
            if found.kind == "agent" and found.facts.get("attributes.autonomy") != "suggests":
                asked["tools"] = name in self._reaches_tools
            if "gated" in controls:
                asked["gates"] = controls["gated"]
        if kind.holds_data:
            asked["classification"] = bool(found.facts.get("classification"))
        if kind.expected:
            asked["attributes"] = not self.attributes(name)
        return asked

    def attributes(self, name: str) -> list[str]:
        """Return the attributes that an object of its kind should have and has not."""
        facts, kind = self.landscape.objects[name].facts, self.landscape.objects[name].kind
        missing = [each for each in KINDS[kind].expected if facts.get(f"attributes.{each}") in (None, [], (), "")]
        end = facts.get("attributes.expires_at")
        if end and end_of(end) is None and "expires_at" not in missing:
            missing.append("expires_at")  # it says something, and that is no time
        return missing


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """How much is known and under control: of the whole estate, by team, and by kind."""

    whole: Group
    teams: Mapping[str, Group]
    kinds: Mapping[str, Group]


def coverage(complete: Completeness) -> Coverage:
    """Return how much is known and under control."""
    landscape = complete.landscape
    teams: dict[str, Group] = {}
    kinds: dict[str, Group] = {}
    whole = _group("")
    for name in sorted(landscape.in_use):
        controls, facets = complete.controls.expected(name), complete.facets(name)
        team, kind = landscape.teams.get(name, NO_TEAM), landscape.objects[name].kind
        for group in (teams.setdefault(team, _group(team)), kinds.setdefault(kind, _group(kind)), whole):
            _count(group, facets, controls)
    for group in (*teams.values(), *kinds.values()):
        for control, share in group.controls.items():
            share.outlier = _far_below(share, whole.controls[control])
    return Coverage(whole=whole, teams=teams, kinds=kinds)


def ordered(groups: Iterable[Group]) -> list[Group]:
    """Return groups, the largest first, then by name."""
    return sorted(groups, key=lambda group: (-group.objects, group.name))


def _group(name: str) -> Group:
    return Group(name=name, missing={}, controls={control: Covered() for control in CONTROLS})


def _count(group: Group, facets: Mapping[Facet, bool], controls: Mapping[Control, bool]) -> None:
    group.objects += 1
    group.asked += len(facets)
    for facet, there in facets.items():
        if not there:
            group.missing[facet] = group.missing.get(facet, 0) + 1
    for control, there in controls.items():
        group.controls[control].required += 1
        group.controls[control].covered += there


def _far_below(share: Covered, whole: Covered) -> bool:
    if not share.required:
        return False
    lacking = whole.covered * share.required - share.covered * whole.required
    return 100 * lacking > OUTLIER * share.required * whole.required
