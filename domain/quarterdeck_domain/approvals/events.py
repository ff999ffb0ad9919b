"""What happened to approval paths, requests, grants and the effects they allow."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from quarterdeck_domain.access.events import Role
from quarterdeck_domain.events import Event, Personal

Verdict = Literal["approve", "deny"]
EffectClass = Literal["idempotent", "check_then_act", "at_most_once"]
EffectOutcome = Literal["committed", "failed", "unknown"]


class Stage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step of an approval path: who may vote, and how many must approve."""

    name: str
    roles: tuple[Role, ...] = ("approver",)
    quorum: int = 1


class Callback(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the requester wants to hear of it (ARAP `callback`)."""

    endpoint: str
    events: tuple[str, ...] = ()


class ApprovalPathPublished(Event, frozen=True, kw_only=True):
    """A version of an approval path exists. Times are seconds."""

    type = "approval_path.published"
    tag_fields = {"path_id": "path"}

    path_id: str
    path_version: int
    stages: tuple[Stage, ...]
    remind_after_s: int
    expires_after_s: int
    grant_lifetime_s: int


class ApprovalRequested(Event, frozen=True, kw_only=True):
    """Somebody asked for a human's consent to exactly one action."""

    type = "approval.requested"
    data_subject = "subject"
    tag_fields = {
        "approval_id": "approval",
        "decision_id": "decision",
        "subject": "subject",
        "resource": "resource",
        "requester": "principal",
        "action_digest": "action",
    }

    approval_id: str
    """The ARAP task id."""
    decision_id: str
    subject: str
    action: str
    resource: str
    request: Personal
    """The AuthZEN request as RFC 8785 text: what policy verified."""
    justification: Personal = None
    """What the requester claims. Untrusted text."""
    callback_state: Personal = None
    client: Personal = None
    """ARAP `client` as JSON text."""
    action_digest: str
    binding_hash: str
    path_id: str
    path_version: int
    stages: tuple[Stage, ...]
    """The path's stages as they stood: a later version of the path does not change an open request."""
    remind_after_s: int
    grant_lifetime_s: int
    requester: str
    """The principal that asked; it alone may cancel the request and redeem the grant."""
    requesters: tuple[str, ...]
    """The requester, everyone it acts for, the subject, and everyone who owns one of them: none may vote."""
    owners: tuple[str, ...] = ()
    """Those of `requesters` who want nothing themselves: they answer for one of the others."""
    expires_at: datetime
    requested_until: datetime | None = None
    emergency: bool = False
    callback: Callback | None = None


class VoteCast(Event, frozen=True, kw_only=True):
    """An eligible human voted."""

    type = "approval.vote_cast"
    data_subject = "approver"
    tag_fields = {"approval_id": "approval", "approver": "principal"}

    approval_id: str
    approver: str
    stage: str
    verdict: Verdict
    comment: Personal = None
    action_digest: str
    """The digest of what the approver was shown."""


class ApprovalReminded(Event, frozen=True, kw_only=True):
    """Nobody had decided for a while, and the eligible people were told again."""

    type = "approval.reminded"
    tag_fields = {"approval_id": "approval"}

    approval_id: str


class ApprovalGranted(Event, frozen=True, kw_only=True):
    """Every stage has its quorum: the action may be done once, until `approved_until`."""

    type = "approval.granted"
    tag_fields = {"approval_id": "approval", "action_digest": "action"}

    approval_id: str
    action_digest: str
    approved_until: datetime


class ApprovalDenied(Event, frozen=True, kw_only=True):
    """A human said no."""

    type = "approval.denied"
    tag_fields = {"approval_id": "approval", "action_digest": "action"}

    approval_id: str
    action_digest: str


class ApprovalExpired(Event, frozen=True, kw_only=True):
    """Nobody decided in time."""

    type = "approval.expired"
    tag_fields = {"approval_id": "approval", "action_digest": "action"}

    approval_id: str
    action_digest: str


class ApprovalCancelled(Event, frozen=True, kw_only=True):
    """The requester no longer wants it."""

    type = "approval.cancelled"
    tag_fields = {"approval_id": "approval", "action_digest": "action"}

    approval_id: str
    action_digest: str
    reason: str = ""


class GrantMinted(Event, frozen=True, kw_only=True):
    """A grant exists, bound to one action digest, to be redeemed once before `expires_at`."""

    type = "grant.minted"
    tag_fields = {
        "grant_id": "grant",
        "approval_id": "approval",
        "subject": "subject",
        "redeemer": "principal",
        "action_digest": "action",
    }

    grant_id: str
    approval_id: str
    subject: str
    redeemer: str
    """The principal that may redeem it: the one that asked."""
    action_digest: str
    expires_at: datetime


class GrantRedeemed(Event, frozen=True, kw_only=True):
    """The one use of a grant: its effect is started from here on."""

    type = "grant.redeemed"
    tag_fields = {
        "grant_id": "grant",
        "approval_id": "approval",
        "effect_id": "effect",
        "redeemer": "principal",
        "action_digest": "action",
    }

    grant_id: str
    approval_id: str
    effect_id: str
    redeemer: str
    """The principal that redeemed it: it alone may report how the effect ended."""
    effect_class: EffectClass
    action_digest: str
    decision_id: str
    """The re-evaluation against the policy in force at redemption."""


class GrantRevoked(Event, frozen=True, kw_only=True):
    """A grant was taken back before it was used."""

    type = "grant.revoked"
    tag_fields = {"grant_id": "grant", "approval_id": "approval", "action_digest": "action"}

    grant_id: str
    approval_id: str
    action_digest: str
    reason: str


class EffectReported(Event, frozen=True, kw_only=True):
    """The executor said how its effect ended."""

    type = "effect.reported"
    tag_fields = {"effect_id": "effect", "grant_id": "grant", "approval_id": "approval"}

    effect_id: str
    grant_id: str
    approval_id: str
    outcome: EffectOutcome
    detail: str = ""


class EffectReconciled(Event, frozen=True, kw_only=True):
    """A human settled an effect whose outcome was not known."""

    type = "effect.reconciled"
    tag_fields = {"effect_id": "effect", "grant_id": "grant", "approval_id": "approval"}

    effect_id: str
    grant_id: str
    approval_id: str
    outcome: Literal["committed", "failed"]
    reason: str


class CallbackDelivered(Event, frozen=True, kw_only=True):
    """The requester's endpoint acknowledged a callback."""

    type = "callback.delivered"
    tag_fields = {"approval_id": "approval"}

    approval_id: str
    message_id: str
    status: int


class CallbackAbandoned(Event, frozen=True, kw_only=True):
    """A callback could not be delivered: a dead letter, until an operator resends it."""

    type = "callback.abandoned"
    tag_fields = {"approval_id": "approval"}

    approval_id: str
    message_id: str
    reason: str


class CallbackResent(Event, frozen=True, kw_only=True):
    """An operator asked for a dead letter to be tried again."""

    type = "callback.resent"
    tag_fields = {"approval_id": "approval"}

    approval_id: str
    message_id: str


class CallbackSecretRevealed(Event, frozen=True, kw_only=True):
    """An administrator was given the secret that verifies the `v1` signatures of callbacks to one origin."""

    type = "callback_secret.revealed"
    tag_fields = {"key_id": "signing-key"}

    origin: str
    """Scheme, host and port: whom the secret is for."""
    key_id: str
    """The signing key that the secret belongs to: with another key in its place, the secret is another."""


class DispatchParked(Event, frozen=True, kw_only=True):
    """An event could not be acted on; it waits for an operator while the others go on."""

    type = "dispatch.parked"
    tag_fields = {"parked_position": "parked"}

    parked_position: int
    workflow_id: str
    reason: str


class DispatchReleased(Event, frozen=True, kw_only=True):
    """An operator sent a parked event round again."""

    type = "dispatch.released"
    tag_fields = {"parked_position": "parked"}

    parked_position: int


EVENTS = (
    ApprovalPathPublished,
    ApprovalRequested,
    VoteCast,
    ApprovalReminded,
    ApprovalGranted,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalCancelled,
    GrantMinted,
    GrantRedeemed,
    GrantRevoked,
    EffectReported,
    EffectReconciled,
    CallbackDelivered,
    CallbackAbandoned,
    CallbackResent,
    CallbackSecretRevealed,
    DispatchParked,
    DispatchReleased,
)
