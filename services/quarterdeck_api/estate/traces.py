"""`POST /v1/traces`: OpenTelemetry's own door, so that any SDK or collector can send here what agents do.

1. The sender is authenticated as anywhere; who it is becomes the actor of what is recorded, whatever the trace says.
2. The body is inflated and read within bounds (`quarterdeck_connectors.otlp`), in a thread.
3. Spans whose parent has not come yet wait for it (`waiting`); the others show objects and relations (`sightings`).
4. What is new of these is decided (`observing`) and recorded (`seeing`).

Source: OpenTelemetry protocol specification 1.11, "OTLP/HTTP": content types, partial success, failures as
`google.rpc.Status` in the encoding of the request, and which statuses are retried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec
import structlog
from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)
from starlette.responses import Response

from quarterdeck_api.auth.caller import CallerDep, require
from quarterdeck_api.estate.seeing import take
from quarterdeck_api.openapi import responses
from quarterdeck_api.problems import UnsupportedMediaType, problem_of
from quarterdeck_api.services import ServicesDep
from quarterdeck_connectors.mixing import Mixes
from quarterdeck_connectors.observing import (
    Observed,
)
from quarterdeck_connectors.otlp import Batch, Encoding, inflate, read
from quarterdeck_connectors.quota import OF_AGENT, OF_COLLECTOR, OF_TENANT, Quota
from quarterdeck_connectors.waiting import Waiting
from quarterdeck_domain.errors import QuarterdeckError

PATH: Final = "/v1/traces"
SENDERS: Final = ("agent", "operator", "administrator")
MAX_BODY_BYTES: Final = 8 * 2**20
"""As it is sent, compressed or not."""
PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
_ENCODINGS: Final[dict[str, Encoding]] = {PROTOBUF: "protobuf", JSON: "json"}
_GRPC: Final = {400: 3, 401: 16, 403: 7, 404: 5, 409: 10, 413: 3, 415: 3, 429: 8, 503: 14, 504: 4}
"""google.rpc.Code of each status; 13, internal, for the others."""
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "An ExportTraceServiceRequest of OpenTelemetry; `Content-Encoding: gzip` is understood.",
        "content": {
            PROTOBUF: {"schema": {"type": "string", "format": "binary"}},
            JSON: {"schema": {"type": "object"}},
        },
    }
}
_log = structlog.get_logger(__name__)


class _OtlpRoute(APIRoute):
    """Answers failures as this protocol says them: a Status in the encoding of the request."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def told(request: Request) -> Response:
            try:
                return await handle(request)
            except QuarterdeckError as error:
                return _failure(request, error)

        return told


router: Final = APIRouter(tags=["estate"], route_class=_OtlpRoute)


_BINARY: Final = {"type": "string", "format": "binary"}
_OBJECT: Final = {"type": "object"}
# Whoever sends traces is refused in its own encoding: a google.rpc.Status (OTLP 1.x, "Failures").
_RESPONSES: Final = responses(
    403, 413, 415, ok=_OBJECT, also={PROTOBUF: _BINARY}, refused={JSON: _OBJECT, PROTOBUF: _BINARY}
)


@router.post(
    PATH,
    summary="Traces, as OpenTelemetry sends them",
    openapi_extra=_BODY,
    responses=_RESPONSES,
)
async def export(request: Request, caller: CallerDep, services: ServicesDep) -> Response:
    """Take spans over OTLP/HTTP. What they show and nobody has registered becomes part of the estate, as observed."""
    require(caller, *SENDERS)
    media = _media(request)
    if media not in _ENCODINGS:
        raise UnsupportedMediaType(f"send {PROTOBUF} or {JSON}", found=media[:80], expected=list(_ENCODINGS))
    body = await request.body()
    compression = request.headers.get("content-encoding", "").strip().lower()
    batch = await asyncio.to_thread(_read, body, compression, _ENCODINGS[media])
    found = await take(services, caller, batch, _waiting(request), _mixes(request), _quota(request))
    return _success(media, batch, found)


def _read(body: bytes, compression: str, encoding: Encoding) -> Batch:
    return read(inflate(body, compression), encoding)


def _waiting(request: Request) -> Waiting:
    state = request.app.state
    if not hasattr(state, "waiting_spans"):
        state.waiting_spans = Waiting()
    found: Waiting = state.waiting_spans
    return found


def _mixes(request: Request) -> Mixes:
    state = request.app.state
    if not hasattr(state, "input_mixes"):
        state.input_mixes = Mixes()
    found: Mixes = state.input_mixes
    return found


def _quota(request: Request) -> Quota:
    state = request.app.state
    if not hasattr(state, "trace_quota"):
        state.trace_quota = Quota()
    found: Quota = state.trace_quota
    return found


def _media(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _success(media: str, batch: Batch, observed: Observed) -> Response:
    said = list(batch.reasons)
    if observed.beyond:
        said.append(
            f"quota: {observed.beyond} new objects and relations are not recorded; a sender may show {OF_AGENT} an "
            f"hour, with the role operator {OF_COLLECTOR}, and a tenant {OF_TENANT}"
        )
    if observed.left_out > observed.beyond:
        left = observed.left_out - observed.beyond
        said.append(f"{left} new objects and relations are left for the next time that they are seen")
    message = "; ".join(said)
    if media == JSON:
        # The protobuf JSON mapping: 64-bit integers are text, and what is unset is left out.
        partial: dict[str, str] = {"rejectedSpans": str(batch.rejected)} if batch.rejected else {}
        partial |= {"errorMessage": message} if message else {}
        return Response(msgspec.json.encode({"partialSuccess": partial} if partial else {}), media_type=JSON)
    answer = ExportTraceServiceResponse()
    if batch.rejected or message:
        told = ExportTracePartialSuccess(rejected_spans=batch.rejected, error_message=message)
        answer.partial_success.CopyFrom(told)
    return Response(answer.SerializeToString(), media_type=PROTOBUF)


def _failure(request: Request, error: QuarterdeckError) -> Response:
    problem = problem_of(error)
    if problem.status_code >= 500:
        _log.error("request failed", code=error.code, error=error.message, exc_info=problem.status_code == 500)
    media = _media(request)
    if media not in _ENCODINGS:
        return problem
    told = msgspec.json.decode(bytes(problem.body))
    code, message = _GRPC.get(problem.status_code, 13), str(told.get("detail") or told["title"])
    kept = ("www-authenticate", "connection", "retry-after")
    headers = {name: value for name, value in problem.headers.items() if name in kept}
    body = (
        msgspec.json.encode({"code": code, "message": message})
        if media == JSON
        else Status(code=code, message=message).SerializeToString()
    )
    return Response(body, status_code=problem.status_code, headers=headers, media_type=media)
