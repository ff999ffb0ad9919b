"""What is said of ways holds of all of them: whatever was merged, however long they are, on however many pages.

Serves S0-01, S0-16, S0-56, S0-57, S0-72, S0-14.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from graphql_world import GraphWorld, graph_world

Z = ("agent:z", "dataset:zd")
MERGED: dict[str, Any] = {
    "agent:z": {"relations": {"holds": ["tool_grant:zg"]}},
    "tool_grant:zg": {"relations": {"permits": ["tool:z-old"]}},
    "tool:z-old": {"relations": {"reads": ["dataset:zd"], "gated_by": ["approval_path:p"]}},
    "tool:z-new": {"relations": {"reads": ["dataset:zd"]}},
    "dataset:zd": {"owner": "rota"},
    "approval_path:p": None,
}
LONG = ("agent:l0", *(f"agent:l{number}" for number in range(1, 7)), "dataset:ld")
"""Seven steps, none of which is gated; and one of two, which is."""
LONG_FILE: dict[str, Any] = {
    **{one: {"relations": {"reads" if other == LONG[-1] else "calls": [other]}} for one, other in pairwise(LONG)},
    "tool:gated": {"relations": {"reads": ["dataset:ld"], "gated_by": ["approval_path:p"]}},
    "dataset:ld": None,
    "approval_path:p": None,
}
LONG_FILE["agent:l0"]["relations"]["calls"] = ["agent:l1", "tool:gated"]
WAYS = """query($from: ID!, $to: ID!, $hops: Int) { now { ways(from: $from, to: $to, hops: $hops) { more beyond
    paths { relations { id source target } controls { on control { id } } }
    cut { exact over considered steps { action subject } } } } }"""
OPENED = """query($from: ID!, $to: ID!, $since: Moment!, $hops: Int) {
    opened(from: $from, to: $to, since: $since, hops: $hops) { verdict more beyond
    paths { relations { source target } } fewest { subject before events { type } } } }"""
REACHED_BY = """query($of: ID!, $first: Int!, $after: String, $hops: Int) { now { reachedBy(of: $of, first: $first,
    after: $after, hops: $hops) { total beyond accesses { asset { id } ungated steps controls { on control { id } } }
    pageInfo { hasNextPage endCursor } } } }"""
REACH = """query($of: ID!, $first: Int!, $after: String, $hops: Int) { now { reach(of: $of, first: $first,
    after: $after, hops: $hops) { total reached { steps asset { id } } pageInfo { hasNextPage endCursor } } } }"""
BLAST = """query($of: ID!) { now { blastRadius(of: $of) { of { id } total data { asset { id } } } } }"""


@pytest.fixture
async def here(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[GraphWorld]:
    """A world of this test's own."""
    async with graph_world(migrated_database(), tmp_path) as made:
        await made.project()
        yield made


async def apply(here: GraphWorld, assets: dict[str, Any]) -> None:
    """Make a file true."""
    headers = here.world.api.bearer(here.world.tenant, "admin")
    file = {"version": 1, "source": "platform", "assets": assets}
    answer = await here.world.api.client.post("/v1/estate/apply", json=file, headers=headers)
    assert '"result"' in answer.text, answer.text
    await here.project()


async def do(here: GraphWorld, command: str, **arguments: Any) -> None:
    """Run a command."""
    answer = await here.world.api.command(command, arguments, by=(here.world.tenant, "admin"))
    assert answer.status_code == 200, answer.text
    await here.project()


async def asked(here: GraphWorld, document: str, **variables: Any) -> dict[str, Any]:
    """Return what the admin is answered."""
    found: dict[str, Any] = await here.ask(document, variables, by="admin")
    found = found.get("now", found)
    (answer,) = found.values()
    assert isinstance(answer, dict)
    return answer


