"""The log's store of the simulator: the in-memory twin with an index, shared by processes that reach it over a network.

A `Connection` is one process's way to it. Every call is a request and an answer: either may be lost (the store has then
done nothing, or has done it without anybody knowing), and other processes act in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime

from eventsourcing.dcb.api import DCBAppendCondition, DCBQuery
from simulator_loop import PROCESS, Process, SimulatorLoop

from quarterdeck_domain.slices import matches
from quarterdeck_ledger.entry import Draft
from quarterdeck_ledger.memory import MemoryStore, _Log
from quarterdeck_ledger.store import Locked, Outcome, StoredHead, Submission


class IndexedStore(MemoryStore):
    """The same answers as its base, found by index. `frozen` is a log that many simulations begin with."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        super().__init__(clock)
        self._by_tag: dict[tuple[str, str], list[int]] = {}
        self._by_type: dict[tuple[str, str], list[int]] = {}
        self._base: IndexedStore | None = None

    def branch(self, clock: Callable[[], datetime]) -> IndexedStore:
        """Return a store that begins with this one's logs, which must not grow any more."""
        copy = IndexedStore(clock)
        for tenant, log in self._logs.items():
            mine = copy._logs[tenant] = _Log()
            mine.entries, mine.drafts, mine.times = log.entries.copy(), log.drafts.copy(), log.times.copy()
            mine.places = log.places.copy()
        copy._base = self
        return copy

    def record(self, tenant: str, batch: Sequence[Submission]) -> list[Outcome]:
        """Record a batch, and index it."""
        log = self._logs.get(tenant)
        before = len(log.entries) if log else 0
        outcomes = super().record(tenant, batch)
        for place, draft in enumerate(self._logs[tenant].drafts[before:], before + 1):
            self._by_type.setdefault((tenant, draft.type), []).append(place)
            for tag in draft.tags:
                self._by_tag.setdefault((tenant, tag), []).append(place)
        return outcomes

    async def read(
        self, tenant: str, query: DCBQuery | None, after: int, until: int | None, limit: int | None, backwards: bool
    ) -> list[tuple[int, bytes]]:
        """Return (position, entry) of matching events with `after < position <= until`."""
        log = self._logs.get(tenant)
        if log is None or query is None or not query.items:
            return await super().read(tenant, query, after, until, limit, backwards)
        last = len(log.entries) if until is None else until
        found = sorted(self._places(tenant, query, log.drafts, after, last), reverse=backwards)
        return [(place, log.entries[place - 1]) for place in found[:limit]]

    def _places(self, tenant: str, query: DCBQuery, drafts: list[Draft], after: int, last: int) -> set[int]:
        found: set[int] = set()
        for item in query.items:
            if item.tags:
                for place in self._index("_by_tag", (tenant, item.tags[0])):
                    draft = drafts[place - 1]
                    if (
                        after < place <= last
                        and (not item.types or draft.type in item.types)
                        and (len(item.tags) == 1 or set(item.tags) <= set(draft.tags))
                    ):
                        found.add(place)
            elif item.types:
                for name in item.types:
                    found.update(p for p in self._index("_by_type", (tenant, name)) if after < p <= last)
            else:
                found.update(range(after + 1, min(last, len(drafts)) + 1))
        return found

    def _index(self, which: str, key: tuple[str, str]) -> Sequence[int]:
        mine: Sequence[int] = getattr(self, which).get(key, ())
        if self._base is None:
            return mine
        theirs: Sequence[int] = getattr(self._base, which).get(key, ())
        return (*theirs, *mine) if mine else theirs

    def _conflicts(self, log: _Log, base: int, condition: DCBAppendCondition) -> bool:
        query = condition.fail_if_events_match
        return any(
            matches(query, draft.type, frozenset(draft.tags)) for draft in log.drafts[condition.after or 0 : base]
        )


class LogLock:
    """The lock on a log's head. A process that dies lets go of it, as its database connection does."""

    def __init__(self, loop: SimulatorLoop) -> None:
        self._loop = loop
        self._holder: Process | None = None
        self._waiting: list[asyncio.Future[None]] = []

    async def __aenter__(self) -> None:
        while self._holder is not None:
            waiting: asyncio.Future[None] = self._loop.create_future()
            self._waiting.append(waiting)
            await waiting
        self._holder = PROCESS.get()

    async def __aexit__(self, *_: object) -> None:
        self.died(PROCESS.get())

    def died(self, process: Process) -> None:
        """Let go of it if that process holds it."""
        if self._holder is process:
            self._holder = None
            waiting, self._waiting = self._waiting, []
            for one in waiting:
                if not one.done():
                    one.set_result(None)


