"""`/v1/estate`: the kinds there are, and whole files: plan, apply, export.

Applying answers with a stream of JSON lines, `{"progress": …}` while it goes on and one `{"result": …}` or
`{"problem": …}` at the end, so that long work shows how far it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from pydantic import AwareDatetime
from starlette.responses import Response, StreamingResponse

from quarterdeck_api.auth.caller import CallerDep, require
from quarterdeck_api.commands.idempotency import idempotency_key
from quarterdeck_api.estate.apply import Done, Planned, Progress, apply, plan
from quarterdeck_api.estate.bulk import Bulk, Turn
from quarterdeck_api.estate.diff import diff
from quarterdeck_api.estate.lines import NDJSON, lines_of
from quarterdeck_api.estate.moments import as_of
from quarterdeck_api.estate.sources import FORMATS, How, read
from quarterdeck_api.openapi import ref, responses
from quarterdeck_api.problems import UnsupportedMediaType
from quarterdeck_api.services import ServicesDep
from quarterdeck_connectors.bom import Stamp
from quarterdeck_connectors.cyclonedx import write_cyclonedx
from quarterdeck_connectors.draft import Imported
from quarterdeck_connectors.spdx import write_spdx
from quarterdeck_domain.canonical import MAX_INTEGER
from quarterdeck_domain.estate.kinds import json_schema
from quarterdeck_domain.estate.relations import RELATION_TYPES

EDITORS: Final = ("operator", "administrator")
MAX_FILE_BYTES: Final = 64 * 2**20
PATHS: Final = ("/v1/estate/plan", "/v1/estate/apply")
"""Where bodies may be as long as a file."""
MEDIA_TYPES: Final = ("application/json", "application/yaml")
STRUCTS: Final[tuple[type[msgspec.Struct], ...]] = (Planned, Done)
_FILE: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["version", "source", "assets"],
                    "additionalProperties": False,
                    "properties": {
                        "version": {"const": 1},
                        "source": {"type": "string"},
                        "assets": {"type": "object", "additionalProperties": {"type": ["object", "null"]}},
                        "valid_from": {"type": "string", "format": "date-time"},
                    },
                }
            }
        },
    }
}

Bill = Literal["cyclonedx-1.7", "cyclonedx-1.6", "spdx-3.0.1"]
_BILLS: Final[Mapping[Bill, str]] = {
    "cyclonedx-1.7": "application/vnd.cyclonedx+json; version=1.7",
    "cyclonedx-1.6": "application/vnd.cyclonedx+json; version=1.6",
    "spdx-3.0.1": "application/spdx+json",
}
Position = Annotated[int | None, Query(ge=0, le=MAX_INTEGER, description="As of this position; left out: now.")]
Time = Annotated[
    AwareDatetime | None,
    Query(description="As it was true at this time, as known at `position`; left out: as it was recorded by then."),
]
_MOMENT: Final = "a position, or a time with its zone, 2026-01-31T12:00:00Z"
Form = Annotated[str, Query(max_length=40, description="The format of the file: " + ", ".join(FORMATS) + ".")]
Source = Annotated[
    str | None, Query(min_length=1, max_length=120, description="The name under which what it says is known.")
]


def _how(
    form: Form = "estate",
    source: Source = None,
    name: Annotated[
        str | None, Query(min_length=1, max_length=60, description="How that is called which the file describes.")
    ] = None,
    on_drift: Annotated[
        Literal["note", "quarantine"], Query(description="What becomes of what is not as it was pinned.")
    ] = "note",
    whole: Annotated[bool, Query(description="It is all that its source has: the rest is gone from there.")] = False,
) -> How:
    return How(form=form, source=source, name=name, on_drift=on_drift, whole=whole)


Reading = Annotated[How, Depends(_how)]

router: Final = APIRouter(prefix="/v1/estate", tags=["estate"])


@router.get("/kinds", summary="The kinds of objects, and the relations", responses=responses(ok={"type": "object"}))
async def kinds(_caller: CallerDep) -> Response:
    """Return the JSON Schema of every kind's attributes, and the types of relations with what they lead from and to."""
    relations = {
        name: {
            "phrase": found.phrase,
            "role": found.role,
            "sources": sorted(found.sources),
            "targets": sorted(found.targets),
        }
        for name, found in RELATION_TYPES.items()
    }
    return _json({"kinds": json_schema(), "relations": relations})


