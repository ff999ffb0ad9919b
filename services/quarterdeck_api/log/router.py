"""The log itself, for auditors: checkpoints, tiles, proofs, and its events in bulk. Reading changes nothing.

Tiles and checkpoints follow C2SP, so standard clients of transparency logs read them under `/v1/log/`. Everything
is the caller's tenant's.

Source: C2SP tlog-checkpoint, tlog-tiles, signed-note; CloudEvents 1.0 JSON format.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Depends, Query
from starlette.responses import Response, StreamingResponse

from quarterdeck_api.auth.caller import Caller, CallerDep, require
from quarterdeck_api.log.cloudevents import BATCH_MEDIA_TYPE, encode_cloudevent
from quarterdeck_api.log.entries import by_type_and_tag, pages
from quarterdeck_api.openapi import ref, responses
from quarterdeck_api.services import Services, ServicesDep
from quarterdeck_domain.canonical import MAX_INTEGER
from quarterdeck_domain.errors import InvalidInput, NotFound
from quarterdeck_ledger import bundle
from quarterdeck_ledger.notes import encode_base64
from quarterdeck_ledger.tiles import TILE_WIDTH, Tile, encode_entries, encode_tile, parse_path

READERS: Final = ("auditor", "administrator")
NDJSON: Final = "application/x-ndjson"
MAX_PROVEN: Final = 256
MAX_EVENTS: Final = 1_000_000

_IMMUTABLE: Final = {"cache-control": "private, max-age=31536000, immutable"}
_BINARY: Final[dict[str, Any]] = {"type": "string", "format": "binary"}
_BATCH: Final[dict[str, Any]] = {"type": "array", "items": {"type": "object"}}


class InclusionProof(msgspec.Struct, frozen=True, kw_only=True):
    """The proof that the event at `position` (leaf `position` - 1) is in the tree of `size`; hashes in base64."""

    position: int
    size: int
    leaf: str
    root: str
    hashes: tuple[str, ...]


class ConsistencyProof(msgspec.Struct, frozen=True, kw_only=True):
    """The proof that the tree of `old_size` is a prefix of the tree of `size`; hashes in base64."""

    old_size: int
    size: int
    old_root: str
    root: str
    hashes: tuple[str, ...]


def reader(caller: CallerDep) -> Caller:
    """Return the caller if it may read the log.

    Raises:
        NotAllowed: it is neither an auditor nor an administrator.
    """
    require(caller, *READERS)
    return caller


ReaderDep = Annotated[Caller, Depends(reader)]
Position = Annotated[int, Query(ge=1, le=MAX_INTEGER)]
Size = Annotated[int, Query(ge=0, le=MAX_INTEGER)]

STRUCTS: Final[tuple[type[msgspec.Struct], ...]] = (InclusionProof, ConsistencyProof)
router: Final = APIRouter(prefix="/v1/log", tags=["log"])


@router.get(
    "/checkpoint",
    summary="A signed checkpoint of the log as it is now",
    response_class=Response,
    responses=responses(403, 404, ok_media="text/plain"),
)
async def checkpoint(caller: ReaderDep, services: ServicesDep) -> Response:
    """Return a signed note over the log's size and root. Keep it: against it, every later export is checked."""
    signed = await services.checkpointer.checkpoint(caller.tenant)
    return Response(signed.note, media_type="text/plain; charset=utf-8")


@router.get(
    "/vkeys",
    summary="The public keys of the log's checkpoints",
    response_class=Response,
    responses=responses(403, ok_media="text/plain"),
)
async def vkeys(caller: ReaderDep, services: ServicesDep) -> Response:
    """Return the verifier keys, one a line, oldest first."""
    text = "".join(f"{key}\n" for key in services.checkpointer.vkeys(caller.tenant))
    return Response(text, media_type="text/plain; charset=utf-8")


