"""How far each follower of the log has come: kept beside the log, so that a restart goes on where it was."""

from __future__ import annotations

import asyncpg

from quarterdeck_ledger.postgres import translated


class Followers:
    """Positions of named followers, per tenant. A lost advance is a repeated event, never a missed one."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def position(self, tenant: str, follower: str) -> int:
        """Return the last position a follower has handled; 0 at first."""
        async with translated():
            position: int = await self._pool.fetchval("SELECT ledger.follower_position($1, $2)", tenant, follower)
        return position

    async def advance(self, tenant: str, follower: str, position: int) -> None:
        """Remember that a follower has handled everything up to a position. It never goes back."""
        async with translated():
            await self._pool.execute("SELECT ledger.follower_advance($1, $2, $3)", tenant, follower, position)
