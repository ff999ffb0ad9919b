"""Who can reach what, along which paths, under which controls. Pure questions of a graph; `cuts` is what closes ways.

A graph is what is live at one moment: objects by id, relations along which reach goes, and for each object the controls
that its relations name. A path that leads through something retired or in quarantine is no path.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

MAX_LOOKS: Final = 100_000
"""So many relations are looked at, one after another, in search of paths: there may be more than could ever be told."""


class Edge(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A relation along which reach goes."""

    source: str
    relation: str
    target: str


class Graph:
    """A directed graph of relations, and the controls of each object: pairs of relation type and control."""

    def __init__(self, edges: Iterable[Edge], controls: Mapping[str, frozenset[tuple[str, str]]] | None = None) -> None:
        self.out: dict[str, list[Edge]] = {}
        self.into: dict[str, list[Edge]] = {}
        for edge in sorted(set(edges)):
            self.out.setdefault(edge.source, []).append(edge)
            self.into.setdefault(edge.target, []).append(edge)
        self.controls = dict(controls or {})

    def within(self, start: str, *, backwards: bool = False, hops: int | None = None) -> dict[str, int]:
        """Return everything reached from an object (or from which it is reached) and in how many steps at least."""
        edges = self.into if backwards else self.out
        found = {start: 0}
        queue = deque([start])
        while queue:
            here = queue.popleft()
            if hops is not None and found[here] >= hops:
                continue
            for edge in edges.get(here, ()):
                there = edge.source if backwards else edge.target
                if there not in found:
                    found[there] = found[here] + 1
                    queue.append(there)
        del found[start]
        return found

    def shortest(self, start: str, end: str, without: Closed | None = None) -> tuple[Edge, ...] | None:
        """Return a shortest path, the first in order of ids among them; None if there is none."""
        closed = without or Closed()
        if start in closed.nodes or end in closed.nodes:
            return None
        before: dict[str, Edge] = {}
        queue = deque([start])
        while queue:
            here = queue.popleft()
            for edge in self.out.get(here, ()):
                there = edge.target
                if there == start or there in before or there in closed.nodes or edge in closed.edges:
                    continue
                before[there] = edge
                if there == end:
                    return tuple(_back(before, end, start))
                queue.append(there)
        return None

    def part(self, nodes: frozenset[str]) -> Graph:
        """Return the graph of some objects and the relations between them."""
        edges = [edge for node in nodes for edge in self.out.get(node, ()) if edge.target in nodes]
        return Graph(edges, {node: self.controls[node] for node in nodes if node in self.controls})

    def paths(self, start: str, end: str, *, most: int, hops: int) -> tuple[list[tuple[Edge, ...]], bool]:
        """Return simple paths of at most so many steps, shortest first, and whether there may be more of them.

        Paths can be more than anybody could count. Where `MAX_LOOKS` relations have been looked at, no more are sought;
        the shortest one is found in any case.
        """
        hops = min(hops, len(self.out))  # no simple path is longer
        near = self.within(end, backwards=True, hops=hops) | {end: 0}
        found: list[tuple[Edge, ...]] = []
        if start not in near or start == end:
            return found, False
        looks = 0
        for length in range(near[start], hops + 1):
            # In depth, along what can still be at the end in as many steps as are left.
            path: list[Edge] = []
            seen = {start}
            stack = [iter(self.out.get(start, ()))]
            while stack:
                edge = next(stack[-1], None)
                if edge is None:
                    stack.pop()
                    if path:
                        seen.discard(path.pop().target)
                    continue
                looks += 1
                if looks > MAX_LOOKS and found:
                    return found, True
                there, left = edge.target, length - len(path) - 1
                if there == end and left == 0:
                    if len(found) == most:
                        return found, True
                    found.append((*path, edge))
                elif there != end and there not in seen and near.get(there, hops + 1) <= left:
                    path.append(edge)
                    seen.add(there)
                    stack.append(iter(self.out.get(there, ())))
        return found, False


def _back(before: Mapping[str, Edge], end: str, start: str) -> Iterator[Edge]:
    path: list[Edge] = []
    here = end
    while here != start:
        path.append(before[here])
        here = before[here].source
    yield from reversed(path)


class Closed(msgspec.Struct, frozen=True, kw_only=True):
    """What is closed: objects that nothing passes through any more, and relations that are no more."""

    nodes: frozenset[str] = frozenset()
    edges: frozenset[Edge] = frozenset()
