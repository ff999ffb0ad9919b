"""Wakes whoever waits for an approval to change: one reader a tenant and process, however many wait.

A waiter registers, then reads the state, then waits: an event recorded after it registered wakes it. It may be woken
for nothing; it never sleeps through a change, but it looks at the state itself when its own time is over.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Final

from eventsourcing.dcb.api import DCBQuery

from quarterdeck_domain.approvals.values import GRANT_EVENTS, LIFECYCLE
from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_domain.slices import boundary
from quarterdeck_ledger.ledger import EventLedger

POLL_S: Final = 2.0
"""How long a lost notification can delay a waiter."""
PAUSE_S: Final = 0.01
"""The least time between two reads, so that a busy log is read in gulps."""
_PAGE: Final = 1_000
_QUERY: Final[DCBQuery] = boundary(((*LIFECYCLE, *GRANT_EVENTS), ()))


class Signal:
    """One waiter's bell."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake the waiter."""
        self._rung.set()

    async def wait(self, timeout_s: float) -> None:
        """Return when something may have changed since the last wait, or after the timeout."""
        # Not `wait_for`: Python 3.11's loses a cancellation that comes together with the event.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, timeout_s)):
                await self._rung.wait()
        self._rung.clear()


class _Feed:
    def __init__(self, ledger: EventLedger, tenant: str) -> None:
        self._ledger = ledger
        self._tenant = tenant
        self.waiting: dict[str, set[Signal]] = {}
        self._position = 0
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        if self._task is None:
            # From here on everything is seen; the waiter reads the state only after this.
            self._position = (await self._ledger.head(self._tenant)).position
            if self._task is None:
                self._task = asyncio.create_task(self._run(), name=f"approvals of {self._tenant}")

    async def end(self) -> None:
        if self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        try:
            while True:
                await self._ledger.wait(self._tenant, self._position, POLL_S)
                await asyncio.sleep(PAUSE_S)
                await self._read()
        except QuarterdeckError:
            # The log cannot be read: the waiters find out by themselves, and say so.
            self._task = None
            self._ring(self.waiting)

    async def _read(self) -> None:
        head = (await self._ledger.head(self._tenant)).position
        while self._position < head:
            events = await self._ledger.read_sealed(self._tenant, _QUERY, after=self._position, until=head, limit=_PAGE)
            self._ring({tag.removeprefix("approval:") for event in events for tag in event.tags})
            self._position = events[-1].position if len(events) == _PAGE else head

    def _ring(self, ids: Iterable[str]) -> None:
        for approval_id in ids:
            for signal in self.waiting.get(approval_id, ()):
                signal.ring()


class ApprovalWatch:
    """The waiters of one application."""

    def __init__(self, ledger: EventLedger) -> None:
        self._ledger = ledger
        self._feeds: dict[str, _Feed] = {}

    @contextlib.asynccontextmanager
    async def on(self, tenant: str, approval_ids: Iterable[str]) -> AsyncIterator[Signal]:
        """Register for changes of these approvals. Read their state inside, then wait on the signal.

        Raises:
            Unavailable: the log cannot be read.
        """
        signal, ids = Signal(), tuple(approval_ids)
        feed = self._feeds.setdefault(tenant, _Feed(self._ledger, tenant))
        for approval_id in ids:
            feed.waiting.setdefault(approval_id, set()).add(signal)
        try:
            await feed.begin()
            yield signal
        finally:
            for approval_id in ids:
                feed.waiting[approval_id].discard(signal)
                if not feed.waiting[approval_id]:
                    del feed.waiting[approval_id]
            if not feed.waiting:
                self._feeds.pop(tenant, None)
                await feed.end()
