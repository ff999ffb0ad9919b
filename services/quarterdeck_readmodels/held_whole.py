"""The whole estate as it was at a moment: what was recorded by then, in bulk, and in its place what is known of it.

Only `timed` rows are read as known. What was merely seen says the same of what was declared as the row recorded by the
moment: where nobody asks how often and when it was seen, it is left as it is, unless it was recorded later.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Final

import msgspec

from quarterdeck_readmodels.estate import ANNOUNCED, DATED, SEEN, Asset, Relation
from quarterdeck_readmodels.held_pages import Sources
from quarterdeck_readmodels.held_selects import Late, timed
from quarterdeck_readmodels.reader import MAX_PAGE
from quarterdeck_readmodels.tables import Row, columns

_encode: Final = msgspec.json.Encoder().encode
_SIGHTINGS: Final = frozenset({"observed", "seen", "first_seen", "last_seen", "observation", "senders"})


async def walk(sources: Sources, row: type[Row], only: tuple[str, ...]) -> AsyncGenerator[Sequence[Any], None]:
    """Yield some columns of every object that was there, in the order in which they began. See `Record.walk`."""
    held = await _known(sources, row, DATED)
    late: list[Row] = []
    if row is Relation and _SIGHTINGS.isdisjoint(only):
        late = await _late(sources, row)
    elif row is Relation:
        held |= await _known(sources, row, SEEN)
    json = frozenset(name for name in only if columns(row).get(name) == "jsonb")

    def shaped(item: Row) -> tuple[Any, ...]:
        values = ((name, getattr(item, name)) for name in only)
        return tuple(_encode(value).decode() if name in json else value for name, value in values)

    async with aclosing(sources.then.walk(row, ("id", *only))) as parts:
        async for part in parts:
            rows: list[tuple[Any, ...]] = []
            for values in part:
                if values[0] not in held:
                    rows.append(values[1:])
                elif (item := held[values[0]]) is not None:
                    rows.append(shaped(item))
            yield rows
    late += [item for item in held.values() if item is not None and item.created_position > sources.recorded]
    late.sort(key=lambda item: item.created_position)
    for start in range(0, len(late), MAX_PAGE):
        yield [shaped(item) for item in late[start : start + MAX_PAGE]]


async def _known(sources: Sources, row: type[Row], mark: str) -> dict[str, Row | None]:
    """Return what held of every row that carries a mark, by id; None for what was not there."""
    found: dict[str, Row | None] = {}
    after: int | None = None
    more = True
    # As it is, an object of which nothing is announced is as its row reads.
    where = {ANNOUNCED: [ANNOUNCED]} if row is Asset and sources.mark == ANNOUNCED else {"timed": [mark]}
    while more:
        page = await sources.known.page(row, first=MAX_PAGE, after=after, newest_first=False, where=where)
        held = await sources.resolve(row, page.rows)
        found |= {item.id: held.get(item.id) for item in page.rows}
        after, more = (page.rows[-1].created_position if page.rows else None), page.more
    return found


async def _late(sources: Sources, row: type[Row]) -> list[Row]:
    """Return what had been seen by the moment, and was recorded soon after it."""
    span = Late(SEEN, sources.recorded, sources.promptly)
    if span.low >= span.high:
        return []
    ids = await timed(
        sources.known,
        row,
        span,
        limit=span.high - span.low,
        moment=sources.moment,
        recorded=sources.recorded,
        fixed={},
        loose={},
        newest_first=False,
    )
    known = await sources.known.many(row, list(ids))
    return list((await sources.resolve(row, list(known.values()))).values())
