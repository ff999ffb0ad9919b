"""Everything that differs between two moments, over HTTP: the same as the pages of GraphQL. Serves C08, S0-120."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from estate_stream import EstateStream
from graphql_world import GraphWorld, graph_world

from quarterdeck_api.estate import moments
from quarterdeck_domain.estate.events import AssetChanged, RelationDeclared
from quarterdeck_domain.events import Actor, Event, NewEvent

LATER = datetime(2021, 1, 1, tzinfo=UTC)
FILE: dict[str, Any] = {
    "version": 1,
    "source": "platform",
    "assets": {
        "agent:support": {"owner": "first-rota", "relations": {"calls": ["mcp_server:crm"]}},
        "mcp_server:crm": {"relations": {"exposes": ["tool:lookup"]}},
        "tool:lookup": None,
    },
}
PAGES = """query($from: Moment!, $to: Moment, $after: String) { diff(from: $from, to: $to) {
    from { position recordedAt } to { position recordedAt }
    changes(first: 100, after: $after, kinds: [ASSET, RELATION, DRIFT]) { edges { node {
        kind objectKind objectId fields { name before after } } } pageInfo { hasNextPage endCursor } } } }"""


@pytest.fixture
async def here(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[GraphWorld]:
    """A world of this test's own."""
    async with graph_world(migrated_database(), tmp_path) as made:
        await made.project()
        yield made


async def asked(here: GraphWorld, by: str = "admin", **params: Any) -> Any:
    """Return the answer of the door."""
    headers = here.world.api.bearer(here.world.tenant, by)
    return await here.world.api.client.get("/v1/estate/diff", params=params, headers=headers)


async def apply(here: GraphWorld, file: object) -> int:
    """Make a file true; return the position after it."""
    headers = here.world.api.bearer(here.world.tenant, "admin")
    answer = await here.world.api.client.post("/v1/estate/apply", json=file, headers=headers)
    assert '"result"' in answer.text, answer.text
    await here.project()
    return await here.world.position()


async def say(here: GraphWorld, *payloads: Event) -> None:
    """Let events be recorded as they are, and the read models hold them."""
    actor = Actor(principal="prn_test", kind="service")
    events = [NewEvent(id=uuid.uuid4(), payload=event, actor=actor) for event in payloads]
    await here.world.services.ledger.append(here.world.tenant, events)
    await here.project()


async def told_in_pages(here: GraphWorld, since: int, until: int | None) -> list[dict[str, Any]]:
    """Return what GraphQL tells of the same, page by page, as the door's lines."""
    ends: dict[str, Any] = {"from": {"position": since}, "to": None if until is None else {"position": until}}
    lines, after = list[dict[str, Any]](), None
    while True:
        found = (await here.ask(PAGES, ends | {"after": after}, by="admin"))["diff"]
        if after is None:
            lines.append({name: _end(found[name]) for name in ("from", "to")})
        for edge in found["changes"]["edges"]:
            node = edge["node"]
            kind = node["objectKind"].lower()
            said = {"kind": node["kind"].lower(), "object_kind": kind, "fields": node["fields"]}
            lines.append(said | {"object_id": node["objectId"].removeprefix(f"{kind}:")})
        after = found["changes"]["pageInfo"]["endCursor"]
        if not found["changes"]["pageInfo"]["hasNextPage"]:
            return lines


def _end(record: dict[str, Any]) -> dict[str, Any]:
    moment = record["recordedAt"]
    # Python's own way of writing UTC, and the one of RFC 3339.
    return {"position": record["position"], "recorded_at": moment and moment.replace("+00:00", "Z")}


