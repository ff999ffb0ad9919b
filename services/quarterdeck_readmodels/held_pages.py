"""Pages of the estate as it was at a moment: what was recorded by then, and what became known of it later, merged.

1. What was recorded by the moment is read in page order, narrowed by the database. Of what is `timed`, the row as known
   tells what held.
2. What was recorded after the moment and held at it is among the `timed` rows that began later: few, found by an index.
3. Where a page is narrowed by a column that changes, every `timed` row comes from the second source: the database
   tells of which ones it had one of the values at the moment.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar

import msgspec

from quarterdeck_readmodels.estate import ANNOUNCED, DATED, SEEN, Asset, Relation
from quarterdeck_readmodels.held_selects import Late, timed
from quarterdeck_readmodels.reader import MAX_PAGE, Record
from quarterdeck_readmodels.tables import Row

R = TypeVar("R", bound=Row)
FIXED: Final[Mapping[type[Row], frozenset[str]]] = {
    Asset: frozenset({"kind", "offered_by"}),
    Relation: frozenset({"source", "target", "relation", "source_kind", "target_kind"}),
}
"""The rows that are told of a moment, and the columns in which they are the same at every moment."""
_Item = tuple[int, Any]
"""A place in the page's order, and what is there: None for what was not there, or does not fit."""


class Resolve(Protocol):
    """Returns what objects were at the moment, given their rows as known, and those recorded by it if they are here."""

    def __call__(
        self, row: type[R], known: Sequence[R], then: Mapping[str, R] | None = None
    ) -> Awaitable[dict[str, R]]: ...


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """Where a page comes from: the record as known and as recorded by the moment, and the positions of both."""

    known: Record
    then: Record
    moment: datetime
    known_at: int
    recorded: int
    promptly: int
    resolve: Resolve
    mark: str = "timed"
    """The column that marks objects whose rows do not tell by themselves what was at the moment."""


class _Stream:
    """Items in page order, fetched some at a time."""

    def __init__(self, fetch: Callable[[int | None, int], Awaitable[tuple[list[_Item], bool]]], size: int) -> None:
        self._fetch, self._size = fetch, min(size, MAX_PAGE)
        self._items: deque[_Item] = deque()
        self._after: int | None = None
        self._more = True

    async def head(self) -> _Item | None:
        """Return the next item without taking it; None at the end."""
        while not self._items and self._more:
            found, self._more = await self._fetch(self._after, self._size)
            self._items.extend(found)
            self._after = found[-1][0] if found else None
            self._size = min(self._size * 4, MAX_PAGE)
        return self._items[0] if self._items else None

    def take(self) -> Any:
        """Take the next item."""
        return self._items.popleft()[1]


async def merged(
    sources: Sources,
    row: type[R],
    wanted: Mapping[str, Sequence[object]],
    *,
    limit: int,
    after: int | None,
    newest_first: bool,
) -> list[R]:
    """Return the first rows of a page, as many as there are up to a limit."""
    loose = {name: values for name, values in wanted.items() if name not in FIXED[row]}
    fixed = {name: values for name, values in wanted.items() if name in FIXED[row]}
    streams = [_Stream(_recorded(sources, row, wanted, loose, after, newest_first), limit)]
    for late in _spans(sources, row, loose):
        bounded = _following(late, after, newest_first)
        streams.append(_Stream(_timed(sources, row, bounded, fixed, loose, newest_first), limit))
    found: list[R] = []
    while len(found) < limit:
        heads = [(item[0], stream) for stream in streams if (item := await stream.head()) is not None]
        if not heads:
            break
        _, stream = (max if newest_first else min)(heads, key=lambda head: head[0])
        item = stream.take()
        if item is not None:
            found.append(item)
    return found


def _spans(sources: Sources, row: type[Row], loose: Mapping[str, object]) -> list[Late]:
    """Return which `timed` rows there may be beside the recorded ones: the mark, and where such objects began."""
    low = 0 if loose else sources.recorded
    spans = [Late(DATED if sources.mark == "timed" else ANNOUNCED, low, sources.known_at, sources.mark)]
    if row is Relation:
        spans.append(Late(SEEN, low, sources.promptly))
    return [span for span in spans if span.low < span.high]


def _following(late: Late, after: int | None, newest_first: bool) -> Late:
    """Return the part that follows a place."""
    if after is None:
        return late
    return late._replace(high=min(late.high, after - 1)) if newest_first else late._replace(low=max(late.low, after))


def _recorded(
    sources: Sources,
    row: type[R],
    wanted: Mapping[str, Sequence[object]],
    loose: Mapping[str, object],
    begin: int | None,
    newest_first: bool,
) -> Callable[[int | None, int], Awaitable[tuple[list[_Item], bool]]]:
    async def fetch(after: int | None, size: int) -> tuple[list[_Item], bool]:
        place = begin if after is None else after
        page = await sources.then.page(row, first=size, after=place, newest_first=newest_first, where=wanted)
        then = {item.id: item for item in page.rows}
        known: Mapping[str, Any] = then
        if sources.then is not sources.known:
            known = await sources.known.many(row, list(then))
        if loose:
            found: Mapping[str, Any] = {
                name: then[name] for name, item in known.items() if getattr(item, sources.mark) is None
            }
        else:
            found = await sources.resolve(row, list(known.values()), then)
        return [(item.created_position, found.get(item.id)) for item in page.rows], page.more

    return fetch


def _timed(
    sources: Sources,
    row: type[R],
    late: Late,
    fixed: Mapping[str, Sequence[object]],
    loose: Mapping[str, Sequence[object]],
    newest_first: bool,
) -> Callable[[int | None, int], Awaitable[tuple[list[_Item], bool]]]:
    async def fetch(after: int | None, size: int) -> tuple[list[_Item], bool]:
        here = _following(late, after, newest_first)
        places = await timed(
            sources.known,
            row,
            here,
            limit=size,
            moment=sources.moment,
            recorded=None if sources.then is sources.known else sources.recorded,
            fixed=fixed,
            loose=loose,
            newest_first=newest_first,
        )
        rows = await sources.known.many(row, list(places))
        held = await sources.resolve(row, list(rows.values()))
        fitting = {name: item for name, item in held.items() if fits(item, loose)}
        return [(place, fitting.get(name)) for name, place in places.items()], len(places) == size

    return fetch


def fits(item: Row, loose: Mapping[str, Any]) -> bool:
    """Tell whether a row has one of the values that are wanted, in every column."""
    for name, values in loose.items():
        mine = getattr(item, name)
        if not (any(value in mine for value in values) if isinstance(mine, tuple) else mine in values):
            return False
    return True
