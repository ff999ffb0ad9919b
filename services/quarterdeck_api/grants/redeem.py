"""Redeeming a grant: once, by its redeemer, for exactly the action that was approved, if policy still agrees.

The steps: verify the token; compute the digest of what is about to be done, from what is about to be done; decide anew
with the approval presented, and record that; redeem, in the append that marks the effect as started. Of any number
of redeemers at once one wins; the others are told when, and that they have nothing to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, get_args

import msgspec

from quarterdeck_api.auth.caller import Caller
from quarterdeck_api.authzen import tokens
from quarterdeck_api.authzen.answers import barred, obligations
from quarterdeck_api.authzen.reevaluation import applicable
from quarterdeck_api.authzen.state import GrantState, read_approval, read_decision
from quarterdeck_api.authzen.wire import bounded_object, bounded_text, issuer, request_fingerprint
from quarterdeck_api.commands.idempotency import command_id, fresh_id
from quarterdeck_api.grants.grant import REDEEM_PATH
from quarterdeck_api.problems import IdempotencyKeyReused
from quarterdeck_api.services import Services
from quarterdeck_domain.approvals.errors import DigestMismatch
from quarterdeck_domain.approvals.events import EffectClass, GrantRedeemed
from quarterdeck_domain.approvals.slices import RedeemGrant
from quarterdeck_domain.errors import InvalidInput, NotAllowed, NotFound, QuarterdeckError, WrongState
from quarterdeck_domain.events import RecordedEvent
from quarterdeck_domain.ids import make_id
from quarterdeck_domain.intent import Intent, action_digest
from quarterdeck_domain.policy.events import DecisionRecorded
from quarterdeck_ledger import faults
from quarterdeck_ledger.contention import pause
from quarterdeck_ledger.errors import AppendConflict, Contended, Expired, IdReused
from quarterdeck_ledger.interface import Context
from quarterdeck_policy.authzen import intent_of, intent_text
from quarterdeck_policy.decisions import Decided
from quarterdeck_runtime.telemetry import current_traceparent

MAX_TRIES: Final = 8
EFFECT_CLASSES: Final[tuple[EffectClass, ...]] = get_args(EffectClass)


class GrantExpired(Expired):
    """The grant was not redeemed in time. Ask again."""

    code = "grant_expired"


class InvalidGrant(InvalidInput):
    """This is not a grant that we signed for redeeming here."""

    code = "invalid_grant"


class Redemption(msgspec.Struct, frozen=True, kw_only=True):
    """What a redeemer asks."""

    grant: str
    intent: Intent
    effect_class: EffectClass


def parse_redemption(body: Mapping[str, Any]) -> Redemption:
    """Return the values of a redemption.

    Raises:
        InvalidInput: a member is missing or malformed.
    """
    effect_class = body.get("effect_class", "at_most_once")
    if effect_class not in EFFECT_CLASSES:
        raise InvalidInput(f"effect_class must be one of {', '.join(EFFECT_CLASSES)}", field="effect_class")
    return Redemption(
        grant=bounded_text(body.get("grant"), "grant", tokens.MAX_TOKEN),
        intent=intent_of(bounded_object(body.get("intent"), "intent"), "intent."),
        effect_class=effect_class,
    )


async def redeem(services: Services, caller: Caller, body: Mapping[str, Any], key: str | None) -> dict[str, Any]:
    """Redeem a grant. The same idempotency key with an equal body returns the first answer.

    Raises:
        InvalidGrant: the token is not one of ours for this.
        NotFound: it is not the caller's to redeem.
        DigestMismatch: the intent is not what was approved.
        WrongState: it was redeemed or revoked; the error says when.
        GrantExpired: its time is over.
        NotAllowed: the policy in force says no now, or something it names is in quarantine or retired.
    """
    context = Context(
        tenant=caller.tenant,
        actor=caller.actor,
        command_id=command_id(caller, key),
        fingerprint=request_fingerprint(caller, "POST", "redeem_grant", body),
        traceparent=current_traceparent(),
    )
    before = await _redeemed_before(services, context) if key is not None else None
    if before is None:
        try:
            return await _redeem_anew(services, caller, body, context)
        except QuarterdeckError:
            # The same request may have overtaken this one meanwhile: then this is the repetition.
            before = await _redeemed_before(services, context) if key is not None else None
            if before is None:
                raise
    return await _answer(services, caller.tenant, before, repeated=True)


async def _redeem_anew(services: Services, caller: Caller, body: Mapping[str, Any], context: Context) -> dict[str, Any]:
    asked = parse_redemption(body)
    now = await services.ledger.now()
    claims = await _claims(services, caller, asked.grant, now)
    digest = action_digest(caller.tenant, caller.actor, intent_text(asked.intent))
    if digest != claims["action_digest"]:
        raise DigestMismatch(
            "this grant is for another action; changing anything makes another action, to be asked for anew",
            granted=claims["action_digest"],
            found=digest,
        )
    approval_id, grant_id = str(claims["approval_id"]), str(claims["jti"])
    for attempt in range(MAX_TRIES):
        await _require_unused(services, caller, approval_id, await services.ledger.now())
        decided = await _decide_anew(services, caller, asked.intent, approval_id, now)
        command = RedeemGrant(
            grant_id=grant_id,
            effect_id=make_id("eff", fresh_id()),
            effect_class=asked.effect_class,
            action_digest=digest,
            decision_id=decided.decision.decision_id,
            actor=caller.actor,
        )
        faults.point("redeem.before")
        try:
            executed = await services.ledger.execute(command, context)
        except IdReused as error:
            raise IdempotencyKeyReused("this idempotency key was used with another request", **error.details) from None
        except (WrongState, Expired):
            # Somebody was faster, time ran out, or policy has changed since the decision: look again.
            await pause(attempt)
            continue
        faults.point("redeem.after")
        return await _answer(services, caller.tenant, executed.events[0], repeated=executed.repeated)
    raise Contended(f"policy or the grant changed {MAX_TRIES} times while redeeming; try again", tries=MAX_TRIES)


async def _claims(services: Services, caller: Caller, text: str, now: datetime) -> dict[str, Any]:
    settings = services.settings
    try:
        claims = await tokens.verify(
            services.ledger,
            services.signing,
            caller.tenant,
            tokens.GRANT,
            text,
            issuer=issuer(settings, caller.tenant),
            audience=settings.base_url + REDEEM_PATH,
            now=now,
        )
        expires_at = tokens.expiry(claims)
    except tokens.InvalidToken as error:
        raise InvalidGrant(f"the grant is refused: {error}") from None
    if claims.get("tenant") != caller.tenant or claims.get("sub") != caller.actor.principal:
        raise NotFound("no such grant, or it is not yours to redeem")
    if now >= expires_at:
        raise GrantExpired("this grant has expired; ask again", grant_id=claims["jti"], expired_at=expires_at)
    return claims


async def _require_unused(services: Services, caller: Caller, approval_id: str, now: datetime) -> GrantState:
    """Return the grant of an approval if it may still be redeemed; what ended it is told, with the time."""
    state = await read_approval(services.ledger, caller.tenant, approval_id)
    if state is None or state.grant is None or state.grant.minted.redeemer != caller.actor.principal:
        raise NotFound("no such grant, or it is not yours to redeem")
    grant, status = state.grant, state.grant.status(now)
    if status == "unused":
        return grant
    details: dict[str, object] = {"grant_id": grant.minted.grant_id, "approval_id": approval_id, "state": status}
    if status == "expired":
        raise GrantExpired("this grant has expired; ask again", **details, expired_at=grant.minted.expires_at)
    if grant.redeemed is not None:
        details |= {"redeemed_at": grant.ended_at, "effect_id": grant.redeemed.effect_id}
        raise WrongState("this grant was redeemed already; its one effect is the one named here", **details)
    raise WrongState("this grant was revoked; ask again", **details, revoked_at=grant.ended_at)


async def _decide_anew(services: Services, caller: Caller, intent: Intent, approval_id: str, now: datetime) -> Decided:
    """Return a recorded permit of the policy in force, with the approval presented."""
    context = Context(
        tenant=caller.tenant, actor=caller.actor, command_id=fresh_id(), traceparent=current_traceparent()
    )
    for attempt in range(MAX_TRIES):
        found = await applicable(services, caller, intent, approval_id, now)
        if not found.applies:
            await _require_unused(services, caller, approval_id, await services.ledger.now())
            raise NotAllowed("the approval does not apply to this", approval_id=approval_id, reason=found.why_not)
        try:
            decided = await services.decisions.decide(context, intent, approval_id=approval_id, guard=found.guard)
        except AppendConflict:
            await pause(attempt)
            continue
        if decided.decision.barred:
            raise NotAllowed(
                f"{decided.decision.reason}; the grant is not used up",
                evaluation_id=decided.decision.decision_id,
                reason=decided.decision.barred[0].lifecycle,
                barred=barred(decided.decision),
            )
        if decided.decision.outcome != "permit":
            raise NotAllowed(
                "the policy in force does not permit this now; the grant is not used up",
                evaluation_id=decided.decision.decision_id,
                reason="policy_denied",
                says=decided.decision.reason,
            )
        return decided
    raise Contended(f"the approval changed {MAX_TRIES} times while deciding; try again", tries=MAX_TRIES)


async def _redeemed_before(services: Services, context: Context) -> RecordedEvent | None:
    try:
        repeated = await services.ledger.repeated(context)
    except IdReused as error:
        raise IdempotencyKeyReused("this idempotency key was used with another request", **error.details) from None
    return None if repeated is None else repeated.events[0]


async def _answer(services: Services, tenant: str, event: RecordedEvent, *, repeated: bool) -> dict[str, Any]:
    redeemed = event.payload
    if not isinstance(redeemed, GrantRedeemed):
        raise IdempotencyKeyReused("this idempotency key was used with another request", position=event.position)
    decision = await read_decision(services.ledger, tenant, redeemed.decision_id)
    answer: dict[str, Any] = {
        "effect_id": redeemed.effect_id,
        "grant_id": redeemed.grant_id,
        "approval_id": redeemed.approval_id,
        "evaluation_id": redeemed.decision_id,
        "effect_class": redeemed.effect_class,
        "action_digest": redeemed.action_digest,
        "redeemed_at": event.recorded_at,
        "position": event.position,
        "repeated": repeated,
    }
    if decision is not None and isinstance(decision.payload, DecisionRecorded) and decision.payload.obligations:
        answer["obligations"] = obligations(decision.payload)
    return answer