async def told_at_once(here: GraphWorld, since: int, until: int | None) -> list[dict[str, Any]]:
    """Return the door's lines."""
    answer = await asked(here, **{"from": since} | ({} if until is None else {"to": until}))
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_lines_say_what_the_pages_say(here: GraphWorld) -> None:
    """The two moments, then each object with the fields that differ, as GraphQL has them; by position and by time."""
    empty = await here.world.position()
    first = await apply(here, FILE)
    changed = {"agent:support": {"owner": "second-rota", "relations": {"calls": []}}, "tool:refund": None}
    last = await apply(here, {"version": 1, "source": "platform", "assets": changed})
    for since, until in ((first, last), (empty, last), (empty, None), (last, last), (0, first)):
        lines = await told_at_once(here, since, until)
        assert lines == await told_in_pages(here, since, until)
        assert [lines[0][name]["position"] for name in ("from", "to")] == [since, until or last]
        for item in lines[1:]:
            if item["kind"] == "changed" and item["object_kind"] == "asset":
                (owner,) = item["fields"]
                assert (owner["name"], owner["after"]) == ("owner", "second-rota")
    ends = lines[0]
    times = [ends["from"]["recorded_at"], ends["to"]["recorded_at"]]
    assert times[0] is None
    again = await asked(here, **{"from": times[1], "to": times[1]})
    assert [json.loads(line) for line in again.text.splitlines()] == [{"from": ends["to"], "to": ends["to"]}]


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_both_doors_tell_every_kind_of_change_alike(here: GraphWorld, seed: int) -> None:
    """Whatever was said, of whatever time: every object, every field, before and after, and in the same order."""
    chance = random.Random(seed)
    stream = EstateStream(chance)
    begun = await here.world.position()
    for _ in range(4):
        await say(here, *[event for _ in range(100) for event in stream.take()])
    end = await here.world.position()
    spans = [tuple(sorted((chance.randint(begun, end), chance.randint(begun, end)))) for _ in range(8)]
    told = set()
    for since, until in (*spans, (begun, end), (end - 1, end)):
        lines = await told_at_once(here, since, until)
        assert lines == await told_in_pages(here, since, until)
        told |= {(item["object_kind"], item["kind"], field["name"]) for item in lines[1:] for field in item["fields"]}
    for of in ("added", "changed"):
        assert {("asset", of, "dated"), ("relation", of, "periods"), ("relation", of, "seen")} <= told
    assert {("drift", "added", "found"), ("drift", "changed", "state")} <= told


async def test_what_is_dated_is_a_difference_by_itself(here: GraphWorld) -> None:
    """What is announced, and what was recorded late of what held already, of which the present tells nothing; and when
    a relation is declared to hold."""
    first = await apply(here, FILE)
    lookup, to_come, past = "tool:lookup", datetime(2127, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)
    edge = {"source": "agent:support", "relation": "calls", "target": "mcp_server:crm"}
    await say(
        here,
        AssetChanged(asset=lookup, facts={"risk": "high"}, source="platform", valid_from=to_come),
        AssetChanged(
            asset=lookup, facts={"classification": "internal"}, source="platform", valid_from=past, valid_to=LATER
        ),
        RelationDeclared(**edge, evidence="file:platform", confidence="declared", valid_from=past, valid_to=LATER),
    )
    _, asset, relation = await told_at_once(here, first, None)
    (dated,) = asset["fields"]
    assert (asset["object_id"], dated["name"], dated["before"]) == (lookup, "dated", [])
    assert [(item["begins"][:4], item["facts"]) for item in dated["after"]] == [
        ("2127", {"risk": "high"}),
        ("2020", {"classification": "internal"}),
    ]
    (periods,) = [field for field in relation["fields"] if field["name"] == "periods"]
    assert {
        "from": f"{past:%Y-%m-%d}T00:00:00.000000+00:00",
        "to": f"{LATER:%Y-%m-%d}T00:00:00.000000+00:00",
    } in periods["after"]
    (added, _) = [line for line in await told_at_once(here, 0, first) if line.get("object_kind") == "relation"]
    (periods,) = [field for field in added["fields"] if field["name"] == "periods"]
    assert (added["kind"], periods["before"]) == ("added", None)
    assert [period["to"] for period in periods["after"]] == [None]


