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
    assert path["controls"] == [
        {"on": "asset:agent:z", "control": {"id": "asset:tool_grant:zg"}},
        {"on": "asset:tool:z-new", "control": {"id": "asset:approval_path:p"}},
    ]
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


CUT = """query($from: ID!, $to: ID!) { now { ways(from: $from, to: $to) { paths { relations { id } }
    cut { exact considered steps { action subject relation } } } } }"""
UNDO = """query($from: ID!, $to: ID!, $since: Moment!) { opened(from: $from, to: $to, since: $since) { verdict undoExact
    paths { changes { subject } } fewest { subject before } undo { subject sentence before } } }"""
K_FILE: dict[str, Any] = {
    "agent:k1": {"relations": {"reads": ["dataset:k1", "dataset:k2", "dataset:k3"]}},
    "agent:k2": {"relations": {"reads": ["dataset:k3"]}},
    "dataset:k1": None,
    "dataset:k2": None,
    "dataset:k3": None,
}
K = {"from": "agent:k1", "to": "dataset:k1"}
K_RECORDED = [
    "agent:k1 reads dataset:k1",
    "agent:k1 reads dataset:k2",
    "agent:k1 reads dataset:k3",
    "agent:k2 reads dataset:k3",
]
K_MERGES = (("dataset:k2", "dataset:k3"), ("dataset:k1", "dataset:k2"), ("agent:k1", "agent:k2"))


async def test_a_cut_that_is_followed_closes_the_way_whatever_was_merged(here: GraphWorld) -> None:
    """S0-04: several relations are one by mergers, in a chain and at both ends: each is a step, as it was recorded."""
    await apply(here, K_FILE)
    for survivor, merged in K_MERGES:
        await do(here, "merge_assets", survivor=survivor, merged=merged, reason="one")
    found = await asked(here, CUT, **K)
    assert [item["id"] for path in found["paths"] for item in path["relations"]] == [f"relation:{K_RECORDED[0]}"]
    cut = found["cut"]
    assert (cut["exact"], cut["considered"]) == (True, 4)
    assert [(item["action"], item["subject"], item["relation"]) for item in cut["steps"]] == [
        ("withdraw", name, f"relation:{name}") for name in K_RECORDED
    ]
    for step in cut["steps"]:
        assert (await asked(here, CUT, **K))["paths"]
        source, relation, target = step["subject"].split(" ")
        await do(here, "unrelate_assets", source=source, relation=relation, target=target)
    assert await asked(here, CUT, **K) == {"paths": [], "cut": None}


async def test_each_relation_that_became_one_way_has_to_be_undone(here: GraphWorld) -> None:
    """S0-72: one of them opened a way, and to undo that takes all of them; unless one of them was there before."""
    await apply(here, dict.fromkeys(K_FILE))
    unrelated = {"position": await here.world.position()}
    await apply(here, K_FILE)
    related = {"position": await here.world.position()}
    for survivor, merged in K_MERGES:
        await do(here, "merge_assets", survivor=survivor, merged=merged, reason="one")
    found = await asked(here, UNDO, **K, since=unrelated)
    assert (found["verdict"], found["undoExact"]) == ("OPENED", True)
    assert [item["subject"] for item in found["fewest"]] == [f"relation:{K_RECORDED[0]}"]
    assert [item["subject"] for item in found["undo"]] == [f"relation:{name}" for name in K_RECORDED]
    found = await asked(here, UNDO, **K, since=related)
    assert (found["verdict"], found["undo"]) == ("OPEN_BEFORE", None)


