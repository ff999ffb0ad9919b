"""What a person is shown of an approval: what policy judged and the digest binds, apart from what the requester claims.

`verified` is what was decided about, as it was recorded: change any of it and the digest is another. `claimed` is
text and wishes of the requester, which nobody checked. `why_not` is what the vote itself would answer, asked before.

Policy ids, votes and voters are for the people who look after approvals, not for the requester.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from quarterdeck_api.approvals.text import visible, visible_json
from quarterdeck_api.arap.all_or_none import AllOrNone
from quarterdeck_api.auth.caller import Caller
from quarterdeck_api.authzen.answers import obligations
from quarterdeck_api.authzen.state import ApprovalState, read_decision
from quarterdeck_api.services import Services
from quarterdeck_domain.access.events import PrincipalRegistered
from quarterdeck_domain.approvals.slices import CastVote
from quarterdeck_domain.approvals.values import VOTING_ROLES
from quarterdeck_domain.checks import MAX_COMMENT
from quarterdeck_domain.errors import NotFound, QuarterdeckError
from quarterdeck_domain.policy.events import DecisionRecorded
from quarterdeck_domain.slices import boundary

PEOPLE: Final = frozenset({"administrator", "approver", "auditor", "operator"})
MAX_CLIENT: Final = 4_000
_NEVER: Final = "grt_00000000000000000000000000"
"""The id that a grant would have if a vote that is only tried were cast."""


def sees_everything(caller: Caller) -> bool:
    """Tell whether a caller sees approvals of others, and who decided them by which policy."""
    return not PEOPLE.isdisjoint(caller.roles) and caller.actor.kind != "agent"


def may_see(caller: Caller, state: ApprovalState) -> bool:
    """Tell whether a caller may see an approval: people who look after them, and whoever asked."""
    return sees_everything(caller) or caller.actor.principal == state.request.requester


async def show_approval(services: Services, caller: Caller, state: ApprovalState, now: datetime) -> dict[str, Any]:
    """Return an approval in full.

    Raises:
        NotFound: the decision that it asks on is not in the log.
    """
    (why_not,) = await why_not_decide(services, caller, (state,), now)
    event = await read_decision(services.ledger, caller.tenant, state.request.decision_id)
    if event is None or not isinstance(event.payload, DecisionRecorded):
        raise NotFound("the decision that was asked on is not in the log", decision_id=state.request.decision_id)
    asked = None if state.request.request is None else json.loads(state.request.request)
    names = await _names(services, caller.tenant, (state.actor.principal, *state.actor.on_behalf_of))
    shown = summary(state, now) | {
        "verified": _verified(caller, state, asked, event.payload, names),
        "claimed": _claimed(state, asked, event.payload),
        "can_decide": why_not is None,
        "why_not": why_not,
    }
    if sees_everything(caller):
        shown["votes"] = [
            {
                "approver": cast.vote.approver,
                "stage": visible(cast.vote.stage),
                "verdict": cast.vote.verdict,
                "comment": None if cast.vote.comment is None else visible(cast.vote.comment, prose=True),
                "at": cast.at,
            }
            for cast in state.votes
        ]
    if state.grant is not None:
        shown["grant"] = {
            "id": state.grant.minted.grant_id,
            "status": state.grant.status(now),
            "expires_at": state.grant.minted.expires_at,
        }
    return shown


def summary(state: ApprovalState, now: datetime) -> dict[str, Any]:
    """Return an approval in a line."""
    request = state.request
    shown: dict[str, Any] = {
        "id": request.approval_id,
        "status": state.status(now),
        "requested_at": state.requested_at,
        "expires_at": request.expires_at,
        "requester": request.requester,
        "subject": visible(request.subject),
        "action": visible(request.action),
        "resource": visible(request.resource),
        "action_digest": request.action_digest,
        "emergency": request.emergency,
        "position": state.position,
    }
    if (ended := state.end(now)) is not None:
        shown["ended_at"] = ended
    if state.approved_until is not None:
        shown["approved_until"] = state.approved_until
    if state.cancel_reason:
        shown["cancel_reason"] = visible(state.cancel_reason)
    return shown


async def why_not_decide(
    services: Services, caller: Caller, states: Sequence[ApprovalState], now: datetime
) -> list[dict[str, Any] | None]:
    """Return for each approval why the caller cannot decide it now; None if it can.

    The very rule that a vote meets is asked, on one reading of the log for all of them.
    """
    if caller.actor.kind != "human" or set(VOTING_ROLES).isdisjoint(caller.roles):
        roles = ", ".join(VOTING_ROLES)
        reason = {"code": "not_allowed", "message": f"only people with a role that votes decide ({roles})"}
        return [reason for _ in states]
    votes = [
        CastVote(
            approval_id=state.request.approval_id,
            verdict="approve",
            action_digest=state.request.action_digest,
            grant_id=_NEVER,
            actor=caller.actor,
        )
        for state in states
    ]
    if votes:
        together = AllOrNone(votes)
        for event in await services.ledger.read(caller.tenant, together.consistency_boundary()):
            together.apply(event)
    return [_refusal(vote, now) for vote in votes]


def _refusal(vote: CastVote, now: datetime) -> dict[str, Any] | None:
    try:
        vote.decide(now)
    except QuarterdeckError as error:
        return {"code": error.code, "message": error.message}
    return None


def _verified(
    caller: Caller,
    state: ApprovalState,
    asked: dict[str, Any] | None,
    decision: DecisionRecorded,
    names: dict[str, str],
) -> dict[str, Any]:
    request = state.request
    chain = (state.actor.principal, *state.actor.on_behalf_of)
    context = {} if asked is None else asked.get("context", {})
    shown: dict[str, Any] = {
        "request": None
        if asked is None
        else visible_json({name: asked[name] for name in ("subject", "action", "resource")}),
        "context": visible_json({name: context[name] for name in decision.binding_context if name in context}),
        "erased": asked is None,
        "action_digest": request.action_digest,
        "binding_hash": request.binding_hash,
        "requester_kind": state.actor.kind,
        "requester_chain": [{"id": name, "name": names.get(name)} for name in chain],
        "path": {"id": request.path_id, "version": request.path_version},
        "stages": [
            {"name": visible(stage.name), "roles": list(stage.roles), "quorum": stage.quorum}
            for stage in request.stages
        ],
    }
    if sees_everything(caller):
        shown["policy"] = _policy(decision)
    return shown


def _policy(decision: DecisionRecorded) -> dict[str, Any]:
    return {
        "evaluation_id": decision.decision_id,
        "determining": [visible(name) for name in decision.determining],
        "reason": visible(decision.reason),
        "bundle_id": decision.bundle_id,
        "bundle_digest": decision.bundle_digest,
        "obligations": obligations(decision),
        "position": decision.estate_position,
    }


def _claimed(state: ApprovalState, asked: dict[str, Any] | None, decision: DecisionRecorded) -> dict[str, Any]:
    request = state.request
    context = {} if asked is None else asked.get("context", {})
    return {
        "justification": None
        if request.justification is None
        else visible(request.justification, limit=MAX_COMMENT, prose=True),
        "requested_until": request.requested_until,
        "emergency": request.emergency,
        "client": None if request.client is None else visible(request.client, limit=MAX_CLIENT),
        # What policy did not read, nobody judged: it is talk.
        "context": visible_json({name: context[name] for name in context if name not in decision.binding_context}),
    }


async def _names(services: Services, tenant: str, principals: Sequence[str]) -> dict[str, str]:
    query = boundary(*(((PrincipalRegistered,), (f"principal:{name}",)) for name in principals))
    found: dict[str, str] = {}
    for event in await services.ledger.read(tenant, query):
        payload = event.payload
        if isinstance(payload, PrincipalRegistered) and payload.display_name is not None:
            found[payload.principal_id] = visible(payload.display_name)
    return found
