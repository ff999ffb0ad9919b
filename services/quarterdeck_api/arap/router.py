"""`/access/v1/requests`: submit, ask for the status, wait, cancel.

Source: ARAP draft, 'Access Request Endpoint' and 'Task Status Endpoint'.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from quarterdeck_api.arap.requests import cancel, submit
from quarterdeck_api.arap.schemas import CANCELLATION, REQUEST_FORM, SUBMISSION, TASK
from quarterdeck_api.arap.tasks import read_task, show
from quarterdeck_api.arap.waiting import POLL_AFTER_S, stream, wait_for_end, wanted_wait_s, watch_of
from quarterdeck_api.auth.caller import CallerDep
from quarterdeck_api.authzen.schemas import json_body
from quarterdeck_api.authzen.wire import (
    POSITION,
    REQUESTS_PATH,
    SCHEMA_PATH,
    EchoRoute,
    json_object,
    optional_json_object,
)
from quarterdeck_api.commands.idempotency import MAX_KEY, idempotency_key
from quarterdeck_api.openapi import responses
from quarterdeck_api.services import ServicesDep

EVENT_STREAM: Final = "text/event-stream"
SCHEMA_MEDIA: Final = "application/schema+json"

_KEY: Final[dict[str, Any]] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Repeat a submission with the same key and an equal body: the same task is returned.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY},
}
_PREFER: Final[dict[str, Any]] = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "description": "`wait=N`: answer when the task has ended, or after N seconds (RFC 7240).",
    "schema": {"type": "string", "pattern": "^wait=[0-9]{1,2}$"},
}

router: Final = APIRouter(tags=["access"], route_class=EchoRoute)


@router.post(
    REQUESTS_PATH,
    status_code=202,
    summary="Ask a human",
    openapi_extra={**json_body(SUBMISSION), "parameters": [_KEY]},
    responses=responses(403, 409, 410, 413, ok=TASK, ok_status=202)
    | {201: {"description": "Asked before, and ended", "content": {"application/json": {"schema": TASK}}}},
)
async def submit_request(request: Request, caller: CallerDep, services: ServicesDep) -> JSONResponse:
    """Submit an access request on a requestable denial, or a bundle of them."""
    body = await json_object(request)
    task = await submit(services, caller, body, idempotency_key(request.headers))
    shown = await show(services, caller, task)
    headers = {"Location": shown["task"]["status_endpoint"], POSITION: str(task.position)}
    if shown["task"]["status"] != "pending":
        return JSONResponse(shown, status_code=201, headers=headers)
    return JSONResponse(shown, status_code=202, headers=headers | {"Retry-After": str(POLL_AFTER_S)})


@router.get(
    f"{REQUESTS_PATH}/{{task_id}}",
    summary="The status of a request",
    openapi_extra={"parameters": [_PREFER]},
    responses=responses(404, 410, ok=TASK),
)
async def status(task_id: str, request: Request, caller: CallerDep, services: ServicesDep) -> Response:
    """Return a task; wait for its end with `Prefer: wait=N`; follow it with `Accept: text/event-stream`."""
    watch = watch_of(request, services)
    if _wants_stream(request):
        await read_task(services, caller, task_id)
        return StreamingResponse(
            stream(services, watch, caller, task_id),
            media_type=EVENT_STREAM,
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
    wait_s = wanted_wait_s(request, services)
    if wait_s is None:
        task = await read_task(services, caller, task_id)
    else:
        task = await wait_for_end(services, watch, caller, task_id, wait_s)
    shown = await show(services, caller, task)
    headers = {POSITION: str(task.position), "Vary": "Accept, Prefer"}
    if wait_s is not None:
        headers["Preference-Applied"] = f"wait={wait_s}"
    elif shown["task"]["status"] == "pending":
        headers["Retry-After"] = str(POLL_AFTER_S)
    return JSONResponse(shown, headers=headers)


async def _cancel(task_id: str, request: Request, caller: CallerDep, services: ServicesDep) -> JSONResponse:
    """Take a pending request back: every item of it that is pending."""
    body = await optional_json_object(request)
    task = await read_task(services, caller, task_id)
    task = await cancel(services, caller, task, body, idempotency_key(request.headers))
    shown = await show(services, caller, task)
    return JSONResponse({"task": shown["task"]}, headers={POSITION: str(task.position)})


for _method in ("POST", "DELETE"):
    router.add_api_route(
        f"{REQUESTS_PATH}/{{task_id}}/cancel",
        _cancel,
        methods=[_method],
        name=f"cancel_request_{_method.lower()}",
        summary="Take a request back",
        openapi_extra={**json_body(CANCELLATION, required=False), "parameters": [_KEY]},
        responses=responses(403, 404, 409, 410, 413, ok=TASK),
    )


@router.get(
    SCHEMA_PATH,
    summary="What a request adds to an evaluation",
    responses=responses(ok={"type": "object"}, ok_media=SCHEMA_MEDIA),
)
async def request_form() -> JSONResponse:
    """Return the JSON Schema of what an access request adds to `context` and `requested_access`. Public."""
    return JSONResponse(REQUEST_FORM, media_type=SCHEMA_MEDIA, headers={"Cache-Control": "public, max-age=300"})


def _wants_stream(request: Request) -> bool:
    accepted = [item.partition(";")[0].strip().lower() for item in request.headers.get("accept", "").split(",")]
    return EVENT_STREAM in accepted
