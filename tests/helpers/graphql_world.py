"""A furnished tenant with its read models and a story in its log, asked over GraphQL."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from access_world import World, world

from quarterdeck_projector.projector import Projector


@dataclass
class Story:
    """What happened: ids by what they are, and the positions between."""

    ids: dict[str, str] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)


@dataclass
class GraphWorld:
    """A world whose record is asked over GraphQL."""

    world: World
    projector: Projector

    async def project(self) -> None:
        """Bring the read models to the end of the log."""
        for tenant in await self.world.services.ledger.tenants():
            while (await self.projector.advance(tenant))[1]:
                pass

    async def post(self, body: object, by: str = "ann", **headers: str) -> httpx.Response:
        """Send a request as it is."""
        return await self.world.client.post("/graphql", json=body, headers=self.world.auth(by) | headers)

    async def answer(self, query: str, variables: Mapping[str, Any] | None = None, by: str = "ann") -> dict[str, Any]:
        """Return the whole answer to a question about everything that was recorded."""
        await self.project()
        response = await self.post({"query": query, "variables": variables}, by)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    async def ask(self, query: str, variables: Mapping[str, Any] | None = None, by: str = "ann") -> dict[str, Any]:
        """Return the data of an answer without errors."""
        found = await self.answer(query, variables, by)
        assert "errors" not in found, found["errors"]
        data: dict[str, Any] = found["data"]
        return data

    async def codes(self, query: str, variables: Mapping[str, Any] | None = None, by: str = "ann") -> list[str]:
        """Return the codes of an answer's errors."""
        found = await self.answer(query, variables, by)
        return [error["extensions"]["code"] for error in found.get("errors", ())]

    async def tell(self) -> Story:
        """Let something happen: an approval that leads to an effect, one that is denied, one that waits."""
        here, story = self.world, Story()
        story.positions["before"] = await here.position()
        intent, approval = await here.approved()
        story.ids["approval"] = approval["id"]
        grant = await here.grant(approval["id"])
        story.positions["approved"] = await here.position()
        redeemed = await here.redeem(grant["grant"], intent)
        assert redeemed.status_code == 200, redeemed.text
        story.ids["effect"] = redeemed.json()["effect_id"]
        story.positions["redeemed"] = await here.position()
        refused = await here.request(resource={"type": "order", "id": "12"})
        story.ids["refused"] = refused["id"]
        assert (await here.vote(refused["id"], "deny", "dave", comment="too much")).status_code == 200
        story.ids["waiting"] = (await here.request("rival", resource={"type": "order", "id": "99"}))["id"]
        assert (await here.evaluate(here.intent(action="wipe"))).json()["decision"] is False
        for event in await here.log("policy.decision_recorded"):
            story.ids.setdefault(f"decision:{event.action}:{event.outcome}", event.decision_id)
        for event in await here.log("grant.minted"):
            story.ids["grant"] = event.grant_id
        await self.project()
        return story


@contextlib.asynccontextmanager
async def graph_world(url: str, data_dir: Path, **given: Any) -> AsyncIterator[GraphWorld]:
    """Run a furnished tenant whose read models are brought up to date by hand."""
    async with world(url, data_dir, **given) as made:
        store: Any = made.services.ledger.store
        projector = Projector(store, store.pool)
        await projector.prepare()
        yield GraphWorld(made, projector)
