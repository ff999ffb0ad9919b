"""Everything that differs between two positions, in bulk: of each object the fields that do, before and after.

The version that holds at the later position began after the earlier one, or nothing happened to the object. So these
are found by when they began, nearly in the order in which they lie on disk; each one's version before, by the primary
key. Fields that are the same never leave the database, and the others leave it as JSON: nobody here looks at them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, partial
from typing import Any, Final

import msgspec

from quarterdeck_domain.estate.periods import joined
from quarterdeck_readmodels.estate import MARKS
from quarterdeck_readmodels.reader import Reader
from quarterdeck_readmodels.tables import Row, columns

HIDDEN: Final = MARKS | {"sealed_by", "since", "plain", "voices", "changed_at"}
"""Columns with which rows are worked out and opened; they say nothing by themselves."""
_INTERVALS: Final = "intervals"
_from_json: Final = msgspec.json.Decoder().decode
_to_json: Final = msgspec.json.Encoder().encode
PERIODS: Final = "periods"
"""What is told of a relation's intervals."""
_AT_ONCE: Final = 5_000


class Changed(msgspec.Struct, frozen=True, gc=False):
    """An object that is not the same at both positions. `added`: it was not there at the earlier one. `fields` are its
    differing fields, by name, as the members of a JSON list: `{"name": …, "before": …, "after": …}`."""

    id: str
    added: bool
    fields: str


async def changes(
    reader: Reader, tenant: str, since: int, until: int, rows: Sequence[type[Row]]
) -> dict[type[Row], list[Changed]]:
    """Return what differs at one position from an earlier one, by table, in order of id.

    What was changed and changed back is no difference. Personal columns are not for this: none of the estate's is.
    While the database works on one table, another's rows are made; positions that are past never change.

    Raises:
        NotYet: a position is beyond what the tables hold.
        Unavailable: the database does not answer.
    """
    found = await asyncio.gather(*[_changes(reader, tenant, since, until, row) for row in rows])
    return dict(zip(rows, found, strict=True))


async def _changes(reader: Reader, tenant: str, since: int, until: int, row: type[Row]) -> list[Changed]:
    async with reader.at(tenant, until) as record:
        fetched = await record.ask(partial(_query, row), since, until)
    found: list[Changed] = []
    for start in range(0, len(fetched), _AT_ONCE):
        found += [
            Changed(name, added, fields)
            for name, added, *parts in fetched[start : start + _AT_ONCE]
            if (fields := _fields(*parts))
        ]
        await asyncio.sleep(0)  # others share this loop
    found.sort(key=_id)
    return found


def _fields(first: str, before: str | None, after: str | None, rest: str) -> str:
    """Return the fields before the periods, these if they differ, and the fields after them."""
    told = ""
    if before is not None or after is not None:
        was, is_ = (None if said is None else _periods(_from_json(said)) for said in (before, after))
        if was != is_:
            told = _to_json({"name": PERIODS, "before": was, "after": is_}).decode()
    return ",".join(filter(None, (first, told, rest)))


@cache
def compared(row: type[Row]) -> Mapping[str, str]:
    """Return what is compared: by the names under which it is told of, in their order, the columns."""
    names = {PERIODS if name == _INTERVALS else name: name for name in columns(row) if name not in HIDDEN}
    return {name: names[name] for name in sorted(names)}


def told(row: Row) -> dict[str, Any]:
    """Return what is compared of a row, by name, as JSON has it."""
    values = msgspec.to_builtins(row)
    found = {name: values[column] for name, column in compared(type(row)).items()}
    if PERIODS in found:
        found[PERIODS] = _periods(found[PERIODS])
    return found


def _periods(intervals: Iterable[Sequence[Any]] | None) -> list[dict[str, Any]] | None:
    """Return when a relation was declared to hold, without the gaps that are none."""
    return None if intervals is None else [{"from": begins, "to": ends} for begins, ends in joined(intervals)]


def _id(item: Changed) -> str:
    return item.id


@cache
def _query(row: type[Row], schema: str) -> str:
    """Return the query. Parameters: tenant, the earlier position, the later one."""
    table = f"{schema}.{row.table}"
    names = compared(row)
    first = [_said(row, name) for name, column in names.items() if column != _INTERVALS and name < PERIODS]
    rest = [_said(row, name) for name, column in names.items() if column != _INTERVALS and name > PERIODS]
    differ = f"o.{_INTERVALS} IS DISTINCT FROM n.{_INTERVALS}"
    periods = (
        [f"CASE WHEN {differ} THEN {side}.{_INTERVALS} END" for side in "on"] if PERIODS in names else ["NULL"] * 2
    )
    holds = "(to_position IS NULL OR to_position > $3)"
    return f"""SELECT n.id, o.id IS NULL, concat_ws(',', {", ".join(first)}), {", ".join(periods)},
            concat_ws(',', {", ".join(rest)}) FROM (
            SELECT * FROM {table} WHERE tenant_id = $1 AND from_position = created_position
                AND created_position > $2 AND created_position <= $3 AND {holds}
            UNION ALL
            SELECT * FROM {table} WHERE tenant_id = $1 AND from_position > created_position
                AND from_position > $2 AND from_position <= $3 AND {holds}
        ) n LEFT JOIN LATERAL (
            SELECT * FROM {table} v WHERE v.tenant_id = $1 AND v.id = n.id AND v.from_position <= $2
            ORDER BY v.from_position DESC LIMIT 1
        ) o ON n.created_position <= $2"""  # noqa: S608  names of ours only


def _said(row: type[Row], name: str) -> str:
    """Return what says a field before and after, as JSON; NULL where it is the same."""
    kind = columns(row)[name]
    before, after = (f"coalesce({_json(f'{side}.{name}', kind)}, 'null')" for side in "on")
    said = f"""'{{"name":"{name}","before":' || {before} || ',"after":' || {after} || '}}'"""
    return f"CASE WHEN o.{name} IS DISTINCT FROM n.{name} THEN {said} END"


def _json(column: str, kind: str) -> str:
    if kind == "text":
        return f"to_json({column})::text"
    if kind == "timestamptz":
        # As msgspec writes moments: without the microseconds that there are none of.
        told = f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
        return f"""'"' || replace({told}, '.000000', '') || '"'"""
    return f"{column}::text"
