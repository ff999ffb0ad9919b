"""When things of the estate hold: what was said to hold from or until other moments than that of recording."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import strawberry
from strawberry.scalars import JSON

from quarterdeck_domain.estate.periods import joined
from quarterdeck_graphql.scalars import Position


@strawberry.type(description="A time for which something is declared to hold.")
class Period:
    from_: datetime = strawberry.field(name="from", description="Its beginning.")
    to: datetime | None = strawberry.field(description="Its end, at which it holds no more; null: for ever.")


@strawberry.type(description="What was said to hold from or until another moment than that at which it was recorded.")
class DatedFacts:
    position: Position = strawberry.field(description="Where it was recorded.")
    from_: datetime = strawberry.field(name="from", description="Since when it holds.")
    to: datetime | None = strawberry.field(description="Until when; null: for ever.")
    facts: JSON = strawberry.field(description="What holds, by name; null: nothing.")


def periods(intervals: Iterable[tuple[Any, ...]]) -> list[Period]:
    """Return when a relation is declared to hold, by its intervals."""
    return [Period(from_=datetime.fromisoformat(begins), to=_moment(ends)) for begins, ends in joined(intervals)]


def dated_facts(dated: Iterable[Mapping[str, Any]]) -> list[DatedFacts]:
    """Return an object's dated facts, in the order in which they were recorded."""
    return [
        DatedFacts(
            position=Position(item["position"]),
            from_=datetime.fromisoformat(item["begins"]),
            to=_moment(item.get("ends")),
            facts=JSON(item["facts"]),
        )
        for item in dated
    ]


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
