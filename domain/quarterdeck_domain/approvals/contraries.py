"""What could have happened to approvals, grants and effects, and did not. See `contraries`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, get_args

from quarterdeck_domain.approvals.events import (
    ApprovalCancelled,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalPathPublished,
    ApprovalReminded,
    CallbackAbandoned,
    CallbackDelivered,
    CallbackResent,
    DispatchParked,
    DispatchReleased,
    EffectOutcome,
    EffectReconciled,
    EffectReported,
    GrantMinted,
    GrantRedeemed,
    GrantRevoked,
    Stage,
)
from quarterdeck_domain.causes import NOBODY, NOTHING, SOME_DAY, SOMETHING, Known, Maker
from quarterdeck_domain.events import Event


def _path(known: Known) -> Iterable[Event]:
    yield ApprovalPathPublished(
        path_id=known["path"],
        path_version=2**31,
        stages=(Stage(name=SOMETHING),),
        remind_after_s=1,
        expires_after_s=2,
        grant_lifetime_s=1,
    )


def _approval(made: type[Event]) -> Maker:
    return lambda known: (made(approval_id=known["approval"], action_digest=""),)


def _reminded(known: Known) -> Iterable[Event]:
    yield ApprovalReminded(approval_id=known["approval"])


def _approved(known: Known) -> Iterable[Event]:
    yield ApprovalGranted(approval_id=known["approval"], action_digest="", approved_until=SOME_DAY)


def _minted(known: Known) -> Iterable[Event]:
    yield GrantMinted(
        grant_id="grt_" + NOTHING,
        approval_id=known["approval"],
        subject="",
        redeemer=NOBODY,
        action_digest="",
        expires_at=SOME_DAY,
    )


def _redeemed(known: Known) -> Iterable[Event]:
    yield GrantRedeemed(
        grant_id=known.get("grant", "grt_" + NOTHING),
        approval_id=known.get("approval", "apr_" + NOTHING),
        effect_id="eff_" + NOTHING,
        redeemer=NOBODY,
        effect_class="idempotent",
        action_digest="",
        decision_id="dec_" + NOTHING,
    )


def _revoked(known: Known) -> Iterable[Event]:
    yield GrantRevoked(
        grant_id=known.get("grant", "grt_" + NOTHING),
        approval_id=known.get("approval", "apr_" + NOTHING),
        action_digest="",
        reason=SOMETHING,
    )


def _reported(known: Known) -> Iterable[Event]:
    for outcome in get_args(EffectOutcome):
        yield EffectReported(effect_id=known["effect"], grant_id="", approval_id="", outcome=outcome, detail=SOMETHING)


def _reconciled(known: Known) -> Iterable[Event]:
    yield EffectReconciled(effect_id=known["effect"], grant_id="", approval_id="", outcome="failed", reason=SOMETHING)


def _delivered(known: Known) -> Iterable[Event]:
    yield CallbackDelivered(approval_id=known["approval"], message_id=known["message"], status=0)


def _abandoned(known: Known) -> Iterable[Event]:
    yield CallbackAbandoned(approval_id=known["approval"], message_id=known["message"], reason=SOMETHING)


def _resent(known: Known) -> Iterable[Event]:
    yield CallbackResent(approval_id=known["approval"], message_id=known["message"])


def _parked(known: Known) -> Iterable[Event]:
    yield DispatchParked(parked_position=int(known["parked"]), workflow_id="", reason=SOMETHING)


def _unparked(known: Known) -> Iterable[Event]:
    yield DispatchReleased(parked_position=int(known["parked"]))


MAKERS: Final[Mapping[str, Maker]] = {
    "approval_path.published": _path,
    "approval.reminded": _reminded,
    "approval.granted": _approved,
    "approval.denied": _approval(ApprovalDenied),
    "approval.expired": _approval(ApprovalExpired),
    "approval.cancelled": _approval(ApprovalCancelled),
    "grant.minted": _minted,
    "grant.redeemed": _redeemed,
    "grant.revoked": _revoked,
    "effect.reported": _reported,
    "effect.reconciled": _reconciled,
    "callback.delivered": _delivered,
    "callback.abandoned": _abandoned,
    "callback.resent": _resent,
    "dispatch.parked": _parked,
    "dispatch.released": _unparked,
}
