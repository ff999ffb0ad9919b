"""What goes in and out of the approval gate. Ids and times only: what is asked stays in the log."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ApprovalGateInput:
    """Which approval of which tenant."""

    tenant: str
    approval_id: str


@dataclass(frozen=True)
class GateState:
    """Where an approval stands, as the log says it now. Times are seconds from the database's clock."""

    status: str
    expires_in_s: float
    remind_after_s: int
    reminded_ago_s: float
    reminders: int = 0
