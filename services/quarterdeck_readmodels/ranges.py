"""Writes a folded run into the position-ranged tables: stored versions end, new ones begin, progress moves. In bulk.

Every statement finds its rows by the primary key and the position it expects, so that no plan depends on statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from operator import itemgetter
from typing import Any, Final

import msgspec

from quarterdeck_readmodels.folding import Run, Values, fold
from quarterdeck_readmodels.tables import COMMON, Row, columns, tellable

_COMMON_KINDS: Final = {
    "id": "text",
    "created_position": "bigint",
    "from_position": "bigint",
    "to_position": "bigint",
}
_to_json: Final = msgspec.json.Encoder().encode
_from_json: Final = msgspec.json.Decoder().decode


async def apply(connection: Any, schema: str, tenant: str, run: Run) -> None:
    """Apply a run to the tables of a schema, and move the tenant's progress to its end.

    `connection` is asyncpg's, in a transaction that has taken the tenant (`schema.take`) right before the run.

    Raises:
        Unfoldable: nothing is written; what precedes the position can be applied, as a run of its own.
    """
    stored: dict[type[Row], dict[str, Values]] = {}
    for row, ids in run.touched().items():
        found = await connection.fetch(_select(schema, row), tenant, ids)
        stored[row] = {record["id"]: loaded(row, record) for record in found}
    writes = fold(run, stored)
    for row, ends in writes.ends.items():
        await connection.execute(_end(schema, row), tenant, *zip(*ends, strict=True))
    for row, versions in writes.inserts.items():
        await connection.execute(insert(schema, row), tenant, *arrays(row, versions))
    await connection.execute(_move(schema), tenant, run.last)


@cache
def kinds(row: type[Row]) -> Mapping[str, str]:
    """Return every column of a table but the tenant's, in order, and its SQL type."""
    return {**_COMMON_KINDS, **columns(row)}


def arrays(row: type[Row], versions: Sequence[Values]) -> list[Sequence[Any]]:
    """Return versions as one array a column, as `insert` takes them."""
    get = itemgetter(*kinds(row))
    found = zip(*map(get, versions), strict=True)
    return [_CONVERT[kind](column) for column, kind in zip(found, kinds(row).values(), strict=True)]


def _json_column(column: Sequence[Any]) -> list[str | None]:
    return [None if value is None else _to_json(value).decode() for value in column]


def _time_column(column: Sequence[Any]) -> list[datetime | None]:
    told = [datetime.fromisoformat(value) if isinstance(value, str) else value for value in column]
    return [None if value is None else tellable(value) for value in told]


def _as_it_is(column: Sequence[Any]) -> Sequence[Any]:
    return column


_CONVERT: Final[Mapping[str, Callable[[Sequence[Any]], Sequence[Any]]]] = {
    "jsonb": _json_column,
    "timestamptz": _time_column,
    "text": _as_it_is,
    "bigint": _as_it_is,
    "boolean": _as_it_is,
}


def loaded(row: type[Row], record: Mapping[str, Any]) -> Values:
    """Return a stored version as folds have it."""
    values = dict(record)
    for name, kind in columns(row).items():
        if kind == "jsonb" and values[name] is not None:
            values[name] = _from_json(values[name])
    return values


# The statements below are made of names of ours only (schemas, tables, columns); values are parameters.


@cache
def _select(schema: str, row: type[Row]) -> str:
    names = ", ".join(f"t.{name}" for name in (*COMMON, *columns(row)))
    return f"""SELECT {names} FROM unnest($2::text[]) AS u(id) CROSS JOIN LATERAL (
            SELECT * FROM {schema}.{row.table} WHERE tenant_id = $1 AND id = u.id ORDER BY from_position DESC LIMIT 1
        ) t"""  # noqa: S608


@cache
def _end(schema: str, row: type[Row]) -> str:
    return f"""UPDATE {schema}.{row.table} t SET to_position = u.until
        FROM unnest($2::text[], $3::bigint[], $4::bigint[]) AS u(id, since, until)
        WHERE t.tenant_id = $1 AND t.id = u.id AND t.from_position = u.since"""  # noqa: S608


@cache
def insert(schema: str, row: type[Row]) -> str:
    """Return the statement that writes versions. Parameters: tenant, `arrays`."""
    names = ", ".join(kinds(row))
    parameters = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(kinds(row).values(), 2))
    return f"""INSERT INTO {schema}.{row.table} (tenant_id, {names})
        SELECT $1, u.* FROM unnest({parameters}) AS u({names})"""  # noqa: S608


@cache
def _move(schema: str) -> str:
    return f"""UPDATE {schema}.progress SET position = $2, stopped_at = NULL, problem = NULL
        WHERE tenant_id = $1"""  # noqa: S608