@router.get("/file", summary="The estate as a file", responses=responses(ok={"type": "object"}))
async def export(
    caller: CallerDep,
    services: ServicesDep,
    source: Annotated[str, Query(min_length=1, max_length=120)] = "export",
    position: Position = None,
    time: Time = None,
) -> Response:
    """Return everything that is in use as a declarative file: applied here, it changes nothing. Or as of a position, or
    as it was true at a time, as known at the position."""
    document, _ = await as_of(caller, services, source, position, time)
    return _json(document)


@router.get(
    "/bill",
    summary="The estate as a bill of materials",
    responses=responses(404, ok={"type": "object"}, also={media: {"type": "object"} for media in _BILLS.values()}),
)
async def bill(
    caller: CallerDep,
    services: ServicesDep,
    form: Annotated[Bill, Query(description="CycloneDX or SPDX, and the version.")] = "cyclonedx-1.7",
    root: Annotated[str | None, Query(max_length=240, description="One object, and all that it needs.")] = None,
    position: Position = None,
    time: Time = None,
) -> Response:
    """Return the estate, or one object and all that it needs, as a bill: the same bytes for the same position and
    time."""
    document, stamp = await as_of(caller, services, "quarterdeck", position, time, stamped=True)
    made = await asyncio.to_thread(_billed, document, stamp, form, root)
    return Response(made, media_type=_BILLS[form])


@router.get("/diff", summary="All that differs", responses=responses(ok={"type": "string"}, ok_media=NDJSON))
async def differences(
    caller: CallerDep,
    services: ServicesDep,
    since: Annotated[str, Query(alias="from", max_length=40, description=f"The one moment: {_MOMENT}.")],
    until: Annotated[
        str | None, Query(alias="to", max_length=40, description=f"The other: {_MOMENT}. Left out: now.")
    ] = None,
) -> Response:
    """Return every object, relation and drift that is not the same at two moments, as it was recorded by them: lines of
    JSON, first `{"from": …, "to": …}`, then what differs, by kind and id."""
    return StreamingResponse(await diff(caller, services, since, until), media_type=NDJSON)


def _billed(document: dict[str, Any], stamp: Stamp, form: Bill, root: str | None) -> bytes:
    if form == "spdx-3.0.1":
        return write_spdx(document, stamp, root=root)
    return write_cyclonedx(document, stamp, version="1.6" if form == "cyclonedx-1.6" else "1.7", root=root)


@router.post(
    "/plan",
    summary="What applying a file would do",
    openapi_extra=_FILE,
    responses=responses(403, 413, 415, ok=ref(Planned)),
)
async def plan_file(request: Request, caller: CallerDep, services: ServicesDep, how: Reading) -> Response:
    """Return each step that applying the file would take, and the plan's digest. Nothing is recorded."""
    require(caller, *EDITORS)
    turn, found = await _read(request, how)
    try:
        return _json(await plan(services, caller, found.declaration, found.notes))
    finally:
        turn.end()


@router.post(
    "/apply",
    summary="Make a file true",
    openapi_extra=_FILE,
    responses=responses(403, 409, 413, 415, ok={"type": "string"}, ok_media=NDJSON),
)
async def apply_file(
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    how: Reading,
    plan_digest: Annotated[str | None, Query(max_length=120)] = None,
) -> Response:
    """Make everything true that the file says, all of it or nothing. With `plan_digest`, only if that is the plan."""
    require(caller, *EDITORS)
    key = idempotency_key(request.headers)
    turn, found = await _read(request, how)

    async def work(progress: Progress) -> Done:
        try:
            return await apply(services, caller, found.declaration, key=key, agreed=plan_digest, progress=progress)
        finally:
            turn.end()

    return StreamingResponse(lines_of(work, "apply an estate file"), media_type=NDJSON)


async def _read(request: Request, how: How) -> tuple[Turn, Imported]:
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in MEDIA_TYPES:
        raise UnsupportedMediaType("send JSON or YAML", found=media[:80], expected=MEDIA_TYPES)
    bulk: Bulk = request.app.state.bulk
    turn = await bulk.read(request)
    try:
        return turn, await asyncio.to_thread(read, turn.take(), how)
    except BaseException:
        turn.end()
        raise


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
