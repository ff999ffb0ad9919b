"""How it came that something is as it is at a moment: the event from which on it was, found through the rows it made.

The events that concern it are looked at from the latest backwards, up to the one before which it was not so.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Final

from eventsourcing.dcb.api import DCBQuery, DCBQueryItem

from quarterdeck_domain.estate.relations import RELATION_TYPES
from quarterdeck_graphql.at import At
from quarterdeck_ledger.entry import Entry
from quarterdeck_readmodels.bitemporal import holds
from quarterdeck_readmodels.estate import Asset, Relation, stamp
from quarterdeck_readmodels.naming import named
from quarterdeck_readmodels.reaching import end_of_time, is_live, stands
from quarterdeck_readmodels.reader import Record

LOOKED_AT: Final = 20
"""How many events of one object or relation are looked at."""
RELATION_EVENTS: Final = ("relation.declared", "relation.observed", "relation.withdrawn")
ASSET_EVENTS: Final = (
    "asset.registered",
    "asset.changed",
    "asset.deprecated",
    "asset.retired",
    "asset.merged",
    "asset.quarantined",
    "asset.released",
)
_WORDS: Final = {
    "relation.declared": "declared",
    "relation.observed": "seen",
    "relation.withdrawn": "withdrawn",
    "asset.registered": "registered",
    "asset.changed": "changed",
    "asset.deprecated": "deprecated",
    "asset.retired": "retired",
    "asset.merged": "merged",
    "asset.quarantined": "put into quarantine",
    "asset.released": "released from quarantine",
}


class Histories:
    """Why objects and relations are as they are at one moment."""

    def __init__(self, at: At, record: Record, moment: datetime) -> None:
        self._at, self._record, self._moment = at, record, moment

    async def relation(self, name: str, *, holds_now: bool) -> Entry | None:
        """Return the event from which on a relation held, or did not hold any more."""

        async def so(record: Record) -> bool:
            row = await record.get(Relation, name)
            return (row is not None and holds(row, self._moment)) == holds_now

        return await self._event(f"relation:{name}", RELATION_EVENTS, so)

    async def asset(self, name: str, *, live_now: bool) -> Entry | None:
        """Return the event from which on an object took part, or did not any more."""

        async def so(record: Record) -> bool:
            return stands(await record.get(Asset, name), self._moment) == live_now

        return await self._event(f"asset:{name}", ASSET_EVENTS, so)

    async def merge(self, name: str) -> Entry | None:
        """Return the event by which an object became part of another."""

        async def so(record: Record) -> bool:
            row = await record.get(Asset, name)
            return row is not None and row.merged_into is not None

        return await self._event(f"asset:{name}", ("asset.merged",), so)

    async def control(self, relation: str, control: str) -> Entry | None:
        """Return the event from which on something was not controlled any more: the relation to its control does not
        hold, or the control is not in use."""
        row = await self._record.get(Relation, relation)
        if row is None or not holds(row, self._moment):
            return await self.relation(relation, holds_now=False)
        return await self.asset(control, live_now=False)

    async def exception(self, relation: str, exception: str) -> Entry | None:
        """Return the event from which on something was excepted: it was related to the exception, or that began to
        hold; the later of the two."""
        found = (await self.relation(relation, holds_now=True), await self.asset(exception, live_now=True))
        return max((entry for entry in found if entry is not None), key=lambda entry: entry.position, default=None)

    async def _event(self, tag: str, types: Iterable[str], so: Callable[[Record], Awaitable[bool]]) -> Entry | None:
        context = self._at.context
        found: Entry | None = None
        for entry in await context.log.read_sealed(
            context.tenant,
            DCBQuery(items=[DCBQueryItem(types=list(types), tags=[tag])]),
            until=self._at.position,
            limit=LOOKED_AT,
            backwards=True,
        ):
            found = entry
            if not await so(self._record.earlier(entry.position - 1)):
                break
        return found


def told(entry: Entry | None, *, over: bool = False) -> str:
    """Return what an event did, by whom and when, in words; and when that takes effect, or is over, where it said so:
    nothing need have been recorded then."""
    if entry is None:
        return "since an earlier moment"
    word = _WORDS.get(entry.type, entry.type)
    said = entry.data.get("valid_to" if over else "valid_from")
    effect = "" if said is None else f", which {'ends' if over else 'takes effect'} at {stamp(said)}"
    when = f"{entry.recorded_at:%Y-%m-%d %H:%M:%S} UTC"
    return f"{word} by {entry.actor.principal} on {when}, event {entry.position}{effect}"


def phrase(name: str) -> str:
    """Return a relation's id as it reads: `agent:a calls tool:b`."""
    source, relation, target = name.split(" ")
    return f"{source} {RELATION_TYPES[relation].phrase} {target}"


def recorded_as(row: Relation) -> str:
    """Return a relation as it reads by what its ends are called now, and the names that it was recorded of, if these
    are others."""
    now = (row.source, row.target)
    others = [name for name in row.id.split(" ")[::2] if name not in now]
    return phrase(named(row)) + (f", recorded of {' and '.join(others)}" if others else "")


def was(row: Asset | Relation | None) -> str:
    """Return how something stood that took no part, in words."""
    if row is None:
        return "was not there"
    if isinstance(row, Relation):
        return "did not hold"
    if row.merged_into is not None:
        return f"was part of {row.merged_into}"
    if is_live(row):
        return f"was {valid_until(row)}"
    return {"draft": "was a draft", "quarantined": "was in quarantine"}.get(row.lifecycle, f"was {row.lifecycle}")


def valid_until(row: Asset) -> str:
    """Return until when a grant or an exception is valid, in words."""
    end = end_of_time(row)
    return "valid without an end" if end is None else f"valid until {end:%Y-%m-%d %H:%M:%S} UTC"
