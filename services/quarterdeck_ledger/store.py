"""The store: drafts in, entries out, below validation and encryption. PostgreSQL and memory both are one.

A `Submission` is one caller's append. `Outcome` is its own answer, whatever happened to its neighbours.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Literal, Protocol

import msgspec
from eventsourcing.dcb.api import DCBAppendCondition, DCBQuery

from quarterdeck_ledger.entry import Draft

Status = Literal["ok", "repeated", "conflict", "expired", "partial"]


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """What one caller wants recorded, and under which condition."""

    drafts: tuple[Draft, ...]
    condition: DCBAppendCondition | None = None
    not_after: datetime | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a submission. Positions are given for `ok` and `repeated`."""

    status: Status
    first: int | None
    last: int | None
    at: datetime


class StoredHead(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a log: its size, last time and RFC 6962 frontier (largest subtree first)."""

    position: int = 0
    recorded_at: datetime | None = None
    frontier: tuple[bytes, ...] = ()


class Locked(Protocol):
    """A tenant's log while its lock is held: nobody else appends."""

    position: int
    now: datetime

    async def read(self, query: DCBQuery, after: int) -> list[tuple[int, bytes]]:
        """Return (position, entry) of matching events after a position."""
        ...

    async def known(self, ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
        """Return those of the ids that are recorded."""
        ...

    async def append(self, batch: Sequence[Submission]) -> list[Outcome]:
        """Record a batch; an outcome each, in order."""
        ...


class Store(Protocol):
    """Where entries are kept."""

    def deciding(self, tenant: str) -> AbstractAsyncContextManager[Locked]:
        """Hold the log's lock for deciding under it; what was appended is durable when the block has ended."""
        ...

    async def append_batch(self, tenant: str, batch: Sequence[Submission]) -> list[Outcome]:
        """Record a batch in one transaction; an outcome each, in order."""
        ...

    async def read(
        self, tenant: str, query: DCBQuery | None, after: int, until: int | None, limit: int | None, backwards: bool
    ) -> list[tuple[int, bytes]]:
        """Return (position, entry) of matching events with `after < position <= until`."""
        ...

    async def find(self, tenant: str, event_id: uuid.UUID) -> bytes | None:
        """Return the entry with an id."""
        ...

    async def head(self, tenant: str) -> StoredHead:
        """Return the end of a log; position 0 for a tenant without one."""
        ...

    async def now(self) -> datetime:
        """Return the store's clock."""
        ...

    async def position_at(self, tenant: str, moment: datetime) -> int:
        """Return the last position recorded at or before a moment."""
        ...

    async def tenants(self) -> list[str]:
        """Return the names of the tenants with a log."""
        ...

    async def leaves(self, tenant: str, after: int, until: int) -> list[bytes]:
        """Return the leaf hashes of `after < position <= until`, in order."""
        ...

    async def nodes(self, tenant: str, level: int, start: int, stop: int) -> list[bytes]:
        """Return stored roots of complete subtrees of 256^level leaves, indexes `start <= i < stop`."""
        ...

    async def wait(self, tenant: str, after: int, timeout_s: float) -> None:
        """Return when the log may have grown beyond a position, or after the timeout."""
        ...
