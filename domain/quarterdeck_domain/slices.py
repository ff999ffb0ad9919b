"""The base of slices: one class per command.

A slice says which events it needs to know (`consistency_boundary`), folds only those (`apply`), and
decides (`decide`). It is plain synchronous Python; whoever runs it reads, retries and appends.

Source: the 'dynamic consistency boundary' specification; `eventsourcing.dcb.api` for its types.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from typing import Any

import msgspec
from eventsourcing.dcb.api import DCBQuery, DCBQueryItem

from quarterdeck_domain.events import Event, RecordedEvent


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What a command came to: its events (all or none), and the last moment they may be recorded."""

    events: tuple[Event, ...] = ()
    not_after: datetime | None = None


class Slice(ABC):
    """One command: what it must know, how it folds it, what it decides."""

    @abstractmethod
    def consistency_boundary(self) -> DCBQuery:
        """Return the query of every event that could change the decision."""

    @abstractmethod
    def apply(self, event: RecordedEvent) -> None:
        """Fold one event of the boundary, in order of position."""

    @abstractmethod
    def decide(self, now: datetime) -> Decision:
        """Decide on what was folded. `now` is the database's clock.

        Raises:
            Refused: a rule says no; nothing is recorded.
        """

    def widened(self) -> Slice | None:
        """Return the same command with a wider boundary, unfolded, if what was folded says that it must know more.

        Whoever runs it folds and decides that one instead. A boundary never moves while it is folded.
        """
        return None


class HotSlice(Slice):
    """A command whose boundary many want at once: decided under the log's lock, in order, so that contention costs
    nothing. Its fold is kept between commands, apart from the command: `state`, which every command with the same
    boundary shares. `apply` and `decide` touch nothing else that changes.
    """

    state: Any

    @abstractmethod
    def new_state(self) -> Any:
        """Return the fold of no events."""


def boundary(*items: tuple[tuple[type[Event], ...], tuple[str, ...]]) -> DCBQuery:
    """Return the query of events of any of these types that carry all of these tags; an item each."""
    return DCBQuery(items=[DCBQueryItem(types=[kind.type for kind in types], tags=list(tags)) for types, tags in items])


def matches(query: DCBQuery, event_type: str, tags: frozenset[str]) -> bool:
    """Tell whether an event is inside a query; an empty query holds everything."""
    return not query.items or any(
        (not item.types or event_type in item.types) and tags.issuperset(item.tags) for item in query.items
    )
