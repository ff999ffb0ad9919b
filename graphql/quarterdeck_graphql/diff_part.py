"""A part of the estate whose difference is asked for: some objects, or all of some teams, with what touches them.

Which objects a team answers for is told of both moments: what it gave away belongs to its part as much as what it got.
What was merged into an object belongs to its part, and what was recorded under that name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

from quarterdeck_domain.errors import InvalidInput, NotFound
from quarterdeck_graphql.at import At
from quarterdeck_graphql.estate import moment_of, named, plain
from quarterdeck_readmodels.estate import Asset, Drift, Relation
from quarterdeck_readmodels.held import Held
from quarterdeck_readmodels.naming import Names
from quarterdeck_readmodels.reaching import around
from quarterdeck_readmodels.reader import Difference, Record
from quarterdeck_readmodels.tables import Row

ESTATE: Final = ("asset", "relation", "drift")
"""The kinds of objects that belong to a part."""
MAX_NAMED: Final = 100
NEEDED_HOPS: Final = 6
MAX_OBJECTS: Final = 20_000
MAX_TOUCHING: Final = 100_000
_CHUNK: Final = 500


class Between:
    """The estate at two moments, as `before` and `after` tell it, or a part of it."""

    def __init__(self, before: Record, after: Record) -> None:
        self._before, self._after = before, after
        self._names: list[str] | None = None
        self._ends: tuple[str, ...] = ("source", "target")
        self._ids: dict[type[Row], list[str]] = {}

    async def narrow(
        self, assets: Sequence[str] | None, teams: Sequence[str] | None, needed_by: str | None, moments: tuple[At, At]
    ) -> None:
        """Let only a part count.

        Raises:
            InvalidInput: too many are named, one that names no object, or more is concerned than can be answered.
            NotFound: what something is needed by is there at neither moment.
        """
        if assets is None and teams is None and needed_by is None:
            return
        if len(assets or ()) > MAX_NAMED or len(teams or ()) > MAX_NAMED:
            raise InvalidInput(f"a part is at most {MAX_NAMED} objects and {MAX_NAMED} teams", limit=MAX_NAMED)
        names = set(named(assets or ()))
        for record in (self._before, self._after):
            if teams:
                names |= {row.id for row in await record.matching(Asset, "team", list(teams), most=MAX_OBJECTS)}
        if needed_by is not None:
            # What others have to do with what it needs is not its concern.
            self._ends = self._ends if names else ("source",)
            names |= await self._needed(plain(needed_by), moments)
        for record in (self._before, self._after):
            known: Names[Asset] = Names(partial(record.many, Asset))
            await known.see(names)
            names |= set(await known.called(names))
        self._names = sorted(names)

    async def _needed(self, start: str, moments: tuple[At, At]) -> set[str]:
        """Return what an object needs at either moment: itself, what it reaches, and the controls of these."""
        found: set[str] = set()
        for record, at in zip((self._before, self._after), moments, strict=True):
            if await record.get(Asset, start) is not None:
                found |= (await around(record, start, await moment_of(at), hops=NEEDED_HOPS)).assets.keys()
        if not found:
            raise NotFound("there is no such object at either moment", asset=start)
        return found

    async def differences(self, row: type[Row], *, after: str | None, first: int) -> dict[str, Difference[Row]]:
        """Return objects that may differ, in order of id: those that follow an id, so many at most."""
        if row not in self._ids:
            self._ids[row] = await self._candidates(row)
        ids = [name for name in self._ids[row] if after is None or name > after][: min(first, _CHUNK)]
        old, new = await self._before.many(row, ids), await self._after.many(row, ids)
        return {name: Difference(old.get(name), new.get(name)) for name in ids}

    async def _candidates(self, row: type[Row]) -> list[str]:
        if self._names is None:
            assert isinstance(self._before, Held)  # noqa: S101  as recorded, whole, the reader knows what was touched
            assert isinstance(self._after, Held)  # noqa: S101
            return await self._after.changed_since(row, self._before)
        if row is Asset:
            return self._names
        columns = self._ends if row is Relation else ("asset",)
        found: set[str] = set()
        for record in (self._before, self._after):
            for column in columns:
                found |= {item.id for item in await self._matching(record, row, column)}
        return sorted(found)

    async def _matching(self, record: Record, row: type[Row], column: str) -> Iterable[Row]:
        assert self._names is not None  # noqa: S101  asked of a part only
        found: list[Row] = []
        for start in range(0, len(self._names), _CHUNK):
            found += await record.matching(row, column, self._names[start : start + _CHUNK], most=MAX_TOUCHING)
        return found


def is_part(row: type[Row]) -> bool:
    """Tell whether rows of a type belong to a part of the estate."""
    return row in (Asset, Relation, Drift)
