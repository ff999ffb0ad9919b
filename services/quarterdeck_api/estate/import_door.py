"""`/v1/estate/sources`: where the estate is imported from; and importing from there now.

Registering, changing and removing a source are commands of the catalogue; these routes are their second address, and
say at once what could never be imported. Importing answers as applying a file does, with a stream of JSON lines.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response, StreamingResponse

from quarterdeck_api.auth.caller import Caller, CallerDep, require
from quarterdeck_api.commands.execute import CommandResult, execute, parse_body, parse_input
from quarterdeck_api.commands.idempotency import command_id, fingerprint, idempotency_key
from quarterdeck_api.commands.router import POSITION_HEADER, require_json
from quarterdeck_api.estate.lines import NDJSON, lines_of
from quarterdeck_api.estate.moments import READERS
from quarterdeck_api.openapi import json_body, ref, responses
from quarterdeck_api.services import Services, ServicesDep
from quarterdeck_domain.command_catalogue import COMMANDS
from quarterdeck_domain.errors import InvalidInput, NotFound, QuarterdeckError, WrongState
from quarterdeck_domain.estate.source_commands import ChangeSourceInput, RegisterSourceInput
from quarterdeck_importing.applying import Progress
from quarterdeck_importing.asked import REQUEST_S, Asked, SourceImported, SourceLookedAt
from quarterdeck_readmodels.sources import Source
from quarterdeck_runtime.telemetry import current_traceparent

EDITORS: Final = ("operator", "administrator")
STRUCTS: Final[tuple[type[msgspec.Struct], ...]] = (SourceImported, SourceLookedAt)
_PAGE: Final = 1_000
_HIDDEN: Final = ("created_position", "from_position", "to_position")

SourceId = Annotated[str, Path(max_length=60, description="How the house calls it.")]

router: Final = APIRouter(prefix="/v1/estate/sources", tags=["estate"])


@router.get("", summary="Where the estate is imported from", responses=responses(403, ok={"type": "object"}))
async def sources(
    caller: CallerDep,
    services: ServicesDep,
    removed: Annotated[bool, Query(description="Those that were removed, too.")] = False,
) -> Response:
    """Return every source: how it is read, how the last import of it ended, and when the next is due."""
    require(caller, *READERS)
    if services.reader is None:
        raise WrongState("no read models are kept here")
    found: list[dict[str, Any]] = []
    async with services.reader.at(caller.tenant) as record:
        where = {} if removed else {"state": "active"}
        after: int | None = None
        more = True
        while more:
            page = await record.page(Source, first=_PAGE, after=after, newest_first=False, where=where)
            found += [_shown(row) for row in page.rows]
            after, more = (page.rows[-1].created_position if page.rows else None), page.more
        position = record.position
    return _json({"position": position, "sources": found})


@router.post(
    "",
    summary="Import the estate from somewhere",
    openapi_extra=json_body(RegisterSourceInput),
    responses=responses(403, 409, 413, 415, ok=ref(CommandResult)),
)
async def register(request: Request, caller: CallerDep, services: ServicesDep) -> Response:
    """Register a source. Refused at once where the operator has not allowed the address, or keeps no such secret."""
    require(caller, *EDITORS)
    require_json(request)
    body = parse_body(await request.body())
    wanted: Any = parse_input(COMMANDS["register_source"], body)
    services.importing.fetching.check(caller.tenant, wanted.address, wanted.credential)
    return await _command(request, caller, services, "register_source", body)


@router.get("/{source_id}", summary="One source", responses=responses(403, 404, ok={"type": "object"}))
async def source(source_id: SourceId, caller: CallerDep, services: ServicesDep) -> Response:
    """Return a source, one that was removed too."""
    require(caller, *READERS)
    if services.reader is None:
        raise WrongState("no read models are kept here")
    async with services.reader.at(caller.tenant) as record:
        found = await record.get(Source, source_id)
    if found is None:
        raise NotFound("there is no such source")
    return _json(_shown(found))


@router.patch(
    "/{source_id}",
    summary="Read a source in another way",
    openapi_extra=json_body(ChangeSourceInput),
    responses=responses(403, 404, 409, 413, 415, ok=ref(CommandResult)),
)
async def change(source_id: SourceId, request: Request, caller: CallerDep, services: ServicesDep) -> Response:
    """Change what is named; the rest stays. The body need not name the source again."""
    require(caller, *EDITORS)
    require_json(request)
    body = _named(parse_body(await request.body()), source_id)
    wanted: Any = parse_input(COMMANDS["change_source"], body)
    before, _ = await services.importing.look(caller.tenant, source_id, caller.actor)
    cleared = "credential" in wanted.clear
    credential = None if cleared else wanted.credential or before.credential
    services.importing.fetching.check(caller.tenant, wanted.address or before.address, credential)
    return await _command(request, caller, services, "change_source", body)


@router.delete("/{source_id}", summary="Import no longer", responses=responses(403, 404, 409, ok=ref(CommandResult)))
async def remove(
    source_id: SourceId,
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    reason: Annotated[str, Query(max_length=500)] = "",
) -> Response:
    """Remove a source and its schedule. What came from there stays as it is."""
    body = {"source_id": source_id, "reason": reason}
    return await _command(request, caller, services, "remove_source", body)


@router.post(
    "/{source_id}/plan",
    summary="What importing a source would do",
    responses=responses(403, 404, 409, 502, ok=ref(SourceLookedAt)),
)
async def plan(source_id: SourceId, caller: CallerDep, services: ServicesDep) -> Response:
    """Read the source now and return each step that importing it would take. Nothing is recorded."""
    require(caller, *EDITORS)
    seconds = min(REQUEST_S, services.settings.request_timeout_s * 0.6)
    return _json(await services.importing.plan(caller.tenant, source_id, caller.actor, seconds=seconds))


@router.post(
    "/{source_id}/import",
    summary="Import a source now",
    responses=responses(403, 404, 409, 502, ok={"type": "string"}, ok_media=NDJSON),
)
async def import_now(
    source_id: SourceId,
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    plan_digest: Annotated[str | None, Query(max_length=120)] = None,
) -> Response:
    """Read the source now and make true what it says, all of it or nothing. With `plan_digest`, only by that plan."""
    require(caller, *EDITORS)
    key = idempotency_key(request.headers)
    said = {"source_id": source_id, "plan_digest": plan_digest}
    asked = Asked(
        tenant=caller.tenant,
        source_id=source_id,
        actor=caller.actor,
        command_id=command_id(caller, key),
        trigger="request",
        seconds=REQUEST_S,
        fingerprint=None if key is None else fingerprint(caller, "POST", "import_source", said),
        traceparent=current_traceparent(),
    )
    await services.importing.look(caller.tenant, source_id, caller.actor)

    async def work(progress: Progress) -> SourceImported:
        try:
            return await services.importing.run(asked, agreed=plan_digest, progress=progress)
        except QuarterdeckError as error:
            await services.importing.failed(asked, error)
            raise

    return StreamingResponse(lines_of(work, "import a source"), media_type=NDJSON)


async def _command(request: Request, caller: Caller, services: Services, name: str, body: Any) -> Response:
    key = idempotency_key(request.headers)
    done = await execute(services, caller, COMMANDS[name], body, key=key)
    headers = {POSITION_HEADER: str(done.position)}
    return Response(msgspec.json.encode(done), media_type="application/json", headers=headers)


def _named(body: Any, source_id: str) -> Any:
    if not isinstance(body, dict):
        raise InvalidInput("the body is an object with the settings to change")
    if body.get("source_id", source_id) != source_id:
        raise InvalidInput("the body names another source than the address does", field="source_id")
    return {**body, "source_id": source_id}


def _shown(row: Source) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(row)
    return {"source_id": shown.pop("id")} | {name: value for name, value in shown.items() if name not in _HIDDEN}


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
