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
    recorded: str = ""
    """The id of the relation, where those that are one since something was merged are told apart."""

    @property
    def name(self) -> str:
        """Return what names the relation: as it was recorded, where that is said."""
        return self.recorded or f"{self.source} {self.relation} {self.target}"


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

    def open_from(self, start: str, closed: Closed, *, backwards: bool = False) -> set[str]:
        """Return an object and everything that is reached from it (or from which it is) when some are closed."""
        if start in closed.nodes:
            return set()
        edges = self.into if backwards else self.out
        found, waiting = {start}, [start]
        while waiting:
            for edge in edges.get(waiting.pop(), ()):
                there = edge.source if backwards else edge.target
                if there not in found and there not in closed.nodes and edge not in closed.edges:
                    found.add(there)
                    waiting.append(there)
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

    def paths(self, start: str, end: str, *, most: int, hops: int | None = None) -> tuple[list[tuple[Edge, ...]], bool]:
        """Return simple paths (of at most so many steps), shortest first, and whether there may be more of them.

        Paths can be more than anybody could count. Where `MAX_LOOKS` relations have been looked at, no more are sought;
        the shortest one is found in any case. Whether there are longer ones, `beyond` says.
        """
        longest, _ = self.longest(start, end)
        hops = longest if hops is None else min(hops, longest)
        near = self.within(end, backwards=True, hops=hops) | {end: 0}
        found: list[tuple[Edge, ...]] = []
        if start not in near or start == end:
            return found, False
        looks = 0
        for length in range(near[start], hops + 1):
            for path in self._of_length(start, end, length, near):
                if path is None:
                    looks += 1
                    if looks > MAX_LOOKS and found:
                        return found, True
                elif len(found) == most:
                    return found, True
                else:
                    found.append(path)
        return found, False

    def longest(self, start: str, end: str) -> tuple[int, bool]:
        """Return how many steps a simple path has at most, and whether one has so many; 0 where there is none.

        That is known where what lies between leads in no circle; else no more than that none passes an object twice.
        """
        ahead, behind = self.within(start), self.within(end, backwards=True)
        if end not in ahead or start == end:
            return 0, True
        nodes = (ahead.keys() & behind.keys()) | {start, end}

        def following(node: str) -> list[str]:
            return [
                edge.target
                for edge in self.out.get(node, ())
                if node != end and edge.target in nodes and edge.target not in (start, node)
            ]

        # What is only reached by way of the end is on no way to it.
        passed, fresh = {start}, [start]
        while fresh:
            found = [there for there in following(fresh.pop()) if there not in passed]
            passed.update(found)
            fresh += dict.fromkeys(found)
        nodes = passed
        waiting = dict.fromkeys(nodes, 0)
        for node in nodes:
            for there in following(node):
                waiting[there] += 1
        steps = dict.fromkeys(nodes, 0)
        ready = [node for node, count in waiting.items() if not count]
        done = 0
        while ready:
            node = ready.pop()
            done += 1
            for there in following(node):
                steps[there] = max(steps[there], steps[node] + 1)
                waiting[there] -= 1
                if not waiting[there]:
                    ready.append(there)
        return (steps[end], True) if done == len(nodes) else (len(nodes) - 1, False)

    def beyond(self, start: str, end: str, hops: int) -> bool:
        """Tell whether there are simple paths of more steps; also where `MAX_LOOKS` looks did not tell."""
        longest, known = self.longest(start, end)
        if longest <= hops or known:
            return longest > hops
        near = self.within(end, backwards=True) | {end: 0}
        looks = 0
        for length in range(max(near[start], hops + 1), longest + 1):
            for path in self._of_length(start, end, length, near):
                looks += 1
                if path is not None or looks > MAX_LOOKS:
                    return True
        return False

    def _of_length(
        self, start: str, end: str, length: int, near: Mapping[str, int]
    ) -> Iterator[tuple[Edge, ...] | None]:
        """Yield the simple paths of so many steps, and None for each relation that is looked at.

        In depth, along what can still be at the end (`near` says in how many steps) in as many steps as are left.
        """
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
            yield None
            there, left = edge.target, length - len(path) - 1
            if there == end and left == 0:
                yield (*path, edge)
            elif there != end and there not in seen and near.get(there, length + 1) <= left:
                path.append(edge)
                seen.add(there)
                stack.append(iter(self.out.get(there, ())))


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
