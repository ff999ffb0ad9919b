"""Looks, now and then, at what every tenant has waiting, and shows it as metrics. It changes nothing.

Only where a collector is configured. One look costs a few index reads for each tenant; a look that fails is logged and
leaves out nothing but itself: the levels then disappear rather than stand still at what was true once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import asyncpg
import structlog

from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_ledger import instruments
from quarterdeck_ledger.checkpoints import PostgresCheckpoints
from quarterdeck_ledger.followers import Followers
from quarterdeck_ledger.postgres import PostgresStore, translated
from quarterdeck_projector.dispatcher import NAME as DISPATCHER
from quarterdeck_readmodels import schema

_WAITING: Final[Mapping[str, tuple[instruments.Level, str, str]]] = {
    "approvals": (instruments.GATES_OPEN, "status", "pending"),
    "parked": (instruments.PARKED_EVENTS, "state", "parked"),
    "callbacks": (instruments.DEAD_LETTERS, "state", "abandoned"),
    "effects": (instruments.EFFECTS_UNKNOWN, "outcome", "unknown"),
}
_COUNTS: Final = ", ".join(
    f"(SELECT count(*) FROM {schema.LIVE}.{table} WHERE tenant_id = $1 AND to_position IS NULL"  # noqa: S608
    f" AND hashtextextended({column}, 0) = hashtextextended('{value}', 0) AND {column} = '{value}') AS {table}"
    for table, (_, column, value) in _WAITING.items()
)
log = structlog.get_logger(__name__)
Found = dict[instruments.Level, dict[str, float]]


class Levels:
    """The levels of all tenants of one database."""

    def __init__(self, store: PostgresStore, followers: Followers) -> None:
        self._store = store
        self._followers = followers
        self._checkpoints = PostgresCheckpoints(store.pool)

    async def run(self, every_s: float) -> None:
        """Look again and again, until cancelled."""
        while True:
            found: Found = {}
            try:
                found = await self.look()
            except (QuarterdeckError, asyncpg.PostgresError) as error:
                log.warning("levels.waiting", error=str(error))
            self.show(found)
            await asyncio.sleep(every_s)

    def show(self, found: Found) -> None:
        """Show what was found; what was not is shown no more."""
        for level in _ALL:
            level.show(found.get(level, {}))

    async def look(self) -> Found:
        """Return every level of every tenant, as it is now.

        Raises:
            Unavailable: the database does not answer.
        """
        found: Found = {level: {} for level in _ALL}
        for tenant in await self._store.tenants():
            for level, value in (await self._tenant(tenant)).items():
                found[level][tenant] = value
        return found

    async def _tenant(self, tenant: str) -> dict[instruments.Level, float]:
        # The followers first: they never go back, so what is behind is never told too small by the log's growth.
        dispatched = await self._followers.position(tenant, DISPATCHER)
        async with translated(), self._store.pool.acquire() as connection, connection.transaction():
            _, progress = await schema.enter(connection, schema.LIVE, tenant)
            counts = await connection.fetchrow(f"SELECT {_COUNTS}", tenant)
        head = (await self._store.head(tenant)).position
        found: dict[instruments.Level, float] = {
            instruments.DISPATCHER_LAG: max(0, head - dispatched),
            instruments.PROJECTOR_LAG: max(0, head - progress.position),
            instruments.PROJECTOR_STOPPED: 0 if progress.stopped_at is None else 1,
            **{level: counts[table] for table, (level, _, _) in _WAITING.items()},
        }
        signed = await self._checkpoints.latest(tenant)
        if signed is not None:
            found[instruments.CHECKPOINT_AGE] = (await self._store.now() - signed.signed_at).total_seconds()
        return found


_ALL: Final = (
    instruments.PROJECTOR_LAG,
    instruments.PROJECTOR_STOPPED,
    instruments.DISPATCHER_LAG,
    instruments.CHECKPOINT_AGE,
    *(level for level, _, _ in _WAITING.values()),
)
