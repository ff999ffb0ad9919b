"""A fold of the log that is kept between requests and is never behind: every use costs one indexed read.

The read asks whether any event of the fold's boundary was recorded since the fold was made. Mostly none was; if
one was, the fold is made anew. So a revoked key is refused by the first request that comes after the revocation
was acknowledged, in every process, without messages between them. Requests that wait for the same fold share reads:
whoever came before a read began is served by it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from eventsourcing.dcb.api import DCBQuery, DCBQueryItem

from quarterdeck_domain.events import RecordedEvent
from quarterdeck_ledger.ledger import EventLedger

ADVANCE_EVERY: Final = 256
"""Uses after which the fold's position is moved to the head, so that the read stays short on a growing log."""


class StagedFold(Protocol):
    """A fold that learns from what it has read what it must read next (see `access.credentials`)."""

    def missing(self) -> DCBQuery | None:
        """Return the next query to read and fold; None when all is known."""
        ...

    def apply(self, event: RecordedEvent) -> None:
        """Fold one event."""
        ...


F = TypeVar("F", bound=StagedFold)


class Watched(Generic[F]):
    """A staged fold over one tenant's log, as of now whenever it is asked for."""

    def __init__(self, ledger: EventLedger, tenant: str, make: Callable[[], F]) -> None:
        self._ledger = ledger
        self._tenant = tenant
        self._make = make
        self._fold: F | None = None
        self._query = DCBQuery()
        self._after = 0
        self._uses = 0
        self._ticks = itertools.count(1)
        self._begun = 0
        self._lock = asyncio.Lock()

    async def current(self) -> F:
        """Return the fold with every event that was recorded before this call.

        Raises:
            Unavailable: the log cannot be read; nothing is known, and nothing may be allowed.
        """
        arrived = next(self._ticks)
        async with self._lock:
            if self._fold is None or self._begun < arrived:
                begun = next(self._ticks)
                self._fold = await self._renewed(self._fold)
                self._begun = begun
            return self._fold

    async def _renewed(self, fold: F | None) -> F:
        if fold is None:
            return await self._read()
        self._uses += 1
        head = (await self._ledger.head(self._tenant)).position if self._uses % ADVANCE_EVERY == 0 else None
        if await self._ledger.read_sealed(self._tenant, self._query, after=self._after, limit=1):
            return await self._read()
        if head is not None:
            self._after = head
        return fold

    async def _read(self) -> F:
        # The position is taken before the reads: what is recorded between them is found again by the next use.
        head = (await self._ledger.head(self._tenant)).position
        fold = self._make()
        items: list[DCBQueryItem] = []
        while (query := fold.missing()) is not None:
            items += query.items
            for event in await self._ledger.read(self._tenant, query):
                fold.apply(event)
        self._query, self._after = DCBQuery(items=items), head
        return fold
