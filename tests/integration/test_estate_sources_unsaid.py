"""What a source says no more is off the map, what decides who is called is pinned, and an import by hand under a source's
name settles with it. Serves C02, S0-45, S0-50, S0-149."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from graphql_world import GraphWorld, graph_world
from mcp_world import crm, serving
from sources_world import LOCAL, Sources, document

from quarterdeck_connectors.imported import write_imported
from quarterdeck_connectors.mcp_server import import_mcp_server
from quarterdeck_readmodels.estate import Asset

TOOL = "tool:shop/GET-/orders"


@pytest.fixture
async def here(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[GraphWorld]:
    """A world of this test's own, that may read this machine."""
    async with graph_world(migrated_database(), tmp_path, import_allow=LOCAL) as made:
        await made.project()
        yield made


async def row(here: GraphWorld, asset: str) -> Asset:
    """Return an object as it is."""
    assert here.world.services.reader is not None
    async with here.world.services.reader.at(here.world.tenant) as record:
        return (await record.many(Asset, [asset]))[asset]


async def by_hand(here: GraphWorld, url: str) -> dict[str, Any]:
    """Import a server as the command line does; return what was done."""
    sent = write_imported(await import_mcp_server(url, "crm", internal=True), whole=True)
    headers = {**Sources(here).headers, "Content-Type": "application/json"}
    await here.project()
    answer = await here.world.api.client.post("/v1/estate/apply?form=imported", content=sent, headers=headers)
    await here.project()
    found: dict[str, Any] = json.loads(answer.text.splitlines()[-1])["result"]
    return found


async def test_by_hand_and_by_source_under_one_name_settle(here: GraphWorld) -> None:
    """The source says where it runs; who imports by hand does not, and takes nothing of that back."""
    door = Sources(here)
    async with serving(crm()) as url:
        await by_hand(here, url)
        await door.add(url, environment="prod")
        assert (await door.imported())["changed"] is True
        for _ in range(2):
            assert (await by_hand(here, url))["run"] is None
            assert (await door.imported())["changed"] is False
        assert (await row(here, "tool:crm/refund")).environments == ("prod",)
        await door.send("PATCH", "/crm", {"clear": ["environment"], "reason": "it runs everywhere"})
        assert (await door.imported())["changed"] is True
        assert (await door.imported())["changed"] is False
        assert (await row(here, "tool:crm/refund")).environments == ()


async def test_rights_and_servers_that_change_shut_a_tool_and_are_off_the_map(here: GraphWorld) -> None:
    """A server elsewhere is drift; rights that are taken away are drift, and the map does not go on naming them."""
    said: dict[str, Any] = {"openapi": "3.1.0", "info": {"title": "Orders"}, "paths": {"/orders": {"get": {}}}}
    said |= {"servers": [{"url": "https://orders.example.com"}], "security": [{"oauth": ["admin"]}]}
    flow = {"clientCredentials": {"tokenUrl": "https://id.example.com/token", "scopes": {"admin": ""}}}
    said["components"] = {"securitySchemes": {"oauth": {"type": "oauth2", "flows": flow}}}
    moved = said | {"servers": [{"url": "https://evil.example.net"}]}
    open_ = said | {"security": []}
    door = Sources(here)
    async with document(*(json.dumps(each).encode() for each in (said, moved, open_))) as url:
        await door.add(url, "shop", "openapi", on_drift="quarantine")
        await door.imported("shop")
        assert (await row(here, TOOL)).attributes["scope"] == "oauth: admin"
        done = await door.imported("shop")
        assert (done["counts"]["drift"], done["counts"]["quarantine"]) == (1, 1)
        tool = await row(here, TOOL)
        assert (tool.lifecycle, tool.attributes["target_system"]) == ("quarantined", "https://evil.example.net")
        assert (await door.imported("shop"))["counts"]["drift"] == 1
        assert "scope" not in (await row(here, TOOL)).attributes
        assert (await door.imported("shop"))["changed"] is False
