"""The approval gate on a real Temporal server and a real log. Serves DC-03, S0-58, S1-75."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path

import pytest
from gate_world import House, every_run, open_approval, recorded, running_worker, settled
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError

from quarterdeck_domain.approvals.events import (
    ApprovalDenied,
    ApprovalExpired,
    ApprovalReminded,
    DispatchParked,
    DispatchReleased,
)
from quarterdeck_embedded import EmbeddedTemporal
from quarterdeck_projector import dispatcher
from quarterdeck_projector.dispatcher import Dispatcher
from quarterdeck_workflows.client import connect
from quarterdeck_workflows.ids import gate_id

SHORT_HISTORIES = {"limit.historyCount.suggestContinueAsNew": "20"}
"""A server on which a history is long enough after a reminder or two; by default it is after 4,096 events."""


async def test_nobody_decides_in_time(house: House) -> None:
    """The gate reminds, then states that the time is over; each once."""
    approval = await open_approval(house, expires_in_s=3, remind_after_s=1)
    async with running_worker(house):
        await house.dispatcher.advance("acme")
        result = await house.temporal.get_workflow_handle(gate_id("acme", approval)).result()
    assert result == "expired"
    types = await recorded(house, approval)
    assert types.count(ApprovalExpired.type) == 1
    assert 1 <= types.count(ApprovalReminded.type) <= 2
    assert types[-1] == ApprovalExpired.type


async def test_a_decision_ends_the_gate(house: House) -> None:
    """A denial in the log, told by the dispatcher, ends the wait at once."""
    approval = await open_approval(house, expires_in_s=3600)
    async with running_worker(house):
        await house.dispatcher.advance("acme")
        handle = house.temporal.get_workflow_handle(gate_id("acme", approval))
        await settled(house, ApprovalDenied(approval_id=approval, action_digest="sha256-action-v1:" + "a" * 64))
        await house.dispatcher.advance("acme")
        assert await handle.result() == "denied"
    assert ApprovalExpired.type not in await recorded(house, approval)


async def test_the_wait_survives_its_worker(house: House) -> None:
    """A gate whose worker went away while it waited goes on with the next one, with the same result."""
    approval = await open_approval(house, expires_in_s=3, remind_after_s=3)
    handle = house.temporal.get_workflow_handle(gate_id("acme", approval))
    async with running_worker(house):
        await house.dispatcher.advance("acme")
        await _until(lambda: _looked(handle))
    async with running_worker(house):
        assert await handle.result() == "expired"
    assert (await recorded(house, approval)).count(ApprovalExpired.type) == 1


async def test_a_gate_that_waits_long_goes_on_as_another_run(house: House) -> None:
    """No history grows for ever. What was reminded of is counted in the log, so that a new run does not begin again."""
    with EmbeddedTemporal(None, dynamic_config=SHORT_HISTORIES) as server:
        short = replace(house, temporal=await connect(server.address))
        short.dispatcher = Dispatcher(house.ledger, _Forgetful(), short.temporal, task_queue=house.task_queue)
        approval = await open_approval(short, expires_in_s=6, remind_after_s=1)
        async with running_worker(short):
            await short.dispatcher.advance("acme")
            first = await short.temporal.get_workflow_handle(gate_id("acme", approval)).describe()
            assert await short.temporal.get_workflow_handle(first.id).result() == "expired"
            histories = await every_run(short.temporal, first.id, first.run_id)
    assert len(histories) >= 2
    assert all(len(history.events) < 40 for history in histories)
    types = await recorded(house, approval)
    assert (types.count(ApprovalExpired.type), types[-1]) == (1, ApprovalExpired.type)
    tried = [
        event.activity_task_scheduled_event_attributes.activity_type.name
        for history in histories
        for event in history.events
    ].count("remind_approval")
    # The last one may come too late to be recorded.
    assert 0 <= tried - types.count(ApprovalReminded.type) <= 1
    assert tried >= 2


async def test_handling_an_event_twice_changes_nothing(house: House) -> None:
    """The dispatcher may see an event again; the gate is started once."""
    approval = await open_approval(house, expires_in_s=3600)
    await house.dispatcher.advance("acme")
    first = await house.temporal.get_workflow_handle(gate_id("acme", approval)).describe()
    again = Dispatcher(house.ledger, _Forgetful(), house.temporal, task_queue=house.task_queue)
    await again.advance("acme")
    second = await house.temporal.get_workflow_handle(gate_id("acme", approval)).describe()
    assert first.run_id == second.run_id


async def test_temporal_is_disposable(house: House, tmp_path: Path) -> None:
    """With Temporal's data gone, every open gate is rebuilt from the log; settled ones are not."""
    open_one = await open_approval(house, expires_in_s=3600)
    done = await open_approval(house, expires_in_s=3600)
    await settled(house, ApprovalDenied(approval_id=done, action_digest="sha256-action-v1:" + "a" * 64))
    await house.dispatcher.advance("acme")
    with EmbeddedTemporal(tmp_path / "new.db") as empty:
        temporal = await connect(empty.address)
        assert await Dispatcher(house.ledger, house.followers, temporal).reconcile("acme") == 1
        description = await temporal.get_workflow_handle(gate_id("acme", open_one)).describe()
        assert description.status is WorkflowExecutionStatus.RUNNING
        with pytest.raises(RPCError):
            await temporal.get_workflow_handle(gate_id("acme", done)).describe()


