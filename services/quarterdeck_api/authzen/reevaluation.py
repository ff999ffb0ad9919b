"""An approval presented at `context.approval`: whether it applies to this evaluation, and if not, why not.

It applies only to whoever asked for it, for exactly what was approved, while its one grant is unused and unexpired.
What a caller says of an approval (its times) is never believed; the log is asked. An approval that does not apply
changes nothing about the evaluation: policy answers as if it had not been presented.

Source: ARAP draft, 'Completion Semantics' and 'Approval Reference Substitution'.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal

import msgspec
from eventsourcing.dcb.api import DCBAppendCondition

from quarterdeck_api.auth.caller import Caller
from quarterdeck_api.authzen import tokens
from quarterdeck_api.authzen.state import ApprovalState, is_id, read_approval, read_decision
from quarterdeck_api.authzen.subjects import Actor, is_enforcement_point, subject_actors
from quarterdeck_api.authzen.wire import issuer
from quarterdeck_api.services import Services
from quarterdeck_domain.approvals.events import GrantRedeemed, GrantRevoked
from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.intent import Intent
from quarterdeck_domain.policy.events import DecisionRecorded
from quarterdeck_domain.slices import boundary
from quarterdeck_policy.authzen import binding_hash, intent_of, parse_json

Reason = Literal["approval_expired", "out_of_scope", "grant_pending", "policy_denied", "approval_unverifiable"]

RETRY_AFTER_S: Final = 5


class Presented(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an approval reference: it applies, or `why_not`."""

    approval_id: str | None = None
    why_not: Reason | None = None
    approved_until: datetime | None = None
    guard: DCBAppendCondition | None = None
    """Where it applies: what must not have happened when the decision is recorded."""

    @property
    def applies(self) -> bool:
        """Whether the approval applies to the evaluation."""
        return self.why_not is None


UNVERIFIABLE: Final = Presented(why_not="approval_unverifiable")


async def presented(services: Services, caller: Caller, intent: Intent, now: datetime) -> Presented | None:
    """Return what becomes of the approval that an evaluation presents; None if it presents none."""
    if intent.context is None or "approval" not in intent.context:
        return None
    reference = intent.context["approval"]
    if not isinstance(reference, dict):
        return UNVERIFIABLE
    approval_id = reference.get("id")
    if not isinstance(approval_id, str) or not is_id(approval_id, "apr"):
        return UNVERIFIABLE
    if "state" in reference:
        problem = await _state_problem(services, caller, reference, now)
        if problem is not None:
            return Presented(approval_id=approval_id, why_not=problem)
    return await applicable(services, caller, intent, approval_id, now)


async def applicable(services: Services, caller: Caller, intent: Intent, approval_id: str, now: datetime) -> Presented:
    """Return whether an approval applies to an intent of this caller, as the log stands."""
    state = await read_approval(services.ledger, caller.tenant, approval_id)
    # Unknown and somebody else's look the same.
    if state is None or not _may_present(caller, intent, state):
        return UNVERIFIABLE
    why_not = _over(state, now)
    if why_not is None:
        event = await read_decision(services.ledger, caller.tenant, state.request.decision_id)
        decision = None if event is None else event.payload
        if not isinstance(decision, DecisionRecorded):
            return UNVERIFIABLE
        why_not = None if _in_scope(intent, decision) else "out_of_scope"
    if why_not is None and state.status(now) == "pending":
        why_not = "grant_pending"
    guard = boundary(((GrantRedeemed, GrantRevoked), (f"approval:{approval_id}",)))
    return Presented(
        approval_id=approval_id,
        why_not=why_not,
        approved_until=state.approved_until,
        guard=DCBAppendCondition(guard, state.position) if why_not is None else None,
    )


def approval_claims(
    services: Services, tenant: str, state: ApprovalState, decision: DecisionRecorded
) -> dict[str, Any]:
    """Return what an `approval.state` says. An approval that was granted; the same for ever."""
    name = issuer(services.settings, tenant)
    return {
        "iss": name,
        "aud": name,
        "sub": state.request.requester,
        "jti": state.request.approval_id,
        "iat": tokens.seconds(state.ended_at or state.requested_at),
        "exp": tokens.seconds(state.approved_until or state.request.expires_at),
        "tenant": tenant,
        "approval_id": state.request.approval_id,
        "task_id": state.request.approval_id,
        "evaluation_id": state.request.decision_id,
        "binding_hash": state.request.binding_hash,
        "binding_context_members": list(decision.binding_context),
    }


async def _state_problem(
    services: Services, caller: Caller, reference: Mapping[str, Any], now: datetime
) -> Reason | None:
    name = issuer(services.settings, caller.tenant)
    text = reference["state"]
    if not isinstance(text, str):
        return "approval_unverifiable"
    try:
        claims = await tokens.verify(
            services.ledger, services.signing, caller.tenant, tokens.APPROVAL, text, issuer=name, audience=name, now=now
        )
        over = now >= tokens.expiry(claims)
    except tokens.InvalidToken:
        return "approval_unverifiable"
    if claims.get("approval_id") != reference["id"] or claims.get("tenant") != caller.tenant:
        return "approval_unverifiable"
    return "approval_expired" if over else None


def _may_present(caller: Caller, intent: Intent, state: ApprovalState) -> bool:
    """Whoever asked may present it; so may an enforcement point that names whoever asked as the subject."""
    if caller.actor == state.actor:
        return True
    return is_enforcement_point(caller) and intent.subject.id == state.request.requester


def _over(state: ApprovalState, now: datetime) -> Reason | None:
    status = state.status(now)
    if status == "denied":
        return "approval_unverifiable"  # there is no approval, and asking again would only ask the same people
    if status in ("expired", "cancelled"):
        return "approval_expired"
    if status == "pending":
        return None
    used = state.grant is None or state.grant.status(now) != "unused"
    return "approval_expired" if used or state.approved_until is None or now >= state.approved_until else None


def _in_scope(intent: Intent, decision: DecisionRecorded) -> bool:
    if binding_hash(intent, decision.binding_context) != decision.binding_hash:
        return False
    # The binding leaves the actor out, because it may have come back as client.actor. Another actor is out of scope.
    try:
        actors = tuple(subject_actors(intent))
    except InvalidInput:
        return False
    return not actors or actors == recorded_actors(decision)


def recorded_actors(decision: DecisionRecorded) -> tuple[Actor, ...] | None:
    """Return the actors that the subject of a recorded decision named; None if its request was erased."""
    if decision.request is None:
        return None
    return tuple(subject_actors(intent_of(parse_json(decision.request.encode()))))