async def test_a_merge_and_a_relation_that_open_one_way_are_two_to_undo(here: GraphWorld) -> None:
    """What was recorded of the other name counts since the merge, what was said of this one since it was: both do."""
    await apply(here, {"agent:k1": {"relations": {"reads": ["dataset:k2"]}}, "dataset:k1": None, "dataset:k2": None})
    since = {"position": await here.world.position()}
    await do(here, "merge_assets", survivor="dataset:k1", merged="dataset:k2", reason="one")
    merged = {"position": await here.world.position()}
    await do(here, "relate_assets", source="agent:k1", relation="reads", target="dataset:k1")
    found = await asked(here, UNDO, **K, since=since)
    assert found["verdict"] == "OPENED"
    assert len(found["fewest"]) == 1
    assert [(item["subject"], item["before"]) for item in found["undo"]] == [
        ("relation:agent:k1 reads dataset:k1", "was not there"),
        ("relation:agent:k1 reads dataset:k2", "was not part of it"),
    ]
    # The other was there already: what was said since changes nothing of the way.
    found = await asked(here, UNDO, **K, since=merged)
    assert (found["verdict"], found["paths"], found["undo"]) == ("OPEN_BEFORE", [{"changes": []}], None)


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


# -- Grants with an end, and exceptions -------------------------------------------------------------------------------

PAST, LATER = "2026-01-01T00:00:00Z", "2126-01-01T00:00:00Z"
GRANTED: dict[str, Any] = {
    "agent:g": {"relations": {"holds": ["tool_grant:gg"]}},
    "tool_grant:gg": {"attributes": {"expires_at": LATER}, "relations": {"permits": ["tool:g"]}},
    "tool:g": {"relations": {"reads": ["dataset:gd"]}},
    "dataset:gd": {"owner": "rota"},
}
G = {"from": "agent:g", "to": "dataset:gd"}
OVER = "{ on relation expiresAt control { id } }"
STANDING = f"""query($from: ID!, $to: ID!) {{ now {{ ways(from: $from, to: $to) {{ paths {{
    controls {OVER} watchers {OVER} exceptions {OVER} }} cut {{ over steps {{ action subject }} }}
    smallerCut {{ over steps {{ action subject }} }} }} }} }}"""
WHO = f"""query($of: ID!) {{ now {{ reachedBy(of: $of, first: 9) {{ accesses {{ asset {{ id }} ungated
    controls {OVER} watchers {OVER} exceptions {OVER} }} }} }} }}"""
LOOSENED = """query($from: ID!, $to: ID!, $since: Moment!, $until: Moment) {
    opened(from: $from, to: $to, since: $since, until: $until) { verdict summary
    fewest { subject before sentence events { type } } undo { subject } ended { grant expiredAt sentence }
    paths { changes { subject } lostControls { relation control } lostWatchers { relation sentence }
      exceptions { on exception expiresAt sentence events { type } } } } }"""


