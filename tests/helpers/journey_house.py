"""A whole API on a real socket, with a tenant in which agents ask and people decide: for the client and the CLI.

The tenant `acme` has the starter policy in force, the approval path `default`, an administrator `admin`, an approver
`iris`, an operator `otto`, an auditor `audra` and an agent `bot` that `admin` answers for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from api_house import House, new_id, over_http, settings_for

from quarterdeck import Quarterdeck
from quarterdeck_api.bootstrap import running
from quarterdeck_api.services import Services
from quarterdeck_domain.access.values import SYSTEM
from quarterdeck_domain.approvals.slices import ParkDispatch, RecordCallback
from quarterdeck_domain.policy.slices import ChangeBundleMode, PublishBundle
from quarterdeck_domain.policy.values import BundleText
from quarterdeck_embedded import free_port
from quarterdeck_ledger.postgres import PostgresStore
from quarterdeck_projector.projector import Projector

TENANT = "acme"


@dataclass
class Watched:
    """A command that is running, and what it prints."""

    process: asyncio.subprocess.Process
    out: asyncio.StreamReader

    async def line(self) -> dict[str, Any]:
        """Return the next line of JSON it prints."""
        async with asyncio.timeout(30):
            found: dict[str, Any] = json.loads(await self.out.readline())
        return found

    async def until(self, text: bytes) -> str:
        """Return what it prints up to some text."""
        async with asyncio.timeout(30):
            return (await self.out.readuntil(text)).decode()


@dataclass
class Journey:
    """The house, its address, and short ways to be somebody in it."""

    house: House
    url: str
    home: Path

    def client(self, name: str = "bot", **options: float) -> Quarterdeck:
        """Return the client of somebody. Close it."""
        return Quarterdeck(self.url, self.house.keys[TENANT, name], **options)

    async def as_(self, name: str, method: str, path: str, **options: object) -> httpx.Response:
        """Send a request as somebody."""
        headers = self.house.bearer(TENANT, name)
        async with httpx.AsyncClient(base_url=self.url, headers=headers, trust_env=False) as http:
            return await http.request(method, path, **options)  # type: ignore[arg-type]

    async def decide(self, task_id: str, verdict: str = "approve", by: str = "iris") -> httpx.Response:
        """Look at an approval and decide it, as a person does."""
        shown = (await self.as_(by, "GET", f"/v1/approvals/{task_id}")).json()
        return await self.as_(
            by, "POST", f"/v1/approvals/{task_id}/{verdict}", json={"action_digest": shown["action_digest"]}
        )

    async def asked(self) -> str:
        """Return the id of the newest open request; wait for one where there is none."""
        ledger = self.house.services.ledger
        while True:
            position = (await ledger.head(TENANT)).position
            found = (await self.as_("iris", "GET", "/v1/approvals")).json()["approvals"]
            if found:
                return str(found[0]["id"])
            await ledger.wait(TENANT, position, 5.0)

    async def stick(self) -> str:
        """Set the first event aside, and let a callback be undeliverable; return the callback's approval."""
        async with self.client() as bot:
            decision = await bot.ask("refund", "order:1", properties={"amount": "500.00", "currency": "EUR"})
            task = await bot.request_approval(decision, callback="http://127.0.0.1:9/hook")
        await self.house.run(TENANT, RecordCallback(approval_id=task.id, message_id="msg-1", abandoned="refused"))
        await self.house.run(TENANT, ParkDispatch(position=1, workflow_id="acme/gate/1", reason="it cannot be read"))
        return task.id

    async def projected(self) -> None:
        """Wait until the read models have everything that is in the log."""
        position = (await self.house.services.ledger.head(TENANT)).position
        body = {"query": "query($p: Position) { now(atLeast: $p) { position } }", "variables": {"p": position}}
        answer = (await self.as_("audra", "POST", "/graphql", json=body)).json()
        assert answer["data"]["now"]["position"] >= position, answer

    async def events(self, *types: str) -> list[dict[str, object]]:
        """Return the data of all events of these types, oldest first."""
        found = await self.house.services.ledger.read(TENANT)
        return [
            {name: getattr(event.payload, name) for name in event.payload.__struct_fields__}
            for event in found
            if event.type in types
        ]

    async def enforce(self, policies: str) -> None:
        """Let another bundle decide from now on."""
        bundle = new_id("bnd")
        await self.house.run(TENANT, PublishBundle(bundle, "test", BundleText(policies=policies), actor=SYSTEM))
        await self.house.run(TENANT, ChangeBundleMode(bundle, "enforced", "test", actor=SYSTEM))

    def environment(self, name: str | None = None, **more: str) -> Mapping[str, str]:
        """Return the environment of a process that speaks to this house, as somebody or as nobody yet."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("QUARTERDECK_")}
        given = {"QUARTERDECK_URL": self.url, "HOME": str(self.home), "XDG_CONFIG_HOME": str(self.home / ".config")}
        token = {} if name is None else {"QUARTERDECK_TOKEN": self.house.keys[TENANT, name]}
        return kept | given | token | {"NO_COLOR": "1", "COLUMNS": "120"} | more

    @contextlib.asynccontextmanager
    async def running(self, *words: str, by: str, **more: str) -> AsyncIterator[Watched]:
        """Run a command that goes on until it is interrupted, which must be a normal end."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "quarterdeck_cli", *words),
            env=dict(self.environment(by, **more)),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            yield Watched(process, process.stdout)
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(20):
                await process.stdout.read()
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def cli(self, *words: str, by: str | None = None, stdin: str = "", **more: str) -> tuple[int, str, str]:
        """Run a command of the command line in a process of its own; return its exit code, output and errors."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "quarterdeck_cli",
            *words,
            env=dict(self.environment(by, **more)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(stdin.encode())
        return process.returncode or 0, out.decode(), err.decode()


@contextlib.asynccontextmanager
async def journey(url: str, home: Path) -> AsyncIterator[Journey]:
    """Run the house over a migrated database."""
    settings = settings_for(
        url, home / "data", public_url=None, port=free_port(), webhook_allow=("127.0.0.1",), import_allow=("127.0.0.1",)
    )
    async with running(settings) as services, httpx.AsyncClient() as unused:
        house = House(services, unused)
        await house.begin(TENANT)
        for name, role in (("iris", "approver"), ("otto", "operator"), ("audra", "auditor")):
            await house.add(TENANT, name, role)  # type: ignore[arg-type]
        await house.add(TENANT, "bot", "agent", kind="agent")
        async with over_http(services) as address, projecting(services):
            yield Journey(house, address, home)


@contextlib.asynccontextmanager
async def projecting(services: Services) -> AsyncIterator[None]:
    """Keep the read models current while the block runs."""
    store = services.ledger.store
    assert isinstance(store, PostgresStore)
    projector = Projector(store, store.pool)
    await projector.prepare()
    task = asyncio.create_task(projector.run(), name="projector")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
