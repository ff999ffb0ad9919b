"""Everything that differs between two moments, over HTTP: the same as the pages of GraphQL. Serves C08, S0-120."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from graphql_world import GraphWorld, graph_world

FILE: dict[str, Any] = {
    "version": 1,
    "source": "platform",
    "assets": {
        "agent:support": {"owner": "first-rota", "relations": {"calls": ["mcp_server:crm"]}},
        "mcp_server:crm": {"relations": {"exposes": ["tool:lookup"]}},
        "tool:lookup": None,
    },
}
PAGES = """query($from: Moment!, $to: Moment) { diff(from: $from, to: $to) {
    from { position recordedAt } to { position recordedAt }
    changes(first: 100, kinds: [ASSET, RELATION, DRIFT]) { edges { node {
        kind objectKind objectId fields { name before after } } } } } }"""


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


async def test_lines_say_what_the_pages_say(here: GraphWorld) -> None:
    """The two moments, then each object with the fields that differ, as GraphQL has them; by position and by time."""
    empty = await here.world.position()
    first = await apply(here, FILE)
    changed = {"agent:support": {"owner": "second-rota", "relations": {"calls": []}}, "tool:refund": None}
    last = await apply(here, {"version": 1, "source": "platform", "assets": changed})
    for since, until in ((first, last), (empty, last), (empty, None), (last, last), (0, first)):
        answer = await asked(here, **{"from": since} | ({} if until is None else {"to": until}))
        assert answer.status_code == 200, answer.text
        ends, *lines = map(json.loads, answer.text.splitlines())
        to = None if until is None else {"position": until}
        pages = (await here.ask(PAGES, {"from": {"position": since}, "to": to}, by="admin"))["diff"]
        assert [ends[name]["position"] for name in ("from", "to")] == [since, until or last]
        assert pages["to"]["position"] == ends["to"]["position"]
        nodes = [edge["node"] for edge in pages["changes"]["edges"]]
        assert [(item["kind"], item["object_kind"], item["object_id"]) for item in lines] == [
            (node["kind"].lower(), node["objectKind"].lower(), node["objectId"].partition(":")[2]) for node in nodes
        ]
        for item, node in zip(lines, nodes, strict=True):
            told = {field["name"]: field["after"] for field in node["fields"]}
            mine = {field["name"]: field["after"] for field in item["fields"]}
            both = (mine.keys() & told.keys()) - {"first_seen", "last_seen", "changed_at"}
            assert {name: mine[name] for name in both} == {name: told[name] for name in both}
            if item["kind"] == "changed" and item["object_kind"] == "asset":
                assert mine == {"owner": "second-rota"}
    times = [ends["from"]["recorded_at"], ends["to"]["recorded_at"]]
    assert times[0] is None
    again = await asked(here, **{"from": times[1], "to": times[1]})
    assert [json.loads(line) for line in again.text.splitlines()] == [{"from": ends["to"], "to": ends["to"]}]


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
