"""The PostgreSQL store: every statement is one of the functions in `sql/`, one round trip each."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import asyncpg
from eventsourcing.dcb.api import DCBQuery

from quarterdeck_ledger.entry import parse_entry, tag_key
from quarterdeck_ledger.errors import Unavailable, UnsafeServer
from quarterdeck_ledger.notify import Notifications
from quarterdeck_ledger.server import APP_ROLE, check_safe
from quarterdeck_ledger.store import Locked, Outcome, StoredHead, Submission

_EVERYTHING: Final = 2**62
_APPEND: Final = "SELECT * FROM ledger.append($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13)"
_READ: Final = "SELECT * FROM ledger.read($1,$2,$3,$4,$5,$6,$7,$8)"
# A page of everything needs no function around it, which would hold the whole page before its first row leaves.
# Entering comes first because the rest depends on it; were it otherwise, row-level security would refuse, not answer.
# There is one row to enter, so the order within is the order without; ordering once more would sort the page on disk.
_READ_ALL: Final = """SELECT e.position, e.entry FROM ledger.enter($1) AS t(tenant_id) CROSS JOIN LATERAL (
    SELECT v.position, v.entry FROM ledger.events v
    WHERE v.tenant_id = t.tenant_id AND v.position > $2 AND v.position <= $3 ORDER BY v.position LIMIT $4
) e"""
_SEPARATOR: Final = "\x1f"
# The last is what the driver says when a server's farewell has come and the end of the connection has not yet.
_AWAY: Final = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError)


async def _keep_session(connection: Any) -> None:
    """Skip the driver's reset: no statement of ours leaves session state, and a reset costs a round trip."""


async def open_pool(
    url: str, *, size: int = 8, application: str = "quarterdeck", reading: bool = False
) -> asyncpg.Pool:
    """Open connections that act as the application's role, whoever logs in. For `reading` alone any server will do.

    Raises:
        Unavailable: no connection.
        UnsafeServer: the server could lose what it acknowledges, or the role would see through row-level security.
    """
    settings = {
        "role": APP_ROLE,
        "application_name": application,
        "lock_timeout": "15s",
        "idle_in_transaction_session_timeout": "30s",
        "jit": "off",
    }
    # No connection is kept for its own sake: while the server is away, the pool must not chase it in the background.
    pool = asyncpg.create_pool(
        url, min_size=0, max_size=size, server_settings=settings, reset=_keep_session, command_timeout=60
    )
    try:
        async with translated():
            await pool
            if not reading:
                await check_safe(pool)
            sees_all = await pool.fetchval(
                "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"  # the role in effect
            )
        if sees_all:
            raise UnsafeServer(f"the role {APP_ROLE} is a superuser or bypasses row-level security; take that away")
    except asyncpg.InvalidParameterValueError as error:
        pool.terminate()
        raise UnsafeServer(f"{error}: this is no database of ours, or a new one; run `quarterdeck migrate`") from None
    except BaseException:
        pool.terminate()
        raise
    return pool