@router.get(
    "/tile/{path:path}",
    summary="A tile of the tree, or a bundle of entries",
    response_class=Response,
    responses=responses(403, 404, ok=_BINARY, ok_media="application/octet-stream"),
)
async def tile(path: str, caller: ReaderDep, services: ServicesDep) -> Response:
    """Return the hashes of a tile (`<level>/<index>`) or the entries below one (`entries/<index>`)."""
    wanted = parse_path(f"tile/{path}")
    head = await services.ledger.head(caller.tenant)
    if not wanted.exists(head.position):
        raise NotFound("the log has no such tile yet", position=head.position)
    data = await _tile_bytes(services, caller.tenant, wanted)
    headers = _IMMUTABLE if wanted.width == TILE_WIDTH else None
    return Response(data, media_type="application/octet-stream", headers=headers)


@router.get(
    "/proof/inclusion",
    summary="The proof that an event is in the log",
    responses=responses(403, ok=ref(InclusionProof)),
)
async def inclusion(position: Position, caller: ReaderDep, services: ServicesDep, size: Size | None = None) -> Response:
    """Return the proof that the event at `position` is among the first `size` (default: all there are)."""
    checkpointer = services.checkpointer
    size = size if size is not None else (await services.ledger.head(caller.tenant)).position
    hashes = await checkpointer.inclusion(caller.tenant, position, size)
    (leaf,) = await services.ledger.store.leaves(caller.tenant, position - 1, position)
    proof = InclusionProof(
        position=position,
        size=size,
        leaf=encode_base64(leaf),
        root=encode_base64(await checkpointer.root(caller.tenant, size)),
        hashes=tuple(map(encode_base64, hashes)),
    )
    return _json(proof)


@router.get(
    "/proof/consistency", summary="The proof that the log only grew", responses=responses(403, ok=ref(ConsistencyProof))
)
async def consistency(
    old: Annotated[int, Query(alias="from", ge=0, le=MAX_INTEGER)],
    caller: ReaderDep,
    services: ServicesDep,
    new: Annotated[int | None, Query(alias="to", ge=0, le=MAX_INTEGER)] = None,
) -> Response:
    """Return the proof that the log of size `from` is the beginning of the log of size `to` (default: as it is)."""
    checkpointer = services.checkpointer
    new = new if new is not None else (await services.ledger.head(caller.tenant)).position
    hashes = await checkpointer.consistency(caller.tenant, old, new)
    proof = ConsistencyProof(
        old_size=old,
        size=new,
        old_root=encode_base64(await checkpointer.root(caller.tenant, old)),
        root=encode_base64(await checkpointer.root(caller.tenant, new)),
        hashes=tuple(map(encode_base64, hashes)),
    )
    return _json(proof)


@router.get(
    "/export",
    summary="The whole log as one file that proves itself",
    response_class=Response,
    responses=responses(403, 404, ok_media=NDJSON),
)
async def export(caller: ReaderDep, services: ServicesDep) -> Response:
    """Stream every entry up to a fresh checkpoint, as `quarterdeck verify` and the standalone verifier read it.

    A stream that breaks off has no trailer, and does not verify.
    """
    signed = await services.checkpointer.checkpoint(caller.tenant)
    entries = pages(services, caller.tenant, after=0, until=signed.size)
    stream = bundle.write_full(caller.tenant, signed.note, services.checkpointer.vkeys(caller.tenant), entries)
    return _download(stream, f"{caller.tenant}-{signed.size}.ndjson", signed.size)


