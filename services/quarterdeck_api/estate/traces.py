"""`POST /v1/traces`: OpenTelemetry's own door, so that any SDK or collector can send here what agents do.

1. The sender is authenticated as anywhere; who it is becomes the actor of what is recorded, whatever the trace says.
2. The body is inflated and read within bounds (`quarterdeck_connectors.otlp`), in a thread.
3. Spans whose parent has not come yet wait for it (`waiting`); the others show objects and relations (`sightings`).
4. What stands of these is read, what is new is decided (`observing`), and recorded in one append. Its condition is that
   nobody recorded the same in between; else it is decided anew, with what the log says since.

Most requests record nothing: what they show is known.

Source: OpenTelemetry protocol specification 1.11, "OTLP/HTTP": content types, partial success, failures as
`google.rpc.Status` in the encoding of the request, and which statuses are retried.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, Final

import msgspec
import structlog
from eventsourcing.dcb.api import DCBAppendCondition
from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)
from starlette.responses import Response

from quarterdeck_api.auth.caller import Caller, CallerDep, require
from quarterdeck_api.commands.idempotency import fresh_id
from quarterdeck_api.openapi import responses
from quarterdeck_api.problems import UnsupportedMediaType, problem_of
from quarterdeck_api.services import Services, ServicesDep
from quarterdeck_connectors.mixing import Mixes
from quarterdeck_connectors.observing import (
    Observed,
    Standing,
    asked_of,
    candidates,
    observe,
    other_names,
    possible_ends,
)
from quarterdeck_connectors.otlp import Batch, Encoding, inflate, read
from quarterdeck_connectors.quota import OF_AGENT, OF_COLLECTOR, OF_TENANT, Quota
from quarterdeck_connectors.sightings import Sightings, gather
from quarterdeck_connectors.waiting import Waiting
from quarterdeck_domain.access.events import TenantClosed
from quarterdeck_domain.access.values import PRINCIPAL_EVENTS
from quarterdeck_domain.errors import InvalidInput, QuarterdeckError, WrongState
from quarterdeck_domain.estate.events import (
    AssetChanged,
    AssetQuarantined,
    AssetRegistered,
    AssetReleased,
    AssetRetired,
    AssetsMerged,
    DriftAccepted,
    DriftDetected,
    RelationObserved,
)
from quarterdeck_domain.estate.values import relation_id
from quarterdeck_domain.slices import boundary
from quarterdeck_ledger.errors import AppendConflict, Busy
from quarterdeck_ledger.facts import new_events
from quarterdeck_ledger.interface import Context
from quarterdeck_readmodels.estate import Asset, Drift, Relation
from quarterdeck_readmodels.estate_relations import MAX_SENDERS
from quarterdeck_readmodels.reader import Record
from quarterdeck_readmodels.standing import facts_of
from quarterdeck_runtime.telemetry import current_traceparent

PATH: Final = "/v1/traces"
SENDERS: Final = ("agent", "operator", "administrator")
COLLECTORS: Final = frozenset({"operator", "administrator"})
"""Who may speak for others: an agent's own key proves only what that agent does."""
MAX_BODY_BYTES: Final = 8 * 2**20
"""As it is sent, compressed or not."""
MAX_SERVERS: Final = 2_000
TRIES: Final = 5
MAX_DRIFTS: Final = 20_000
MAX_LATEST: Final = 5_000
"""Events of the estate that the tables may be behind."""
PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
_ENCODINGS: Final[dict[str, Encoding]] = {PROTOBUF: "protobuf", JSON: "json"}
_CHUNK: Final = 2_000
_MERGES: Final = 5
_SHUT: Final = frozenset({"quarantined", "retired"})
_TOLD: Final = (
    AssetRegistered,
    AssetChanged,
    AssetsMerged,
    AssetQuarantined,
    AssetReleased,
    AssetRetired,
    RelationObserved,
    DriftDetected,
)
"""What the tables may not show yet of what traces are about."""
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


