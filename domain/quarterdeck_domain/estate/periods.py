"""When something was declared to hold. Of several periods that cover a moment, the one that took effect last tells of
it, of those the one recorded last. One that lies within another does not end it. What is withdrawn as of a moment ends
then, and so does all that was to follow.

Periods are kept in the order in which they take effect, each until it tells of no moment any more: where another goes
on as long as the rest of one, that rest is left out. So what is said again and again stays one open period. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar


class _Ordered(Protocol):
    def __lt__(self, other: Any, /) -> bool: ...

    def __le__(self, other: Any, /) -> bool: ...


Moment = TypeVar("Moment", bound=_Ordered)
"""Moments, or texts that sort as they do."""

MAX_PERIODS: Final = 200
"""Of one relation: those that end last are kept."""


class Period(NamedTuple, Generic[Moment]):
    """A time for which something is declared to hold."""

    begins: Moment
    ends: Moment | None
    """None: for ever."""
    said: Any = None
    """What was said with it."""

    def covers(self, moment: Moment) -> bool:
        """Tell whether it holds at a moment."""
        return self.begins <= moment and self.lasts(moment)

    def lasts(self, moment: Moment) -> bool:
        """Tell whether it ends after a moment, though it need not have begun."""
        return self.ends is None or moment < self.ends


def declare(periods: Sequence[Period[Moment]], period: Period[Moment]) -> list[Period[Moment]]:
    """Return periods with one more, which is said last."""
    place = sum(item.begins <= period.begins for item in periods)
    found = [*reversed(periods[place:])]
    _add(found, period)
    for item in reversed(periods[:place]):
        # Where the new one lies within another, that one goes on.
        if _rest(item, period):
            _add(found, item)
        else:
            found.append(item)
    if len(found) > MAX_PERIODS:
        first = min(item.ends for item in found if item.ends is not None)
        found = [item for item in found if item.ends != first]
    return found[::-1]


def withdraw(periods: Sequence[Period[Moment]], moment: Moment) -> list[Period[Moment]]:
    """Return periods of which none holds from a moment on."""
    found: list[Period[Moment]] = []
    for item in reversed(periods):
        _add(found, item._replace(ends=moment) if item.lasts(moment) else item)
    return found[::-1]


def telling(periods: Sequence[Period[Moment]], moment: Moment) -> Period[Moment] | None:
    """Return the period that tells of a moment; None if nothing is declared to hold then."""
    return next((item for item in reversed(periods) if item.covers(moment)), None)


def joined(periods: Iterable[Sequence[Any]]) -> list[tuple[Any, Any]]:
    """Return from when until when something is declared to hold without a gap, by periods in order of their beginning.
    What ended before it began never held."""
    found: list[tuple[Any, Any]] = []
    for begins, ends, *_ in periods:
        if ends is not None and ends <= begins:
            continue
        if not found or (found[-1][1] is not None and found[-1][1] < begins):
            found.append((begins, ends))
        elif found[-1][1] is not None:
            found[-1] = (found[-1][0], None if ends is None else max(found[-1][1], ends))
    return found


def _add(later: list[Period[Moment]], period: Period[Moment]) -> None:
    """Add a period to those that take effect later, the last of them first: till it tells of nothing any more."""
    for other in later:
        if _rest(period, other):
            period = period._replace(ends=other.begins)
    if period.lasts(period.begins):
        later.append(period)


def _rest(period: Period[Moment], later: Period[Moment]) -> bool:
    """Tell whether all that is left of a period, from some moment on, is covered by one that takes effect later."""
    if later.ends is not None and (period.ends is None or later.ends < period.ends):
        return False
    return period.ends is None or later.begins < period.ends
