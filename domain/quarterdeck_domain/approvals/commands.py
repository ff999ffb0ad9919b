"""The commands of approvals as the outside sends them. Asking and redeeming follow a standard's own wire."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from quarterdeck_domain.access.commands import ADMINISTRATORS, ANYBODY, Reason
from quarterdeck_domain.access.events import Role
from quarterdeck_domain.approvals.events import EffectOutcome, Stage, Verdict
from quarterdeck_domain.approvals.slices import (
    CancelApproval,
    CastVote,
    PublishApprovalPath,
    ReconcileEffect,
    ReleaseDispatch,
    ReportEffect,
    ResendCallback,
    RevokeGrant,
)
from quarterdeck_domain.approvals.slices_path import MAX_GRANT_LIFETIME_S, MAX_PENDING_S, MAX_STAGES, usual_reminder
from quarterdeck_domain.approvals.values import VOTING_ROLES
from quarterdeck_domain.canonical import MAX_INTEGER
from quarterdeck_domain.checks import MAX_COMMENT, MAX_ID, MAX_REASON
from quarterdeck_domain.commands import Command, CommandInput, Environment, Prepared

_SUFFIX: Final = "[0-7][0-9a-hjkmnp-tv-z]{25}$"

# The length is bounded too: `$` alone would let a line end through.
ApprovalId = Annotated[str, msgspec.Meta(pattern=f"^apr_{_SUFFIX}", max_length=30)]
GrantId = Annotated[str, msgspec.Meta(pattern=f"^grt_{_SUFFIX}", max_length=30)]
EffectId = Annotated[str, msgspec.Meta(pattern=f"^eff_{_SUFFIX}", max_length=30)]
ActionDigest = Annotated[str, msgspec.Meta(pattern="^sha256-action-v1:[0-9a-f]{64}$", max_length=81)]
PathId = Annotated[str, msgspec.Meta(pattern="^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$", max_length=63)]

_VOTERS: Final[frozenset[Role]] = frozenset(VOTING_ROLES)
_OPERATORS: Final[frozenset[Role]] = frozenset({"operator", "administrator"})


class PublishApprovalPathInput(CommandInput, frozen=True, kw_only=True):
    """A path's stages in order and its times in seconds; `replaces` is the version you have seen, 0 for none.

    Where `remind_after_s` is left out, people are reminded every hour, or as often as the expiry allows.
    """

    path_id: PathId
    stages: Annotated[tuple[Stage, ...], msgspec.Meta(min_length=1, max_length=MAX_STAGES)]
    remind_after_s: Annotated[int, msgspec.Meta(ge=1, le=MAX_PENDING_S)] | None = None
    expires_after_s: Annotated[int, msgspec.Meta(ge=1, le=MAX_PENDING_S)] = 86_400
    grant_lifetime_s: Annotated[int, msgspec.Meta(ge=1, le=MAX_GRANT_LIFETIME_S)] = 3_600
    replaces: Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)] = 0


class CastVoteInput(CommandInput, frozen=True, kw_only=True):
    """Your verdict on an approval, and the digest of the action as it was shown to you."""

    approval_id: ApprovalId
    verdict: Verdict
    action_digest: ActionDigest
    comment: Annotated[str, msgspec.Meta(max_length=MAX_COMMENT)] | None = None


class CancelApprovalInput(CommandInput, frozen=True, kw_only=True):
    """An approval that you asked for and no longer want."""

    approval_id: ApprovalId
    reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON)] = ""


class RevokeGrantInput(CommandInput, frozen=True, kw_only=True):
    """A grant that was not used yet, and why it is taken back."""

    grant_id: GrantId
    reason: Reason


class ReportEffectInput(CommandInput, frozen=True, kw_only=True):
    """How an effect that you started ended."""

    effect_id: EffectId
    outcome: EffectOutcome
    detail: Annotated[str, msgspec.Meta(max_length=MAX_COMMENT)] = ""


class ReconcileEffectInput(CommandInput, frozen=True, kw_only=True):
    """An effect whose outcome nobody knows, how it really ended, and how you know."""

    effect_id: EffectId
    outcome: Literal["committed", "failed"]
    reason: Reason


class ResendCallbackInput(CommandInput, frozen=True, kw_only=True):
    """A message to a requester's endpoint that could not be delivered."""

    approval_id: ApprovalId
    message_id: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID)]


