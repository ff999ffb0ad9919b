"""Several commands as one: decided on the same log, recorded together or not at all. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from eventsourcing.dcb.api import DCBQuery, DCBQueryItem

from quarterdeck_domain.events import RecordedEvent
from quarterdeck_domain.slices import Decision, Slice


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
