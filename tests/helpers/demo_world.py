"""The estate of the demo in a world of its own, before and after what happens to it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from graphql_world import GraphWorld, graph_world

from quarterdeck_api.auth.caller import Caller
from quarterdeck_api.graphql_mount import context_of
from quarterdeck_cli.demo_happenings import estate_file, happenings, last_tuesday, trace
from quarterdeck_graphql.persisted import operations
from quarterdeck_graphql.schema import build_schema


@dataclass
class DemoWorld:
    """A world with the demo's estate in it. `before` is the position at which only its file was applied."""

    here: GraphWorld
    before: int
    now: datetime

    @property
    def tuesday(self) -> datetime:
        """Since when the help center's index holds what it should not."""
        return last_tuesday(self.now)

    async def ask(self, operation: str, by: str = "ann", **variables: Any) -> dict[str, Any]:
        """Return the data of a saved operation."""
        answer = (await self.here.post({"documentId": operation, "variables": variables}, by)).json()
        assert "errors" not in answer, answer["errors"]
        found: dict[str, Any] = answer["data"]
        return found

    async def listen(self, text: str, **variables: Any) -> Any:
        """Return a stream of a subscription, or of a saved one by its name, as an auditor hears it."""
        caller = Caller(
            tenant=self.here.world.tenant, actor=self.here.world.actor("ann", "human"), roles=frozenset({"auditor"})
        )
        context = context_of(self.here.world.services, caller)

        async def valid() -> bool:
            return True

        context.still_valid = valid
        return await build_schema(introspection=False).subscribe(
            operations().get(text, text), variable_values=variables, context_value=context
        )


@contextlib.asynccontextmanager
async def demo_world(url: str, data_dir: Path) -> AsyncIterator[DemoWorld]:
    """Run a world in which the demo's file was applied, and everything happened to it that happens in the demo."""
    async with graph_world(url, data_dir) as here:
        await here.project()
        api, tenant = here.world.api, here.world.tenant
        headers = api.bearer(tenant, "admin") | {"Content-Type": "application/yaml"}
        applied = await api.client.post("/v1/estate/apply", content=estate_file(), headers=headers)
        assert '"result"' in applied.text, applied.text
        before = await here.world.position()
        now = datetime.now(UTC)
        for name, body in happenings(now):
            done = await api.command(name, body, by=(tenant, "admin"))
            assert done.status_code == 200, done.text
        await here.project()
        headers = api.bearer(tenant, "admin") | {"Content-Type": "application/json"}
        seen = await api.client.post("/v1/traces", content=json.dumps(trace(now)), headers=headers)
        assert seen.status_code == 200, seen.text
        await here.project()
        yield DemoWorld(here, before, now)
