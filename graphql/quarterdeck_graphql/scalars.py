"""Scalars of our own: positions of the log, and moments in the one spelling that entries have."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final, NewType

import strawberry
from graphql import GraphQLError
from strawberry.types.scalar import ScalarDefinition

from quarterdeck_domain.canonical import MAX_INTEGER

Position = NewType("Position", int)

# RFC 3339 as people write it; `datetime.fromisoformat` would take much more.
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)")


def parse_position(value: Any) -> int:
    """Return a position: a whole number from 0 to 2^53-1."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_INTEGER:
        return value
    raise GraphQLError("a Position is a whole number from 0 to 9007199254740991")


def parse_moment(value: Any) -> datetime:
    """Return a moment: RFC 3339 with an offset, to the microsecond. A time without one could mean any of 38."""
    if isinstance(value, str) and len(value) <= 40 and _MOMENT.fullmatch(value):
        text = re.sub(r"(\.\d{6})\d+", r"\1", value.upper().replace(" ", "T"))
        try:
            return datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise GraphQLError("a DateTime is RFC 3339 with its offset, such as 2026-11-21T02:14:05.123456Z")


def format_moment(value: datetime) -> str:
    """Return RFC 3339 UTC with microseconds: as the log's entries say it."""
    if value.tzinfo is not UTC:
        value = value.astimezone(UTC)
    return f"{value.isoformat(timespec='microseconds')[:26]}Z"


def _same(value: Any) -> Any:
    return value


SCALARS: Final[dict[object, ScalarDefinition]] = {
    Position: strawberry.scalar(
        name="Position",
        description="A place in the log: a whole number from 0 (before the first event) to 2^53-1.",
        serialize=_same,
        parse_value=parse_position,
    ),
    datetime: strawberry.scalar(
        name="DateTime",
        description="A moment: RFC 3339 with its offset; answers are in UTC with microseconds.",
        specified_by_url="https://scalars.graphql.org/andimarek/date-time",
        serialize=format_moment,
        parse_value=parse_moment,
    ),
}
