"""The estate is imported from registered sources on request: planned, applied whole or not at all, with where it came from.

Serves C02 (filling the inventory), S0-43, S0-44, S0-45, S0-47, S0-48, S0-49, S0-50, S0-154.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from graphql_world import GraphWorld, graph_world
from mcp.server.mcpserver import MCPServer
from mcp_world import Raw, crm, raw, serving
from sources_world import LOCAL, Sources, document

from quarterdeck_domain.estate.events import AssetChanged, EstateApplied
from quarterdeck_domain.estate.source_events import SourceFailed, SourceSynced
from quarterdeck_readmodels.estate import Asset, Drift, Relation

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "estate"
SECRET = "hush-0123456789"


@pytest.fixture
async def here(
    migrated_database: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[GraphWorld]:
    """A world of this test's own, that may read this machine."""
    monkeypatch.setenv("SOURCES_TEST_TOKEN", SECRET)
    async with graph_world(migrated_database(), tmp_path, import_allow=LOCAL) as made:
        await made.project()
        yield made


async def row(here: GraphWorld, asset: str) -> Asset:
    """Return an object as it is."""
    assert here.world.services.reader is not None
    async with here.world.services.reader.at(here.world.tenant) as record:
        return (await record.many(Asset, [asset]))[asset]


async def related(here: GraphWorld, source: str) -> set[str]:
    """Return what an object declares that it is related to, as it reads."""
    assert here.world.services.reader is not None
    async with here.world.services.reader.at(here.world.tenant) as record:
        found = await record.matching(Relation, "source", [source], most=100)
    return {item.id for item in found if item.declared}


async def test_a_source_is_planned_imported_and_found_unchanged(here: GraphWorld) -> None:
    """What the plan shows is what is recorded, with source, digest and run; the same again records only that."""
    door = Sources(here)
    async with serving(crm()) as url:
        await door.add(url, environment="prod")
        before = await here.world.position()
        looked = await door.plan()
        assert await here.world.position() == before
        assert (looked["objects"], looked["plan"]["counts"]["register"]) == (6, 6)
        done = (await door.run(key="k", plan_digest=looked["plan"]["plan_digest"]))["result"]
        assert (done["digest"], done["plan_digest"]) == (looked["digest"], looked["plan"]["plan_digest"])
        again = (await door.run(key="k", plan_digest=looked["plan"]["plan_digest"]))["result"]
        assert (again["run"], again["position"], again["repeated"]) == (done["run"], done["position"], True)
        same = await door.imported()
    assert (same["changed"], same["digest"], same["run"] == done["run"]) == (False, done["digest"], False)
    (applied,) = await door.events(EstateApplied)
    assert isinstance(applied.payload, EstateApplied)
    assert (applied.payload.run, applied.payload.source, applied.payload.digest) == (
        done["run"],
        "mcp crm",
        done["digest"],
    )
    assert applied.actor.principal == here.world.id("admin")
    assert len(await door.events(SourceSynced)) == 2
    tool = await row(here, "tool:crm/refund")
    assert (tool.environments, tool.offered_by, tool.confidence) == (("prod",), "mcp crm", "imported")
    shown = await door.one()
    assert (shown["last_outcome"], shown["last_run"], shown["objects"], shown["imports"]) == (
        "synced",
        same["run"],
        6,
        2,
    )
    found = await here.ask(
        "{ now { sources(first: 9) { edges { node { name kind lastOutcome lastTrigger nextAt credential } } } } }"
    )
    assert [edge["node"] for edge in found["now"]["sources"]["edges"]] == [
        {
            "name": "crm",
            "kind": "MCP",
            "lastOutcome": "SYNCED",
            "lastTrigger": "REQUEST",
            "nextAt": None,
            "credential": None,
        }
    ]


