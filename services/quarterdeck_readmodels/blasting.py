"""Blast radius as of one moment: what is concerned, fetched a step at a time, and who answers for it.

What is retired or in quarantine carries nothing on; the object itself may be in any state. What was merged into another
is that one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Final

import msgspec
from msgspec.structs import replace

from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.estate.blast import AFFECTS, DEPENDS, OFFERED, PARTS, TOUCHES, USES_TOOLS
from quarterdeck_domain.estate.kinds import KINDS
from quarterdeck_readmodels.bitemporal import holds
from quarterdeck_readmodels.estate import Asset, Relation
from quarterdeck_readmodels.naming import Names
from quarterdeck_readmodels.reaching import MAX_OBJECTS, MAX_RELATIONS, alleging, check_hops, is_live, present
from quarterdeck_readmodels.reader import Record

_CHUNK: Final = 1_000
_TOOL_STEPS: Final = 3


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """An object that is concerned: in how many steps, and by which relation that is known."""

    asset: Asset
    steps: int
    relation: Relation
    alleged: bool = False
    """Whether it is concerned as far as others claim alone."""


class Touched(msgspec.Struct, frozen=True, kw_only=True):
    """Data that something concerned reads or writes, and in how many steps that is."""

    asset: Asset
    steps: int
    relation: Relation
    alleged: bool = False


class Responder(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody to call: an owner, a team, or both; how near the nearest object is for which they answer, and how many
    there are. Neither: nobody answers for these."""

    owner: str | None
    team: str | None
    team_asset: Asset | None
    steps: int
    nearest: str
    objects: int


