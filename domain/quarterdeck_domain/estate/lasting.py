"""What lasts until a time that somebody wrote: after it a grant permits nothing, and an exception lets nothing pass."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

LASTING: Final = frozenset({"tool_grant", "exception_window"})
"""The kinds of which nothing is left when their time is over."""


def end_of(value: Any) -> datetime | None:
    """Return the time that somebody wrote, in UTC; without a zone it is that. None: there is none, or it is no time."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    if found.tzinfo is None:
        return found.replace(tzinfo=UTC)
    try:
        return found.astimezone(UTC)
    except OverflowError:  # at the ends of time, in another zone
        return datetime.min.replace(tzinfo=UTC) if found.year == 1 else datetime.max.replace(tzinfo=UTC)


def until(kind: str, expires_at: Any) -> datetime | None:
    """Return when the time of an object of a kind is over; None: never."""
    return end_of(expires_at) if kind in LASTING else None
