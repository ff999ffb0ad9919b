"""The cut: the least that would close every way from one object to another. Pure questions of a graph (`reach`).

What is looked for is a smallest set of controls: what can refuse, and grants that can be revoked. What else could be
done, to put objects into quarantine and to withdraw relations, is considered where controls alone leave a way open;
where they do not, it is told beside them if that takes less (`smaller`). Of sets of one size, the one that takes the
fewest objects out of use is preferred.

Up to `MAX_EXACT` candidates it is the smallest there is: of the sets that close each way found so far the smallest is
tried, and a way that it leaves open is the next one found. Beyond, everything is closed to begin with and opened again
as far as it can be: what is left is minimal, and finding it takes time in proportion to the graph.

Where relations are one since something was merged, each is withdrawn on its own: the graph has them apart (`recorded`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from quarterdeck_domain.estate.reach import Closed, Edge, Graph
from quarterdeck_domain.estate.relations import EXCEPTING, GATE, REFUSING

MAX_EXACT: Final = 20
"""Up to so many candidates the cut is the smallest there is; beyond, it is minimal: nothing in it can be left out."""
MAX_BESIDE: Final = 5_000
"""Of so many candidates, at most, a smaller cut is sought beside one of controls."""
MAX_PRUNED: Final = 100_000
"""So many relations are looked at, at most, for objects that no way passes without coming by another one twice."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """Something that could be done: let a control refuse, revoke a grant, put an object into quarantine, or withdraw a
    relation that leads from the one end straight to the other."""

    action: Literal["enforce", "revoke", "quarantine", "withdraw"]
    name: str
    """The control, the grant or the object; or the relation, as it was recorded."""
    nodes: frozenset[str] = frozenset()
    """The objects that nothing would pass through any more."""
    edges: frozenset[Edge] = frozenset()

    def closes(self, path: tuple[Edge, ...]) -> bool:
        """Tell whether a path would be closed."""
        return not self.edges.isdisjoint(path) or any(
            edge.source in self.nodes or edge.target in self.nodes for edge in path
        )


Over = Literal["everything", "controls"]
"""Of what a cut is the least: of everything that could be done, or of controls and grants alone."""
CONTROLLING: Final = frozenset({"enforce", "revoke"})


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """A set of candidates that closes every path. None can be left out of it.

    `exact`: of the candidates that were considered, no smaller set closes every path. `over` says which these were.
    """

    candidates: tuple[Candidate, ...]
    considered: int
    exact: bool
    over: Over = "everything"


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
    between = _passed(graph, start, end)
    closes: dict[str, set[str]] = {}
    for node in between:
        held = graph.controls.get(node, frozenset())
        # Where an exception holds nobody has to consent: a gate there stops nothing.
        excepted = any(relation == EXCEPTING for relation, _ in held)
        for relation, control in held:
            if relation in REFUSING and not (excepted and relation == GATE):
                closes.setdefault(control, set()).add(node)
    found = [Candidate(action="enforce", name=control, nodes=frozenset(nodes)) for control, nodes in closes.items()]
    for node in between - {start, end}:
        action: Literal["revoke", "quarantine"] = "revoke" if node.startswith("tool_grant:") else "quarantine"
        found.append(Candidate(action=action, name=node, nodes=frozenset({node})))
    found += [withdrawn(edge) for edge in graph.out.get(start, ()) if edge.target == end]
    return sorted(found, key=_order)


def withdrawn(edge: Edge) -> Candidate:
    """Return what withdraws a relation."""
    return Candidate(action="withdraw", name=edge.name, edges=frozenset({edge}))


def offer(graph: Graph, start: str, end: str) -> tuple[list[Candidate], Over]:
    """Return what is considered to close the ways between two objects: controls and grants alone, if these can close
    every way; else everything."""
    every = candidates(graph, start, end)
    controls = [candidate for candidate in every if candidate.action in CONTROLLING]
    return (controls, "controls") if closes_all(graph, start, end, controls) else (every, "everything")


def least(graph: Graph, start: str, end: str) -> Cut:
    """Return the least that would close every way between two objects."""
    offered, over = offer(graph, start, end)
    return msgspec.structs.replace(cut(graph, start, end, offered), over=over)


def smaller(graph: Graph, start: str, end: str, than: Cut) -> Cut | None:
    """Return, beside a cut of controls and grants, one of fewer candidates that takes objects out of use or withdraws
    relations; None if none was found: there is none, if the candidates are no more than `MAX_EXACT`. Of more than
    `MAX_BESIDE`, none is sought."""
    if than.over == "everything" or len(than.candidates) < 2:
        return None
    every = candidates(graph, start, end)
    if len(every) > MAX_BESIDE:
        return None
    found = cut(graph, start, end, every)
    return found if len(found.candidates) < len(than.candidates) else None


def cut(graph: Graph, start: str, end: str, offered: Iterable[Candidate]) -> Cut:
    """Return the smallest set of candidates that closes every way, or, of more than `MAX_EXACT`, a minimal one.

    Raises:
        ValueError: all of the candidates together leave a way open.
    """
    given = tuple(offered)
    between = graph.part(on_paths(graph, start, end))
    if not closes_all(between, start, end, given):
        raise ValueError("these candidates leave a way open")
    exact = len(given) <= MAX_EXACT
    chosen = _smallest(between, start, end, given) if exact else _least(between, start, end, given)
    return Cut(candidates=tuple(sorted(chosen, key=_order)), considered=len(given), exact=exact)


def closes_all(graph: Graph, start: str, end: str, chosen: Iterable[Candidate]) -> bool:
    """Tell whether no way is left between two objects once all of these are done."""
    return graph.shortest(start, end, _closed(chosen)) is None


def _passed(graph: Graph, start: str, end: str) -> frozenset[str]:
    """Return the objects between two others, without those of which it is soon known that no way passes them but on a
    round trip: whoever comes there has come by another object, and has to come by it again to go on."""
    between = on_paths(graph, start, end)
    part = graph.part(between)
    if len(between) * sum(map(len, part.out.values())) > MAX_PRUNED:
        return between
    aside: set[str] = set()
    for node in between:
        closed = Closed(nodes=frozenset({node}))
        first = between - part.open_from(start, closed)
        again = between - part.open_from(end, closed, backwards=True)
        aside |= (first & again) - {node, start, end}
    return between - aside


def _order(candidate: Candidate) -> tuple[bool, str, str]:
    """Return how candidates are preferred: controls and grants before what takes objects out of use."""
    return candidate.action not in CONTROLLING, candidate.action, candidate.name


def _closed(chosen: Iterable[Candidate]) -> Closed:
    given = tuple(chosen)
    return Closed(
        nodes=frozenset().union(*(candidate.nodes for candidate in given)),
        edges=frozenset().union(*(candidate.edges for candidate in given)),
    )


def _smallest(graph: Graph, start: str, end: str, given: Sequence[Candidate]) -> list[Candidate]:
    given = sorted(given, key=_order)
    subsets = _Subsets(len(given), sum(candidate.action in CONTROLLING for candidate in given))
    chosen: list[Candidate] = []
    while (way := graph.shortest(start, end, _closed(chosen))) is not None:
        subsets.keep([place for place, candidate in enumerate(given) if candidate.closes(way)])
        chosen = [given[place] for place in subsets.smallest()]
    return chosen


class _Subsets:
    """Every set of up to `MAX_EXACT` places: a bit each, whose number has the places as its own bits.

    So asking all million of them whether they have one of some places is a few operations on one long number, and the
    answer takes the same time whatever the ways are like.
    """

    def __init__(self, count: int, preferred: int) -> None:
        self._left = (1 << (1 << count)) - 1
        self._without = [_repeated((1 << (1 << place)) - 1, 2 << place, 1 << count) for place in range(count)]
        """Of each place, the sets that it is not in."""
        self._sized = _counted(range(count), count)
        """Of each size, the sets that have it."""
        self._others = _counted(range(preferred, count), count)
        """The sets that have so many of the places that are not preferred: those that are come first."""

    def keep(self, places: Iterable[int]) -> None:
        """Keep only the sets that have one of some places."""
        having_none = self._left
        for place in places:
            having_none &= self._without[place]
        self._left ^= having_none

    def smallest(self) -> list[int]:
        """Return the places of a smallest set that is left: one with the fewest others, then with the first places."""
        sized = next(found for sized in self._sized if (found := self._left & sized))
        found = next(found for others in self._others if (found := sized & others))
        number = (found & -found).bit_length() - 1
        return [place for place in range(len(self._without)) if number >> place & 1]


def _counted(places: range, count: int) -> list[int]:
    """Return, by how many, the sets that have so many of some places."""
    found = [1]
    for place in range(count):
        shift = 1 << place
        if place in places:
            found = [few | more << shift for few, more in zip([*found, 0], [0, *found], strict=True)]
        else:
            found = [same | same << shift for same in found]
    return found


def _repeated(pattern: int, period: int, length: int) -> int:
    while period < length:
        pattern |= pattern << period
        period *= 2
    return pattern


def _least(graph: Graph, start: str, end: str, given: Sequence[Candidate]) -> list[Candidate]:
    """Return a minimal set: the smallest of those that come of opening what closes least, what is near, what is far."""
    ahead, behind = graph.within(start) | {start: 0}, graph.within(end, backwards=True) | {end: 0}
    through = _through(graph, start, end, ahead)
    farthest = max(ahead.values())

    def weight(candidate: Candidate, of: Mapping[str, int]) -> int:
        return sum(of.get(node, 0) for node in candidate.nodes)

    near = {node: farthest + 1 - steps for node, steps in ahead.items()}
    far = {node: farthest + 1 - steps for node, steps in behind.items()}
    best: list[Candidate] | None = None
    for of in (through, near, far):
        # What is opened first is left out first.
        order = sorted(given, key=lambda item: (weight(item, of), item.action in CONTROLLING, item.action, item.name))
        closing = _Closing(graph, start, end, order)
        kept = [candidate for candidate in order if not closing.open(candidate)]
        if best is None or _size(kept) < _size(best):
            best = kept
    return best or []


def _size(chosen: Sequence[Candidate]) -> tuple[int, int]:
    return len(chosen), sum(candidate.action not in CONTROLLING for candidate in chosen)


def _through(graph: Graph, start: str, end: str, ahead: Mapping[str, int]) -> dict[str, int]:
    """Return how many shortest ways lead through each object."""
    order = sorted(ahead, key=ahead.__getitem__)
    to, onward = dict.fromkeys(order, 0), dict.fromkeys(order, 0)
    to[start], onward[end] = 1, 1
    for node in order:
        for edge in graph.out.get(node, ()):
            if ahead[edge.target] == ahead[node] + 1:
                to[edge.target] += to[node]
    for node in reversed(order):
        for edge in graph.out.get(node, ()):
            if ahead[edge.target] == ahead[node] + 1:
                onward[node] += onward[edge.target]
    return {node: to[node] * onward[node] for node in order}


class _Closing:
    """A graph in which candidates close objects and relations, and are opened again, one after another.

    `reached` is what is reached from the start, `reaching` what reaches the end. Both only grow, so that opening all
    candidates, as far as it can be, looks at each relation a few times. Only a control of several objects that cannot
    be opened may be looked through in vain.
    """

    def __init__(self, graph: Graph, start: str, end: str, closed: Iterable[Candidate]) -> None:
        self._graph, self._start, self._end = graph, start, end
        self._nodes: dict[str, int] = {}
        self._edges: dict[Edge, int] = {}
        for candidate in closed:
            for node in candidate.nodes:
                self._nodes[node] = self._nodes.get(node, 0) + 1
            for edge in candidate.edges:
                self._edges[edge] = self._edges.get(edge, 0) + 1
        self._reached: set[str] = set()
        self._reaching: set[str] = set()
        self._reached = self._forward({start} - self._nodes.keys()) or set()
        self._reaching = self._backward({end} - self._nodes.keys())

    def open(self, candidate: Candidate) -> bool:
        """Open a candidate if no way is open then; tell whether it is."""
        self._count(candidate, -1)
        nodes = {node for node in candidate.nodes if node not in self._nodes}
        edges = [edge for edge in candidate.edges if edge not in self._edges]
        fresh = self._forward(self._beginnings(nodes, edges))
        if fresh is None:
            self._count(candidate, 1)
            return False
        self._reached |= fresh
        self._reaching |= self._backward(self._endings(nodes, edges))
        return True

    def _count(self, candidate: Candidate, by: int) -> None:
        for node in candidate.nodes:
            self._nodes[node] = self._nodes.get(node, 0) + by
            if not self._nodes[node]:
                del self._nodes[node]
        for edge in candidate.edges:
            self._edges[edge] = self._edges.get(edge, 0) + by
            if not self._edges[edge]:
                del self._edges[edge]

    def _beginnings(self, nodes: set[str], edges: Iterable[Edge]) -> set[str]:
        found = {
            node
            for node in nodes
            if node == self._start
            or any(edge.source in self._reached and edge not in self._edges for edge in self._graph.into.get(node, ()))
        }
        return found | {
            edge.target for edge in edges if edge.source in self._reached and edge.target not in self._nodes
        }

    def _endings(self, nodes: set[str], edges: Iterable[Edge]) -> set[str]:
        found = {
            node
            for node in nodes
            if node == self._end
            or any(edge.target in self._reaching and edge not in self._edges for edge in self._graph.out.get(node, ()))
        }
        return found | {
            edge.source for edge in edges if edge.target in self._reaching and edge.source not in self._nodes
        }

    def _forward(self, begin: set[str]) -> set[str] | None:
        """Return what is reached from somewhere, and was not yet; None if that is the end, or what reaches it."""
        found = begin - self._reached
        queue = deque(found)
        while queue:
            here = queue.popleft()
            if here == self._end or here in self._reaching:
                return None
            for edge in self._graph.out.get(here, ()):
                there = edge.target
                if there not in found and there not in self._reached and self._is_open(edge, there):
                    found.add(there)
                    queue.append(there)
        return found

    def _backward(self, begin: set[str]) -> set[str]:
        """Return what reaches somewhere, and did not yet."""
        found = begin - self._reaching
        queue = deque(found)
        while queue:
            for edge in self._graph.into.get(queue.popleft(), ()):
                there = edge.source
                if there not in found and there not in self._reaching and self._is_open(edge, there):
                    found.add(there)
                    queue.append(there)
        return found

    def _is_open(self, edge: Edge, there: str) -> bool:
        return there not in self._nodes and edge not in self._edges
