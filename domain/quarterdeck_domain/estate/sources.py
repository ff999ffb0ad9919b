"""A source of the estate: where it is read from, how often, and by which secret's name. And when it is due."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from quarterdeck_domain.access.values import Item
from quarterdeck_domain.checks import line
from quarterdeck_domain.errors import InvalidInput, NotFound
from quarterdeck_domain.estate.source_events import (
    Dialect,
    OnDrift,
    SourceChanged,
    SourceKind,
    SourceRegistered,
    SourceRemoved,
)
from quarterdeck_domain.estate.voices import COMMAND
from quarterdeck_domain.events import Event, RecordedEvent

MAX_SOURCES: Final = 500
MIN_EVERY_S: Final = 900
MAX_EVERY_S: Final = 31 * 86_400
DAILY_S: Final = 86_400
MAX_ADDRESS: Final = 2_000
NAME: Final = "^[a-z0-9][a-z0-9._-]{0,59}$"
"""Of a source, and of a secret that an operator keeps."""
DRIFT: Final = "drift"
"""The first word of the source of what is said by accepting a drift."""
TRACES: Final = "traces"
"""The source of what traces show."""
_OURS: Final[Mapping[str, str]] = {
    COMMAND: "what people say by command",
    TRACES: "what traces show",
    DRIFT: "the word of whoever accepts a drift",
}
SETTING_EVENTS: Final[tuple[type[Event], ...]] = (SourceRegistered, SourceChanged, SourceRemoved)

_ADDRESS: Final = re.compile(r"https?://(?:\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{1,5})?(?:/[!-~]*)?")
_SECRET_SHAPE: Final = re.compile(r"(?:^|[^A-Za-z0-9])(sk|pk|rk|xox[abprs]|gh[pousr]|hf|AKIA|eyJ)[-_A-Za-z0-9.]{8,}")


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """How a source is read."""

    source_id: str
    kind: SourceKind
    address: str
    dialect: Dialect = "openai"
    every_s: int | None = None
    on_drift: OnDrift = "note"
    environment: str | None = None
    credential: str | None = None

    @property
    def said_by(self) -> str:
        """Return the name under which its objects and relations know it: an MCP server's is that of the importer."""
        return f"mcp {self.source_id}" if self.kind == "mcp" else self.source_id


class SourceFold:
    """One source as its events tell it; None where there is none (any more)."""

    def __init__(self, source_id: str) -> None:
        self.source_id = source_id
        self.now: Source | None = None
        self.position = 0
        """Of the event that settled how it is read."""

    def needs(self) -> Item:
        """Return the boundary item of every event this fold must see."""
        return (SETTING_EVENTS, (f"source:{self.source_id}",))

    def apply(self, event: RecordedEvent) -> None:
        """Fold one event; others pass by."""
        payload = event.payload
        if not isinstance(payload, SourceRegistered | SourceChanged | SourceRemoved):
            return
        if payload.source_id != self.source_id:
            return
        self.now = after(self.now, payload)
        self.position = event.position

    def require(self) -> Source:
        """Return it.

        Raises:
            NotFound: there is no such source.
        """
        if self.now is None:
            raise NotFound(f"there is no source {self.source_id[:80]!r}; register it first", source=self.source_id[:80])
        return self.now


def after(before: Source | None, payload: SourceRegistered | SourceChanged | SourceRemoved) -> Source | None:
    """Return a source once an event has happened to it."""
    if isinstance(payload, SourceRemoved):
        return None
    given: dict[str, Any] = {name: getattr(payload, name) for name in payload.__struct_fields__ if name != "reason"}
    if isinstance(payload, SourceRegistered):
        return Source(**given)
    return None if before is None else msgspec.structs.replace(before, **given)


def check_address(value: str) -> str:
    """Return an address unchanged.

    Raises:
        InvalidInput: it is no http(s) address, or has room for a secret: what is recorded here stays.
    """
    if len(value) > MAX_ADDRESS or not _ADDRESS.fullmatch(value):
        raise InvalidInput(
            "an address is https://host[:port][/path], without user, password or spaces", field="address"
        )
    if any(char in value for char in "?#\\"):
        raise InvalidInput(
            "an address has no query and no fragment: a secret may stand there, and what is recorded stays; name a "
            "credential instead",
            field="address",
        )
    if _SECRET_SHAPE.search(value) or "@" in value.partition("://")[2].partition("/")[0]:
        raise InvalidInput(
            "a part of the address looks like a key, and what is recorded stays; name a credential instead",
            field="address",
        )
    return value


def check_every(value: int | None) -> int | None:
    """Return an interval unchanged.

    Raises:
        InvalidInput: it is too short or too long.
    """
    if value is not None and not MIN_EVERY_S <= value <= MAX_EVERY_S:
        raise InvalidInput(
            f"a source is imported every {MIN_EVERY_S} to {MAX_EVERY_S} seconds, or only on request (null)",
            field="every_s",
            at_least=MIN_EVERY_S,
            at_most=MAX_EVERY_S,
        )
    return value


def check_name(value: str | None, field: str) -> str | None:
    """Return the name of a source or of a credential unchanged.

    Raises:
        InvalidInput: it is not one.
    """
    if value is not None and not re.fullmatch(NAME, value):
        raise InvalidInput(
            f"{field} is a name of 1 to 60 small letters, digits, dots, dashes and underlines", field=field
        )
    return value


def check_new_name(value: str) -> str:
    """Return the name of a source that is to be registered unchanged.

    Raises:
        InvalidInput: it is not one, or one under which the estate itself says things.
    """
    check_name(value, "source_id")
    first = re.split(r"[._-]", value, maxsplit=1)[0]
    ours = _OURS.get(value) or (_OURS[DRIFT] if first == DRIFT else None)
    if ours is not None:
        raise InvalidInput(
            f"{value!r} is the name of {ours}, which no source may pass for: call it after what is read, such as `crm`",
            field="source_id",
        )
    return value


def check_environment(value: str | None) -> str | None:
    """Return an environment's name unchanged.

    Raises:
        InvalidInput: blank, too long, or with characters that deceive.
    """
    return None if value is None else line(value, "environment", limit=60)


def phase_s(source_id: str, every_s: int) -> int:
    """Return how long after each multiple of its interval a source is due: spread, so that not all are at once."""
    return int.from_bytes(hashlib.sha256(source_id.encode()).digest()[:8]) % every_s


def due_after(source_id: str, every_s: int, moment: datetime) -> datetime:
    """Return the first time after a moment at which a source is due by its schedule."""
    seconds = int(moment.timestamp()) - phase_s(source_id, every_s)
    return datetime.fromtimestamp(0, UTC) + timedelta(
        seconds=(seconds // every_s + 1) * every_s + phase_s(source_id, every_s)
    )
