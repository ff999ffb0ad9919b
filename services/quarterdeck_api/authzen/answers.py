"""What a recorded decision looks like to whoever asked: AuthZEN's decision, its context, and how to ask a human.

Policy ids, bundle and error texts stay in the log: the answer has a machine-readable `reason` and the text that the
policy's author wrote for people. Where the estate bars what was named, `barred` says what, and no approval helps.

Source: AuthZEN Authorization API 1.0, 'Decision Context'; AuthZEN obligations profile, 'The Obligation Object';
ARAP draft, 'Requestable Denial Context' and 'Completion Semantics'.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from quarterdeck_api.authzen import tokens
from quarterdeck_api.authzen.reevaluation import RETRY_AFTER_S, Presented
from quarterdeck_api.authzen.wire import REQUESTS_PATH, SCHEMA_PATH, issuer, stamp, whole_seconds
from quarterdeck_api.services import Services
from quarterdeck_domain.approvals.events import ApprovalPathPublished
from quarterdeck_domain.approvals.slices_request import DEFAULT_PATH
from quarterdeck_domain.approvals.values import DENIAL_WINDOW
from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.events import RecordedEvent
from quarterdeck_domain.policy.events import DecisionRecorded
from quarterdeck_domain.slices import boundary
from quarterdeck_policy.decisions import Decided

CAN_ASK_AGAIN: Final = frozenset({"approval_expired", "out_of_scope"})
"""What may be wrong with an approval that a new one would mend."""


async def published_paths(services: Services, tenant: str) -> frozenset[str]:
    """Return the ids of the approval paths there are: asking by any other leads nowhere."""
    events = await services.ledger.read(tenant, boundary(((ApprovalPathPublished,), ())))
    return frozenset(event.payload.path_id for event in events if isinstance(event.payload, ApprovalPathPublished))


def answer(
    services: Services, tenant: str, decided: Decided, reference: Presented | None, paths: frozenset[str]
) -> dict[str, Any]:
    """Return the AuthZEN decision. `paths` are those a request can go by."""
    decision, event = decided.decision, decided.event
    permitted = decision.outcome == "permit"
    context: dict[str, Any] = {"evaluation_id": decision.decision_id, "evaluated_at": stamp(event.recorded_at)}
    if permitted:
        if reference is not None and reference.applies and reference.approved_until is not None:
            context["approval"] = {"id": reference.approval_id, "approved_until": stamp(reference.approved_until)}
    else:
        requestable = _path(decision) in paths if decision.outcome == "approval_required" else False
        context |= _denied(services, tenant, event, decision, reference, requestable)
    if decision.obligations:
        context["obligations"] = obligations(decision)
    return {"decision": permitted, "context": context}


def obligations(decision: DecisionRecorded) -> list[dict[str, Any]]:
    """Return a decision's obligations as the profile writes them."""
    return [{"id": item.id, "type": item.type, "properties": dict(item.properties)} for item in decision.obligations]


def barred(decision: DecisionRecorded) -> list[dict[str, str]]:
    """Return what may not be used, and what the request named it by."""
    return [{"asset": bar.asset, "lifecycle": bar.lifecycle, "named": bar.named} for bar in decision.barred]


def failed_item(error: InvalidInput) -> dict[str, Any]:
    """Return the decision on an item of a batch that could not be evaluated."""
    return {
        "decision": False,
        "context": {"error": {"status": error.details.get("status", 400), "message": error.message}},
    }


def denial_deadline(event: RecordedEvent) -> datetime:
    """Return until when a recorded denial may be asked on, in whole seconds."""
    return whole_seconds(event.recorded_at + DENIAL_WINDOW)


def _denied(
    services: Services,
    tenant: str,
    event: RecordedEvent,
    decision: DecisionRecorded,
    reference: Presented | None,
    requestable: bool,
) -> dict[str, Any]:
    context: dict[str, Any] = {"reason": _reason(decision, requestable)}
    if decision.reason:
        context["reason_user"] = {"403": decision.reason}
    if decision.barred:
        context["barred"] = barred(decision)
        if reference is not None:
            context["next_action"] = "none"
    elif reference is not None:
        # An approval that applied was given to policy, and policy still says no.
        why_not = reference.why_not or "policy_denied"
        context["reason"] = why_not
        requestable = requestable and why_not in CAN_ASK_AGAIN
        waiting = why_not == "grant_pending" and decision.outcome == "approval_required"
        context["next_action"] = "retry" if waiting else "request" if requestable else "none"
        if waiting:
            context["retry_after"] = RETRY_AFTER_S
    if requestable:
        context["access_request"] = _access_request(services, tenant, event, decision)
    return context


def _reason(decision: DecisionRecorded, requestable: bool) -> str:
    if decision.outcome == "approval_required":
        return "approval_required" if requestable else "approval_path_missing"
    if decision.errors:
        return "evaluation_failed"
    if decision.barred:
        return decision.barred[0].lifecycle
    return "denied" if decision.bundle_id is not None else "no_policy"


def _access_request(
    services: Services, tenant: str, event: RecordedEvent, decision: DecisionRecorded
) -> dict[str, Any]:
    base = services.settings.base_url
    expires_at = denial_deadline(event)
    claims = {
        "iss": issuer(services.settings, tenant),
        "aud": base + REQUESTS_PATH,
        "jti": decision.decision_id,
        "iat": tokens.seconds(event.recorded_at),
        "exp": tokens.seconds(expires_at),
        "tenant": tenant,
        "evaluation_id": decision.decision_id,
        "denial_expires_at": stamp(expires_at),
        "binding_hash": decision.binding_hash,
        "binding_context_members": list(decision.binding_context),
    }
    return {
        "endpoint": base + REQUESTS_PATH,
        "template": _path(decision),
        "expires_at": stamp(expires_at),
        "binding_token": tokens.sign(services.signing, tenant, tokens.DENIAL, claims),
        "request_schema_url": base + SCHEMA_PATH,
        "display": {
            "title": "A human must approve this",
            "description": decision.reason or "Policy asks for a human's approval of exactly this action.",
        },
    }


def _path(decision: DecisionRecorded) -> str:
    return decision.approval_path or DEFAULT_PATH
