"""The whole estate assessed as of one moment: what is missing or wrong, and how much is known and under control.

Everything is read in bulk, of each row only what is asked for, and assessed in a thread. What was found is kept for
as long as it is true: until something of the estate is recorded, or a time comes that matters (a last day, the end of
an interval). It is kept by tenant, a few at a time; nothing of one tenant's is ever looked up by another's name.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Final

import msgspec

from quarterdeck_domain.estate.findings import Assessment, assess
from quarterdeck_domain.estate.landscape import Clock, Landscape, Noted, Object, Tie
from quarterdeck_domain.estate.values import FIELDS
from quarterdeck_readmodels.bitemporal import asset_then
from quarterdeck_readmodels.estate import DATED, Asset, Drift, Relation
from quarterdeck_readmodels.reader import MAX_PAGE, Reader, Record

MAX_KEPT: Final = 16
"""How many assessments are kept, of all tenants."""
MAX_FINDINGS: Final = 1_000_000
"""How many findings all of these may hold together."""
_NOW: Final = 2**62

Open = Callable[[], AbstractAsyncContextManager[Record]]
"""Opens the record that is assessed."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """An assessment, of which moment, and until when it is true while nothing is recorded."""

    assessment: Assessment
    moment: datetime
    until: datetime | None

    def holds(self, moment: datetime) -> bool:
        """Tell whether it is true of another moment as well, at the same position."""
        return self.moment <= moment and (self.until is None or moment < self.until)


class Assessor:
    """Assesses estates, each once for as long as that is true."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int, str], Kept] = OrderedDict()
        self._going: dict[tuple[str, int, str], asyncio.Task[Kept]] = {}

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
            going.add_done_callback(lambda _: self._going.pop(key, None))
        # Whoever gives up waiting does not take it from the others, nor from who asks next.
        done = await asyncio.shield(going)
        if done.holds(moment):
            return done.assessment
        return (await self._work(tenant, position, moment, open_, view)).assessment

    async def _work(self, tenant: str, position: int, moment: datetime, open_: Open, view: str) -> Kept:
        async with open_() as record:
            before = None if view else await self._unchanged(record, tenant, position, moment)
            if before is not None:
                self._keep(tenant, position, view, before)
                return before
            kept = await self._read(record, moment)
        self._keep(tenant, position, view, kept)
        return kept

    async def _read(self, record: Record, moment: datetime) -> Kept:
        clock = Clock(moment)
        assessment = await asyncio.to_thread(assess, await read(record, clock))
        return Kept(assessment=assessment, moment=moment, until=clock.until)

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
        return kept

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


async def read(record: Record, clock: Clock) -> Landscape:
    """Return the whole estate of a record at a moment."""
    assets = await _all(record, Asset, _ASSET)
    relations = await _all(record, Relation, _RELATION)
    drifts = await _all(record, Drift, _DRIFT)
    return await asyncio.to_thread(landscape_of, assets, relations, drifts, clock)


def landscape_of(
    assets: Iterable[Asset], relations: Iterable[Relation], drifts: Iterable[Drift], clock: Clock
) -> Landscape:
    """Return the estate that rows are, at a moment."""
    objects: dict[str, Object] = {}
    for asset in assets:
        made = _object(asset, clock)
        if made is not None:
            objects[made.id] = made
    ties = (tie for row in relations if (tie := _tie(row, clock)) is not None)
    return Landscape(objects, ties, clock, [_noted(row) for row in drifts])


def _object(asset: Asset, clock: Clock) -> Object | None:
    if asset.timed == DATED:
        for item in asset.dated:
            for when in (item["begins"], item.get("ends")):
                if when is not None:
                    clock.over(datetime.fromisoformat(when))
        if asset.valid_from is not None:
            clock.over(asset.valid_from)
        held = asset_then(asset, asset, clock.now)
        if held is None:
            return None
        asset = held
    facts = {name: value for name in FIELDS if (value := getattr(asset, name)) not in (None, ())}
    for name, value in asset.attributes.items():
        facts[f"attributes.{name}"] = value
    since = asset.since.get("lifecycle")
    return Object(
        id=asset.id,
        facts=facts,
        confidence=asset.confidence,
        voices=asset.voices if asset.contested else {},
        contested=asset.contested,
        merged_into=asset.merged_into,
        successor=asset.successor,
        sunset=asset.sunset,
        registered=asset.registered_at,
        since=None if since is None else datetime.fromisoformat(since[0]),
    )


def _tie(row: Relation, clock: Clock) -> Tie | None:
    since = None
    for item in row.intervals:
        begins = datetime.fromisoformat(item[0])
        ends = None if item[1] is None else datetime.fromisoformat(item[1])
        begun = clock.over(begins)
        if begun and (ends is None or not clock.over(ends)):
            # Said again with other evidence, it is declared since it was first said without a gap.
            since = begins if since is None else min(since, begins)
            since = _without_gap(row.intervals, since)
    seen = row.observed and (row.first_seen is None or clock.over(row.first_seen))
    if since is None and not seen:
        return None
    return Tie(
        source=row.source,
        relation=row.relation,
        target=row.target,
        declared=since is not None,
        since=since,
        first_seen=row.first_seen if seen else None,
        last_seen=row.last_seen if seen else None,
    )


def _without_gap(intervals: Iterable[tuple[Any, ...]], since: datetime) -> datetime:
    for item in sorted(intervals, reverse=True):
        if item[1] is not None and datetime.fromisoformat(item[1]) >= since >= datetime.fromisoformat(item[0]):
            since = datetime.fromisoformat(item[0])
    return since


def _noted(row: Drift) -> Noted:
    return Noted(
        id=row.id,
        asset=row.asset,
        input=row.input,
        field=row.field,
        expected=row.expected,
        found=row.found,
        open=row.state == "open",
        detected=row.detected_at,
    )


_ASSET: Final[Mapping[str, Any]] = {}
_RELATION: Final[Mapping[str, Any]] = {}
_DRIFT: Final[Mapping[str, Any]] = {}


async def _all(record: Record, row: Any, _columns: Mapping[str, Any]) -> list[Any]:
    found: list[Any] = []
    after: int | None = None
    more = True
    while more:
        page = await record.page(row, first=MAX_PAGE, after=after, newest_first=False)
        found += page.rows
        after, more = (page.rows[-1].created_position if page.rows else None), page.more
    return found
