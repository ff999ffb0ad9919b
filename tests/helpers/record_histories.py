"""Record histories of every workflow type into `tests/histories/<version>/`: run once before a release."""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gate_world import DIGEST, House, every_run, open_approval, running_worker, settled
from import_world import local, projecting, registered
from mcp_world import Raw, raw
from temporalio.client import WorkflowFailureError, WorkflowHandle, WorkflowHistory

from quarterdeck_domain.approvals.events import (
    ApprovalCancelled,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    Callback,
)
from quarterdeck_domain.events import Event
from quarterdeck_embedded import EmbeddedPostgres, EmbeddedTemporal, free_port
from quarterdeck_ledger.followers import Followers
from quarterdeck_ledger.keys import MemoryKeyStore
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.migrate import migrate
from quarterdeck_ledger.postgres import PostgresStore
from quarterdeck_projector.dispatcher import Dispatcher
from quarterdeck_workflows.approval_gate.types import ApprovalGateInput
from quarterdeck_workflows.approval_gate.workflow import ApprovalGateWorkflow
from quarterdeck_workflows.callback_delivery.destination import Destinations
from quarterdeck_workflows.client import connect
from quarterdeck_workflows.ids import delivery_id, gate_id, import_id
from quarterdeck_workflows.import_source.types import ImportSourceInput
from quarterdeck_workflows.import_source.workflow import ImportSourceWorkflow

TARGET = Path(__file__).parents[1] / "histories" / version("quarterdeck")
SHORT_HISTORIES = {"limit.historyCount.suggestContinueAsNew": "20"}
"""Of the server on which a gate goes on as another run after a reminder or two."""
_TRACE = re.compile(r'"stackTrace": "(?:[^"\\]|\\.)*"')


async def record(house: House) -> None:
    """Let every workflow type live through its ways to end, and keep the histories."""
    TARGET.mkdir(parents=True, exist_ok=True)
    async with asyncio.timeout(180):
        async with running_worker(house):
            await _gates(house)
        await _callbacks(house)
        await _imports(house)


async def record_continued(house: House) -> None:
    """Keep the first and the last run of a gate that goes on as another, on a server with short histories."""
    async with asyncio.timeout(60), running_worker(house):
        approval = await _opened(house, expires_in_s=4, remind_after_s=1)
        first = await house.temporal.get_workflow_handle(gate_id("acme", approval)).describe()
        await house.temporal.get_workflow_handle(first.id).result()
        runs = await every_run(house.temporal, first.id, first.run_id)
        for name, history in (("continued", runs[0]), ("goes-on", runs[-1])):
            write(f"ApprovalGateWorkflow-{name}", history)


async def _gates(house: House) -> None:
    granted = partial(ApprovalGranted, action_digest=DIGEST, approved_until=await house.ledger.now())
    ends: dict[str, Callable[..., Event]] = {
        "approved": granted,
        "denied": partial(ApprovalDenied, action_digest=DIGEST),
        "cancelled": partial(ApprovalCancelled, action_digest=DIGEST),
    }
    for name, end in ends.items():
        approval = await _opened(house)
        await settled(house, end(approval_id=approval))
        await house.dispatcher.advance("acme")
        await keep(house, gate_id("acme", approval), f"ApprovalGateWorkflow-{name}")

    expired = await _opened(house, expires_in_s=3, remind_after_s=1)
    await keep(house, gate_id("acme", expired), "ApprovalGateWorkflow-expired")

    told = await _opened(house)
    handle = house.temporal.get_workflow_handle(gate_id("acme", told))
    await handle.signal(ApprovalGateWorkflow.settle)  # of something that ended nothing
    await waiting(handle, 2)
    await settled(house, granted(approval_id=told))
    await house.dispatcher.advance("acme")
    await keep(house, handle.id, "ApprovalGateWorkflow-told-early")

    unheard = await _opened(house, remind_after_s=2)
    await settled(house, granted(approval_id=unheard))  # and nobody tells the gate, which looks all the same
    await keep(house, gate_id("acme", unheard), "ApprovalGateWorkflow-unheard")
    await house.dispatcher.advance("acme")

    over = await open_approval(house, expires_in_s=3600)
    await settled(house, granted(approval_id=over))
    await house.dispatcher.advance("acme")
    await keep(house, gate_id("acme", over), "ApprovalGateWorkflow-over-before")

    nothing = ApprovalGateInput("acme", "apr_none")
    handle = await house.temporal.start_workflow(
        ApprovalGateWorkflow.run, nothing, id=gate_id("acme", "apr_none"), task_queue=house.task_queue
    )
    with contextlib.suppress(WorkflowFailureError):
        await handle.result()
    write("ApprovalGateWorkflow-unknown", await handle.fetch_history())


