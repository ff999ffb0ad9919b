"""What only others claim of an agent is told as that, whatever is asked about reach: who said so, and not as plain ability.

Serves S0-52, S3-09.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from graphql_world import GraphWorld, graph_world

from quarterdeck_api.commands.idempotency import fresh_id
from quarterdeck_domain.estate.events import RelationObserved
from quarterdeck_domain.events import Actor
from quarterdeck_ledger.facts import new_events
from quarterdeck_ledger.interface import Context

WAYS = """query($from: ID!, $to: ID!) { now { ways(from: $from, to: $to) { paths { declared alleged
    relations { target alleged: allegedBy } } } } }"""
WHO = """query($of: ID!) { now { reachedBy(of: $of, first: 50) { accesses { asset { id } alleged ungated steps
    path { alleged relations { target } } } } } }"""
REACH = """query($of: ID!, $direction: Direction!) { now { reach(of: $of, direction: $direction, first: 50) { total
    reached { steps alleged asset { id } } } } }"""
BLAST = """query($of: ID!) { now { blastRadius(of: $of) { total
    groups { nearest { steps alleged asset { id } relation { allegedBy } } }
    data { alleged asset { id } } } } }"""
KNOWN = """query($of: ID!, $time: DateTime!, $now: Moment!) { at(time: $time, knownAt: $now) {
    reach(of: $of, first: 50, direction: FORWARD) { reached { steps alleged asset { id } } } } }"""
THEN = """query($from: ID!, $to: ID!, $at: Position!) { at(position: $at) { ways(from: $from, to: $to) {
    paths { alleged relations { allegedBy } } } } }"""


@pytest.fixture
async def here(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[GraphWorld]:
    """A world with a victim that has a principal of its own, and a tool that leads to data."""
    async with graph_world(migrated_database(), tmp_path) as made:
        await made.project()
        principal = {"attributes": {"principal": made.world.id("bot")}}
        file = {
            "agent:vic": principal | {"relations": {"calls": ["tool:gated"]}},
            "agent:plain": {},
            "tool:wipe": {"relations": {"writes": ["dataset:d"]}},
            "tool:gated": {"relations": {"calls": ["tool:between"], "gated_by": ["approval_path:p"]}},
            "tool:between": {},
            "dataset:d": None,
            "approval_path:p": None,
        }
        headers = made.world.api.bearer(made.world.tenant, "admin")
        body = {"version": 1, "source": "platform", "assets": file}
        answer = await made.world.api.client.post("/v1/estate/apply", json=body, headers=headers)
        assert '"result"' in answer.text, answer.text
        await made.project()
        yield made


async def seen(here: GraphWorld, source: str, target: str, sender: str | None, hours: float = 0) -> None:
    """Record what a trace shows of so many hours ago."""
    ledger, tenant = here.world.services.ledger, here.world.tenant
    now = await ledger.now() - timedelta(hours=hours, seconds=1)
    told = RelationObserved(
        source=source, relation="calls", target=target, first_seen=now, last_seen=now, sender=sender
    )
    actor = Actor(principal=here.world.id("admin"), kind="human")
    context = Context(tenant=tenant, actor=actor, command_id=fresh_id())
    await ledger.append(tenant, new_events([told], context), None)
    await here.project()


async def do(here: GraphWorld, command: str, **arguments: Any) -> None:
    """Let the admin do something."""
    answer = await here.world.api.command(command, arguments, by=(here.world.tenant, "admin"))
    assert answer.status_code == 200, answer.text
    await here.project()


async def asked(here: GraphWorld, document: str, **variables: Any) -> Any:
    """Return what the admin is answered."""
    found = await here.ask(document, variables, by="admin")
    (found,) = found.values()
    (answer,) = found.values()
    return answer


async def alleged(here: GraphWorld, sender: str | None, by: str = "agent:vic") -> tuple[Any, ...]:
    """Return how each question tells of a way from an agent to the data, and whose word it is."""
    (path,) = (await asked(here, WAYS, **{"from": by, "to": "dataset:d"}))["paths"]
    (access,) = [
        item for item in (await asked(here, WHO, of="dataset:d"))["accesses"] if item["asset"]["id"] == f"asset:{by}"
    ]
    assert access["path"]["alleged"] == access["alleged"] == path["alleged"]
    assert not path["declared"]
    assert [item["alleged"] for item in path["relations"][1:]] == [[]]
    forwards = await asked(here, REACH, of=by, direction="FORWARD")
    backwards = await asked(here, REACH, of="dataset:d", direction="BACKWARD")
    told = {item["asset"]["id"]: item["alleged"] for item in forwards["reached"]}
    assert told["asset:dataset:d"] == told["asset:tool:wipe"]
    assert not any(told[name] for name in told if "gated" in name or "between" in name)
    reaching = {item["asset"]["id"]: item["alleged"] for item in backwards["reached"]}
    assert reaching["asset:tool:wipe"] is False
    blast = await asked(here, BLAST, of="tool:wipe")
    hits = {item["asset"]["id"]: item for group in blast["groups"] for item in group["nearest"]}
    assert hits[f"asset:{by}"]["relation"]["allegedBy"] == path["relations"][0]["alleged"]
    assert hits["asset:dataset:d"]["alleged"] is False
    whose = path["relations"][0]["alleged"]
    assert whose == ([] if sender is None else [sender])
    return path["alleged"], told["asset:dataset:d"], reaching[f"asset:{by}"], hits[f"asset:{by}"]["alleged"]


async def test_what_a_stranger_says_is_alleged_until_it_is_known(here: GraphWorld) -> None:
    """By the agent itself, by whoever speaks for others, or by a declaration; and as of then it stays what it was."""
    await seen(here, "agent:vic", "tool:wipe", "prn_stranger")
    assert await alleged(here, "prn_stranger") == (True,) * 4
    then = await here.world.position()
    await seen(here, "agent:vic", "tool:wipe", here.world.id("bot"))
    assert await alleged(here, None) == (False,) * 4
    time = (await here.world.services.ledger.now()).isoformat()
    known = {"now": {"position": then}, "time": time, "of": "agent:vic"}
    (wipe,) = [item for item in (await asked(here, KNOWN, **known))["reached"] if "wipe" in item["asset"]["id"]]
    assert (wipe["steps"], wipe["alleged"]) == (1, True)
    known["now"] = {"position": await here.world.position()}
    (wipe,) = [item for item in (await asked(here, KNOWN, **known))["reached"] if "wipe" in item["asset"]["id"]]
    assert (wipe["steps"], wipe["alleged"]) == (1, False)
    found = await asked(here, THEN, **{"from": "agent:vic", "to": "dataset:d"}, at=then)
    assert found["paths"] == [{"alleged": True, "relations": [{"allegedBy": ["prn_stranger"]}, {"allegedBy": []}]}]


@pytest.mark.parametrize("sender", ["prn_stranger", None])
async def test_of_what_is_known_by_no_principal_it_is_told_who_says_so(here: GraphWorld, sender: str | None) -> None:
    """Unless somebody says so who speaks for others."""
    await seen(here, "agent:plain", "tool:wipe", sender)
    assert await alleged(here, sender, by="agent:plain") == (sender is not None,) * 4


async def test_an_allegation_takes_nothing_from_what_is_known(here: GraphWorld) -> None:
    """A longer way that is declared is one all the same; and that nobody has to consent on an alleged one is not told
    of the agent."""
    await seen(here, "agent:vic", "tool:wipe", "prn_stranger")
    await do(here, "relate_assets", source="tool:between", relation="writes", target="dataset:d")
    (access,) = [
        item
        for item in (await asked(here, WHO, of="dataset:d"))["accesses"]
        if item["asset"]["id"] == "asset:agent:vic"
    ]
    assert (access["alleged"], access["ungated"], access["steps"]) == (False, False, 3)
    assert access["path"]["relations"][0]["target"] == "asset:tool:gated"
    forwards = await asked(here, REACH, of="agent:vic", direction="FORWARD")
    told = {item["asset"]["id"]: (item["steps"], item["alleged"]) for item in forwards["reached"]}
    assert told["asset:dataset:d"] == (3, False)
    assert told["asset:tool:wipe"] == (1, True)


async def test_what_is_shown_of_now_proves_nothing_of_then(here: GraphWorld) -> None:
    """S0-20: what a stranger claimed of long ago stays alleged of then, whatever who knows says of later; recorded late."""
    now = await here.world.services.ledger.now()
    for name in ("agent:early", "tool:early"):
        await do(here, "register_asset", asset=name, valid_from=(now - timedelta(days=2)).isoformat())
    time = (now - timedelta(hours=10)).isoformat()

    async def told() -> tuple[bool, bool]:
        known = {"now": {"position": await here.world.position()}, "time": time, "of": "agent:early"}
        (then,) = (await asked(here, KNOWN, **known))["reached"]
        (today,) = (await asked(here, REACH, of="agent:early", direction="FORWARD"))["reached"]
        return then["alleged"], today["alleged"]

    await seen(here, "agent:early", "tool:early", "prn_stranger", hours=20)
    assert await told() == (True, True)
    await seen(here, "agent:early", "tool:early", None)
    assert await told() == (True, False)


async def test_a_step_that_withdraws_says_what_it_leaves(here: GraphWorld) -> None:
    """What was seen of a relation stays seen when it is withdrawn: whoever is told to do that is told so, too."""
    document = """query($from: ID!, $to: ID!) { now { ways(from: $from, to: $to) { cut { steps { action subject relation seen } } } } }"""

    async def steps(start: str, end: str) -> list[tuple[str, str, bool]]:
        found = await asked(here, document, **{"from": start, "to": end})
        told = found["cut"]["steps"]
        assert [step["relation"] for step in told] == [f"relation:{step['subject']}" for step in told]
        return [(step["action"], step["subject"], step["seen"]) for step in told]

    await seen(here, "agent:plain", "tool:wipe", None)
    assert await steps("agent:plain", "tool:wipe") == [("stop", "agent:plain calls tool:wipe", True)]
    assert await steps("tool:wipe", "dataset:d") == [("withdraw", "tool:wipe writes dataset:d", False)]
    ends = {"source": "agent:plain", "relation": "calls", "target": "tool:wipe"}
    await do(here, "relate_assets", **ends)
    assert await steps("agent:plain", "tool:wipe") == [("withdraw", "agent:plain calls tool:wipe", True)]
    await do(here, "unrelate_assets", **ends)
    assert await steps("agent:plain", "tool:wipe") == [("stop", "agent:plain calls tool:wipe", True)]


async def test_what_became_one_way_is_withdrawn_as_far_as_it_is_declared(here: GraphWorld) -> None:
    """S0-04: after a merge, of the one name it is declared, of the other it was only seen; to undo it likewise."""
    since = {"position": await here.world.position()}
    await do(here, "relate_assets", source="agent:plain", relation="calls", target="tool:wipe")
    await seen(here, "agent:plain", "tool:between", None)
    await do(here, "merge_assets", survivor="tool:wipe", merged="tool:between", reason="one")
    ends = {"from": "agent:plain", "to": "tool:wipe"}
    document = """query($from: ID!, $to: ID!, $since: Moment!) {
        now { ways(from: $from, to: $to) { cut { steps { action subject seen } } } }
        opened(from: $from, to: $to, since: $since) { undo { subject sentence } } }"""
    found = await here.ask(document, ends | {"since": since}, by="admin")
    assert found["now"]["ways"]["cut"]["steps"] == [
        {"action": "stop", "subject": "agent:plain calls tool:between", "seen": True},
        {"action": "withdraw", "subject": "agent:plain calls tool:wipe", "seen": False},
    ]
    assert {
        item["subject"]: item["sentence"].endswith("; it was only seen: to undo it, stop it where it happens")
        for item in found["opened"]["undo"]
    } == {"relation:agent:plain calls tool:between": True, "relation:agent:plain calls tool:wipe": False}
