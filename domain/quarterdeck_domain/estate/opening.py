"""What opened the way from one object to another: the graph of now, and what of it was not there then. Pure.

`fresh` are the objects and relations of the graph of now that took no part then. Where there was no way then, each way
of now has some of it. The fewest that any way has is a smallest set of changes that opened one: with these alone there
would be a way, and without any one of them there would not.
"""

from __future__ import annotations

from typing import Final

from quarterdeck_domain.estate.cuts import Candidate, Cut, closes_all, cut
from quarterdeck_domain.estate.reach import Closed, Edge, Graph

_Way = tuple[int, tuple[Edge, ...]]
MAX_UNDO: Final = 2_000
"""Of so many changes it is told which ones would have to be undone."""


def on_ways(graph: Graph, start: str, end: str, hops: int) -> Graph:
    """Return the part of a graph that is on ways of at most so many steps: no way of that length is missing."""
    ahead = graph.within(start, hops=hops) | {start: 0}
    behind = graph.within(end, backwards=True, hops=hops) | {end: 0}
    edges = [
        edge
        for node, steps in ahead.items()
        for edge in graph.out.get(node, ())
        if edge.target in behind and steps + 1 + behind[edge.target] <= hops
    ]
    return Graph(edges, graph.controls)


def fewest(graph: Graph, start: str, end: str, fresh: Closed, hops: int) -> tuple[Edge, ...]:
    """Return a way with the fewest fresh objects and relations, of these a shortest one; empty if there is no way."""
    best: dict[str, _Way] = {start: (int(start in fresh.nodes), ())}
    found: list[_Way] = []
    for _ in range(hops):
        following: dict[str, _Way] = {}
        for node, (cost, path) in sorted(best.items()):
            for edge in graph.out.get(node, ()):
                there = cost + (edge in fresh.edges) + (edge.target in fresh.nodes)
                if edge.target not in following or there < following[edge.target][0]:
                    following[edge.target] = (there, (*path, edge))
        if end in following:
            found.append(following[end])
        best = following
    return min(found, key=lambda way: (way[0], len(way[1])))[1] if found else ()


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
    if they are too many to tell."""
    offered = [Candidate(action="quarantine", name=name, nodes=frozenset({name})) for name in sorted(fresh.nodes)]
    for edge in sorted(fresh.edges):
        name = f"{edge.source} {edge.relation} {edge.target}"
        offered.append(Candidate(action="withdraw", name=name, edges=frozenset({edge})))
    if len(offered) > MAX_UNDO or not closes_all(graph, start, end, offered):
        return None
    return cut(graph, start, end, offered)
