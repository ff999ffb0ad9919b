"""Approvals as their events tell them: small folds and the counting of votes, shared by slices and readers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from quarterdeck_domain.access.events import Role
from quarterdeck_domain.access.values import Item
from quarterdeck_domain.approvals.events import (
    ApprovalCancelled,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalReminded,
    ApprovalRequested,
    EffectOutcome,
    EffectReconciled,
    EffectReported,
    GrantMinted,
    GrantRedeemed,
    GrantRevoked,
    Stage,
    Verdict,
    VoteCast,
)
from quarterdeck_domain.errors import NotFound, WrongState
from quarterdeck_domain.events import RecordedEvent

VOTING_ROLES: Final[tuple[Role, ...]] = ("administrator", "approver", "operator")
"""The roles a stage may ask for. Auditors command nothing, and agents never vote."""
DENIAL_WINDOW: Final = timedelta(minutes=10)
"""How long after a decision it may be asked on."""
REEVALUATION_WINDOW: Final = timedelta(minutes=5)
"""How long after a re-evaluation a grant may be redeemed on it."""

LIFECYCLE: Final = (
    ApprovalRequested,
    VoteCast,
    ApprovalReminded,
    ApprovalGranted,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalCancelled,
)
GRANT_EVENTS: Final = (GrantMinted, GrantRedeemed, GrantRevoked)
EFFECT_EVENTS: Final = (GrantRedeemed, EffectReported, EffectReconciled)

ApprovalStatus = Literal["pending", "approved", "denied", "expired", "cancelled"]
GrantState = Literal["unused", "redeemed", "revoked", "expired"]

_PRINCIPAL_REF: Final = re.compile(r"(?:.*:)?(prn_[0-7][0-9a-hjkmnp-tv-z]{25})", re.DOTALL)


def principal_of(ref: str) -> str | None:
    """Return the id of the principal that a `type:id` of a subject or resource names, or None."""
    found = _PRINCIPAL_REF.fullmatch(ref)
    return None if found is None else found[1]


class Vote(msgspec.Struct, frozen=True, kw_only=True):
    """One person's vote in one stage."""

    approver: str
    stage: str
    verdict: Verdict


RolesOf = Callable[[str], frozenset[Role]]
"""The roles a principal may use now; none for one that is not active."""


def counted(stage: Stage, votes: Iterable[Vote], roles_of: RolesOf) -> frozenset[str]:
    """Return whose approvals count in a stage: a vote counts only while its voter is eligible."""
    return frozenset(
        vote.approver
        for vote in votes
        if vote.stage == stage.name and vote.verdict == "approve" and roles_of(vote.approver) & set(stage.roles)
    )


def open_stage(stages: Iterable[Stage], votes: Iterable[Vote], roles_of: RolesOf) -> Stage | None:
    """Return the first stage without its quorum, or None when every stage has it."""
    cast = tuple(votes)
    return next((stage for stage in stages if len(counted(stage, cast, roles_of)) < stage.quorum), None)


class ApprovalFold:
    """One approval request, from its own events."""

    def __init__(self, approval_id: str) -> None:
        self.approval_id = approval_id
        self.request: ApprovalRequested | None = None
        self.requested_at: datetime | None = None
        self.told_at: datetime | None = None
        """When the eligible people last heard of it: at the request, or by a reminder."""
        self.reminders = 0
        """How often they were told again."""
        self.votes: list[Vote] = []
        self.status: ApprovalStatus = "pending"

    def needs(self) -> tuple[Item, ...]:
        """Return the boundary items of every event this fold must see."""
        return ((LIFECYCLE, (f"approval:{self.approval_id}",)),)

    def apply(self, event: RecordedEvent) -> None:
        """Fold one event; those of other approvals pass by."""
        if getattr(event.payload, "approval_id", None) != self.approval_id:
            return
        match event.payload:
            case ApprovalRequested() as request:
                self.request, self.requested_at, self.told_at = request, event.recorded_at, event.recorded_at
            case VoteCast(approver=approver, stage=stage, verdict=verdict):
                self.votes.append(Vote(approver=approver, stage=stage, verdict=verdict))
            case ApprovalReminded():
                self.told_at, self.reminders = event.recorded_at, self.reminders + 1
            case ApprovalGranted():
                self.status = "approved"
            case ApprovalDenied():
                self.status = "denied"
            case ApprovalExpired():
                self.status = "expired"
            case ApprovalCancelled():
                self.status = "cancelled"
            case _:
                pass

    def undecided(self) -> ApprovalRequested:
        """Return the request if nothing has ended it yet; its time may be over all the same.

        Raises:
            NotFound: there is no such approval.
            WrongState: it was approved, denied, cancelled, or is recorded as expired.
        """
        if self.request is None:
            raise NotFound("no such approval", approval_id=self.approval_id)
        if self.status != "pending":
            raise WrongState(
                f"this approval is {self.status}; nothing more can be decided",
                approval_id=self.approval_id,
                state=self.status,
            )
        return self.request

    def pending(self, now: datetime) -> ApprovalRequested:
        """Return the request if it can still be decided.

        Raises:
            NotFound, WrongState: as `undecided`, and when its time is over.
        """
        request = self.undecided()
        if now >= request.expires_at:
            raise WrongState(
                "this approval has expired; ask again",
                approval_id=self.approval_id,
                state="expired",
                expired_at=request.expires_at,
            )
        return request


