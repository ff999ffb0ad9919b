"""The approval gate: owns the time of one approval request, nothing else.

The log decides and remembers; a vote is durable before this workflow hears of it. The gate wakes people up again
(`remind`), states that nobody decided (`expire`), and ends when the log says that the approval ended.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from temporalio import workflow
from temporalio.common import RetryPolicy, VersioningBehavior

with workflow.unsafe.imports_passed_through():
    from quarterdeck_workflows.approval_gate.activities import ApprovalGateActivities
    from quarterdeck_workflows.approval_gate.types import ApprovalGateInput, GateState

_RETRY: Final = RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=30))
_TIMEOUT: Final = timedelta(seconds=30)
_LATE: Final = timedelta(milliseconds=50)
"""A timer of ours is a little later than the clock it asks, so that it rarely has to ask twice."""


# A gate may wait for days: it moves to new code as that is deployed, and every change keeps old histories replaying.
@workflow.defn(versioning_behavior=VersioningBehavior.AUTO_UPGRADE)
class ApprovalGateWorkflow:
    """Waits for the people; says when they are late."""

    def __init__(self) -> None:
        self._settled = False

    @workflow.run
    async def run(self, gate: ApprovalGateInput) -> str:
        """Return the status the approval ended with."""
        while True:
            # Read first, always: duplicates of starts and signals, and lost ones, then change nothing.
            self._settled = False
            state = await self._look(gate)
            if state.status != "pending":
                return state.status
            if workflow.info().is_continue_as_new_suggested():
                # Every wait adds to its history, and Temporal ends a workflow whose history is too long. All a new run
                # needs is the id: what happened meanwhile is in the log, and it looks there first.
                workflow.continue_as_new(gate)
            if state.expires_in_s <= 0:
                await workflow.execute_activity_method(
                    ApprovalGateActivities.expire_approval, gate, start_to_close_timeout=_TIMEOUT, retry_policy=_RETRY
                )
                continue
            reminder_in_s = state.remind_after_s - state.reminded_ago_s
            if reminder_in_s <= 0:
                await workflow.execute_activity_method(
                    ApprovalGateActivities.remind_approval,
                    args=[gate, state.reminders + 1],
                    start_to_close_timeout=_TIMEOUT,
                    retry_policy=_RETRY,
                )
                continue
            await self._wait(timedelta(seconds=min(state.expires_in_s, reminder_in_s)) + _LATE)

    @workflow.signal
    async def settle(self) -> None:
        """Say that the log has an event which may have ended the approval."""
        self._settled = True

    @workflow.query
    def waiting(self) -> bool:
        """Tell whether nothing has been heard since the last look at the log."""
        return not self._settled

    async def _look(self, gate: ApprovalGateInput) -> GateState:
        return await workflow.execute_local_activity_method(
            ApprovalGateActivities.read_gate, gate, start_to_close_timeout=_TIMEOUT, retry_policy=_RETRY
        )

    async def _wait(self, at_most: timedelta) -> None:
        try:
            await workflow.wait_condition(lambda: self._settled, timeout=at_most)
        except TimeoutError:
            return
