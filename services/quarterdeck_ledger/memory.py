"""The in-memory twin of the PostgreSQL store: the same contract (one test suite runs on both), no durability.

For unit tests and for the simulator, which injects its clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime

from eventsourcing.dcb.api import DCBAppendCondition, DCBQuery

from quarterdeck_domain.slices import matches
from quarterdeck_ledger.entry import Draft, complete
from quarterdeck_ledger.store import Locked, Outcome, StoredHead, Submission


def _system_clock() -> datetime:
    return datetime.now(UTC)


class _Log:
    def __init__(self) -> None:
        self.entries: list[bytes] = []
        self.drafts: list[Draft] = []
        self.times: list[datetime] = []
        self.places: dict[uuid.UUID, int] = {}
        self.grown = asyncio.Event()


class _Locked:
    def __init__(self, store: MemoryStore, tenant: str, position: int, now: datetime) -> None:
        self._store = store
        self._tenant = tenant
        self.position = position
        self.now = now

    async def read(self, query: DCBQuery, after: int) -> list[tuple[int, bytes]]:
        return await self._store.read(self._tenant, query, after, None, None, False)

    async def known(self, ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
        return {found for found in ids if await self._store.find(self._tenant, found) is not None}

    async def append(self, batch: Sequence[Submission]) -> list[Outcome]:
        return self._store.record(self._tenant, batch)


class MemoryStore:
    """A store in this process's memory."""

    def __init__(self, clock: Callable[[], datetime] = _system_clock) -> None:
        self._clock = clock
        self._logs: dict[str, _Log] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def append_batch(self, tenant: str, batch: Sequence[Submission]) -> list[Outcome]:
        """Record a batch; an outcome each, in order."""
        async with self._locks.setdefault(tenant, asyncio.Lock()):
            return self.record(tenant, batch)

    @contextlib.asynccontextmanager
    async def deciding(self, tenant: str) -> AsyncIterator[Locked]:
        """Hold the log's lock."""
        async with self._locks.setdefault(tenant, asyncio.Lock()):
            log = self._logs.setdefault(tenant, _Log())
            now = max(self._clock(), log.times[-1]) if log.times else self._clock()
            yield _Locked(self, tenant, len(log.entries), now)

    def record(self, tenant: str, batch: Sequence[Submission]) -> list[Outcome]:
        """Record a batch at once; the caller holds the log's lock."""
        log = self._logs.setdefault(tenant, _Log())
        base = len(log.entries)
        now = max(self._clock(), log.times[-1]) if log.times else self._clock()
        # Every caller is judged against the log before the batch: whoever builds batches keeps apart those
        # that could touch each other, exactly as with the database.
        outcomes = [self._judge(log, base, submission, now) for submission in batch]
        answered = []
        for submission, outcome in zip(batch, outcomes, strict=True):
            if outcome.status != "ok":
                answered.append(outcome)
                continue
            first = len(log.entries) + 1
            for draft in submission.drafts:
                log.entries.append(complete(draft, len(log.entries) + 1, now))
                log.drafts.append(draft)
                log.times.append(now)
                log.places[draft.id] = len(log.entries)
            answered.append(Outcome(status="ok", first=first, last=len(log.entries), at=now))
        log.grown.set()
        log.grown = asyncio.Event()
        return answered

    def _judge(self, log: _Log, base: int, submission: Submission, now: datetime) -> Outcome:
        known = [log.places[draft.id] for draft in submission.drafts if draft.id in log.places]
        if known:
            whole = len(known) == len(submission.drafts) and known == list(range(known[0], known[0] + len(known)))
            return Outcome(status="repeated" if whole else "partial", first=known[0], last=known[-1], at=now)
        if submission.condition is not None and self._conflicts(log, base, submission.condition):
            return Outcome(status="conflict", first=None, last=None, at=now)
        if submission.not_after is not None and submission.not_after < now:
            return Outcome(status="expired", first=None, last=None, at=now)
        return Outcome(status="ok", first=None, last=None, at=now)

    def _conflicts(self, log: _Log, base: int, condition: DCBAppendCondition) -> bool:
        return any(
            matches(condition.fail_if_events_match, draft.type, frozenset(draft.tags))
            for draft in log.drafts[condition.after or 0 : base]
        )

    async def read(
        self, tenant: str, query: DCBQuery | None, after: int, until: int | None, limit: int | None, backwards: bool
    ) -> list[tuple[int, bytes]]:
        """Return (position, entry) of matching events with `after < position <= until`."""
        log = self._logs.get(tenant)
        if log is None:
            return []
        last = len(log.entries) if until is None else min(until, len(log.entries))
        span = range(last, after, -1) if backwards else range(after + 1, last + 1)
        found: list[tuple[int, bytes]] = []
        for position in span:
            draft = log.drafts[position - 1]
            if limit is not None and len(found) >= limit:
                break
            if query is None or matches(query, draft.type, frozenset(draft.tags)):
                found.append((position, log.entries[position - 1]))
        return found

    async def find(self, tenant: str, event_id: uuid.UUID) -> bytes | None:
        """Return the entry with an id."""
        log = self._logs.get(tenant)
        position = log.places.get(event_id) if log else None
        return log.entries[position - 1] if log and position else None

    async def head(self, tenant: str) -> StoredHead:
        """Return the end of a log."""
        log = self._logs.get(tenant)
        if log is None or not log.entries:
            return StoredHead()
        frontier: list[bytes] = []
        for index, leaf in enumerate(await self.leaves(tenant, 0, len(log.entries))):
            carry = index
            while carry & 1:
                leaf = hashlib.sha256(b"\x01" + frontier.pop() + leaf).digest()
                carry >>= 1
            frontier.append(leaf)
        return StoredHead(position=len(log.entries), recorded_at=log.times[-1], frontier=tuple(frontier))

    async def now(self) -> datetime:
        """Return the clock."""
        return self._clock()

    async def position_at(self, tenant: str, moment: datetime) -> int:
        """Return the last position recorded at or before a moment."""
        log = self._logs.get(tenant)
        return sum(1 for time in log.times if time <= moment) if log else 0

    async def tenants(self) -> list[str]:
        """Return the names of the tenants with a log."""
        return sorted(self._logs)

    async def leaves(self, tenant: str, after: int, until: int) -> list[bytes]:
        """Return the leaf hashes of `after < position <= until`."""
        log = self._logs.get(tenant)
        return [hashlib.sha256(b"\x00" + entry).digest() for entry in log.entries[after:until]] if log else []

    async def nodes(self, tenant: str, level: int, start: int, stop: int) -> list[bytes]:
        """Return roots of complete subtrees of 256^level leaves, indexes `start <= i < stop`."""
        width = 256**level
        found: list[bytes] = []
        for index in range(start, stop):
            row = await self.leaves(tenant, index * width, (index + 1) * width)
            if len(row) < width:
                break
            while len(row) > 1:
                row = [hashlib.sha256(b"\x01" + row[i] + row[i + 1]).digest() for i in range(0, len(row), 2)]
            found.append(row[0])
        return found

    async def wait(self, tenant: str, after: int, timeout_s: float) -> None:
        """Return when the log has grown beyond a position, or after the timeout."""
        log = self._logs.setdefault(tenant, _Log())
        if len(log.entries) > after:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await log.grown.wait()
