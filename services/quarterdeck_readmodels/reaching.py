"""Reach as of one position: the part of the map that a question needs, fetched a step at a time.

What is retired, in quarantine or merged into another takes no part: no way begins at it, passes it or leads to it. A
relation takes part if it is declared and holds, or was seen by then.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

import msgspec

from quarterdeck_domain.errors import InvalidInput, NotFound
from quarterdeck_domain.estate.reach import Edge, Graph
from quarterdeck_domain.estate.relations import CONTROL, REACH
from quarterdeck_domain.estate.values import LIVE
from quarterdeck_readmodels.bitemporal import holds
from quarterdeck_readmodels.estate import Asset, Relation
from quarterdeck_readmodels.reader import Record

MAX_HOPS: Final = 12
MAX_OBJECTS: Final = 20_000
MAX_RELATIONS: Final = 60_000
_CHUNK: Final = 1_000


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the map: objects and relations by id, and the graph they make."""

    assets: dict[str, Asset]
    relations: dict[str, Relation]
    graph: Graph

    def relation(self, edge: Edge) -> Relation:
        """Return the row of a relation of the graph."""
        return self.relations[f"{edge.source} {edge.relation} {edge.target}"]


async def around(record: Record, start: str, moment: datetime, *, hops: int, backwards: bool = False) -> Part:
    """Return everything within so many steps of an object, and the controls of each.

    Raises:
        NotFound: there is no such object at that position.
        InvalidInput: too many steps, or more objects or relations than can be answered at once.
    """
    if not 1 <= hops <= MAX_HOPS:
        raise InvalidInput(f"reach is asked for over 1 to {MAX_HOPS} steps, not {hops}", field="hops", limit=MAX_HOPS)
    first = await record.get(Asset, start)
    if first is None:
        raise NotFound("there is no such object at that moment", asset=start)
    assets = {start: first}
    relations: dict[str, Relation] = {}
    # From what is not in use there is no way, as there is none to it.
    frontier = [start] if is_live(first) else []
    for _ in range(hops):
        if not frontier:
            break
        found = await _relations(record, frontier, "target" if backwards else "source")
        taken = [item for item in found if item.relation in REACH and holds(item, moment)]
        relations |= {item.id: item for item in taken}
        if len(relations) > MAX_RELATIONS:
            raise InvalidInput(f"more than {MAX_RELATIONS} relations are concerned: ask for fewer steps", hops=hops)
        there = {item.source if backwards else item.target for item in taken} - assets.keys()
        fresh = await _assets(record, there)
        assets |= fresh
        if len(assets) > MAX_OBJECTS:
            raise InvalidInput(f"more than {MAX_OBJECTS} objects are concerned: ask for fewer steps", hops=hops)
        frontier = sorted(fresh)
    return await _part(record, assets, relations, moment)


class Controls(msgspec.Struct, frozen=True, kw_only=True):
    """The controls in force of some objects: pairs of relation type and control of each; and the rows of both."""

    pairs: dict[str, frozenset[tuple[str, str]]]
    relations: dict[str, Relation]
    assets: dict[str, Asset]


async def controls_of(record: Record, names: Iterable[str], moment: datetime) -> Controls:
    """Return the controls that are in force of some objects at a moment."""
    found = [item for item in await _relations(record, sorted(names), "source") if item.relation in CONTROL]
    in_force = await _assets(record, {item.target for item in found})
    pairs: dict[str, set[tuple[str, str]]] = {}
    relations: dict[str, Relation] = {}
    for item in found:
        if item.target in in_force and holds(item, moment):
            pairs.setdefault(item.source, set()).add((item.relation, item.target))
            relations[item.id] = item
    return Controls(
        pairs={name: frozenset(named) for name, named in pairs.items()}, relations=relations, assets=in_force
    )


def is_live(asset: Asset | None) -> bool:
    """Tell whether an object takes part in what the estate does: it is there, in use, and not part of another."""
    return asset is not None and asset.lifecycle in LIVE and asset.merged_into is None


async def _part(record: Record, assets: dict[str, Asset], relations: dict[str, Relation], moment: datetime) -> Part:
    controls = await controls_of(record, assets, moment)
    edges = [
        Edge(source=item.source, relation=item.relation, target=item.target)
        for item in relations.values()
        if item.source in assets and item.target in assets
    ]
    return Part(
        assets=assets | controls.assets, relations=relations | controls.relations, graph=Graph(edges, controls.pairs)
    )


async def _relations(record: Record, ends: Iterable[str], column: str) -> list[Relation]:
    names = list(ends)
    found: list[Relation] = []
    for start in range(0, len(names), _CHUNK):
        found += await record.matching(Relation, column, names[start : start + _CHUNK], most=MAX_RELATIONS)
    return found


async def _assets(record: Record, names: Iterable[str]) -> dict[str, Asset]:
    found = await record.many(Asset, sorted(names))
    return {name: asset for name, asset in found.items() if is_live(asset)}
