"""The record over GraphQL, on real PostgreSQL: now, then, what happened, what changed, why, and the proof.

Serves DC-06, S0-120, C08.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from graphql_world import GraphWorld, Story, graph_world

from quarterdeck_domain import merkle
from quarterdeck_ledger.notes import parse_vkey, verify_checkpoint

pytestmark = pytest.mark.asyncio(loop_scope="module")

LISTS = {
    "principals": "kind displayName state",
    "apiKeys": "prefix purpose state",
    "policyBundles": "name mode",
    "decisions": "outcome action",
    "approvalPaths": "name pathVersion stages { name roles quorum }",
    "approvals": "status action",
    "grants": "state subject",
    "effects": "outcome effectClass",
    "callbacks": "state reason",
    "parkedEvents": "position reason",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def there(
    module_database: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[GraphWorld, Story]]:
    """A world in which something happened. These tests only read."""
    directory: Path = tmp_path_factory.mktemp("house")
    async with graph_world(module_database, directory) as made:
        yield made, await made.tell()


@pytest.fixture
def here(there: tuple[GraphWorld, Story]) -> GraphWorld:
    """The world."""
    return there[0]


@pytest.fixture
def story(there: tuple[GraphWorld, Story]) -> Story:
    """What happened in it."""
    return there[1]


def nodes(connection: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the nodes of a connection."""
    return [edge["node"] for edge in connection["edges"]]


async def test_now_is_at_the_last_position(here: GraphWorld) -> None:
    """The same type, the same answer: the record as of its own position is itself."""
    body = "position recordedAt tenant { name state } " + " ".join(
        f"{name}(first: 20) {{ edges {{ node {{ id {fields} }} }} }}" for name, fields in LISTS.items()
    )
    now = (await here.ask(f"{{ now {{ {body} }} }}"))["now"]
    assert now["position"] == await here.world.position()
    assert now["tenant"] == {"name": here.world.tenant, "state": "OPEN"}
    found = await here.ask(f"query($p: Position!) {{ at(position: $p) {{ {body} }} }}", {"p": now["position"]})
    assert found["at"] == now
    by_time = await here.ask(f"query($t: DateTime!) {{ at(time: $t) {{ {body} }} }}", {"t": now["recordedAt"]})
    assert by_time["at"] == now
    assert {name for name in LISTS if nodes(now[name])} == set(LISTS) - {"callbacks", "parkedEvents"}


async def test_every_position_has_its_own_answer(here: GraphWorld, story: Story) -> None:
    """Before, between and after: the approval is not there, is approved, is redeemed; the past never moves."""
    query = """query($p: Position!, $id: ID!) { at(position: $p) { position
        node(id: $id) { ... on Approval { status grant { state effect { outcome } } votes { verdict } } } } }"""
    ids = {"id": story.ids["approval"]}
    before = await here.ask(query, {"p": story.positions["before"], **ids})
    assert before["at"]["node"] is None
    approved = await here.ask(query, {"p": story.positions["approved"], **ids})
    assert approved["at"]["node"] == {
        "status": "APPROVED",
        "grant": {"state": "MINTED", "effect": None},
        "votes": [{"verdict": "APPROVE"}],
    }
    redeemed = await here.ask(query, {"p": story.positions["redeemed"], **ids})
    assert redeemed["at"]["node"]["grant"] == {"state": "REDEEMED", "effect": {"outcome": "STARTED"}}
    empty = await here.ask(
        "{ at(position: 0) { position recordedAt tenant { id } principals(first: 1) { edges { node { id } } } } }"
    )
    assert empty["at"] == {"position": 0, "recordedAt": None, "tenant": None, "principals": {"edges": []}}


