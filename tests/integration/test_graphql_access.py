"""Who may ask what: every field has its line here, and a field without one fails the suite.

Serves DC-05, DC-06; RELIABILITY G14 (one tenant never sees, names or counts another); invariant 5 of the design.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLObjectType,
    get_named_type,
    is_list_type,
    is_non_null_type,
)
from graphql_world import GraphWorld, Story, graph_world

from quarterdeck_domain.command_catalogue import COMMANDS
from quarterdeck_graphql.schema import build_schema

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCHEMA = build_schema(introspection=True)._schema
READERS: Final = ("admin", "olga", "carol", "ann")
"""An administrator, an operator, an approver and an auditor."""

OWN: Final = "everybody, each its own"
ALL: Final = "readers alone"
FREE: Final = "everybody, the same"
ONE: Final = "readers alone, of one object"
WHOLE: Final = "readers alone, of the whole estate"

QUERIES: Final = {
    "now": ("{ now { position } }", FREE),
    "at": ("{ at(position: 9) { position recordedAt } }", FREE),
    "log": ("{ log { verifierKeys inclusionProof(position: 3, size: 9) { hashes } } }", FREE),
    "node": ("{ node(id: $approval) { id } }", OWN),
    "timeline": ("{ timeline(first: 100) { edges { node { position data } } } }", OWN),
    "explain": ("{ explain(id: $decision) { request } }", OWN),
    "diff": ("{ diff(from: { position: 3 }) { from { position } } }", ALL),
}
RECORD: Final = {
    "position": FREE,
    "recordedAt": FREE,
    "tenant": FREE,
    "node": OWN,
    "principals": OWN,
    "apiKeys": OWN,
    "decisions": OWN,
    "approvals": OWN,
    "grants": OWN,
    "effects": OWN,
    "policyBundles": ALL,
    "approvalPaths": ALL,
    "callbacks": ALL,
    "parkedEvents": ALL,
    "assets": ALL,
    "relations": ALL,
    "drifts": ALL,
    "sources": ALL,
    "reach": ONE,
    "ways": ONE,
    "reachedBy": ONE,
    "blastRadius": ONE,
    "moment": FREE,
    "findings": WHOLE,
    "coverage": WHOLE,
}
OPENED: Final = 'opened(from: "agent:x", to: "dataset:y", since: { position: 3 }) { verdict }'
"""A question at the root about objects of the estate."""
SUBSCRIPTIONS: Final = {"timeline", "replay"}
"""Tried in `test_graphql_subscriptions.py`."""
MINE: Final = {
    "principals": "id",
    "apiKeys": "principalId",
    "decisions": "requesterId",
    "approvals": "requesterId",
    "grants": "redeemerId",
    "effects": "redeemerId",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def there(
    module_database: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[GraphWorld, Story]]:
    """Two tenants, and something that happened in one."""
    directory: Path = tmp_path_factory.mktemp("house")
    async with graph_world(module_database, directory, also=("globex",)) as made:
        story = await made.tell()
        await made.world.api.add("globex", "spy", "auditor")
        await made.world.delegate("bot-for-admin", "bot", "admin")
        await made.project()
        yield made, story


@pytest.fixture
def here(there: tuple[GraphWorld, Story]) -> GraphWorld:
    """The world."""
    return there[0]


@pytest.fixture
def story(there: tuple[GraphWorld, Story]) -> Story:
    """What happened in it."""
    return there[1]


def filled(query: str, story: Story, whose: str = "approval") -> str:
    """Return a query with the ids of the story in it."""
    decision = {"approval": "decision:refund:approval_required"}.get(whose, whose)
    return query.replace("$approval", f'"{story.ids[whose]}"').replace("$decision", f'"{story.ids[decision]}"')


def listing(name: str, fields: str) -> str:
    """Return the question for a list."""
    return f"{{ now {{ {name}(first: 100) {{ edges {{ node {{ {fields} }} }} }} }} }}"


async def test_every_field_has_its_line() -> None:
    """So nobody adds a question without saying who may ask it."""
    assert SCHEMA.query_type is not None
    assert SCHEMA.subscription_type is not None
    assert SCHEMA.mutation_type is not None
    assert set(SCHEMA.query_type.fields) == {*QUERIES, "opened"}
    record = SCHEMA.type_map["Record"]
    assert isinstance(record, GraphQLObjectType)
    assert set(record.fields) == set(RECORD)
    assert set(SCHEMA.subscription_type.fields) == SUBSCRIPTIONS
    assert len(SCHEMA.mutation_type.fields) == len(COMMANDS)


async def test_without_a_credential_nothing_is_answered(here: GraphWorld) -> None:
    """401, before the document is looked at."""
    for headers in (
        {},
        {"Authorization": "Bearer qd_acme_" + "0" * 26 + "_" + "A" * 43},
        {"Authorization": "Basic eDp5"},
    ):
        answer = await here.world.client.post("/graphql", json={"query": "{"}, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("name", QUERIES)
async def test_readers_are_answered_the_same(here: GraphWorld, story: Story, name: str) -> None:
    """Administrator, operator, approver and auditor: no errors, and one answer."""
    query = filled(QUERIES[name][0], story)
    answers = [await here.answer(query, by=reader) for reader in READERS]
    assert all("errors" not in answer for answer in answers)
    assert all(answer == answers[0] for answer in answers)


@pytest.mark.parametrize("name", [name for name, who in RECORD.items() if who == ALL])
async def test_what_is_nobody_s_is_for_readers(here: GraphWorld, name: str) -> None:
    """An agent, and a person without a role, are told who may; readers are answered."""
    query = listing(name, "id")
    for reader in READERS:
        assert await here.codes(query, by=reader) == []
    for other in ("bot", "alice", "pep", "bot-for-admin"):
        answer = await here.answer(query, by=other)
        assert [error["extensions"]["code"] for error in answer["errors"]] == ["not_allowed"]
        assert answer["errors"][0]["message"].startswith(f"`{name}` is answered to administrator, approver, ")
        assert answer["data"] is None


OBJECTS: Final = {
    "reach": 'reach(of: "agent:x", first: 1) { total }',
    "ways": 'ways(from: "agent:x", to: "dataset:y") { more }',
    "reachedBy": 'reachedBy(of: "dataset:x", first: 1) { total }',
    "blastRadius": 'blastRadius(of: "tool:x") { total }',
}
"""What is asked of one object of the estate."""


@pytest.mark.parametrize("name", [name for name, who in RECORD.items() if who == ONE])
async def test_what_is_asked_of_an_object_is_for_readers(here: GraphWorld, name: str) -> None:
    """Who may not ask learns nothing, not even whether there is such an object."""
    query = f"{{ now {{ {OBJECTS[name]} }} }}"
    for reader in READERS:
        assert await here.codes(query, by=reader) == ["not_found"]
    for other in ("bot", "alice", "pep", "bot-for-admin"):
        assert await here.codes(query, by=other) == ["not_allowed"]


async def test_what_opened_a_way_is_for_readers(here: GraphWorld) -> None:
    """As what is asked of an object: the others learn nothing."""
    for reader in READERS:
        assert await here.codes(f"{{ {OPENED} }}", by=reader) == ["not_found"]
    for other in ("bot", "alice", "pep", "bot-for-admin"):
        assert await here.codes(f"{{ {OPENED} }}", by=other) == ["not_allowed"]


@pytest.mark.parametrize("name", [name for name, who in RECORD.items() if who == WHOLE])
async def test_what_is_found_of_the_estate_is_for_readers(here: GraphWorld, name: str) -> None:
    """Of an empty one, too."""
    query = {
        "findings": "{ now { findings(first: 1) { total } } }",
        "coverage": "{ now { coverage(by: TEAM) { total } } }",
    }
    for reader in READERS:
        assert (await here.ask(query[name], by=reader))["now"][name]["total"] == 0
    for other in ("bot", "alice", "pep", "bot-for-admin"):
        assert await here.codes(query[name], by=other) == ["not_allowed"]


@pytest.mark.parametrize("name", MINE)
async def test_an_agent_reads_its_own(here: GraphWorld, name: str) -> None:
    """Each what is its own, and together no more than what readers see; nobody's key shows another's things."""
    column = MINE[name]
    everything = {
        node["node"]["id"]: node["node"][column]
        for node in (await here.ask(listing(name, f"id {column}")))["now"][name]["edges"]
    }
    for who in ("bot", "rival", "alice", "bot-for-admin"):
        own = (await here.ask(listing(name, f"id {column}"), by=who))["now"][name]["edges"]
        found = {node["node"]["id"] for node in own}
        assert found == {item for item, owner in everything.items() if owner == here.world.id(who)}
    assert len(set(everything.values())) > 1 or name in ("effects", "grants")


@pytest.mark.parametrize("name", [name for name in MINE if name != "principals"])
async def test_a_filter_does_not_widen(here: GraphWorld, name: str) -> None:
    """Asking for somebody else's by name finds nothing."""
    column = {"apiKeys": "principalId", "decisions": "requester", "approvals": "requester"}.get(name, "redeemer")
    for other in ("bot", "admin"):
        query = listing(name, "id").replace(
            "first: 100", f'first: 9, filter: {{ {column}: ["{here.world.id(other)}"] }}'
        )
        assert (await here.ask(query, by="rival"))["now"][name]["edges"] == []


