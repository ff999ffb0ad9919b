"""The doors of sources, as an operator uses them; and documents served as any web server serves them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
from graphql_world import GraphWorld
from mcp_world import Raw, raw

from quarterdeck_domain.events import RecordedEvent
from quarterdeck_domain.slices import boundary

LOCAL = "127.0.0.0/8,::1/128"


class Sources:
    """`/v1/estate/sources`, as somebody."""

    def __init__(self, here: GraphWorld, by: str = "admin") -> None:
        self.here = here
        self.headers = here.world.api.bearer(here.world.tenant, by)

    async def send(self, method: str, path: str = "", body: object = None, **given: Any) -> httpx.Response:
        """Send a request, with everything that was recorded known."""
        await self.here.project()
        headers = self.headers | given.pop("headers", {})
        client = self.here.world.api.client
        answer = await client.request(method, f"/v1/estate/sources{path}", json=body, headers=headers, **given)
        await self.here.project()
        return answer

    async def add(self, address: str, source_id: str = "crm", kind: str = "mcp", **settings: Any) -> None:
        """Register a source that is imported on request only."""
        body = {"source_id": source_id, "kind": kind, "address": address, "every_s": None} | settings
        answer = await self.send("POST", "", body)
        assert answer.status_code == 200, answer.text

    async def plan(self, source_id: str = "crm") -> dict[str, Any]:
        """Return what importing a source would do, or the problem."""
        return (await self.send("POST", f"/{source_id}/plan")).json()

    async def run(self, source_id: str = "crm", key: str | None = None, **params: str) -> dict[str, Any]:
        """Import a source and return the last line of the answer, or the problem."""
        headers = {} if key is None else {"Idempotency-Key": key}
        answer = await self.send("POST", f"/{source_id}/import", params=params, headers=headers)
        if answer.status_code != 200:
            return {"problem": answer.json()}
        return json.loads(answer.text.splitlines()[-1])

    async def imported(self, source_id: str = "crm") -> dict[str, Any]:
        """Import a source that can be imported, and return what that did."""
        found = await self.run(source_id)
        assert "result" in found, found
        return found["result"]

    async def one(self, source_id: str = "crm") -> dict[str, Any]:
        """Return a source as the door shows it."""
        return (await self.send("GET", f"/{source_id}")).json()

    async def events(self, *types: Any) -> list[RecordedEvent]:
        """Return the events of some types."""
        return await self.here.world.services.ledger.read(self.here.world.tenant, boundary((types, ())))

    async def command(self, name: str, **body: Any) -> dict[str, Any]:
        """Run a command."""
        answer = await self.here.world.api.client.post(f"/v1/commands/{name}", json=body, headers=self.headers)
        assert answer.is_success, answer.text
        await self.here.project()
        return answer.json()


@contextlib.asynccontextmanager
async def document(*bodies: bytes) -> AsyncIterator[str]:
    """Serve documents one after another at one address, the last one for ever."""
    waiting = list(bodies)

    async def answer(server: Raw) -> None:
        await server.send(waiting.pop(0) if len(waiting) > 1 else waiting[0], "application/octet-stream")

    async with raw(answer) as url:
        yield url.removesuffix("/mcp")
