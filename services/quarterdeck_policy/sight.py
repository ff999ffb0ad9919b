"""Reading what the estate says of a request's objects from the log: as of a position, or kept while nothing changes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from quarterdeck_domain.events import RecordedEvent
from quarterdeck_domain.policy.slices import ESTATE_BASIS
from quarterdeck_ledger.interface import Ledger
from quarterdeck_policy.estate import NOTHING_SEEN, Known, Name, Names, Sight, see
from quarterdeck_policy.looking import Looking

MAX_KNOWN: Final = 10_000
MAX_CHANGES: Final = 1_000
"""How many changes of an estate are looked through for what they touch; after more, everything is read anew."""


async def known_at(
    ledger: Ledger, tenant: str, names: Iterable[Name], position: int, moment: datetime
) -> dict[Name, Known]:
    """Return what the log said of each name at a position, as of a moment; one read, and another for what it leads to.

    Raises:
        Unavailable: the log does not answer.
    """
    looking = Looking(names)
    while (query := looking.wanted()) is not None:
        looking.take(await ledger.read(tenant, query, until=position))
    return looking.found(moment)


async def sight_at(ledger: Ledger, tenant: str, names: Names, position: int, moment: datetime) -> Sight:
    """Return what a decision at a position saw of the estate.

    Raises:
        Unavailable: the log does not answer.
    """
    return see(names, await known_at(ledger, tenant, names.every(), position, moment))


class EstateView:
    """What is known of the names that were asked about, in one tenant, at the position of its basis."""

    def __init__(self, tenant: str, *, empty: bool | None, known: OrderedDict[Name, Known] | None = None) -> None:
        """Take what is known; `empty`: whether nothing was ever recorded of the estate, None if nobody has looked."""
        self._tenant = tenant
        self._empty = empty
        self._known: OrderedDict[Name, Known] = OrderedDict() if known is None else known

    async def look(self, ledger: Ledger, position: int) -> None:
        """Find out whether there is an estate at all: if not, nothing has to be read for any name.

        Raises:
            Unavailable: the log does not answer.
        """
        if self._empty is None:
            self._empty = not await ledger.read(self._tenant, ESTATE_BASIS, until=position, limit=1)

    async def sight(self, ledger: Ledger, names: Names, position: int, moment: datetime) -> Sight:
        """Return what a decision sees of the estate.

        Raises:
            Unavailable: the log does not answer.
        """
        if self._empty and not names.problem:
            return NOTHING_SEEN
        wanted = names.every()
        found = {name: self._known[name] for name in wanted if name in self._known and self._known[name].at(moment)}
        if missing := [name for name in wanted if name not in found]:
            read = await known_at(ledger, self._tenant, missing, position, moment)
            found |= read
            self._known.update((name, known) for name, known in read.items() if not known.problem)
        for name in wanted:
            if name in self._known:
                self._known.move_to_end(name)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return see(names, found)

    def after(self, changes: Sequence[RecordedEvent]) -> EstateView:
        """Return the view after changes of the estate, without what they touch."""
        if not changes:
            return EstateView(self._tenant, empty=self._empty, known=OrderedDict(self._known))
        touched = {tag for event in changes for tag in event.tags}
        kept = (
            (name, known)
            for name, known in self._known.items()
            if len(changes) < MAX_CHANGES and touched.isdisjoint(known.tags)
        )
        return EstateView(self._tenant, empty=False, known=OrderedDict(kept))


async def next_view(ledger: Ledger, tenant: str, old: EstateView, after: int, until: int) -> EstateView:
    """Return the view at a later position, reading only what was recorded since, and of a great deal only a part."""
    return old.after(await ledger.read(tenant, ESTATE_BASIS, after=after, until=until, limit=MAX_CHANGES))
