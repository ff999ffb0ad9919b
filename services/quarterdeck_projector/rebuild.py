"""Makes every read model anew from the log, beside the old ones, and swaps. Readers go on with the old ones until then.

The swap is one transaction that locks the old tables' door (`schema`): whoever is inside finishes first, whoever comes
then finds the new tables, which are by then at least as far as the old ones were.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Protocol

import asyncpg
import structlog

from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_ledger.postgres import translated
from quarterdeck_ledger.store import Store
from quarterdeck_readmodels import schema
from quarterdeck_readmodels.catalogue import ROWS
from quarterdeck_readmodels.folding import Unfoldable
from quarterdeck_readmodels.schema import LIVE, SHADOW

_REBUILD_LOCK: Final = 7420003
_PATIENCE_MS: Final = (200, 400, 800, 1_600, 3_200, 6_400, 12_800)
"""How long the swap waits for those inside, try by try: while it waits, whoever comes waits behind it."""
log = structlog.get_logger(__name__)
Progress = Callable[[str, int, int], None]
"""Called with tenant, position reached and position aimed at."""


class Rebuilding(QuarterdeckError):
    """Another rebuild is under way. Wait for its end; it serves as well."""

    code = "rebuilding"


class Advancing(Protocol):
    """What fills tables: the projector."""

    async def advance(self, tenant: str, target: str, *, limit: int = ...) -> tuple[int, bool]:
        """Apply the next run; return the position reached and whether any were applied."""
        ...

    async def advance_to_end(self, tenant: str, target: str, progress: Progress | None = None) -> int | None:
        """Apply all there is."""
        ...


async def rebuild(
    pool: asyncpg.Pool, store: Store, projector: Advancing, progress: Progress | None = None
) -> dict[str, int]:
    """Rebuild the tables of all tenants and swap; return the position of each tenant.

    A tenant whose log has an event that cannot be applied is stopped before it in the new tables too.

    Raises:
        Rebuilding: another one is under way.
        Unavailable: the database does not answer; the old tables stay.
    """
    async with translated(), _alone(pool) as keeper:
        await _build(keeper, store, projector, progress)
        await _swap(keeper, store, projector)
        return {tenant: (await schema.enter(keeper, LIVE, tenant))[1].position for tenant in await store.tenants()}


@contextlib.asynccontextmanager
async def shadow(
    pool: asyncpg.Pool, store: Store, projector: Advancing, progress: Progress | None = None
) -> AsyncIterator[dict[str, int]]:
    """Within the block there are rebuilt tables beside the living ones, to compare with; yield each tenant's position.

    Raises:
        as `rebuild`.
    """
    async with translated(), _alone(pool) as keeper:
        await _build(keeper, store, projector, progress)
        try:
            yield {tenant: (await schema.enter(keeper, SHADOW, tenant))[1].position for tenant in await store.tenants()}
        finally:
            await keeper.execute(f"DROP SCHEMA {SHADOW} CASCADE")


async def _build(keeper: Any, store: Store, projector: Advancing, progress: Progress | None) -> None:
    async with keeper.transaction():
        await keeper.execute(f"DROP SCHEMA IF EXISTS {SHADOW} CASCADE")
        await schema.create(keeper, SHADOW)
    for tenant in await store.tenants():
        await _fill(projector, tenant, progress)
    for row in ROWS:
        await keeper.execute(f"ANALYZE {SHADOW}.{row.table}")


@contextlib.asynccontextmanager
async def _alone(pool: asyncpg.Pool) -> AsyncIterator[Any]:
    async with pool.acquire() as keeper:
        if not await keeper.fetchval("SELECT pg_try_advisory_lock($1)", _REBUILD_LOCK):
            raise Rebuilding("another rebuild is under way: wait for its end")
        try:
            yield keeper
        finally:
            if not keeper.is_closed():
                await keeper.execute("SELECT pg_advisory_unlock($1)", _REBUILD_LOCK)


async def _fill(projector: Advancing, tenant: str, progress: Progress | None = None) -> None:
    try:
        await projector.advance_to_end(tenant, SHADOW, progress)
    except Unfoldable as error:
        log.error("rebuild.stopped", tenant=tenant, position=error.position, reason=error.reason)


async def _swap(keeper: Any, store: Store, projector: Advancing) -> None:
    for attempt, patience in enumerate(_PATIENCE_MS, 1):
        for tenant in await store.tenants():
            await _fill(projector, tenant)
        try:
            async with keeper.transaction():
                await keeper.execute(f"SET LOCAL lock_timeout = {patience}")
                await _take_over(keeper, store, projector)
            return
        except asyncpg.LockNotAvailableError:
            if attempt == len(_PATIENCE_MS):
                raise
            log.info("rebuild.waiting_for_readers", attempt=attempt)
            await asyncio.sleep(patience / 1_000)


async def _take_over(keeper: Any, store: Store, projector: Advancing) -> None:
    if await schema.version(keeper) is not None:
        await keeper.execute(f"LOCK TABLE {LIVE}.progress IN ACCESS EXCLUSIVE MODE")
        for tenant in await store.tenants():
            _, old = await schema.enter(keeper, LIVE, tenant)
            with contextlib.suppress(Unfoldable):
                while (await projector.advance(tenant, SHADOW))[0] < old.position:
                    pass
        await keeper.execute(f"DROP SCHEMA {LIVE} CASCADE")
    await keeper.execute(f"ALTER SCHEMA {SHADOW} RENAME TO {LIVE}")
