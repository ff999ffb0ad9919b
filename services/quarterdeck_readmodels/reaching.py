"""Reach as of one position: the part of the map that a question needs, fetched a step at a time.

What is retired or in quarantine takes no part: no way begins at it, passes it or leads to it; nor does a grant whose
time is over, and an exception whose time is over excepts nothing. What was merged into another is that one, whatever
its relations were recorded under. A relation takes part if it is declared and holds, or was seen by then.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from datetime import datetime
from functools import partial
from typing import Final, TypeVar

import msgspec

from quarterdeck_domain.errors import InvalidInput, NotFound
from quarterdeck_domain.estate.alleging import alleged_by
from quarterdeck_domain.estate.lasting import until
from quarterdeck_domain.estate.reach import Edge, Graph
from quarterdeck_domain.estate.relations import CONTROL, REACH
from quarterdeck_domain.estate.values import LIVE
from quarterdeck_readmodels.bitemporal import declares, holds
from quarterdeck_readmodels.estate import Asset, Relation
from quarterdeck_readmodels.naming import Names, Stand, better, named, rank
from quarterdeck_readmodels.reader import Record

MAX_HOPS: Final = 12
MAX_OBJECTS: Final = 20_000
MAX_RELATIONS: Final = 60_000
_CHUNK: Final = 1_000
S = TypeVar("S", bound=Stand)


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the map: objects and relations by what they are called now, and the graph they make. `start` is what
    the name it was asked for with stands for."""

    start: str
    assets: dict[str, Asset]
    relations: dict[str, Relation]
    graph: Graph
    recorded: dict[str, tuple[Relation, ...]] = {}
    """Of relations that were recorded of merged names, all that are one by now; that which is shown comes first."""
    alleged: frozenset[Edge] = frozenset()
    """Those of the graph that are only said to have been seen: see `alleging`."""

    def relation(self, edge: Edge) -> Relation:
        """Return the row of a relation of the graph."""
        return self.rows(edge)[0]

    def rows(self, edge: Edge) -> tuple[Relation, ...]:
        """Return all that was recorded and is a relation of the graph by now."""
        name = f"{edge.source} {edge.relation} {edge.target}"
        rows = self.recorded.get(name) or (self.relations[name],)
        return tuple(row for row in rows if edge.recorded in ("", row.id))

    def apart(self) -> Graph:
        """Return the graph with each relation that was recorded for itself: to take one back leaves the others."""
        if not self.recorded:
            return self.graph
        edges = [
            msgspec.structs.replace(edge, recorded=row.id) if edge.name in self.recorded else edge
            for out in self.graph.out.values()
            for edge in out
            for row in self.rows(edge)
        ]
        return Graph(edges, self.graph.controls)


async def around(
    record: Record,
    start: str,
    moment: datetime,
    *,
    hops: int | None = None,
    backwards: bool = False,
    within: Container[str] | None = None,
) -> Part:
    """Return everything within so many steps of an object (None: within any), and the controls of each; with `within`,
    only what is of these.

    Objects are named as they are called now: relations of what was merged into another are that one's.

    Raises:
        NotFound: there is no such object at that position.
        InvalidInput: too many steps, or more objects or relations than can be answered at once.
    """
    check_hops(hops)
    names = Names(partial(record.many, Asset))
    start, first = await present(names, start)
    assets = {start: first}
    relations: dict[str, Relation] = {}
    found: list[Relation] = []
    # From what is not in use there is no way, as there is none to it.
    frontier = [start] if stands(first, moment) else []
    steps = 0
    while frontier and (hops is None or steps < hops):
        steps += 1
        there: set[str] = set()
        for item in await _held(record, names, frontier, "target" if backwards else "source", REACH, moment):
            end = item.source if backwards else item.target
            if item.source != item.target and (within is None or end in within):
                relations[named(item)] = better(relations.get(named(item)), item)
                found.append(item)
                there.add(end)
        check_size(len(found), MAX_RELATIONS, "relations")
        known = ((name, names.known[name]) for name in sorted(there - assets.keys()))
        fresh = {name: asset for name, asset in known if asset is not None and stands(asset, moment)}
        assets |= fresh
        check_size(len(assets), MAX_OBJECTS, "objects")
        frontier = sorted(fresh)
    controls = await _controls_of(record, names, assets, moment)
    edges = {
        Edge(source=item.source, relation=item.relation, target=item.target): item
        for item in relations.values()
        if item.source in assets and item.target in assets
    }
    part = Part(
        start=start,
        assets=assets | controls.assets,
        relations=relations | controls.relations,
        graph=Graph(edges, controls.pairs),
        recorded=_recorded(found),
    )
    doubted = (edge for edge, item in edges.items() if item.senders)
    alleged = {edge for edge in doubted if all(alleging(row, assets[edge.source], moment) for row in part.rows(edge))}
    return msgspec.structs.replace(part, alleged=frozenset(alleged))


