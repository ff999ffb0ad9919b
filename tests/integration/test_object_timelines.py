"""The timeline of an object of the estate: everything that touched it, in order, on pages that fit together.

Serves S0-20, S0-120, DC-06.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import pytest_asyncio
from graphql_world import GraphWorld, graph_world

pytestmark = pytest.mark.asyncio(loop_scope="module")

TIMELINE: Final = """query($about: [ID!], $first: Int!, $order: Order!, $after: String, $types: [String!]) {
    timeline(first: $first, order: $order, after: $after, filter: {about: $about, types: $types}) {
        edges { node { position type tags } } pageInfo { hasNextPage endCursor } } }"""
FILE: Final[dict[str, Any]] = {
    "version": 1,
    "source": "platform",
    "assets": {
        "agent:support": {"relations": {"calls": ["tool:refund"]}},
        "agent:helper": None,
        "tool:refund": {"owner": "payments"},
        "tool:other": None,
    },
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GraphWorld]:
    """A world in which a tool was registered by a file, changed, asked for, found drifted, and became one with another."""
    async with graph_world(module_database, tmp_path_factory.mktemp("house")) as made:
        await made.project()
        await apply(made, FILE)
        await apply(made, FILE | {"assets": {"tool:refund": {"owner": "billing"}, "tool:other": {"owner": "it"}}})
        await command(made, "register_asset", asset="tool:refunds-2", facts={"purpose": "Repays."})
        await made.world.evaluate(made.world.intent(resource={"type": "tool", "id": "refunds-2"}))
        await command(made, "merge_assets", survivor="tool:refund", merged="tool:refunds-2")
        intent, approval = await made.world.approved(resource={"type": "tool", "id": "refund"})
        grant = await made.world.grant(approval["id"])
        assert (await made.world.redeem(grant["grant"], intent)).status_code == 200
        drift = {"asset": "tool:refund", "input": "tools", "field": "description", "expected": "a", "found": "b"}
        await command(made, "detect_drift", **drift)
        attributes = {"principal": made.world.id("bot")}
        await command(made, "change_asset", asset="agent:helper", set={"attributes": attributes})
        await made.project()
        yield made


async def apply(here: GraphWorld, file: object) -> None:
    """Make a file true."""
    headers = here.world.api.bearer(here.world.tenant, "admin")
    answer = await here.world.api.client.post("/v1/estate/apply", json=file, headers=headers)
    assert '"result"' in answer.text, answer.text
    await here.project()


async def command(here: GraphWorld, name: str, **body: Any) -> None:
    """Run a command."""
    done = await here.world.api.command(name, body, by=(here.world.tenant, "admin"))
    assert done.status_code == 200, done.text


async def timeline(here: GraphWorld, *about: str, first: int = 100, **variables: Any) -> list[tuple[int, str]]:
    """Return positions and types, page by page."""
    found: list[tuple[int, str]] = []
    variables = {"order": "OLDEST_FIRST", "first": first, "about": list(about)} | variables
    while True:
        page = (await here.ask(TIMELINE, variables))["timeline"]
        assert len(page["edges"]) <= first
        found += [(edge["node"]["position"], edge["node"]["type"]) for edge in page["edges"]]
        if not page["pageInfo"]["hasNextPage"]:
            return found
        variables["after"] = page["pageInfo"]["endCursor"]


async def test_everything_that_touched_a_tool(here: GraphWorld) -> None:
    """Its own events, a relation to it, what applied both files, decisions and the whole story of the approval, the
    drift, and what happened to the object that was merged into it."""
    assert [type_ for _, type_ in await timeline(here, "tool:refund")] == [
        "estate.applied",
        "asset.registered",
        "relation.declared",
        "estate.applied",
        "asset.changed",
        "asset.registered",
        "policy.decision_recorded",
        "asset.merged",
        "policy.decision_recorded",
        "approval.requested",
        "approval.vote_cast",
        "approval.granted",
        "grant.minted",
        "policy.decision_recorded",
        "grant.redeemed",
        "drift.detected",
    ]


@pytest.mark.parametrize("about", ["tool:refund", "agent:support", "tool:other", "agent:helper"])
async def test_pages_of_any_size_fit_together_both_ways(here: GraphWorld, about: str) -> None:
    """Nothing twice, nothing left out, in order; by the id that the record gives it, too."""
    whole = await timeline(here, about)
    assert whole
    assert [place for place, _ in whole] == sorted({place for place, _ in whole})
    for first in (1, 2, 3, len(whole)):
        assert await timeline(here, f"asset:{about}", first=first) == whole
        assert await timeline(here, about, first=first, order="NEWEST_FIRST") == whole[::-1]


async def test_narrowed_by_type(here: GraphWorld) -> None:
    """What applied a file is found by its type, though it names no object."""
    assert [type_ for _, type_ in await timeline(here, "tool:other", types=["estate.applied"], first=1)] == [
        "estate.applied",
        "estate.applied",
    ]
    assert [type_ for _, type_ in await timeline(here, "tool:refund", types=["drift.detected"])] == ["drift.detected"]


async def test_two_objects_have_what_concerns_both(here: GraphWorld) -> None:
    """The relation between them, and the file that said so; the relation has a timeline of its own."""
    both = [type_ for _, type_ in await timeline(here, "agent:support", "tool:refund")]
    assert both == ["estate.applied", "relation.declared"]
    alone = await timeline(here, "relation:agent:support calls tool:refund")
    assert [type_ for _, type_ in alone] == both


async def test_an_agent_is_its_principal(here: GraphWorld) -> None:
    """What was decided about the principal that it is known by belongs to it."""
    types = [type_ for _, type_ in await timeline(here, "agent:helper")]
    assert types.count("approval.requested") == 1
    assert {"asset.changed", "principal.registered", "policy.decision_recorded"} <= set(types)


async def test_a_decision_belongs_to_what_it_looked_at(here: GraphWorld) -> None:
    """A server is judged with the tools that it exposes, though no request names it."""
    file = {
        "version": 1,
        "source": "platform",
        "assets": {"mcp_server:pay": {"relations": {"exposes": ["tool:other"]}}},
    }
    await apply(here, file)
    await here.world.evaluate(here.world.intent(resource={"type": "tool", "id": "other"}))
    types = [type_ for _, type_ in await timeline(here, "mcp_server:pay")]
    assert types == ["estate.applied", "asset.registered", "relation.declared", "policy.decision_recorded"]


async def test_an_agent_hears_nothing_of_other_names(here: GraphWorld) -> None:
    """Whoever reads only its own sees the events that name it, and neither files nor what was merged."""
    page = await here.ask(TIMELINE, {"about": ["tool:refund"], "first": 50, "order": "OLDEST_FIRST"}, by="bot")
    assert page["timeline"]["edges"] == []


async def test_what_is_no_object_is_refused(here: GraphWorld) -> None:
    """With the error that says what would be one."""
    assert await here.codes(TIMELINE, {"about": ["order:4711"], "first": 1, "order": "OLDEST_FIRST"}) == [
        "invalid_input"
    ]


async def test_what_an_object_was_merged_into_may_be_merged_on(here: GraphWorld) -> None:
    """S0-20: each merge that decides what a name stands for, and nothing else that befell the survivors; on any page."""
    for name in "abcd":
        await command(here, "register_asset", asset=f"tool:chain-{name}")
    await command(here, "merge_assets", survivor="tool:chain-c", merged="tool:chain-d")
    for survivor, merged in ("ba", "cb"):
        await command(here, "merge_assets", survivor=f"tool:chain-{survivor}", merged=f"tool:chain-{merged}")
    await command(here, "change_asset", asset="tool:chain-c", set={"purpose": "another"})
    await here.project()
    for first in (100, 1):
        found = await timeline(here, "tool:chain-a", first=first)
        assert [kind for _, kind in found] == ["asset.registered", "asset.merged", "asset.merged"]
    found = await timeline(here, "tool:chain-a", types=["asset.merged"], order="NEWEST_FIRST")
    assert len(found) == 2
    assert [kind for _, kind in await timeline(here, "tool:chain-a", types=["asset.registered"])] == [
        "asset.registered"
    ]
    assert len(await timeline(here, "tool:chain-b", types=["asset.merged"])) == 2
    assert len(await timeline(here, "tool:chain-c", types=["asset.merged"])) == 3