async def test_sources_are_registered_changed_and_removed_by_whoever_may(here: GraphWorld) -> None:
    """Every setting is checked; a name is one source; what is removed is kept in the record and can come again."""
    door = Sources(here)
    await door.add("http://127.0.0.1:1/mcp", every_s=3_600)
    shown = await door.one()
    assert (shown["state"], shown["every_s"], shown["next_at"] is not None) == ("active", 3_600, True)
    twice = {"source_id": "crm", "kind": "mcp", "address": "http://127.0.0.1:1/mcp"}
    assert (await door.send("POST", "", twice)).status_code == 409
    changed = await door.send("PATCH", "/crm", {"on_drift": "quarantine", "clear": ["every_s"], "reason": "too often"})
    assert changed.status_code == 200, changed.text
    shown = await door.one()
    assert (shown["on_drift"], shown["every_s"], shown["next_at"]) == ("quarantine", None, None)
    assert (await Sources(here, "carol").send("DELETE", "/crm")).status_code == 403
    assert (await door.send("DELETE", "/crm", params={"reason": "over"})).status_code == 200
    assert (await door.send("GET")).json()["sources"] == []
    assert [item["state"] for item in (await door.send("GET", params={"removed": "true"})).json()["sources"]] == [
        "removed"
    ]
    for method, path in (("DELETE", "/crm"), ("POST", "/crm/plan"), ("POST", "/crm/import"), ("PATCH", "/crm")):
        answer = await door.send(method, path, {"on_drift": "note"} if method == "PATCH" else None)
        assert answer.status_code == 404, (method, path, answer.text)
    await door.add("http://127.0.0.1:1/mcp")
    assert (await door.one())["state"] == "active"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("address", "https://user:hush@host.example/"),
        ("address", "https://host.example/?token=hush"),
        ("address", "https://host.example/#hush"),
        ("address", "https://host.example/sk-hush0123456789"),
        ("address", "https://host.example\\@127.0.0.1/"),
        ("address", "ftp://host.example/"),
        ("address", "file:///etc/passwd"),
        ("address", "https://hö.example/"),
        ("source_id", "Not a name"),
        ("source_id", "../x"),
        ("every_s", 1),
        ("every_s", 10**9),
        ("kind", "stdio"),
        ("environment", "pr\u202eod"),
        ("credential", "hush hush"),
    ],
)
async def test_settings_that_cannot_be_are_refused(here: GraphWorld, setting: str, value: object) -> None:
    """With what would be right, never with what may be a secret; nothing is recorded."""
    before = await here.world.position()
    body = {"source_id": "crm", "kind": "mcp", "address": "http://127.0.0.1:1/mcp"} | {setting: value}
    answer = await Sources(here).send("POST", "", body)
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) in {
        (400, "invalid_input"),
        (409, "address_not_allowed"),
    }
    assert "hush" not in answer.text
    assert await here.world.position() == before


def documents() -> dict[str, bytes]:
    """Return a document of each kind."""
    return {
        "litellm": (VECTORS / "litellm.yaml").read_bytes(),
        "openapi": (VECTORS / "openapi-3.1.json").read_bytes(),
        "a2a": (VECTORS / "a2a-1.0.json").read_bytes(),
        "estate": (VECTORS / "estate.yaml").read_bytes(),
    }


@pytest.mark.parametrize("kind", ["litellm", "openapi", "a2a", "estate", "cyclonedx", "spdx"])
async def test_documents_of_every_kind_are_imported_once(here: GraphWorld, kind: str) -> None:
    """Under the source's own name, whatever they call themselves; the second time nothing changes."""
    door = Sources(here)
    if kind in {"cyclonedx", "spdx"}:
        async with document(documents()["estate"]) as url:
            await door.add(f"{url}/estate.yaml", "before", "estate")
            await door.imported("before")
        form = {"cyclonedx": "cyclonedx-1.7", "spdx": "spdx-3.0.1"}[kind]
        bill = await here.world.api.client.get("/v1/estate/bill", params={"form": form}, headers=door.headers)
        body = bill.content
    else:
        body = documents()[kind]
    async with document(body) as url:
        await door.add(f"{url}/a/document", "src", kind)
        first = await door.imported("src")
        assert first["objects"] > 0
        second = await door.imported("src")
    assert (second["changed"], second["digest"]) == (False, first["digest"])
    names = {event.payload.said_by for event in await door.events(SourceSynced)}  # type: ignore[attr-defined]
    assert names <= {"src", "before"}
    applied = [event.payload.source for event in await door.events(EstateApplied)]  # type: ignore[attr-defined]
    assert set(applied) <= {"src", "before"}


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
async def test_lists_of_models_are_imported(here: GraphWorld, dialect: str) -> None:
    """As both kinds of servers have them, page by page."""
    names = ["models-openai.json"] if dialect == "openai" else ["models-anthropic-1.json", "models-anthropic-2.json"]
    door = Sources(here)
    async with document(*((VECTORS / name).read_bytes() for name in names)) as url:
        await door.add(f"{url}/v1", "house", "models", dialect=dialect)
        done = await door.imported("house")
    assert done["counts"]["register"] == done["objects"] > 2
    assert (await row(here, "provider:house")).offered_by == "house"