async def test_ids_of_others_are_as_unknown(here: GraphWorld, story: Story) -> None:
    """Every object, asked for by the agent that it does not concern, then and now: null, as if it was not."""
    ids = [*story.ids.values(), here.world.id("admin"), here.world.id("carol"), "path:default"]
    bundle = await here.ask(listing("policyBundles", "id"))
    ids.append(bundle["now"]["policyBundles"]["edges"][0]["node"]["id"])
    votes = await here.ask(filled("{ node(id: $approval) { ... on Approval { votes { id } } } }", story))
    ids.append(votes["node"]["votes"][0]["id"])
    rivals = {story.ids["waiting"], story.ids.get("decision:refund:rival")}
    for object_id in ids:
        if object_id in rivals:
            continue
        query = """query($id: ID!) { node(id: $id) { id } at(position: 31) { node(id: $id) { id } }
            explain(id: $id) { request } }"""
        answer = await here.ask(query, {"id": object_id}, by="rival")
        assert answer == {"node": None, "at": {"node": None}, "explain": None}, object_id
    assert (await here.ask("query($id: ID!) { node(id: $id) { id } }", {"id": story.ids["waiting"]}, by="rival"))[
        "node"
    ]


async def test_what_leads_away_from_one_s_own_leads_nowhere(here: GraphWorld, story: Story) -> None:
    """From its approval an agent sees that it was voted on, not the people; personal fields of others stay sealed."""
    query = """query($id: ID!) { node(id: $id) { ... on Approval { status request
        requester { id displayName owner { id } } decision { outcome request bundle { id } }
        votes { verdict comment approverId approver { id } withheld { field reason } }
        grant { state effect { outcome } } withheld { field } } } }"""
    found = (await here.ask(query, {"id": story.ids["refused"]}, by="bot"))["node"]
    assert found["status"] == "DENIED"
    assert json.loads(found["request"])["resource"]["id"] == "12"
    assert found["requester"] == {"id": here.world.id("bot"), "displayName": "bot", "owner": None}
    assert found["decision"]["bundle"] is None
    assert found["withheld"] == []
    assert found["votes"] == [
        {
            "verdict": "DENY",
            "comment": None,
            "approverId": here.world.id("dave"),
            "approver": None,
            "withheld": [{"field": "comment", "reason": "SEALED"}],
        }
    ]
    whole = (await here.ask(query, {"id": story.ids["refused"]}))["node"]
    assert whole["votes"][0]["comment"] == "too much"
    assert whole["votes"][0]["approver"] == {"id": here.world.id("dave")}
    assert whole["decision"]["bundle"] is not None


