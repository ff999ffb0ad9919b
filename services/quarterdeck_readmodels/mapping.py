"""Reads the whole estate of one moment in bulk, as the map that is assessed: of each row only what is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cache
from typing import Any, Final

import msgspec

from quarterdeck_domain.estate.landscape import Clock, Landscape, Noted, Object, Tie, Unread
from quarterdeck_domain.estate.merging import with_moved
from quarterdeck_domain.estate.values import FIELDS
from quarterdeck_readmodels.bitemporal import asset_then
from quarterdeck_readmodels.estate import DATED, Asset, Drift, Relation
from quarterdeck_readmodels.living import Live
from quarterdeck_readmodels.reader import MAX_PAGE, Record
from quarterdeck_readmodels.schema import CURRENT
from quarterdeck_readmodels.sources import Source
from quarterdeck_readmodels.tables import Row

_FETCH: Final = 10_000
_OBJECT: Final = (
    *("id", *FIELDS, "attributes", "confidence", "merged_into", "successor", "sunset", "registered_at", "announced"),
    "offered_by",
    "CASE WHEN t.contested = '{}' THEN NULL ELSE t.contested END AS contested",
    "CASE WHEN t.contested = '{}' THEN NULL ELSE t.voices END AS voices",
    "t.since #>> '{lifecycle,0}' AS since",
)
_TIE: Final = ("id", "observed", "first_seen", "last_seen", "senders", "intervals")
_UNSAID: Final[tuple[Any, ...]] = (None, (), [])
_from_json: Final = msgspec.json.Decoder().decode


async def read(record: Record, clock: Clock) -> Landscape:
    """Return the whole estate of a record at a moment."""
    if isinstance(record, Live):
        record = record.recorded  # what is announced is told of the clock's moment below
    if type(record) is not Record:
        # Of a moment as known at another, each row is worked out from two.
        assets, relations = await _pages(record, Asset), await _pages(record, Relation)
        drifts = await _pages(record, Drift)
        return await asyncio.to_thread(landscape_of, assets, relations, drifts, clock)
    objects: dict[str, Object] = {}
    announced: list[str] = []
    ties: list[Tie] = []

    def take_objects(rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows:
            if row["announced"] is not None:
                announced.append(row["id"])
            else:
                objects[row["id"]] = _object(row)

    def take_ties(rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows:
            intervals = row["intervals"]
            told = () if intervals == "[]" else _from_json(intervals)
            tie = _tie(
                row["id"], told, row["observed"], row["first_seen"], row["last_seen"], _told(row["senders"]), clock
            )
            if tie is not None:
                ties.append(tie)

    await _bulk(record, Asset, _OBJECT, take_objects)
    for start in range(0, len(announced), MAX_PAGE):
        for asset in (await record.many(Asset, announced[start : start + MAX_PAGE])).values():
            made = object_of(asset, clock)
            if made is not None:
                objects[made.id] = made
    await _bulk(record, Relation, _TIE, take_ties)
    noted = [_noted(row) for row in await _pages(record, Drift)]
    return await asyncio.to_thread(_landscape, objects, ties, clock, noted)


async def unread(record: Record) -> tuple[Unread, ...]:
    """Return the sources whose last import failed, by name."""
    found = [row for row in await _pages(record, Source) if row.state == "active" and row.last_outcome == "failed"]
    return tuple(
        Unread(
            source_id=row.id,
            kind=row.kind,
            on_drift=row.on_drift,
            failures=row.failures,
            message=row.last_message or row.last_error or "",
        )
        for row in sorted(found, key=lambda row: str(row.id))
    )


def landscape_of(
    assets: Iterable[Asset], relations: Iterable[Relation], drifts: Iterable[Drift], clock: Clock
) -> Landscape:
    """Return the estate that rows are, at a moment."""
    objects = {made.id: made for asset in assets if (made := object_of(asset, clock)) is not None}
    told = (
        _tie(row.id, row.intervals, row.observed, row.first_seen, row.last_seen, row.senders, clock)
        for row in relations
    )
    ties = [tie for tie in told if tie is not None]
    return _landscape(objects, ties, clock, [_noted(row) for row in drifts])


def _landscape(objects: Mapping[str, Object], ties: list[Tie], clock: Clock, noted: list[Noted]) -> Landscape:
    return Landscape(objects, with_moved(objects, ties), clock, noted)


def object_of(asset: Asset, clock: Clock) -> Object | None:
    """Return what an object is at a moment; None if it is not there yet."""
    held: Asset | None = asset
    if asset.timed == DATED:
        for when in (asset.valid_from, *(item.get(name) for item in asset.dated for name in ("begins", "ends"))):
            if when is not None:
                clock.over(datetime.fromisoformat(when) if isinstance(when, str) else when)
        held = asset_then(asset, asset, clock.now)
    if held is None:
        return None
    since = asset.since.get("lifecycle")
    found: dict[str, Any] = {name: getattr(held, name) for name in held.__struct_fields__}
    return _object({**found, "since": None if since is None else since[0]})


def _object(row: Mapping[str, Any]) -> Object:
    facts: dict[str, Any] = {}
    for name in FIELDS:
        value = row[name]
        if name == "environments":
            value = _told(value)
        if value not in _UNSAID:
            facts[name] = value
    for name, value in _told(row["attributes"]).items():
        facts[f"attributes.{name}"] = value
    since = row["since"]
    return Object(
        id=row["id"],
        facts=facts,
        confidence=row["confidence"],
        voices=_told(row["voices"]) or {},
        contested=_told(row["contested"]) or {},
        merged_into=row["merged_into"],
        successor=row["successor"],
        sunset=row["sunset"],
        registered=row["registered_at"],
        since=None if since is None else datetime.fromisoformat(since),
        offered_by=row["offered_by"],
    )


def _told(value: Any) -> Any:
    if isinstance(value, str):
        return () if value == "[]" else {} if value == "{}" else _from_json(value)
    return value


def _tie(
    name: str,
    intervals: Iterable[Any],
    observed: bool,
    first_seen: datetime | None,
    last_seen: datetime | None,
    senders: Mapping[str, str],
    clock: Clock,
) -> Tie | None:
    """Return a relation as it is at a moment; None if it is not declared to hold then and was not seen by then."""
    since = None
    told = [
        (datetime.fromisoformat(item[0]), None if item[1] is None else datetime.fromisoformat(item[1]))
        for item in intervals
    ]
    for begins, ends in told:
        if clock.over(begins) and (ends is None or not clock.over(ends)):
            since = begins if since is None else min(since, begins)
    if since is not None and len(told) > 1:
        # Said again with other evidence, it is declared since it was first said without a gap.
        for begins, ends in sorted(told, key=lambda item: item[0], reverse=True):
            if ends is not None and begins <= since <= ends:
                since = begins
    seen = observed and (first_seen is None or clock.over(first_seen))
    if since is None and not seen:
        return None
    source, relation, target = name.split(" ")
    return Tie(
        source=source,
        relation=relation,
        target=target,
        declared=since is not None,
        since=since,
        first_seen=first_seen if seen else None,
        last_seen=last_seen if seen else None,
        senders={name: datetime.fromisoformat(last) for name, last in senders.items()} if seen else {},
    )


def _noted(row: Drift) -> Noted:
    return Noted(
        id=row.id,
        asset=row.asset,
        input=row.input,
        field=row.field,
        expected=row.expected,
        found=row.found,
        accepted=row.state == "accepted",
        detected=row.detected_at,
    )


async def _bulk(
    record: Record, row: type[Row], names: tuple[str, ...], take: Callable[[Iterable[Mapping[str, Any]]], None]
) -> None:
    past = record._past
    query = _every(record._schema, row, names, then=past)
    rows = await record._connection.cursor(query, record.tenant, *([record.position] if past else []))
    while chunk := await rows.fetch(_FETCH):
        await asyncio.to_thread(take, chunk)


@cache
def _every(schema: str, row: type[Row], names: tuple[str, ...], *, then: bool) -> str:
    """Return the query of every object. Parameters: tenant, and the position as of which (only with `then`)."""
    shown = ", ".join(name if " " in name else f"t.{name}" for name in names)
    table = f"{schema}.{row.table}"
    if not then:
        return f"SELECT {shown} FROM {table} t WHERE t.tenant_id = $1 AND {CURRENT}"  # noqa: S608  names of ours only
    return f"""SELECT {shown} FROM {table} b CROSS JOIN LATERAL (
            SELECT * FROM {table} v WHERE v.tenant_id = $1 AND v.id = b.id AND v.from_position <= $2
            ORDER BY v.from_position DESC LIMIT 1
        ) t WHERE b.tenant_id = $1 AND b.created_position <= $2 AND b.from_position = b.created_position"""  # noqa: S608


async def _pages(record: Record, row: Any) -> list[Any]:
    found: list[Any] = []
    after: int | None = None
    more = True
    while more:
        page = await record.page(row, first=MAX_PAGE, after=after, newest_first=False)
        found += page.rows
        after, more = (page.rows[-1].created_position if page.rows else None), page.more
    return found
