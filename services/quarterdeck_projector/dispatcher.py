"""The dispatcher: reads each tenant's log in order and starts or signals workflows. There is no dual write.

Its place in a log is kept in `ledger.followers`. Handling an event twice changes nothing: workflow ids are derived
from the thing, and a workflow's first act is to read the log. An event that cannot be handled is parked, visibly,
and the others go on; one that an operator releases is handled again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import structlog
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from quarterdeck_domain.access.events import TenantClosed
from quarterdeck_domain.access.values import SYSTEM
from quarterdeck_domain.approvals.events import (
    ApprovalCancelled,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRequested,
    CallbackResent,
    DispatchReleased,
)
from quarterdeck_domain.approvals.slices import ParkDispatch
from quarterdeck_domain.errors import QuarterdeckError, Refused
from quarterdeck_domain.estate.source_events import SourceChanged, SourceRegistered, SourceRemoved
from quarterdeck_domain.events import Event, RecordedEvent
from quarterdeck_domain.slices import boundary
from quarterdeck_ledger import faults
from quarterdeck_ledger.followers import Followers
from quarterdeck_ledger.interface import Context, Ledger
from quarterdeck_projector import observed
from quarterdeck_projector.schedules import Schedules
from quarterdeck_workflows.approval_gate.types import ApprovalGateInput
from quarterdeck_workflows.approval_gate.workflow import ApprovalGateWorkflow
from quarterdeck_workflows.callback_delivery.task import task_of
from quarterdeck_workflows.callback_delivery.types import CallbackDeliveryInput
from quarterdeck_workflows.callback_delivery.workflow import CallbackDeliveryWorkflow
from quarterdeck_workflows.client import TASK_QUEUE
from quarterdeck_workflows.ids import command_id, delivery_id, gate_id

NAME: Final = "dispatcher"
_PAGE: Final = 500
_POLL_S: Final = 1.0
_RETRY_S: Final = 1.0
_LOOK_S: Final = 10.0
_SETTLING: Final = (ApprovalGranted, ApprovalDenied, ApprovalExpired, ApprovalCancelled)
_SCHEDULING: Final = (SourceRegistered, SourceChanged, SourceRemoved)
_HANDLED: Final[tuple[type[Event], ...]] = (
    ApprovalRequested,
    *_SETTLING,
    CallbackResent,
    DispatchReleased,
    *_SCHEDULING,
    TenantClosed,
)
log = structlog.get_logger(__name__)


class Dispatcher:
    """Follows every tenant's log and drives Temporal by it."""

    def __init__(self, ledger: Ledger, followers: Followers, temporal: Client, *, task_queue: str = TASK_QUEUE) -> None:
        self._ledger = ledger
        self._followers = followers
        self._temporal = temporal
        self._task_queue = task_queue
        self._schedules = Schedules(ledger, temporal, task_queue)
        self._gates: dict[str, dict[str, None]] = {}
        """The approvals, by tenant and oldest first, whose gates Temporal was asked to start and not to settle."""
        self._handlers: Mapping[type[Event], Callable[[RecordedEvent], Awaitable[None]]] = {
            ApprovalRequested: self._open_gate,
            **dict.fromkeys(_SETTLING, self._settle),
            CallbackResent: self._resend,
            DispatchReleased: self._release,
            **dict.fromkeys(_SCHEDULING, self._schedule),
            TenantClosed: self._unschedule,
        }

    async def run(self) -> None:
        """Follow all logs, present and future, until cancelled."""
        following: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                for tenant in await self._known_tenants():
                    if tenant not in following or following[tenant].done():
                        following[tenant] = asyncio.create_task(self.follow(tenant), name=f"dispatch {tenant}")
                await asyncio.sleep(_POLL_S)
        finally:
            for task in following.values():
                task.cancel()
            await asyncio.gather(*following.values(), return_exceptions=True)

    async def follow(self, tenant: str) -> None:
        """Reconcile one tenant's open approvals, then handle its events as they come, until cancelled."""
        while True:
            try:
                await self.reconcile(tenant)
                await self._follow_while_there_are_gates(tenant)
                log.warning("dispatch.gates_lost", tenant=tenant)
            except (QuarterdeckError, RPCError) as error:
                # The log or Temporal is away: nothing is lost by waiting, everything is still in the log.
                log.warning("dispatch.waiting", tenant=tenant, error=str(error))
                await asyncio.sleep(_RETRY_S)

    async def _follow_while_there_are_gates(self, tenant: str) -> None:
        clock = asyncio.get_running_loop().time
        looked = clock()
        while True:
            if clock() - looked >= _LOOK_S:
                if not (await self._has_gates(tenant) and await self._schedules.there(tenant)):
                    return
                looked = clock()
            if not await self.advance(tenant):
                await self._ledger.wait(tenant, await self._followers.position(tenant, NAME), _POLL_S)

    async def _has_gates(self, tenant: str) -> bool:
        """Tell whether Temporal still has its gates, by one: it has them all or, with its database gone, none."""
        oldest = next(iter(self._gates.get(tenant, ())), None)
        if oldest is None:
            return True
        try:
            await self._temporal.get_workflow_handle(gate_id(tenant, oldest)).describe()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return False
        return True

    async def advance(self, tenant: str) -> bool:
        """Handle the next page of events, in order; tell whether there was any."""
        after = await self._followers.position(tenant, NAME)
        head = (await self._ledger.head(tenant)).position
        if head <= after:
            return False
        query = boundary((_HANDLED, ()))
        events = await self._ledger.read(tenant, query, after=after, until=head, limit=_PAGE)
        faults.point("dispatch.read")
        for event in events:
            await self._handle(event)
        reached = events[-1].position if len(events) == _PAGE else head
        faults.point("dispatch.before_advance")
        await self._followers.advance(tenant, NAME, reached)
        faults.point("dispatch.after_advance")
        return True

    async def reconcile(self, tenant: str) -> int:
        """Start a gate for every approval that the log says is open, and return how many there are; keep a schedule for
        every source.

        Temporal is disposable: with its database gone, this rebuilds every gate and schedule. Running ones are left
        alone.
        """
        query = boundary(((ApprovalRequested, *_SETTLING), ()))
        open_approvals: dict[str, RecordedEvent] = {}
        for event in await self._ledger.read(tenant, query):
            approval_id = str(event.payload.approval_id)  # type: ignore[attr-defined]
            if isinstance(event.payload, ApprovalRequested):
                open_approvals[approval_id] = event
            else:
                open_approvals.pop(approval_id, None)
        self._gates[tenant] = {}
        for event in open_approvals.values():
            await self._handle(event)
        await self._schedules.reconcile(tenant)
        return len(open_approvals)

    async def _known_tenants(self) -> list[str]:
        try:
            return await self._ledger.tenants()
        except QuarterdeckError as error:
            log.warning("dispatch.waiting", error=str(error))
            return []

    async def _handle(self, event: RecordedEvent) -> None:
        handler = self._handlers.get(type(event.payload))
        if handler is None:
            return
        try:
            with observed.acting(event):
                await handler(event)
        except RPCError as error:
            if error.status in {RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED}:
                raise
            await self._park(event, f"{error.status.name}: {error.message}")
        except (Refused, ValueError, TypeError) as error:
            await self._park(event, repr(error))

    async def _park(self, event: RecordedEvent, reason: str) -> None:
        observed.parked(event)
        log.error("dispatch.parked", tenant=event.tenant, position=event.position, reason=reason)
        workflow_id = f"{event.tenant}/dispatch/{event.position}"
        command = ParkDispatch(position=event.position, workflow_id=workflow_id, reason=reason[:500])
        context = Context(
            tenant=event.tenant,
            actor=SYSTEM,
            command_id=command_id(workflow_id, f"park/{event.id}"),
            causation_position=event.position,
            traceparent=event.cause.traceparent,
        )
        await self._ledger.execute(command, context)

    async def _open_gate(self, event: RecordedEvent) -> None:
        request: Any = event.payload
        faults.point("dispatch.before_start")
        await self._temporal.start_workflow(
            ApprovalGateWorkflow.run,
            ApprovalGateInput(event.tenant, request.approval_id),
            id=gate_id(event.tenant, request.approval_id),
            task_queue=self._task_queue,
            # A gate that ended although its approval is open (by hand, by a fault) starts again; a running one stays.
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )
        self._gates.setdefault(event.tenant, {})[request.approval_id] = None
        faults.point("dispatch.after_start")

    async def _settle(self, event: RecordedEvent) -> None:
        settled: Any = event.payload
        self._gates.get(event.tenant, {}).pop(settled.approval_id, None)
        handle = self._temporal.get_workflow_handle(gate_id(event.tenant, settled.approval_id))
        faults.point("dispatch.before_signal")
        try:
            await handle.signal(ApprovalGateWorkflow.settle)
        except RPCError as error:
            # Closed already, or never started because it was settled at once: it has nothing to hear.
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
        faults.point("dispatch.after_signal")
        task = await task_of(self._ledger, event.tenant, settled.approval_id, until=event.position)
        wanted = task.request.callback if task is not None else None
        # A bundle is told of once: by the event that ended its last item.
        if task is None or wanted is None or task.status == "pending":
            return
        if not wanted.events or task.status in wanted.events:
            await self._deliver(event, settled.approval_id, str(event.id))

    async def _resend(self, event: RecordedEvent) -> None:
        resent: Any = event.payload
        await self._deliver(event, resent.approval_id, resent.message_id)

    async def _deliver(self, event: RecordedEvent, approval_id: str, message_id: str) -> None:
        # One that ended well was dispatched before, by somebody who did not live to say so: there is nothing to do.
        with contextlib.suppress(WorkflowAlreadyStartedError):
            await self._temporal.start_workflow(
                CallbackDeliveryWorkflow.run,
                CallbackDeliveryInput(event.tenant, approval_id, message_id),
                id=delivery_id(event.tenant, approval_id, event.position),
                task_queue=self._task_queue,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            )

    async def _release(self, event: RecordedEvent) -> None:
        released: Any = event.payload
        position = released.parked_position
        for parked in await self._ledger.read(event.tenant, after=position - 1, until=position):
            await self._handle(parked)

    async def _schedule(self, event: RecordedEvent) -> None:
        source: Any = event.payload
        # What is registered is imported at once, and then whenever it is due.
        registered = event.position if isinstance(event.payload, SourceRegistered) else None
        await self._schedules.settle(event.tenant, source.source_id, registered=registered)

    async def _unschedule(self, event: RecordedEvent) -> None:
        await self._schedules.reconcile(event.tenant)
