"""Commands as mutations, one's own writes read back, and what erasure leaves. Serves DC-06, S0-120, S0-61."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from graphql_world import GraphWorld, graph_world

from quarterdeck_api import graphql_mount
from quarterdeck_graphql import service
from quarterdeck_graphql.at import At


@pytest.fixture
async def here(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[GraphWorld]:
    """A world of this test's own."""
    async with graph_world(migrated_database(), tmp_path) as made:
        await made.project()
        yield made


async def test_reads_wait_for_the_position_they_demand(here: GraphWorld) -> None:
    """`atLeast` answers once the read models are there; a reader that demands too much hears how far they are."""
    await here.project()
    await here.world.api.add(here.world.tenant, "eve", "approver")
    aim = await here.world.position()
    question = {"query": "query($p:Position){now(atLeast:$p){position}}", "variables": {"p": aim}}
    waiting = asyncio.create_task(here.post(question))
    while (await here.projector.advance(here.world.tenant))[1]:
        pass
    answer = (await waiting).json()
    assert answer["data"]["now"]["position"] >= aim


async def test_a_reader_that_waits_too_long_is_told(here: GraphWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the position that was reached; it may try again."""
    await here.world.api.add(here.world.tenant, "eve", "approver")
    monkeypatch.setattr("quarterdeck_graphql.record.WAIT_S", 0.05)
    aim = await here.world.position()
    answer = await here.post({"query": f"{{now(atLeast:{aim}){{position}}}}"})
    (error,) = answer.json()["errors"]
    assert error["extensions"]["code"] == "not_yet"
    assert error["extensions"]["details"]["position"] == aim


async def test_a_mutation_is_the_command(here: GraphWorld) -> None:
    """Recorded once, with its position; read back in the same answer; a secret shown once."""
    query = """mutation($input: RegisterPrincipalInput!, $key: String) {
        registerPrincipal(input: $input, idempotencyKey: $key) { __typename
            ... on RegisterPrincipalPayload { position recordedAt repeated result reveal events { position type } }
            ... on Problem { code message details } } }"""
    given = {"kind": "AGENT", "displayName": "scout", "owner": here.world.id("admin"), "roles": ["AGENT"]}
    before = await here.world.position()
    first = (await here.ask(query, {"input": given, "key": "k-1"}, by="admin"))["registerPrincipal"]
    assert first["__typename"] == "RegisterPrincipalPayload"
    assert first["position"] == before + 1
    assert first["events"] == [{"position": before + 1, "type": "principal.registered"}]
    again = (await here.ask(query, {"input": given, "key": "k-1"}, by="admin"))["registerPrincipal"]
    assert (again["position"], again["result"], again["repeated"]) == (first["position"], first["result"], True)
    other = (await here.ask(query, {"input": given | {"displayName": "x"}, "key": "k-1"}, by="admin"))[
        "registerPrincipal"
    ]
    assert (other["__typename"], other["code"]) == ("IdempotencyKeyReused", "idempotency_key_reused")
    assert await here.world.position() == before + 1
    over_rest = await here.world.api.command(
        "register_principal",
        {"kind": "agent", "display_name": "scout", "owner": here.world.id("admin"), "roles": ["agent"]},
        by=(here.world.tenant, "admin"),
        key="k-1",
    )
    assert over_rest.json()["position"] == first["position"]


async def test_a_mutation_s_secret_is_shown_once(here: GraphWorld) -> None:
    """Only by the answer to its recording; it opens what it should."""
    query = """mutation($input: IssueApiKeyInput!) { issueApiKey(input: $input, idempotencyKey: "key-1") {
        ... on IssueApiKeyPayload { reveal result repeated } } }"""
    made = (await here.ask(query, {"input": {"lifetimeS": 600}}, by="pep"))["issueApiKey"]
    assert (await here.ask(query, {"input": {"lifetimeS": 600}}, by="pep"))["issueApiKey"] == {
        "reveal": None,
        "result": made["result"],
        "repeated": True,
    }
    answer = await here.world.client.post(
        "/graphql", json={"query": "{now{position}}"}, headers={"Authorization": f"Bearer {made['reveal']['api_key']}"}
    )
    assert answer.status_code == 200


ISSUE = """issueApiKey(input: {lifetimeS: 600}, idempotencyKey: "%s") { __typename
    ... on IssueApiKeyPayload { position result reveal record { position tenant { name } } } ... on Problem { code } }"""


async def test_a_late_record_takes_nothing_else_with_it(here: GraphWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """The secret is told once: it is told whatever becomes of the record beside it."""
    monkeypatch.setattr("quarterdeck_graphql.record.WAIT_S", 0.05)
    before = await here.world.position()
    answer = (await here.post({"query": "mutation {" + ISSUE % "late-1" + "}"}, by="pep")).json()
    made = answer["data"]["issueApiKey"]
    assert (made["position"], made["record"]) == (before + 1, None)
    assert made["result"]["key_id"].startswith("key_")
    (error,) = answer["errors"]
    assert (error["path"], error["extensions"]["code"]) == (["issueApiKey", "record"], "not_yet")
    opened = await here.world.client.post(
        "/graphql", json={"query": "{__typename}"}, headers={"Authorization": f"Bearer {made['reveal']['api_key']}"}
    )
    assert opened.status_code == 200


@pytest.mark.parametrize("where", ["the record", "below it"])
async def test_a_record_that_never_comes_takes_nothing_else_with_it(
    here: GraphWorld, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """It is given up before the request is; and a command that no time is left for is not begun."""

    async def never(*_: object, **__: object) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(service.answer, "__kwdefaults__", {"accept": "", "deadline_s": 2.0})
    if where == "the record":
        monkeypatch.setattr("quarterdeck_graphql.mutations.record_at", never)
    else:
        await here.project()
        monkeypatch.setattr(At, "get", never)
    before = await here.world.position()
    following = asyncio.create_task(here.projector.follow(here.world.tenant))
    try:
        query = f"mutation {{ first: {ISSUE % 'never-1'} second: {ISSUE % 'never-2'} }}"
        response = await here.post({"query": query}, by="pep")
    finally:
        following.cancel()
    assert response.status_code == 200
    answer = response.json()
    assert answer["data"]["first"]["reveal"]["api_key"].startswith("qd_")
    assert answer["data"]["first"]["position"] == before + 1
    assert answer["data"]["second"] == {"__typename": "Busy", "code": "not_begun"}
    (error,) = answer["errors"]
    assert (error["path"], error["extensions"]["code"]) == (["first", "record"], "timed_out")
    assert await here.world.position() == before + 1


async def test_a_command_that_fails_takes_no_other_with_it(here: GraphWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one that fails as nobody foresaw, nor one that takes all the time there is."""
    run = graphql_mount.execute

    async def fail(services: Any, caller: Any, command: Any, value: Any, *, key: str | None) -> Any:
        if key == "bad":
            raise RuntimeError("planted")
        if key == "slow":
            await asyncio.Event().wait()
        return await run(services, caller, command, value, key=key)

    monkeypatch.setattr(graphql_mount, "execute", fail)
    monkeypatch.setattr(service.answer, "__kwdefaults__", {"accept": "", "deadline_s": 2.0})
    field = 'issueApiKey(input: {lifetimeS: 600}, idempotencyKey: "%s") { ... on IssueApiKeyPayload { reveal } }'
    query = f"mutation {{ good: {field % 'good'} bad: {field % 'bad'} slow: {field % 'slow'} }}"
    response = await here.post({"query": query}, by="pep")
    answer = response.json()
    assert response.status_code == 200
    assert answer["data"]["good"]["reveal"]["api_key"].startswith("qd_")
    assert (answer["data"]["bad"], answer["data"]["slow"]) == (None, None)
    told = {error["path"][0]: error["extensions"]["code"] for error in answer["errors"]}
    assert told == {"bad": "internal", "slow": "timed_out"}


async def test_a_vote_is_cast_and_read_back_in_one_request(here: GraphWorld) -> None:
    """The payload's record has the vote in it: `position` is waited for."""
    task = await here.world.request()
    shown = (await here.world.approval(task["id"])).json()
    variables = {
        "approval": task["id"],
        "input": {"approvalId": task["id"], "verdict": "APPROVE", "actionDigest": shown["action_digest"]},
        "idempotencyKey": "vote-1",
    }
    following = asyncio.create_task(here.projector.follow(here.world.tenant))
    try:
        answer = await here.post({"documentId": "CastVote", "variables": variables}, by="carol")
    finally:
        following.cancel()
    cast = answer.json()["data"]["castVote"]
    assert cast["__typename"] == "CastVotePayload"
    assert [event["type"] for event in cast["events"]] == ["approval.vote_cast", "approval.granted", "grant.minted"]
    assert cast["record"]["node"]["status"] == "APPROVED"
    assert cast["record"]["node"]["grant"]["id"].startswith("grt_")


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"actionDigest": "x"}, "InvalidInput"),
        ({"actionDigest": "sha256-action-v1:" + "0" * 64}, "Refused"),
        ({"approvalId": "apr_" + "0" * 26}, "NotFound"),
        ({"comment": "\u202e"}, "InvalidInput"),
    ],
)
async def test_a_mutation_that_is_refused_says_how(here: GraphWorld, change: dict[str, Any], kind: str) -> None:
    """As a type of the union, not as an error of the request; nothing is recorded."""
    task = await here.world.request()
    shown = (await here.world.approval(task["id"])).json()
    before = await here.world.position()
    given = {"approvalId": task["id"], "verdict": "DENY", "actionDigest": shown["action_digest"]} | change
    query = """mutation($input: CastVoteInput!) { castVote(input: $input) { __typename
        ... on Problem { code message details } } }"""
    found = (await here.ask(query, {"input": given}, by="carol"))["castVote"]
    assert found["__typename"] == kind, found
    assert found["message"]
    assert await here.world.position() == before