async def test_what_a_source_no_longer_offers_is_noted_and_not_deleted(here: GraphWorld) -> None:
    """Its relations end, it is noted as gone, whatever people added to it stays, and it can come back or be retired."""
    door = Sources(here)
    server = MCPServer("crm")
    server.add_tool(lambda: None, name="kept", description="Stays.")
    async with serving(crm()) as url:
        await door.add(url)
        await door.imported()
    await door.command("change_asset", asset="tool:crm/refund", set={"owner": "payments-rota"})
    async with serving(server) as url:
        await door.send("PATCH", "/crm", {"address": url})
        looked = await door.plan()
        assert sorted(looked["gone"]) == sorted(
            name for name in (await related_names(here)) if name not in {"mcp_server:crm", "tool:crm/kept"}
        )
        done = await door.imported()
        assert (done["gone"], done["counts"]["retire"], done["counts"]["unrelate"]) == (5, 0, 5)
        again = await door.imported()
        assert (again["changed"], again["gone"]) == (False, 5)
    tool = await row(here, "tool:crm/refund")
    assert (tool.lifecycle, tool.owner, tool.attributes["gone"]) == ("live", "payments-rota", "mcp crm")
    assert await related(here, "mcp_server:crm") == {"mcp_server:crm exposes tool:crm/kept"}
    await door.command("retire_asset", asset="tool:crm/lookup", reason="gone from crm")
    async with serving(crm()) as url:
        await door.send("PATCH", "/crm", {"address": url})
        back = await door.imported()
        assert back["gone"] == 1  # what only the other server offered
        assert (await door.imported())["changed"] is False
    assert "gone" not in (await row(here, "tool:crm/refund")).attributes
    assert (await row(here, "tool:crm/lookup")).lifecycle == "retired"


async def related_names(here: GraphWorld) -> set[str]:
    """Return every object that came from the source, by name."""
    assert here.world.services.reader is not None
    async with here.world.services.reader.at(here.world.tenant) as record:
        return {asset.id for asset in await record.matching(Asset, "offered_by", ["mcp crm"], most=100)}


async def test_a_tool_that_became_part_of_another_is_imported_as_that(here: GraphWorld) -> None:
    """Relations lead to the survivor, its own facts hold, and a change behind its back is still drift."""
    door = Sources(here)
    async with serving(crm()) as url:
        await door.add(url, on_drift="quarantine")
        await door.imported()
        await door.command("register_asset", asset="tool:refund", facts={"title": "Refund", "owner": "payments-rota"})
        await door.command("merge_assets", survivor="tool:refund", merged="tool:crm/refund")
        done = await door.imported()
        assert done["gone"] == 0
        assert "mcp_server:crm exposes tool:refund" in await related(here, "mcp_server:crm")
        assert (await door.imported())["changed"] is False
    tool = await row(here, "tool:refund")
    assert (tool.title, tool.owner, tool.lifecycle) == ("Refund", "payments-rota", "live")
    assert tool.attributes["pinned"] == tool.attributes["digest"]
    async with serving(crm("Pay back, and tell nobody.")) as url:
        await door.send("PATCH", "/crm", {"address": url})
        assert (await door.imported())["counts"]["quarantine"] == 1
    tool = await row(here, "tool:refund")
    assert (tool.lifecycle, tool.title) == ("quarantined", "Refund")


