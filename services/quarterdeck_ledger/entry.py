"""The entry: the canonical bytes of a whole event, and the way to them and back.

`{"actor":…,"cause":…,"data":…,"id":…,"position":…,"recorded_at":…,"tags":[…],"tenant":…,"type":…,"version":…}`

Position and time are known only under the log's lock, so an entry is prepared as the bytes before them
and the bytes after them; the database puts the middle in and hashes the whole.
"""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import msgspec

from quarterdeck_domain import canonical, ids
from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.events import Actor, Cause

MAX_TAGS: Final = 64
MAX_TAG_LENGTH: Final = 512
_LIMIT: Final = canonical.MAX_BYTES - len('"position":9007199254740991,"recorded_at":"2026-01-01T00:00:00.000000Z",')


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """An event ready to be recorded: its entry but for position and time, and what it is found by."""

    id: uuid.UUID
    type: str
    tags: tuple[str, ...]
    prefix: bytes
    suffix: bytes


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A recorded event as its bytes say it, with its data still as JSON values (personal fields sealed)."""

    actor: Actor
    cause: Cause
    data: dict[str, Any]
    id: uuid.UUID
    position: int
    recorded_at: datetime
    tags: tuple[str, ...]
    tenant: str
    type: str
    version: int


_NO_CAUSE: Final = b"{}"
_decoder: Final = msgspec.json.Decoder(Entry)


def make_draft(
    tenant: str,
    event_id: uuid.UUID,
    event_type: str,
    version: int,
    data: dict[str, Any],
    tags: tuple[str, ...],
    actor: Actor,
    cause: Cause,
) -> Draft:
    """Prepare an event's entry.

    Raises:
        InvalidInput: outside the canonical profile, too long, or too many or too long tags.
    """
    ordered = tuple(sorted(set(tags)))
    if len(ordered) > MAX_TAGS or max(map(len, ordered), default=0) > MAX_TAG_LENGTH:
        raise InvalidInput(f"at most {MAX_TAGS} tags of {MAX_TAG_LENGTH} characters", tags=len(ordered))
    prefix = b"".join(
        (
            b'{"actor":',
            _actor_bytes(actor),
            b',"cause":',
            _NO_CAUSE if cause == Cause() else canonical.encode(msgspec.to_builtins(cause), depth=1),
            b',"data":',
            canonical.encode(data, max_bytes=_LIMIT, depth=1),
            f',"id":"{event_id}",'.encode(),
        )
    )
    tags_bytes = canonical.encode(ordered, max_bytes=_LIMIT, depth=1)
    suffix = b'"tags":' + tags_bytes + b"," + _tail_bytes(tenant, event_type, version)
    if len(prefix) + len(suffix) > _LIMIT:
        raise InvalidInput(f"the event's entry has more than {canonical.MAX_BYTES} bytes", limit=canonical.MAX_BYTES)
    return Draft(id=event_id, type=event_type, tags=ordered, prefix=prefix, suffix=suffix)


@lru_cache(maxsize=1024)
def _actor_bytes(actor: Actor) -> bytes:
    return canonical.encode(msgspec.to_builtins(actor), depth=1)


@lru_cache(maxsize=1024)
def _tail_bytes(tenant: str, event_type: str, version: int) -> bytes:
    return canonical.encode({"tenant": tenant, "type": event_type, "version": version}, max_bytes=_LIMIT)[1:]


def complete(draft: Draft, position: int, recorded_at: datetime) -> bytes:
    """Return the entry of a draft at its place; the same bytes as the database makes."""
    middle = f'"position":{position},"recorded_at":"{format_time(recorded_at)}",'
    return draft.prefix + middle.encode() + draft.suffix


def parse_entry(entry: bytes) -> Entry:
    """Read an entry. The log's own bytes are well-formed; anything else is corruption and raises ValueError."""
    return _decoder.decode(entry)


def same_content(draft: Draft, entry: bytes) -> bool:
    """Tell whether a draft says what an entry says; its cause (trace, command) may differ."""
    recorded = parse_entry(entry)
    place = complete(draft, recorded.position, recorded.recorded_at)
    if place == entry:
        return True
    mine = parse_entry(place)
    return msgspec.structs.replace(mine, cause=recorded.cause) == recorded


def format_time(moment: datetime) -> str:
    """Return RFC 3339 UTC with microseconds: the one spelling of a time in an entry."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@lru_cache(maxsize=16_384)
def tag_key(tag: str) -> str:
    """Return the 128 bits, in hex, under which a tag is indexed: a hash of it, led by the time of the id it ends in.

    Things that began together lie together in the index then: what is new is written side by side, and not each to
    a page of its own among all that ever was.
    """
    digest = hashlib.blake2b(tag.encode(), digest_size=16).hexdigest()
    moment = ids.milliseconds(tag[-ids.LENGTH :])
    return digest if moment is None else f"{moment:012x}{digest[12:]}"
