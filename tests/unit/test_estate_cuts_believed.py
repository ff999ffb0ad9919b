"""Cuts against a referee that shares nothing with what makes them. Serves C08, S0-04."""

from __future__ import annotations

import random

import pytest
from naive_cut import GOES, REFUSES, Ways, hitting, renamed, sizes, woven

from quarterdeck_domain.estate import cuts
from quarterdeck_domain.estate.cuts import Cut, candidates, cut
from quarterdeck_domain.estate.merging import survivor
from quarterdeck_domain.estate.reach import Edge, Graph
from quarterdeck_domain.estate.relations import REACH, REFUSING


def graph_of(ways: Ways) -> Graph:
    """Return the relations as the product has them: each apart, between what its ends are now."""
    edges, controls = [], dict[str, set[tuple[str, str]]]()
    for source, relation, target in ways.relations:
        here, there = survivor(source, ways.merged), survivor(target, ways.merged)
        if relation in REACH:
            recorded = f"{source} {relation} {target}"
            edges.append(Edge(source=here, relation=relation, target=there, recorded=recorded))
        else:
            controls.setdefault(here, set()).add((relation, there))
    return Graph(edges, {name: frozenset(pairs) for name, pairs in controls.items()})


def steps_of(found: Cut) -> set[tuple[str, str]]:
    """Return what is to be done."""
    return {(item.action, item.name) for item in found.candidates}


def test_the_referee_knows_the_types() -> None:
    """It names them itself: who changes which relations reach goes along, or which controls refuse, changes it too."""
    assert GOES == REACH
    assert REFUSES == REFUSING


@pytest.mark.parametrize("mergers", [False, True])
def test_the_smallest_cut_is_what_trying_everything_finds(mergers: bool) -> None:
    """Of woven ways, whose cuts are of many sizes: closed, exact, none smaller, and of the steps that there are; also
    where what is one way by now was recorded by several names."""
    found: list[int] = []
    several = 0
    for seed in range(150):
        chance = random.Random(seed)
        ways = renamed(chance, woven(chance)) if mergers else woven(chance)
        graph, steps = graph_of(ways), ways.steps()
        offered = candidates(graph, ways.start, ways.end)
        assert {(item.action, item.name) for item in offered} <= set(steps), seed
        answer = cut(graph, ways.start, ways.end, offered)
        assert ways.is_minimal(steps_of(answer)), seed
        if answer.exact:
            assert not ways.has_smaller(steps, len(answer.candidates)), seed
            several += sum(item.action == "withdraw" for item in answer.candidates) > 1
            found.append(len(answer.candidates))
    counted = dict(sizes(found))
    assert sum(count for size, count in counted.items() if size >= 3) > 40, counted
    assert (several > 10) == mergers


@pytest.mark.parametrize("ways", [40, 400])
def test_taking_what_closes_most_is_not_enough(ways: int) -> None:
    """Twenty controls, four on each way: what is minimal is larger here than what is smallest, so they are told apart."""
    asked = hitting(random.Random(0), ways)
    graph = graph_of(asked)
    offered = [item for item in candidates(graph, asked.start, asked.end) if item.action == "enforce"]
    assert len(offered) == 20
    exact = cut(graph, asked.start, asked.end, offered)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cuts, "MAX_EXACT", 19)
        minimal = cut(graph, asked.start, asked.end, offered)
    assert exact.exact
    assert not minimal.exact
    assert asked.is_minimal(steps_of(exact))
    assert asked.is_minimal(steps_of(minimal))
    assert len(exact.candidates) < len(minimal.candidates)
    if ways == 40:
        assert not asked.has_smaller(steps_of_all(offered), len(exact.candidates))


def steps_of_all(offered: list[cuts.Candidate]) -> list[tuple[str, str]]:
    """Return what could be done."""
    return [(item.action, item.name) for item in offered]
