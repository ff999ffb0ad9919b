"""The record as it is: what was announced holds from its time on, though nothing was recorded then.

A row shows what is known of the moment at which it was recorded. Of the few of which something is announced, what holds
now is told anew, from the same row. Everything that is known is there, also what has not begun to hold.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

from quarterdeck_domain.errors import InvalidInput
from quarterdeck_readmodels.bitemporal import asset_now, relation_now
from quarterdeck_readmodels.estate import ANNOUNCED, DATED, Asset, Relation
from quarterdeck_readmodels.held_pages import FIXED, Sources, fits, merged
from quarterdeck_readmodels.held_selects import Late, timed
from quarterdeck_readmodels.held_whole import walk
from quarterdeck_readmodels.reader import MAX_PAGE, Page, Reader, Record, wanted
from quarterdeck_readmodels.tables import Row

R = TypeVar("R", bound=Row)
_MARKS: Final = frozenset({"timed", ANNOUNCED})
_MARK: Final[Mapping[type[Row], Mapping[str, list[str]]]] = {
    Asset: {ANNOUNCED: [ANNOUNCED]},
    Relation: {"timed": [DATED]},
}
"""What may say something else at a later moment, though nothing is recorded until then."""


@contextlib.asynccontextmanager
async def live_at(reader: Reader, tenant: str, position: int, moment: datetime) -> AsyncIterator[Live]:
    """Open the record of one tenant as of a position, with what holds of it at a moment that follows.

    Raises:
        NotYet: the tables do not hold the position yet.
        Unavailable: the database does not answer.
    """
    async with reader.at(tenant, position) as record:
        yield Live(record, moment)


class Live(Record):
    """One tenant's read models as of one position, and what holds of them at a later moment."""

    def __init__(self, recorded: Record, moment: datetime, *, lean: bool = False) -> None:
        position = recorded.position if recorded.past else None
        super().__init__(
            recorded._connection, recorded._schema, recorded.tenant, recorded.projected, position, lean=lean
        )
        self.recorded = recorded
        """The same as it was recorded."""
        self.moment = moment
        self._rows = recorded.lean() if lean else recorded

    def lean(self) -> Live:
        """Return the same record for whoever only shows rows. See `Record.lean`."""
        return Live(self.recorded, self.moment, lean=True)

    def earlier(self, position: int) -> Live:
        """Return what holds at the same moment, as known at a position before this one's."""
        return Live(self.recorded.earlier(position), self.moment, lean=self._lean)

    def when(self, moment: datetime) -> Live:
        """Return the same record, and what holds of it at another moment that follows."""
        return Live(self.recorded, moment, lean=self._lean)

    async def turned(self, since: datetime) -> bool:
        """Tell whether anything that was announced makes this another estate than that of an earlier moment."""
        for row, mark in _MARK.items():
            after: int | None = None
            more = True
            while more:
                page = await self.recorded.page(row, first=MAX_PAGE, after=after, newest_first=False, where=mark)
                if await self._told(row, page.rows) != await self.when(since)._told(row, page.rows):
                    return True
                after, more = (page.rows[-1].created_position if page.rows else None), page.more
        return False

    def walk(self, row: type[Row], only: tuple[str, ...]) -> AsyncGenerator[Sequence[Any], None]:
        """Yield some columns of every object. See `Record.walk`."""
        return walk(self._sources(), row, only) if row in FIXED else self._rows.walk(row, only)

    async def page(
        self,
        row: type[R],
        *,
        first: int,
        after: int | None = None,
        newest_first: bool = True,
        where: Mapping[str, object] | None = None,
    ) -> Page[R]:
        """Return the next rows. See `Record.page`.

        Raises:
            InvalidInput: as there.
        """
        loose = (where or {}).keys() - FIXED.get(row, frozenset()) - _MARKS
        if row not in FIXED or not loose:
            found = await self._rows.page(row, first=first, after=after, newest_first=newest_first, where=where)
            return Page(list((await self._told(row, found.rows)).values()), found.more)
        if not 1 <= first <= MAX_PAGE:
            raise InvalidInput(f"first must be 1 to {MAX_PAGE}, not {first}", first=first)
        rows = await merged(
            self._sources(),
            row,
            wanted(row, where or {}),
            limit=first + 1,
            after=after,
            newest_first=newest_first,
        )
        return Page(rows[:first], len(rows) > first)

    async def many(self, row: type[R], ids: Sequence[str]) -> dict[str, R]:
        """Return several objects, by id; those that do not exist are left out."""
        return await self._told(row, list((await self._rows.many(row, ids)).values()))

    async def matching(self, row: type[R], column: str, values: Sequence[str], *, most: int) -> list[R]:
        """Return every object whose column has one of some values, in order of id. See `Record.matching`.

        Raises:
            InvalidInput: as there.
        """
        recorded = await self._rows.matching(row, column, values, most=most)
        if row not in FIXED or column in FIXED[row]:
            return list((await self._told(row, recorded)).values())
        narrow = wanted(row, {column: values})
        ids = await timed(
            self.recorded,
            row,
            Late(ANNOUNCED, 0, self.position, ANNOUNCED),
            limit=most + 1,
            moment=self.moment,
            recorded=None,
            fixed={},
            loose=narrow,
            newest_first=False,
        )
        held = [item for item in (await self.many(row, list(ids))).values() if fits(item, narrow)]
        found = [item for item in recorded if not _is_open(item)] + held
        if len(found) > most:
            raise InvalidInput(f"more than {most} {row.table} are concerned: ask for less", limit=most)
        return sorted(found, key=lambda item: item.id)

    def _sources(self) -> Sources:
        here = self.position
        return Sources(
            known=self._rows,
            then=self._rows,
            moment=self.moment,
            known_at=here,
            recorded=here,
            promptly=here,
            resolve=self._told,
            mark=ANNOUNCED,
        )

    async def _told(self, row: type[R], known: Sequence[R], then: Mapping[str, R] | None = None) -> dict[str, R]:
        """Return rows as they hold, by id. Those told anew are read in whole, if they were not."""
        found = {item.id: item for item in known}
        dated = [item.id for item in known if _is_open(item)]
        if not dated:
            return found
        whole = await self.recorded.many(row, dated) if self._lean and row.working else {}
        told: Any = asset_now if row is Asset else relation_now
        return found | {name: told(whole.get(name, found[name]), self.moment) for name in dated}


def _is_open(item: Row) -> bool:
    """Tell whether a row may say something else at a later moment, though nothing is recorded until then."""
    return item.announced is not None if isinstance(item, Asset) else isinstance(item, Relation) and item.timed == DATED
