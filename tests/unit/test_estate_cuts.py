"""What closes every way: right, the smallest or minimal, and soon, however dense the graph. Serves C08, S0-04."""

from __future__ import annotations

import random
from itertools import combinations, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quarterdeck_domain.estate import cuts, reach
from quarterdeck_domain.estate.cuts import Candidate, candidates, closes_all, cut, least, offer, on_paths, smaller
from quarterdeck_domain.estate.reach import Edge, Graph

NODES = tuple(f"tool:{name}" for name in "abcdefgh")


def edge(source: str, target: str, relation: str = "calls") -> Edge:
    """Return a relation."""
    return Edge(source=source, relation=relation, target=target)


@st.composite
def graphs(draw: st.DrawFn, nodes: tuple[str, ...] = NODES) -> Graph:
    """Return a small graph; some of its objects have controls."""
    pairs = [(one, other) for one in nodes for other in nodes if one != other]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=30))
    relations = st.sampled_from(["calls", "reads"])
    edges = [edge(one, other, draw(relations)) for one, other in chosen]
    controlled = draw(st.lists(st.tuples(st.sampled_from(nodes), st.sampled_from("PQR")), unique=True, max_size=8))
    controls: dict[str, set[tuple[str, str]]] = {}
    for node, control in controlled:
        controls.setdefault(node, set()).add(("governed_by", f"policy_bundle:{control}"))
    return Graph(edges, {node: frozenset(pairs) for node, pairs in controls.items()})


def smallest(graph: Graph, start: str, end: str, offered: list[Candidate]) -> int:
    """Return the size of the smallest set that closes every way, by trying all of them."""
    for size in range(len(offered) + 1):
        if any(closes_all(graph, start, end, chosen) for chosen in combinations(offered, size)):
            return size
    raise AssertionError("together they leave a way open")


def minimal(graph: Graph, start: str, end: str, chosen: tuple[Candidate, ...]) -> bool:
    """Tell whether a set closes every way, and none of it can be left out."""
    return closes_all(graph, start, end, chosen) and not any(
        closes_all(graph, start, end, [other for other in chosen if other != left_out]) for left_out in chosen
    )


@settings(max_examples=200)
@given(graphs())
def test_no_smaller_set_closes_every_way(graph: Graph) -> None:
    """Brute force finds none smaller, of up to twenty candidates."""
    offered = candidates(graph, NODES[0], NODES[1])
    found = cut(graph, NODES[0], NODES[1], offered)
    assert found.exact
    assert found.considered == len(offered)
    assert minimal(graph, NODES[0], NODES[1], found.candidates)
    assert len(found.candidates) == smallest(graph, NODES[0], NODES[1], offered)


@settings(max_examples=200)
@given(graphs())
def test_what_is_beyond_the_limit_is_minimal_and_says_so(graph: Graph) -> None:
    """The other way, too, on the same graphs: it closes, and nothing in it can be left out."""
    offered = candidates(graph, NODES[0], NODES[1])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cuts, "MAX_EXACT", -1)
        found = cut(graph, NODES[0], NODES[1], offered)
    assert not found.exact
    assert minimal(graph, NODES[0], NODES[1], found.candidates)


@settings(max_examples=100)
@given(graphs(), st.data())
def test_any_candidates_that_are_enough(graph: Graph, data: st.DataObject) -> None:
    """Also of candidates that somebody made: of several objects, of relations, of the ends themselves."""
    every = sorted({item for edges in graph.out.values() for item in edges})
    some = st.builds(
        Candidate,
        action=st.just("enforce"),
        name=st.text("xyz", min_size=1, max_size=3),
        nodes=st.frozensets(st.sampled_from(NODES), max_size=3),
        edges=st.frozensets(st.sampled_from(every), max_size=3) if every else st.just(frozenset()),
    )
    offered = data.draw(st.lists(some, max_size=6))
    if not closes_all(graph, NODES[0], NODES[1], offered):
        with pytest.raises(ValueError, match="leave a way open"):
            cut(graph, NODES[0], NODES[1], offered)
        return
    found = cut(graph, NODES[0], NODES[1], offered)
    assert len(found.candidates) == smallest(graph, NODES[0], NODES[1], offered)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cuts, "MAX_EXACT", -1)
        least = cut(graph, NODES[0], NODES[1], offered)
    assert closes_all(graph, NODES[0], NODES[1], least.candidates)


