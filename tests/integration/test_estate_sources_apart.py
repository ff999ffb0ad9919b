"""Sources that would pass for others: for people, for the estate itself, for a server in quarantine. Serves S0-45, S0-154."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from graphql_world import GraphWorld, graph_world
from mcp_world import Raw, crm, raw, serving
from sources_world import LOCAL, Sources, document

from quarterdeck_domain.estate.events import AssetQuarantined, RelationWithdrawn
from quarterdeck_readmodels.estate import Asset


@pytest.fixture
async def here(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[GraphWorld]:
    """A world of this test's own, that may read this machine."""
    async with graph_world(migrated_database(), tmp_path, import_allow=LOCAL) as made:
        await made.project()
        yield made


async def applied(here: GraphWorld, key: str, document: dict[str, Any], **how: str) -> dict[str, Any]:
    """Apply a file as its door does it; return what was done."""
    headers = Sources(here).headers | {"Idempotency-Key": key}
    await here.project()
    answer = await here.world.api.client.post("/v1/estate/apply", json=document, headers=headers, params=how)
    await here.project()
    found: dict[str, Any] = json.loads(answer.text.splitlines()[-1])
    assert "result" in found, found
    return found["result"]  # type: ignore[no-any-return]


async def test_a_source_ends_nothing_that_people_said_under_its_name(here: GraphWorld) -> None:
    """What a file of the same name says, say; and `command` is no source's name."""
    door = Sources(here)
    assets = {"agent:pl": {"relations": {"calls": ["tool:p/a"]}}, "tool:p/a": {}}
    await applied(here, "a", {"version": 1, "source": "platform", "assets": assets})
    stranger = json.dumps({"version": 1, "source": "x", "assets": {"provider:p": {}}}).encode()
    async with document(stranger) as url:
        body = {"source_id": "command", "kind": "estate", "address": f"{url}/estate.json"}
        refused = await door.send("POST", "", body)
        assert (refused.status_code, "call it after what is read" in refused.text) == (400, True)
        await door.add(f"{url}/estate.json", "platform", "estate")
        assert (await door.imported("platform"))["counts"]["unrelate"] == 0
    assert await door.events(RelationWithdrawn) == []


async def test_a_server_in_quarantine_does_not_come_in_by_another_name(here: GraphWorld) -> None:
    """Its tools wait with it, and the plan shows that they will; the reason names the server."""
    door = Sources(here)
    async with serving(crm()) as url:
        await door.add(url)
        await door.imported()
        await door.command("quarantine_asset", asset="mcp_server:crm", reason="it changed overnight")
        await door.add(url, "crm2")
        steps = {
            step["subject"] for step in (await door.plan("crm2"))["plan"]["steps"] if step["action"] == "quarantine"
        }
        assert (await door.imported("crm2"))["counts"]["quarantine"] == len(steps) == 6
        assert (await door.imported("crm2"))["changed"] is False
    assert {"mcp_server:crm2", "tool:crm2/refund", "tool:crm2/lookup"} <= steps
    assert here.world.services.reader is not None
    async with here.world.services.reader.at(here.world.tenant) as record:
        rows = await record.many(Asset, sorted(steps))
    assert {row.lifecycle for row in rows.values()} == {"quarantined"}
    reasons = {getattr(event.payload, "reason", "") for event in await door.events(AssetQuarantined)}
    assert "mcp_server:crm2 is reached where mcp_server:crm is, which is in quarantine" in reasons
    await door.command("release_asset", asset="mcp_server:crm2", reason="it is another tenant of theirs")


async def test_a_repeated_import_tells_where_it_ended_also_where_it_was_contradicted(here: GraphWorld) -> None:
    """What it claims beside people's words is in the run as well."""
    await Sources(here).command(
        "register_asset", asset="application:shop", facts={"title": "Ours", "description": "Ours"}
    )
    paths = {"/orders": {"get": {"operationId": "list"}}}
    document = {"openapi": "3.1.0", "info": {"title": "Theirs", "description": "Theirs"}, "paths": paths}
    first, again = [await applied(here, "k", document, form="openapi", name="shop") for _ in range(2)]
    assert first["counts"]["contest"] == 1
    assert first["position"] == await here.world.position()
    assert again == first | {"repeated": True}


async def test_an_import_that_was_carried_out_while_it_read_tells_what_became_of_it(here: GraphWorld) -> None:
    """The same command, twice at once: the slower one does nothing, and hears what the other did."""
    door = Sources(here)
    waiting, over, asked = asyncio.Event(), asyncio.Event(), []

    async def answer(server: Raw) -> None:
        asked.append(server)
        if len(asked) == 1:
            waiting.set()
            await over.wait()
        await server.send(b'{"version": 1, "source": "x", "assets": {"provider:p": {}}}', "application/json")

    async with raw(answer) as url:
        await door.add(f"{url}/estate.json", "sup", "estate")
        slow = asyncio.create_task(door.run("sup", key="k"))
        await waiting.wait()
        done = (await door.run("sup", key="k"))["result"]
        over.set()
        assert (await slow).get("result") == done | {"repeated": True}