async def test_a_time_stands_for_the_last_position_recorded_by_then(here: GraphWorld, story: Story) -> None:
    """A microsecond before an event it was not there yet."""
    (event,) = await here.world.services.ledger.read(here.world.tenant, after=9, until=10)
    query = "query($t: DateTime!) { at(time: $t) { position } }"
    at = await here.ask(query, {"t": event.recorded_at.isoformat()})
    just_before = await here.ask(query, {"t": (event.recorded_at - timedelta(microseconds=1)).isoformat()})
    assert just_before["at"]["position"] < 10 <= at["at"]["position"]
    assert story.positions["before"] > 10


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ('{ at(position: 1, time: "2026-01-01T00:00:00Z") { position } }', "invalid_input"),
        ("{ at(position: 999999) { position } }", "invalid_input"),
        ("{ now(atLeast: 999999) { position } }", "invalid_input"),
        ("{ at(position: -1) { position } }", "invalid_request"),
        ("{ at(position: 1.5) { position } }", "invalid_request"),
        ('{ at(position: "1") { position } }', "invalid_request"),
        ('{ at(time: "yesterday") { position } }', "invalid_request"),
        ('{ at(time: "2026-01-01T00:00:00") { position } }', "invalid_request"),
        ('{ at(time: "2999-01-01T00:00:00Z") { position } }', "invalid_input"),
        ('{ now { approvals(first: 1, after: "x") { edges { cursor } } } }', "invalid_cursor"),
        ("{ now { approvals { edges { cursor } } } }", "invalid_request"),
        ("{ diff(from: { position: 9 }, to: { position: 3 }) { from { position } } }", "invalid_input"),
        ("{ diff(from: {}) { from { position } } }", "invalid_request"),
        ('{ diff(from: { position: 1, time: "2026-01-01T00:00:00Z" }) { from { position } } }', "invalid_request"),
        ('{ timeline(first: 1, filter: { types: ["no.such"] }) { edges { cursor } } }', "invalid_input"),
        ('{ timeline(first: 1, filter: { about: ["nobody"] }) { edges { cursor } } }', "invalid_input"),
        ('{ timeline(first: 1, filter: { tags: [""] }) { edges { cursor } } }', "invalid_input"),
        ('{ timeline(first: 1, filter: { from: "2100-01-01T00:00:00Z" }) { edges { cursor } } }', "invalid_input"),
        ("{ log { inclusionProof(position: 0) { size } } }", "invalid_input"),
        ("{ log { inclusionProof(position: 9, size: 3) { size } } }", "invalid_input"),
        ("{ log { inclusionProof(position: 1, size: 99999) { size } } }", "invalid_input"),
        ("{ log { consistencyProof(from: 9, to: 3) { to } } }", "invalid_input"),
    ],
)
async def test_a_question_that_cannot_be_answered_says_why(here: GraphWorld, query: str, code: str) -> None:
    """Typed, and nothing of what is behind it."""
    answer = await here.answer(query)
    assert [error["extensions"]["code"] for error in answer["errors"]] == [code]
    assert answer.get("data") is None


async def test_pages_neither_skip_nor_repeat(here: GraphWorld) -> None:
    """Page by page, in both orders, the same objects as in one page; the last one says that it is."""
    for name in LISTS:
        for order in ("NEWEST_FIRST", "OLDEST_FIRST"):
            arguments = f"first: $first, after: $after, order: {order}"
            query = f"""query($first: Int!, $after: String) {{ now {{ {name}({arguments}) {{
                edges {{ cursor node {{ id }} }}
                pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }} }} }} }}"""
            whole = (await here.ask(query, {"first": 100}))["now"][name]
            assert not whole["pageInfo"]["hasNextPage"]
            found, after = [], None
            while True:
                page = (await here.ask(query, {"first": 2, "after": after}))["now"][name]
                found += nodes(page)
                assert page["pageInfo"]["hasPreviousPage"] == (after is not None)
                if page["edges"]:
                    assert page["pageInfo"]["startCursor"] == page["edges"][0]["cursor"]
                    assert page["pageInfo"]["endCursor"] == page["edges"][-1]["cursor"]
                if not page["pageInfo"]["hasNextPage"]:
                    break
                after = page["pageInfo"]["endCursor"]
            assert found == nodes(whole)
            assert len({node["id"] for node in found}) == len(found)


async def test_a_cursor_belongs_to_its_question(here: GraphWorld) -> None:
    """Another list, another order, another filter refuse it."""
    page = await here.ask("{ now { principals(first: 1) { pageInfo { endCursor } } } }")
    cursor = {"after": page["now"]["principals"]["pageInfo"]["endCursor"]}
    for field in (
        "apiKeys(first: 1, after: $after)",
        "principals(first: 1, after: $after, order: OLDEST_FIRST)",
        "principals(first: 1, after: $after, filter: { kind: [AGENT] })",
    ):
        query = f"query($after: String!) {{ now {{ {field} {{ edges {{ cursor }} }} }} }}"
        assert await here.codes(query, cursor) == ["invalid_cursor"]
    same = "query($after: String!) { now { principals(first: 1, after: $after, filter: {}) { edges { cursor } } } }"
    assert await here.codes(same, cursor) == []


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        ("principals(first: 50, filter: { kind: [AGENT] })", {"bot", "rival"}),
        ("principals(first: 50, filter: { kind: AGENT, state: DEACTIVATED })", set()),
        ("principals(first: 50, filter: { roles: [OPERATOR, AUDITOR] })", {"olga", "ann"}),
        ("principals(first: 50, filter: { roles: [] })", set()),
    ],
)
async def test_filters_narrow(here: GraphWorld, field: str, wanted: set[str]) -> None:
    """A list is any of its values; several columns hold together."""
    found = await here.ask(f"{{ now {{ {field} {{ edges {{ node {{ displayName }} }} }} }} }}")
    assert {node["displayName"] for node in nodes(found["now"]["principals"])} == wanted


