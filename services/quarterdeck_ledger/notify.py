"""Wakes whoever waits for a log to grow: one LISTEN connection a process, with polling as the safety net."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

import asyncpg
import structlog

CHANNEL: Final = "ledger"
_RETRY_S: Final = 0.5
log = structlog.get_logger(__name__)


class Notifications:
    """Hears `tenant position` on a channel. A lost message costs its waiter a timeout, never an event."""

    def __init__(self, url: str, channel: str = CHANNEL) -> None:
        self._url = url
        self._channel = channel
        self._heard: dict[str, int] = {}
        self._events: dict[str, asyncio.Event] = {}
        self._listener: asyncio.Task[None] | None = None

    async def wait(self, tenant: str, after: int, timeout_s: float) -> None:
        """Return once a position beyond `after` was announced for a tenant, or after the timeout."""
        if self._listener is None:
            self._listener = asyncio.create_task(self._listen(), name=f"listen {self._channel}")
        if self._heard.get(tenant, 0) > after:
            return
        event = self._events.setdefault(tenant, asyncio.Event())
        # Not `wait_for`: Python 3.11's loses a cancellation that comes together with the event.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await event.wait()

    async def close(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)

    def _hear(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        tenant, _, position = str(payload).partition(" ")
        if position.isdigit():
            self._heard[tenant] = max(self._heard.get(tenant, 0), int(position))
        self._wake(tenant)

    def _wake(self, tenant: str) -> None:
        event = self._events.pop(tenant, None)
        if event is not None:
            event.set()

    async def _listen(self) -> None:
        while True:
            try:
                await self._listen_once()
            except Exception as error:
                # Whatever the driver raises over a server that goes away: waiters poll meanwhile, and we try again.
                log.debug("listen.interrupted", channel=self._channel, error=repr(error))
            await asyncio.sleep(_RETRY_S)

    async def _listen_once(self) -> None:
        connection = await asyncpg.connect(self._url)
        gone = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _: gone.set())
            await connection.add_listener(self._channel, self._hear)
            # Whatever was said while nobody listened is not known: everyone looks once for themselves.
            for tenant in list(self._events):
                self._wake(tenant)
            await gone.wait()
        finally:
            if not connection.is_closed():
                connection.terminate()
