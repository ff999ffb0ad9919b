"""Findings, coverage and blast radius over GraphQL, of now and of then; for one tenant and its readers alone.

Serves S0-04, S0-53, S0-59, S0-76, S2-82.
"""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from agent_traces import Teller, protobuf
from graphql_world import GraphWorld, graph_world
from opentelemetry.trace import SpanKind

from quarterdeck_readmodels.assessing import Assessor

FILE: dict[str, Any] = {
    "version": 1,
    "source": "platform",
    "assets": {
        "agent:support": {
            "owner": "support-rota",
            "team": "support",
            "relations": {
                "calls": ["mcp_server:crm"],
                "uses": ["model_version:gpt-1"],
                "part_of": ["application:desk"],
                "feeds": ["output_channel:chat"],
                "gated_by": ["approval_path:default"],
            },
        },
        "agent:night": {"relations": {"uses": ["model:gpt"], "owned_by": ["team:ops"]}},
        "agent:far": {"owner": "far-rota", "relations": {"reads": ["dataset:orders"]}},
        "application:desk": {"owner": "desk-lead", "team": "support"},
        "output_channel:chat": {"attributes": {"audience": "customer"}},
        "model:gpt": {"owner": "ml"},
        "model_version:gpt-1": {"relations": {"version_of": ["model:gpt"]}},
        "model_version:gpt-2": {"relations": {"version_of": ["model:gpt"]}},
        "agent:new": {"relations": {"uses": ["model_version:gpt-2"]}},
        "mcp_server:crm": {"owner": "crm", "relations": {"exposes": ["tool:crm/refund"]}},
        "tool:crm/refund": {"attributes": {"privileges": ["write"]}, "relations": {"writes": ["dataset:orders"]}},
        "dataset:orders": {"owner": "data", "classification": "confidential"},
        "approval_path:default": {"owner": "governance"},
        "team:support": {"attributes": {"on_call": "https://pager.example/support", "channel": "#support"}},
        "team:ops": {"attributes": {"channel": "#ops"}},
    },
}
FINDINGS = """query($first: Int!, $after: String, $filter: FindingFilter) { now { findings(first: $first, after: $after,
    filter: $filter) { total pageInfo { hasNextPage endCursor }
    edges { node { type severity assetId subject team message fix asset { id lifecycle } } } } } }"""
COVERAGE = """query($by: CoverageBy!) { now { coverage(by: $by) { total whole { objects }
    groups { name objects completeness missing { facet objects }
    controls { control required covered outlier } } } } }"""
BLAST = """query($of: ID!, $hops: Int!) { now { blastRadius(of: $of, hops: $hops) { total dataTotal
    groups { group total nearest { steps asset { id } relation { sentence } audience } }
    data { steps writes asset { id } relation { sentence } }
    people { owner team onCall channel steps nearest objects } } } }"""


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


async def findings(here: GraphWorld, first: int = 100, after: str | None = None, **filter: Any) -> dict[str, Any]:
    """Return a page of what is found."""
    answer = await here.ask(FINDINGS, {"first": first, "after": after, "filter": filter or None}, by="admin")
    found: dict[str, Any] = answer["now"]["findings"]
    return found


