"""What opened the way from one object to another: the graph of now, and what of it was not there then. Pure.

`fresh` are the objects and relations of the graph of now that took no part then. Where there was no way then, each way
of now has some of it. The fewest that any way has is a smallest set of changes that opened one: with these alone there
would be a way, and without any one of them there would not.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from quarterdeck_domain.estate.cuts import Candidate, Cut, closes_all, cut, withdrawn
from quarterdeck_domain.estate.reach import Closed, Edge, Graph

MAX_UNDO: Final = 2_000
"""Of so many changes it is told which ones would have to be undone."""


def fewest(graph: Graph, start: str, end: str, fresh: Closed) -> tuple[Edge, ...]:
    """Return a way with the fewest fresh objects and relations, of these a shortest one; empty if there is no way."""
    best = {start: (int(start in fresh.nodes), 0)}
    before: dict[str, Edge] = {}
    waiting = {best[start][0]: [start]}
    while waiting:
        cost = min(waiting)  # of at most three: a step costs nothing, one or two
        # Of one cost, in order of steps: what came from a lower one, and what follows from here.
        entering = sorted(((best[node][1], node) for node in waiting.pop(cost)), reverse=True)
        layer: list[str] = []
        steps = 0
        while layer or entering:
            if not layer:
                steps = entering[-1][0]
            while entering and entering[-1][0] <= steps:
                layer.append(entering.pop()[1])
            following: list[str] = []
            for node in layer:
                if best[node] != (cost, steps):
                    continue
                for edge in graph.out.get(node, ()):
                    there = cost + (edge in fresh.edges) + (edge.target in fresh.nodes), steps + 1
                    if edge.target not in best or there < best[edge.target]:
                        best[edge.target], before[edge.target] = there, edge
                        (following if there[0] == cost else waiting.setdefault(there[0], [])).append(edge.target)
            layer, steps = following, steps + 1
    path: list[Edge] = []
    here = end
    while here != start:
        if here not in before:
            return ()
        path.append(before[here])
        here = before[here].source
    return tuple(reversed(path))


def changes(path: tuple[Edge, ...], fresh: Closed) -> tuple[str | Edge, ...]:
    """Return what of a path is fresh, in its order: objects by id, and relations."""
    if not path:
        return ()
    found: list[str | Edge] = [path[0].source]
    for edge in path:
        found += [edge, edge.target]
    return tuple(item for item in found if item in (fresh.edges if isinstance(item, Edge) else fresh.nodes))


def undo(graph: Graph, start: str, end: str, fresh: Closed) -> Cut | None:
    """Return the smallest set of fresh objects and relations that every way needs; None if a way needs none of them, or
    if they are too many to tell. Where the graph has relations apart as they were recorded, each counts."""
    offered = [Candidate(action="quarantine", name=name, nodes=frozenset({name})) for name in sorted(fresh.nodes)]
    edges = (edge for out in graph.out.values() for edge in out)
    offered += map(withdrawn, sorted(edge for edge in edges if replace(edge, recorded="") in fresh.edges))
    if len(offered) > MAX_UNDO or not closes_all(graph, start, end, offered):
        return None
    return cut(graph, start, end, offered)