async def test_an_agent_s_timeline_is_its_own(here: GraphWorld, story: Story) -> None:
    """What names it and what it recorded; the events of a thing of its own by asking for that thing; nobody else's."""
    query = """query($f: TimelineFilter) { timeline(first: 100, filter: $f) { edges { node {
        position tags type data withheld { field } } } } }"""
    rival = here.world.id("rival")
    own = (await here.ask(query, by="rival"))["timeline"]["edges"]
    assert own
    for edge in own:
        assert not {f"principal:{rival}", f"actor:{rival}"}.isdisjoint(edge["node"]["tags"])
    about = (await here.ask(query, {"f": {"about": [story.ids["refused"]]}}, by="bot"))["timeline"]["edges"]
    assert [edge["node"]["type"] for edge in about] == ["approval.requested", "approval.vote_cast", "approval.denied"]
    vote = about[1]["node"]
    assert (vote["data"]["comment"], vote["withheld"]) == (None, [{"field": "comment"}])
    assert about[0]["node"]["data"]["request"] is not None
    for thing in ("approval", "effect", "grant"):
        assert await here.codes(query, {"f": {"about": [story.ids[thing]]}}, by="rival") == ["not_allowed"]
    assert await here.codes(query, {"f": {"tags": ["approval:apr_" + "0" * 26]}}, by="rival") == ["not_allowed"]
    assert (await here.ask(query, {"f": {"about": [here.world.id("bot")]}}, by="rival"))["timeline"]["edges"] == []
    assert (await here.ask(query, {"f": {"actors": [here.world.id("bot")]}}, by="rival"))["timeline"]["edges"] == []
    registered = [edge["node"] for edge in own if edge["node"]["type"] == "principal.registered"]
    assert [(node["data"]["display_name"], node["withheld"]) for node in registered] == [
        (None, [{"field": "display_name"}])
    ]


