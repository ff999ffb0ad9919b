"""The projector: keeps the read models current, tenant by tenant, in order, each event exactly once.

Rows and the tenant's progress are written in one transaction, so a crash anywhere is a crash between runs. Two
projectors at once are one too many, not wrong: the second finds the tenant's progress locked and leaves it alone.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import asyncpg
import structlog

from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_ledger import faults
from quarterdeck_ledger.postgres import translated
from quarterdeck_ledger.store import Store
from quarterdeck_projector import observed
from quarterdeck_projector import rebuild as rebuilding
from quarterdeck_projector.rebuild import Progress
from quarterdeck_readmodels import ranges, schema
from quarterdeck_readmodels.arrivals import CHANNEL
from quarterdeck_readmodels.catalogue import VERSION
from quarterdeck_readmodels.folding import Reading, Run, Unfoldable
from quarterdeck_readmodels.schema import LIVE
from quarterdeck_readmodels.tables import storable

RUN: Final = 5_000
_SLICE: Final = 500
_POLL_S: Final = 1.0
_BUSY_S: Final = 0.05
_STOPPED_S: Final = 10.0
_AT_ONCE: Final = 4
_CREATE_LOCK: Final = 7420004
_UNSTORABLE: Final = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    ValueError,  # the driver's, of what it cannot encode
    ArithmeticError,  # ours, of what no column can hold
)
log = structlog.get_logger(__name__)


class OtherRelease(QuarterdeckError):
    """The tables are another release's. The projector of the newest release rebuilds them; older ones leave them be."""

    code = "other_release"


class Unstorable(Exception):
    """The database or its driver refuses what a run would write, whoever asks."""


