"""Pages of a difference up to now, while things are recorded.

Serves S0-14, S0-72.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from graphql_world import GraphWorld, graph_world

DIFF = """query($from: Moment!, $to: Moment, $known: Moment, $after: String, $assets: [String!], $needed: ID) {
    diff(from: $from, to: $to, knownAt: $known) { to { position moment }
        changes(first: 2, after: $after, kinds: [ASSET], assets: $assets, neededBy: $needed) {
            edges { node { objectId fields { name after } after { id } } } pageInfo { hasNextPage endCursor } } } }"""
AGENTS = [f"agent:a{number}" for number in range(5)]
PARTS: list[dict[str, Any]] = [{}, {"assets": AGENTS}, {"needed": "agent:a0"}]


@pytest.fixture
async def here(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[GraphWorld]:
    """A world of this test's own."""
    async with graph_world(migrated_database(), tmp_path) as made:
        await made.project()
        yield made


async def register(here: GraphWorld, *names: str) -> None:
    """Let agents be part of the estate, each of which calls the next."""
    calls = {name: {"relations": {"calls": [after]}} for name, after in itertools.pairwise(names)}
    file = {"version": 1, "source": "platform", "assets": {name: calls.get(name) for name in names}}
    headers = here.world.api.bearer(here.world.tenant, "admin")
    answer = await here.world.api.client.post("/v1/estate/apply", json=file, headers=headers)
    assert '"result"' in answer.text, answer.text
    await here.project()


async def page(here: GraphWorld, variables: dict[str, Any]) -> dict[str, Any]:
    """Return a page of the difference."""
    found: dict[str, Any] = (await here.ask(DIFF, variables, by="admin"))["diff"]
    return found


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("late", [False, True], ids=["as recorded", "as known"])
async def test_pages_up_to_now_are_of_one_moment(here: GraphWorld, part: dict[str, Any], late: bool) -> None:
    """Each page is told up to the `to` of the first, whatever was recorded since, and nothing is told twice or lost."""
    since = {"position": await here.world.position()}
    await register(here, *AGENTS)
    known = {"known": {"position": await here.world.position()}} if late else {}
    given, found, after = {"from": since, **known, **part}, list[Any](), None
    while True:
        answer = await page(here, given | {"after": after})
        found += [edge["node"] for edge in answer["changes"]["edges"]]
        after = answer["changes"]["pageInfo"]["endCursor"]
        if not answer["changes"]["pageInfo"]["hasNextPage"]:
            break
        # In order of their names, these come before what follows, and after it.
        await register(here, f"agent:a0{len(found)}", f"agent:b{len(found)}")
        body = {"asset": "agent:a4", "set": {"owner": f"rota-{len(found)}"}}
        await here.world.api.command("change_asset", body, by=(here.world.tenant, "admin"))
        await here.project()
    assert [item["objectId"] for item in found] == [f"asset:{name}" for name in AGENTS]
    assert all(item["after"] is not None for item in found)
    assert "owner" not in {field["name"] for field in found[-1]["fields"] if field["after"] is not None}


@pytest.mark.parametrize("part", PARTS)
async def test_a_cursor_goes_on_where_the_end_is_named(here: GraphWorld, part: dict[str, Any]) -> None:
    """What was asked up to now goes on with the `to` of its answer named; another end refuses the cursor."""
    start = await here.world.position()
    await register(here, *AGENTS)
    for known in ({}, {"known": {"position": await here.world.position()}}):
        given = {"from": {"position": start}, **known, **part}
        first = await page(here, given)
        after = first["changes"]["pageInfo"]["endCursor"]
        end = {"time": first["to"]["moment"]} if known else {"position": first["to"]["position"]}
        following = await page(here, given | {"to": end, "after": after})
        assert [edge["node"]["objectId"] for edge in following["changes"]["edges"]] == [
            f"asset:{name}" for name in AGENTS[2:4]
        ]
        other = {"position": start + 2}
        assert await here.codes(DIFF, given | {"to": other, "after": after}, by="admin") == ["invalid_cursor"]
        assert await here.codes(DIFF, given | {"from": other, "after": after}, by="admin") == ["invalid_cursor"]