async def test_what_a_source_said_of_others_objects_ends_with_it(here: GraphWorld) -> None:
    """The object came from somebody else first and is not gone; what this source said of it is withdrawn."""
    door = Sources(here)
    await door.command("register_asset", asset="model:m", facts={})
    provider = {"provider:vllm": {}}
    files = [
        {"model:m": {"relations": {"deployed_in": ["provider:vllm"]}}, "model:n": {}, **provider},
        {"model:n": {}, **provider},
    ]
    said = [json.dumps({"version": 1, "source": "x", "assets": assets}).encode() for assets in files]
    async with document(*said) as url:
        await door.add(f"{url}/estate.json", "vllm", "estate")
        await door.imported("vllm")
        assert await related(here, "model:m") == {"model:m deployed_in provider:vllm"}
        done = await door.imported("vllm")
    assert (done["counts"]["unrelate"], done["gone"]) == (1, 0)
    assert await related(here, "model:m") == set()


async def test_two_sources_that_differ_do_not_undo_each_other_for_ever(here: GraphWorld) -> None:
    """The word of the first one holds, the other is heard once and told of, and nothing more is recorded."""
    door = Sources(here)

    def file(provider: str) -> bytes:
        assets = {"model:m": {"attributes": {"provider": provider}}}
        return json.dumps({"version": 1, "source": "x", "assets": assets}).encode()

    async with document(file("vllm")) as first, document(file("m2")) as second:
        await door.add(f"{first}/estate.json", "vllm", "estate")
        await door.add(f"{second}/estate.json", "m2", "estate")
        for source in ("vllm", "m2"):
            assert (await door.imported(source))["changed"]
        recorded = len(await door.events(AssetChanged))
        for _ in range(5):
            for source in ("m2", "vllm"):
                assert not (await door.imported(source))["changed"]
    assert len(await door.events(AssetChanged)) == recorded == 1
    model = await row(here, "model:m")
    assert (model.attributes["provider"], model.contested) == ("vllm", {"attributes.provider": {"m2": "m2"}})


async def test_a_server_moves_no_pin_and_speaks_in_no_other_name(here: GraphWorld) -> None:
    """An estate file from a server says what is; not what was looked at, nor who says it, nor since when."""
    door = Sources(here)
    async with serving(crm()) as url:
        await door.add(url)
        await door.imported()
    before = await row(here, "tool:crm/refund")
    other = "sha256:" + "0" * 64
    file: dict[str, Any] = {
        "version": 1,
        "source": "mcp crm",
        "valid_from": "2001-01-01T00:00:00Z",
        "assets": {
            "tool:crm/refund": {
                "attributes": {"pinned": other, "pinned_parts": {}, "digest": other, "gone": "mcp crm"}
            },
            "mcp_server:crm": {"relations": {"exposes": []}},
            "tool:new": {"attributes": {"gone": "x"}},
        },
    }
    async with document(json.dumps(file).encode()) as url:
        await door.add(f"{url}/estate.json", "platform", "estate", on_drift="quarantine")
        done = await door.imported("platform")
    assert (done["counts"]["drift"], done["counts"]["quarantine"], done["counts"]["unrelate"]) == (1, 1, 0)
    tool = await row(here, "tool:crm/refund")
    assert tool.attributes["pinned"] == before.attributes["pinned"]
    assert (tool.lifecycle, "gone" in tool.attributes) == ("quarantined", False)
    new = await row(here, "tool:new")
    assert (new.valid_from, new.source, new.confidence) == (None, "platform", "imported")
    assert here.world.services.reader is not None
    async with here.world.services.reader.at(here.world.tenant) as record:
        assert len(await record.matching(Drift, "asset", ["tool:crm/refund"], most=10)) == 1


