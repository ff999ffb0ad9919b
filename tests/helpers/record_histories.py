"""Record histories of every workflow type into `tests/histories/<version>/`: run once before a release."""

from __future__ import annotations

import asyncio
import tempfile
from importlib.metadata import version
from pathlib import Path

from gate_world import House, open_approval, running_worker, settled

from quarterdeck_domain.approvals.events import ApprovalDenied, ApprovalExpired, Callback
from quarterdeck_embedded import EmbeddedPostgres, EmbeddedTemporal, free_port
from quarterdeck_ledger.followers import Followers
from quarterdeck_ledger.keys import MemoryKeyStore
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.migrate import migrate
from quarterdeck_ledger.postgres import PostgresStore
from quarterdeck_projector.dispatcher import Dispatcher
from quarterdeck_workflows.callback_delivery.destination import Destinations
from quarterdeck_workflows.client import connect
from quarterdeck_workflows.ids import delivery_id, gate_id

TARGET = Path(__file__).parents[1] / "histories" / version("quarterdeck")
DIGEST = "sha256-action-v1:" + "a" * 64


async def record(house: House) -> None:
    """Let every workflow type live through its ways to end, and keep the histories."""
    TARGET.mkdir(parents=True, exist_ok=True)
    nowhere = Callback(endpoint="https://10.0.0.1/refused")
    async with asyncio.timeout(120), running_worker(house, Destinations()):
        expired = await open_approval(house, expires_in_s=3, remind_after_s=1)
        denied = await open_approval(house, expires_in_s=3600, callback=nowhere)
        await house.dispatcher.advance("acme")
        await asyncio.sleep(0.5)
        await settled(house, ApprovalDenied(approval_id=denied, action_digest=DIGEST))
        position = (await house.ledger.head("acme")).position
        await house.dispatcher.advance("acme")
        await keep(house, gate_id("acme", expired), "ApprovalGateWorkflow-expired")
        await keep(house, gate_id("acme", denied), "ApprovalGateWorkflow-denied")
        await keep(house, delivery_id("acme", denied, position), "CallbackDeliveryWorkflow-abandoned")
    port = free_port()
    server = await asyncio.start_server(_answer, "127.0.0.1", port)
    async with server, asyncio.timeout(60), running_worker(house, Destinations(["127.0.0.1/32"])):
        told = await open_approval(house, expires_in_s=3600, callback=Callback(endpoint=f"http://127.0.0.1:{port}/"))
        await settled(house, ApprovalExpired(approval_id=told, action_digest=DIGEST))
        position = (await house.ledger.head("acme")).position
        await house.dispatcher.advance("acme")
        await keep(house, delivery_id("acme", told, position), "CallbackDeliveryWorkflow-delivered")


async def keep(house: House, workflow_id: str, name: str) -> None:
    """Wait for a workflow's end and write its history."""
    handle = house.temporal.get_workflow_handle(workflow_id)
    print(name, await handle.result())
    (TARGET / f"{name}.json").write_text((await handle.fetch_history()).to_json())


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
    await writer.drain()
    writer.close()


async def main() -> None:
    """Run on embedded parts of its own."""
    with (
        tempfile.TemporaryDirectory() as directory,
        EmbeddedTemporal(None) as server,
        EmbeddedPostgres(Path(directory) / "pg") as postgres,
    ):
        await migrate(postgres.url())
        async with PostgresStore.open(postgres.url()) as store:
            ledger, followers = EventLedger(store, MemoryKeyStore()), Followers(store.pool)
            temporal = await connect(server.address)
            dispatcher = Dispatcher(ledger, followers, temporal, task_queue="recording")
            await record(House(ledger, followers, temporal, dispatcher, "recording"))


if __name__ == "__main__":
    asyncio.run(main())