async def test_node_knows_every_kind(here: GraphWorld, story: Story) -> None:
    """By the id that the object has everywhere; the same object then, and an event by its UUID."""
    found = await here.ask(
        "{ now { position "
        + " ".join(f"{name}(first: 1) {{ edges {{ node {{ __typename id }} }} }}" for name in LISTS)
        + " tenant { __typename id } } }"
    )
    wanted = [node for name in LISTS for node in nodes(found["now"][name])] + [found["now"]["tenant"]]
    vote = await here.ask(
        "query($id: ID!) { node(id: $id) { ... on Approval { votes { __typename id } } } }",
        {"id": story.ids["approval"]},
    )
    event = await here.ask("{ timeline(first: 1) { edges { node { __typename id } } } }")
    wanted += [vote["node"]["votes"][0], nodes(event["timeline"])[0]]
    assert {item["__typename"] for item in wanted} >= {"Tenant", "Principal", "Approval", "Vote", "TimelineEntry"}
    for item in wanted:
        answer = await here.ask("query($id: ID!) { node(id: $id) { __typename id } }", {"id": item["id"]})
        assert answer["node"] == item
    for unknown in ("apr_" + "0" * 26, "nobody", "", "00000000-0000-0000-0000-000000000000", "tenant:globex", "a/b"):
        assert await here.ask("query($id: ID!) { node(id: $id) { id } }", {"id": unknown}) == {"node": None}


async def test_the_timeline_has_what_was_recorded(here: GraphWorld) -> None:
    """Every event once, in order, with what the log says of it."""
    query = """query($after: String, $order: Order!) { timeline(first: 7, after: $after, order: $order) {
        edges { node { id position type version recordedAt tags actor { principal kind onBehalfOf }
        cause { commandId position traceparent } data } } pageInfo { hasNextPage endCursor } } }"""
    recorded = await here.world.services.ledger.read(here.world.tenant)
    for order, expected in (("OLDEST_FIRST", recorded), ("NEWEST_FIRST", recorded[::-1])):
        found: list[dict[str, Any]] = []
        after, more = None, True
        while more:
            page = (await here.ask(query, {"after": after, "order": order}))["timeline"]
            found += nodes(page)
            after, more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
        assert [node["position"] for node in found] == [event.position for event in expected]
        for node, event in zip(found, expected, strict=True):
            assert (node["id"], node["type"], node["tags"]) == (str(event.id), event.type, list(event.tags))
            assert node["actor"]["principal"] == event.actor.principal
            assert node["cause"]["commandId"] == event.cause.command_id
            registry = here.world.services.ledger.registry
            assert registry.from_data(node["type"], node["version"], node["data"]) == event.payload


async def test_the_timeline_is_narrowed_by_what_by_whom_and_when(here: GraphWorld, story: Story) -> None:
    """Each by itself and together; against a plain look through the log."""
    recorded = await here.world.services.ledger.read(here.world.tenant)
    bot, carol = here.world.id("bot"), here.world.id("carol")
    moment, later = recorded[24].recorded_at, recorded[30].recorded_at
    cases: list[tuple[dict[str, Any], Any]] = [
        ({"about": [story.ids["approval"]]}, lambda e: f"approval:{story.ids['approval']}" in e.tags),
        ({"tags": [f"principal:{bot}", "role:agent"]}, lambda e: {f"principal:{bot}", "role:agent"} <= set(e.tags)),
        ({"types": ["approval.requested", "grant.minted"]}, lambda e: e.type in ("approval.requested", "grant.minted")),
        ({"actors": [bot, carol]}, lambda e: e.actor.principal in (bot, carol)),
        (
            {"actors": [bot], "types": ["policy.decision_recorded"]},
            lambda e: e.actor.principal == bot and e.type == "policy.decision_recorded",
        ),
        ({"from": moment.isoformat()}, lambda e: e.recorded_at >= moment),
        ({"to": moment.isoformat()}, lambda e: e.recorded_at <= moment),
        ({"from": moment.isoformat(), "to": later.isoformat()}, lambda e: moment <= e.recorded_at <= later),
        ({"from": later.isoformat(), "to": moment.isoformat()}, lambda e: later <= e.recorded_at <= moment),
    ]
    for wanted, holds in cases:
        found = await here.ask(
            "query($f: TimelineFilter) { timeline(first: 100, filter: $f) { edges { node { position } } } }",
            {"f": wanted},
        )
        assert [node["position"] for node in nodes(found["timeline"])] == [e.position for e in recorded if holds(e)], (
            wanted
        )