async def test_a_mutation_does_not_take_unknown_or_missing_fields(here: GraphWorld) -> None:
    """Strict, as over REST; an idempotency key is checked too."""
    query = """mutation($input: RevokeGrantInput!, $key: String) {
        revokeGrant(input: $input, idempotencyKey: $key) { __typename ... on Problem { message } } }"""
    for given in ({"grantId": "x"}, {"grantId": "x", "reason": "y", "admin": True}, {"grantId": 5, "reason": "y"}):
        assert await here.codes(query, {"input": given}, by="olga") == ["invalid_request"]
    for key in ("", "x" * 300, "ü", "\n"):
        answer = await here.ask(query, {"input": {"grantId": "x", "reason": "y"}, "key": key}, by="olga")
        assert answer["revokeGrant"]["__typename"] == "InvalidInput"


async def test_erasure_reads_as_erased_at_every_moment(here: GraphWorld) -> None:
    """Once the key is destroyed, name and request are withheld as erased, now and then; the rest stays."""
    await here.world.request()
    position = await here.world.position()
    query = """query($p: Position!, $id: ID!) { at(position: $p) {
        node(id: $id) { ... on Principal { displayName email withheld { field reason } } }
        decisions(first: 1) { edges { node { id request action withheld { field reason } } } } } }"""
    variables = {"p": position, "id": here.world.id("bot")}
    clear = (await here.ask(query, variables))["at"]
    assert clear["node"] == {"displayName": "bot", "email": None, "withheld": []}
    keys = here.world.services.ledger.keys
    assert await keys.destroy(here.world.tenant, here.world.id("bot"))
    gone = (await here.ask(query, variables))["at"]
    assert gone["node"] == {
        "displayName": None,
        "email": None,
        "withheld": [{"field": "display_name", "reason": "ERASED"}],
    }
    decision = gone["decisions"]["edges"][0]["node"]
    assert (decision["request"], decision["action"]) == (None, "refund")
    assert decision["withheld"] == [{"field": "request", "reason": "ERASED"}]
    explained = await here.ask(
        "query($d: ID!) { explain(id: $d) { request redecided { outcome notReplayable } } }",
        {"d": decision["id"]},
    )
    assert explained["explain"]["request"] is None
    assert "erased" in explained["explain"]["redecided"]["notReplayable"]
    timeline = await here.ask(
        "{ timeline(first: 90, order: NEWEST_FIRST) { edges { node { data withheld { field reason } } } } }"
    )
    assert "4711" not in json.dumps([edge["node"]["data"].get("request") for edge in timeline["timeline"]["edges"]])