async def test_a_merge_closes_no_way(here: GraphWorld) -> None:
    """What was recorded of the one name counts as the survivor's: ways, reach both ways, blast radius, and controls."""
    await apply(here, MERGED)
    start, end = Z
    since = {"position": await here.world.position()}
    await do(here, "merge_assets", survivor="tool:z-new", merged="tool:z-old", reason="one tool")
    found = await asked(here, WAYS, **{"from": start, "to": end})
    (path,) = found["paths"]
    assert [(item["source"], item["target"]) for item in path["relations"]] == [
        ("asset:agent:z", "asset:tool_grant:zg"),
        ("asset:tool_grant:zg", "asset:tool:z-new"),
        ("asset:tool:z-new", "asset:dataset:zd"),
    ]
    assert path["relations"][1]["id"] == "relation:tool_grant:zg permits tool:z-old"
    assert path["controls"] == [{"on": "asset:tool:z-new", "control": {"id": "asset:approval_path:p"}}]
    (access,) = (await asked(here, REACHED_BY, of=end, first=10))["accesses"]
    assert (access["asset"]["id"], access["ungated"], access["steps"]) == ("asset:agent:z", False, 3)
    reach = await asked(here, REACH, of=start, first=10)
    assert [item["asset"]["id"] for item in reach["reached"]] == [
        "asset:tool_grant:zg",
        "asset:tool:z-new",
        "asset:dataset:zd",
    ]
    assert (await asked(here, OPENED, **{"from": start, "to": end}, since=since))["verdict"] == "OPEN_BEFORE"
    for name in ("tool:z-old", "tool:z-new"):
        blast = await asked(here, BLAST, of=name)
        assert (blast["of"]["id"], blast["total"]) == ("asset:tool:z-new", 2)
        assert [item["asset"]["id"] for item in blast["data"]] == ["asset:dataset:zd"]
        assert (await asked(here, WAYS, **{"from": name, "to": end}))["paths"]


async def test_a_merge_can_open_a_way_from_then_on(here: GraphWorld) -> None:
    """Only the one name was held, only the other leads on: the merge opened it, and as of before there is none."""
    file = {**MERGED, "tool:z-old": None}
    await apply(here, file)
    ends = {"from": Z[0], "to": Z[1]}
    since = {"position": await here.world.position()}
    assert (await asked(here, WAYS, **ends))["paths"] == []
    await do(here, "merge_assets", survivor="tool:z-new", merged="tool:z-old", reason="one tool")
    found = await asked(here, OPENED, **ends, since=since)
    assert found["verdict"] == "OPENED"
    assert [[event["type"] for event in item["events"]] for item in found["fewest"]] == [["asset.merged"]]
    then = WAYS.replace("query(", "query($at: Position!, ").replace("now", "now: at(position: $at)")
    assert (await asked(here, then, **ends, at=since["position"]))["paths"] == []


async def test_no_bound_of_steps_makes_a_statement_false(here: GraphWorld) -> None:
    """A way of seven steps without a gate counts, whatever number of steps was asked to be shown."""
    before = {"position": await here.world.position()}
    await apply(here, LONG_FILE)
    ends = {"from": LONG[0], "to": LONG[-1]}
    for hops, shown, beyond in ((None, [2, 7], False), (7, [2, 7], False), (6, [2], True), (1, [], True)):
        found = await asked(here, WAYS, **ends, hops=hops)
        assert [len(path["relations"]) for path in found["paths"]] == shown
        assert (found["more"], found["beyond"]) == (False, beyond)
        assert len(found["cut"]["steps"]) == 2
        opened = await asked(here, OPENED, **ends, since=before, hops=hops)
        assert (opened["verdict"], opened["beyond"]) == ("OPENED", beyond)
        assert [len(path["relations"]) for path in opened["paths"]] == shown
        by = await asked(here, REACHED_BY, of=LONG[-1], first=100, hops=hops)
        assert (by["total"] + by["beyond"], by["beyond"]) == (7, 6 if hops == 1 else 0)
        first = [item for item in by["accesses"] if item["asset"]["id"] == "asset:agent:l0"]
        assert [item["ungated"] for item in first] == ([] if hops == 1 else [True])
    assert (await asked(here, REACH, of=LONG[0], first=100))["total"] == 8
    assert (await asked(here, REACH, of=LONG[0], first=100, hops=3))["total"] == 5


async def test_pages_together_are_everything(here: GraphWorld) -> None:
    """Page by page the same as at once, in order, and a cursor of one question is no cursor of another."""
    agents = [f"agent:p{number:03}" for number in range(30)]
    await apply(here, {"dataset:pd": None} | {name: {"relations": {"reads": ["dataset:pd"]}} for name in agents})
    for document, items, of in ((REACHED_BY, "accesses", "dataset:pd"), (REACH, "reached", "agent:p000")):
        whole = await asked(here, document, of=of, first=100)
        found, after = [], None
        while True:
            page = await asked(here, document, of=of, first=7, after=after)
            assert page["total"] == whole["total"]
            found += page[items]
            after = page["pageInfo"]["endCursor"]
            if not page["pageInfo"]["hasNextPage"]:
                break
        assert found == whole[items]
    first = await asked(here, REACHED_BY, of="dataset:pd", first=7)
    refused = await here.answer(
        REACHED_BY, {"of": "agent:p000", "first": 7, "after": first["pageInfo"]["endCursor"]}, by="admin"
    )
    assert refused["errors"][0]["extensions"]["code"] == "invalid_cursor"