@router.get(
    "/export/proof",
    summary="Chosen events as one file that proves them",
    response_class=Response,
    responses=responses(403, 404, ok_media=NDJSON),
)
async def export_proof(
    caller: ReaderDep,
    services: ServicesDep,
    position: Annotated[list[Position], Query(min_length=1, max_length=MAX_PROVEN)],
    held: Annotated[list[Size], Query(max_length=16)] = [],  # noqa: B006  FastAPI copies it
) -> Response:
    """Stream the events at these positions with their proofs, and proofs from checkpoints of the sizes in `held`."""
    checkpointer = services.checkpointer
    signed = await checkpointer.checkpoint(caller.tenant)
    chosen = sorted(set(position))
    if chosen[-1] > signed.size or max(held, default=0) > signed.size:
        raise InvalidInput(f"this log has {signed.size} events", position=signed.size)
    sizes = sorted(set(held))
    earlier = [
        (
            size,
            await checkpointer.root(caller.tenant, size),
            await checkpointer.consistency(caller.tenant, size, signed.size),
        )
        for size in sizes
    ]

    async def proven() -> AsyncIterator[bundle.ProvenEntry]:
        for place in chosen:
            ((_, entry),) = await services.ledger.store.read(caller.tenant, None, place - 1, place, None, False)
            proof = await checkpointer.inclusion(caller.tenant, place, signed.size)
            yield bundle.ProvenEntry(place, entry, tuple(proof))

    keys = checkpointer.vkeys(caller.tenant)
    stream = bundle.write_proof(caller.tenant, signed.note, keys, proven(), len(chosen), earlier)
    return _download(stream, f"{caller.tenant}-{signed.size}-proof.ndjson", signed.size)


@router.get(
    "/events",
    summary="Events in bulk",
    response_class=Response,
    responses=responses(403, ok_media=NDJSON, also={BATCH_MEDIA_TYPE: _BATCH}),
)
async def events(
    caller: ReaderDep,
    services: ServicesDep,
    after: Size = 0,
    until: Size | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_EVENTS)] = 10_000,
    type: Annotated[list[str], Query(max_length=20)] = [],  # noqa: B006  FastAPI copies it
    tag: Annotated[list[str], Query(max_length=20)] = [],  # noqa: B006  FastAPI copies it
    format: Literal["entries", "cloudevents", "cloudevents-batch"] = "entries",
) -> Response:
    """Stream events after a position, oldest first: their entries, a line each, or CloudEvents.

    Go on from the last line's position (`sequence` in CloudEvents) until a page comes back empty.
    """
    head = (await services.ledger.head(caller.tenant)).position
    last = head if until is None else min(until, head)
    query = by_type_and_tag(type, tag)
    found = pages(services, caller.tenant, after=after, until=last, limit=limit, query=query)
    origin = services.settings.origin(caller.tenant)
    headers = {"X-Quarterdeck-Position": str(head)}
    if format == "cloudevents-batch":
        return StreamingResponse(_batch(found, origin), media_type=BATCH_MEDIA_TYPE, headers=headers)
    stream = _lines(found) if format == "entries" else _cloudevents(found, origin)
    return StreamingResponse(stream, media_type=NDJSON, headers=headers)


async def _lines(found: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    async for page in found:
        yield b"\n".join(page) + b"\n"


async def _cloudevents(found: AsyncIterator[Any], origin: str) -> AsyncIterator[bytes]:
    async for page in found:
        yield b"\n".join(encode_cloudevent(entry, origin) for entry in page) + b"\n"


async def _batch(found: AsyncIterator[Any], origin: str) -> AsyncIterator[bytes]:
    before = b"["
    async for page in found:
        yield before + b",".join(encode_cloudevent(entry, origin) for entry in page)
        before = b","
    yield b"]" if before == b"," else b"[]"


async def _tile_bytes(services: Services, tenant: str, wanted: Tile) -> bytes:
    store = services.ledger.store
    if wanted.level is None:
        found = await store.read(tenant, None, wanted.start, wanted.stop, None, False)
        return encode_entries(entry for _, entry in found)
    if wanted.level == 0:
        return encode_tile(await store.leaves(tenant, wanted.start, wanted.stop))
    return encode_tile(await store.nodes(tenant, wanted.level, wanted.start, wanted.stop))


def _download(stream: AsyncIterator[bytes], name: str, size: int) -> StreamingResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Quarterdeck-Position": str(size)}
    return StreamingResponse(stream, media_type=NDJSON, headers=headers)


def _json(value: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
