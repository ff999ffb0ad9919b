"""What importers of files and lists declare goes through the one plan and append, on PostgreSQL: once, and never twice.

Serves C02 (filling the inventory), S0-43, S0-44, S0-45, S0-47, S0-48, S0-50, S0-149, S0-154.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from graphql_world import GraphWorld, graph_world

from quarterdeck_api.auth.caller import Caller
from quarterdeck_api.estate.apply import apply, plan
from quarterdeck_connectors.a2a import read_card
from quarterdeck_connectors.files import read_estate
from quarterdeck_connectors.litellm import read_litellm
from quarterdeck_connectors.models import read_models
from quarterdeck_connectors.openapi_tools import read_openapi
from quarterdeck_connectors.prompts import read_prompts
from quarterdeck_domain.estate.declaration import Declaration
from quarterdeck_domain.events import Actor
from quarterdeck_readmodels.estate import Asset

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "estate"


@pytest.fixture
async def here(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[GraphWorld]:
    """A world of this test's own."""
    async with graph_world(migrated_database(), tmp_path) as made:
        await made.project()
        yield made


def sample(name: str) -> bytes:
    """Return a sample file."""
    return (VECTORS / name).read_bytes()


def declarations() -> list[Declaration]:
    """Return what each importer declares of its sample, in an order in which each finds the others' objects."""
    pages = [sample(f"models-anthropic-{page}.json") for page in (1, 2)]
    return [
        read_estate(sample("estate.yaml"), "estate.yaml"),
        read_models([sample("models-openai.json")], dialect="openai", provider="openai").declaration,
        read_models(pages, dialect="anthropic", provider="anthropic").declaration,
        read_litellm(sample("litellm.yaml"), proxy="house").declaration,
        read_openapi(sample("openapi-3.0.yaml")).declaration,
        read_openapi(sample("openapi-3.1.json")).declaration,
        read_card(sample("a2a-1.0.json")).declaration,
        read_card(sample("a2a-0.3.json")).declaration,
        read_prompts(VECTORS / "prompts").declaration,
    ]


async def test_every_importer_fills_the_estate_once(here: GraphWorld) -> None:
    """Each sample is recorded as planned, with where it came from; all of them again, side by side, record nothing."""
    services = here.world.services
    actor = Actor(principal=here.world.id("admin"), kind="human")
    caller = Caller(tenant=here.world.tenant, actor=actor, roles=frozenset({"administrator"}))
    for wanted in declarations():
        shown = await plan(services, caller, wanted)
        done = await apply(services, caller, wanted, key=None, agreed=shown.plan_digest, progress=lambda *_: None)
        assert done.counts == shown.counts
        assert done.run is not None
        await here.project()
    before = await here.world.position()
    for wanted in declarations():
        done = await apply(services, caller, wanted, key=None, agreed=None, progress=lambda *_: None)
        assert done.run is None, (wanted.source, done.counts)
    assert await here.world.position() == before
    assert services.reader is not None
    async with services.reader.at(here.world.tenant) as record:
        found = await record.many(Asset, ["route:house/gpt-4o", "tool:Orders-API/listOrders", "model:gpt-4o"])
    assert found["route:house/gpt-4o"].attributes["fallbacks"]
    tool = found["tool:Orders-API/listOrders"].attributes
    assert tool["pinned"] == tool["digest"]
    assert found["model:gpt-4o"].attributes["provider"] == "openai"