async def take(
    services: Services, caller: Caller, batch: Batch, waiting: Waiting, mixes: Mixes, quota: Quota
) -> Observed:
    """Record what is new in a batch; return that, and how much of it was left out because it was too much.

    Raises:
        WrongState: no read models are kept here.
        NotYet, Unavailable, Busy: it cannot be told or recorded just now; nothing was.
    """
    sender = (caller.tenant, caller.actor.principal)
    together = waiting.join(sender, batch.spans, time.monotonic())
    try:
        found = await asyncio.to_thread(gather, together.spans, together.overdue)
        observed = await _record(services, caller, found, mixes, quota) if found.things else Observed()
    except BaseException:
        # The sender will send its own again; what waited before is not its to send.
        new = {(span.trace, span.id) for span in batch.spans}
        again = [span for span in together.spans if (span.trace, span.id) not in new]
        waiting.keep(sender, again, time.monotonic())
        raise
    waiting.keep(sender, found.unsettled, time.monotonic())
    return observed


async def _record(services: Services, caller: Caller, found: Sightings, mixes: Mixes, quota: Quota) -> Observed:
    if services.reader is None:
        raise WrongState("no read models are kept here")
    collects = not caller.roles.isdisjoint(COLLECTORS)
    said_by = "" if collects else caller.actor.principal
    behind = False
    for _ in range(TRIES):
        async with services.reader.at(caller.tenant) as record:
            standing, position = await _standing(record, found, said_by), record.position
        if behind:
            standing, position = await _with_the_latest(services, caller.tenant, standing, position, said_by)
        now = await services.ledger.now()
        asked = asked_of(found, standing)
        news = quota.left(caller.tenant, caller.actor.principal, time.monotonic(), collects=collects)
        full = mixes.full(caller.tenant, asked)
        observed = await asyncio.to_thread(
            observe, found, standing, sender=caller.actor, now=now, mixes=full, collects=collects, news=news
        )
        if not observed.events and not behind and await _shut_since(services, caller.tenant, position):
            behind = True
            continue
        if not observed.events:
            mixes.count(caller.tenant, asked)
            return observed
        context = Context(
            tenant=caller.tenant, actor=caller.actor, command_id=fresh_id(), traceparent=current_traceparent()
        )
        try:
            await services.ledger.append(
                caller.tenant, new_events(observed.events, context), _unless(caller, observed, position)
            )
        except AppendConflict:
            behind = True
            continue
        mixes.count(caller.tenant, asked)
        quota.spend(caller.tenant, caller.actor.principal, observed.news, time.monotonic())
        return observed
    raise Busy("the estate changes faster than this can be recorded; send it again", retry_after_s=1)


async def _shut_since(services: Services, tenant: str, position: int) -> bool:
    """Tell whether something was taken out of use that the tables do not show yet."""
    query = boundary(((AssetQuarantined, AssetRetired), ()))
    return bool(await services.ledger.read(tenant, query, after=position, limit=1))


def _unless(caller: Caller, observed: Observed, position: int) -> DCBAppendCondition:
    """Return the condition that what is recorded as new is so still, and that the sender may still send."""
    items: list[Any] = [((TenantClosed,), ()), ((AssetsMerged,), ())]
    items += [(PRINCIPAL_EVENTS, (f"principal:{name}",)) for name in caller.actor.everyone()]
    for event in observed.events:
        if isinstance(event, AssetRegistered):
            items.append(((AssetRegistered,), (f"asset:{event.asset}",)))
        elif isinstance(event, AssetChanged | DriftDetected):
            items.append(((AssetChanged, DriftDetected, DriftAccepted), (f"asset:{event.asset}",)))
        else:
            same = relation_id(event.source, event.relation, event.target)
            items.append(((RelationObserved,), (f"relation:{same}",)))
    return DCBAppendCondition(boundary(*items), position)