async def test_gates_that_are_gone_are_made_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though Temporal was never away: somebody deleted what it had."""
    monkeypatch.setattr(dispatcher, "_LOOK_S", 0.1)
    approval = await open_approval(house, expires_in_s=3600)
    following = asyncio.create_task(house.dispatcher.follow("acme"))
    await _until(lambda: _exists(house.temporal, approval))
    handle = house.temporal.get_workflow_handle(gate_id("acme", approval))
    first = (await handle.describe()).run_id
    request = DeleteWorkflowExecutionRequest(
        namespace=house.temporal.namespace, workflow_execution=WorkflowExecution(workflow_id=handle.id)
    )
    await house.temporal.workflow_service.delete_workflow_execution(request)
    await _until(lambda: _runs_as_another(house.temporal, approval, first))
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following


async def test_a_gate_that_cannot_be_made_does_not_hold_up_a_new_start(house: House) -> None:
    """Whoever reconciles parks it, too."""
    bad = await open_approval(house, expires_in_s=3600)
    good = await open_approval(house, expires_in_s=3600)
    broken = _Broken(house.ledger, house.followers, house.temporal, task_queue=house.task_queue)
    broken.bad = bad
    for _ in range(2):
        assert await broken.reconcile("acme") == 2
    assert [event.payload.type for event in await house.ledger.read("acme")].count(DispatchParked.type) == 1
    assert await _status(house.temporal, good) is WorkflowExecutionStatus.RUNNING


async def test_what_cannot_be_handled_is_parked_and_the_rest_goes_on(house: House) -> None:
    """A poisoned event waits for an operator, visibly; the next approval gets its gate; a release tries again."""
    bad = await open_approval(house, expires_in_s=3600)
    good = await open_approval(house, expires_in_s=3600)
    broken = _Broken(house.ledger, house.followers, house.temporal, task_queue=house.task_queue)
    broken.bad = bad
    await broken.advance("acme")
    parked = [event.payload for event in await house.ledger.read("acme") if isinstance(event.payload, DispatchParked)]
    assert len(parked) == 1
    assert await _status(house.temporal, good) is WorkflowExecutionStatus.RUNNING
    with pytest.raises(RPCError):
        await _status(house.temporal, bad)
    await settled(house, DispatchReleased(parked_position=parked[0].parked_position))
    await house.dispatcher.advance("acme")
    assert await _status(house.temporal, bad) is WorkflowExecutionStatus.RUNNING


class _Forgetful:
    async def position(self, tenant: str, follower: str) -> int:
        return 0

    async def advance(self, tenant: str, follower: str, position: int) -> None:
        return None


class _Broken(Dispatcher):
    bad = ""

    async def _open_gate(self, event) -> None:  # type: ignore[no-untyped-def]
        if event.payload.approval_id == self.bad:
            raise ValueError("planted")
        await super()._open_gate(event)


async def _status(temporal: Client, approval: str) -> WorkflowExecutionStatus | None:
    return (await temporal.get_workflow_handle(gate_id("acme", approval)).describe()).status


async def _exists(temporal: Client, approval: str) -> bool:
    try:
        return await _status(temporal, approval) is not None
    except RPCError:
        return False


async def _runs_as_another(temporal: Client, approval: str, run_id: str) -> bool:
    try:
        found = await temporal.get_workflow_handle(gate_id("acme", approval)).describe()
    except RPCError:
        return False
    return found.run_id != run_id and found.status is WorkflowExecutionStatus.RUNNING


async def _looked(handle) -> bool:  # type: ignore[no-untyped-def]
    history = await handle.fetch_history()
    return any(event.HasField("timer_started_event_attributes") for event in history.events)


async def _until(condition) -> None:  # type: ignore[no-untyped-def]
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110  the server can only be asked
            await asyncio.sleep(0.05)