def alleging(row: Relation, source: Asset | None, moment: datetime) -> tuple[str, ...]:
    """Return whose word alone it is that a relation was seen that nobody declares at a moment; nobody's, where it is
    known to be so. `source` is what it begins at."""
    if not row.senders or declares(row, moment):
        return ()
    return alleged_by(row.senders, None if source is None else source.attributes.get("principal"))


def _recorded(found: Iterable[Relation]) -> dict[str, tuple[Relation, ...]]:
    """Return the relations that were recorded of merged names, each with all that are the same by now."""
    every = [(named(row), row) for row in found]
    rows: dict[str, dict[str, Relation]] = {name: {} for name, row in every if name != row.id}
    for name, row in every if rows else ():
        if name in rows:
            rows[name][row.id] = row
    return {name: tuple(sorted(same.values(), key=rank)) for name, same in rows.items()}


class Controls(msgspec.Struct, frozen=True, kw_only=True):
    """The controls in force of some objects: pairs of relation type and control of each; and the rows of both. A
    relation is found under what its ends are called now."""

    pairs: dict[str, frozenset[tuple[str, str]]]
    relations: dict[str, Relation]
    assets: dict[str, Asset]


async def controls_of(record: Record, found: Iterable[str], moment: datetime) -> Controls:
    """Return the controls that are in force of some objects at a moment."""
    names = Names(partial(record.many, Asset))
    await names.see(found)
    return await _controls_of(record, names, found, moment)


async def _controls_of(record: Record, names: Names[Asset], found: Iterable[str], moment: datetime) -> Controls:
    pairs: dict[str, set[tuple[str, str]]] = {}
    relations: dict[str, Relation] = {}
    assets: dict[str, Asset] = {}
    for item in await _held(record, names, found, "source", CONTROL, moment):
        control = names.known[item.target]
        if control is not None and stands(control, moment):
            pairs.setdefault(item.source, set()).add((item.relation, item.target))
            relations[named(item)] = better(relations.get(named(item)), item)
            assets[item.target] = control
    return Controls(pairs={name: frozenset(of) for name, of in pairs.items()}, relations=relations, assets=assets)


async def present(names: Names[S], name: str) -> tuple[str, S]:
    """Return what a name stands for.

    Raises:
        NotFound: there is no such object at that position.
    """
    await names.see([name])
    there = names.now(name)
    found = names.known[there]
    if found is None:
        raise NotFound("there is no such object at that moment", asset=name)
    return there, found


def check_hops(hops: int | None) -> None:
    """Refuse a number of steps that nobody can ask for.

    Raises:
        InvalidInput: it is not 1 to `MAX_HOPS`.
    """
    if hops is not None and not 1 <= hops <= MAX_HOPS:
        raise InvalidInput(f"reach is asked for over 1 to {MAX_HOPS} steps, not {hops}", field="hops", limit=MAX_HOPS)


def check_size(count: int, most: int, what: str) -> None:
    """Refuse to answer of more than can be answered of at once.

    Raises:
        InvalidInput: there is more.
    """
    if count > most:
        raise InvalidInput(
            f"more than {most} {what} are concerned, too many to answer of at once: ask for `reach` over few steps "
            "(`hops`), which is whole as far as these lead, and then from what is nearer",
            limit=most,
        )


def is_live(asset: Asset | None) -> bool:
    """Tell whether an object takes part in what the estate does: it is there, in use, and not part of another."""
    return asset is not None and asset.lifecycle in LIVE and asset.merged_into is None


def end_of_time(asset: Asset) -> datetime | None:
    """Return when the time of a grant or an exception is over; None: never, as of everything else."""
    return until(asset.kind, asset.attributes.get("expires_at"))


def stands(asset: Asset | None, moment: datetime) -> bool:
    """Tell whether an object takes part at a moment: it is in use, and its time is not over."""
    if asset is None or not is_live(asset):
        return False
    end = end_of_time(asset)
    return end is None or moment < end


async def _held(
    record: Record, names: Names[Asset], ends: Iterable[str], column: str, types: frozenset[str], moment: datetime
) -> list[Relation]:
    """Return the relations of some types that hold and begin, or end, at objects, between what their ends stand for."""
    called = await names.called(ends)
    found: list[Relation] = []
    for start in range(0, len(called), _CHUNK):
        found += await record.matching(Relation, column, called[start : start + _CHUNK], most=MAX_RELATIONS)
    taken = [item for item in found if item.relation in types and holds(item, moment)]
    await names.see(end for item in taken for end in (item.source, item.target))
    return [names.moved(item) for item in taken]
