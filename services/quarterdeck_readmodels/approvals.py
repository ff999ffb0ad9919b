"""Read models of the approvals room: paths, requests, votes, grants, effects, callbacks, parked events."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from quarterdeck_readmodels.tables import Change, Fold, Row, Seen, taking


class ApprovalPath(Row, frozen=True, kw_only=True):
    """An approval path in its current version."""

    table = "approval_paths"

    path_version: int
    stages: tuple[dict[str, Any], ...]
    remind_after_s: int
    expires_after_s: int
    grant_lifetime_s: int


class Approval(Row, frozen=True, kw_only=True):
    """An approval request. Personal fields are sealed under event `sealed_by`, whose data subject is `subject`."""

    table = "approvals"
    filters = ("decision_id", "requester", "subject", "status")

    decision_id: str
    subject: str
    action: str
    resource: str
    request: str | None = None
    justification: str | None = None
    client: str | None = None
    action_digest: str
    path_id: str
    path_version: int
    stages: tuple[dict[str, Any], ...] = ()
    requester: str
    requesters: tuple[str, ...] = ()
    emergency: bool = False
    callback: dict[str, Any] | None = None
    status: str = "pending"
    requested_at: datetime
    expires_at: datetime
    approved_until: datetime | None = None
    settled_at: datetime | None = None
    reminders: int = 0
    grant_id: str | None = None
    sealed_by: str


class VoteRecord(Row, frozen=True, kw_only=True):
    """A vote; its id is `<approval>/<approver>`. `comment` is sealed, its data subject is `approver`."""

    table = "votes"
    filters = ("approval_id", "approver")

    approval_id: str
    approver: str
    stage: str
    verdict: str
    comment: str | None = None
    sealed_by: str
    cast_at: datetime


class Grant(Row, frozen=True, kw_only=True):
    """A grant: `minted`, `redeemed` or `revoked`; unused ones end at `expires_at`."""

    table = "grants"
    filters = ("approval_id", "redeemer", "subject", "state")

    approval_id: str
    subject: str
    redeemer: str
    action_digest: str
    expires_at: datetime
    state: str = "minted"
    effect_id: str | None = None
    minted_at: datetime
    redeemed_at: datetime | None = None


class Effect(Row, frozen=True, kw_only=True):
    """What a redeemed grant set off: `started` until its executor says how it ended."""

    table = "effects"
    filters = ("grant_id", "approval_id", "redeemer", "outcome")

    grant_id: str
    approval_id: str
    redeemer: str
    effect_class: str
    action_digest: str
    outcome: str = "started"
    detail: str = ""
    reconciled: bool = False
    started_at: datetime
    ended_at: datetime | None = None


class CallbackRecord(Row, frozen=True, kw_only=True):
    """How a callback's delivery stands: `delivered`, `abandoned` (a dead letter) or `resent`."""

    table = "callbacks"
    filters = ("approval_id", "state")

    approval_id: str
    state: str
    status: int | None = None
    reason: str = ""


class Parked(Row, frozen=True, kw_only=True):
    """An event that could not be acted on; its id is its position."""

    table = "parked"
    filters = ("state",)

    workflow_id: str
    reason: str
    state: str = "parked"
    parked_at: datetime


_REQUESTED: Final = taking(
    "decision_id",
    "subject",
    "action",
    "resource",
    "request",
    "justification",
    "client",
    "action_digest",
    "path_id",
    "path_version",
    "stages",
    "requester",
    "requesters",
    "emergency",
    "callback",
    "expires_at",
)
_PATH: Final = taking("path_version", "stages", "remind_after_s", "expires_after_s", "grant_lifetime_s")
_VOTE: Final = taking("approval_id", "approver", "stage", "verdict", "comment")
_GRANT: Final = taking("approval_id", "subject", "redeemer", "action_digest", "expires_at")
_EFFECT: Final = taking("grant_id", "approval_id", "redeemer", "effect_class", "action_digest")


def _path(event: Seen) -> Iterable[Change]:
    data = event.data
    yield Change(row=ApprovalPath, id=data["path_id"], create=data["path_version"] == 1, set=_PATH(data))


