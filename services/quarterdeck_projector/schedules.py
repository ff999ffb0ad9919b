"""The schedules by which sources are imported, as the log wants them: one a source, made, changed and deleted by its
events, and made again if Temporal has lost them.

Whatever event is acted on, what is done follows from all that the log says of the source by now; so events that come
twice, late or in the wrong order change nothing. A schedule that was paused by hand stays paused.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.service import RPCError, RPCStatusCode

from quarterdeck_domain.access.events import TenantClosed
from quarterdeck_domain.estate.sources import SETTING_EVENTS, Source, SourceFold, phase_s
from quarterdeck_domain.slices import boundary
from quarterdeck_ledger.interface import Ledger
from quarterdeck_workflows.ids import first_import_id, import_id, schedule_id
from quarterdeck_workflows.import_source.types import ImportSourceInput
from quarterdeck_workflows.import_source.workflow import ImportSourceWorkflow

CATCH_UP: Final = timedelta(hours=1)
"""How late an import is still made that was due while Temporal was away."""
_TRIES: Final = 50
_PAUSE_S: Final = 0.1


class Schedules:
    """Keeps every tenant's schedules as its log wants them."""

    def __init__(self, ledger: Ledger, temporal: Client, task_queue: str) -> None:
        self._ledger = ledger
        self._temporal = temporal
        self._task_queue = task_queue
        self._one: dict[str, str] = {}
        """A source, by tenant, whose schedule Temporal was asked to keep."""

    async def settle(self, tenant: str, source_id: str, *, registered: int | None = None) -> None:
        """Make one source's schedule what the log says by now. What was `registered`, by the event at that position, is
        imported at once as well: handling the event again is the same import."""
        found = (await self._sources(tenant, source_id)).get(source_id)
        if found is None:
            await self._delete(tenant, source_id)
            return
        await self._keep(tenant, found)
        if registered is not None:
            await self._temporal.start_workflow(
                ImportSourceWorkflow.run,
                ImportSourceInput(tenant, source_id),
                id=first_import_id(tenant, source_id, registered),
                task_queue=self._task_queue,
                # One that has ended finds in the log what it did; one that runs stays.
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            )

    async def reconcile(self, tenant: str) -> int:
        """Make every schedule of a tenant what the log says, and return how many there are."""
        wanted = await self._sources(tenant)
        self._one.pop(tenant, None)
        for source in wanted.values():
            await self._keep(tenant, source)
        prefix = schedule_id(tenant, "")
        async for listed in await self._temporal.list_schedules():
            if listed.id.startswith(prefix) and listed.id.removeprefix(prefix) not in wanted:
                await self._delete(tenant, listed.id.removeprefix(prefix))
        return len(wanted)

    async def there(self, tenant: str) -> bool:
        """Tell whether Temporal still has its schedules, by one: it has them all or, with its database gone, none."""
        source_id = self._one.get(tenant)
        if source_id is None:
            return True
        try:
            await self._temporal.get_schedule_handle(schedule_id(tenant, source_id)).describe()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return False
        return True

    async def _sources(self, tenant: str, source_id: str | None = None) -> dict[str, Source]:
        """Return the sources that are imported by a schedule, by name; none in a closed tenant."""
        tags = () if source_id is None else (f"source:{source_id}",)
        folds: dict[str, SourceFold] = {}
        for event in await self._ledger.read(tenant, boundary((SETTING_EVENTS, tags), ((TenantClosed,), ()))):
            if isinstance(event.payload, TenantClosed):
                return {}
            name = str(event.payload.source_id)  # type: ignore[attr-defined]
            folds.setdefault(name, SourceFold(name)).apply(event)
        return {name: fold.now for name, fold in folds.items() if fold.now is not None and fold.now.every_s is not None}

    async def _keep(self, tenant: str, source: Source) -> None:
        name = schedule_id(tenant, source.source_id)
        wanted = self._schedule(tenant, source)
        for _ in range(_TRIES):
            try:
                await self._temporal.create_schedule(name, wanted)
                break
            except ScheduleAlreadyRunningError:
                if await self._change(name, wanted):
                    break
            await asyncio.sleep(_PAUSE_S)  # the one before is still on its way out
        self._one.setdefault(tenant, source.source_id)

    async def _change(self, name: str, wanted: Schedule) -> bool:
        """Change a schedule that is there; tell whether it is."""

        def changed(was: ScheduleUpdateInput) -> ScheduleUpdate | None:
            wanted.state = was.description.schedule.state
            return ScheduleUpdate(schedule=wanted)

        try:
            await self._temporal.get_schedule_handle(name).update(changed)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return False
        return True

    async def _delete(self, tenant: str, source_id: str) -> None:
        if self._one.get(tenant) == source_id:
            del self._one[tenant]
        try:
            await self._temporal.get_schedule_handle(schedule_id(tenant, source_id)).delete()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise

    def _schedule(self, tenant: str, source: Source) -> Schedule:
        every_s = source.every_s or 0
        return Schedule(
            action=ScheduleActionStartWorkflow(
                ImportSourceWorkflow.run,
                ImportSourceInput(tenant, source.source_id),
                id=import_id(tenant, source.source_id),
                task_queue=self._task_queue,
            ),
            spec=ScheduleSpec(
                intervals=[
                    ScheduleIntervalSpec(
                        every=timedelta(seconds=every_s), offset=timedelta(seconds=phase_s(source.source_id, every_s))
                    )
                ]
            ),
            policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=CATCH_UP),
        )
