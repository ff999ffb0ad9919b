"""Which object a name stands for at a moment: what was merged into another is found under that one's name, and what
was recorded of it counts as that one's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from quarterdeck_readmodels.estate import Relation


class Stand(Protocol):
    """What has to be known of an object to know what it is called."""

    @property
    def merged_into(self) -> str | None:
        """The object that it is part of."""

    @property
    def aliases(self) -> Sequence[str]:
        """What was merged into it."""


S = TypeVar("S", bound=Stand)


class Names(Generic[S]):
    """Names and what they stand for, each looked up once."""

    def __init__(self, look: Callable[[list[str]], Awaitable[Mapping[str, S]]]) -> None:
        self._look = look
        self.known: dict[str, S | None] = {}

    async def see(self, names: Iterable[str]) -> None:
        """Look names up, and what they were merged into."""
        waiting = {name for name in names if name not in self.known}
        while waiting:
            found = await self._look(sorted(waiting))
            self.known |= {name: found.get(name) for name in waiting}
            into = (item.merged_into for item in found.values())
            waiting = {name for name in into if name is not None and name not in self.known}

    def now(self, name: str) -> str:
        """Return the name of the object that a name stands for; it has been seen."""
        passed = {name}
        while (item := self.known[name]) is not None and item.merged_into is not None:
            name = item.merged_into
            if name in passed:
                break
            passed.add(name)
        return name

    async def called(self, names: Iterable[str]) -> list[str]:
        """Return names that have been seen, and those of everything that was merged into what they stand for."""
        found = set(names)
        waiting = set(found)
        while waiting:
            items = [item for name in waiting if (item := self.known[name]) is not None]
            more = {alias for item in items for alias in item.aliases} - found
            await self.see(more)
            waiting = {name for name in more if (item := self.known[name]) is not None and item.merged_into is not None}
            found |= waiting
        return sorted(found)

    def moved(self, row: Relation) -> Relation:
        """Return a relation between what its ends stand for; its id stays as it was recorded. Both have been seen."""
        source, target = self.now(row.source), self.now(row.target)
        if (source, target) == (row.source, row.target):
            return row
        return msgspec.structs.replace(row, source=source, target=target)


def better(one: Relation | None, other: Relation) -> Relation:
    """Return the one of two relations between the same objects that is shown: declared, as recorded, by id."""
    return other if one is None else min(one, other, key=rank)


def rank(row: Relation) -> tuple[bool, bool, str]:
    """Return the place of a relation among those between the same objects: see `better`."""
    return not row.declared, row.id != named(row), row.id


def named(row: Relation) -> str:
    """Return what names a relation of what its ends stand for."""
    return f"{row.source} {row.relation} {row.target}"
