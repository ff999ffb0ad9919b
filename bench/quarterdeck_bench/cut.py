"""`cut`: what closes every way between two objects, in 1,000 random estates, beside trying every set of steps.

Every other one is a small estate of `estates.py`, where most ways come together somewhere; the rest are ways side by
side, woven into one another, under controls that stand on several of them: their smallest cuts are of up to eight
steps. In half of all, names were merged since, one into the next and at both ends, so that several recorded relations
are one: each has to be withdrawn as it was recorded, and the others lead on. Of each cut it is checked that it closes
every way; where it says that it is the smallest, that no smaller set of steps does (brute force); where it says that it
is minimal, that nothing in it can be left out. The judge is `tests/helpers/naive_cut.py`, which is told the relations
and what was merged, and shares nothing with what it judges.

Then graphs that nobody should have, but somebody may send: everything leads to everything, twenty candidates of which
each closes much of it, and as many objects and relations as one question may concern.

`QUARTERDECK_BENCH_ESTATES` says how many estates.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

from quarterdeck_bench.estates import EstateStream
from quarterdeck_bench.harness import Result, helper, median
from quarterdeck_domain.estate.cuts import CONTROLLING, Candidate, Cut, candidates, closes_all, cut, offer
from quarterdeck_domain.estate.merging import survivor
from quarterdeck_domain.estate.reach import Edge, Graph
from quarterdeck_domain.estate.relations import CONTROL, REACH

ESTATES: Final = int(os.environ.get("QUARTERDECK_BENCH_ESTATES", "1000"))
SMALL: Final = 100
GOAL: Final = {"wrong": 0, "hostile_s": 2.0}
Question = tuple[Graph, str, str]
_judge: Final = helper("naive_cut")
Timed = tuple[float, float | None, int]
"""Seconds, seconds of trying everything, and how many candidates there were."""


def run(rounds: int, *, small: bool = False) -> Result:
    """Check and time the cuts; `rounds` counts for the hostile ones alone, the others are many."""
    count = SMALL if small else ESTATES
    exact: list[Timed] = []
    controls: list[Timed] = []
    minimal: list[Timed] = []
    found_sizes: list[int] = []
    wrong = merged = several = 0
    for number, ways in enumerate(_questions(count), 1):
        graph = _graph(ways.relations, ways.merged)
        merged += bool(ways.merged)
        several += sum(item.action == "withdraw" for item in candidates(graph, ways.start, ways.end)) > 1
        offered, over = offer(graph, ways.start, ways.end)
        found, spent = _timed(graph, ways.start, ways.end, offered)
        done = {(item.action, item.name) for item in found.candidates}
        right = ways.is_minimal(done)
        if found.exact:
            # What was to be considered, the judge says as well: of everything, or of controls and grants alone.
            possible = [step for step in ways.steps() if over == "everything" or step[0] in CONTROLLING]
            began = time.perf_counter()
            right &= done <= set(possible) and not ways.has_smaller(possible, len(done))
            (controls if over == "controls" else exact).append((spent, time.perf_counter() - began, len(possible)))
            found_sizes.append(len(done))
        else:
            minimal.append((spent, None, len(offered)))
        wrong += not right
        if number % 200 == 0:
            print(f"{number:,} estates, {wrong} cuts wrong", flush=True)
    named = {
        "random, at most 20 steps, which controls alone do not do": exact,
        "random, at most 20 controls close all": controls,
        "random, more": minimal,
    }
    rows = [_row(name, told) for name, told in named.items() if told]
    hostile = 0.0
    for name, (graph, start, end), offered in _hostile(10 if small else 1):
        samples = []
        for _ in range(rounds):
            found, spent = _timed(graph, start, end, offered)
            samples.append(spent)
        wrong += not closes_all(graph, start, end, found.candidates)
        hostile = max(hostile, median(samples))
        rows.append(_row(name, [(spent, None, len(offered)) for spent in samples]))
    wrong += _hitting_is_wrong(40 if small else 400)
    value = {"wrong": wrong, "hostile_s": round(hostile, 3)}
    ok = wrong == 0 and hostile <= GOAL["hostile_s"]
    told = ", ".join(f"{many} of {size}" for size, many in _judge.sizes(found_sizes))
    note = (
        f"{count:,} random estates, {merged:,} with mergers ({several:,} with several relations straight to the end); "
    )
    note += f"{len(found_sizes):,} cuts compared with every smaller set, by steps: {told}."
    return {"name": "cut", "value": value, "goal": GOAL, "ok": ok, "rows": rows, "note": note}


def _hitting_is_wrong(count: int) -> bool:
    """Tell whether the cut of many ways under twenty controls, four on each, is not the smallest."""
    ways = _judge.hitting(random.Random(0), count)
    graph = _graph(ways.relations)
    offered = [item for item in candidates(graph, ways.start, ways.end) if item.action == "enforce"]
    found = cut(graph, ways.start, ways.end, offered)
    every = [("enforce", item.name) for item in offered]
    done = {(item.action, item.name) for item in found.candidates}
    return not (found.exact and ways.is_minimal(done) and not ways.has_smaller(every, len(done)))


def _row(name: str, found: list[Timed]) -> dict[str, Any]:
    ours = [spent for spent, _, _ in found]
    forced = [beside for _, beside, _ in found if beside is not None]
    return {
        "graphs": name,
        "how many": len(found),
        "candidates": f"{median([size for _, _, size in found]):.0f}, at most {max(size for _, _, size in found):,}",
        "p50 ms": median(ours) * 1000,
        "slowest ms": max(ours) * 1000,
        "brute force p50 ms": median(forced) * 1000 if forced else "",
        "brute force / ours, in all": f"{sum(forced) / sum(ours):.1f}" if forced else "",
    }


def _timed(graph: Graph, start: str, end: str, offered: list[Candidate]) -> tuple[Cut, float]:
    began = time.perf_counter()
    found = cut(graph, start, end, offered)
    return found, time.perf_counter() - began


def _questions(count: int) -> Iterator[Any]:
    """Yield the ways that each question is about; in estates, from an object that acts to one that it leads to."""
    estates = _of_estates()
    for number in range(count):
        chance = random.Random(number)
        ways = next(estates) if number % 2 else _judge.woven(chance)
        yield _judge.renamed(chance, ways) if number % 4 > 1 else ways


def _of_estates() -> Iterator[Any]:
    for seed in range(2**31):
        chance = random.Random(seed)
        assets = chance.randint(30, 300)
        relations = round(assets * chance.uniform(1.5, 6))
        stream = EstateStream(seed, assets, relations, 2 * (assets + relations), lambda: datetime.now(UTC))
        for _ in stream:
            pass
        alive = {name for name, lifecycle in stream.lifecycle.items() if lifecycle in {"live", "deprecated"}}
        there = [item for item in stream.relations if item[0] in alive and item[2] in alive]
        graph = _graph(there)
        starts = [node for node in sorted(graph.out) if node.startswith(("agent:", "workflow:", "application:"))]
        for start in chance.sample(starts, min(5, len(starts))):
            ends = [node for node, steps in sorted(graph.within(start).items()) if steps > 1]
            if ends:
                yield _judge.Ways(there, start, chance.choice(ends))
                break


def _graph(relations: Iterable[tuple[str, str, str]], merged: Mapping[str, str] | None = None) -> Graph:
    """Return what leads where by now, each relation as it was recorded."""
    edges = []
    into = merged or {}
    controls: dict[str, set[tuple[str, str]]] = {}
    for source, relation, target in relations:
        here, there = survivor(source, into), survivor(target, into)
        if relation in REACH:
            recorded = f"{source} {relation} {target}" if (here, there) != (source, target) else ""
            edges.append(Edge(source=here, relation=relation, target=there, recorded=recorded))
        elif relation in CONTROL:
            controls.setdefault(here, set()).add((relation, there))
    return Graph(edges, {name: frozenset(pairs) for name, pairs in controls.items()})


def _hostile(part: int) -> Iterator[tuple[str, Question, list[Candidate]]]:
    """Yield graphs that are hard in one way or another, and what is offered to close them; a `part`-th of the size."""
    every = _dense(22)
    yield "everything leads to everything", every, candidates(*every)
    chance = random.Random(0)
    size = 200 // part
    for share in (0.1, 0.3, 0.6):
        dense = _dense(size)
        nodes = [node for node in dense[0].out if node != "start"]
        some = [
            Candidate(
                action="enforce", name=f"control {number}", nodes=frozenset(chance.sample(nodes, int(share * size)))
            )
            for number in range(19)
        ]
        some.append(Candidate(action="quarantine", name="all", nodes=frozenset(nodes)))
        yield f"twenty controls of {share:.0%} each, {size} objects", dense, some
    ways = _hitting(chance, 400 // part)
    yield (
        f"twenty controls, four of them on each of {400 // part} ways",
        ways,
        [item for item in candidates(*ways) if item.action == "enforce"],
    )
    for width in (2, 5, 100 // part):
        tall = _layers(20_000 // part // width // 20, width)
        yield f"layers of {width}", tall, candidates(*tall)
    granted = _granted(14, 5)
    yield "14 grants under 5 policies, 28 objects besides", granted, offer(*granted)[0]
    wide = _layers(2, 240 // part)
    yield f"{len(wide[0].out):,} objects, {sum(map(len, wide[0].out.values())):,} relations", wide, candidates(*wide)
    controlled = _controlled(chance, 20_000 // part, 60_000 // part)
    yield "20,000 objects, 60,000 relations, 500 controls", controlled, candidates(*controlled)


def _edge(source: str, target: str) -> Edge:
    return Edge(source=source, relation="calls", target=target)


def _dense(size: int) -> Question:
    nodes = ["start", *(f"tool:{number}" for number in range(size - 2)), "end"]
    pairs = [(one, other) for one in nodes for other in nodes if one != other and (one, other) != ("start", "end")]
    return Graph([_edge(one, other) for one, other in pairs]), "start", "end"


def _hitting(chance: random.Random, ways: int) -> Question:
    """Return ways of one object each, and controls of which each way has four of twenty."""
    edges, controls = [], {}
    for number in range(ways):
        node = f"tool:{number}"
        edges += [_edge("start", node), _edge(node, "end")]
        controls[node] = frozenset(("governed_by", f"policy_bundle:{which}") for which in chance.sample(range(20), 4))
    return Graph(edges, controls), "start", "end"


def _granted(grants: int, policies: int) -> Question:
    """Return ways of a grant, a tool and data of their own, and policies over the grants."""
    edges, controls = [], {}
    for number in range(grants):
        way = ("start", f"tool_grant:{number}", f"tool:{number}", f"dataset:{number}", "end")
        edges += [_edge(one, other) for one, other in pairwise(way)]
        controls[way[1]] = frozenset({("governed_by", f"policy_bundle:{number % policies}")})
    return Graph(edges, controls), "start", "end"


def _layers(depth: int, width: int) -> Question:
    rows: list[Iterable[str]] = [["start"]]
    rows += [[f"tool:{row}-{column}" for column in range(width)] for row in range(depth)]
    rows.append(["end"])
    return (
        Graph([_edge(one, other) for here, there in pairwise(rows) for one in here for other in there]),
        "start",
        "end",
    )


def _controlled(chance: random.Random, objects: int, relations: int) -> Question:
    nodes = [f"tool:{number}" for number in range(objects)]
    edges = {(chance.choice(nodes), chance.choice(nodes)) for _ in range(relations)}
    edges |= {("start", node) for node in nodes[:50]} | {(node, "end") for node in nodes[-50:]}
    controls = {
        node: frozenset(("governed_by", f"policy_bundle:{chance.randrange(500)}") for _ in range(3)) for node in nodes
    }
    return Graph([_edge(one, other) for one, other in edges if one != other], controls), "start", "end"
