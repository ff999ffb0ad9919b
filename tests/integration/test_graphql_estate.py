"""The map over GraphQL: objects, relations, reach, ways and the cut, now and then.

Serves S0-01, S0-16, S0-17, S0-56, S0-57, S0-72, S0-14.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from graphql_world import GraphWorld, graph_world

FILE: dict[str, Any] = {
    "version": 1,
    "source": "platform",
    "assets": {
        "agent:support": {
            "owner": "support-rota",
            "relations": {"calls": ["mcp_server:crm", "tool:notes"], "gated_by": ["approval_path:default"]},
        },
        "agent:other": {"relations": {"calls": ["tool:notes"]}},
        "mcp_server:crm": {"relations": {"exposes": ["tool:lookup"]}},
        "tool:lookup": {"relations": {"reads": ["dataset:customers"], "governed_by": ["policy_bundle:core"]}},
        "tool:notes": {"relations": {"reads": ["retrieval_index:notes"]}},
        "retrieval_index:notes": {"relations": {"derived_from": ["dataset:customers"]}},
        "dataset:customers": {"classification": "restricted"},
        "approval_path:default": None,
        "policy_bundle:core": None,
    },
}
WAYS = """query($position: Position!) { at(position: $position) { ways(from: "agent:support", to: "dataset:customers") {
    more paths { declared relations { sentence } controls { on relation control { id } } }
    cut { exact considered steps { action subject } } } } }"""
REACH = """query($of: ID!, $direction: Direction!, $kinds: [String!]) { now { reach(of: $of, first: 20,
    direction: $direction, kinds: $kinds) { total reached { steps asset { id } } } } }"""


@pytest.fixture
async def here(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[GraphWorld]:
    """A world of this test's own, with an estate in it."""
    async with graph_world(migrated_database(), tmp_path) as made:
        await made.project()
        await apply(made, FILE)
        yield made


async def apply(here: GraphWorld, file: object) -> None:
    """Make a file true."""
    headers = here.world.api.bearer(here.world.tenant, "admin")
    answer = await here.world.api.client.post("/v1/estate/apply", json=file, headers=headers)
    assert '"result"' in answer.text, answer.text
    await here.project()


async def ways(here: GraphWorld, position: int) -> dict[str, Any]:
    """Return the ways from the agent to the data as of a position."""
    answer: dict[str, Any] = (await here.ask(WAYS, {"position": position}, by="admin"))["at"]["ways"]
    return answer


async def test_the_ways_to_the_data_and_what_would_close_them(here: GraphWorld) -> None:
    """Each way with its controls; the cut closes all of them, and as of an earlier moment there was none."""
    found = await ways(here, await here.world.position())
    sentences = [[relation["sentence"] for relation in path["relations"]] for path in found["paths"]]
    assert sorted(sentences) == [
        [
            "agent:support calls mcp_server:crm",
            "mcp_server:crm exposes tool:lookup",
            "tool:lookup reads dataset:customers",
        ],
        [
            "agent:support calls tool:notes",
            "tool:notes reads retrieval_index:notes",
            "retrieval_index:notes is derived from dataset:customers",
        ],
    ]
    assert found["paths"][0]["controls"][0] == {
        "on": "asset:agent:support",
        "relation": "gated_by",
        "control": {"id": "asset:approval_path:default"},
    }
    assert found["cut"]["exact"]
    assert found["cut"]["steps"] == [{"action": "enforce", "subject": "approval_path:default"}]


async def test_reach_forward_and_backward(here: GraphWorld) -> None:
    """What an agent reaches, and who reaches the data."""
    forward = await here.ask(REACH, {"of": "agent:support", "direction": "FORWARD", "kinds": ["dataset"]}, by="admin")
    assert forward["now"]["reach"] == {
        "total": 1,
        "reached": [{"steps": 3, "asset": {"id": "asset:dataset:customers"}}],
    }
    back = await here.ask(REACH, {"of": "dataset:customers", "direction": "BACKWARD", "kinds": ["agent"]}, by="admin")
    assert [item["asset"]["id"] for item in back["now"]["reach"]["reached"]] == [
        "asset:agent:other",
        "asset:agent:support",
    ]


async def test_quarantine_closes_a_way_and_the_past_keeps_it(here: GraphWorld) -> None:
    """What is in quarantine lets nothing through; as of before, it did."""
    before = await here.world.position()
    body = {"asset": "tool:lookup", "reason": "its description changed"}
    await here.world.api.command("quarantine_asset", body, by=(here.world.tenant, "admin"))
    await here.project()
    assert len((await ways(here, await here.world.position()))["paths"]) == 1
    assert len((await ways(here, before))["paths"]) == 2


async def test_the_difference_between_two_moments(here: GraphWorld) -> None:
    """What changed is told in words of the estate."""
    before = await here.world.position()
    await apply(here, {"version": 1, "source": "x", "assets": {"agent:other": {"owner": "somebody-else"}}})
    query = """query($from: Position!) { diff(from: {position: $from}) { changes(first: 10, kinds: [ASSET, RELATION]) {
        edges { node { kind objectId fields { name before after } } } } } }"""
    changes = (await here.ask(query, {"from": before}, by="admin"))["diff"]["changes"]["edges"]
    assert [edge["node"]["objectId"] for edge in changes] == ["asset:agent:other"]
    fields = {item["name"]: (item["before"], item["after"]) for item in changes[0]["node"]["fields"]}
    assert fields["owner"] == (None, "somebody-else")


async def test_an_agent_does_not_read_the_map(here: GraphWorld) -> None:
    """The map is for people who read the record."""
    answer = await here.post(
        {"query": REACH, "variables": {"of": "agent:other", "direction": "FORWARD", "kinds": None}}, by="bot"
    )
    assert answer.json()["errors"][0]["extensions"]["code"] == "not_allowed"
