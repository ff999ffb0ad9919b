"""The estate as it was true at one moment and known at another, what opened a way, and moments that there are not.

Serves S0-20, S0-43, S0-56, S0-72, C02, C08.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from graphql_world import GraphWorld, graph_world

from quarterdeck_graphql.schema import build_schema

LONG_AGO = "2019-01-01T00:00:00Z"
AGO = "2020-06-01T00:00:00Z"
AHEAD = "2290-01-01T00:00:00Z"
FILE: dict[str, Any] = {
    "version": 1,
    "source": "platform",
    "assets": {
        "agent:support": {"owner": "first-rota", "team": "care", "relations": {"calls": ["mcp_server:crm"]}},
        "mcp_server:crm": {"relations": {"exposes": ["tool:lookup"], "gated_by": ["approval_path:default"]}},
        "tool:lookup": {"relations": {"reads": ["dataset:customers"]}},
        "dataset:customers": {"classification": "restricted"},
        "approval_path:default": None,
    },
}
ASSETS = """query($time: DateTime, $position: Position, $knownAt: Moment, $filter: AssetFilter) {
    at(time: $time, position: $position, knownAt: $knownAt) { position moment
        assets(first: 50, order: OLDEST_FIRST, filter: $filter) { edges { node { id owner lifecycle } } } } }"""
REACH = """query($time: DateTime, $knownAt: Moment, $to: ID!) { at(time: $time, knownAt: $knownAt) {
    reach(of: "agent:support", first: 20) { reached { asset { id owner } } }
    ways(from: "agent:support", to: $to) { paths { relations { sentence declared } } }
    relations(first: 50) { edges { node { id declared observed periods { from to } } } }
    node(id: "asset:agent:support") { ... on Asset { owner relations { to { id } from { id owner } } } } } }"""
OPENED = """query($from: ID!, $to: ID!, $since: Moment!, $until: Moment, $knownAt: Moment, $hops: Int! = 6) {
    opened(from: $from, to: $to, since: $since, until: $until, knownAt: $knownAt, hops: $hops) {
        since { position moment } until { position moment } verdict summary more undoExact
        paths { relations { sentence } changes { ...change }
            lostControls { on relation control sentence events { type actor { principal } } } }
        fewest { ...change } undo { ...change } } }
    fragment change on OpeningChange { subject sentence before events { position type recordedAt actor { principal } } }"""


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


async def do(here: GraphWorld, name: str, **body: Any) -> int:
    """Run a command; return the position after it."""
    await here.world.api.command(name, body, by=(here.world.tenant, "admin"))
    return await here.world.position()


async def time_of(here: GraphWorld, position: int) -> str:
    """Return when an event was recorded."""
    query = "query($p: Position!) { at(position: $p) { recordedAt } }"
    found: str = (await here.ask(query, {"p": position}, by="admin"))["at"]["recordedAt"]
    return found


async def assets(here: GraphWorld, **variables: Any) -> dict[str, Any]:
    """Return owners by object."""
    found = (await here.ask(ASSETS, variables, by="admin"))["at"]["assets"]["edges"]
    return {edge["node"]["id"].removeprefix("asset:"): edge["node"]["owner"] for edge in found}


async def test_a_fact_recorded_late(here: GraphWorld) -> None:
    """As recorded by then the one was known to own it; as known now it was the other; and then nobody knew that."""
    before = await here.world.position()
    then = await time_of(here, before)
    await do(here, "change_asset", asset="agent:support", set={"owner": "true-rota"}, valid_from=AGO)
    now = {"position": await here.world.position()}
    assert (await assets(here, time=then))["agent:support"] == "first-rota"
    # The undated fact took effect later than the one that was recorded late; before it, the late one holds.
    assert (await assets(here, time=then, knownAt=now))["agent:support"] == "first-rota"
    assert await assets(here, time="2021-01-01T00:00:00Z", knownAt=now) == {"agent:support": "true-rota"}
    assert await assets(here, time="2021-01-01T00:00:00Z", knownAt={"position": before}) == {}
    assert await assets(here, time="2021-01-01T00:00:00Z") == {}
    for owner, found in (("true-rota", ["agent:support"]), ("first-rota", [])):
        variables = {"time": "2021-01-01T00:00:00Z", "knownAt": now, "filter": {"owner": [owner]}}
        assert list(await assets(here, **variables)) == found


async def test_files_and_bills_of_then_as_known_now(here: GraphWorld) -> None:
    """As the record is: what was true at a time, as known at a position; another bill than that of the position."""
    before = await here.world.position()
    await do(here, "change_asset", asset="agent:support", set={"owner": "true-rota"}, valid_from=AGO)
    await here.project()
    headers = here.world.api.bearer(here.world.tenant, "admin")

    async def taken(what: str, **params: Any) -> Any:
        answer = await here.world.api.client.get(f"/v1/estate/{what}", params=params, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    file = await taken("file", time="2021-01-01T00:00:00Z")
    assert {name: entry["owner"] for name, entry in file["assets"].items()} == {"agent:support": "true-rota"}
    assert (await taken("file", time="2021-01-01T00:00:00Z", position=before))["assets"] == {}
    assert (await taken("file"))["assets"]["agent:support"]["owner"] == "first-rota"
    bills = [await taken("bill", time=time) for time in ("2021-01-01T00:00:00Z", "2021-01-02T00:00:00Z")]
    assert bills[0]["serialNumber"] != bills[1]["serialNumber"]
    assert {"name": "quarterdeck:bom:moment", "value": "2021-01-01T00:00:00+00:00"} in bills[0]["metadata"][
        "properties"
    ]
    spdx = await taken("bill", time="2021-01-01T00:00:00Z", form="spdx-3.0.1")
    assert "as it was at 2021-01-01" in str(spdx)
    wrong = await here.world.api.client.get("/v1/estate/file", params={"time": "2021-01-01T00:00:00"}, headers=headers)
    assert wrong.status_code in (400, 422)


async def test_what_is_over_needs_a_beginning(here: GraphWorld) -> None:
    """An end that is past, without since when: refused, nothing recorded."""
    before = await here.world.position()
    by = (here.world.tenant, "admin")
    relation = {"source": "agent:support", "relation": "reads", "target": "dataset:customers", "valid_to": AGO}
    for name, body in (
        ("relate_assets", relation),
        ("change_asset", {"asset": "agent:support", "set": {"owner": "x"}, "valid_to": AGO}),
    ):
        answer = await here.world.api.command(name, body, by=by)
        assert (answer.status_code, "valid_from" in answer.text) == (400, True), answer.text
    assert await here.world.position() == before


async def test_a_quarantine_ends_by_a_release_alone(here: GraphWorld) -> None:
    """Neither a merger nor a date lifts it."""
    by = (here.world.tenant, "admin")
    await do(here, "register_asset", asset="tool:copy")
    await do(here, "quarantine_asset", asset="tool:lookup", reason="its description changed")
    before = await here.world.position()
    for name, body, says in (
        ("merge_assets", {"survivor": "tool:copy", "merged": "tool:lookup"}, "release it first"),
        ("merge_assets", {"survivor": "tool:lookup", "merged": "tool:copy"}, "release it first"),
        ("change_asset", {"asset": "tool:lookup", "set": {"lifecycle": "live"}, "valid_from": AHEAD}, "not announced"),
    ):
        answer = await here.world.api.command(name, body, by=by)
        assert answer.status_code in (400, 409), answer.text
        assert says in answer.text
    assert await here.world.position() == before


async def test_announced_and_for_a_while(here: GraphWorld) -> None:
    """What is to be is told of a time to come, as known now; what was for a while is over afterwards."""
    begin = await time_of(here, await here.world.position())
    await do(here, "change_asset", asset="agent:support", set={"owner": "next-rota"}, valid_from="2200-01-01T00:00:00Z")
    await do(
        here,
        "relate_assets",
        source="agent:support",
        relation="reads",
        target="dataset:customers",
        valid_from="2200-01-01T00:00:00Z",
        valid_to="2250-01-01T00:00:00Z",
    )
    now = {"position": await here.world.position()}
    of = {"knownAt": now, "to": "dataset:customers"}
    for time, owner, paths in (
        (begin, "first-rota", 1),
        ("2200-01-01T00:00:00Z", "next-rota", 2),
        ("2250-01-01T00:00:00Z", "next-rota", 1),
    ):
        found = (await here.ask(REACH, {"time": time, **of}, by="admin"))["at"]
        assert found["node"]["owner"] == owner
        for one in ("first-rota", "next-rota"):
            narrowed = await assets(here, time=time, knownAt=now, filter={"owner": [one]})
            assert list(narrowed) == (["agent:support"] if one == owner else [])
        assert len(found["ways"]["paths"]) == paths
        straight = [edge["node"] for edge in found["relations"]["edges"] if " reads " in edge["node"]["id"]]
        there = {item["id"]: item["declared"] for item in straight}
        expected = None if time == begin else paths == 2
        assert there.get("relation:agent:support reads dataset:customers") == expected
        assert all({"from": item["from"]["owner"]}["from"] == owner for item in found["node"]["relations"])


async def test_what_was_registered_and_related_late(here: GraphWorld) -> None:
    """An object and a relation that had been there for years, and that nobody had recorded: reach as of then has them."""
    before = await here.world.position()
    for asset in ("agent:support", "tool:old"):
        command = "change_asset" if asset == "agent:support" else "register_asset"
        facts = {"set": {"lifecycle": "live"}} if asset == "agent:support" else {"facts": {"owner": "old-rota"}}
        await do(here, command, asset=asset, valid_from=AGO, **facts)
    await do(here, "relate_assets", source="agent:support", relation="calls", target="tool:old", valid_from=AGO)
    of = {"time": "2020-07-01T00:00:00Z", "to": "tool:old"}
    found = (await here.ask(REACH, {**of, "knownAt": {"position": await here.world.position()}}, by="admin"))["at"]
    assert found["reach"]["reached"] == [{"asset": {"id": "asset:tool:old", "owner": "old-rota"}}]
    assert found["ways"]["paths"] == [{"relations": [{"sentence": "agent:support calls tool:old", "declared": True}]}]
    periods = [{"from": "2020-06-01T00:00:00.000000Z", "to": None}]
    assert [edge["node"]["periods"] for edge in found["relations"]["edges"]] == [periods]
    for unknown in ({"knownAt": {"position": before}}, {"time": LONG_AGO}):
        variables = {**of, "knownAt": {"position": await here.world.position()}, **unknown}
        assert set(await here.codes(REACH, variables, by="admin")) == {"not_found"}


async def test_what_is_said_late_ends_nothing(here: GraphWorld) -> None:
    """That a relation held for a month of years ago, too, or will for one to come: it goes on holding, now, as known at
    any time, for findings and blast radius; withdrawn, it ends, and with it what was to follow."""
    calls = {"source": "agent:support", "relation": "calls", "target": "mcp_server:crm"}
    await do(here, "relate_assets", **calls, evidence="a month", valid_from=AGO, valid_to="2020-07-01T00:00:00Z")
    await do(here, "relate_assets", **calls, evidence="a day", valid_from=AHEAD, valid_to="2290-01-02T00:00:00Z")
    year = {"valid_from": "2021-01-01T00:00:00Z", "valid_to": "2022-01-01T00:00:00Z"}
    last = await do(here, "relate_assets", **calls, evidence="a year", **year)
    await here.project()
    query = """query($time: DateTime!, $known: Moment!) {
        now { ...held } at(time: $time, knownAt: $known) { ...held } }
        fragment held on Record { ways(from: "agent:support", to: "dataset:customers") { paths { relations { id } } }
            reach(of: "agent:support", first: 9) { total } blastRadius(of: "dataset:customers") { total }
            relations(first: 9, filter: {relation: ["calls"]}) { edges { node { evidence declared periods { from } } } } }"""
    then = await time_of(here, last)
    variables = {"time": then, "known": {"position": last}}
    for record in (await here.ask(query, variables, by="admin")).values():
        assert (len(record["ways"]["paths"]), record["reach"]["total"], record["blastRadius"]["total"]) == (1, 3, 3)
        (edge,) = record["relations"]["edges"]
        assert (edge["node"]["evidence"], edge["node"]["declared"]) == ("", True)
        assert [period["from"][:4] for period in edge["node"]["periods"]] == ["2020", "2021", then[:4]]
    told = """query($time: DateTime!, $known: Moment!) { at(time: $time, knownAt: $known) {
        relations(first: 9, filter: {relation: ["calls"]}) { edges { node { evidence declared holds } } } } }"""
    for time, evidence in (
        ("2020-06-15", "a month"),
        ("2020-08-01", None),
        ("2021-06-01", "a year"),
        ("2300-01-01", ""),
    ):
        of = {"time": f"{time}T00:00:00Z", "known": {"position": last}}
        ((edge,),) = [found["relations"]["edges"] for found in (await here.ask(told, of, by="admin")).values()]
        assert edge["node"]["declared"] == edge["node"]["holds"] == (evidence is not None), time
        assert evidence in (None, edge["node"]["evidence"]), time
    gone = await do(here, "unrelate_assets", **calls)
    await here.project()
    record = (await here.ask(query, {**variables, "known": {"position": gone}}, by="admin"))["now"]
    assert (record["ways"]["paths"], record["reach"]["total"]) == ([], 0)
    assert [period["from"][:4] for period in record["relations"]["edges"][0]["node"]["periods"]] == [
        "2020",
        "2021",
        then[:4],
    ]


async def test_as_known_then_is_as_recorded(here: GraphWorld) -> None:
    """Where nothing is dated, a moment as known whenever later is the record of that moment; the rest is as known."""
    for position in range(await here.world.position() - 10, await here.world.position() + 1):
        await do(here, "transfer_asset", asset="agent:support", owner=f"rota-{position}") if position % 4 == 0 else None
        plain = await here.ask(ASSETS, {"position": position}, by="admin")
        known = {"position": await here.world.position()}
        late = await here.ask(ASSETS, {"position": position, "knownAt": known}, by="admin")
        assert late["at"]["assets"] == plain["at"]["assets"]
        assert late["at"]["moment"] == plain["at"]["moment"] == await time_of(here, position)
        assert late["at"]["position"] == known["position"]
    query = 'query($k: Moment!) { at(time: "2020-01-01T00:00:00Z", knownAt: $k) { principals(first: 1) { edges { node { id } } } } }'
    assert (await here.ask(query, {"k": known}, by="admin"))["at"]["principals"]["edges"]


async def test_a_relation_seen_later_does_not_take_part_before(here: GraphWorld) -> None:
    """What was seen for the first time after a moment was no way then, however the map knows it now."""
    span = {
        "traceId": "5b8aa5a2d2c872e8321cf37308d69df2",
        "spanId": "051581bf3cb55c13",
        "name": "execute_tool refund",
        "startTimeUnixNano": "1740000000000000000",
        "endTimeUnixNano": "1740000001000000000",
        "attributes": [
            {"key": "gen_ai.operation.name", "value": {"stringValue": "execute_tool"}},
            {"key": "gen_ai.tool.name", "value": {"stringValue": "lookup"}},
            {"key": "gen_ai.agent.name", "value": {"stringValue": "watched"}},
        ],
    }
    body = {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}
    headers = here.world.api.bearer(here.world.tenant, "admin")
    sent = await here.world.api.client.post("/v1/traces", json=body, headers=headers)
    assert sent.status_code == 200, sent.text
    await here.project()
    query = """query($time: DateTime!, $k: Moment!) { at(time: $time, knownAt: $k) { relations(first: 10) {
        edges { node { id observed declared } } } } }"""
    known = {"position": await here.world.position()}
    seen = (await here.ask(query, {"time": "2025-02-20T00:00:00Z", "k": known}, by="admin"))["at"]["relations"]
    assert [edge["node"]["observed"] for edge in seen["edges"]] == [True]
    before = (await here.ask(query, {"time": "2025-02-18T00:00:00Z", "k": known}, by="admin"))["at"]["relations"]
    assert before["edges"] == []


async def test_moments_that_there_are_not(here: GraphWorld) -> None:
    """A time to come, two moments at once, none, one without a zone, a position that has no time: each says why. None at all is now."""
    head = await here.world.position()
    of = {"knownAt": {"position": head}}
    for variables in (
        {"time": AHEAD},
        {"position": head + 1000},
        {"time": AHEAD, "knownAt": {"time": AHEAD}},
        {"time": AGO, "knownAt": {"position": head + 1000}},
        {"time": AGO, "position": 1},
        {"time": AGO, "position": 1, **of},
        {"position": 0, **of},
        {"position": head + 1000, **of},
    ):
        assert await here.codes(ASSETS, variables, by="admin") == ["invalid_input"], variables
    for time in ("2026-01-01T00:00:00", "yesterday", "2026-13-01T00:00:00Z"):
        assert await here.codes(ASSETS, {"time": time}, by="admin") == ["invalid_request"]
        assert await here.codes(ASSETS, {"time": AGO, "knownAt": {"time": time}}, by="admin") == ["invalid_request"]
    assert await assets(here) == await assets(here, **of) != {}


@pytest.mark.parametrize("time", [LONG_AGO, "0001-01-01T00:00:00Z"])
async def test_before_the_first_event_there_is_nothing(here: GraphWorld, time: str) -> None:
    """That is an answer, not an error: an empty record."""
    query = """query($time: DateTime!) { at(time: $time) { position recordedAt moment tenant { name }
        assets(first: 5) { edges { node { id } } } drifts(first: 5) { edges { node { id } } }
        relations(first: 5) { edges { node { id } } } node(id: "asset:agent:support") { id } } }"""
    found = (await here.ask(query, {"time": time}, by="admin"))["at"]
    assert found.pop("moment")[:10] == time[:10]
    nothing = {"edges": []}
    assert found == {
        "position": 0,
        "recordedAt": None,
        "tenant": None,
        "assets": nothing,
        "drifts": nothing,
        "relations": nothing,
        "node": None,
    }
    known = {"time": time, "knownAt": {"time": time}}
    assert (await here.ask(ASSETS, known, by="admin"))["at"]["assets"]["edges"] == []
    assert await here.ask("{ at(position: 0) { moment } }", by="admin") == {"at": {"moment": None}}
    last = {"time": "9999-12-31T23:59:59Z", "knownAt": {"position": await here.world.position()}}
    assert len(await assets(here, **last)) == 5


async def test_what_opened_a_way(here: GraphWorld) -> None:
    """A relation and a release from quarantine: each with the event that did it, and who."""
    await do(here, "quarantine_asset", asset="tool:lookup", reason="looks odd")
    await do(here, "unrelate_assets", source="agent:support", relation="calls", target="mcp_server:crm")
    since = {"position": await here.world.position()}
    variables = {"from": "agent:support", "to": "dataset:customers", "since": since}
    shut = (await here.ask(OPENED, variables, by="admin"))["opened"]
    assert (shut["verdict"], shut["paths"], shut["fewest"], shut["undo"]) == ("SHUT", [], [], None)
    related = await do(here, "relate_assets", source="agent:support", relation="calls", target="mcp_server:crm")
    # Said again with other evidence: it had held before that.
    evidence = {"evidence": "a ticket", "relation": "calls"}
    await do(here, "relate_assets", source="agent:support", target="mcp_server:crm", **evidence)
    released = await do(here, "release_asset", asset="tool:lookup", reason="read it")
    await do(here, "change_asset", asset="tool:lookup", set={"purpose": "to look up"})
    await here.project()
    found = (await here.ask(OPENED, variables, by="admin"))["opened"]
    assert found["verdict"] == "OPENED"
    (path,) = found["paths"]
    assert path["relations"][0]["sentence"] == "agent:support calls mcp_server:crm"
    admin = here.world.id("admin")
    told = [
        (item["subject"], item["before"], [(e["position"], e["type"], e["actor"]["principal"]) for e in item["events"]])
        for item in path["changes"]
    ]
    assert told == [
        ("relation:agent:support calls mcp_server:crm", "did not hold", [(related, "relation.declared", admin)]),
        ("asset:tool:lookup", "was in quarantine", [(released, "asset.released", admin)]),
    ]
    assert found["fewest"] == path["changes"]
    assert found["undoExact"]
    assert len(found["undo"]) == 1
    assert "agent:support calls mcp_server:crm: did not hold; declared by" in found["summary"]
    assert path["lostControls"] == []
    # Between: neither of the two alone was enough.
    partly = (await here.ask(OPENED, {**variables, "until": {"position": related}}, by="admin"))["opened"]
    assert partly["verdict"] == "SHUT"


async def test_a_way_that_was_there_and_its_gate_is_gone(here: GraphWorld) -> None:
    """There was one already, but it was gated; afterwards there is none at all."""
    since = {"position": await here.world.position()}
    variables = {"from": "agent:support", "to": "dataset:customers", "since": since}
    ends = {"source": "mcp_server:crm", "relation": "gated_by", "target": "approval_path:default"}
    await do(here, "unrelate_assets", **ends)
    await here.project()
    found = (await here.ask(OPENED, variables, by="admin"))["opened"]
    assert (found["verdict"], found["fewest"], found["undo"]) == ("OPEN_BEFORE", [], None)
    (path,) = found["paths"]
    assert path["changes"] == []
    (lost,) = path["lostControls"]
    assert (lost["on"], lost["relation"], lost["control"]) == (
        "asset:mcp_server:crm",
        "gated_by",
        "asset:approval_path:default",
    )
    assert [event["type"] for event in lost["events"]] == ["relation.withdrawn"]
    assert "mcp_server:crm is gated by approval_path:default no more" in found["summary"]
    await do(here, "quarantine_asset", asset="agent:support", reason="misbehaves")
    await here.project()
    found = (await here.ask(OPENED, variables, by="admin"))["opened"]
    assert (found["verdict"], found["paths"]) == ("CLOSED", [])
    answer = await here.codes(OPENED, {**variables, "to": "dataset:nothing"}, by="admin")
    assert answer == ["not_found"]


async def test_a_gate_that_was_retired_is_lost(here: GraphWorld) -> None:
    """The relation to it stays; what it leads to is no longer in force."""
    since = {"position": await here.world.position()}
    await do(here, "retire_asset", asset="approval_path:default", reason="nobody answers")
    await here.project()
    variables = {"from": "agent:support", "to": "dataset:customers", "since": since}
    (path,) = (await here.ask(OPENED, variables, by="admin"))["opened"]["paths"]
    assert [event["type"] for lost in path["lostControls"] for event in lost["events"]] == ["asset.retired"]


async def test_what_opened_a_way_as_known_later(here: GraphWorld) -> None:
    """As recorded the relation opened it today; as known now it had been open for years."""
    since = {"position": await here.world.position()}
    for asset in ("agent:support", "dataset:customers"):
        await do(here, "change_asset", asset=asset, set={"lifecycle": "live"}, valid_from=AGO)
    ends = {"source": "agent:support", "relation": "reads", "target": "dataset:customers"}
    declared = await do(here, "relate_assets", **ends, valid_from="2021-01-01T00:00:00Z")
    known = {"position": await here.world.position()}
    variables = {"from": "agent:support", "to": "dataset:customers", "hops": 1}
    found = (await here.ask(OPENED, {**variables, "since": since}, by="admin"))["opened"]
    # There is a longer way besides, and what is said of the ways is said of all.
    assert found["verdict"] == "OPEN_BEFORE"
    (path,) = found["paths"]
    assert [event["position"] for item in path["changes"] for event in item["events"]] == [declared]
    years = {"since": {"time": "2020-12-01T00:00:00Z"}, "until": {"time": "2021-02-01T00:00:00Z"}, "knownAt": known}
    found = (await here.ask(OPENED, {**variables, **years}, by="admin"))["opened"]
    assert found["verdict"] == "OPENED"
    assert [event["position"] for item in found["fewest"] for event in item["events"]] == [declared]
    late = {"since": {"time": "2021-02-01T00:00:00Z"}, "until": since, "knownAt": known}
    assert (await here.ask(OPENED, {**variables, **late}, by="admin"))["opened"]["verdict"] == "OPEN_BEFORE"


async def test_what_cannot_be_asked_of_a_way(here: GraphWorld) -> None:
    """Moments the wrong way round, too many steps, objects that nobody knows, and whoever does not read the map."""
    head = await here.world.position()
    variables = {"from": "agent:support", "to": "dataset:customers", "since": {"position": head}}
    for wrong in (
        {"until": {"position": head - 1}},
        {"hops": 13},
        {"hops": 0},
        {"since": {"time": AHEAD}},
        {"since": {"position": head + 1000}},
        {"since": {"time": AGO}, "until": {"time": LONG_AGO}, "knownAt": {"position": head}},
    ):
        assert await here.codes(OPENED, {**variables, **wrong}, by="admin") == ["invalid_input"], wrong
    assert await here.codes(OPENED, {**variables, "from": "agent:none"}, by="admin") == ["not_found"]
    assert await here.codes(OPENED, variables, by="bot") == ["not_allowed"]
    first = (await here.ask(OPENED, {**variables, "since": {"position": 0}}, by="admin"))["opened"]
    assert first["verdict"] == "OPENED"
    assert first["fewest"][0]["before"] == "was not there"


DIFF = """query($from: Moment!, $to: Moment, $knownAt: Moment, $first: Int! = 50, $after: String, $kinds: [ObjectKind!],
    $assets: [String!], $teams: [String!]) { diff(from: $from, to: $to, knownAt: $knownAt) {
    from { position moment } to { position moment }
    changes(first: $first, after: $after, kinds: $kinds, assets: $assets, teams: $teams) {
        edges { node { kind objectKind objectId sentence fields { name before after }
            event { position type actor { principal } } } } pageInfo { hasNextPage endCursor } } } }"""


async def diff(here: GraphWorld, **variables: Any) -> list[dict[str, Any]]:
    """Return what differs."""
    found = (await here.ask(DIFF, variables, by="admin"))["diff"]["changes"]["edges"]
    return [edge["node"] for edge in found]


async def test_the_difference_of_a_part_in_words(here: GraphWorld) -> None:
    """One object with its relations, or what a team answers for, at either moment; each change reads as a sentence."""
    since = {"position": await here.world.position()}
    await do(here, "register_asset", asset="tool:refund", facts={"owner": "payments-rota"})
    ends = {"source": "agent:support", "relation": "calls", "target": "tool:refund"}
    related = await do(here, "relate_assets", **ends)
    await do(here, "transfer_asset", asset="agent:support", owner="night-rota", team="ops")
    await do(here, "unrelate_assets", source="agent:support", relation="calls", target="mcp_server:crm")
    await do(here, "quarantine_asset", asset="tool:lookup", reason="looks odd")
    await do(
        here, "change_asset", asset="tool:lookup", set={"purpose": "to look up", "attributes": {"labels": {"a": "b"}}}
    )
    await do(here, "change_asset", asset="dataset:customers", set={"risk": "high"}, valid_from=AHEAD, valid_to=None)
    await do(here, "relate_assets", source="tool:lookup", relation="reads", target="dataset:customers", valid_from=AGO)
    await here.project()
    everything = {item["objectId"]: item["sentence"] for item in await diff(here, **{"from": since})}
    assert everything == {
        "asset:agent:support": "agent:support is owned by night-rota (before: first-rota); is of team ops (before: care)",
        "asset:dataset:customers": "dataset:customers is said to have, from 2290-01-01T00:00:00.000000+00:00: risk high",
        "asset:tool:lookup": 'tool:lookup has the labels {"a": "b"}; is in quarantine (was live); has the purpose to look up',
        "asset:tool:refund": "tool:refund is there now: it is live, owned by payments-rota",
        "relation:agent:support calls mcp_server:crm": "agent:support calls mcp_server:crm no more: that was withdrawn",
        "relation:agent:support calls tool:refund": "agent:support now calls tool:refund (declared by command)",
        "relation:tool:lookup reads dataset:customers": everything["relation:tool:lookup reads dataset:customers"],
    }
    periods = "is declared to hold from 2020-06-01T00:00:00.000000+00:00 (before: from "
    assert periods in everything["relation:tool:lookup reads dataset:customers"]
    part = await diff(here, **{"from": since}, assets=["agent:support"])
    assert [item["objectId"] for item in part] == [
        "asset:agent:support",
        "relation:agent:support calls mcp_server:crm",
        "relation:agent:support calls tool:refund",
    ]
    assert part[2]["event"] == {
        "position": related,
        "type": "relation.declared",
        "actor": {"principal": here.world.id("admin")},
    }
    for team in ("care", "ops"):
        assert await diff(here, **{"from": since}, teams=[team]) == part
    assert await diff(here, **{"from": since}, teams=["nobody"]) == []
    assert [
        item["objectId"] for item in await diff(here, **{"from": since}, assets=["tool:refund"], kinds=["ASSET"])
    ] == ["asset:tool:refund"]
    pages: list[dict[str, Any]] = []
    after = None
    while True:
        found = await here.ask(
            DIFF, {"from": since, "assets": ["agent:support"], "first": 1, "after": after}, by="admin"
        )
        changes = found["diff"]["changes"]
        pages += [edge["node"] for edge in changes["edges"]]
        if not changes["pageInfo"]["hasNextPage"]:
            break
        after = changes["pageInfo"]["endCursor"]
    assert pages == part
    for wrong in ({"assets": ["nothing"]}, {"assets": [f"tool:t{number}" for number in range(101)]}):
        assert await here.codes(DIFF, {"from": since, **wrong}, by="admin") == ["invalid_input"]
    other = {"from": since, "teams": ["ops"], "after": after}
    assert await here.codes(DIFF, other, by="admin") == ["invalid_cursor"]


async def test_the_difference_of_what_was_merged(here: GraphWorld) -> None:
    """What was recorded under the name of what became part of an object belongs to that object's part."""
    await do(here, "register_asset", asset="tool:find", facts={})
    since = {"position": await here.world.position()}
    await do(here, "relate_assets", source="agent:support", relation="calls", target="tool:find")
    await do(here, "merge_assets", survivor="tool:lookup", merged="tool:find", reason="the same")
    await here.project()
    found = [item["objectId"] for item in await diff(here, **{"from": since}, assets=["tool:lookup"])]
    assert found == ["asset:tool:find", "asset:tool:lookup", "relation:agent:support calls tool:find"]


