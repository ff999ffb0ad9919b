"""Ids of the estate over GraphQL: every filter and argument takes the form of files and that of answers.

Serves S0-01, S0-12.
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
        "agent:bot": {"relations": {"calls": ["tool:crm/refund"]}},
        "tool:crm/refund": None,
    },
}
CALLS = "agent:bot calls tool:crm/refund"


@pytest.fixture
async def here(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[GraphWorld]:
    """A world of this test's own, with two objects and a drift in it."""
    async with graph_world(migrated_database(), tmp_path) as made:
        await made.project()
        client, headers = made.world.api.client, made.world.api.bearer(made.world.tenant, "admin")
        answer = await client.post("/v1/estate/apply", json=FILE, headers=headers)
        assert '"result"' in answer.text, answer.text
        drift = {"asset": "agent:bot", "input": "model", "field": "model", "expected": "a", "found": "b"}
        answer = await client.post(
            "/v1/commands/detect_drift", json=drift, headers=headers | {"Idempotency-Key": "drift"}
        )
        assert answer.is_success, answer.text
        await made.project()
        yield made


FILTERS = [
    ("relations", "RelationFilter", "source", "agent:bot"),
    ("relations", "RelationFilter", "target", "tool:crm/refund"),
    ("drifts", "DriftFilter", "asset", "agent:bot"),
    ("findings", "FindingFilter", "asset", "agent:bot"),
]


@pytest.mark.parametrize(("field", "type_", "name", "asset"), FILTERS)
async def test_filters_take_both_forms(here: GraphWorld, field: str, type_: str, name: str, asset: str) -> None:
    """An id that was answered narrows as the name does; what can be no id is refused, not answered with nothing."""
    node = "{ __typename }"
    query = f"query($wanted: {type_}) {{ now {{ {field}(first: 50, filter: $wanted) {{ edges {{ node {node} }} }} }} }}"
    found = [
        (await here.ask(query, {"wanted": {name: [given]}}, by="admin"))["now"][field]["edges"]
        for given in (asset, f"asset:{asset}")
    ]
    assert found[0] == found[1]
    assert found[0]
    for wrong in ("bot", "asset:bot", "gadget:bot", "", "asset:asset:agent:bot", "agent:a b", "agent:bot\n"):
        assert await here.codes(query, {"wanted": {name: [wrong]}}, by="admin") == ["invalid_input"], wrong


@pytest.mark.parametrize("known", ["", "at(position: $p) ", "now "])
async def test_an_object_by_both_forms(here: GraphWorld, known: str) -> None:
    """`node` answers the same object for both forms, whatever its name holds; a relation, too; null for none."""
    declared = "query($id: ID!, $p: Position!)" if "$p" in known else "query($id: ID!)"
    inner = "node(id: $id) { id __typename }"
    query = f"{declared} {{ {known}{{ {inner} }} }}" if known else f"{declared} {{ {inner} }}"
    position = {"p": await here.world.position()} if "$p" in known else {}

    async def node(object_id: str) -> Any:
        answer = await here.ask(query, {"id": object_id, **position}, by="admin")
        return (next(iter(answer.values())) if known else answer)["node"]

    tool = {"id": "asset:tool:crm/refund", "__typename": "Asset"}
    assert await node("tool:crm/refund") == await node("asset:tool:crm/refund") == tool
    relation = {"id": f"relation:{CALLS}", "__typename": "Relation"}
    assert await node(CALLS) == await node(f"relation:{CALLS}") == relation
    assert await node("tool:crm/other") is None


@pytest.mark.parametrize("about", [CALLS, f"relation:{CALLS}"])
async def test_a_timeline_of_a_relation_by_both_forms(here: GraphWorld, about: str) -> None:
    """What touched a relation is told for both forms of its id."""
    query = "query($about: [ID!]) { timeline(first: 9, filter: { about: $about }) { edges { node { type } } } }"
    found = (await here.ask(query, {"about": [about]}, by="admin"))["timeline"]["edges"]
    assert [item["node"]["type"] for item in found] == ["estate.applied", "relation.declared"]


@pytest.mark.parametrize("given", ["asset:{}", "{}"])
async def test_arguments_take_both_forms(here: GraphWorld, given: str) -> None:
    """Reach, ways, blast radius and differences take both forms of an object's id."""
    query = """query($a: ID!, $b: ID!, $c: [String!]) {
        now {
            reach(of: $a, first: 5) { total }
            reachedBy(of: $b, first: 5) { total }
            blastRadius(of: $b) { total }
            ways(from: $a, to: $b) { paths { declared } }
        }
        opened(from: $a, to: $b, since: { position: 1 }) { verdict }
        diff(from: { position: 1 }) {
            changes(first: 9, assets: $c) { edges { node { objectId } } }
            needed: changes(first: 9, neededBy: $a) { edges { node { objectId } } }
        }
    }"""
    a, b = given.format("agent:bot"), given.format("tool:crm/refund")
    found = await here.ask(query, {"a": a, "b": b, "c": [a]}, by="admin")
    assert found["now"]["reach"]["total"] == found["now"]["reachedBy"]["total"] == 1
    assert len(found["now"]["ways"]["paths"]) == 1
    assert found["now"]["blastRadius"]["total"] >= 1
    assert found["opened"]["verdict"] == "OPENED"
    assert found["diff"]["changes"]["edges"]
    assert found["diff"]["needed"]["edges"]
