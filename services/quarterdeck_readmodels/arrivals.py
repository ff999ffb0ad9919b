"""Wakes readers who wait for the read models to reach a position: one LISTEN connection while anybody waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any, Final

import asyncpg

CHANNEL: Final = "projected"


class Arrivals:
    """Hears which tenants' tables have moved. A lost message costs its waiter a poll, never an answer."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._listener: asyncio.Task[None] | None = None
        self._nobody = asyncio.Event()

    @contextlib.contextmanager
    def expecting(self, tenant: str) -> Iterator[asyncio.Event]:
        """Within the block, the event is set whenever the tenant's tables may have moved."""
        moved = asyncio.Event()
        self._waiting.setdefault(tenant, set()).add(moved)
        self.listen()
        try:
            yield moved
        finally:
            self._waiting[tenant].discard(moved)
            if not self._waiting[tenant]:
                del self._waiting[tenant]
            if not self._waiting:
                self._nobody.set()

    def listen(self) -> None:
        """Make sure that somebody listens, for instance after a connection was lost."""
        if self._listener is None or self._listener.done() or self._nobody.is_set():
            self._nobody = asyncio.Event()
            self._listener = asyncio.create_task(self._listen(self._nobody), name=f"listen {CHANNEL}")

    async def _listen(self, over: asyncio.Event) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            async with self._pool.acquire() as connection:
                stop: Any = lambda *_: over.set()  # noqa: E731
                connection.add_termination_listener(stop)
                await connection.add_listener(CHANNEL, self._hear)
                try:
                    # What was said before anybody listened is not known: everyone looks once for themselves.
                    for tenant in self._waiting:
                        self._wake(tenant)
                    await over.wait()
                finally:
                    if not connection.is_closed():
                        connection.remove_termination_listener(stop)
                        await connection.remove_listener(CHANNEL, self._hear)

    def _hear(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        self._wake(str(payload).partition(" ")[0])

    def _wake(self, tenant: str) -> None:
        for moved in self._waiting.get(tenant, ()):
            moved.set()
