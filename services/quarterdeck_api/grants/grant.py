"""A grant as a signed token, made from the log whenever it is asked for: nothing secret is stored.

It is bound to its redeemer and to exactly one action. Whoever else holds it can verify it, and do nothing with it.

Source: RFC 7515; RFC 7519; RFC 8037.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from quarterdeck_api.auth.caller import Caller
from quarterdeck_api.authzen import tokens
from quarterdeck_api.authzen.state import ApprovalState, GrantState, is_id, read_approval, read_decision
from quarterdeck_api.authzen.wire import issuer
from quarterdeck_api.services import Services
from quarterdeck_domain.approvals.events import GrantMinted
from quarterdeck_domain.errors import NotFound
from quarterdeck_domain.policy.events import DecisionRecorded
from quarterdeck_domain.slices import boundary

REDEEM_PATH: Final = "/v1/grants/redeem"
READERS: Final = frozenset({"administrator", "approver", "auditor", "operator"})


async def read_grant(services: Services, caller: Caller, grant_id: str) -> tuple[ApprovalState, GrantState]:
    """Return a grant that the caller may see: its redeemer, and people who look after approvals.

    Raises:
        NotFound: there is none, or it is not for this caller.
    """
    query = boundary(((GrantMinted,), (f"grant:{grant_id}",)))
    minted = await services.ledger.read(caller.tenant, query, limit=1) if is_id(grant_id, "grt") else []
    if not minted or not isinstance(minted[0].payload, GrantMinted):
        raise NotFound("there is no such grant, or it is not yours to see")
    return await read_grant_of(services, caller, minted[0].payload.approval_id)


async def read_grant_of(services: Services, caller: Caller, approval_id: str) -> tuple[ApprovalState, GrantState]:
    """Return the grant of an approval that the caller may see.

    Raises:
        NotFound: no such approval, or it has no grant (yet), or it is not for this caller.
    """
    state = await read_approval(services.ledger, caller.tenant, approval_id)
    if state is None or state.grant is None or not _may_see(caller, state.grant):
        raise NotFound("there is no such grant, or it is not yours to see")
    return state, state.grant


async def show_grant(
    services: Services, caller: Caller, state: ApprovalState, grant: GrantState, now: datetime
) -> dict[str, Any]:
    """Return a grant as JSON; the signed token itself only to its redeemer, and while it can be redeemed."""
    minted, status = grant.minted, grant.status(now)
    shown: dict[str, Any] = {
        "id": minted.grant_id,
        "approval_id": minted.approval_id,
        "status": status,
        "redeemer": minted.redeemer,
        "subject": minted.subject,
        "action": state.request.action,
        "resource": state.request.resource,
        "action_digest": minted.action_digest,
        "minted_at": grant.minted_at,
        "expires_at": minted.expires_at,
    }
    if grant.redeemed is not None:
        shown["redeemed_at"] = grant.ended_at
        shown["effect"] = {
            "id": grant.redeemed.effect_id,
            "class": grant.redeemed.effect_class,
            "outcome": grant.outcome or "started",
        }
    if status == "revoked":
        shown["revoked_at"] = grant.ended_at
    if status == "unused" and caller.actor.principal == minted.redeemer:
        shown["grant"] = await _signed(services, caller.tenant, state, grant)
    return shown


async def _signed(services: Services, tenant: str, state: ApprovalState, grant: GrantState) -> str:
    event = await read_decision(services.ledger, tenant, state.request.decision_id)
    decision = None if event is None else event.payload
    minted = grant.minted
    claims: dict[str, Any] = {
        "iss": issuer(services.settings, tenant),
        "aud": services.settings.base_url + REDEEM_PATH,
        "sub": minted.redeemer,
        "jti": minted.grant_id,
        "iat": tokens.seconds(grant.minted_at),
        "nbf": tokens.seconds(grant.minted_at),
        "exp": tokens.seconds(minted.expires_at),
        "tenant": tenant,
        "approval_id": minted.approval_id,
        "action_digest": minted.action_digest,
        "subject": minted.subject,
        "action": state.request.action,
        "resource": state.request.resource,
    }
    if isinstance(decision, DecisionRecorded) and decision.bundle_digest is not None:
        claims["policy_bundle_digest"] = decision.bundle_digest
    return tokens.sign(services.signing, tenant, tokens.GRANT, claims)


def _may_see(caller: Caller, grant: GrantState) -> bool:
    if caller.actor.principal == grant.minted.redeemer:
        return True
    return not READERS.isdisjoint(caller.roles) and caller.actor.kind != "agent"