async def _standing(record: Record, found: Sightings, said_by: str) -> Standing:
    """Return what stands of what was seen. When a relation was seen last counts by sender: no forgery of one keeps what
    another has to say from being recorded."""
    aliases: dict[str, str] = {}
    if any(thing.otherwise.startswith("mcp_server:") for thing in found.things):
        aliases |= other_names(await _servers(record))
    facts: dict[str, dict[str, Any]] = {}
    shut: dict[str, datetime] = {}
    looked: set[str] = set()
    # What was merged has other names, and so has what an MCP server offers that was.
    for _ in range(_MERGES):
        names = sorted(candidates(found, aliases) - looked)
        looked.update(names)
        for start in range(0, len(names), _CHUNK):
            for name, asset in (await record.many(Asset, names[start : start + _CHUNK])).items():
                facts[name] = facts_of(asset)
                if asset.lifecycle in _SHUT and "lifecycle" in asset.since:
                    shut[name] = datetime.fromisoformat(asset.since["lifecycle"][0])
                if asset.merged_into is not None:
                    aliases[name] = asset.merged_into
        if not names:
            break
    standing = Standing(facts=facts, aliases=aliases, shut=shut)
    ends = {relation_id(*each): each for each in possible_ends(found, standing)}
    ids, last_seen = sorted(ends), {}
    for start in range(0, len(ids), _CHUNK):
        for name, relation in (await record.many(Relation, ids[start : start + _CHUNK])).items():
            last = relation.senders.get(said_by)
            if last is not None:
                last_seen[ends[name]] = datetime.fromisoformat(last)
            elif relation.last_seen is not None and len(relation.senders) >= MAX_SENDERS:
                last_seen[ends[name]] = relation.last_seen
    drifting = sorted(name for name in facts if name.startswith(("model:", "agent:")))
    drifts: set[tuple[str, str, str]] = set()
    for start in range(0, len(drifting), _CHUNK):
        for drift in await record.matching(Drift, "asset", drifting[start : start + _CHUNK], most=MAX_DRIFTS):
            if drift.state == "open":
                drifts.add((drift.asset, drift.field, drift.found))
    return msgspec.structs.replace(standing, last_seen=last_seen, drifts=frozenset(drifts))


async def _with_the_latest(
    services: Services, tenant: str, standing: Standing, position: int, said_by: str
) -> tuple[Standing, int]:
    """Return what stands at the end of the log: the tables may be behind, and traces do not wait for them."""
    head = await services.ledger.head(tenant)
    query = boundary((_TOLD, ()))
    latest = await services.ledger.read(tenant, query, after=position, until=head.position, limit=MAX_LATEST + 1)
    if len(latest) > MAX_LATEST:
        raise Busy("the estate's tables are far behind its log; send it again", retry_after_s=5)
    facts, aliases, last_seen = dict(standing.facts), dict(standing.aliases), dict(standing.last_seen)
    drifts, shut = set(standing.drifts), dict(standing.shut)
    for event in latest:
        match event.payload:
            case AssetRegistered(asset=asset, facts=said):
                facts[asset] = said
            case AssetChanged(asset=asset, facts=said) if asset in facts:
                facts[asset] = {**facts[asset], **said}
            case DriftDetected(asset=asset, field=field, found=found):
                drifts.add((asset, field, found))
            case AssetsMerged(survivor=survivor, merged=merged):
                aliases[merged] = survivor
                facts.setdefault(survivor, {})
            case RelationObserved(source=source, relation=relation, target=target, last_seen=last, sender=sender) if (
                sender or ""
            ) == said_by:
                last_seen[source, relation, target] = last
            case AssetQuarantined(asset=asset) | AssetRetired(asset=asset):
                shut[asset] = event.recorded_at
            case AssetReleased(asset=asset):
                shut.pop(asset, None)
            case _:
                pass
    standing = Standing(facts=facts, aliases=aliases, last_seen=last_seen, drifts=frozenset(drifts), shut=shut)
    return standing, head.position


async def _servers(record: Record) -> dict[str, dict[str, Any]]:
    try:
        rows = await record.matching(Asset, "kind", ["mcp_server"], most=MAX_SERVERS)
    except InvalidInput:
        return {}  # so many that their other names are not looked up: they are known by their own
    return {row.id: facts_of(row) for row in rows if row.merged_into is None and row.lifecycle != "retired"}


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