async def test_diff_is_what_is_not_the_same(here: GraphWorld, story: Story) -> None:
    """Against both records, object by object; page by page the same."""
    low, high = story.positions["approved"], story.positions["redeemed"]
    query = """query($a: Position!, $b: Position!, $first: Int!, $after: String) {
        diff(from: {position: $a}, to: {position: $b}) {
        from { position } to { position } changes(first: $first, after: $after) { edges { node {
        kind objectKind objectId fields { name before after } before { id } after { id } } }
        pageInfo { hasNextPage endCursor } } } }"""
    whole = (await here.ask(query, {"a": low, "b": high, "first": 100}))["diff"]
    assert (whole["from"]["position"], whole["to"]["position"]) == (low, high)
    changes = {(node["objectKind"], node["kind"]): node for node in nodes(whole["changes"])}
    assert set(changes) == {("DECISION", "ADDED"), ("GRANT", "CHANGED"), ("EFFECT", "ADDED")}
    grant = changes["GRANT", "CHANGED"]
    fields = {field["name"]: (field["before"], field["after"]) for field in grant["fields"]}
    assert fields.keys() == {"state", "effect_id", "redeemed_at"}
    assert fields["state"] == ("minted", "redeemed")
    assert grant["before"]["id"] == grant["after"]["id"] == grant["objectId"] == story.ids["grant"]
    assert changes["EFFECT", "ADDED"]["before"] is None
    everything = (await here.ask(query, {"a": 0, "b": high, "first": 100}))["diff"]["changes"]
    paged, after, more = [], None, True
    while more:
        page = (await here.ask(query, {"a": 0, "b": high, "first": 3, "after": after}))["diff"]["changes"]
        paged += nodes(page)
        after, more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
    assert paged == nodes(everything)
    assert len(paged) > 20
    assert all(node["kind"] == "ADDED" and node["before"] is None for node in paged)
    same = await here.ask(query, {"a": high, "b": high, "first": 5})
    assert same["diff"]["changes"]["edges"] == []
    kinds = await here.ask("""{ diff(from: {position: 0}) { changes(first: 90, kinds: [VOTE]) {
        edges { node { after { __typename } } } } } }""")
    assert {node["after"]["__typename"] for node in nodes(kinds["diff"]["changes"])} == {"Vote"}


async def test_explain_tells_the_whole_story(here: GraphWorld, story: Story) -> None:
    """From the policy's text to the effect, and made again it is the same."""
    query = """query($d: ID!) { explain(id: $d) { request obligations estate { position }
        decision { outcome estatePosition bundle { id } } bundle { id mode } policies { id text }
        redecided { outcome same notReplayable } approval { id votes { verdict approver { displayName } } }
        grant { id } effect { id } events { position type } } }"""
    asked = (await here.ask(query, {"d": story.ids["decision:refund:approval_required"]}))["explain"]
    assert asked["request"]["resource"] == {"id": "4711", "type": "order"}
    assert asked["decision"]["outcome"] == "APPROVAL_REQUIRED"
    assert asked["estate"]["position"] == asked["decision"]["estatePosition"]
    assert asked["policies"][0]["id"] == "ask.refund"
    assert asked["policies"][0]["text"].startswith('@id("ask.refund")')
    assert asked["redecided"] == {"outcome": "APPROVAL_REQUIRED", "same": True, "notReplayable": None}
    assert asked["approval"]["id"] == story.ids["approval"]
    assert asked["approval"]["votes"] == [{"verdict": "APPROVE", "approver": {"displayName": "carol"}}]
    assert (asked["grant"]["id"], asked["effect"]["id"]) == (story.ids["grant"], story.ids["effect"])
    types = [event["type"] for event in asked["events"]]
    assert types[:4] == [
        "policy_bundle.published",
        "policy_bundle.mode_changed",
        "policy.decision_recorded",
        "approval.requested",
    ]
    assert types[-1] == "grant.redeemed"
    assert [event["position"] for event in asked["events"]] == sorted(event["position"] for event in asked["events"])
    again = (await here.ask(query, {"d": story.ids["decision:refund:permit"]}))["explain"]
    assert again["approval"]["id"] == story.ids["approval"]
    assert again["redecided"]["same"] is True
    denied = (await here.ask(query, {"d": story.ids["decision:wipe:deny"]}))["explain"]
    assert (denied["approval"], denied["grant"], denied["effect"]) == (None, None, None)
    assert [policy["id"] for policy in denied["policies"]] == ["no.wipe"]
    assert await here.ask(query, {"d": "dec_" + "0" * 26}) == {"explain": None}


