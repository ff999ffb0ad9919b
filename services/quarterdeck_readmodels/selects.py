"""The questions' SQL: the same page of now and of any past position. Made of names of ours only; values are parameters.

*Now* walks current rows in the order in which their objects began. *Then* walks objects in that order and probes each
one's version by the primary key: one step more a row, however long the log and however often an object changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Final

from quarterdeck_readmodels.schema import CURRENT, hashed
from quarterdeck_readmodels.tables import COMMON, Row, columns

_FIXED: Final = "tenant_id = $1 AND {0}created_position > $2 AND {0}created_position <= $3"


@cache
def names(row: type[Row], only: tuple[str, ...] = ()) -> str:
    """Return some columns of a row as selected from `t`, in their order; all of them, if none are named."""
    return ", ".join(f"t.{name}" for name in only or (*COMMON, *columns(row)))


@cache
def page(
    schema: str, row: type[Row], narrow: tuple[str, ...], *, then: bool, newest_first: bool, only: tuple[str, ...] = ()
) -> str:
    """Return the query of a page.

    Parameters: tenant, the place after which and the one up to which objects began, how many rows, the position as of
    which (only with `then`), and for each column of `narrow` the values that it may have. Of then, narrowed by a column
    that is no list (`lead`), the places are lists: of parts that follow one another in page order.
    """
    order = f"created_position {'DESC' if newest_first else 'ASC'}"
    table, start = f"{schema}.{row.table}", 6 if then else 5
    numbered = {column: start + place for place, column in enumerate(narrow)}
    first = lead(row, narrow)
    rest = "".join(f" AND {_fits(row, column, number)}" for column, number in numbered.items() if column != first)
    if first is not None:
        return _narrowed(table, names(row, only), first, numbered[first], rest, newest_first, then=then)
    if not then:
        return f"""SELECT {names(row, only)} FROM {table} t
            WHERE t.{_FIXED.format("t.")} AND {CURRENT}{rest} ORDER BY t.{order} LIMIT $4"""  # noqa: S608
    return f"""SELECT {names(row, only)} FROM {table} b CROSS JOIN LATERAL (
            SELECT * FROM {table} v WHERE v.tenant_id = $1 AND v.id = b.id AND v.from_position <= $5
            ORDER BY v.from_position DESC LIMIT 1
        ) t WHERE b.{_FIXED.format("b.")} AND b.from_position = b.created_position{rest}
        ORDER BY b.{order} LIMIT $4"""  # noqa: S608


def lead(row: type[Row], narrow: Iterable[str]) -> str | None:
    """Return the column by whose index a narrowed page is found."""
    return next((column for column in narrow if columns(row)[column] != "jsonb"), None)


@cache
def many(schema: str, row: type[Row], *, only: tuple[str, ...] = ()) -> str:
    """Return the query of several objects. Parameters: tenant, ids, position (the largest there is, for now)."""
    return f"""SELECT {names(row, only)} FROM unnest($2::text[]) AS u(id) CROSS JOIN LATERAL (
            SELECT * FROM {schema}.{row.table} v WHERE v.tenant_id = $1 AND v.id = u.id AND v.from_position <= $3
            ORDER BY v.from_position DESC LIMIT 1
        ) t"""  # noqa: S608


@cache
def matching(schema: str, row: type[Row], column: str, *, then: bool, only: tuple[str, ...] = ()) -> str:
    """Return the query of every object whose column has one of some values, in no order.

    Parameters: tenant, values, how many at most, the position as of which (only with `then`).
    `OFFSET 0` keeps it a walk of the index for each value: before there are statistics, a planner compares each value
    with each row.
    """
    walk = f"""SELECT * FROM {schema}.{row.table} t
        WHERE t.tenant_id = $1 AND t.{hashed(column)} = u.hash AND t.{column} = u.value AND """  # noqa: S608
    versions = (
        f"""{walk} t.to_position IS NULL AND t.from_position <= $4
            UNION ALL {walk} t.from_position <= $4 AND t.to_position > $4"""
        if then
        else f"{walk} t.to_position IS NULL"
    )
    return f"""SELECT {names(row, only)} FROM (
            SELECT value, hashtextextended(value, 0) AS hash FROM unnest($2::text[]) AS x(value) OFFSET 0
        ) AS u CROSS JOIN LATERAL ({versions} OFFSET 0) t LIMIT $3"""  # noqa: S608


@cache
def touched(schema: str, row: type[Row], *, wide: bool) -> str:
    """Return the query of the objects with a version that begins in a range, by id.

    Parameters: tenant, the place after the range's beginning, its end, the id that they follow, how many.
    A narrow range is read whole and sorted; in a wide one most objects are found sooner by walking all ids.
    """
    table = f"{schema}.{row.table}"
    if wide:
        return f"""SELECT DISTINCT t.id FROM {table} t
            WHERE t.tenant_id = $1 AND t.id > $4 AND t.from_position > $2 AND t.from_position <= $3
            ORDER BY t.id LIMIT $5"""  # noqa: S608
    return f"""SELECT DISTINCT t.id FROM (
            SELECT b.id FROM {table} b WHERE b.{_FIXED.format("b.")} AND b.from_position = b.created_position
            UNION ALL
            SELECT c.id FROM {table} c WHERE c.tenant_id = $1 AND c.from_position > c.created_position
                AND c.from_position > $2 AND c.from_position <= $3
        ) t WHERE t.id > $4 ORDER BY t.id LIMIT $5"""  # noqa: S608


def _fits(row: type[Row], column: str, number: int) -> str:
    return f"t.{column} ?| ${number}::text[]" if columns(row)[column] == "jsonb" else f"t.{column} = ANY (${number})"


def _narrowed(table: str, shown: str, lead: str, number: int, rest: str, newest_first: bool, *, then: bool) -> str:
    # One index walk a value, in page order. What is current and what has ended have an index each, and both tell which
    # versions hold without looking at the rows. Of then, neither walk knows when the other has filled the page: so they
    # look at one part of the places after another, in the order given, until it is full (`reader.parts`).
    order = f"created_position {'DESC' if newest_first else 'ASC'}"
    low, high = ("part.low", "part.high") if then else ("$2", "$3")

    def walk(which: str) -> str:
        return f"""SELECT * FROM {table} t WHERE t.tenant_id = $1 AND t.{hashed(lead)} = u.hash AND t.{lead} = u.value
            AND t.created_position > {low} AND t.created_position <= {high}{rest} AND {which}
            ORDER BY t.{order} LIMIT $4"""  # noqa: S608

    versions = (
        f"""({walk("t.to_position IS NULL AND t.from_position <= $5")})
            UNION ALL ({walk("t.from_position <= $5 AND t.to_position > $5")})"""
        if then
        else walk("t.to_position IS NULL")
    )
    found = f"""SELECT {shown} FROM (
            SELECT value, hashtextextended(value, 0) AS hash FROM unnest(${number}::text[]) AS x(value) OFFSET 0
        ) AS u CROSS JOIN LATERAL ({versions}) t ORDER BY t.{order} LIMIT $4"""  # noqa: S608
    if not then:
        return found
    return f"""SELECT t.* FROM unnest($2::bigint[], $3::bigint[]) AS part(low, high)
        CROSS JOIN LATERAL ({found}) t LIMIT $4"""  # noqa: S608