class Projector:
    """Applies every tenant's log to the read models."""

    def __init__(self, store: Store, pool: asyncpg.Pool, reading: Reading | None = None) -> None:
        self._store = store
        self._pool = pool
        self._reading = reading or Reading()
        # However many tenants there are, runs of a few are in memory, and each tenant has its turn.
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def run(self) -> None:
        """Make the tables if need be, then follow every log, present and future, until cancelled."""
        following: dict[str, asyncio.Task[None]] = {}
        prepared = False
        try:
            while True:
                try:
                    if not prepared:
                        await self.prepare()
                        prepared = True
                    for tenant in await self._store.tenants():
                        if tenant not in following or following[tenant].done():
                            following[tenant] = asyncio.create_task(self.follow(tenant), name=f"project {tenant}")
                except QuarterdeckError as error:
                    log.warning("project.waiting", error=str(error))
                await asyncio.sleep(_POLL_S)
        finally:
            for task in following.values():
                task.cancel()
            await asyncio.gather(*following.values(), return_exceptions=True)

    async def prepare(self) -> None:
        """Make the tables, or make them anew from the log where they are of an older version.

        Raises:
            OtherRelease: they are of a newer one.
            Rebuilding: somebody else is making them anew.
        """
        async with translated(), self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _CREATE_LOCK)
            found = await schema.version(connection)
            if found is None:
                await schema.create(connection)
        if found is not None and found > VERSION:
            _check_version(found)
        if found is not None and found < VERSION:
            log.info("project.rebuilding", found=found, wanted=VERSION)
            await self.rebuild()

    async def rebuild(self, progress: Progress | None = None) -> dict[str, int]:
        """Make every table anew from the log, beside the old ones, and swap. See `rebuild.rebuild`."""
        return await rebuilding.rebuild(self._pool, self._store, self, progress)

    def shadow(self, progress: Progress | None = None) -> AbstractAsyncContextManager[dict[str, int]]:
        """Rebuild beside the living tables, for as long as a block lasts. See `rebuild.shadow`."""
        return rebuilding.shadow(self._pool, self._store, self, progress)

    async def follow(self, tenant: str) -> None:
        """Apply one tenant's events as they come, until cancelled. One that cannot be applied stops it, visibly."""
        told = 0
        while True:
            try:
                reached = await self._at_end(tenant)
                if reached is not None:
                    await self._store.wait(tenant, reached, _POLL_S)
                elif await self.advance_to_end(tenant) is None:
                    await asyncio.sleep(_BUSY_S)
            except Unfoldable as error:
                if told != error.position:
                    log.error("project.stopped", tenant=tenant, position=error.position, reason=error.reason)
                    told = error.position
                # It is tried again, seldom: another release may be able to.
                await asyncio.sleep(_STOPPED_S)
            except (QuarterdeckError, asyncpg.PostgresError) as error:
                log.warning("project.waiting", tenant=tenant, error=str(error))
                await asyncio.sleep(_POLL_S)

    async def advance(self, tenant: str, target: str = LIVE, *, limit: int = RUN) -> tuple[int, bool]:
        """Apply the next run of a tenant's events; return the position reached and whether any were applied.

        Raises:
            Unfoldable: the first event of the run cannot be applied. (One further on ends the run before it.)
            OtherRelease: the tables are of another version.
        """
        while True:
            position = await self._position(tenant, target)
            run = await self._read(tenant, position, limit)
            if run is None:
                return position, False
            written = await self._write(tenant, target, run)
            if written is None:
                return position, False
            if written >= run.first:
                return written, True

    async def advance_to_end(self, tenant: str, target: str = LIVE, progress: Progress | None = None) -> int | None:
        """Apply all there is of a tenant's log; return the position reached, None if another projector is at it.

        While the database writes one run, the next is read and folded as far as it can be without it. No connection
        is waited for while another is held.

        Raises:
            as `advance`.
        """
        aim = (await self._store.head(tenant)).position
        position = await self._position(tenant, target)
        ahead: asyncio.Task[Run | None] | None = None
        try:
            while True:
                async with self._slots:
                    run = await (ahead or self._read(tenant, position))
                    ahead = None
                    if run is None:
                        return position
                    if len(run) == RUN and not self._slots.locked():
                        ahead = asyncio.create_task(self._read(tenant, run.last), name=f"read ahead {tenant}")
                    with observed.projecting(tenant, run):
                        written = await self._write(tenant, target, run)
                if written is None:
                    return None
                position = written
                if ahead is not None and written != run.last:
                    await _drop(ahead)
                    ahead = None
                if progress is not None:
                    progress(tenant, position, max(aim, position))
        except Unfoldable as error:
            await self._stop(tenant, target, error)
            raise
        finally:
            if ahead is not None:
                await _drop(ahead)

    async def _position(self, tenant: str, target: str) -> int:
        async with translated(), self._pool.acquire() as connection:
            version, progress = await schema.enter(connection, target, tenant)
        _check_version(version)
        return progress.position

    async def _at_end(self, tenant: str) -> int | None:
        """Return the position reached if that is the log's end; None if there is something to do."""
        position = await self._position(tenant, LIVE)
        return position if position >= (await self._store.head(tenant)).position else None

    async def _read(self, tenant: str, after: int, limit: int = RUN) -> Run | None:
        """Return the next run, as far as its events can be read; None at the end of the log.

        Raises:
            Unfoldable: the first one cannot be read.
        """
        entries = await self._store.read(tenant, None, after, None, limit, False)
        run = Run(after + 1, after, [])
        for start in range(0, len(entries), _SLICE):
            fault = self._reading.extend(run, entries[start : start + _SLICE])
            if fault is not None:
                if not run:
                    raise fault
                break
            await asyncio.sleep(0)  # others share this loop
        if run:
            faults.point("project.read")
            run.causes = observed.causes(entries)
        return run or None

    async def _write(self, tenant: str, target: str, run: Run) -> int | None:
        """Apply as much of a run as can be; return the position that the tables are at then.

        That lies before the run's first event if another projector is elsewhere; None if one is at it right now.
        """
        while True:
            try:
                async with translated(), self._pool.acquire() as connection, connection.transaction():
                    taken = await schema.take(connection, target, tenant)
                    if taken is None:
                        return None
                    _check_version(taken[0])
                    if taken[1] != run.first - 1:
                        return taken[1]
                    await _apply(connection, target, tenant, run)
                    faults.point("project.before_commit")
                faults.point("project.after_commit")
                return run.last
            except Unfoldable as error:
                if error.position == run.first:
                    raise
                run = run.until(error.position - 1)
            except Unstorable as error:
                # One of them cannot be stored: halve until it stands alone.
                if len(run) == 1:
                    raise Unfoldable(run.first, f"cannot be stored: {error.__cause__!r}") from error
                run = run.until(run.first + len(run) // 2 - 1)

    async def _stop(self, tenant: str, target: str, error: Unfoldable) -> None:
        async with translated(), self._pool.acquire() as connection, connection.transaction():
            # Taking it makes the row where there is none yet: also a first event can be one that stops.
            if await schema.take(connection, target, tenant) is None:
                return
            await connection.execute(
                f"""UPDATE {target}.progress SET stopped_at = $2, problem = $3
                    WHERE tenant_id = $1 AND position = $2 - 1 AND stopped_at IS DISTINCT FROM $2""",  # noqa: S608
                tenant,
                error.position,
                storable(error.reason[:1000]),
            )


async def _apply(connection: Any, target: str, tenant: str, run: Run) -> None:
    try:
        await ranges.apply(connection, target, tenant, run)
    except _UNSTORABLE as error:
        raise Unstorable from error
    if target == LIVE:
        await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, f"{tenant} {run.last}")


async def _drop(ahead: asyncio.Task[Run | None]) -> None:
    ahead.cancel()
    await asyncio.gather(ahead, return_exceptions=True)


def _check_version(found: int) -> None:
    if found != VERSION:
        raise OtherRelease(
            f"the read models are of version {found}, this program writes version {VERSION}",
            found=found,
            wanted=VERSION,
        )
