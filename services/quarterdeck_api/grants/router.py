"""`/v1/grants`, `/v1/approvals/{id}/grant` and `/v1/effects`: the one use of an approval, and how it ended."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from quarterdeck_api.auth.caller import Caller, CallerDep
from quarterdeck_api.authzen.schemas import json_body
from quarterdeck_api.authzen.state import ApprovalState, GrantState, is_id
from quarterdeck_api.authzen.wire import POSITION, EchoRoute, json_object
from quarterdeck_api.commands.execute import CommandResult, execute, parse_body
from quarterdeck_api.commands.idempotency import MAX_KEY, idempotency_key
from quarterdeck_api.commands.router import require_json
from quarterdeck_api.grants.grant import REDEEM_PATH, read_grant, read_grant_of, show_grant
from quarterdeck_api.grants.redeem import redeem
from quarterdeck_api.grants.schemas import EFFECT, GRANT, REDEEMED, REDEMPTION, REPORT
from quarterdeck_api.openapi import ref, responses
from quarterdeck_api.services import ServicesDep
from quarterdeck_domain.approvals.events import GrantRedeemed
from quarterdeck_domain.command_catalogue import COMMANDS
from quarterdeck_domain.errors import InvalidInput, NotFound
from quarterdeck_domain.slices import boundary

_KEY: Final[dict[str, Any]] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Repeat the request with the same key and it is done once: the first answer is given again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY},
}

router: Final = APIRouter(tags=["grants"], route_class=EchoRoute)


def _json(value: object, position: int | None = None) -> Response:
    headers = {} if position is None else {POSITION: str(position)}
    return Response(msgspec.json.encode(value), media_type="application/json", headers=headers)


@router.post(
    REDEEM_PATH,
    summary="Use a grant, once",
    openapi_extra={**json_body(REDEMPTION), "parameters": [_KEY]},
    responses=responses(403, 404, 409, 410, 413, 422, ok=REDEEMED),
)
async def redeem_grant(request: Request, caller: CallerDep, services: ServicesDep) -> Response:
    """Redeem a grant for exactly what is about to be done. Only then do it; afterwards say how it ended."""
    body = await json_object(request)
    answer = await redeem(services, caller, body, idempotency_key(request.headers))
    return _json(answer, answer["position"])


@router.get("/v1/grants/{grant_id}", summary="A grant", responses=responses(404, ok=GRANT))
async def grant(grant_id: str, caller: CallerDep, services: ServicesDep) -> Response:
    """Return a grant, signed if it is yours and can still be redeemed."""
    return await _grant(services, caller, *await read_grant(services, caller, grant_id))


@router.get("/v1/approvals/{approval_id}/grant", summary="The grant of an approval", responses=responses(404, ok=GRANT))
async def grant_of_approval(approval_id: str, caller: CallerDep, services: ServicesDep) -> Response:
    """Return the grant of an approval, signed if it is yours and can still be redeemed."""
    return await _grant(services, caller, *await read_grant_of(services, caller, approval_id))


@router.get("/v1/effects/{effect_id}", summary="An effect", responses=responses(404, ok=EFFECT))
async def effect(effect_id: str, caller: CallerDep, services: ServicesDep) -> Response:
    """Return how an effect stands: `started` until somebody says how it ended."""
    query = boundary(((GrantRedeemed,), (f"effect:{effect_id}",)))
    found = await services.ledger.read(caller.tenant, query, limit=1) if is_id(effect_id, "eff") else []
    if not found or not isinstance(found[0].payload, GrantRedeemed):
        raise NotFound("there is no such effect, or it is not yours to see")
    redeemed = found[0].payload
    _, grant = await read_grant_of(services, caller, redeemed.approval_id)
    shown: dict[str, Any] = {
        "id": redeemed.effect_id,
        "grant_id": redeemed.grant_id,
        "approval_id": redeemed.approval_id,
        "class": redeemed.effect_class,
        "outcome": grant.outcome or "started",
        "started_at": found[0].recorded_at,
    }
    if grant.outcome_at is not None:
        shown["reported_at"] = grant.outcome_at
    return _json(shown)


@router.post(
    "/v1/effects/{effect_id}/report",
    summary="Say how an effect ended",
    openapi_extra={**json_body(REPORT), "parameters": [_KEY]},
    responses=responses(403, 404, 409, 413, 415, 422, ok=ref(CommandResult)),
)
async def report_effect(effect_id: str, request: Request, caller: CallerDep, services: ServicesDep) -> Response:
    """Report an effect that you started as committed, failed, or unknown. The command `report_effect`, by its path."""
    require_json(request)
    body = parse_body(await request.body())
    if not isinstance(body, dict) or "effect_id" in body:
        raise InvalidInput("the body is an object of outcome and detail; the effect is named in the path")
    value = {**body, "effect_id": effect_id}
    key = idempotency_key(request.headers)
    done = await execute(services, caller, COMMANDS["report_effect"], value, key=key)
    return _json(done, done.position)


async def _grant(services: ServicesDep, caller: Caller, state: ApprovalState, found: GrantState) -> Response:
    now = await services.ledger.now()
    return _json(await show_grant(services, caller, state, found, now), state.position)