class Blast(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is concerned, nearest first."""

    of: Asset
    hits: tuple[Hit, ...]
    touched: tuple[Touched, ...]
    responders: tuple[Responder, ...]


async def blast(record: Record, start: str, moment: datetime, *, hops: int | None = None) -> Blast:
    """Return what is concerned if something is wrong with an object: in so many steps at most, or in any number.

    Raises:
        NotFound: there is no such object at that moment.
        InvalidInput: too many steps, or more objects or relations than can be answered at once.
    """
    check_hops(hops)
    names = Names(partial(record.many, Asset))
    _, first = await present(names, start)
    spread = await _Spread(record, names, first, moment).all(hops)
    hits, touched = spread.hits, await _touched(spread)
    responders = await _responders(spread)
    if spread.doubted:
        # What is known tells how it is known; the rest is alleged.
        known = await _Spread(record, names, first, moment, known=True).all(hops)
        hits = {name: replace(hit, alleged=True) for name, hit in hits.items()} | known.hits
        touched = {key: replace(item, alleged=True) for key, item in touched.items()} | await _touched(known)
    return Blast(
        of=first,
        hits=tuple(sorted(hits.values(), key=lambda hit: (hit.steps, hit.asset.id))),
        touched=tuple(sorted(touched.values(), key=lambda item: (item.steps, item.asset.id, item.relation.id))),
        responders=responders,
    )


class _Spread:
    """What is concerned so far. `wrong` are the object itself and what is wrong with it: its parts, versions, offers.
    Of something that is only concerned, the parts are not. With `known`, what is only alleged takes no part."""

    def __init__(
        self, record: Record, names: Names[Asset], start: Asset, moment: datetime, *, known: bool = False
    ) -> None:
        self.record, self.names, self.moment, self.start = record, names, moment, start
        self.hits: dict[str, Hit] = {}
        self.wrong = {start.id}
        self.frontier = [start.id]
        self.relations = 0
        self.known = known
        self.doubted = False
        """Whether something that is only alleged took part."""

    async def all(self, hops: int | None) -> _Spread:
        """Go on in so many steps at most, or to the end."""
        step = 0
        while self.frontier and (hops is None or step < hops):
            step += 1
            await self.step(step)
        return self

    async def step(self, number: int) -> None:
        """Go one step on."""
        into = await self.held("target", self.frontier)
        out = await self.held("source", self.frontier)
        there: dict[str, tuple[Relation, bool]] = {}
        for item in into:
            wrong = item.target in self.wrong
            if item.relation in PARTS:
                if wrong:
                    there.setdefault(item.source, (item, True))
            elif item.relation in DEPENDS or wrong:
                there.setdefault(item.source, (item, False))
        for item in out:
            if item.relation in OFFERED and item.source in self.wrong:
                there.setdefault(item.target, (item, True))
            elif item.relation in AFFECTS or item.relation in PARTS:
                there.setdefault(item.target, (item, False))
        fresh = await self.live(there.keys() - self.hits.keys() - {self.start.id})
        for name, asset in fresh.items():
            relation, wrong = there[name]
            self.hits[name] = Hit(asset=asset, steps=number, relation=relation)
            if wrong:
                self.wrong.add(name)
        if len(self.hits) > MAX_OBJECTS:
            raise InvalidInput(f"more than {MAX_OBJECTS} objects are concerned: ask for fewer steps", limit=MAX_OBJECTS)
        self.frontier = sorted(fresh)

    async def held(self, column: str, names: Iterable[str]) -> list[Relation]:
        """Return the relations that hold at the moment and begin, or end, at some objects, between what their ends
        stand for."""
        await self.names.see(names := set(names))
        wanted = await self.names.called(names)
        found: list[Relation] = []
        for start in range(0, len(wanted), _CHUNK):
            chunk = wanted[start : start + _CHUNK]
            found += await self.record.matching(Relation, column, chunk, most=MAX_RELATIONS)
        self.relations += len(found)
        if self.relations > 4 * MAX_RELATIONS:
            raise InvalidInput("too many relations are concerned: ask for fewer steps", limit=4 * MAX_RELATIONS)
        taken = [item for item in found if holds(item, self.moment)]
        await self.names.see(end for item in taken for end in (item.source, item.target))
        moved = [row for item in taken if (row := self.names.moved(item)).source != row.target]
        alleged = {row.id for row in moved if alleging(row, self.names.known[row.source], self.moment)}
        self.doubted = self.doubted or bool(alleged)
        return [row for row in moved if not self.known or row.id not in alleged]

    async def live(self, names: Iterable[str]) -> dict[str, Asset]:
        """Return those of some objects that are in use."""
        await self.names.see(names := set(names))
        known = ((name, self.names.known[name]) for name in sorted(names))
        return {name: asset for name, asset in known if asset is not None and is_live(asset)}

    def steps(self, name: str) -> int:
        """Return in how many steps an object is concerned."""
        return 0 if name == self.start.id else self.hits[name].steps


async def _touched(spread: _Spread) -> dict[tuple[str, bool], Touched]:
    """Return the data that what is concerned reads or writes, straight or by tools that what is wrong can call; by name
    and whether it is written."""
    at = {name: spread.steps(name) for name in (spread.start.id, *spread.hits)}
    frontier = set(spread.wrong)
    for _ in range(_TOOL_STEPS):
        calls = [item for item in await spread.held("source", frontier) if item.relation in USES_TOOLS]
        tools = await spread.live({item.target for item in calls} - at.keys())
        for item in calls:
            if item.target in tools and tools[item.target].kind in ("tool", "mcp_server", "tool_grant"):
                at.setdefault(item.target, at[item.source] + 1)
        frontier = {name for name in tools if name in at}
        if not frontier:
            break
    found = [item for item in await spread.held("source", at) if item.relation in TOUCHES and _is_data(item.target)]
    data = await spread.live({item.target for item in found})
    best: dict[tuple[str, bool], Touched] = {}
    for item in sorted(found, key=lambda item: (at[item.source], item.id)):
        if item.target in data:
            key = (item.target, item.relation == "writes")
            best.setdefault(key, Touched(asset=data[item.target], steps=at[item.source] + 1, relation=item))
    return best


def _is_data(name: str) -> bool:
    return KINDS[name.partition(":")[0]].holds_data


async def _responders(spread: _Spread) -> tuple[Responder, ...]:
    """Return who answers for what is concerned, nearest first: for a version or an offered tool also who answers for
    what it belongs to."""
    assets = {spread.start.id: spread.start} | {name: hit.asset for name, hit in spread.hits.items()}
    owned = await _owned(spread, assets)
    orphans = [name for name, asset in assets.items() if not asset.owner and not owned.get(name)]
    above: dict[str, str] = {}
    for item in await spread.held("source", orphans):
        if item.relation in PARTS:
            above.setdefault(item.source, item.target)
    for item in await spread.held("target", orphans):
        if item.relation in OFFERED:
            above.setdefault(item.target, item.source)
    wholes = await spread.live(set(above.values()))
    owned_above = await _owned(spread, wholes)
    teams = await spread.live({f"team:{team}" for team in (*owned.values(), *owned_above.values())})
    counted: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for name, asset in assets.items():
        if asset.kind == "team":
            counted.setdefault((asset.owner or "", asset.name), []).append((spread.steps(name), name))
            teams.setdefault(name, asset)
            continue
        whole = wholes.get(above.get(name, ""))
        owner, team = asset.owner, owned.get(name)
        if not owner and team is None and whole is not None:
            owner, team = whole.owner, owned_above.get(whole.id)
        counted.setdefault((owner or "", team or ""), []).append((spread.steps(name), name))
    found = [
        Responder(
            owner=owner or None,
            team=team or None,
            team_asset=teams.get(f"team:{team}"),
            steps=min(places)[0],
            nearest=min(places)[1],
            objects=len(places),
        )
        for (owner, team), places in counted.items()
    ]
    return tuple(sorted(found, key=lambda item: (item.steps, item.nearest, item.owner or "", item.team or "")))


async def _owned(spread: _Spread, assets: Mapping[str, Asset]) -> dict[str, str]:
    """Return the team of each object that has one, by name."""
    found = {name: asset.team.removeprefix("team:") for name, asset in assets.items() if asset.team}
    without = assets.keys() - found.keys()
    ties = [item for item in await spread.held("source", without) if item.relation == "owned_by"]
    teams = await spread.live({item.target for item in ties})
    for item in ties:
        if item.target in teams:
            found.setdefault(item.source, item.target.removeprefix("team:"))
    return found
