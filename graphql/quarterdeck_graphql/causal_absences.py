"""Absences that a slice relies on: stretches of the log in which nothing of some kind was recorded, but what is named.

Whose event it was a tag does not always tell: what names one object as the successor of another is found under both. So
what was recorded of the kind is named where it is, and all of the stretch around it is claimed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from quarterdeck_domain.causes import Missed
from quarterdeck_domain.events import RecordedEvent

_NUMBERED: Final = 8
"""So many positions are told to people."""


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """An absence that is relied on: no event of these types and all of these tags, after one position up to another."""

    types: tuple[str, ...]
    tags: tuple[str, ...]
    after: int
    until: int
    besides: tuple[int, ...] = ()
    """But these, by position: of the slice, or settled."""
    instead: Any
    """What it would have come to otherwise."""
    holds: bool
    """Whether the log was asked, and has none but those."""


class Alike:
    """Finds what was recorded of the kind that is missed, where it is missed."""

    def __init__(self, events: Mapping[int, RecordedEvent]) -> None:
        self._places: dict[str, list[tuple[int, frozenset[str]]]] = {}
        for position in sorted(events):
            event = events[position]
            self._places.setdefault(event.type, []).append((position, frozenset(event.tags)))

    def __call__(self, missed: Missed) -> tuple[int, ...]:
        """Return its positions."""
        tags = frozenset(missed.contrary.tags)
        known = self._places.get(missed.contrary.payload.type, ())
        return tuple(number for number, its in known if missed.after < number <= missed.until and tags <= its)


def merged(missed: Iterable[Missed], alike: Alike) -> list[Missing]:
    """Return the stretches in which something is missed, those of one kind that meet as one, and types of one stretch
    together."""
    kinds: dict[tuple[str, tuple[str, ...]], list[Missed]] = {}
    for one in sorted(missed, key=lambda one: one.after):
        stretches = kinds.setdefault((one.contrary.payload.type, one.contrary.tags), [])
        if stretches and one.after <= stretches[-1].until:
            until = max(stretches[-1].until, one.until)
            stretches[-1] = msgspec.structs.replace(stretches[-1], until=until)
        else:
            stretches.append(one)
    found: dict[tuple[Any, ...], Missing] = {}
    for (event_type, tags), stretches in kinds.items():
        for one in stretches:
            if one.after >= one.until:  # nothing fits between two events that follow one another
                continue
            # Without a tag, types have nothing in common that could be named.
            place = (tags or event_type, one.after, one.until)
            before = found.get(place)
            found[place] = Missing(
                types=(*(before.types if before else ()), event_type),
                tags=tags,
                after=one.after,
                until=one.until,
                besides=tuple(sorted((*(before.besides if before else ()), *alike(one)))),
                instead=before.instead if before else one.instead,
                holds=False,
            )
    return list(found.values())


def numbered(positions: Sequence[int]) -> str:
    """Return events by their positions, the first few of many."""
    told = [str(position) for position in positions[:_NUMBERED]]
    if len(positions) > _NUMBERED:
        told.append(f"{len(positions) - _NUMBERED:,} more")
    return f"event {told[0]}" if len(told) == 1 else f"events {', '.join(told[:-1])} and {told[-1]}"


def span(after: int, until: int) -> str:
    """Return a stretch of the log in words."""
    return f"up to event {until}" if after == 0 else f"after event {after} and up to event {until}"
