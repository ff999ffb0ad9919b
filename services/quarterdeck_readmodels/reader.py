"""Asking the read models: the same questions of now and of any past position."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

import asyncpg
import msgspec

from quarterdeck_domain.errors import InvalidInput, QuarterdeckError
from quarterdeck_ledger.postgres import translated
from quarterdeck_readmodels.schema import LIVE
from quarterdeck_readmodels.tables import COMMON, Row, columns

R = TypeVar("R", bound=Row)
MAX_PAGE: Final = 1_000
_POLL_S: Final = 0.01


class NotYet(QuarterdeckError):
    """The read models have not reached the position that was demanded. Try again, or demand less."""

    code = "not_yet"


class Page(msgspec.Struct, Generic[R], frozen=True):
    """Rows in page order. `more` tells whether there are others after them."""

    rows: list[R]
    more: bool


class Difference(msgspec.Struct, Generic[R], frozen=True):
    """One object at two moments; None where it did not exist."""

    before: R | None
    after: R | None


class Reader:
    """The read models of every tenant, one at a time."""

    def __init__(self, pool: asyncpg.Pool, schema: str = LIVE) -> None:
        self._pool = pool
        self._schema = schema

    async def projected(self, tenant: str) -> int:
        """Return the position up to which a tenant's events are in the tables."""
        async with self.at(tenant) as record:
            return record.projected

    async def wait_for(self, tenant: str, position: int, timeout_s: float = 5.0) -> None:
        """Return once the tables hold everything up to a position.

        Raises:
            NotYet: they did not in time.
        """
        end = time.monotonic() + timeout_s
        while (projected := await self.projected(tenant)) < position:
            if time.monotonic() > end:
                raise NotYet(
                    f"position {position} is demanded, {projected} is reached", position=position, projected=projected
                )
            await asyncio.sleep(_POLL_S)

    @contextlib.asynccontextmanager
    async def at(self, tenant: str, position: int | None = None) -> AsyncIterator[Record]:
        """Open the record of one tenant as of a position (None: as far as the tables are), in one snapshot.

        Raises:
            NotYet: the position is beyond what the tables hold.
            Unavailable: the database does not answer.
        """
        async with (
            translated(),
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            await connection.execute("SELECT set_config('quarterdeck.tenant', $1, true)", tenant)
            projected = await connection.fetchval(
                f"SELECT position FROM {self._schema}.progress WHERE tenant_id = $1",  # noqa: S608
                tenant,
            )
            yield Record(connection, self._schema, tenant, projected or 0, position)


class Record:
    """One tenant's read models as of one position."""

    def __init__(self, connection: Any, schema: str, tenant: str, projected: int, position: int | None) -> None:
        if position is not None and position > projected:
            raise NotYet(
                f"position {position} is demanded, {projected} is reached", position=position, projected=projected
            )
        self._connection = connection
        self._schema = schema
        self.tenant = tenant
        self.projected = projected
        self.position = projected if position is None else position
        self._past = position is not None and position < projected

    async def page(
        self,
        row: type[R],
        *,
        first: int,
        after: int | None = None,
        newest_first: bool = True,
        where: Mapping[str, object] | None = None,
    ) -> Page[R]:
        """Return the next rows in the order in which their objects began.

        `after` is the `created_position` of the last row seen; an event begins at most one object of a kind, so it
        is a place. `where` narrows by columns in the row's `filters`; a list matches any of its values, and
        a column that is a list itself matches if it holds any of them.

        Raises:
            InvalidInput: a page too large, or a column that cannot be narrowed by.
        """
        if not 1 <= first <= MAX_PAGE:
            raise InvalidInput(f"first must be 1 to {MAX_PAGE}, not {first}", first=first)
        conditions, arguments = self._holds()
        way, order = ("<", "DESC") if newest_first else (">", "ASC")
        if after is not None:
            arguments.append(after)
            conditions.append(f"created_position {way} ${len(arguments)}")
        for name, value in (where or {}).items():
            if name not in row.filters:
                raise InvalidInput(f"{row.table} cannot be narrowed by {name!r}", allowed=row.filters)
            arguments.append(list(value) if isinstance(value, list | tuple | set | frozenset) else [value])
            many = columns(row)[name] == "jsonb"
            conditions.append(f"{name} ?| ${len(arguments)}" if many else f"{name} = ANY (${len(arguments)})")
        arguments.append(first + 1)
        found = await self._connection.fetch(
            f"""SELECT * FROM {self._schema}.{row.table} WHERE {" AND ".join(conditions)}
            ORDER BY created_position {order}, id LIMIT ${len(arguments)}""",  # noqa: S608
            *arguments,
        )
        return Page([_row(row, record) for record in found[:first]], len(found) > first)

    async def get(self, row: type[R], object_id: str) -> R | None:
        """Return one object as it was."""
        return (await self.many(row, [object_id])).get(object_id)

    async def many(self, row: type[R], ids: Sequence[str]) -> dict[str, R]:
        """Return several objects as they were, by id; those that did not exist are left out."""
        conditions, arguments = self._holds()
        arguments.append(list(dict.fromkeys(ids)))
        conditions.append(f"id = ANY (${len(arguments)})")
        found = await self._connection.fetch(
            f"SELECT * FROM {self._schema}.{row.table} WHERE {' AND '.join(conditions)}",  # noqa: S608
            *arguments,
        )
        return {record["id"]: _row(row, record) for record in found}

    async def diff(
        self, row: type[R], since: int, *, after: str | None = None, first: int | None = None
    ) -> dict[str, Difference[R]]:
        """Return the objects whose version at `since` is another than at this record's position, in order of id.

        `after` is the id that they follow, `first` how many at most (None: all).
        """
        low, high = sorted((since, self.position))
        touched = await self._connection.fetch(
            f"""SELECT DISTINCT id FROM {self._schema}.{row.table}
            WHERE tenant_id = $1 AND from_position > $2 AND from_position <= $3 AND id > $4 ORDER BY id LIMIT $5""",  # noqa: S608
            self.tenant,
            low,
            high,
            after or "",
            first,
        )
        ids = [record["id"] for record in touched]
        then = Record(self._connection, self._schema, self.tenant, self.projected, since)
        old, new = await then.many(row, ids), await self.many(row, ids)
        return {object_id: Difference(old.get(object_id), new.get(object_id)) for object_id in ids}

    def _holds(self) -> tuple[list[str], list[object]]:
        if not self._past:
            return ["tenant_id = $1", "to_position IS NULL"], [self.tenant]
        return [
            "tenant_id = $1",
            "created_position <= $2",
            "from_position <= $2",
            "(to_position IS NULL OR to_position > $2)",
        ], [self.tenant, self.position]


def _row(row: type[R], record: Mapping[str, Any]) -> R:
    values = {name: record[name] for name in (*COMMON, *columns(row))}
    for name, kind in columns(row).items():
        if kind == "jsonb" and isinstance(values[name], str):
            values[name] = json.loads(values[name])
            if isinstance(values[name], list):
                values[name] = tuple(values[name])
    return row(**values)