def _requested(event: Seen) -> Iterable[Change]:
    data = event.data
    values = _REQUESTED(data) | {"sealed_by": event.id, "requested_at": event.recorded_at}
    yield Change(row=Approval, id=data["approval_id"], create=True, set=values)


def _voted(event: Seen) -> Iterable[Change]:
    data = event.data
    values = _VOTE(data) | {"sealed_by": event.id, "cast_at": event.recorded_at}
    yield Change(row=VoteRecord, id=f"{data['approval_id']}/{data['approver']}", create=True, set=values)


def _reminded(event: Seen) -> Iterable[Change]:
    yield Change(row=Approval, id=event.data["approval_id"], count=("reminders",))


def _settled(status: str) -> Fold:
    def fold(event: Seen) -> Iterable[Change]:
        values: dict[str, Any] = {"status": status, "settled_at": event.recorded_at}
        if status == "approved":
            values["approved_until"] = event.data["approved_until"]
        yield Change(row=Approval, id=event.data["approval_id"], set=values)

    return fold


def _minted(event: Seen) -> Iterable[Change]:
    data = event.data
    values = _GRANT(data) | {"minted_at": event.recorded_at}
    yield Change(row=Grant, id=data["grant_id"], create=True, set=values)
    yield Change(row=Approval, id=data["approval_id"], set={"grant_id": data["grant_id"]})


def _redeemed(event: Seen) -> Iterable[Change]:
    data = event.data
    values = {"state": "redeemed", "effect_id": data["effect_id"], "redeemed_at": event.recorded_at}
    yield Change(row=Grant, id=data["grant_id"], set=values)
    effect = _EFFECT(data) | {"started_at": event.recorded_at}
    yield Change(row=Effect, id=data["effect_id"], create=True, set=effect)


def _revoked(event: Seen) -> Iterable[Change]:
    yield Change(row=Grant, id=event.data["grant_id"], set={"state": "revoked"})


def _reported(event: Seen) -> Iterable[Change]:
    data = event.data
    values = {"outcome": data["outcome"], "detail": data["detail"], "ended_at": event.recorded_at}
    yield Change(row=Effect, id=data["effect_id"], set=values)


def _reconciled(event: Seen) -> Iterable[Change]:
    data = event.data
    values = {"outcome": data["outcome"], "detail": data["reason"], "reconciled": True, "ended_at": event.recorded_at}
    yield Change(row=Effect, id=data["effect_id"], set=values)


def _callback(state: str) -> Fold:
    def fold(event: Seen) -> Iterable[Change]:
        data = event.data
        # A message is first heard of when its delivery ended; sent again, it is the same message.
        values = {name: data.get(name, default) for name, default in (("reason", ""), ("status", None))}
        values |= {"approval_id": data["approval_id"], "state": state}
        begins = state != "resent"
        yield Change(row=CallbackRecord, id=data["message_id"], create=begins, again=begins, set=values)

    return fold


def _parked(event: Seen) -> Iterable[Change]:
    data = event.data
    values = {"workflow_id": data["workflow_id"], "reason": data["reason"], "parked_at": event.recorded_at}
    values["state"] = "parked"
    # Released and not to be handled even then, an event is parked again.
    yield Change(row=Parked, id=str(data["parked_position"]), create=True, again=True, set=values)


def _released(event: Seen) -> Iterable[Change]:
    yield Change(row=Parked, id=str(event.data["parked_position"]), set={"state": "released"})


ROWS: Final = (ApprovalPath, Approval, VoteRecord, Grant, Effect, CallbackRecord, Parked)
FOLDS: Final[dict[str, Fold]] = {
    "approval_path.published": _path,
    "approval.requested": _requested,
    "approval.vote_cast": _voted,
    "approval.reminded": _reminded,
    "approval.granted": _settled("approved"),
    "approval.denied": _settled("denied"),
    "approval.expired": _settled("expired"),
    "approval.cancelled": _settled("cancelled"),
    "grant.minted": _minted,
    "grant.redeemed": _redeemed,
    "grant.revoked": _revoked,
    "effect.reported": _reported,
    "effect.reconciled": _reconciled,
    "callback.delivered": _callback("delivered"),
    "callback.abandoned": _callback("abandoned"),
    "callback.resent": _callback("resent"),
    "dispatch.parked": _parked,
    "dispatch.released": _released,
}
