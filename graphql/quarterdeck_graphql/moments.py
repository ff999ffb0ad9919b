"""Moments of the record: a time or a position, and what was known then."""

from __future__ import annotations

from datetime import datetime

import strawberry

from quarterdeck_domain.errors import InvalidInput
from quarterdeck_graphql.context import Context
from quarterdeck_graphql.scalars import Position


@strawberry.input(one_of=True, description="A moment of the record: a time, or a position of the log.")
class Moment:
    time: strawberry.Maybe[datetime] = strawberry.field(description="The last position recorded at or before it.")
    position: strawberry.Maybe[Position] = strawberry.field(description="That position.")


async def position_of(context: Context, moment: Moment) -> int:
    """Return the position that a moment stands for.

    Raises:
        InvalidInput: it lies after the end of the log.
    """
    if moment.time is not None:
        return await position_at(context, time=moment.time.value, position=None)
    assert moment.position is not None  # noqa: S101  exactly one of them is there: @oneOf
    return await position_at(context, time=None, position=moment.position.value)


async def position_at(context: Context, *, time: datetime | None, position: int | None) -> int:
    """Return the position of a time or, as it is, a position.

    Raises:
        InvalidInput: both or neither were given, or that moment has not come yet: the answer would change.
    """
    if (time is None) == (position is None):
        raise InvalidInput("give a time or a position, one of them", fields=["time", "position"])
    if time is not None:
        await check_past(context, time)
        return await context.log.position_at(context.tenant, time)
    assert position is not None  # noqa: S101  tested above
    head = (await context.log.head(context.tenant)).position
    if position > head:
        raise InvalidInput(f"the log ends at {head}: nothing is known at {position} yet", position=position, head=head)
    return position


async def check_past(context: Context, time: datetime) -> None:
    """Let pass a time that has come.

    Raises:
        InvalidInput: it has not.
    """
    now = await context.log.now()
    if time > now:
        raise InvalidInput(f"it is {now.isoformat()}: nothing is known of {time.isoformat()} yet", now=now.isoformat())
