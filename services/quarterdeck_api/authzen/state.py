"""One approval as its events tell it: request, votes, end, grant and effect. Folded on demand, shared by every door."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from quarterdeck_domain.access.values import RoleHolders
from quarterdeck_domain.approvals.events import (
    ApprovalCancelled,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRequested,
    EffectOutcome,
    EffectReconciled,
    EffectReported,
    GrantMinted,
    GrantRedeemed,
    GrantRevoked,
    VoteCast,
)
from quarterdeck_domain.approvals.values import EFFECT_EVENTS, GRANT_EVENTS, LIFECYCLE, VOTING_ROLES
from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.events import Actor, Event, RecordedEvent
from quarterdeck_domain.ids import check_id
from quarterdeck_domain.policy.events import DecisionRecorded
from quarterdeck_domain.slices import boundary
from quarterdeck_ledger.ledger import EventLedger

Status = Literal["pending", "approved", "denied", "expired", "cancelled"]
GrantStatus = Literal["unused", "redeemed", "revoked", "expired"]

EVENTS: Final[tuple[type[Event], ...]] = tuple(dict.fromkeys((*LIFECYCLE, *GRANT_EVENTS, *EFFECT_EVENTS)))


@dataclass(frozen=True, slots=True)
class CastVote:
    """A vote, and when it was given."""

    vote: VoteCast
    at: datetime


@dataclass(slots=True)
class GrantState:
    """A grant, and what became of it."""

    minted: GrantMinted
    minted_at: datetime
    ended: Literal["redeemed", "revoked"] | None = None
    ended_at: datetime | None = None
    redeemed: GrantRedeemed | None = None
    outcome: EffectOutcome | None = None
    outcome_at: datetime | None = None

    def status(self, now: datetime) -> GrantStatus:
        """Return what may still become of it."""
        if self.ended is not None:
            return self.ended
        return "expired" if now >= self.minted.expires_at else "unused"


@dataclass(slots=True)
class ApprovalState:
    """An approval as it stands. `position` is of the last event that concerns it."""

    request: ApprovalRequested
    actor: Actor
    """The requester and everyone it acted for when it asked."""
    requested_at: datetime
    position: int
    votes: list[CastVote] = field(default_factory=list)
    recorded_status: Status = "pending"
    ended_at: datetime | None = None
    approved_until: datetime | None = None
    cancel_reason: str = ""
    grant: GrantState | None = None

    def status(self, now: datetime) -> Status:
        """Return the status at a moment: who was not decided in time has expired, recorded as such or not yet."""
        if self.recorded_status == "pending" and now >= self.request.expires_at:
            return "expired"
        return self.recorded_status

    def end(self, now: datetime) -> datetime | None:
        """Return when it reached its terminal status, or None while it is pending."""
        if self.status(now) == "pending":
            return None
        return self.ended_at or self.request.expires_at


def fold(events: Iterable[RecordedEvent]) -> dict[str, ApprovalState]:
    """Return the approvals of these events by id, in the order in which they were requested."""
    found: dict[str, ApprovalState] = {}
    for event in events:
        payload = event.payload
        if isinstance(payload, ApprovalRequested):
            found[payload.approval_id] = ApprovalState(payload, event.actor, event.recorded_at, event.position)
            continue
        state = found.get(str(getattr(payload, "approval_id", "")))
        if state is not None:
            state.position = event.position
            _apply(state, event)
    return found


def _apply(state: ApprovalState, event: RecordedEvent) -> None:
    at = event.recorded_at
    match event.payload:
        case VoteCast() as vote:
            state.votes.append(CastVote(vote, at))
        case ApprovalGranted(approved_until=until):
            state.recorded_status, state.ended_at, state.approved_until = "approved", at, until
        case ApprovalDenied():
            state.recorded_status, state.ended_at = "denied", at
        case ApprovalExpired():
            state.recorded_status, state.ended_at = "expired", at
        case ApprovalCancelled(reason=reason):
            state.recorded_status, state.ended_at, state.cancel_reason = "cancelled", at, reason
        case GrantMinted() as minted:
            state.grant = GrantState(minted, at)
        case _ if state.grant is not None:
            _apply_to_grant(state.grant, event)
        case _:
            pass


def _apply_to_grant(grant: GrantState, event: RecordedEvent) -> None:
    match event.payload:
        case GrantRedeemed() as redeemed:
            grant.ended, grant.ended_at, grant.redeemed = "redeemed", event.recorded_at, redeemed
        case GrantRevoked():
            grant.ended, grant.ended_at = "revoked", event.recorded_at
        case EffectReported(outcome=outcome) | EffectReconciled(outcome=outcome):
            grant.outcome, grant.outcome_at = outcome, event.recorded_at
        case _:
            pass


def is_id(value: str, prefix: str) -> bool:
    """Tell whether a text could be an id of that kind: nothing else may reach a query."""
    try:
        check_id(value, prefix)
    except InvalidInput:
        return False
    return True


async def read_approvals(ledger: EventLedger, tenant: str, ids: Sequence[str]) -> dict[str, ApprovalState]:
    """Return those of these approvals that exist."""
    known = [approval_id for approval_id in ids if is_id(approval_id, "apr")]
    if not known:
        return {}
    query = boundary(*((EVENTS, (f"approval:{approval_id}",)) for approval_id in known))
    return fold(await ledger.read(tenant, query))


async def read_approval(ledger: EventLedger, tenant: str, approval_id: str) -> ApprovalState | None:
    """Return an approval, or None if there is none."""
    return (await read_approvals(ledger, tenant, (approval_id,))).get(approval_id)


async def read_decision(ledger: EventLedger, tenant: str, decision_id: str) -> RecordedEvent | None:
    """Return the event of a decision, or None if there is none."""
    if not is_id(decision_id, "dec"):
        return None
    found = await ledger.read(tenant, boundary(((DecisionRecorded,), (f"decision:{decision_id}",))), limit=1)
    return found[0] if found else None


async def read_electorate(ledger: EventLedger, tenant: str) -> RoleHolders:
    """Return who may vote now."""
    electorate = RoleHolders(VOTING_ROLES)
    for event in await ledger.read(tenant, boundary(*electorate.needs())):
        electorate.apply(event)
    return electorate