@contextlib.asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Turn what the driver raises when the database is away into `Unavailable`, once, here."""
    try:
        yield
    except (*_AWAY, asyncpg.exceptions.QueryCanceledError) as error:
        raise Unavailable(f"PostgreSQL does not answer: {error}") from error
    except asyncpg.PostgresError as error:
        # Classes 08 (connection), 53 (resources, disk full), 57 (shutdown), 58 (system), 55P03 (lock timeout), 25006.
        code = error.sqlstate or ""
        if code[:2] in {"08", "53", "57", "58", "XX"} or code in {"55P03", "25006"}:
            raise Unavailable(f"PostgreSQL cannot serve now: {error}") from error
        raise


class _Locked:
    def __init__(self, connection: Any, tenant: str, position: int, now: datetime) -> None:
        self._connection = connection
        self._tenant = tenant
        self.position = position
        self.now = now

    async def read(self, query: DCBQuery, after: int) -> list[tuple[int, bytes]]:
        return await read_on(self._connection, self._tenant, query, after, None, None, False)

    async def known(self, ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
        statement = "SELECT id FROM ledger.events WHERE tenant_id = ledger.current_tenant_id() AND id = ANY ($1)"
        return {uuid.UUID(str(row["id"])) for row in await self._connection.fetch(statement, list(ids))}

    async def append(self, batch: Sequence[Submission]) -> list[Outcome]:
        return outcomes(await self._connection.fetch(_APPEND, self._tenant, *batch_arguments(batch)))


class PostgresStore:
    """A store in PostgreSQL 18. Open it with `async with PostgresStore.open(url) as store`."""

    def __init__(self, pool: asyncpg.Pool, notifications: Notifications) -> None:
        self.pool = pool
        self._notifications = notifications

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, url: str, *, size: int = 8, reading: bool = False) -> AsyncIterator[PostgresStore]:
        """Connect, and disconnect at the end. `reading` as in `open_pool`.

        Raises:
            Unavailable, UnsafeServer: as `open_pool`.
        """
        pool = await open_pool(url, size=size, reading=reading)
        notifications = Notifications(url)
        try:
            yield cls(pool, notifications)
        finally:
            await notifications.close()
            try:
                async with asyncio.timeout(5):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    @contextlib.asynccontextmanager
    async def deciding(self, tenant: str) -> AsyncIterator[Locked]:
        """Hold the log's lock in one transaction, committed at the end of the block."""
        async with translated(), self.pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow("SELECT * FROM ledger.lock($1)", tenant)
            yield _Locked(connection, tenant, row["position"], row["now_at"])

    async def append_batch(self, tenant: str, batch: Sequence[Submission]) -> list[Outcome]:
        """Record a batch in one transaction; an outcome each, in order."""
        arguments = batch_arguments(batch)
        async with translated():
            rows = await self.pool.fetch(_APPEND, tenant, *arguments)
        return outcomes(rows)

    async def read(
        self, tenant: str, query: DCBQuery | None, after: int, until: int | None, limit: int | None, backwards: bool
    ) -> list[tuple[int, bytes]]:
        """Return (position, entry) of matching events with `after < position <= until`."""
        async with translated():
            return await read_on(self.pool, tenant, query, after, until, limit, backwards)

    async def find(self, tenant: str, event_id: uuid.UUID) -> bytes | None:
        """Return the entry with an id."""
        async with translated():
            entry: bytes | None = await self.pool.fetchval("SELECT ledger.find($1, $2)", tenant, event_id)
        return entry

    async def head(self, tenant: str) -> StoredHead:
        """Return the end of a log."""
        async with translated():
            row = await self.pool.fetchrow("SELECT * FROM ledger.head($1)", tenant)
        if row is None or row["position"] == 0:
            return StoredHead()
        return StoredHead(position=row["position"], recorded_at=row["recorded_at"], frontier=tuple(row["frontier"]))

    async def now(self) -> datetime:
        """Return the database's clock."""
        async with translated():
            moment: datetime = await self.pool.fetchval("SELECT clock_timestamp()")
        return moment

    async def position_at(self, tenant: str, moment: datetime) -> int:
        """Return the last position recorded at or before a moment."""
        async with translated():
            position: int = await self.pool.fetchval("SELECT ledger.position_at($1, $2)", tenant, moment)
        return position

    async def tenants(self) -> list[str]:
        """Return the names of the tenants with a log."""
        async with translated():
            rows = await self.pool.fetch("SELECT name FROM ledger.tenants ORDER BY name")
        return [row["name"] for row in rows]

    async def leaves(self, tenant: str, after: int, until: int) -> list[bytes]:
        """Return the leaf hashes of `after < position <= until`, in order."""
        async with translated():
            rows = await self.pool.fetch("SELECT leaf_hash FROM ledger.leaves($1, $2, $3)", tenant, after, until)
        return [row["leaf_hash"] for row in rows]

    async def nodes(self, tenant: str, level: int, start: int, stop: int) -> list[bytes]:
        """Return stored roots of complete subtrees of 256^level leaves, indexes `start <= i < stop`."""
        async with translated():
            rows = await self.pool.fetch("SELECT hash FROM ledger.nodes($1, $2, $3, $4)", tenant, level, start, stop)
        return [row["hash"] for row in rows]

    async def wait(self, tenant: str, after: int, timeout_s: float) -> None:
        """Return when the log may have grown, or after the timeout."""
        await self._notifications.wait(tenant, after, timeout_s)


