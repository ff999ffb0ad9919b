"""Several commands as one: decided on the same log, recorded together or not at all. Pure.

And the ids of a bundled access request: its task's id and those of its items are made from one UUID, so that the
task finds its items without a record of its own.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from eventsourcing.dcb.api import DCBQuery, DCBQueryItem

from quarterdeck_domain.events import RecordedEvent
from quarterdeck_domain.ids import make_id
from quarterdeck_domain.slices import Decision, Slice

BUNDLE: Final = "blk"
APPROVAL: Final = "apr"
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"


class AllOrNone(Slice):
    """Run slices as one command."""

    def __init__(self, slices: Sequence[Slice]) -> None:
        self._slices = tuple(slices)

    def consistency_boundary(self) -> DCBQuery:
        """Return the query of everything any of them needs to know."""
        items: dict[tuple[tuple[str, ...], tuple[str, ...]], DCBQueryItem] = {}
        for one in self._slices:
            for item in one.consistency_boundary().items:
                items[tuple(item.types), tuple(item.tags)] = item
        return DCBQuery(items=list(items.values()))

    def apply(self, event: RecordedEvent) -> None:
        """Let each of them fold an event."""
        for one in self._slices:
            one.apply(event)

    def decide(self, now: datetime) -> Decision:
        """Decide all of them.

        Raises:
            Refused: one of them says no.
        """
        decisions = [one.decide(now) for one in self._slices]
        limits = [decision.not_after for decision in decisions if decision.not_after is not None]
        events = tuple(event for decision in decisions for event in decision.events)
        return Decision(events=events, not_after=min(limits, default=None))


def as_bundle(value: uuid.UUID) -> uuid.UUID:
    """Return a UUID marked (version 8) as a bundle's, so that no single request can be taken for a bundle of one."""
    return uuid.UUID(int=value.int & ~(0xF << 76) | 0x8 << 76)


def is_bundle(value: uuid.UUID) -> bool:
    """Tell whether a UUID is a bundle's."""
    return value.version == 8


def bundle_id(value: uuid.UUID) -> str:
    """Return the id of a bundle's task."""
    return make_id(BUNDLE, value)


def item_ids(value: uuid.UUID, count: int) -> tuple[str, ...]:
    """Return the approval ids of a bundle's items, in order. The first has the bundle's own suffix."""
    rest = (uuid.uuid5(value, str(place)) for place in range(1, count))
    return tuple(make_id(APPROVAL, each) for each in (value, *rest))


def uuid_of(task_id: str) -> uuid.UUID:
    """Return the UUID of an id made by `make_id`."""
    number = 0
    for char in task_id.rpartition("_")[2]:
        number = number << 5 | _ALPHABET.index(char)
    return uuid.UUID(int=number)