class ReleaseDispatchInput(CommandInput, frozen=True, kw_only=True):
    """The position of an event that was set aside."""

    position: Annotated[int, msgspec.Meta(ge=1, le=MAX_INTEGER)]


def _publish_approval_path(body: PublishApprovalPathInput, env: Environment) -> Prepared:
    command = PublishApprovalPath(
        path_id=body.path_id,
        stages=body.stages,
        remind_after_s=usual_reminder(body.expires_after_s) if body.remind_after_s is None else body.remind_after_s,
        expires_after_s=body.expires_after_s,
        grant_lifetime_s=body.grant_lifetime_s,
        replaces=body.replaces,
        actor=env.actor,
    )
    return Prepared(slice=command, result={"path_id": body.path_id})


def _cast_vote(body: CastVoteInput, env: Environment) -> Prepared:
    command = CastVote(
        approval_id=body.approval_id,
        verdict=body.verdict,
        action_digest=body.action_digest,
        grant_id=env.new_id("grt"),
        comment=body.comment,
        actor=env.actor,
    )
    return Prepared(slice=command, result={"approval_id": body.approval_id})


def _cancel_approval(body: CancelApprovalInput, env: Environment) -> Prepared:
    command = CancelApproval(approval_id=body.approval_id, reason=body.reason, actor=env.actor)
    return Prepared(slice=command, result={"approval_id": body.approval_id})


def _revoke_grant(body: RevokeGrantInput, env: Environment) -> Prepared:
    command = RevokeGrant(grant_id=body.grant_id, reason=body.reason, actor=env.actor)
    return Prepared(slice=command, result={"grant_id": body.grant_id})


def _report_effect(body: ReportEffectInput, env: Environment) -> Prepared:
    command = ReportEffect(effect_id=body.effect_id, outcome=body.outcome, detail=body.detail, actor=env.actor)
    return Prepared(slice=command, result={"effect_id": body.effect_id})


def _reconcile_effect(body: ReconcileEffectInput, env: Environment) -> Prepared:
    command = ReconcileEffect(effect_id=body.effect_id, outcome=body.outcome, reason=body.reason, actor=env.actor)
    return Prepared(slice=command, result={"effect_id": body.effect_id})


def _resend_callback(body: ResendCallbackInput, env: Environment) -> Prepared:
    command = ResendCallback(approval_id=body.approval_id, message_id=body.message_id, actor=env.actor)
    return Prepared(slice=command, result={"approval_id": body.approval_id})


def _release_dispatch(body: ReleaseDispatchInput, env: Environment) -> Prepared:
    return Prepared(slice=ReleaseDispatch(position=body.position, actor=env.actor))


COMMANDS: Final = (
    Command(
        name="publish_approval_path",
        room="approvals",
        summary="Publish a version of an approval path: its stages, quorums and times.",
        input=PublishApprovalPathInput,
        roles=ADMINISTRATORS,
        prepare=_publish_approval_path,
    ),
    Command(
        name="cast_vote",
        room="approvals",
        summary="Approve or deny what somebody else asks for.",
        input=CastVoteInput,
        roles=_VOTERS,
        prepare=_cast_vote,
    ),
    Command(
        name="cancel_approval",
        room="approvals",
        summary="Take back an approval request of your own.",
        input=CancelApprovalInput,
        roles=ANYBODY,
        prepare=_cancel_approval,
    ),
    Command(
        name="revoke_grant",
        room="approvals",
        summary="Take back a grant that was not used yet.",
        input=RevokeGrantInput,
        roles=_OPERATORS,
        prepare=_revoke_grant,
    ),
    Command(
        name="report_effect",
        room="approvals",
        summary="Say how the effect of a grant you redeemed ended.",
        input=ReportEffectInput,
        roles=ANYBODY,
        prepare=_report_effect,
    ),
    Command(
        name="reconcile_effect",
        room="approvals",
        summary="Settle an effect whose outcome nobody knows.",
        input=ReconcileEffectInput,
        roles=_OPERATORS,
        prepare=_reconcile_effect,
    ),
    Command(
        name="resend_callback",
        room="approvals",
        summary="Try a callback again that could not be delivered.",
        input=ResendCallbackInput,
        roles=_OPERATORS,
        prepare=_resend_callback,
    ),
    Command(
        name="release_dispatch",
        room="approvals",
        summary="Send an event round again that was set aside.",
        input=ReleaseDispatchInput,
        roles=_OPERATORS,
        prepare=_release_dispatch,
    ),
)