async def test_the_difference_in_truth_as_known_now(here: GraphWorld) -> None:
    """Between two days of years ago nothing was recorded; as known now, something changed hands."""
    for owner, begin in (("old-rota", AGO), ("new-rota", "2021-06-01T00:00:00Z")):
        await do(here, "change_asset", asset="agent:support", set={"owner": owner}, valid_from=begin)
    now = {"position": await here.world.position()}
    span = {"from": {"time": "2021-01-01T00:00:00Z"}, "to": {"time": "2022-01-01T00:00:00Z"}}
    assert await diff(here, **span) == []
    for given in ({}, {"assets": ["agent:support"]}, {"teams": ["care"]}):
        found = await diff(here, **span, knownAt=now, **given)
        effect = "which takes effect at 2021-06-01T00:00:00.000000+00:00"
        expected = [] if "teams" in given else [f"agent:support is owned by new-rota (before: old-rota), {effect}"]
        assert [item["sentence"] for item in found] == expected
    born = await diff(here, **{"from": {"time": LONG_AGO}, "to": span["from"]}, knownAt=now)
    assert [(item["kind"], item["objectId"]) for item in born] == [("ADDED", "asset:agent:support")]
    swapped = {"from": span["to"], "to": span["from"], "knownAt": now}
    assert await here.codes(DIFF, swapped, by="admin") == ["invalid_input"]
    assert await here.codes(DIFF, {"from": span["to"], "to": span["from"]}, by="admin") == ["invalid_input"]


