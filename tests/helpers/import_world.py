"""Sources to import from, a log whose read models follow it, and short ways to make imports happen by a schedule."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

from gate_world import House
from temporalio.client import ScheduleOverlapPolicy, WorkflowHandle

from quarterdeck_connectors.destinations import Allowed
from quarterdeck_domain.access.events import TenantOpened
from quarterdeck_domain.access.values import SYSTEM
from quarterdeck_domain.estate.source_events import SourceFailed, SourceRegistered, SourceSynced
from quarterdeck_domain.estate.source_slices import RegisterSource
from quarterdeck_domain.events import NewEvent, RecordedEvent
from quarterdeck_domain.slices import Slice, boundary
from quarterdeck_importing.credentials import Credentials
from quarterdeck_importing.fetching import Fetching
from quarterdeck_ledger.interface import Context
from quarterdeck_projector.projector import Projector
from quarterdeck_workflows.ids import first_import_id, import_id, schedule_id

LOCAL = ("127.0.0.0/8", "::1/128")


def local(credentials: Credentials | None = None, *allowed: str) -> Fetching:
    """Return what reads sources on this machine."""
    return Fetching(Allowed(allowed or LOCAL), credentials or Credentials())


@contextlib.asynccontextmanager
async def projecting(house: House) -> AsyncIterator[None]:
    """Keep the read models current while the block runs."""
    store: Any = house.ledger.store
    projector = Projector(store, store.pool)
    await projector.prepare()
    task = asyncio.create_task(projector.run(), name="projector of the test")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def command(house: House, slice_: Slice) -> None:
    """Run a command as the house itself, and let the dispatcher hear of it."""
    await house.ledger.execute(slice_, Context(tenant="acme", actor=SYSTEM, command_id=uuid.uuid4()))
    await house.dispatcher.advance("acme")


async def opened(house: House) -> None:
    """Open the tenant."""
    event = TenantOpened(tenant="acme", display_name="Acme")
    await house.ledger.append("acme", [NewEvent(id=uuid.uuid4(), payload=event, actor=SYSTEM)])


async def registered(house: House, address: str, *, source_id: str = "crm", **settings: Any) -> None:
    """Register a source; with `every_s`, it is imported at once, and has a schedule."""
    given = {"kind": "mcp", "every_s": 86_400} | settings
    await command(house, RegisterSource(source_id=source_id, address=address, actor=SYSTEM, **given))


async def outcomes(house: House, count: int, source_id: str = "crm") -> list[RecordedEvent]:
    """Return how the imports of a source ended, once so many have."""
    query = boundary(((SourceSynced, SourceFailed), (f"source:{source_id}",)))
    after = 0
    while True:
        found = await house.ledger.read("acme", query)
        if len(found) >= count:
            return found
        after = (await house.ledger.head("acme")).position
        await house.ledger.wait("acme", after, 1.0)


async def again(house: House, source_id: str = "crm") -> None:
    """Let a source be due now, once its import before is over."""
    handle = house.temporal.get_schedule_handle(schedule_id("acme", source_id))
    for workflow in await runs(house, source_id):
        await workflow.result()
    # A schedule may not have heard of that end yet, and would pass over this one. It names its imports by the second:
    # a test lets a source be due once.
    await handle.trigger(overlap=ScheduleOverlapPolicy.ALLOW_ALL)


async def runs(house: House, source_id: str = "crm") -> list[WorkflowHandle[Any, Any]]:
    """Return the workflows that import a source: those that followed its registrations, then those it was due for."""
    registered = await house.ledger.read("acme", boundary(((SourceRegistered,), (f"source:{source_id}",))))
    ids = [first_import_id("acme", source_id, event.position) for event in registered]
    described = await house.temporal.get_schedule_handle(schedule_id("acme", source_id)).describe()
    ids += [
        action.action.workflow_id for action in described.info.recent_actions if hasattr(action.action, "workflow_id")
    ]
    assert all(name.startswith(import_id("acme", source_id)) for name in ids)
    return [house.temporal.get_workflow_handle(name) for name in ids]
