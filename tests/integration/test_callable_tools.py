"""Which tools objects can call by themselves, and by which grants. Serves S0-57, S0-33, S0-16."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import pytest
from graphql_world import GraphWorld, graph_world

FILE: Final[dict[str, Any]] = {
    "version": 1,
    "source": "platform",
    "assets": {
        "agent:straight": {"relations": {"calls": ["tool:a", "agent:granted"]}},
        "agent:granted": {"relations": {"holds": ["tool_grant:a"], "calls": ["mcp_server:two"]}},
        "agent:connected": {"relations": {"calls": ["mcp_server:two"]}},
        "agent:whole": {"relations": {"holds": ["tool_grant:two"]}},
        "agent:silent": {"relations": {"holds": ["tool_grant:silent"]}},
        "tool_grant:a": {"attributes": {"privileges": ["read"]}, "relations": {"permits": ["tool:a"]}},
        "tool_grant:two": {
            "attributes": {"privileges": ["write", "trigger"]},
            "relations": {"permits": ["mcp_server:two"]},
        },
        "tool_grant:silent": {"relations": {"permits": ["tool:b"]}},
        "mcp_server:two": {"relations": {"exposes": ["tool:a", "tool:b"]}},
        "tool:a": {"attributes": {"privileges": ["read", "write"]}},
        "tool:b": {"attributes": {"privileges": ["read", "trigger"]}},
    },
}
ASKED: Final = """query($position: Position!) { at(position: $position) {
    assets(first: 20, filter: {kind: ["agent"]}) { edges { node { name
        callableTools { tool { name } grants privileges } } } } } }"""


@pytest.fixture
async def here(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[GraphWorld]:
    """A world of this test's own, with an estate in it."""
    async with graph_world(migrated_database(), tmp_path) as made:
        await made.project()
        headers = made.world.api.bearer(made.world.tenant, "admin")
        answer = await made.world.api.client.post("/v1/estate/apply", json=FILE, headers=headers)
        assert '"result"' in answer.text, answer.text
        yield made


async def tools(here: GraphWorld, position: int) -> dict[str, list[tuple[str, list[str], list[str]]]]:
    """Return, for each agent, the tools it can call, the grants, and the privileges."""
    found = (await here.ask(ASKED, {"position": position}))["at"]["assets"]["edges"]
    return {
        edge["node"]["name"]: [
            (item["tool"]["name"], item["grants"], item["privileges"]) for item in edge["node"]["callableTools"]
        ]
        for edge in found
    }


async def test_which_tools_they_can_call(here: GraphWorld) -> None:
    """Straight, by a grant, through a server; where a grant says which of a server's, only those; and what another can
    call is not theirs. Before and after one of them is put into quarantine."""
    before = await here.world.position()
    assert await tools(here, before) == {
        "straight": [("a", [], ["read", "write"])],
        "granted": [("a", ["asset:tool_grant:a"], ["read"])],
        "connected": [("a", [], ["read", "write"]), ("b", [], ["read", "trigger"])],
        "whole": [("a", ["asset:tool_grant:two"], ["write"]), ("b", ["asset:tool_grant:two"], ["trigger"])],
        "silent": [("b", ["asset:tool_grant:silent"], ["read", "trigger"])],
    }
    body = {"asset": "tool:b", "reason": "it changed"}
    await here.world.api.command("quarantine_asset", body, by=(here.world.tenant, "admin"))
    await here.project()
    after = await tools(here, await here.world.position())
    assert after["silent"] == []
    assert after["connected"] == [("a", [], ["read", "write"])]
    assert after["whole"] == [("a", ["asset:tool_grant:two"], ["write"])]
    assert (await tools(here, before))["silent"] != []


@pytest.mark.parametrize("kept", ["tool:a", "tool_grant:a"])
async def test_what_is_in_quarantine_still_says_which_tools_they_have_grants_for(here: GraphWorld, kept: str) -> None:
    """Whoever may call one tool of a server does not get at the others because that one, or its grant, is kept back."""
    body = {"asset": kept, "reason": "it changed"}
    await here.world.api.command("quarantine_asset", body, by=(here.world.tenant, "admin"))
    await here.project()
    assert (await tools(here, await here.world.position()))["granted"] == []


async def test_a_grant_whose_time_is_over_permits_nothing(here: GraphWorld) -> None:
    """And does not give way to the connection beside it; of a moment before its end it permits what it did."""
    before = await here.world.position()
    by = (here.world.tenant, "admin")
    body = {"asset": "tool_grant:a", "set": {"attributes": {"expires_at": "2020-01-01T00:00:00Z"}}}
    answer = await here.world.api.command("change_asset", body, by=by)
    assert answer.status_code == 200, answer.text
    await here.project()
    assert (await tools(here, await here.world.position()))["granted"] == []
    assert (await tools(here, before))["granted"] == [("a", ["asset:tool_grant:a"], ["read"])]


async def test_what_was_merged_counts_as_what_it_is_called_now(here: GraphWorld) -> None:
    """A server, a tool and a grant under their former names: nothing is lost, and nothing is told twice."""
    by = (here.world.tenant, "admin")
    twins = {"mcp_server:second": None, "tool:a2": {"attributes": {"privileges": ["write"]}}, "tool_grant:a2": None}
    file = {"version": 1, "source": "platform", "assets": twins}
    headers = here.world.api.bearer(*by)
    await here.project()
    assert '"result"' in (await here.world.api.client.post("/v1/estate/apply", json=file, headers=headers)).text
    await here.project()
    before = await tools(here, await here.world.position())
    for survivor, merged in (
        ("mcp_server:second", "mcp_server:two"),
        ("tool:a2", "tool:a"),
        ("tool_grant:a2", "tool_grant:a"),
    ):
        body = {"survivor": survivor, "merged": merged, "reason": "the same"}
        answer = await here.world.api.command("merge_assets", body, by=by)
        assert answer.status_code == 200, answer.text
    await here.project()
    after = await tools(here, await here.world.position())
    assert after.keys() == before.keys()
    for agent, found in after.items():
        named = [name.replace("a2", "a") for name, _, _ in found]
        assert named == [name for name, _, _ in before[agent]], agent
    ((_, grants, _),) = after["granted"]
    assert grants == ["asset:tool_grant:a2"]