class Transaction:
    """What is decided under the lock: nothing of it is in the log before the commit."""

    def __init__(self, connection: Connection, tenant: str, position: int, now: datetime) -> None:
        self._connection = connection
        self._tenant = tenant
        self.position = position
        self.now = now
        self.written: list[Submission] = []

    async def read(self, query: DCBQuery, after: int) -> list[tuple[int, bytes]]:
        """Return (position, entry) of matching events after a position."""
        return await self._connection.read(self._tenant, query, after, None, None, False)

    async def known(self, ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
        """Return those of the ids that are recorded."""
        return {found for found in ids if await self._connection.find(self._tenant, found) is not None}

    async def append(self, batch: Sequence[Submission]) -> list[Outcome]:
        """Record a batch with the commit. Nothing can conflict: the lock is held."""
        self.written.extend(batch)
        return [Outcome(status="ok", first=None, last=None, at=self.now) for _ in batch]


class Connection:
    """One process's store. `wire` is asked before a request leaves and before its answer comes; it may raise."""

    def __init__(self, store: MemoryStore, loop: SimulatorLoop, lock: LogLock, wire: Callable[[str], None]) -> None:
        self._store = store
        self._loop = loop
        self._lock = lock
        self._wire = wire

    async def append_batch(self, tenant: str, batch: Sequence[Submission]) -> list[Outcome]:
        """Record a batch over the network."""
        await self._loop.arrival()
        self._wire("store.request")
        async with self._lock:
            outcomes = self._store.record(tenant, batch)
        self._wire("store.answer")
        await self._loop.arrival()
        return outcomes

    @contextlib.asynccontextmanager
    async def deciding(self, tenant: str) -> AsyncIterator[Locked]:
        """Hold the log's lock; what was appended is recorded when the block has ended well."""
        await self._loop.arrival()
        self._wire("store.request")
        async with self._lock:
            head = await self.head(tenant)
            transaction = Transaction(self, tenant, head.position, await self._store.now())
            yield transaction
            self._wire("store.commit")
            if transaction.written:
                outcomes = self._store.record(tenant, transaction.written)
                assert all(outcome.status == "ok" for outcome in outcomes), outcomes
        self._wire("store.answer")
        await self._loop.arrival()

    async def read(
        self, tenant: str, query: DCBQuery | None, after: int, until: int | None, limit: int | None, backwards: bool
    ) -> list[tuple[int, bytes]]:
        """Read over the network."""
        await self._loop.arrival()
        self._wire("store.read")
        return await self._store.read(tenant, query, after, until, limit, backwards)

    async def find(self, tenant: str, event_id: uuid.UUID) -> bytes | None:
        """Return the entry with an id."""
        self._wire("store.read")
        return await self._store.find(tenant, event_id)

    async def head(self, tenant: str) -> StoredHead:
        """Return the end of a log; its frontier is computed where it is checked."""
        self._wire("store.read")
        log = self._store._logs.get(tenant)
        return StoredHead(position=len(log.entries) if log else 0)

    async def now(self) -> datetime:
        """Return the store's clock."""
        return await self._store.now()

    async def position_at(self, tenant: str, moment: datetime) -> int:
        """Return the last position recorded at or before a moment."""
        return await self._store.position_at(tenant, moment)

    async def tenants(self) -> list[str]:
        """Return the names of the tenants with a log."""
        return await self._store.tenants()

    async def leaves(self, tenant: str, after: int, until: int) -> list[bytes]:
        """Return leaf hashes."""
        return await self._store.leaves(tenant, after, until)

    async def nodes(self, tenant: str, level: int, start: int, stop: int) -> list[bytes]:
        """Return roots of complete subtrees."""
        return await self._store.nodes(tenant, level, start, stop)

    async def wait(self, tenant: str, after: int, timeout_s: float) -> None:
        """Return when the log has grown; where nothing ever happens, the simulation ends instead of polling."""
        assert PROCESS.get().alive
        log = self._store._logs[tenant]
        if len(log.entries) <= after:
            await log.grown.wait()