def walks_of(graph: Graph) -> list[tuple[Edge, ...]]:
    """Return every simple path between the first two objects, by trying all."""
    waiting: list[tuple[Edge, ...]] = [(item,) for item in graph.out.get(NODES[0], ())]
    found = []
    while waiting:
        path = waiting.pop()
        here, seen = path[-1].target, {NODES[0], *(item.source for item in path)}
        if here == NODES[1]:
            found.append(path)
        elif here not in seen:
            waiting += [(*path, item) for item in graph.out.get(here, ())]
    return found


def test_what_leads_back_to_the_end_is_no_longer_way() -> None:
    """From the end on, round and back to it: whoever is there has arrived."""
    edges = [("a", "b"), ("b", "e"), ("e", "d"), ("d", "b"), ("a", "f")]
    graph = Graph([Edge(source=f"tool:{one}", relation="calls", target=f"tool:{other}") for one, other in edges], {})
    assert graph.longest("tool:a", "tool:b") == (1, True)
    assert not graph.beyond("tool:a", "tool:b", 1)


@settings(max_examples=200)
@given(graphs(), st.integers(1, 9))
def test_paths_are_all_simple_paths_shortest_first(graph: Graph, hops: int) -> None:
    """Every one that there is, once, and no other."""

    def walks(path: tuple[Edge, ...], here: str, seen: frozenset[str]) -> Any:
        if here == NODES[1]:
            yield path
        elif len(path) < hops:
            for following in graph.out.get(here, ()):
                if following.target not in seen:
                    yield from walks((*path, following), following.target, seen | {following.target})

    every = sorted(walks((), NODES[0], frozenset({NODES[0]})), key=lambda path: (len(path), path))
    found, more = graph.paths(NODES[0], NODES[1], most=10_000, hops=hops)
    assert (found, more) == (every, False)
    longer = [path for path in walks_of(graph) if len(path) > hops]
    assert graph.beyond(NODES[0], NODES[1], hops) == bool(longer)
    assert graph.paths(NODES[0], NODES[1], most=10_000) == (
        sorted(walks_of(graph), key=lambda path: (len(path), path)),
        False,
    )
    few, _ = graph.paths(NODES[0], NODES[1], most=3, hops=hops)
    assert few == every[:3]


def layers(depth: int, width: int) -> tuple[Graph, str, str]:
    """Return a graph of so many layers, each object of one leading to each of the next: width ** depth paths."""
    rows = [
        ["tool:start"],
        *([f"tool:{row}-{column}" for column in range(width)] for row in range(depth)),
        ["tool:end"],
    ]
    edges = [edge(one, other) for here, there in pairwise(rows) for one in here for other in there]
    return Graph(edges), "tool:start", "tool:end"


