"""What the approval gate does: read the log, and append to it through the approval's own slices."""

from __future__ import annotations

from temporalio import activity
from temporalio.exceptions import ApplicationError

from quarterdeck_domain.approvals.slices import ExpireApproval, RemindApproval
from quarterdeck_domain.approvals.values import ApprovalFold
from quarterdeck_domain.slices import boundary
from quarterdeck_ledger import faults
from quarterdeck_ledger.interface import Ledger
from quarterdeck_workflows.approval_gate.types import ApprovalGateInput, GateState
from quarterdeck_workflows.execution import record


class ApprovalGateActivities:
    """The gate's activities, over a ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    @activity.defn
    async def read_gate(self, gate: ApprovalGateInput) -> GateState:
        """Return where the approval stands now.

        Raises:
            ApplicationError: the log has no such approval: the gate was started for nothing.
        """
        faults.point("gate.claimed")
        fold = ApprovalFold(gate.approval_id)
        for event in await self._ledger.read(gate.tenant, boundary(*fold.needs())):
            fold.apply(event)
        if fold.request is None or fold.told_at is None:
            raise ApplicationError(f"no approval {gate.approval_id}", type="not_found", non_retryable=True)
        now = await self._ledger.now()
        return GateState(
            status=fold.status,
            expires_in_s=(fold.request.expires_at - now).total_seconds(),
            remind_after_s=fold.request.remind_after_s,
            reminded_ago_s=(now - fold.told_at).total_seconds(),
            reminders=fold.reminders,
        )

    @activity.defn
    async def remind_approval(self, gate: ApprovalGateInput, number: int) -> None:
        """Record that the eligible people are told again, for the `number`-th time."""
        await record(self._ledger, gate.tenant, RemindApproval(approval_id=gate.approval_id), f"remind/{number}")

    @activity.defn
    async def expire_approval(self, gate: ApprovalGateInput) -> None:
        """Record that nobody decided in time."""
        await record(self._ledger, gate.tenant, ExpireApproval(approval_id=gate.approval_id), "expire")
