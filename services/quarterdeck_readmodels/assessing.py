"""The whole estate assessed as of one moment: what is missing or wrong, and how much is known and under control.

Everything is read in bulk (`mapping`) and assessed in a thread. What was found is kept for
as long as it is true: until something of the estate is recorded, or a time comes that matters (a last day, the end of
an interval). It is kept by tenant, a few at a time; nothing of one tenant's is ever looked up by another's name.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from functools import partial
from typing import Final

import msgspec

from quarterdeck_domain.estate.findings import Assessment, assess
from quarterdeck_domain.estate.landscape import Clock, Unread
from quarterdeck_readmodels.estate import Asset, Drift, Relation
from quarterdeck_readmodels.mapping import read, unread
from quarterdeck_readmodels.reader import Reader, Record

MAX_KEPT: Final = 16
"""How many assessments are kept, of all tenants."""
MAX_FINDINGS: Final = 1_000_000
"""How many findings all of these may hold together."""

MAX_AT_ONCE: Final = 2
"""How many assessments are worked out at once: each takes a connection, a thread and most of a processor."""

Open = Callable[[], AbstractAsyncContextManager[Record]]
"""Opens the record that is assessed."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """An assessment, of which moment, and until when it is true while nothing is recorded."""

    assessment: Assessment
    moment: datetime
    until: datetime | None
    unread: Sequence[Unread] = ()
    """The sources whose last import had failed: that changes without a word of the estate."""

    def holds(self, moment: datetime) -> bool:
        """Tell whether it is true of another moment as well, at the same position."""
        return self.moment <= moment and (self.until is None or moment < self.until)


class Assessor:
    """Assesses estates, each once for as long as that is true."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int, str], Kept] = OrderedDict()
        self._going: dict[tuple[str, int, str], asyncio.Task[Kept]] = {}
        self._working = 0
        self._turns = asyncio.Semaphore(MAX_AT_ONCE)

    async def assess(self, tenant: str, position: int, moment: datetime, open_: Open, *, view: str = "") -> Assessment:
        """Return what was found of a tenant's estate as of a position and a moment.

        `view` tells apart what is known at one position of different moments of the past.
        """
        key = (tenant, position, view)
        found = self._kept.get(key)
        if found is not None and found.holds(moment):
            self._kept.move_to_end(key)
            return found.assessment
        going = self._going.get(key)
        if going is None:
            going = asyncio.create_task(self._work(tenant, position, moment, open_, view), name="assess an estate")
            self._going[key] = going
            going.add_done_callback(partial(self._ended, key))
        # Whoever gives up waiting does not take it from the others, nor from who asks next.
        done = await asyncio.shield(going)
        if done.holds(moment):
            return done.assessment
        return (await self._work(tenant, position, moment, open_, view)).assessment

    def _ended(self, key: tuple[str, int, str], task: asyncio.Task[Kept]) -> None:
        self._going.pop(key, None)
        if not task.cancelled():
            task.exception()  # whoever waited has heard it, and if nobody did, who asks next begins anew

    async def _work(self, tenant: str, position: int, moment: datetime, open_: Open, view: str) -> Kept:
        async with self._turns, open_() as record:
            before = None if view else await self._unchanged(record, tenant, position, moment)
            if before is not None:
                self._keep(tenant, position, view, before)
                return before
            kept = await self._read(record, moment)
        self._keep(tenant, position, view, kept)
        return kept

    async def _read(self, record: Record, moment: datetime) -> Kept:
        clock = Clock(moment)
        with self._uncollected():
            landscape = await read(record, clock)
            landscape.unread = await unread(record)
            assessment = await asyncio.to_thread(assess, landscape)
        return Kept(assessment=assessment, moment=moment, until=clock.until, unread=landscape.unread)

    async def _unchanged(self, record: Record, tenant: str, position: int, moment: datetime) -> Kept | None:
        """Return the assessment of an earlier position, if nothing of the estate was recorded since."""
        near = [
            (place, kept)
            for (owner, place, view), kept in self._kept.items()
            if owner == tenant and not view and place <= position and kept.holds(moment)
        ]
        if not near:
            return None
        place, kept = max(near, key=lambda item: item[0])
        for row in (Asset, Relation, Drift):
            if place < position and await record.diff(row, place, first=1):
                return None
        return kept if place == position or tuple(kept.unread) == await unread(record) else None

    @contextlib.contextmanager
    def _uncollected(self) -> Iterator[None]:
        """Let the garbage collector rest. Hundreds of thousands of objects are made at once, none of them is garbage,
        and looking through all of them again and again is half of the time that it takes."""
        if self._working == 0 and not gc.isenabled():
            yield  # somebody else has switched it off, and will switch it on
            return
        self._working += 1
        gc.disable()
        try:
            yield
        finally:
            self._working -= 1
            if self._working == 0:
                gc.enable()

    def _keep(self, tenant: str, position: int, view: str, kept: Kept) -> None:
        self._kept[tenant, position, view] = kept
        self._kept.move_to_end((tenant, position, view))
        while len(self._kept) > 1 and (
            len(self._kept) > MAX_KEPT
            or sum(len(item.assessment.findings) for item in self._kept.values()) > MAX_FINDINGS
        ):
            self._kept.popitem(last=False)


_ASSESSORS: Final[weakref.WeakKeyDictionary[Reader, Assessor]] = weakref.WeakKeyDictionary()


def assessor_of(reader: Reader) -> Assessor:
    """Return the assessor that belongs to a reader: one for each process's way to the tables."""
    found = _ASSESSORS.get(reader)
    if found is None:
        found = _ASSESSORS[reader] = Assessor()
    return found