def over(found: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Return what stands over objects."""
    return [
        (item["on"].removeprefix("asset:"), item["relation"], item["control"]["id"].removeprefix("asset:"))
        for item in found
    ]


async def test_a_grant_must_hold_and_opens_nothing_when_its_time_is_over(here: GraphWorld) -> None:
    """On the way it is said, with its end; once that has passed there is no way, no reach, and nobody who reaches."""
    await apply(here, GRANTED)
    (path,) = (await asked(here, STANDING, **G))["paths"]
    assert over(path["controls"]) == [("agent:g", "holds", "tool_grant:gg")]
    assert path["controls"][0]["expiresAt"] == "2126-01-01T00:00:00.000000Z"
    (access,) = [
        item for item in (await asked(here, WHO, of=G["to"]))["accesses"] if item["asset"]["id"] == "asset:agent:g"
    ]
    assert over(access["controls"]) == [("agent:g", "holds", "tool_grant:gg")]
    (path,) = (await asked(here, STANDING, **{**G, "from": "tool_grant:gg"}))["paths"]
    assert over(path["controls"]) == [("tool:g", "permits", "tool_grant:gg")]
    open_then = {"position": await here.world.position()}
    await do(here, "change_asset", asset="tool_grant:gg", set={"attributes": {"expires_at": PAST}})
    for start in ("agent:g", "tool_grant:gg"):
        found = await asked(here, STANDING, **{**G, "from": start})
        assert (found["paths"], found["cut"]) == ([], None)
        assert (await asked(here, REACH, of=start, first=9))["total"] == 0
    accesses = (await asked(here, WHO, of=G["to"]))["accesses"]
    assert accesses == []
    closed = await asked(here, LOOSENED, **G, since=open_then)
    assert closed["verdict"] == "CLOSED"
    assert [(item["grant"], item["expiredAt"]) for item in closed["ended"]] == [
        ("asset:tool_grant:gg", "2026-01-01T00:00:00.000000Z")
    ]
    assert "tool_grant:gg was valid until 2026-01-01 00:00:00 UTC" in closed["summary"]


async def test_an_extension_is_what_opened_a_way(here: GraphWorld) -> None:
    """Nothing but the end of a grant was changed: that is told, as how it was, and who did it."""
    await apply(here, {**GRANTED, "tool_grant:gg": {**GRANTED["tool_grant:gg"], "attributes": {"expires_at": PAST}}})
    since = {"position": await here.world.position()}
    await do(here, "change_asset", asset="tool_grant:gg", set={"title": "a grant"})
    assert (await asked(here, LOOSENED, **G, since=since))["verdict"] == "SHUT"
    await do(here, "change_asset", asset="tool_grant:gg", set={"attributes": {"expires_at": LATER}})
    await do(here, "change_asset", asset="tool_grant:gg", set={"title": "the grant"})
    found = await asked(here, LOOSENED, **G, since=since)
    assert found["verdict"] == "OPENED"
    (change,) = found["fewest"]
    assert (change["subject"], change["before"]) == ("asset:tool_grant:gg", "was valid until 2026-01-01 00:00:00 UTC")
    assert [event["type"] for event in change["events"]] == ["asset.changed"]
    assert change["sentence"].endswith("and is valid until 2126-01-01 00:00:00 UTC")
    assert found["undo"] == [{"subject": "asset:tool_grant:gg"}]


async def test_time_alone_closes_a_way(here: GraphWorld) -> None:
    """Nothing was recorded in between: it is asked of before and after the end of a grant."""
    since = "2025-01-01T00:00:00Z"
    for name in GRANTED:
        facts = {"attributes": {"expires_at": PAST}} if name == "tool_grant:gg" else {}
        await do(here, "register_asset", asset=name, facts=facts, valid_from=since)
    for name, entry in GRANTED.items():
        for relation, (target,) in entry.get("relations", {}).items():
            await do(here, "relate_assets", source=name, relation=relation, target=target, valid_from=since)
    known = {"position": await here.world.position()}
    document = LOOSENED.replace("$until: Moment)", "$until: Moment, $knownAt: Moment)").replace(
        "until: $until)", "until: $until, knownAt: $knownAt)"
    )
    moments = {"since": {"time": "2025-06-01T00:00:00Z"}, "until": {"time": "2026-02-01T00:00:00Z"}}
    found = await asked(here, document, **G, **moments, knownAt=known)
    assert found["verdict"] == "CLOSED"
    assert [item["sentence"] for item in found["ended"]] == ["tool_grant:gg was valid until 2026-01-01 00:00:00 UTC"]


EXCEPTED: dict[str, Any] = {
    "agent:e": {"relations": {"calls": ["tool:e"]}},
    "tool:e": {
        "relations": {
            "writes": ["dataset:ed"],
            "gated_by": ["approval_path:p"],
            "monitored_by": ["monitoring_hook:m"],
            "evaluated_by": ["evaluation_suite:s"],
        }
    },
    "dataset:ed": None,
    "approval_path:p": None,
    "monitoring_hook:m": None,
    "evaluation_suite:s": None,
    "exception_window:x": {"attributes": {"reason": "a sale", "expires_at": LATER}},
}
E = {"from": "agent:e", "to": "dataset:ed"}


async def test_an_exception_is_no_control_and_weakens_a_gate(here: GraphWorld) -> None:
    """What can refuse must hold; who watches is told apart; an exception lets pass, until its time is over."""
    await apply(here, EXCEPTED)
    gated = [("tool:e", "gated_by", "approval_path:p")]
    watched = [("tool:e", "evaluated_by", "evaluation_suite:s"), ("tool:e", "monitored_by", "monitoring_hook:m")]

    async def shown() -> tuple[list[Any], list[Any], list[Any], bool]:
        (path,) = (await asked(here, STANDING, **E))["paths"]
        (access,) = (await asked(here, WHO, of=E["to"]))["accesses"]
        told = [over(path[name]) for name in ("controls", "watchers", "exceptions")]
        assert told == [over(access[name]) for name in ("controls", "watchers", "exceptions")]
        return told[0], told[1], told[2], access["ungated"]

    assert await shown() == (gated, watched, [], False)
    ends = {"source": "tool:e", "relation": "excepted_by", "target": "exception_window:x"}
    before = {"position": await here.world.position()}
    await do(here, "relate_assets", **ends)
    assert await shown() == (gated, watched, [("tool:e", "excepted_by", "exception_window:x")], True)
    found = await asked(here, LOOSENED, **E, since=before)
    (path,) = found["paths"]
    (granted,) = path["exceptions"]
    assert (granted["on"], granted["exception"]) == ("asset:tool:e", "asset:exception_window:x")
    assert granted["expiresAt"] == "2126-01-01T00:00:00.000000Z"
    assert [event["type"] for event in granted["events"]] == ["relation.declared"]
    assert "Exceptions that were granted on the way: tool:e is excepted by exception_window:x" in found["summary"]
    granted_then = {"position": await here.world.position()}
    await do(here, "change_asset", asset="exception_window:x", set={"attributes": {"expires_at": PAST}})
    assert await shown() == (gated, watched, [], False)
    over_then = {"position": await here.world.position()}
    await do(here, "change_asset", asset="exception_window:x", set={"attributes": {"expires_at": LATER}})
    (path,) = (await asked(here, LOOSENED, **E, since=over_then))["paths"]
    assert [event["type"] for item in path["exceptions"] for event in item["events"]] == ["asset.changed"]
    await do(here, "unrelate_assets", **ends)
    await do(here, "unrelate_assets", source="tool:e", relation="monitored_by", target="monitoring_hook:m")
    (path,) = (await asked(here, LOOSENED, **E, since=granted_then))["paths"]
    assert (path["lostControls"], path["exceptions"]) == ([], [])
    assert [item["relation"] for item in path["lostWatchers"]] == ["monitored_by"]


async def test_a_smaller_cut_stands_beside_that_of_controls(here: GraphWorld) -> None:
    """Two gated tools of one server: both gates, or the server."""
    tools = {f"tool:s{number}": f"approval_path:s{number}" for number in range(2)}
    file: dict[str, Any] = {
        tool: {"relations": {"reads": ["dataset:sd"], "gated_by": [gate]}} for tool, gate in tools.items()
    }
    file |= dict.fromkeys(tools.values()) | {"dataset:sd": None}
    file |= {"agent:s": {"relations": {"calls": ["mcp_server:s"]}}}
    file |= {"mcp_server:s": {"relations": {"exposes": list(tools)}}}
    await apply(here, file)
    found = await asked(here, STANDING, **{"from": "agent:s", "to": "dataset:sd"})
    assert found["cut"] == {
        "over": "CONTROLS",
        "steps": [{"action": "enforce", "subject": gate} for gate in tools.values()],
    }
    assert found["smallerCut"] == {
        "over": "EVERYTHING",
        "steps": [{"action": "quarantine", "subject": "mcp_server:s"}],
    }
