"""Moments of the record: a time or a position, and what was known then.

A time stands for the last position recorded by it. One that has not come yet is refused: the answer would change. Only
what is known by a position that has been reached can be asked of a time to come: it is what was announced by then.
"""

from __future__ import annotations

from datetime import datetime

import strawberry

from quarterdeck_domain.errors import InvalidInput
from quarterdeck_graphql.context import Context
from quarterdeck_graphql.scalars import Position
from quarterdeck_readmodels.held import View, view_at


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


async def time_of(context: Context, moment: Moment, position: int) -> datetime | None:
    """Return the time that a moment is, given its position: None for position 0."""
    if moment.time is not None:
        return moment.time.value
    return await recorded_at(context, position)


async def recorded_at(context: Context, position: int) -> datetime | None:
    """Return when the event at a position was recorded; None for position 0."""
    if position == 0:
        return None
    (entry,) = await context.log.read_sealed(context.tenant, after=position - 1, until=position)
    return entry.recorded_at


async def view_of(context: Context, *, time: datetime | None, position: int | None, known: Moment) -> View:
    """Return the view of a time, or of the time of a position, as known at a moment.

    Raises:
        InvalidInput: both or neither were given; the position, or the moment at which it is known, has not come yet;
            or it is position 0, which has no time.
    """
    known_at = await position_of(context, known)
    if time is None or position is not None:
        recorded = await position_at(context, time=time, position=position)
        moment = await recorded_at(context, recorded)
        if moment is None:
            raise InvalidInput("nothing is recorded at position 0, so it has no time: give a `time`", position=0)
    else:
        moment, recorded = time, None
    return await view_at(context.log, context.tenant, moment, known_at, recorded)


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