async def read_on(
    executor: asyncpg.Pool | asyncpg.Connection,
    tenant: str,
    query: DCBQuery | None,
    after: int,
    until: int | None,
    limit: int | None,
    backwards: bool,
) -> list[tuple[int, bytes]]:
    """Read on a pool, or on the connection whose transaction holds the log's lock."""
    last = _EVERYTHING if until is None else until
    most = _EVERYTHING if limit is None else limit
    if query is None and not backwards:
        rows = await executor.fetch(_READ_ALL, tenant, after, last, most)
    else:
        rows = await executor.fetch(_READ, tenant, after, last, most, backwards, *query_arrays(query))
    found = [(row["position"], row["entry"]) for row in rows]
    if query is None or not any(item.tags for item in query.items):
        return found
    return [(position, entry) for position, entry in found if _really_matches(query, entry)]


def _really_matches(query: DCBQuery, entry: bytes) -> bool:
    # The index knows tags by a key made of them; the entry knows them by name.
    recorded = parse_entry(entry)
    tags = frozenset(recorded.tags)
    return any(tags.issuperset(item.tags) and (not item.types or recorded.type in item.types) for item in query.items)


def query_arrays(query: DCBQuery | None) -> tuple[list[str | None], list[str | None], list[str | None]]:
    """Return a query as the parallel arrays (probe tag, further tags, types) of `ledger.read`."""
    probes: list[str | None] = []
    more: list[str | None] = []
    types: list[str | None] = []
    for item in query.items if query else ():
        keys = [tag_key(tag) for tag in item.tags]
        probes.append(keys[0] if keys else None)
        more.append(_array(keys[1:]) if len(keys) > 1 else None)
        types.append(_SEPARATOR.join(item.types) if item.types else None)
    return probes, more, types


def batch_arguments(batch: Sequence[Submission]) -> tuple[list[Any], ...]:
    """Return a batch as the parallel arrays of `ledger.append`."""
    counts: list[int] = []
    limits: list[datetime | None] = []
    ids: list[uuid.UUID] = []
    types: list[str] = []
    prefixes: list[bytes] = []
    suffixes: list[bytes] = []
    tags: list[str] = []
    conditions: tuple[list[Any], ...] = ([], [], [], [], [])
    for caller, submission in enumerate(batch, 1):
        counts.append(len(submission.drafts))
        limits.append(submission.not_after)
        for draft in submission.drafts:
            ids.append(draft.id)
            types.append(draft.type)
            prefixes.append(draft.prefix)
            suffixes.append(draft.suffix)
            tags.append(_array(dict.fromkeys(map(tag_key, draft.tags))))
        if submission.condition is not None:
            after = submission.condition.after or 0
            arrays = query_arrays(submission.condition.fail_if_events_match)
            for item in list(zip(*arrays, strict=True)) or [(None, None, None)]:
                for column, value in zip(conditions, (caller, after, *item), strict=True):
                    column.append(value)
    callers, afters, probes, *further = conditions
    # The driver looks at each element, and mostly there is nothing but None.
    limits, *further = ([] if column.count(None) == len(column) else column for column in (limits, *further))
    return counts, limits, ids, types, prefixes, suffixes, tags, callers, afters, probes, *further


def _array(keys: Iterable[str]) -> str:
    return "{" + ",".join(keys) + "}"


def outcomes(rows: Sequence[Any]) -> list[Outcome]:
    """Return the rows of `ledger.append` as outcomes, in the callers' order."""
    return [
        Outcome(status=row["status"], first=row["first_position"], last=row["last_position"], at=row["at"])
        for row in rows
    ]