async def test_while_others_write_it_tells_of_what_the_tables_hold(here: GraphWorld) -> None:
    """A log that is ahead: what is left out is the last position that is projected, as over GraphQL; what is asked for
    is waited for a little, by position and by time, and told once it is there."""
    first = await apply(here, FILE)
    await here.world.services.ledger.append(here.world.tenant, [_event("high"), _event("low")])
    head = await here.world.position()
    assert head == first + 2
    for params in ({"from": 0}, {"from": first}):
        answer = await asked(here, **params)
        assert answer.status_code == 200, answer.text
        assert json.loads(answer.text.splitlines()[0])["to"]["position"] == first
    file = await here.world.api.client.get("/v1/estate/file", headers=here.world.api.bearer(here.world.tenant, "admin"))
    assert (file.status_code, "risk" in file.text) == (200, False)
    (entry,) = await here.world.services.ledger.read_sealed(here.world.tenant, after=head - 1, until=head)
    asking = [
        asyncio.create_task(asked(here, **params))
        for params in (
            {"from": first, "to": head},
            {"from": first, "to": entry.recorded_at.isoformat()},
            {"from": head},
        )
    ]
    await here.project()
    answers = [await one for one in asking]
    assert [answer.status_code for answer in answers] == [200, 200, 200], [answer.text for answer in answers]
    told = [[json.loads(line) for line in answer.text.splitlines()] for answer in answers]
    assert [lines[0]["to"]["position"] for lines in told] == [head, head, head]
    assert told[0] == told[1]
    assert [field["after"] for field in told[0][1]["fields"] if field["name"] == "risk"] == ["low"]
    assert told[2][1:] == []


async def test_what_nobody_projects_is_not_there_yet(here: GraphWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting ends with an error that says so, at both doors of a moment; what the log does not have is refused."""
    monkeypatch.setattr(moments, "WAIT_S", 0.01)
    await apply(here, FILE)
    await here.world.services.ledger.append(here.world.tenant, [_event("high")])
    head = await here.world.position()
    headers = here.world.api.bearer(here.world.tenant, "admin")
    for path, params in (
        ("diff", {"from": 0, "to": head}),
        ("diff", {"from": head}),
        ("file", {"position": head}),
        ("bill", {"position": head}),
    ):
        answer = await here.world.api.client.get(f"/v1/estate/{path}", params=params, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:quarterdeck:problem:not_yet")
    for path, name in (("diff", "from"), ("file", "position"), ("bill", "position")):
        answer = await here.world.api.client.get(f"/v1/estate/{path}", params={name: head + 1}, headers=headers)
        assert (answer.status_code, "the log ends at" in answer.text) == (400, True)


def _event(risk: str) -> NewEvent:
    changed = AssetChanged(asset="tool:lookup", facts={"risk": risk}, source="platform")
    return NewEvent(id=uuid.uuid4(), payload=changed, actor=Actor(principal="prn_test", kind="service"))


async def test_what_is_no_moment_is_refused(here: GraphWorld) -> None:
    """Nothing, too far, to come, in the wrong order, of no zone; and those who see only what concerns them."""
    head = await here.world.position()
    for params, said in (
        ({}, "from"),
        ({"from": head + 1}, "the log ends at"),
        ({"from": "9" * 40}, "is a position"),
        ({"from": "2290-01-01T00:00:00Z"}, "not come yet"),
        ({"from": "2020-01-01T00:00:00"}, "with its zone"),
        ({"from": "yesterday"}, "is a position"),
        ({"from": 2, "to": 1}, "exchange"),
    ):
        answer = await asked(here, **params)
        assert answer.status_code == 400, (params, answer.text)
        assert said in answer.text, answer.text
    assert (await asked(here, "bot", **{"from": 0})).status_code == 403
