"""Commands on grants and on the effects they allow."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from eventsourcing.dcb.api import DCBQuery

from quarterdeck_domain.access.values import CommandSlice
from quarterdeck_domain.approvals.errors import DigestMismatch
from quarterdeck_domain.approvals.events import (
    EffectClass,
    EffectOutcome,
    EffectReconciled,
    EffectReported,
    GrantMinted,
    GrantRedeemed,
    GrantRevoked,
)
from quarterdeck_domain.approvals.values import REEVALUATION_WINDOW, EffectFold, GrantFold
from quarterdeck_domain.checks import MAX_COMMENT, legible, line
from quarterdeck_domain.errors import NotAllowed, NotFound, WrongState
from quarterdeck_domain.estate.asset import ASSET_EVENTS
from quarterdeck_domain.estate.events import EXPOSED, RelationDeclared, RelationWithdrawn
from quarterdeck_domain.events import Actor, RecordedEvent
from quarterdeck_domain.policy.events import BundleModeChanged, DecisionRecorded
from quarterdeck_domain.slices import Decision, Slice, boundary


class RedeemGrant(CommandSlice):
    """Use a grant, once: from here on its effect counts as started.

    `decision_id` is the re-evaluation of the same action with the approval presented: a permit, recorded for the
    redeemer after the grant was minted, no older than five minutes, by the policy that is in force, and nothing of the
    estate that it saw has changed since.
    """

    def __init__(
        self,
        *,
        grant_id: str,
        effect_id: str,
        effect_class: EffectClass,
        action_digest: str,
        decision_id: str,
        actor: Actor,
    ):
        super().__init__(actor)
        self.effect_id = effect_id
        self.effect_class: EffectClass = effect_class
        self.action_digest = action_digest
        self.decision_id = decision_id
        self._grant = GrantFold(grant_id)
        self._decision: DecisionRecorded | None = None
        self._decision_event: RecordedEvent | None = None
        self._changed = 0
        self._estate: tuple[str, ...] = ()

    def consistency_boundary(self) -> DCBQuery:
        return boundary(
            *self._grant.needs(),
            ((DecisionRecorded,), (f"decision:{self.decision_id}",)),
            ((BundleModeChanged,), ()),
            *((ASSET_EVENTS, (f"asset:{name}",)) for name in self._estate),
            *(((RelationDeclared, RelationWithdrawn), (f"{EXPOSED}:{name}",)) for name in self._estate),
            *self.house(),
        )

    def widened(self) -> Slice | None:
        """Return the same command, watching the objects of the estate that its decision saw."""
        if self._decision is None or self._decision.estate == self._estate:
            return None
        wider = RedeemGrant(
            grant_id=self._grant.grant_id,
            effect_id=self.effect_id,
            effect_class=self.effect_class,
            action_digest=self.action_digest,
            decision_id=self.decision_id,
            actor=self.actor,
        )
        wider._estate = self._decision.estate
        return wider

    def apply(self, event: RecordedEvent) -> None:
        super().apply(event)
        self._grant.apply(event)
        match event.payload:
            case DecisionRecorded(decision_id=self.decision_id) as decision:
                self._decision, self._decision_event = decision, event
            case BundleModeChanged():
                self._changed = event.position
            case payload if isinstance(payload, ASSET_EVENTS):
                if any(f"asset:{name}" in event.tags for name in self._estate):
                    self._changed = event.position
            case RelationDeclared() | RelationWithdrawn():
                if any(f"{EXPOSED}:{name}" in event.tags for name in self._estate):
                    self._changed = event.position
            case _:
                pass

    def decide(self, now: datetime) -> Decision:
        self.require_commander()
        # Whose it is comes first: a stranger does not learn whether it was used.
        minted = self._grant.minted
        if minted is None or minted.redeemer != self.actor.principal:
            raise NotFound("no such grant, or it is not yours to redeem", grant_id=self._grant.grant_id)
        minted = self._grant.unused(now)
        if self.action_digest != minted.action_digest:
            raise DigestMismatch(
                "this grant is for another action; changing anything makes another action, to be asked for anew",
                granted=minted.action_digest,
                found=self.action_digest,
            )
        self._require_permit(minted, now)
        redeemed = GrantRedeemed(
            grant_id=minted.grant_id,
            approval_id=minted.approval_id,
            effect_id=self.effect_id,
            redeemer=self.actor.principal,
            effect_class=self.effect_class,
            action_digest=minted.action_digest,
            decision_id=self.decision_id,
        )
        return Decision(events=(redeemed,), not_after=minted.expires_at)

    def _require_permit(self, minted: GrantMinted, now: datetime) -> None:
        decision, event = self._decision, self._decision_event
        if (
            decision is None
            or event is None
            or event.actor != self.actor
            or event.position <= self._grant.minted_position
            or decision.approval_id != minted.approval_id
            or decision.action_digest != minted.action_digest
        ):
            raise WrongState(
                "evaluate the action again with this approval presented, and redeem on that decision",
                decision_id=self.decision_id,
                approval_id=minted.approval_id,
            )
        if decision.outcome != "permit":
            raise NotAllowed(
                f"the policy in force answers {decision.outcome}", decision_id=self.decision_id, reason=decision.reason
            )
        if now >= event.recorded_at + REEVALUATION_WINDOW or self._changed > decision.estate_position:
            raise WrongState(
                "policy, the estate or time has moved on since that decision; evaluate again",
                decision_id=self.decision_id,
            )


class RevokeGrant(CommandSlice):
    """Take back a grant that was not used yet. An operator or an administrator may."""

    def __init__(self, *, grant_id: str, reason: str, actor: Actor):
        super().__init__(actor)
        self.reason = line(reason, "reason")
        self._grant = GrantFold(grant_id)

    def consistency_boundary(self) -> DCBQuery:
        return boundary(*self._grant.needs(), *self.house())

    def apply(self, event: RecordedEvent) -> None:
        super().apply(event)
        self._grant.apply(event)

    def decide(self, now: datetime) -> Decision:
        self.require_role("operator", "administrator")
        minted = self._grant.unused(now)
        revoked = GrantRevoked(
            grant_id=minted.grant_id,
            approval_id=minted.approval_id,
            action_digest=minted.action_digest,
            reason=self.reason,
        )
        return Decision(events=(revoked,))


class _OnEffect(CommandSlice):
    """A command on one effect."""

    def __init__(self, actor: Actor, effect_id: str):
        super().__init__(actor)
        self.effect = EffectFold(effect_id)

    def consistency_boundary(self) -> DCBQuery:
        return boundary(*self.effect.needs(), *self.house())

    def apply(self, event: RecordedEvent) -> None:
        super().apply(event)
        self.effect.apply(event)


class ReportEffect(_OnEffect):
    """Say how an effect ended, once. Only the principal that redeemed the grant may.

    Not knowing is an answer: `unknown` waits for a human and is never retried by itself.
    """

    def __init__(self, *, effect_id: str, outcome: EffectOutcome, actor: Actor, detail: str = ""):
        super().__init__(actor, effect_id)
        self.outcome: EffectOutcome = outcome
        self.detail = legible(detail, limit=MAX_COMMENT)

    def decide(self, now: datetime) -> Decision:
        self.require_commander()
        started = self.effect.started()
        if started.redeemer != self.actor.principal:
            raise NotAllowed("only the principal that redeemed the grant may report on its effect")
        if self.effect.outcome is not None:
            raise WrongState(
                f"this effect is {self.effect.outcome} already; only an operator can settle one that is unknown",
                effect_id=self.effect.effect_id,
                outcome=self.effect.outcome,
            )
        reported = EffectReported(
            effect_id=started.effect_id,
            grant_id=started.grant_id,
            approval_id=started.approval_id,
            outcome=self.outcome,
            detail=self.detail,
        )
        return Decision(events=(reported,))


class ReconcileEffect(_OnEffect):
    """Settle an effect whose outcome nobody reported or knows. A human operator or administrator looks, and says."""

    def __init__(self, *, effect_id: str, outcome: Literal["committed", "failed"], reason: str, actor: Actor):
        super().__init__(actor, effect_id)
        self.outcome: Literal["committed", "failed"] = outcome
        self.reason = line(reason, "reason")

    def decide(self, now: datetime) -> Decision:
        self.require_role("operator", "administrator")
        person = self.people.active(self.actor.principal)
        if person is None or person.kind != "human":
            raise NotAllowed("only a human can settle an effect whose outcome is not known")
        started = self.effect.started()
        if self.effect.outcome not in (None, "unknown"):
            raise WrongState(
                f"this effect is {self.effect.outcome} already",
                effect_id=started.effect_id,
                outcome=self.effect.outcome,
            )
        reconciled = EffectReconciled(
            effect_id=started.effect_id,
            grant_id=started.grant_id,
            approval_id=started.approval_id,
            outcome=self.outcome,
            reason=self.reason,
        )
        return Decision(events=(reconciled,))
