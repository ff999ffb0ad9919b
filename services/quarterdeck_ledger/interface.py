"""What the rest of the house may ask of the log. PostgreSQL and the in-memory twin both answer it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Protocol

import msgspec
from eventsourcing.dcb.api import DCBAppendCondition, DCBQuery

from quarterdeck_domain.events import Actor, Event, NewEvent, RecordedEvent
from quarterdeck_domain.slices import Slice


class Appended(msgspec.Struct, frozen=True, kw_only=True):
    """The durable place of one append. `repeated` tells that the same ids were there already."""

    first: int
    last: int
    recorded_at: datetime
    repeated: bool = False


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a tenant's log: its size, the root over it, and the time of its last event."""

    position: int
    root: bytes
    recorded_at: datetime | None


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a command that is not its content: where, who, why.

    `command_id` decides the ids of the events: the same command id gives the same ids, so a repeated
    command records nothing new. `fingerprint` is the digest of the request; the same command id with another
    fingerprint is refused. It is never recorded as it is: see `fingerprints`.
    """

    tenant: str
    actor: Actor
    command_id: uuid.UUID
    fingerprint: str | None = None
    causation_position: int | None = None
    traceparent: str | None = None


class Executed(msgspec.Struct, frozen=True, kw_only=True):
    """How a command ended. `position` is the last position the decision or its events stand on;
    pass it to reads as `at_least` to see your own write."""

    position: int
    recorded_at: datetime | None
    events: tuple[RecordedEvent, ...]
    repeated: bool = False


class Ledger(Protocol):
    """One append-only log per tenant."""

    async def append(
        self,
        tenant: str,
        events: Sequence[NewEvent],
        condition: DCBAppendCondition | None = None,
        *,
        not_after: datetime | None = None,
    ) -> Appended:
        """Record events, all or none, durably, before returning.

        Raises:
            AppendConflict: an event that matches the condition was recorded after its position.
            Expired: the clock under the lock has passed `not_after`.
            IdReused: an id is there already with other content.
            Busy: the queue is full; try again later.
            Unavailable: the database does not answer; whether it was recorded is unknown.
            InvalidInput: an event does not fit its schema or the entry limits.
        """
        ...

    async def read(
        self,
        tenant: str,
        query: DCBQuery | None = None,
        *,
        after: int = 0,
        until: int | None = None,
        limit: int | None = None,
        backwards: bool = False,
    ) -> list[RecordedEvent]:
        """Return matching events with `after < position <= until`, oldest first (newest first if backwards)."""
        ...

    async def find(self, tenant: str, event_id: uuid.UUID) -> RecordedEvent | None:
        """Return the event with that id."""
        ...

    async def head(self, tenant: str) -> Head:
        """Return the end of the log; position 0 for a tenant without events."""
        ...

    async def now(self) -> datetime:
        """Return the database's clock."""
        ...

    async def position_at(self, tenant: str, moment: datetime) -> int:
        """Return the last position recorded at or before a moment; 0 before the first event."""
        ...

    async def tenants(self) -> list[str]:
        """Return the names of all tenants that have a log."""
        ...

    def subscribe(self, tenant: str, *, after: int = 0) -> AsyncIterator[RecordedEvent]:
        """Yield every event after a position, then live ones as they come, each once, in order, for ever."""
        ...

    async def wait(self, tenant: str, after: int, timeout_s: float) -> None:
        """Return when the log may have grown beyond a position, or after the timeout."""
        ...

    async def execute(self, command: Slice, context: Context) -> Executed:
        """Run a command: read its boundary, decide, append; again on conflict, a bounded number of times.

        Raises:
            Refused: the slice said no.
            Contended: every try met a conflict.
            IdReused: the command id was used with another request.
            and what `append` raises.
        """
        ...

    async def prepared(self, payloads: Sequence[Event], context: Context) -> list[NewEvent]:
        """Return what a command decided as events to append: with the ids, actor and cause that its context gives."""
        ...

    async def repeated(self, context: Context) -> Executed | None:
        """Return what a command came to if it was recorded before.

        Raises:
            IdReused: its id was used with another request, or with one of which something was erased since.
        """
        ...
