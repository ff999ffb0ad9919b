"""`/v1/approvals`: what people are asked, and their answer."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from quarterdeck_api.approvals.listing import MAX_CURSOR, MAX_LIMIT, Wanted, list_approvals
from quarterdeck_api.approvals.view import may_see, show_approval
from quarterdeck_api.auth.caller import Caller, CallerDep
from quarterdeck_api.authzen.schemas import json_body
from quarterdeck_api.authzen.state import read_approval
from quarterdeck_api.authzen.wire import POSITION, EchoRoute
from quarterdeck_api.commands.execute import execute, parse_body
from quarterdeck_api.commands.idempotency import MAX_KEY, idempotency_key
from quarterdeck_api.commands.router import require_json
from quarterdeck_api.openapi import responses
from quarterdeck_api.services import Services, ServicesDep
from quarterdeck_domain.approvals.events import Verdict
from quarterdeck_domain.checks import MAX_COMMENT
from quarterdeck_domain.command_catalogue import COMMANDS
from quarterdeck_domain.errors import InvalidInput, NotFound

Schema = dict[str, Any]

_KEY: Final[Schema] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Repeat the vote with the same key and it is cast once: the first answer is given again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY},
}
_WHY_NOT: Final[Schema] = {"type": ["object", "null"], "description": "Why you cannot decide this; null if you can."}
_SUMMARY: Final[Schema] = {
    "type": "object",
    "required": ["id", "status", "requested_at", "expires_at", "requester", "action_digest", "can_decide", "why_not"],
    "properties": {"id": {"type": "string"}, "can_decide": {"type": "boolean"}, "why_not": _WHY_NOT},
}
_PAGE: Final[Schema] = {
    "type": "object",
    "required": ["approvals"],
    "properties": {"approvals": {"type": "array", "items": _SUMMARY}, "next_cursor": {"type": "string"}},
}
_APPROVAL: Final[Schema] = {
    "type": "object",
    "required": [*_SUMMARY["required"], "verified", "claimed"],
    "properties": _SUMMARY["properties"] | {"verified": {"type": "object"}, "claimed": {"type": "object"}},
}
_VOTE: Final[Schema] = {
    "type": "object",
    "required": ["action_digest"],
    "additionalProperties": False,
    "properties": {
        "action_digest": {
            "type": "string",
            "pattern": "^sha256-action-v1:[0-9a-f]{64}$",
            "description": "`action_digest` of the approval as it was shown to you: what you decide is what you saw.",
        },
        "comment": {"type": ["string", "null"], "maxLength": MAX_COMMENT},
    },
}
_VOTED: Final[Schema] = {
    "type": "object",
    "required": ["approval_id", "status", "position"],
    "properties": {
        "approval_id": {"type": "string"},
        "status": {"type": "string"},
        "position": {"type": "integer"},
        "repeated": {"type": "boolean"},
    },
}

router: Final = APIRouter(prefix="/v1/approvals", tags=["approvals"], route_class=EchoRoute)


def _json(value: object, position: int | None = None) -> Response:
    headers = {} if position is None else {POSITION: str(position)}
    return Response(msgspec.json.encode(value), media_type="application/json", headers=headers)


@router.get("", summary="Approvals", responses=responses(ok=_PAGE))
async def approvals(
    caller: CallerDep,
    services: ServicesDep,
    status: Annotated[Wanted, Query(description="Only of this status.")] = "pending",
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
    cursor: Annotated[str | None, Query(max_length=MAX_CURSOR)] = None,
) -> Response:
    """Return approvals, newest first: everybody's for people who look after them, one's own for anybody else."""
    return _json(await list_approvals(services, caller, status, limit, cursor))


@router.get("/{approval_id}", summary="An approval", responses=responses(404, ok=_APPROVAL))
async def approval(approval_id: str, caller: CallerDep, services: ServicesDep) -> Response:
    """Return an approval: what is asked (`verified`), what the requester says of it (`claimed`), and `why_not`."""
    state = await read_approval(services.ledger, caller.tenant, approval_id)
    if state is None or not may_see(caller, state):
        raise NotFound("there is no such approval, or it is not yours to see")
    now = await services.ledger.now()
    return _json(await show_approval(services, caller, state, now), state.position)


@router.post(
    "/{approval_id}/approve",
    summary="Approve",
    openapi_extra={**json_body(_VOTE), "parameters": [_KEY]},
    responses=responses(403, 404, 409, 410, 413, 415, 422, ok=_VOTED),
)
async def approve(approval_id: str, request: Request, caller: CallerDep, services: ServicesDep) -> Response:
    """Approve what you were shown. The command `cast_vote`, by its path."""
    return await _vote(services, caller, request, approval_id, "approve")


@router.post(
    "/{approval_id}/deny",
    summary="Deny",
    openapi_extra={**json_body(_VOTE), "parameters": [_KEY]},
    responses=responses(403, 404, 409, 410, 413, 415, 422, ok=_VOTED),
)
async def deny(approval_id: str, request: Request, caller: CallerDep, services: ServicesDep) -> Response:
    """Deny what you were shown. The command `cast_vote`, by its path."""
    return await _vote(services, caller, request, approval_id, "deny")


async def _vote(services: Services, caller: Caller, request: Request, approval_id: str, verdict: Verdict) -> Response:
    require_json(request)
    body = parse_body(await request.body())
    if not isinstance(body, dict) or not body.keys() <= {"action_digest", "comment"}:
        raise InvalidInput("the body is an object of action_digest and, if you like, comment")
    value = {**body, "approval_id": approval_id, "verdict": verdict}
    done = await execute(services, caller, COMMANDS["cast_vote"], value, key=idempotency_key(request.headers))
    state = await read_approval(services.ledger, caller.tenant, approval_id)
    if state is None:
        raise NotFound("there is no such approval")
    now = await services.ledger.now()
    answer = {
        "approval_id": approval_id,
        "status": state.status(now),
        "position": done.position,
        "recorded_at": done.recorded_at,
        "repeated": done.repeated,
    }
    return _json(answer, done.position)
