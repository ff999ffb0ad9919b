"""What opened a way: the fewest changes, and what would have to be undone, against trying every set. Serves S0-56, S0-72."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from quarterdeck_domain.estate.cuts import on_paths
from quarterdeck_domain.estate.opening import changes, fewest, undo
from quarterdeck_domain.estate.reach import Closed, Edge, Graph

NODES = "abcdef"
edges = st.frozensets(
    st.builds(
        lambda source, target: Edge(source=source, relation="calls", target=target),
        st.sampled_from(NODES),
        st.sampled_from(NODES),
    ).filter(lambda edge: edge.source != edge.target),
    max_size=12,
)


def left(graph: Graph, gone: frozenset[str | Edge]) -> Graph:
    """Return a graph without some objects and relations."""
    return Graph(
        edge
        for out in graph.out.values()
        for edge in out
        if edge not in gone and edge.source not in gone and edge.target not in gone
    )


def way(graph: Graph, without: frozenset[str | Edge] = frozenset()) -> bool:
    """Tell whether a way is left, however long."""
    if not without.isdisjoint({"a", "f"}):
        return False
    return bool(left(graph, without).paths("a", "f", most=1)[0])


@given(edges, edges, st.frozensets(st.sampled_from(NODES), max_size=4))
def test_the_fewest_changes_open_a_way(now: frozenset[Edge], new: frozenset[Edge], nodes: frozenset[str]) -> None:
    """With them alone there is one, without any one of them there is none, and no smaller set opens any."""
    graph = Graph(now | new)
    fresh = Closed(nodes=nodes, edges=new)
    everything = frozenset[str | Edge](nodes) | new
    path = fewest(graph, "a", "f", fresh)
    assert bool(path) == way(graph)
    if not path:
        return
    found = frozenset(changes(path, fresh))
    assert way(graph, everything - found)
    # Of all ways with so few changes it is a shortest one.
    every = graph.paths("a", "f", most=10_000)[0]
    costs = [(len(changes(one, fresh)), len(one)) for one in every]
    assert min(costs) == (len(found), len(path))
    for size in range(len(found)):
        assert not any(
            way(graph, everything - frozenset(some)) for some in combinations(sorted(everything, key=str), size)
        )


@given(edges, edges, st.frozensets(st.sampled_from(NODES), max_size=3))
def test_what_would_have_to_be_undone(now: frozenset[Edge], new: frozenset[Edge], nodes: frozenset[str]) -> None:
    """Undone, it closes every way; nothing smaller does; and there is no answer where a way needs nothing new."""
    graph = Graph(now | new)
    graph = graph.part(on_paths(graph, "a", "f"))
    fresh = Closed(nodes=nodes, edges=frozenset(edge for edge in new if edge in graph.out.get(edge.source, ())))
    everything = sorted(frozenset[str | Edge](nodes) | fresh.edges, key=str)
    found = undo(graph, "a", "f", fresh)
    open_ = [
        size
        for size in range(len(everything) + 1)
        if any(_closed(graph, frozenset(some)) for some in combinations(everything, size))
    ]
    if found is None:
        assert not open_
    else:
        assert open_[0] == len(found.candidates)
        gone = frozenset(item for one in found.candidates for item in (*one.nodes, *one.edges))
        assert _closed(graph, gone)


def _closed(graph: Graph, gone: frozenset[str | Edge]) -> bool:
    return not gone.isdisjoint({"a", "f"}) or left(graph, gone).shortest("a", "f") is None
