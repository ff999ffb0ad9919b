"""Everything that differs between two positions, in bulk: of each object the fields that do, before and after.

The version that holds at the later position began after the earlier one, or nothing happened to the object. So these
are found by when they began, nearly in the order in which they lie on disk; each one's version before, by the primary
key. Fields that are the same never leave the database.
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
PERIODS: Final = "periods"
"""What is told of a relation's intervals."""
_AT_ONCE: Final = 5_000
_from_json: Final = msgspec.json.Decoder().decode

Field = tuple[str, Any, Any]
"""A field's name, what it was and what it is."""


class Changed(msgspec.Struct, frozen=True, gc=False):
    """An object that is not the same at both positions. `added`: it was not there at the earlier one."""

    id: str
    added: bool
    fields: tuple[Field, ...]


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
    names = tuple(compared(row))
    json = frozenset(place for place, name in enumerate(compared(row).values()) if columns(row)[name] == "jsonb")
    found: list[Changed] = []
    for start in range(0, len(fetched), _AT_ONCE):
        made = (_made(item, names, json) for item in fetched[start : start + _AT_ONCE] if item[2])
        found += [item for item in made if item.fields]
        await asyncio.sleep(0)  # others share this loop
    found.sort(key=_id)
    return found


def _made(item: Any, names: tuple[str, ...], json: frozenset[int]) -> Changed:
    fields: list[Field] = []
    mask = item[2]
    while mask:
        place = (mask & -mask).bit_length() - 1
        mask &= mask - 1
        before, after = item[3 + 2 * place], item[4 + 2 * place]
        if place in json:
            before = None if before is None else _from_json(before)
            after = None if after is None else _from_json(after)
            if names[place] == PERIODS:
                before, after = _periods(before), _periods(after)
                if before == after:
                    continue
        fields.append((names[place], before, after))
    return Changed(item[0], item[1], tuple(fields))


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
    names = tuple(compared(row).values())
    differs = [f"o.{name} IS DISTINCT FROM n.{name}" for name in names]
    mask = " | ".join(f"CASE WHEN {test} THEN {1 << place}::bigint ELSE 0 END" for place, test in enumerate(differs))
    values = ", ".join(
        f"CASE WHEN {test} THEN o.{name} END, CASE WHEN {test} THEN n.{name} END"
        for name, test in zip(names, differs, strict=True)
    )
    holds = "(to_position IS NULL OR to_position > $3)"
    return f"""SELECT n.id, o.id IS NULL, {mask}, {values} FROM (
            SELECT * FROM {table} WHERE tenant_id = $1 AND from_position = created_position
                AND created_position > $2 AND created_position <= $3 AND {holds}
            UNION ALL
            SELECT * FROM {table} WHERE tenant_id = $1 AND from_position > created_position
                AND from_position > $2 AND from_position <= $3 AND {holds}
        ) n LEFT JOIN LATERAL (
            SELECT * FROM {table} v WHERE v.tenant_id = $1 AND v.id = n.id AND v.from_position <= $2
            ORDER BY v.from_position DESC LIMIT 1
        ) o ON n.created_position <= $2"""  # noqa: S608  names of ours only