async def test_explain_names_everyone_who_was_judged(here: GraphWorld, story: Story) -> None:
    """Whose policies decided, where somebody acted for somebody else; made again it is the same."""
    query = """query($d: ID!) { explain(id: $d) { judged { principal outcome determining }
        redecided { same } } }"""
    pdp = here.world
    await pdp.delegate("bot-for-alice", "bot", "alice")
    intent = pdp.intent(action="wipe", subject={"type": "user", "id": pdp.id("alice")})
    denied = (await pdp.evaluate(intent, "bot-for-alice")).json()["context"]["evaluation_id"]
    found = (await here.ask(query, {"d": denied}))["explain"]
    assert found["judged"] == [
        {"principal": f"user:{pdp.id('alice')}", "outcome": "DENY", "determining": ["no.wipe"]},
        {"principal": f"agent:{pdp.id('bot')}", "outcome": "DENY", "determining": ["no.wipe"]},
    ]
    assert found["redecided"]["same"] is True
    alone = (await here.ask(query, {"d": story.ids["decision:wipe:deny"]}))["explain"]
    assert alone["judged"] == []


async def test_the_proofs_verify(here: GraphWorld) -> None:
    """With our own verifier, from what GraphQL said and the entry's bytes alone."""
    tenant, ledger = here.world.tenant, here.world.services.ledger
    query = """query($p: Position!, $s: Position!) { log { checkpoint { size rootHash note } verifierKeys
        inclusionProof(position: $p) { leafHash size rootHash hashes }
        older: inclusionProof(position: $p, size: $s) { size rootHash hashes }
        consistencyProof(from: $s) { from to fromRootHash toRootHash hashes } } }"""
    found = (await here.ask(query, {"p": 7, "s": 20}))["log"]
    size, root = found["checkpoint"]["size"], base64.b64decode(found["checkpoint"]["rootHash"])
    signed = verify_checkpoint(found["checkpoint"]["note"].encode(), [parse_vkey(key) for key in found["verifierKeys"]])
    assert (signed.size, signed.root) == (size, root)
    ((_, entry),) = await ledger.store.read(tenant, None, 6, 7, None, False)
    leaf = hashlib.sha256(b"\x00" + entry).digest()
    proof = found["inclusionProof"]
    assert base64.b64decode(proof["leafHash"]) == leaf
    assert (proof["size"], base64.b64decode(proof["rootHash"])) == (size, root)
    assert merkle.verify_inclusion(leaf, 6, size, [base64.b64decode(item) for item in proof["hashes"]], root)
    older = base64.b64decode(found["older"]["rootHash"])
    assert merkle.verify_inclusion(leaf, 6, 20, [base64.b64decode(item) for item in found["older"]["hashes"]], older)
    consistency = found["consistencyProof"]
    hashes = [base64.b64decode(item) for item in consistency["hashes"]]
    assert (consistency["from"], consistency["to"], base64.b64decode(consistency["fromRootHash"])) == (20, size, older)
    assert merkle.verify_consistency(20, size, older, base64.b64decode(consistency["toRootHash"]), hashes)


async def test_a_page_costs_the_same_queries_however_long_it_is(
    here: GraphWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What belongs to the objects of a page is fetched together: no query per object."""
    reader: Any = here.world.services.reader
    opened = []
    real = type(reader).at

    def counted(self: Any, tenant: str, position: int | None = None) -> Any:
        opened.append(position)
        return real(self, tenant, position)

    monkeypatch.setattr(type(reader), "at", counted)
    query = """query($n: Int!) { now { approvals(first: $n) { edges { node { requester { displayName } decision { id }
        votes { approver { displayName } } grant { effect { id } } } } } } }"""
    counts = []
    for size in (1, 3):
        opened.clear()
        await here.ask(query, {"n": size})
        counts.append(len(opened))
    # projected, page, requesters, decisions, votes, grants; then approvers and effects of what came back.
    assert max(counts) <= 8
