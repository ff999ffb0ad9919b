"""The SQL of what is known late: `timed` rows whose objects began between two places, and what held of them.

What held is worked out here only as far as a page is narrowed by it, and only to leave out most rows: whoever asks
works it out in whole from the rows themselves. Statements are made of names of ours only; values are parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache, partial
from typing import Any, Final, NamedTuple

from quarterdeck_readmodels.estate import stamp
from quarterdeck_readmodels.reader import Record
from quarterdeck_readmodels.schema import hashed
from quarterdeck_readmodels.tables import Row, columns

_COMMANDED: Final = frozenset({"merged_into"})
"""Columns that only commands set: they are as they were recorded by the moment."""
_FIXED: Final = ("tenant", "low", "high", "limit", "mark")


class Late(NamedTuple):
    """Which rows: the mark that they carry, the places after which and up to which their objects began, and the column
    that has the mark."""

    mark: str
    low: int
    high: int
    column: str = "timed"


async def timed(
    record: Record,
    row: type[Row],
    late: Late,
    *,
    limit: int,
    moment: datetime,
    recorded: int | None,
    fixed: Mapping[str, Sequence[object]],
    loose: Mapping[str, Sequence[object]],
    newest_first: bool,
) -> dict[str, int]:
    """Return the ids of objects as a record knows them, and their places: `fixed` are the values of columns that never
    change, `loose` of those that do. `recorded` is the last position recorded by the moment; None where the record is
    as it was recorded by then: the rows that it knows tell it by themselves."""
    given: dict[str, Any] = dict(zip(_FIXED[1:], (late.low, late.high, limit, late.mark), strict=True))
    given |= {"known": record.position} if record.past else {}
    # Narrowed, those recorded by the moment are among them, and what nobody dated of these holds already.
    if not loose:
        given["moment"] = moment
    elif recorded is not None:
        given |= {"recorded": recorded} | ({"stamp": stamp(moment)} if loose.keys() - _COMMANDED else {})
    given |= {f"fixed {name}": list(values) for name, values in fixed.items()}
    given |= {f"loose {name}": list(values) for name, values in loose.items()}
    names = (_FIXED[0], *given)
    query = partial(
        _timed,
        row=row,
        mark=late.column,
        fixed=tuple(fixed),
        loose=tuple(loose),
        given=names,
        newest_first=newest_first,
    )
    return {found["id"]: found["created_position"] for found in await record.ask(query, *given.values())}


@cache
def _timed(
    schema: str,
    *,
    row: type[Row],
    mark: str,
    fixed: tuple[str, ...],
    loose: tuple[str, ...],
    given: tuple[str, ...],
    newest_first: bool,
) -> str:
    table, order = f"{schema}.{row.table}", f"created_position {'DESC' if newest_first else 'ASC'}"
    at = {name: f"${place}" for place, name in enumerate(given, 1)}
    narrow = f" AND k.began <= {at['moment']}" if "moment" in at else ""
    narrow += "".join(f" AND k.{name} = ANY ({at[f'fixed {name}']})" for name in fixed)
    holds = _held if "recorded" in at else _said
    narrow += "".join(f" AND {holds(row, name, at)}" for name in loose)
    then = (
        f"""LEFT JOIN LATERAL (SELECT * FROM {table} v WHERE v.tenant_id = $1 AND v.id = k.id
            AND v.from_position <= {at["recorded"]} ORDER BY v.from_position DESC LIMIT 1) t ON true"""  # noqa: S608
        if "recorded" in at
        else ""
    )

    def walk(which: str) -> str:
        return f"""SELECT k.id, k.created_position FROM {table} k {then}
            WHERE k.tenant_id = $1 AND k.{hashed(mark)} = hashtextextended($5, 0) AND k.{mark} = $5
            AND k.created_position > $2 AND k.created_position <= $3 AND {which}{narrow}
            ORDER BY k.{order} LIMIT $4"""  # noqa: S608

    if "known" not in at:
        return walk("k.to_position IS NULL")
    known = at["known"]
    return f"""SELECT * FROM (({walk(f"k.to_position IS NULL AND k.from_position <= {known}")})
        UNION ALL ({walk(f"k.from_position <= {known} AND k.to_position > {known}")})) k
        ORDER BY k.{order} LIMIT $4"""  # noqa: S608


def _said(row: type[Row], name: str, at: Mapping[str, str]) -> str:
    """Return the condition that a column has one of some values, or that somebody said so of any time. Nothing said of
    a lifecycle makes a draft of it."""
    wanted = at[f"loose {name}"]
    if name in _COMMANDED:
        return f"k.{name} = ANY ({wanted})"

    json = columns(row)[name] == "jsonb"

    def one_of(value: str) -> str:
        return f"{value} ?| {wanted}::text[]" if json else f"{value} #>> '{{}}' = ANY ({wanted})"

    column = one_of(f"k.{name}") if json else f"k.{name} = ANY ({wanted})"
    plain, dated = one_of(f"(k.plain -> '{name}')"), one_of(f"(d.item -> 'facts' -> '{name}')")
    draft = f" OR 'draft' = ANY ({wanted})" if name == "lifecycle" else ""
    return (
        f"({column} OR {plain} OR EXISTS (SELECT FROM jsonb_array_elements(k.dated) AS d(item) WHERE {dated}){draft})"
    )


def _held(row: type[Row], name: str, at: Mapping[str, str]) -> str:
    """Return the condition that a column had one of some values at the moment."""
    wanted = at[f"loose {name}"]
    if name in _COMMANDED:
        return f"t.{name} = ANY ({wanted})"
    moment = at["stamp"]
    value = f"""(SELECT i.value FROM (
            SELECT d.item ->> 'begins' AS begins, (d.item ->> 'position')::bigint AS place,
                d.item -> 'facts' -> '{name}' AS value
            FROM jsonb_array_elements(k.dated) AS d(item)
            WHERE d.item -> 'facts' ? '{name}' AND d.item ->> 'begins' <= {moment}
                AND coalesce(d.item ->> 'ends' > {moment}, true)
            UNION ALL SELECT t.since -> '{name}' ->> 0, (t.since -> '{name}' ->> 1)::bigint,
                CASE WHEN t.plain ? '{name}' THEN t.plain -> '{name}' ELSE to_jsonb(t.{name}) END
            WHERE t.since ? '{name}' AND t.since -> '{name}' ->> 0 <= {moment}
        ) i ORDER BY i.begins COLLATE "C" DESC, i.place DESC LIMIT 1)"""  # noqa: S608
    if columns(row)[name] == "jsonb":
        return f"{value} ?| {wanted}::text[]"
    # Nothing said of its state holds yet: a draft.
    text = f"({value} #>> '{{}}')"
    told = f"coalesce({text}, 'draft')" if name == "lifecycle" else text
    return f"{told} = ANY ({wanted})"
