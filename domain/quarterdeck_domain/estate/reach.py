"""Who can reach what, along which paths, under which controls, and what would close them. Pure questions of a graph.

A graph is what is live at one moment: objects by id, relations along which reach goes, and for each object the controls
that its relations name. A path that leads through something retired or in quarantine is no path.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal

import msgspec

MAX_EXACT: Final = 20
"""Up to so many candidates the cut is the smallest there is; beyond, it is minimal: nothing in it can be left out."""


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

    def paths(self, start: str, end: str, *, most: int, hops: int) -> tuple[list[tuple[Edge, ...]], bool]:
        """Return simple paths of at most so many steps, shortest first, and whether there are more than `most`."""
        near = self.within(end, backwards=True) | {end: 0}
        found: list[tuple[Edge, ...]] = []
        if start not in near or start == end:
            return found, False
        layer: list[tuple[tuple[Edge, ...], frozenset[str]]] = [((), frozenset({start}))]
        for step in range(1, hops + 1):
            following: list[tuple[tuple[Edge, ...], frozenset[str]]] = []
            for path, seen in layer:
                for edge in self.out.get(path[-1].target if path else start, ()):
                    there = edge.target
                    if there in seen or near.get(there, hops) > hops - step:
                        continue
                    if there == end:
                        if len(found) == most:
                            return found, True
                        found.append((*path, edge))
                    else:
                        following.append(((*path, edge), seen | {there}))
            if len(following) > most * 50:
                return found, True
            layer = following
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


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """Something that could be done: let a control refuse, revoke a grant, put an object into quarantine, or withdraw a
    relation that leads from the one end straight to the other."""

    action: Literal["enforce", "revoke", "quarantine", "withdraw"]
    name: str
    """The control, the grant or the object; or the relation, as it reads."""
    nodes: frozenset[str] = frozenset()
    """The objects that nothing would pass through any more."""
    edges: frozenset[Edge] = frozenset()

    def closes(self, path: tuple[Edge, ...]) -> bool:
        """Tell whether a path would be closed."""
        return not self.edges.isdisjoint(path) or any(
            edge.source in self.nodes or edge.target in self.nodes for edge in path
        )


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """A set of candidates that closes every path. `exact`: there is no smaller one. None can be left out of it."""

    candidates: tuple[Candidate, ...]
    considered: int
    exact: bool


def on_paths(graph: Graph, start: str, end: str) -> frozenset[str]:
    """Return every object on some way from one to another, both included; empty if there is none."""
    ahead, behind = graph.within(start), graph.within(end, backwards=True)
    if end not in ahead:
        return frozenset()
    return frozenset(ahead.keys() & behind.keys()) | {start, end}


def candidates(graph: Graph, start: str, end: str) -> list[Candidate]:
    """Return what could close the ways between two objects. The two ends are never put into quarantine themselves.

    There is always enough of it: whatever lies between can be put into quarantine, and a straight relation withdrawn.
    """
    between = on_paths(graph, start, end)
    closes: dict[str, set[str]] = {}
    for node in between:
        for _, control in graph.controls.get(node, ()):
            closes.setdefault(control, set()).add(node)
    found = [Candidate(action="enforce", name=control, nodes=frozenset(nodes)) for control, nodes in closes.items()]
    for node in between - {start, end}:
        action: Literal["revoke", "quarantine"] = "revoke" if node.startswith("tool_grant:") else "quarantine"
        found.append(Candidate(action=action, name=node, nodes=frozenset({node})))
    straight = frozenset(edge for edge in graph.out.get(start, ()) if edge.target == end)
    for edge in straight:
        name = f"{edge.source} {edge.relation} {edge.target}"
        found.append(Candidate(action="withdraw", name=name, edges=frozenset({edge})))
    return sorted(found, key=lambda candidate: (candidate.action, candidate.name))


def cut(graph: Graph, start: str, end: str, offered: Iterable[Candidate]) -> Cut:
    """Return the smallest set of candidates that closes every way, or, of more than `MAX_EXACT`, a minimal one.

    Every way must be closed by some candidate, so the search takes a way that is still open and tries each
    candidate that closes it, to a depth that grows.

    Raises:
        ValueError: all of the candidates together leave a way open.
    """
    given = tuple(offered)
    if not closes_all(graph, start, end, given):
        raise ValueError("these candidates leave a way open")
    if len(given) <= MAX_EXACT:
        for size in range(len(given) + 1):
            found = _search(graph, start, end, given, (), size)
            if found is not None:
                return Cut(candidates=_ordered(found), considered=len(given), exact=True)
    return Cut(candidates=_minimal(graph, start, end, given), considered=len(given), exact=False)


def closes_all(graph: Graph, start: str, end: str, chosen: Iterable[Candidate]) -> bool:
    """Tell whether no way is left between two objects once all of these are done."""
    return graph.shortest(start, end, _closed(chosen)) is None


def _closed(chosen: Iterable[Candidate]) -> Closed:
    given = tuple(chosen)
    return Closed(
        nodes=frozenset().union(*(candidate.nodes for candidate in given)),
        edges=frozenset().union(*(candidate.edges for candidate in given)),
    )


def _ordered(chosen: Iterable[Candidate]) -> tuple[Candidate, ...]:
    return tuple(sorted(chosen, key=lambda candidate: (candidate.action, candidate.name)))


def _search(
    graph: Graph, start: str, end: str, given: tuple[Candidate, ...], chosen: tuple[Candidate, ...], left: int
) -> tuple[Candidate, ...] | None:
    way = graph.shortest(start, end, _closed(chosen))
    if way is None:
        return chosen
    if left == 0:
        return None
    for candidate in given:
        if candidate not in chosen and candidate.closes(way):
            found = _search(graph, start, end, given, (*chosen, candidate), left - 1)
            if found is not None:
                return found
    return None


def _minimal(graph: Graph, start: str, end: str, given: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
    # Greedy by how many of the objects between the two a candidate closes, then whatever is not needed is left out.
    chosen: tuple[Candidate, ...] = ()
    while (way := graph.shortest(start, end, _closed(chosen))) is not None:
        helpful = [candidate for candidate in given if candidate.closes(way)]
        chosen = (*chosen, max(helpful, key=lambda candidate: (len(candidate.nodes), candidate.name)))
    for candidate in chosen:
        rest = tuple(item for item in chosen if item != candidate)
        if closes_all(graph, start, end, rest):
            chosen = rest
    return _ordered(chosen)