def nodes(page: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the findings of a page."""
    return [edge["node"] for edge in page["edges"]]


async def test_findings_the_worst_first_each_with_its_fix(here: GraphWorld) -> None:
    """Pages are one list; a command that mends one takes it away, and as of before it is still there."""
    whole = nodes(await findings(here))
    pages: list[dict[str, Any]] = []
    after, more = None, True
    while more:
        page = await findings(here, first=3, after=after)
        pages += nodes(page)
        after, more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
    assert pages == whole
    ranks = [["CRITICAL", "HIGH", "MODERATE", "LOW"].index(item["severity"]) for item in whole]
    assert ranks == sorted(ranks)
    unowned = nodes(await findings(here, type=["UNOWNED"]))
    assert [item["assetId"] for item in unowned] == ["asset:agent:new", "asset:output_channel:chat"]
    assert unowned[0]["asset"] == {"id": "asset:agent:new", "lifecycle": "LIVE"}
    assert unowned[0]["fix"] == "quarterdeck estate transfer agent:new --owner OWNER --team TEAM"
    before = await here.world.position()
    body = {"asset": "agent:new", "owner": "rota", "team": "ops"}
    await here.world.api.command("transfer_asset", body, by=(here.world.tenant, "admin"))
    await here.project()
    assert [item["assetId"] for item in nodes(await findings(here, type=["UNOWNED"]))] == ["asset:output_channel:chat"]
    then = """query($position: Position!) { at(position: $position) { findings(first: 9, filter: {type: [UNOWNED]}) {
        total } } }"""
    assert (await here.ask(then, {"position": before}, by="admin"))["at"]["findings"]["total"] == 2


async def test_findings_are_narrowed(here: GraphWorld) -> None:
    """By type, severity, team (of the object, or of what it is part of), kind and object; the cursor is of one filter."""
    assert {item["type"] for item in nodes(await findings(here, type=["UNFUNDED", "UNGOVERNED"]))} == {
        "UNFUNDED",
        "UNGOVERNED",
    }
    assert {item["severity"] for item in nodes(await findings(here, severity=["LOW"]))} == {"LOW"}
    assert {item["assetId"] for item in nodes(await findings(here, team=["team:support"]))} == {
        "asset:agent:support",
        "asset:application:desk",
    }
    assert {item["team"] for item in nodes(await findings(here, team=["ops"]))} == {"ops"}
    assert {item["assetId"] for item in nodes(await findings(here, kind=["dataset"]))} == {"asset:dataset:orders"}
    one = await findings(here, first=1, asset=["asset:agent:night"])
    assert {item["assetId"] for item in nodes(one)} == {"asset:agent:night"}
    answer = await here.post(
        {"query": FINDINGS, "variables": {"first": 1, "after": one["pageInfo"]["endCursor"], "filter": None}},
        by="admin",
    )
    assert answer.json()["errors"][0]["extensions"]["code"] == "invalid_cursor"


async def test_coverage_by_team_and_by_kind(here: GraphWorld) -> None:
    """Each group is counted; what no team answers for is a group of its own, and teams are in none."""
    by_kind = (await here.ask(COVERAGE, {"by": "KIND"}, by="admin"))["now"]["coverage"]
    groups = {group["name"]: group for group in by_kind["groups"]}
    assert by_kind["groups"][0]["name"] == "agent"
    assert by_kind["total"] == len(groups)
    assert by_kind["whole"]["objects"] == len(FILE["assets"]) == sum(group["objects"] for group in groups.values())
    agents = {item["control"]: (item["required"], item["covered"]) for item in groups["agent"]["controls"]}
    assert agents == {"OWNED": (4, 3), "GOVERNED": (4, 0), "GATED": (1, 1), "FUNDED": (4, 0), "MONITORED": (4, 0)}
    missing = {item["facet"]: item["objects"] for item in groups["agent"]["missing"]}
    assert missing == {"OWNER": 2, "PURPOSE": 4, "ENVIRONMENTS": 4, "DATA": 2, "TOOLS": 3, "ATTRIBUTES": 4}
    assert {item["control"]: item["required"] for item in groups["team"]["controls"]}["OWNED"] == 0
    by_team = (await here.ask(COVERAGE, {"by": "TEAM"}, by="admin"))["now"]["coverage"]["groups"]
    counted = {group["name"]: group["objects"] for group in by_team}
    assert (counted["support"], counted["ops"]) == (3, 2)
    assert counted[None] == len(FILE["assets"]) - 5


async def test_blast_radius_of_a_version(here: GraphWorld) -> None:
    """Who uses it, what they are part of and feed, and whom to call; another version of the model is not concerned."""
    answer = (await here.ask(BLAST, {"of": "model_version:gpt-1", "hops": 4}, by="admin"))["now"]["blastRadius"]
    found = {
        item["asset"]["id"].removeprefix("asset:"): (item["steps"], item["relation"]["sentence"], item["audience"])
        for group in answer["groups"]
        for item in group["nearest"]
    }
    assert found == {
        "agent:support": (1, "agent:support uses model_version:gpt-1", None),
        "model:gpt": (1, "model_version:gpt-1 is a version of model:gpt", None),
        "agent:night": (2, "agent:night uses model:gpt", None),
        "application:desk": (2, "agent:support is part of application:desk", None),
        "output_channel:chat": (2, "agent:support feeds output_channel:chat", "customer"),
    }
    assert answer["total"] == 5
    assert [group["group"] for group in answer["groups"]] == ["AGENTS", "APPLICATIONS", "CHANNELS", "MODELS"]
    called = [(person["owner"], person["team"], person["onCall"], person["steps"]) for person in answer["people"]]
    assert called == [
        ("ml", None, None, 0),
        ("support-rota", "support", "https://pager.example/support", 1),
        (None, "ops", None, 2),
        ("desk-lead", "support", "https://pager.example/support", 2),
        (None, None, None, 2),
    ]


async def test_blast_radius_of_what_offers_and_of_an_agent(here: GraphWorld) -> None:
    """A server's tools are wrong with it, and so is what they write; an agent's data are those it comes to by tools."""
    answer = (await here.ask(BLAST, {"of": "mcp_server:crm", "hops": 3}, by="admin"))["now"]["blastRadius"]
    names = {item["asset"]["id"] for group in answer["groups"] for item in group["nearest"]}
    assert {"asset:tool:crm/refund", "asset:agent:support", "asset:dataset:orders", "asset:agent:far"} <= names
    answer = (await here.ask(BLAST, {"of": "agent:support", "hops": 2}, by="admin"))["now"]["blastRadius"]
    assert [(item["asset"]["id"], item["writes"]) for item in answer["data"]] == [("asset:dataset:orders", True)]
    team = (await here.ask(BLAST, {"of": "team:support", "hops": 1}, by="admin"))["now"]["blastRadius"]
    assert team["total"] == 0
    gate = (await here.ask(BLAST, {"of": "approval_path:default", "hops": 1}, by="admin"))["now"]["blastRadius"]
    assert [group["nearest"][0]["asset"]["id"] for group in gate["groups"]] == ["asset:agent:support"]


async def test_whoever_owns_a_team_is_to_call(here: GraphWorld) -> None:
    """The radius of a team names who leads it, and how the team itself is reached."""
    await here.world.api.command(
        "change_asset", {"asset": "team:support", "set": {"owner": "lead"}}, by=(here.world.tenant, "admin")
    )
    await here.project()
    found = (await here.ask(BLAST, {"of": "team:support", "hops": 1}, by="admin"))["now"]["blastRadius"]
    (person,) = found["people"]
    called = (person["owner"], person["team"], person["onCall"], person["channel"], person["nearest"])
    assert called == ("lead", "support", "https://pager.example/support", "#support", "asset:team:support")


async def test_what_is_in_quarantine_still_has_a_radius_and_carries_nothing_on(here: GraphWorld) -> None:
    """The commander has shut it already; what was shut does not spread it."""
    command, by = here.world.api.command, (here.world.tenant, "admin")
    await command("quarantine_asset", {"asset": "model_version:gpt-1", "reason": "odd answers"}, by=by)
    await here.project()
    assert (await here.ask(BLAST, {"of": "model_version:gpt-1", "hops": 1}, by="admin"))["now"]["blastRadius"]["total"]
    await command("quarantine_asset", {"asset": "agent:support", "reason": "odd answers"}, by=by)
    await here.project()
    answer = (await here.ask(BLAST, {"of": "model_version:gpt-1", "hops": 4}, by="admin"))["now"]["blastRadius"]
    names = {item["asset"]["id"] for group in answer["groups"] for item in group["nearest"]}
    assert names == {"asset:model:gpt", "asset:agent:night"}


async def test_bad_questions_are_refused(here: GraphWorld) -> None:
    """Too far, nothing there, too much at once; and none of it is for agents."""
    codes = here.codes
    assert await codes(BLAST, {"of": "agent:support", "hops": 13}, by="admin") == ["invalid_input"]
    assert await codes(BLAST, {"of": "agent:nobody", "hops": 1}, by="admin") == ["not_found"]
    many = {"first": 1, "after": None, "filter": {"asset": [f"agent:{n}" for n in range(101)]}}
    assert await codes(FINDINGS, many, by="admin") == ["invalid_input"]
    for query, variables in (
        (FINDINGS, {"first": 1}),
        (COVERAGE, {"by": "TEAM"}),
        (BLAST, {"of": "agent:support", "hops": 1}),
    ):
        assert await codes(query, variables, by="bot") == ["not_allowed"]


def told_spans(answers: str, tokens: int, times: int) -> bytes:
    """Return traces of an agent that asked a model."""
    teller = Teller("desk")
    said: dict[str, Any] = {"gen_ai__operation__name": "chat", "gen_ai__agent__name": "support"}
    said |= {"gen_ai__request__model": "gpt", "gen_ai__response__model": answers, "gen_ai__usage__input_tokens": tokens}
    for _ in range(times):
        with teller.span("chat gpt", SpanKind.CLIENT, **said):
            pass
    return protobuf(teller.spans())


async def test_drift_that_traces_show_is_found_once_and_can_be_accepted(here: GraphWorld) -> None:
    """Another version answers, and what is asked is of another size; through the real door, twice at once."""
    headers = here.world.api.bearer(here.world.tenant, "admin") | {"content-type": "application/x-protobuf"}

    async def send(*bodies: bytes) -> None:
        await here.project()
        sent = [here.world.client.post("/v1/traces", content=body, headers=headers) for body in bodies]
        assert [answer.status_code for answer in await asyncio.gather(*sent)] == [200] * len(bodies)
        await here.project()

    await send(told_spans("gpt-1", 100, 200))
    assert nodes(await findings(here, type=["DRIFTED"])) == []
    await send(told_spans("gpt-9", 9_000, 200), told_spans("gpt-9", 9_000, 1))
    found = nodes(await findings(here, type=["DRIFTED"]))
    assert [(item["assetId"], item["subject"]) for item in found] == [
        ("asset:agent:support", "input_mix input_mix"),
        ("asset:model:gpt", "model serves"),
    ]
    assert "under 256: 100% became under 16k: 100%" in found[0]["message"]
    assert "gpt-1 became gpt-9" in found[1]["message"]
    assert nodes(await findings(here, type=["UNREGISTERED"], kind=["agent", "model"])) == []
    for item in found:
        _, _, _, asset, drift, *_ = shlex.split(item["fix"])
        body = {"asset": asset, "drift_id": drift, "reason": "looked at"}
        await here.world.api.command("accept_drift", body, by=(here.world.tenant, "admin"))
    await here.project()
    assert nodes(await findings(here, type=["DRIFTED"])) == []
    await send(told_spans("gpt-9", 9_000, 200))
    assert nodes(await findings(here, type=["DRIFTED"])) == []


async def test_what_was_missing_at_a_moment_as_it_is_known_now(here: GraphWorld) -> None:
    """An owner who is recorded late was there; what nobody knew then is told apart from what was so."""
    position = await here.world.position()
    then = (await here.world.services.ledger.now()).isoformat()
    since = "2020-01-01T00:00:00Z"
    body = {"asset": "agent:new", "set": {"owner": "rota"}, "valid_from": since}
    await here.world.api.command("change_asset", body, by=(here.world.tenant, "admin"))
    await here.project()
    query = """query($time: DateTime!, $known: Moment) { at(time: $time, knownAt: $known) {
        findings(first: 9, filter: {type: [UNOWNED], kind: ["agent"]}) { edges { node { assetId } } } } }"""

    async def unowned(known: Any) -> list[str]:
        answer = await here.ask(query, {"time": then, "known": known}, by="admin")
        return [edge["node"]["assetId"] for edge in answer["at"]["findings"]["edges"]]

    assert await unowned(None) == ["asset:agent:new"]
    assert await unowned({"position": position}) == ["asset:agent:new"]
    assert await unowned({"position": await here.world.position()}) == []


async def test_the_page_about_findings_asks_what_is_answered(here: GraphWorld) -> None:
    """Each question on it, as it stands."""
    page = Path(__file__).parents[2] / "docs" / "findings.md"
    queries = re.findall(r"^```graphql\n(.+?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    assert len(queries) == 3
    for query in queries:
        assert (await here.ask(query, by="admin"))["now"]


async def test_an_assessment_is_kept_until_the_estate_changes(
    here: GraphWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages and filters of one moment, and events that are not of the estate, ask for no other assessment."""
    works: list[int] = []
    work = Assessor._read

    async def counted(self: Assessor, *given: Any) -> Any:
        works.append(1)
        return await work(self, *given)

    monkeypatch.setattr(Assessor, "_read", counted)
    await findings(here)
    await findings(here, kind=["agent"])
    await here.ask(COVERAGE, {"by": "TEAM"}, by="admin")
    await here.world.request()
    await findings(here)
    assert len(works) == 1
    await apply(here, {"version": 1, "source": "x", "assets": {"agent:other": None}})
    await findings(here)
    assert len(works) == 2


async def test_what_there_is_not_is_said(here: GraphWorld) -> None:
    """A mistyped object is not found, a mistyped kind is refused with those that there are, and of a team that nothing
    belongs to it is said."""
    ways = 'query($to: ID!) { now { ways(from: "agent:far", to: $to) { more } } }'
    opened = 'query($to: ID!) { opened(from: "agent:far", to: $to, since: {position: 1}) { verdict } }'
    for query in (ways, opened):
        assert await here.codes(query, {"to": "dataset:ordesr"}, by="admin") == ["not_found"]
        assert await here.codes(query, {"to": "dataset:orders"}, by="admin") == []
    for filter_, code in (({"asset": ["agent:fra"]}, "not_found"), ({"kind": ["agnet"]}, "invalid_input")):
        assert await here.codes(FINDINGS, {"first": 1, "filter": filter_}, by="admin") == [code]
    for selection in (
        'assets(first: 1, filter: {kind: ["agnet"]}) { edges { cursor } }',
        'relations(first: 1, filter: {sourceKind: ["agnet"]}) { edges { cursor } }',
        'relations(first: 1, filter: {relation: ["cals"]}) { edges { cursor } }',
        'reach(of: "agent:far", first: 1, kinds: ["agnet"]) { total }',
        'reachedBy(of: "dataset:orders", first: 1, kinds: ["agnet"]) { total }',
    ):
        answer = await here.answer(f"{{ now {{ {selection} }} }}", by="admin")
        (error,) = answer["errors"]
        assert (error["extensions"]["code"], "agent" in error["message"] or "calls" in error["message"]) == (
            "invalid_input",
            True,
        )
    query = "query($team: [String!]) { now { findings(first: 1, filter: {team: $team}) { total unknownTeams } } }"
    found = (await here.ask(query, {"team": ["team:ops", "support", "suport"]}, by="admin"))["now"]["findings"]
    assert (found["total"] > 0, found["unknownTeams"]) == (True, ["suport"])