async def test_an_event_by_its_id_is_shown_to_whom_it_concerns(here: GraphWorld) -> None:
    """As the timeline does."""
    events = await here.world.services.ledger.read(here.world.tenant)
    rival = here.world.id("rival")
    for event in events:
        concerned = bool({f"principal:{rival}", f"actor:{rival}"} & set(event.tags))
        answer = await here.ask("query($id: ID!) { node(id: $id) { id } }", {"id": str(event.id)}, by="rival")
        assert (answer["node"] is not None) == concerned


async def test_another_tenant_sees_nothing_at_all(here: GraphWorld, story: Story) -> None:
    """Its auditor asks for every id and every list: not one name, id or number of the other's is in the answers."""
    house, tenant = here.world.api, here.world.tenant
    headers = house.bearer("globex", "spy")
    queries: list[tuple[str, dict[str, Any]]] = [
        ("query($id: ID!) { node(id: $id) { __typename id } explain(id: $id) { request } }", {"id": object_id})
        for object_id in (*story.ids.values(), here.world.id("bot"), f"tenant:{tenant}", "path:default")
    ]
    queries += [(listing(name, "id"), {}) for name, who in RECORD.items() if who in (OWN, ALL) and name != "node"]
    queries += [
        (
            "query($f: TimelineFilter) { timeline(first: 100, filter: $f) { edges { node { position } } } }",
            {"f": {"about": [thing]}},
        )
        for thing in (story.ids["approval"], here.world.id("bot"))
    ]
    everything = ""
    for query, variables in queries:
        answer = await here.world.client.post(
            "/graphql", json={"query": query, "variables": variables}, headers=headers
        )
        assert "errors" not in answer.json(), answer.text
        everything += answer.text
    for secret in (*story.ids.values(), here.world.id("bot"), here.world.id("carol"), tenant):
        assert secret not in everything
    beyond = await here.world.client.post(
        "/graphql", json={"query": f"{{ at(position: {story.positions['redeemed']}) {{ position }} }}"}, headers=headers
    )
    assert beyond.json()["errors"][0]["extensions"]["code"] == "invalid_input"
    page = await here.ask("{ now { principals(first: 1) { pageInfo { endCursor } } } }")
    cursor = page["now"]["principals"]["pageInfo"]["endCursor"]
    stolen = await here.world.client.post(
        "/graphql",
        json={"query": f'{{ now {{ principals(first: 1, after: "{cursor}") {{ edges {{ cursor }} }} }} }}'},
        headers=headers,
    )
    assert stolen.json()["errors"][0]["extensions"]["code"] == "invalid_cursor"


def sample(kind: Any) -> Any:
    """Return a value that GraphQL accepts for an input; what it means is nonsense."""
    if is_non_null_type(kind):
        kind = kind.of_type
    if is_list_type(kind):
        return [sample(kind.of_type)]
    named = get_named_type(kind)
    if isinstance(named, GraphQLEnumType):
        return next(iter(named.values))
    if isinstance(named, GraphQLInputObjectType):
        return {name: sample(field.type) for name, field in named.fields.items() if is_non_null_type(field.type)}
    return {"Int": 1, "Position": 1, "Boolean": True}.get(named.name, "x")


@pytest.mark.parametrize("name", COMMANDS)
async def test_a_mutation_is_for_its_roles(here: GraphWorld, name: str) -> None:
    """Whoever has none of them is refused, typed, and nothing is recorded; whoever has one gets past that."""
    command = COMMANDS[name]
    camel = "".join(part.capitalize() for part in name.split("_"))
    query = f"""mutation($input: {camel}Input!) {{ m: {camel[0].lower()}{camel[1:]}(input: $input) {{ __typename
        ... on Problem {{ code message }} }} }}"""
    variables = {"input": sample(SCHEMA.type_map[f"{camel}Input"])}
    who = {"admin": "administrator", "olga": "operator", "carol": "approver", "ann": "auditor", "bot": "agent"}
    for person, role in who.items():
        before = await here.world.position()
        answer = (await here.ask(query, variables, by=person))["m"]
        if command.roles and role not in command.roles:
            assert (answer["__typename"], answer["code"]) == ("NotAllowed", "not_allowed"), (person, answer)
        elif command.roles:
            assert answer["__typename"] != "NotAllowed" or name == "cast_vote", (person, answer)
        if not answer["__typename"].endswith("Payload"):
            assert await here.world.position() == before
