"""Turns: what streams may take of a process, so that whoever asks a question beside them hardly notices.

An event loop has no priorities: a stream that always has a next event at hand would leave nothing to others. So every
event waits for its turn. Turns come one by one, a tenant after the other; between two the loop goes round, and while
anybody asks, all of them together take a quarter of its time. Pages of the log are read two at a time, as fairly.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from typing import Final

READING_AT_ONCE: Final = 2
_SLICE_S: Final = 0.001
"""How long events go on, with the loop going round between them, until there is a rest."""
_REST: Final = 3
"""The rest after a slice is so many times as long, and never longer than `_LONGEST_REST_S`."""
_LONGEST_REST_S: Final = 0.1
ASKING_S: Final = 0.5
"""So long after a request came or was answered there are rests: whoever asked may ask again."""


class Queue:
    """Who waits, by tenant: the tenants in turn, and within each who came first."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    def join(self, tenant: str) -> asyncio.Future[None]:
        """Wait at the end of the tenant's line; return what is done when the turn has come."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(turn)
        return turn

    def call(self) -> bool:
        """Give the next one its turn; tell whether anybody waited."""
        while self._waiting:
            tenant, line = next(iter(self._waiting.items()))
            turn = line.popleft()
            if line:
                self._waiting.move_to_end(tenant)
            else:
                del self._waiting[tenant]
            if not turn.done():  # who went away is done
                turn.set_result(None)
                return True
        return False


class Turns:
    """The turns of one process."""

    def __init__(self) -> None:
        self._streams = Queue()
        self._giving = False
        self._began = self._spent_s = 0.0
        self._asked = float("-inf")
        self._readers = Queue()
        self._free = READING_AT_ONCE

    def asked(self) -> None:
        """Note that somebody who is no stream came with a request, or was answered."""
        self._asked = asyncio.get_running_loop().time()

    async def take(self, tenant: str) -> None:
        """Return when a stream of the tenant may do its next piece of work: deliver one event, or read one page."""
        turn = self._streams.join(tenant)
        if not self._giving:
            self._giving = True
            asyncio.get_running_loop().call_soon(self._give)
        await turn

    @contextlib.asynccontextmanager
    async def reading(self, tenant: str) -> AsyncIterator[None]:
        """Hold one of the places to read the log, within the block."""
        if self._free:
            self._free -= 1
        else:
            turn = self._readers.join(tenant)
            try:
                await turn
            except asyncio.CancelledError:
                if not turn.cancelled():
                    self._leave()  # it was called and went away at once
                raise
        try:
            await self.take(tenant)
            yield
        finally:
            self._leave()

    def _leave(self) -> None:
        if not self._readers.call():
            self._free += 1

    def _give(self) -> None:
        # The loop keeps the order: between these two stands the step of whoever is called, and nothing else.
        loop = asyncio.get_running_loop()
        loop.call_soon(self._begin)
        self._giving = self._streams.call()
        if self._giving:
            loop.call_soon(self._end)

    def _begin(self) -> None:
        self._began = asyncio.get_running_loop().time()

    def _end(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._spent_s += now - self._began
        if self._spent_s < _SLICE_S:
            self._give()
            return
        if now - self._asked > ASKING_S:
            self._spent_s = 0.0
            self._give()
            return
        rest_s, self._spent_s = min(self._spent_s * _REST, _LONGEST_REST_S), 0.0
        loop.call_later(rest_s, self._give)
