"""The estate as it was true at a moment, as known at a position; everything else as it was recorded by that position.

Asked the same questions as `reader.Record`, so whoever asks need not know which one it is. Of objects and relations
of which nothing is dated, what was true is what was recorded by then. The others (`timed`) are looked up as they are
known and turned into what held (`bitemporal`).
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import msgspec

from quarterdeck_domain.errors import InvalidInput
from quarterdeck_readmodels import selects
from quarterdeck_readmodels.bitemporal import asset_then, relation_then
from quarterdeck_readmodels.estate import DATED, PROMPTLY, SEEN, Asset
from quarterdeck_readmodels.held_pages import FIXED, Sources, merged
from quarterdeck_readmodels.held_selects import Late, timed
from quarterdeck_readmodels.held_whole import walk
from quarterdeck_readmodels.reader import MAX_PAGE, Difference, Page, Reader, Record, wanted
from quarterdeck_readmodels.tables import Row

R = TypeVar("R", bound=Row)
_MOST: Final = 60_000
_WIDE: Final = 20_000


class Log(Protocol):
    """What tells which position a time is."""

    async def position_at(self, tenant: str, moment: datetime) -> int:
        """Return the last position recorded at or before a moment."""


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A moment, as known at a position. `recorded` is the last position recorded by the moment, and `promptly` the last
    one at which what was first seen by the moment can have been recorded promptly (see `estate.PROMPTLY`)."""

    moment: datetime
    known: int
    recorded: int
    promptly: int


async def view_at(log: Log, tenant: str, moment: datetime, known: int, recorded: int | None = None) -> View:
    """Return the view of a moment as known at a position. `recorded`: the last one by the moment, if known."""
    if recorded is None:
        recorded = await log.position_at(tenant, moment)
    try:
        promptly = await log.position_at(tenant, moment + PROMPTLY)
    except OverflowError:
        promptly = known
    return View(moment=moment, known=known, recorded=recorded, promptly=promptly)


@contextlib.asynccontextmanager
async def held_at(reader: Reader, tenant: str, view: View) -> AsyncIterator[Held]:
    """Open the estate of one tenant as it was at a moment.

    Raises:
        NotYet: the tables do not hold the position yet.
        Unavailable: the database does not answer.
    """
    async with reader.at(tenant, view.known) as record:
        yield Held(record, view)


class Held(Record):
    """One tenant's read models as of one position, the estate in them as it was true at a moment."""

    def __init__(self, known: Record, view: View) -> None:
        super().__init__(known._connection, known._schema, known.tenant, known.projected, known.position)
        self.moment = view.moment
        self._view = view
        self._known = known
        self._recorded = min(view.recorded, self.position)
        self._promptly = view.promptly
        self._then = known if self._recorded == self.position else known.earlier(self._recorded)

    def lean(self) -> Held:
        """Return this one: what was true is worked out with the working columns."""
        return self

    def walk(self, row: type[Row], only: tuple[str, ...]) -> AsyncGenerator[Sequence[Any], None]:
        """Yield some columns of every object that was there. See `Record.walk`."""
        return walk(self._sources(), row, only) if row in FIXED else self._known.walk(row, only)

    def earlier(self, position: int) -> Held:
        """Return the estate of the same moment, as known at a position before this one's."""
        return Held(self._known.earlier(position), self._view)

    async def page(
        self,
        row: type[R],
        *,
        first: int,
        after: int | None = None,
        newest_first: bool = True,
        where: Mapping[str, object] | None = None,
    ) -> Page[R]:
        """Return the next objects that were there. See `Record.page`.

        Raises:
            InvalidInput: as there.
        """
        if row not in FIXED:
            return await self._known.page(row, first=first, after=after, newest_first=newest_first, where=where)
        if not 1 <= first <= MAX_PAGE:
            raise InvalidInput(f"first must be 1 to {MAX_PAGE}, not {first}", first=first)
        columns = wanted(row, where or {})
        found = await merged(self._sources(), row, columns, limit=first + 1, after=after, newest_first=newest_first)
        return Page(found[:first], len(found) > first)

    async def many(self, row: type[R], ids: Sequence[str]) -> dict[str, R]:
        """Return several objects as they were, by id; those that were not there are left out."""
        known = await self._known.many(row, ids)
        return known if row not in FIXED else await self._resolve(row, list(known.values()))

    async def matching(self, row: type[R], column: str, values: Sequence[str], *, most: int) -> list[R]:
        """Return every object whose column had one of some values, in order of id. See `Record.matching`.

        Raises:
            InvalidInput: as there.
        """
        if row not in FIXED:
            return await self._known.matching(row, column, values, most=most)
        if column in FIXED[row]:
            known = await self._known.matching(row, column, values, most=max(most, _MOST))
            found = list((await self._resolve(row, known)).values())
        else:
            found = sorted(await self._all(row, {column: list(values)}, most), key=lambda item: item.id)
        if len(found) > most:
            raise InvalidInput(f"more than {most} {row.table} are concerned: ask for less", limit=most)
        return found

    def of(self, view: View) -> Held:
        """Return the estate of another moment, as known at the same position."""
        return Held(self._known, view)

    async def changed_since(self, row: type[Row], earlier: Held) -> list[str]:
        """Return the ids of the objects that may not be what they were at an earlier moment, known at the same
        position: those that something was recorded of in between, and those of which something is dated."""
        if row not in FIXED:
            return []
        low, high = earlier._recorded, self._recorded
        query = partial(selects.touched, row=row, wide=high - low > _WIDE)
        touched = {item["id"] for item in await self._known.ask(query, low, high, "", None)} if low < high else set()
        for mark in (DATED, SEEN):
            touched |= (
                await timed(
                    self._known,
                    row,
                    Late(mark, 0, self.position),
                    limit=self.position,
                    moment=self.moment,
                    recorded=high,
                    fixed={},
                    loose={},
                    newest_first=False,
                )
            ).keys()
        return sorted(touched)

    async def diff(
        self, row: type[R], since: int, *, after: str | None = None, first: int | None = None
    ) -> dict[str, Difference[R]]:
        """Positions differ; what was true is told of one moment alone."""
        raise NotImplementedError

    def _sources(self) -> Sources:
        return Sources(
            known=self._known,
            then=self._then,
            moment=self.moment,
            known_at=self.position,
            recorded=self._recorded,
            promptly=min(self._promptly, self.position),
            resolve=self._resolve,
        )

    async def _resolve(self, row: type[R], known: Sequence[R], then: Mapping[str, R] | None = None) -> dict[str, R]:
        """Return what objects were at the moment, given their rows as known; those that were not there are left out."""
        if then is None:
            then = {item.id: item for item in known}
            if self._then is not self._known:
                recorded = [item.id for item in known if item.created_position <= self._recorded]
                then = await self._then.many(row, recorded) if recorded else {}
        held: Any = asset_then if row is Asset else relation_then
        resolved = {item.id: held(item, then.get(item.id), self.moment) for item in known}
        return {name: item for name, item in resolved.items() if item is not None}

    async def _all(self, row: type[R], where: Mapping[str, object], most: int) -> list[R]:
        found: list[R] = []
        after: int | None = None
        more = True
        while more and len(found) <= most:
            page = await self.page(row, first=MAX_PAGE, after=after, newest_first=False, where=where)
            found += page.rows
            after, more = (page.rows[-1].created_position if page.rows else None), page.more
        return found