def test_more_paths_than_could_be_told_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shortest ones, and that there are more; also where most of what is tried leads nowhere."""
    graph, start, end = layers(10, 30)
    found, more = graph.paths(start, end, most=50, hops=12)
    assert (len(found), more) == (50, True)
    # Everything leads to everything: what is tried comes back to what was passed.
    nodes = ["tool:start", *(f"tool:{number}" for number in range(60)), "tool:end"]
    dense = Graph([edge(one, other) for one in nodes[:-2] for other in nodes[1:-1]] + [edge(nodes[-2], "tool:end")])
    monkeypatch.setattr(reach, "MAX_LOOKS", 5_000)
    found, more = dense.paths("tool:start", "tool:end", most=10_000, hops=10**9)
    assert (len(found[0]), more) == (2, True)


@pytest.mark.parametrize(("depth", "width"), [(4, 5), (10, 2), (2, 10), (1, 20), (20, 1)])
def test_twenty_candidates_in_layers(depth: int, width: int) -> None:
    """The cut is one whole layer, whatever the shape."""
    graph, start, end = layers(depth, width)
    offered = candidates(graph, start, end)
    found = cut(graph, start, end, offered)
    assert (found.exact, len(offered), len(found.candidates)) == (True, 20, width)


@settings(max_examples=150)
@given(graphs(), st.integers(0, 12))
def test_controls_are_counted_first(graph: Graph, most: int) -> None:
    """Where controls alone can close every way, it is the smallest set of controls, however much else could be done; no
    smaller one closes every way, whatever their number up to the limit. What else does with less is told beside it."""
    start, end = NODES[0], NODES[1]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cuts, "MAX_EXACT", most)
        offered, over = offer(graph, start, end)
        found = least(graph, start, end)
    every = candidates(graph, start, end)
    controls = [item for item in every if item.action in {"enforce", "revoke"}]
    only = closes_all(graph, start, end, controls)
    assert (offered, over) == ((controls, "controls") if only else (every, "everything"))
    assert (found.over, found.considered, found.exact) == (over, len(offered), len(offered) <= most)
    assert minimal(graph, start, end, found.candidates)
    if found.exact:
        assert len(found.candidates) == smallest(graph, start, end, offered)
    beside = smaller(graph, start, end, found)
    best = smallest(graph, start, end, every)
    if beside is not None:
        assert (only, beside.over) == (True, "everything")
        assert minimal(graph, start, end, beside.candidates)
        assert best <= len(beside.candidates) < len(found.candidates)
    else:
        assert not only or best == len(found.candidates)


@pytest.mark.parametrize("tools", [2, 9, 10, 20, 30])
def test_the_kind_of_a_cut_does_not_change_with_how_much_there_is(tools: int) -> None:
    """A server of gated tools: it takes all the gates, and beside that, in one step, the server."""
    edges, controls = [edge("agent:a", "mcp_server:s")], {}
    for number in range(tools):
        edges += [edge("mcp_server:s", f"tool:{number}", "exposes"), edge(f"tool:{number}", "dataset:d", "reads")]
        controls[f"tool:{number}"] = frozenset({("gated_by", f"approval_path:{number:02}")})
    graph = Graph(edges, controls)
    found = least(graph, "agent:a", "dataset:d")
    assert (found.over, found.considered, found.exact) == ("controls", tools, tools <= 20)
    assert [item.name for item in found.candidates] == [f"approval_path:{number:02}" for number in range(tools)]
    beside = smaller(graph, "agent:a", "dataset:d", found)
    assert beside is not None
    assert [(item.action, item.name) for item in beside.candidates] == [("quarantine", "mcp_server:s")]
    assert beside.considered == 2 * tools + 1


@pytest.mark.parametrize("others", [0, 30])
def test_of_sets_of_one_size_the_one_that_leaves_objects_in_use(others: int) -> None:
    """A grant is revoked rather than its tool put into quarantine; exact or not."""
    edges = [edge("agent:a", "tool:free", "calls"), edge("tool:free", "dataset:d", "reads")]
    edges += [
        edge("agent:a", "tool_grant:g", "holds"),
        edge("tool_grant:g", "tool:b", "permits"),
        edge("tool:b", "dataset:d", "reads"),
    ]
    rest = [f"agent:c{number:02}" for number in range(others)]
    edges += [edge(one, other) for one, other in pairwise(["tool:b", *rest])]
    edges += [edge(rest[-1], "dataset:d", "reads")] if rest else []
    found = least(Graph(edges), "agent:a", "dataset:d")
    assert found.exact == (not others)
    assert [(item.action, item.name) for item in found.candidates] == [
        ("revoke", "tool_grant:g"),
        ("quarantine", "tool:free"),
    ]


@settings(max_examples=200)
@given(graphs())
def test_nothing_on_a_way_is_left_out_of_what_is_considered(graph: Graph) -> None:
    """Whatever a way passes could be put into quarantine; what only a round trip leads to does not count."""
    offered = {name for item in candidates(graph, NODES[0], NODES[1]) for name in item.nodes}
    passed = {node for path in walks_of(graph) for item in path for node in (item.source, item.target)}
    assert passed - {NODES[0], NODES[1]} <= offered


def test_a_round_trip_is_not_considered() -> None:
    """Thirty tools that the agent on the way calls, and that call it back, lead nowhere."""
    edges = [edge("agent:a", "agent:b"), edge("agent:b", "dataset:d", "reads")]
    for number in range(30):
        edges += [edge("agent:b", f"tool:{number}"), edge(f"tool:{number}", "agent:b")]
        edges += [edge("dataset:d", f"agent:r{number}", "feeds"), edge(f"agent:r{number}", "agent:a")]
    found = least(Graph(edges), "agent:a", "dataset:d")
    assert (found.considered, found.exact) == (1, True)


def test_fourteen_grants_and_five_policies_are_nineteen_controls() -> None:
    """Each grant leads through a tool and a server of its own, which could be put into quarantine, too."""
    edges, controls = [], {}
    for number in range(14):
        way = ("agent:a", f"tool_grant:{number}", f"tool:{number}", f"dataset:{number}", "dataset:d")
        edges += [edge(one, other) for one, other in pairwise(way)]
        controls[way[1]] = frozenset({("governed_by", f"policy_bundle:{number % 5}")})
    graph = Graph(edges, controls)
    assert len(candidates(graph, "agent:a", "dataset:d")) == 47
    found = least(graph, "agent:a", "dataset:d")
    assert (found.exact, found.over, found.considered) == (True, "controls", 19)
    assert [item.name for item in found.candidates] == [f"policy_bundle:{number}" for number in range(5)]


def test_one_more_way_without_control_brings_in_quarantine() -> None:
    """Then controls alone do not close it, and everything is considered, which is told."""
    edges, controls = [edge("agent:a", "tool:free"), edge("tool:free", "dataset:d")], {}
    for number in range(12):
        edges += [edge("agent:a", f"tool:{number}"), edge(f"tool:{number}", "dataset:d")]
        controls[f"tool:{number}"] = frozenset({("gated_by", f"approval_path:{number}")})
    found = least(Graph(edges, controls), "agent:a", "dataset:d")
    assert (found.exact, found.over, found.considered, len(found.candidates)) == (False, "everything", 25, 13)


def test_twenty_controls_of_which_each_way_has_four() -> None:
    """The hardest for whoever tries sets one after another: four hundred ways, and twelve controls at least."""
    chance = random.Random(0)
    nodes = [f"tool:{number}" for number in range(400)]
    controls = {
        node: frozenset(("governed_by", f"policy_bundle:{which}") for which in chance.sample(range(20), 4))
        for node in nodes
    }
    graph = Graph([item for node in nodes for item in (edge("tool:start", node), edge(node, "tool:end"))], controls)
    offered = [item for item in candidates(graph, "tool:start", "tool:end") if item.action == "enforce"]
    found = cut(graph, "tool:start", "tool:end", offered)
    assert (found.exact, found.considered) == (True, 20)
    assert minimal(graph, "tool:start", "tool:end", found.candidates)


def test_thousands_of_candidates_are_no_trouble() -> None:
    """A layer of two among layers of a hundred is what is left, of two thousand objects and two hundred thousand ways on."""
    rows = [["tool:start"], *([f"tool:{row}-{column}" for column in range(100)] for row in range(20)), ["tool:end"]]
    rows.insert(9, ["tool:narrow-a", "tool:narrow-b"])
    graph = Graph([edge(one, other) for here, there in pairwise(rows) for one in here for other in there])
    found = cut(graph, "tool:start", "tool:end", candidates(graph, "tool:start", "tool:end"))
    assert [candidate.name for candidate in found.candidates] == ["tool:narrow-a", "tool:narrow-b"]
    assert (found.exact, found.considered) == (False, 2002)


def test_a_control_of_the_end_is_enough() -> None:
    """What governs an end closes everything at once; without controls the straight relation has to go."""
    start, end = "agent:a", "dataset:d"
    graph = Graph([edge(start, end, "reads"), edge(start, "tool:t"), edge("tool:t", end, "reads")])
    assert [item.action for item in cut(graph, start, end, candidates(graph, start, end)).candidates] == [
        "quarantine",
        "withdraw",
    ]
    governed = Graph(
        [edge(start, end, "reads"), edge(start, "tool:t"), edge("tool:t", end, "reads")],
        {end: frozenset({("governed_by", "policy_bundle:p")})},
    )
    (one,) = cut(governed, start, end, candidates(governed, start, end)).candidates
    assert (one.action, one.name) == ("enforce", "policy_bundle:p")


def test_nothing_between() -> None:
    """Where no way leads, nothing is on it and nothing has to be done."""
    graph = Graph([edge("tool:b", "tool:a")])
    assert on_paths(graph, "tool:a", "tool:b") == frozenset()
    assert cut(graph, "tool:a", "tool:b", []).candidates == ()


def test_beside_very_much_no_smaller_one_is_sought(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take as long again."""
    edges = [edge("agent:a", "mcp_server:s")]
    for number in range(3):
        edges += [edge("mcp_server:s", f"tool_grant:{number}"), edge(f"tool_grant:{number}", "dataset:d")]
    graph = Graph(edges)
    found = least(graph, "agent:a", "dataset:d")
    assert [item.action for item in found.candidates] == ["revoke"] * 3
    assert smaller(graph, "agent:a", "dataset:d", found) is not None
    monkeypatch.setattr(cuts, "MAX_BESIDE", 3)
    assert smaller(graph, "agent:a", "dataset:d", found) is None
