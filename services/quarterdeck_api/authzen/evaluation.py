"""`POST /access/v1/evaluation` and `/access/v1/evaluations`: may this be done? Recorded before it is answered.

If the log does not take the decision there is none: 503, and the caller must treat that as a denial.

Source: AuthZEN Authorization API 1.0, 'Access Evaluation API' and 'Access Evaluations API'.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from quarterdeck_api.auth.caller import Caller, CallerDep
from quarterdeck_api.authzen.answers import answer, failed_item, published_paths
from quarterdeck_api.authzen.reevaluation import Presented, presented
from quarterdeck_api.authzen.schemas import DECISION, DECISIONS, EVALUATION, EVALUATIONS, json_body
from quarterdeck_api.authzen.subjects import require_may_ask
from quarterdeck_api.authzen.wire import POSITION, EchoRoute, issuer, json_bytes
from quarterdeck_api.commands.idempotency import fresh_id
from quarterdeck_api.openapi import responses
from quarterdeck_api.services import Services, ServicesDep
from quarterdeck_domain.errors import InvalidInput, NotAllowed
from quarterdeck_domain.intent import Intent
from quarterdeck_ledger.contention import pause
from quarterdeck_ledger.errors import AppendConflict, Contended
from quarterdeck_ledger.interface import Context
from quarterdeck_policy.authzen import Semantic, parse_evaluation, parse_evaluations
from quarterdeck_policy.decisions import Ask, Decided
from quarterdeck_runtime.telemetry import current_traceparent

MAX_TRIES: Final = 8

router: Final = APIRouter(tags=["access"], route_class=EchoRoute)


@router.post(
    "/access/v1/evaluation",
    summary="May this be done?",
    openapi_extra=json_body(EVALUATION),
    responses=responses(403, 409, 413, ok=DECISION),
)
async def evaluation(request: Request, caller: CallerDep, services: ServicesDep) -> JSONResponse:
    """Decide one evaluation, record the decision, answer it (AuthZEN Access Evaluation API)."""
    intent = parse_evaluation(await json_bytes(request))
    require_may_ask(caller, intent, issuer(services.settings, caller.tenant))
    answers, position = await _decide(services, caller, (intent,), "execute_all")
    return JSONResponse(answers[0], headers={POSITION: str(position)})


@router.post(
    "/access/v1/evaluations",
    summary="May these be done?",
    openapi_extra=json_body(EVALUATIONS),
    responses=responses(403, 409, 413, ok=DECISIONS),
)
async def evaluations(request: Request, caller: CallerDep, services: ServicesDep) -> JSONResponse:
    """Decide several evaluations in one append, with defaults and semantics (AuthZEN Access Evaluations API).

    An item that is malformed, or that the caller may not ask, is `"decision": false` with `context.error`.
    """
    batch = parse_evaluations(await json_bytes(request))
    name = issuer(services.settings, caller.tenant)
    if batch.single:
        (only,) = batch.items
        if isinstance(only, InvalidInput):
            raise only
        require_may_ask(caller, only, name)
        answers, position = await _decide(services, caller, (only,), "execute_all")
        return JSONResponse(answers[0], headers={POSITION: str(position)})
    items = [_allowed(caller, item, name) for item in batch.items]
    answers, position = await _decide(services, caller, items, batch.semantic)
    return JSONResponse({"evaluations": answers}, headers={POSITION: str(position)})


async def _decide(
    services: Services, caller: Caller, items: Sequence[Intent | InvalidInput], semantic: Semantic
) -> tuple[list[dict[str, Any]], int]:
    """Return the answers in order, and the last position they stand on."""
    context = Context(
        tenant=caller.tenant, actor=caller.actor, command_id=fresh_id(), traceparent=current_traceparent()
    )
    references, decided = await _decided(services, caller, context, items, semantic)
    asking = any(isinstance(item, Decided) and item.decision.outcome == "approval_required" for item in decided)
    paths = await published_paths(services, caller.tenant) if asking else frozenset()
    answers = [
        failed_item(item) if isinstance(item, InvalidInput) else answer(services, caller.tenant, item, reference, paths)
        for item, reference in zip(decided, references, strict=False)
    ]
    return answers, max((item.event.position for item in decided if isinstance(item, Decided)), default=0)


async def _decided(
    services: Services,
    caller: Caller,
    context: Context,
    items: Sequence[Intent | InvalidInput],
    semantic: Semantic,
) -> tuple[list[Presented | None], tuple[Decided | InvalidInput, ...]]:
    for attempt in range(MAX_TRIES):
        references = [await _presented(services, caller, item) for item in items]
        asks = [
            item if isinstance(item, InvalidInput) else _ask(item, reference)
            for item, reference in zip(items, references, strict=True)
        ]
        try:
            return references, await services.decisions.decide_many(context, asks, semantic)
        except AppendConflict:
            # The approval was used or taken back meanwhile; look at it again. Nothing was recorded.
            await pause(attempt)
    raise Contended(f"the approval changed {MAX_TRIES} times while deciding; try again", tries=MAX_TRIES)


async def _presented(services: Services, caller: Caller, item: Intent | InvalidInput) -> Presented | None:
    if isinstance(item, InvalidInput) or item.context is None or "approval" not in item.context:
        return None
    return await presented(services, caller, item, await services.ledger.now())


def _ask(intent: Intent, reference: Presented | None) -> Ask:
    if reference is None or not reference.applies:
        return Ask(intent=intent)
    return Ask(intent=intent, approval_id=reference.approval_id, guard=reference.guard)


def _allowed(caller: Caller, item: Intent | InvalidInput, name: str) -> Intent | InvalidInput:
    if isinstance(item, InvalidInput):
        return item
    try:
        require_may_ask(caller, item, name)
    except NotAllowed as error:
        return InvalidInput(error.message, status=403)
    except InvalidInput as error:
        return error
    return item
