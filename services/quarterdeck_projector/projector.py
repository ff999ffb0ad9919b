"""The projector: keeps the read models current, tenant by tenant, in order, each event exactly once.

Rows and the tenant's progress are written in one transaction, so a crash anywhere is a crash between runs. Two
projectors at once are one too many, not wrong: the second finds the tenant's progress locked and leaves it alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import asyncpg
import structlog

from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_ledger.postgres import translated
from quarterdeck_ledger.store import Store
from quarterdeck_readmodels import batch, schema
from quarterdeck_readmodels.batch import Unfoldable
from quarterdeck_readmodels.catalogue import VERSION
from quarterdeck_readmodels.schema import LIVE, SHADOW

RUN: Final = 5_000
_POLL_S: Final = 1.0
_REBUILD_LOCK: Final = 7420003
log = structlog.get_logger(__name__)
Progress = Callable[[str, int, int], None]
"""Called with tenant, position reached and position aimed at."""


class Projector:
    """Applies every tenant's log to the read models."""

    def __init__(self, store: Store, pool: asyncpg.Pool) -> None:
        self._store = store
        self._pool = pool

    async def run(self) -> None:
        """Make the tables if need be, then follow every log, present and future, until cancelled."""
        await self.prepare()
        following: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                for tenant in await self._known_tenants():
                    if tenant not in following or following[tenant].done():
                        following[tenant] = asyncio.create_task(self.follow(tenant), name=f"project {tenant}")
                await asyncio.sleep(_POLL_S)
        finally:
            for task in following.values():
                task.cancel()
            await asyncio.gather(*following.values(), return_exceptions=True)

    async def prepare(self) -> None:
        """Make the tables, or make them anew from the log where they are of another version."""
        async with translated(), self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _REBUILD_LOCK)
            found = await schema.version(connection)
            if found is None:
                await schema.create(connection)
        if found is not None and found != VERSION:
            log.info("project.rebuilding", found=found, wanted=VERSION)
            await self.rebuild()

    async def follow(self, tenant: str) -> None:
        """Apply one tenant's events as they come, until cancelled, or until one that cannot be folded stops it."""
        while True:
            try:
                reached, applied = await self.advance(tenant)
                if not applied:
                    await self._store.wait(tenant, reached, _POLL_S)
            except Unfoldable as error:
                log.error("project.stopped", tenant=tenant, position=error.position, reason=error.reason)
                await self._stop_before(tenant, error)
                await asyncio.sleep(_POLL_S)
            except QuarterdeckError as error:
                log.warning("project.waiting", tenant=tenant, error=str(error))
                await asyncio.sleep(_POLL_S)

    async def advance(self, tenant: str, target: str = LIVE, *, limit: int = RUN) -> tuple[int, bool]:
        """Apply the next run of a tenant's events; return the position reached and whether any were applied.

        Raises:
            Unfoldable: the first event of the run cannot be applied. (One further on ends the run before it.)
        """
        async with translated(), self._pool.acquire() as connection, connection.transaction():
            position = await self._enter(connection, tenant, target)
            if position is None:
                return 0, False
            entries = await self._store.read(tenant, None, position, None, limit, False)
            if not entries:
                return position, False
            try:
                async with connection.transaction():
                    reached = await batch.apply(connection, target, tenant, entries)
            except Unfoldable as error:
                before = [item for item in entries if item[0] < error.position]
                if not before:
                    raise
                reached = await batch.apply(connection, target, tenant, before)
            if target == LIVE:
                await connection.execute("SELECT pg_notify('projected', $1)", f"{tenant} {reached}")
            return reached, True

    async def rebuild(self, progress: Progress | None = None) -> dict[str, int]:
        """Make every table anew from the log, beside the old ones, and swap; return the position of each tenant.

        Readers go on with the old tables until the swap, which is one transaction.
        """
        reached = await self.build_shadow(progress)
        async with translated(), self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _REBUILD_LOCK)
            await connection.execute(f"DROP SCHEMA IF EXISTS {LIVE} CASCADE")
            await connection.execute(f"ALTER SCHEMA {SHADOW} RENAME TO {LIVE}")
        return reached

    async def build_shadow(self, progress: Progress | None = None) -> dict[str, int]:
        """Make every table anew from the log, beside the living ones; return the position of each tenant."""
        await self.drop_shadow()
        async with translated(), self._pool.acquire() as connection, connection.transaction():
            await schema.create(connection, SHADOW)
        return {tenant: await self._catch_up(tenant, progress) for tenant in await self._store.tenants()}

    async def drop_shadow(self) -> None:
        """Take the tables beside the living ones away."""
        async with translated(), self._pool.acquire() as connection:
            await connection.execute(f"DROP SCHEMA IF EXISTS {SHADOW} CASCADE")

    async def _catch_up(self, tenant: str, progress: Progress | None) -> int:
        aim = (await self._store.head(tenant)).position
        position = 0
        while True:
            position, applied = await self.advance(tenant, SHADOW)
            if progress is not None:
                progress(tenant, position, max(aim, position))
            if not applied:
                return position

    async def _enter(self, connection: Any, tenant: str, target: str) -> int | None:
        # The lock is a row's, so that it is gone with its holder; SKIP LOCKED leaves the tenant to whoever has it.
        await connection.execute("SELECT set_config('quarterdeck.tenant', $1, true)", tenant)
        await connection.execute(
            f"INSERT INTO {target}.progress (tenant_id, position) VALUES ($1, 0) ON CONFLICT DO NOTHING",  # noqa: S608
            tenant,
        )
        position: int | None = await connection.fetchval(
            f"SELECT position FROM {target}.progress WHERE tenant_id = $1 FOR UPDATE SKIP LOCKED",  # noqa: S608
            tenant,
        )
        return position

    async def _stop_before(self, tenant: str, error: Unfoldable) -> None:
        async with translated(), self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT set_config('quarterdeck.tenant', $1, true)", tenant)
            await connection.execute(
                f"UPDATE {LIVE}.progress SET stopped_at = $2, problem = $3 WHERE tenant_id = $1",  # noqa: S608
                tenant,
                error.position,
                error.reason[:1000],
            )

    async def _known_tenants(self) -> list[str]:
        try:
            return await self._store.tenants()
        except QuarterdeckError as error:
            log.warning("project.waiting", error=str(error))
            return []