class SameAction:
    """Whether one requester's request for one action, under one binding, is open: undecided, or granted and unused.

    `binding_hash` is part of it: the same action under another bound context is another request, and an approval of
    the one would not apply to the other.
    """

    def __init__(self, action_digest: str, binding_hash: str, requester: str) -> None:
        self._digest = action_digest
        self._binding = binding_hash
        self._requester = requester
        self._open_until: dict[str, datetime] = {}

    def needs(self) -> tuple[Item, ...]:
        """Return the boundary items of every event this fold must see."""
        types = (
            ApprovalRequested,
            ApprovalDenied,
            ApprovalExpired,
            ApprovalCancelled,
            GrantMinted,
            GrantRedeemed,
            GrantRevoked,
        )
        return ((types, (f"action:{self._digest}",)),)

    def apply(self, event: RecordedEvent) -> None:
        """Fold one event; those of other actions, bindings and requesters pass by."""
        match event.payload:
            case (
                ApprovalRequested(
                    action_digest=self._digest, binding_hash=self._binding, requester=self._requester
                ) as request
            ):
                self._open_until[request.approval_id] = request.expires_at
            case GrantMinted(approval_id=approval_id, expires_at=until) if approval_id in self._open_until:
                self._open_until[approval_id] = until
            case (
                ApprovalDenied(approval_id=approval_id)
                | ApprovalExpired(approval_id=approval_id)
                | ApprovalCancelled(approval_id=approval_id)
                | GrantRedeemed(approval_id=approval_id)
                | GrantRevoked(approval_id=approval_id)
            ):
                self._open_until.pop(approval_id, None)
            case _:
                pass

    def open_request(self, now: datetime) -> str | None:
        """Return the id of the open request, if there is one."""
        return next((name for name, until in self._open_until.items() if now < until), None)


class GrantFold:
    """One grant, from its own events."""

    def __init__(self, grant_id: str) -> None:
        self.grant_id = grant_id
        self.minted: GrantMinted | None = None
        self.minted_position = 0
        self._ended: Literal["redeemed", "revoked"] | None = None

    def needs(self) -> tuple[Item, ...]:
        """Return the boundary items of every event this fold must see."""
        return ((GRANT_EVENTS, (f"grant:{self.grant_id}",)),)

    def apply(self, event: RecordedEvent) -> None:
        """Fold one event; others pass by."""
        match event.payload:
            case GrantMinted(grant_id=self.grant_id) as minted:
                self.minted, self.minted_position = minted, event.position
            case GrantRedeemed(grant_id=self.grant_id):
                self._ended = "redeemed"
            case GrantRevoked(grant_id=self.grant_id):
                self._ended = "revoked"
            case _:
                pass

    def state(self, now: datetime) -> GrantState:
        """Return what may still become of it."""
        if self._ended is not None:
            return self._ended
        return "expired" if self.minted is not None and now >= self.minted.expires_at else "unused"

    @property
    def unended(self) -> bool:
        """Whether it was minted and neither redeemed nor revoked; its time may be over all the same."""
        return self.minted is not None and self._ended is None

    def unused(self, now: datetime) -> GrantMinted:
        """Return the grant if it may still be redeemed.

        Raises:
            NotFound: there is no such grant.
            WrongState: it was redeemed or revoked, or has expired.
        """
        if self.minted is None:
            raise NotFound("no such grant", grant_id=self.grant_id)
        state = self.state(now)
        if state != "unused":
            raise WrongState(
                f"this grant is {state}; ask for a new approval",
                grant_id=self.grant_id,
                approval_id=self.minted.approval_id,
                state=state,
            )
        return self.minted


class EffectFold:
    """One effect: started by a redemption, reported by its executor, settled by a human if nobody knows."""

    def __init__(self, effect_id: str) -> None:
        self.effect_id = effect_id
        self.redeemed: GrantRedeemed | None = None
        self.outcome: EffectOutcome | None = None
        """None while the executor has not reported."""
        self.reconciled = False

    def needs(self) -> tuple[Item, ...]:
        """Return the boundary items of every event this fold must see."""
        return ((EFFECT_EVENTS, (f"effect:{self.effect_id}",)),)

    def apply(self, event: RecordedEvent) -> None:
        """Fold one event; others pass by."""
        match event.payload:
            case GrantRedeemed(effect_id=self.effect_id) as redeemed:
                self.redeemed = redeemed
            case EffectReported(effect_id=self.effect_id, outcome=outcome):
                self.outcome = outcome
            case EffectReconciled(effect_id=self.effect_id, outcome=outcome):
                self.outcome, self.reconciled = outcome, True
            case _:
                pass

    def started(self) -> GrantRedeemed:
        """Return the redemption that started it.

        Raises:
            NotFound: there is no such effect.
        """
        if self.redeemed is None:
            raise NotFound("no such effect", effect_id=self.effect_id)
        return self.redeemed
