"""Whether an access request belongs to the denial it names: the same caller, the same action, in time, once.

The denial is a recorded decision; everything is compared with that record. A binding token is verified besides: it
is the same promise, signed.

Source: ARAP draft, 'Access Request Service Processing Rules' and 'Binding Token Integrity'.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from quarterdeck_api.arap.errors import ExpiredDenial, InvalidDenialBinding, NotRequestable
from quarterdeck_api.arap.submission import Denial, Item
from quarterdeck_api.auth.caller import Caller
from quarterdeck_api.authzen import tokens
from quarterdeck_api.authzen.answers import denial_deadline
from quarterdeck_api.authzen.reevaluation import recorded_actors
from quarterdeck_api.authzen.state import read_decision
from quarterdeck_api.authzen.subjects import Actor, subject_actors
from quarterdeck_api.authzen.wire import REQUESTS_PATH, issuer, parse_stamp
from quarterdeck_api.services import Services
from quarterdeck_domain.approvals.events import ApprovalRequested
from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.events import RecordedEvent
from quarterdeck_domain.policy.events import DecisionRecorded
from quarterdeck_domain.slices import boundary
from quarterdeck_policy.authzen import binding_hash

_FOREIGN: Final = "this is not what that denial was about; evaluate what you want to do, and ask for exactly that"


async def bind(
    services: Services, caller: Caller, item: Item, actors: tuple[Actor, ...], now: datetime
) -> DecisionRecorded:
    """Return the decision that an item asks on. `actors` are those of `client.actor`, verified.

    Raises:
        InvalidDenialBinding: it cannot be bound to the denial.
        NotRequestable: the decision was not 'ask a human'.
        ExpiredDenial: its time is over.
    """
    claims = await _token_claims(services, caller, item.denial, now)
    evaluation_id = item.denial.evaluation_id or str(claims.get("evaluation_id"))
    event = await read_decision(services.ledger, caller.tenant, evaluation_id)
    decision = None if event is None else event.payload
    # Unknown and somebody else's look the same.
    if event is None or not isinstance(decision, DecisionRecorded) or event.actor != caller.actor:
        raise InvalidDenialBinding(_FOREIGN, evaluation_id=evaluation_id)
    _check_token(claims, item.denial, decision)
    _check_action(item, actors, decision)
    if decision.outcome != "approval_required":
        raise NotRequestable("that evaluation was not answered with an access_request", evaluation_id=evaluation_id)
    _check_freshness(claims, item.denial, event, now)
    await _check_unused(services, caller, decision)
    return decision


async def _token_claims(services: Services, caller: Caller, denial: Denial, now: datetime) -> Mapping[str, Any]:
    if denial.binding_token is None:
        return {}
    settings = services.settings
    try:
        claims = await tokens.verify(
            services.ledger,
            services.signing,
            caller.tenant,
            tokens.DENIAL,
            denial.binding_token,
            issuer=issuer(settings, caller.tenant),
            audience=settings.base_url + REQUESTS_PATH,
            now=now,
        )
        tokens.expiry(claims)
    except tokens.InvalidToken as error:
        raise InvalidDenialBinding(f"the binding token is refused: {error}") from None
    if claims.get("tenant") != caller.tenant:
        raise InvalidDenialBinding("the binding token is refused: it is of another tenant")
    return claims


def _check_token(claims: Mapping[str, Any], denial: Denial, decision: DecisionRecorded) -> None:
    """What the token promises, what the denial echoes and what was recorded must be one."""
    if not claims:
        return
    protected = parse_stamp(claims.get("denial_expires_at"), "denial_expires_at")
    if (
        claims.get("evaluation_id") != decision.decision_id
        or claims.get("binding_hash") != decision.binding_hash
        or claims.get("binding_context_members") != list(decision.binding_context)
    ):
        raise InvalidDenialBinding("the binding token is of another denial", evaluation_id=decision.decision_id)
    if denial.expires_at != protected:
        raise InvalidDenialBinding(
            "denial.expires_at is not what the denial said; echo it unchanged", expected=claims["denial_expires_at"]
        )


def _check_action(item: Item, actors: tuple[Actor, ...], decision: DecisionRecorded) -> None:
    if binding_hash(item.intent, decision.binding_context) != decision.binding_hash:
        raise InvalidDenialBinding(_FOREIGN, evaluation_id=decision.decision_id)
    evaluated_for = recorded_actors(decision)
    try:
        in_subject = tuple(subject_actors(item.intent))
    except InvalidInput as error:
        raise InvalidDenialBinding(error.message) from None
    if evaluated_for is None:
        raise InvalidDenialBinding("that evaluation was erased; evaluate again", evaluation_id=decision.decision_id)
    # The actor may move from the subject to client.actor; it must not be lost or changed on the way.
    if in_subject != evaluated_for and not (not in_subject and _same_ids(actors, evaluated_for)):
        raise InvalidDenialBinding(
            "the actor is not the one that was evaluated for; keep subject.properties.act, or name it in client.actor",
            evaluation_id=decision.decision_id,
        )


def _same_ids(actors: tuple[Actor, ...], others: tuple[Actor, ...]) -> bool:
    return [actor.id for actor in actors] == [other.id for other in others]


def _check_freshness(claims: Mapping[str, Any], denial: Denial, event: RecordedEvent, now: datetime) -> None:
    """The earliest of what was recorded, what is echoed and the token's own expiry counts."""
    deadlines = [denial_deadline(event), denial.expires_at]
    if claims:
        deadlines.append(tokens.expiry(claims))
    if now >= min(deadlines):
        raise ExpiredDenial("the denial is too old to ask on; evaluate again", expired_at=min(deadlines))


async def _check_unused(services: Services, caller: Caller, decision: DecisionRecorded) -> None:
    query = boundary(((ApprovalRequested,), (f"decision:{decision.decision_id}",)))
    if await services.ledger.read_sealed(caller.tenant, query, limit=1):
        raise InvalidDenialBinding(
            "this denial was asked on already; evaluate again to ask again", evaluation_id=decision.decision_id
        )