async def test_what_is_dated_is_told(here: GraphWorld) -> None:
    """An object says what holds from or until other moments, where it was recorded, and what it says of them."""
    position = await do(
        here, "change_asset", asset="agent:support", set={"owner": "b"}, valid_from=AGO, valid_to="2021-01-01T00:00:00Z"
    )
    query = """{ now { assets(first: 9, filter: {kind: ["agent", "tool"]}, order: OLDEST_FIRST) {
        edges { node { id dated { position from to facts } relations { holds } } } } } }"""
    agent, tool = (edge["node"] for edge in (await here.ask(query, by="admin"))["now"]["assets"]["edges"])
    assert agent["dated"] == [
        {
            "position": position,
            "from": "2020-06-01T00:00:00.000000Z",
            "to": "2021-01-01T00:00:00.000000Z",
            "facts": {"owner": "b"},
        }
    ]
    assert tool["dated"] == []
    assert tool["relations"] == [{"holds": True}]


EVERYTHING = """{ position recordedAt moment tenant { id } node(id: "asset:agent:support") { id }
    principals(first: 9) { edges { node { id } } } apiKeys(first: 9) { edges { node { id } } }
    policyBundles(first: 9) { edges { node { id } } } decisions(first: 9) { edges { node { id } } }
    approvalPaths(first: 9) { edges { node { id } } } approvals(first: 9) { edges { node { id } } }
    grants(first: 9) { edges { node { id } } } effects(first: 9) { edges { node { id } } }
    callbacks(first: 9) { edges { node { id } } } parkedEvents(first: 9) { edges { node { id } } }
    assets(first: 9, filter: {owner: ["first-rota"]}) { edges { node { id } } }
    relations(first: 9, filter: {relation: ["calls"]}) { edges { node { id } } }
    drifts(first: 9) { edges { node { id } } } sources(first: 9) { edges { node { id } } }
    findings(first: 9) { total edges { node { message } } } coverage(by: TEAM) { total whole { objects } } }"""
