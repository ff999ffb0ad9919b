"""The records of two moments, for whoever compares them."""

from __future__ import annotations

from datetime import UTC, datetime

import strawberry

from quarterdeck_domain.errors import InvalidInput
from quarterdeck_graphql.context import Context
from quarterdeck_graphql.moments import Moment, position_of, time_of, view_of
from quarterdeck_graphql.record import Record, record_at

_FIRST = datetime.min.replace(tzinfo=UTC)


async def two_records(
    context: Context,
    since: Moment,
    until: Moment | None,
    known: Moment | None = None,
    *,
    names: tuple[str, str] = ("from", "to"),
) -> tuple[Record, Record]:
    """Return the records of two moments; `until` left out: now, also as it was expected. With `known`, the estate as it
    was true at both, as known then. `names` are what the caller calls the two.

    Raises:
        InvalidInput: one of them has not come yet, or the second lies before the first.
    """
    if known is not None:
        first = await _viewed(context, since, known)
        second = await _viewed(context, until or _now(await context.log.now()), known)
    else:
        after = None if until is None else await position_of(context, until)
        second = await record_at(context, position=after, moment=await _time_of(context, until, after))
        before = await position_of(context, since)
        first = await record_at(context, position=before, moment=await _time_of(context, since, before))
        if second.position < first.position:
            raise InvalidInput(
                f"`{names[1]}` is {second.position}, before `{names[0]}`, {first.position}: swap them",
                **{names[0]: first.position},
            )
    if known is None and (since.time is None or until is None or until.time is None):
        return first, second
    begins, ends = await first.at.moment() or _FIRST, await second.at.moment() or _FIRST
    if ends < begins:
        raise InvalidInput(f"`{names[1]}` is {ends.isoformat()}, before `{names[0]}`, {begins.isoformat()}: swap them")
    return first, second


async def _time_of(context: Context, moment: Moment | None, position: int | None) -> datetime | None:
    return None if moment is None or position is None else await time_of(context, moment, position)


async def _viewed(context: Context, moment: Moment, known: Moment) -> Record:
    time = None if moment.time is None else moment.time.value
    position = None if moment.position is None else moment.position.value
    view = await view_of(context, time=time, position=position, known=known)
    return await record_at(context, position=view.known, view=view)


def _now(moment: datetime) -> Moment:
    return Moment(time=strawberry.Some(moment), position=None)
