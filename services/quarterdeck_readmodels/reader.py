"""Asking the read models: the same questions of now and of any past position."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final, Generic, TypeVar

import asyncpg
import msgspec

from quarterdeck_domain.errors import InvalidInput, QuarterdeckError
from quarterdeck_domain.ids import check_tenant
from quarterdeck_ledger.postgres import translated
from quarterdeck_readmodels import schema as doors
from quarterdeck_readmodels import selects
from quarterdeck_readmodels.arrivals import Arrivals
from quarterdeck_readmodels.catalogue import VERSION
from quarterdeck_readmodels.schema import LIVE, Progress
from quarterdeck_readmodels.tables import COMMON, Row, columns, storable

R = TypeVar("R", bound=Row)
MAX_PAGE: Final = 1_000
NO_TABLES: Final = (asyncpg.InvalidSchemaNameError, asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError)
_POLL_S: Final = 0.25
_WIDE: Final = 20_000
_PLACES: Final = 160
"""So many places of the log hold one object of those asked for, at first guess."""
_WIDER: Final = 4
"""How many times as many places are looked at next, where these did not fill the page."""
_EVER: Final = 2**62
_from_json: Final = msgspec.json.Decoder().decode


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
        self._arrivals = Arrivals(pool)

    async def projected(self, tenant: str) -> int:
        """Return the position up to which a tenant's events are in the tables."""
        return (await self.progress(tenant)).position

    async def progress(self, tenant: str) -> Progress:
        """Return how far a tenant's tables are, and what stops them, if anything does.

        Raises:
            NotYet: there are no tables yet, or they are of another release.
            Unavailable: the database does not answer.
        """
        async with translated(), _tables(), self._pool.acquire() as connection:
            return _checked(*await doors.enter(connection, self._schema, check_tenant(tenant)))

    async def wait_for(self, tenant: str, position: int, timeout_s: float = 5.0) -> None:
        """Return once the tables hold everything up to a position.

        Raises:
            NotYet: they did not in time, or an event before the position stops them.
            Unavailable: the database does not answer.
        """
        if (await self.progress(tenant)).position >= position:
            return
        end = time.monotonic() + timeout_s
        with self._arrivals.expecting(tenant) as moved:
            while True:
                moved.clear()
                progress = await self.progress(tenant)
                if progress.position >= position:
                    return
                left = end - time.monotonic()
                if left <= 0 or progress.stopped_at is not None:
                    raise _behind(position, progress)
                # Not `wait_for`: Python 3.11's loses a cancellation that comes together with the event.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(left, _POLL_S)):
                        await moved.wait()
                self._arrivals.listen()

    @contextlib.asynccontextmanager
    async def at(self, tenant: str, position: int | None = None) -> AsyncIterator[Record]:
        """Open the record of one tenant as of a position (None: as far as the tables are), in one snapshot.

        Raises:
            NotYet: the position is beyond what the tables hold.
            Unavailable: the database does not answer.
        """
        check_tenant(tenant)
        async with (
            translated(),
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            async with _tables():
                progress = _checked(*await doors.enter(connection, self._schema, tenant))
            if position is not None and position > progress.position:
                raise _behind(position, progress)
            yield Record(connection, self._schema, tenant, progress.position, position)


class Record:
    """One tenant's read models as of one position."""

    def __init__(
        self, connection: Any, schema: str, tenant: str, projected: int, position: int | None, *, lean: bool = False
    ) -> None:
        self._connection = connection
        self._lean = lean
        self._schema = schema
        self.tenant = tenant
        self.projected = projected
        self.position = projected if position is None else position
        self._past = position is not None and position < projected

    def earlier(self, position: int) -> Record:
        """Return the same record as of a position before this one, in the same snapshot."""
        return Record(self._connection, self._schema, self.tenant, self.projected, min(position, self.position))

    @property
    def past(self) -> bool:
        """Whether the tables hold more than this record tells of."""
        return self._past

    def lean(self) -> Record:
        """Return the same record for whoever only shows rows: `working` columns are left out, as if nothing were there.

        They are most of a row, and reading them most of the time that it takes.
        """
        position = self.position if self._past else None
        return Record(self._connection, self._schema, self.tenant, self.projected, position, lean=True)

    async def walk(self, row: type[Row], only: tuple[str, ...]) -> AsyncGenerator[Sequence[Any], None]:
        """Yield some columns of every object, a page at a time, in the order in which they began. Lists and objects are
        JSON as text. For whoever needs a little of everything, and asks nothing else until it is done or closed: the
        database looks for the next page while this one is worked on."""
        high = self.position if self._past else _EVER
        names = ("created_position", *only)
        query = selects.page(self._schema, row, (), then=self._past, newest_first=False, only=names)
        as_of = [self.position] if self._past else []

        async def ask(low: int) -> list[Any]:
            found: list[Any] = await self._connection.fetch(query, self.tenant, low, high, MAX_PAGE, *as_of)
            return found

        ahead: asyncio.Task[list[Any]] | None = None
        try:
            found = await ask(0)
            while len(found) == MAX_PAGE:
                ahead = asyncio.create_task(ask(found[-1][0]))
                await asyncio.sleep(0)  # so that it is sent
                yield [item[1:] for item in found]
                found = await ahead
            yield [item[1:] for item in found]
        finally:
            if ahead is not None and ahead.cancel():
                await asyncio.wait([ahead])

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
        narrow = wanted(row, where or {})
        low, high = 0, self.position if self._past else _EVER
        if after is not None:
            low, high = (low, min(high, after - 1)) if newest_first else (after, high)
        query = selects.page(
            self._schema, row, tuple(narrow), then=self._past, newest_first=newest_first, only=_only(row, self._lean)
        )
        as_of = [self.position] if self._past else []
        places: Sequence[object] = (low, high)
        if self._past and selects.lead(row, narrow) is not None:
            places = parts(low, high, first + 1, newest_first=newest_first)
        found = await self._connection.fetch(query, self.tenant, *places, first + 1, *as_of, *narrow.values())
        return Page([_row(row, record) for record in found[:first]], len(found) > first)

    async def get(self, row: type[R], object_id: str) -> R | None:
        """Return one object as it was."""
        return (await self.many(row, [object_id])).get(object_id)

    async def many(self, row: type[R], ids: Sequence[str]) -> dict[str, R]:
        """Return several objects as they were, by id; those that did not exist are left out."""
        return await self._many(row, ids, self.position if self._past else _EVER)

    async def matching(self, row: type[R], column: str, values: Sequence[str], *, most: int) -> list[R]:
        """Return every object whose column has one of some values, in order of id; for whoever needs them all.

        Raises:
            InvalidInput: a column that cannot be narrowed by, or more objects than `most`.
        """
        (found_in,) = wanted(row, {column: values}).values()
        as_of = [self.position] if self._past else []
        query = selects.matching(self._schema, row, column, then=self._past, only=_only(row, self._lean))
        found = await self._connection.fetch(query, self.tenant, found_in, most + 1, *as_of)
        if len(found) > most:
            raise InvalidInput(f"more than {most} {row.table} are concerned: ask for less", limit=most)
        return [_row(row, record) for record in sorted(found, key=lambda record: record["id"])]

    async def diff(
        self, row: type[R], since: int, *, after: str | None = None, first: int | None = None
    ) -> dict[str, Difference[R]]:
        """Return the objects whose version at `since` is another than at this record's position, in order of id.

        `after` is the id that they follow, `first` how many at most (None: all).
        """
        low, high = sorted((since, self.position))
        query = selects.touched(self._schema, row, wide=high - low > _WIDE)
        touched = await self._connection.fetch(query, self.tenant, low, high, storable(after or ""), first)
        ids = [record["id"] for record in touched]
        old, new = await self._many(row, ids, since), await self._many(row, ids, self.position)
        return {object_id: Difference(old.get(object_id), new.get(object_id)) for object_id in ids}

    async def ask(self, query: Callable[[str], str], *arguments: object) -> list[Any]:
        """Return the rows of a query that somebody makes for a schema; its first parameter is the tenant."""
        found: list[Any] = await self._connection.fetch(query(self._schema), self.tenant, *arguments)
        return found

    async def _many(self, row: type[R], ids: Sequence[str], position: int) -> dict[str, R]:
        # What PostgreSQL cannot hold is no object's id.
        stored = [object_id for object_id in dict.fromkeys(ids) if storable(object_id) == object_id]
        found = await self._connection.fetch(
            selects.many(self._schema, row, only=_only(row, self._lean)), self.tenant, stored, position
        )
        return {record["id"]: _row(row, record) for record in found}


@contextlib.asynccontextmanager
async def _tables() -> AsyncIterator[None]:
    try:
        yield
    except NO_TABLES as error:
        raise NotYet("there are no read models yet: the projector makes them when it starts", projected=0) from error


def _checked(version: int, progress: Progress) -> Progress:
    if version != VERSION:
        raise NotYet(
            f"the read models are of version {version}, this program reads version {VERSION}: the projector of the "
            "newest release rebuilds them; upgrade what is older, or wait",
            found=version,
            wanted=VERSION,
        )
    return progress


def _behind(position: int, progress: Progress) -> NotYet:
    stopped = f"; event {progress.stopped_at} stops it until somebody helps" if progress.stopped_at else ""
    return NotYet(
        f"position {position} is demanded, {progress.position} is reached{stopped}",
        position=position,
        projected=progress.position,
        stopped_at=progress.stopped_at,
    )


def parts(low: int, high: int, limit: int, *, newest_first: bool) -> tuple[list[int], list[int]]:
    """Return the places in which to look for so many objects, a few and then ever more: after which and up to which."""
    lows: list[int] = []
    highs: list[int] = []
    width = limit * _PLACES
    while low < high:
        begin, end = (max(low, high - width), high) if newest_first else (low, min(high, low + width))
        lows.append(begin)
        highs.append(end)
        low, high = (low, begin) if newest_first else (end, high)
        width *= _WIDER
    return lows, highs


def wanted(row: type[Row], where: Mapping[str, object]) -> dict[str, list[object]]:
    """Return the columns to narrow by, the most telling one first, and their values, each once.

    Raises:
        InvalidInput: a column that cannot be narrowed by.
    """
    for name in where:
        if name not in row.filters:
            raise InvalidInput(f"{row.table} cannot be narrowed by {name!r}", allowed=row.filters)
    return {name: _values(where[name]) for name in row.filters if name in where}


def _values(given: object) -> list[object]:
    values = list(given) if isinstance(given, list | tuple | set | frozenset) else [given]
    return list(dict.fromkeys(storable(value) if isinstance(value, str) else value for value in values))


@cache
def _only(row: type[Row], lean: bool) -> tuple[str, ...]:
    return tuple(name for name in (*COMMON, *columns(row)) if name not in row.working) if lean else ()


@cache
def _json_columns(row: type[Row]) -> tuple[str, ...]:
    return tuple(name for name, kind in columns(row).items() if kind == "jsonb")


def _row(row: type[R], record: Mapping[str, Any]) -> R:
    values = dict(record.items())
    for name in _json_columns(row):
        text = values.get(name)
        if text == "[]":
            values[name] = ()
        elif text is not None:
            value = _from_json(text)
            values[name] = tuple(value) if isinstance(value, list) else value
    return row(**values)