async def test_a_policy_that_comes_later_shuts_what_was_only_noted(here: GraphWorld) -> None:
    """A change that was noted, and a tool that was added, wait in quarantine once the source says so, each told of
    once; what somebody releases as it is stays released."""
    door = Sources(here)

    def offering(*names: str, text: str = "Pays back.") -> MCPServer:
        server = MCPServer("crm")
        for name in names:
            server.add_tool(lambda: None, name=name, description=text)
        return server

    async with serving(offering("refund")) as url:
        await door.add(url)
        await door.imported()
    async with serving(offering("refund", "wipe", text="Pays me back.")) as url:
        await door.send("PATCH", "/crm", {"address": url})
        noted = await door.imported()
        assert (noted["counts"]["drift"], noted["counts"].get("quarantine", 0)) == (2, 0)
        await door.send("PATCH", "/crm", {"on_drift": "quarantine"})
        shut = await door.imported()
        assert (shut["counts"].get("drift", 0), shut["counts"]["quarantine"]) == (0, 2)
        for tool in ("tool:crm/refund", "tool:crm/wipe"):
            assert (await row(here, tool)).lifecycle == "quarantined"
            digest = (await row(here, tool)).attributes["digest"]
            await door.command("release_asset", asset=tool, reason="read it", digest=digest)
        assert (await door.imported())["changed"] is False
    assert (await row(here, "tool:crm/refund")).lifecycle == "live"


async def test_a_strangers_document_retires_nothing_and_takes_nothing_over(here: GraphWorld) -> None:
    """What people said holds at every import; the document is told of as contesting it, and settles nothing."""
    door = Sources(here)
    principal = here.world.id("bot")
    await door.command(
        "register_asset", asset="agent:bot", facts={"owner": "support-rota", "attributes": {"principal": principal}}
    )
    await door.command("register_asset", asset="dataset:bulk", facts={})

    def file(**said: object) -> bytes:
        assets = {
            "agent:bot": {"owner": "attacker", **said},
            "agent:zz": {"attributes": {"principal": principal}, **said},
            "dataset:bulk": {"classification": "public"},
        }
        return json.dumps({"version": 1, "source": "command", "assets": assets}).encode()

    async with document(file(), file(lifecycle="retired"), file(lifecycle="retired")) as url:
        await door.add(f"{url}/estate.json", "sup", "estate")
        await door.imported("sup")
        await door.command("change_asset", asset="dataset:bulk", set={"classification": "restricted"})
        for _ in range(2):
            done = await door.imported("sup")
            assert done["counts"]["retire"] == 0
    bot, strange, data = [await row(here, name) for name in ("agent:bot", "agent:zz", "dataset:bulk")]
    assert (bot.lifecycle, bot.owner, bot.attributes) == ("live", "support-rota", {"principal": principal})
    assert (strange.lifecycle, strange.attributes) == ("live", {"gone": "sup"})
    assert (data.classification, data.contested) == ("restricted", {"classification": {"sup": "public"}})


async def test_a_tenant_sees_and_imports_only_its_own(migrated_database: Callable[[], str], tmp_path: Path) -> None:
    """Sources of others are not there: not in lists, not by name, not over GraphQL."""
    async with graph_world(migrated_database(), tmp_path, import_allow=LOCAL, also=("globex",)) as here:
        door = Sources(here)
        await door.add("http://127.0.0.1:1/mcp")
        theirs = Sources(here)
        theirs.headers = here.world.api.bearer("globex", "admin")
        assert (await theirs.send("GET")).json()["sources"] == []
        for method, path in (("GET", "/crm"), ("POST", "/crm/plan"), ("POST", "/crm/import"), ("DELETE", "/crm")):
            assert (await theirs.send(method, path)).status_code == 404
        assert await door.events(SourceFailed) == []


async def test_whoever_loses_the_role_while_a_source_is_read_imports_nothing(here: GraphWorld) -> None:
    """Who asks is looked at again once it is planned, and so is the source."""
    door, mine = Sources(here), Sources(here, "olga")
    tenant = here.world.tenant
    body = (VECTORS / "litellm.yaml").read_bytes()

    async def slow(server: Raw) -> None:
        revoked = await here.world.api.command(
            "revoke_role",
            {"principal_id": here.world.id("olga"), "role": "operator"},
            by=(tenant, "admin"),
        )
        assert revoked.status_code == 200, revoked.text
        await here.project()
        await server.send(body, "text/plain")

    async with raw(slow) as url:
        await door.add(url, "litellm", "litellm")
        told = await mine.run("litellm")
    assert told["problem"]["status"] == 403
    assert await door.events(EstateApplied, SourceSynced) == []