async def _callbacks(house: House) -> None:
    port = free_port()
    server = await asyncio.start_server(_answer, "127.0.0.1", port)
    for name, endpoint in (("abandoned", "https://10.0.0.1/refused"), ("delivered", f"http://127.0.0.1:{port}/")):
        async with running_worker(house, Destinations(["127.0.0.1/32"])):
            approval = await open_approval(house, expires_in_s=3600, callback=Callback(endpoint=endpoint))
            await settled(house, ApprovalExpired(approval_id=approval, action_digest=DIGEST))
            position = (await house.ledger.head("acme")).position
            await house.dispatcher.advance("acme")
            await keep(house, delivery_id("acme", approval, position), f"CallbackDeliveryWorkflow-{name}")
    server.close()
    await server.wait_closed()


async def _imports(house: House) -> None:
    async def server(asked: Raw) -> None:
        tool = {"name": "t", "inputSchema": {"type": "object"}}
        await (asked.discover() if asked.method == "server/discover" else asked.result(tools=[tool]))

    async def due(way: str, source_id: str) -> None:
        wanted = ImportSourceInput("acme", source_id)
        name = f"{import_id('acme', source_id)}-{way}"
        await house.temporal.start_workflow(ImportSourceWorkflow.run, wanted, id=name, task_queue=house.task_queue)
        await keep(house, name, f"ImportSourceWorkflow-{way}")

    async with raw(server) as url, projecting(house), running_worker(house, fetching=local()):
        await registered(house, url, every_s=None)
        for way in ("changed", "unchanged"):
            await due(way, "crm")
        await due("not_due", "nowhere")
        await registered(house, "https://10.0.0.8/mcp", source_id="elsewhere", every_s=None)
        await due("failed", "elsewhere")


async def _opened(house: House, *, expires_in_s: float = 3600, remind_after_s: int = 600) -> str:
    """Open an approval, and wait until its gate waits."""
    approval = await open_approval(house, expires_in_s=expires_in_s, remind_after_s=remind_after_s)
    await house.dispatcher.advance("acme")
    await waiting(house.temporal.get_workflow_handle(gate_id("acme", approval)))
    return approval


async def waiting(handle: WorkflowHandle[Any, Any], timers: int = 1) -> None:
    """Wait until a workflow has begun to wait so many times."""
    while True:
        history = await handle.fetch_history()
        if sum(event.HasField("timer_started_event_attributes") for event in history.events) >= timers:
            return
        await asyncio.sleep(0.05)


async def keep(house: House, workflow_id: str, name: str) -> None:
    """Wait for a workflow's end and write its history."""
    handle = house.temporal.get_workflow_handle(workflow_id)
    await handle.result()
    write(name, await handle.fetch_history())


def write(name: str, history: WorkflowHistory) -> None:
    """Write a history under a name, without the traces of failures: nothing is replayed from them."""
    (TARGET / f"{name}.json").write_text(_TRACE.sub('"stackTrace": ""', history.to_json()))
    print(name)


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
        EmbeddedTemporal(None, dynamic_config=SHORT_HISTORIES) as short,
        EmbeddedPostgres(Path(directory) / "pg") as postgres,
    ):
        await migrate(postgres.url())
        async with PostgresStore.open(postgres.url()) as store:
            ledger, followers = EventLedger(store, MemoryKeyStore()), Followers(store.pool)
            for address, how in ((server.address, record), (short.address, record_continued)):
                temporal = await connect(address)
                dispatcher = Dispatcher(ledger, followers, temporal, task_queue="recording")
                await how(House(ledger, followers, temporal, dispatcher, "recording"))


if __name__ == "__main__":
    asyncio.run(main())
