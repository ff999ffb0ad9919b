"""The worker is killed in the middle of an import, and once more when it is recorded: it is imported exactly once.

Serves S0-45, DC-01, DC-07; DESIGN 'What must always hold' 1, 4.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults_house import TENANT, FaultHouse, fault_house
from faults_http import Patient
from faults_journey import ok
from mcp_world import Raw, raw

from quarterdeck_domain.estate.events import AssetRegistered, EstateApplied
from quarterdeck_domain.estate.source_events import SourceFailed, SourceRegistered, SourceSynced
from quarterdeck_domain.events import RecordedEvent
from quarterdeck_domain.slices import boundary
from quarterdeck_workflows.client import connect
from quarterdeck_workflows.ids import first_import_id

_RECORDED_WITHIN_S = 120.0


@pytest.fixture(scope="module")
def house() -> Iterator[FaultHouse]:
    """A house that may read sources on this machine."""
    settings = {"QUARTERDECK_IMPORT_ALLOW": "127.0.0.0/8"}
    with (
        tempfile.TemporaryDirectory(prefix="quarterdeck-faults-") as directory,
        fault_house(Path(directory), apis=1, settings=settings) as made,
    ):
        yield made


async def test_a_worker_that_is_killed_twice_imports_exactly_once(house: FaultHouse) -> None:
    """First while the server still answers, then with all of it recorded and Temporal not told."""
    assert house.temporal is not None
    asked, killed = asyncio.Event(), asyncio.Event()

    async def answer(server: Raw) -> None:
        if not asked.is_set():
            asked.set()
            await killed.wait()
        tool = {"name": "t", "inputSchema": {"type": "object"}}
        await (server.discover() if server.method == "server/discover" else server.result(tools=[tool]))

    async with raw(answer) as url:
        admin = Patient(house.ports, house.keys[TENANT, "admin"])
        body = {"source_id": "crm", "kind": "mcp", "address": url, "every_s": 86_400}
        ok(await admin.call("POST", "/v1/estate/sources", body, key="source"))
        admin.close()
        await asked.wait()
        house.kill("worker")
        killed.set()
        assert [event.type for event in await said(house)] == ["source.registered"]
        doomed = house.spawn("worker", "import.recorded=kill@1")
        assert await doomed.died(_RECORDED_WITHIN_S), f"nothing was recorded; its log ends:\n{house.tail('worker')}"
        recorded = await said(house)
        house.spawn("worker")
        temporal = await connect(house.temporal.address)
        handle: Any = temporal.get_workflow_handle(first_import_id(TENANT, "crm", recorded[0].position))
        assert await handle.result() == "changed"
        history = await handle.fetch_history()
    started = [
        item.activity_task_started_event_attributes.attempt
        for item in history.events
        if item.HasField("activity_task_started_event_attributes")
    ]
    assert started == [3]
    assert await said(house) == recorded
    types = [event.type for event in recorded]
    assert (types.count("estate.applied"), types.count("source.synced")) == (1, 1)
    assert [event.payload.asset for event in recorded if isinstance(event.payload, AssetRegistered)] == [
        "mcp_server:crm",
        "tool:crm/t",
    ]


async def said(house: FaultHouse) -> list[RecordedEvent]:
    """Return what the log says of sources and of what was imported."""
    types = (SourceRegistered, SourceSynced, SourceFailed, EstateApplied, AssetRegistered)
    async with house.store() as store:
        return await house.ledger(store).read(TENANT, boundary((types, ())))