OF_AN_OBJECT = {
    "blastRadius": '(of: "agent:support") { total }',
    "reach": '(of: "agent:support", first: 9) { total }',
    "reachedBy": '(of: "agent:support", first: 9) { total }',
    "ways": '(from: "agent:support", to: "tool:lookup") { more }',
}


@pytest.mark.parametrize(
    "when",
    [
        "position: 0",
        'time: "0001-01-01T00:00:00Z"',
        'time: "0001-01-01T00:00:00Z", knownAt: {position: 3}',
        'time: "9999-12-31T23:59:59.999999Z", knownAt: {position: 3}',
        'time: "0001-01-01T00:00:00Z", knownAt: {time: "0001-01-01T00:00:00Z"}',
    ],
)
async def test_every_field_at_the_ends_of_time(here: GraphWorld, when: str) -> None:
    """Before anything was recorded there is nothing, at the first moment and at the last that there are: no field of the
    record fails, and of what asks about an object each says that there is none."""
    record = build_schema(introspection=False).as_str().partition("type Record {")[2].partition("\n}")[0]
    fields = set(re.findall(r"^  (\w+)[(:]", record, re.MULTILINE))
    asked = {name for name in fields if f" {name}" in EVERYTHING} | OF_AN_OBJECT.keys()
    assert asked == fields
    found = (await here.ask(f"{{ at({when}) {EVERYTHING} }}", by="admin"))["at"]
    assert (found["findings"]["total"], found["coverage"]["whole"]["objects"]) == (0, 0)
    for name, arguments in OF_AN_OBJECT.items():
        assert await here.codes(f"{{ at({when}) {{ {name}{arguments} }} }}", by="admin") == ["not_found"], name


async def test_what_was_announced_holds_now(here: GraphWorld) -> None:
    """A fact and a relation whose time comes while nothing is recorded: `now` says what holds, narrowed by it, too."""
    store: Any = here.world.services.ledger.store
    told = (await store.now()).isoformat()
    soon = (datetime.fromisoformat(told) + timedelta(seconds=2)).isoformat()
    await do(here, "change_asset", asset="agent:support", set={"owner": "next-rota"}, valid_from=soon)
    relation = {"source": "agent:support", "relation": "reads", "target": "dataset:customers", "valid_from": soon}
    await do(here, "relate_assets", **relation)
    query = """{ now { node(id: "asset:agent:support") { ... on Asset { owner } }
        assets(first: 9, filter: {owner: ["next-rota"]}) { edges { node { id owner } } }
        before: assets(first: 9, filter: {owner: ["first-rota"]}) { edges { node { id } } }
        relations(first: 9, filter: {source: ["agent:support"], relation: ["reads"]}) { edges { node { declared } } }
        reach(of: "agent:support", first: 9) { reached { steps asset { id } } } } }"""
    first = (await here.ask(query, by="admin"))["now"]
    since, effect = {"position": await here.world.position()}, f"which takes effect at {soon[:19]}"
    while datetime.fromisoformat(soon) > await store.now():
        await asyncio.to_thread(store.pool.get_size)
    second = (await here.ask(query, by="admin"))["now"]
    for found, owner, declared, steps in ((first, "first-rota", False, 3), (second, "next-rota", True, 1)):
        assert found["node"] == {"owner": owner}
        assert [edge["node"]["owner"] for edge in found["assets"]["edges"]] == ["next-rota"] * declared
        assert len(found["before"]["edges"]) == (not declared)
        assert found["relations"]["edges"] == [{"node": {"declared": declared}}]
        away = {item["asset"]["id"]: item["steps"] for item in found["reach"]["reached"]}
        assert away["asset:dataset:customers"] == steps
    way = {"from": "agent:support", "to": "dataset:customers", "since": since, "until": None, "hops": 1}
    opened = (await here.ask(OPENED, way, by="admin"))["opened"]
    assert effect in opened["paths"][0]["changes"][0]["sentence"], opened
    changes = await diff(here, **{"from": {"time": told}, "knownAt": since, "assets": ["agent:support"]})
    sentences = {item["objectId"]: item["sentence"] for item in changes}
    assert effect in sentences["asset:agent:support"]
    assert effect in sentences["relation:agent:support reads dataset:customers"]
    early = {"position": since["position"] - 2}
    assert await diff(here, **{"from": {"time": told}, "knownAt": early}) == []
