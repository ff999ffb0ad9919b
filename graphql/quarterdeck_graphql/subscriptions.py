"""Streams of events: the live timeline, and the past played back at the pace it had.

A replay keeps nothing on the server: whoever listens knows the position and the moment it has come to, and with these
it goes on in another stream, at another speed, or elsewhere; at another process, too, and the day after.

Each asks again and again whether its caller may still listen; when it may not, the stream ends within seconds. The
log's index does the filtering, so a listener that waits for one approval does not read the whole log. Pages are small,
and every event waits for its turn: what a listener does not take stays in the log, not in memory.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Annotated, Final

import strawberry

from quarterdeck_domain.errors import InvalidInput
from quarterdeck_graphql.context import Context, Info
from quarterdeck_graphql.declare import stream
from quarterdeck_graphql.events import DATA, TimelineEntry, show_entry
from quarterdeck_graphql.moments import Moment, position_of
from quarterdeck_graphql.problems import Unauthorised
from quarterdeck_graphql.scalars import Position
from quarterdeck_graphql.selection import selects
from quarterdeck_graphql.timeline import Selected, TimelineFilter, select
from quarterdeck_ledger.entry import Entry

REAUTHORISE_S: Final = 1.0
MAX_PAUSE_S: Final = 10.0
MAX_REPLAYED: Final = 100_000
MAX_SPEED: Final = 1_000_000.0
_PAGE: Final = 16

Sleep = Callable[[float], Awaitable[None]]


class Watch:
    """Asks, at most every second, whether the caller may still listen."""

    def __init__(self, context: Context, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._context = context
        self._monotonic = monotonic
        self._asked = float("-inf")

    async def check(self) -> None:
        """Return if the caller may still listen.

        Raises:
            Unauthorised: its credential or a role it had is gone.
        """
        if self._monotonic() - self._asked < REAUTHORISE_S:
            return
        if not await self._context.still_valid():
            raise Unauthorised("this credential is no longer valid; the stream ends")
        self._asked = self._monotonic()


async def follow(context: Context, selected: Selected, after: int) -> AsyncIterator[Entry]:
    """Yield every matching event after a position, then live ones as they come, each once, in order, for ever."""
    watch = Watch(context)
    while True:
        await watch.check()
        async with context.turns.reading(context.tenant):
            # What is up to the head is read before the position moves there: nothing recorded later is skipped.
            head = (await context.log.head(context.tenant)).position
            found = await _page(context, selected, after, head) if head > after else []
        for entry in found:
            await context.turns.take(context.tenant)
            await watch.check()
            yield entry
        if len(found) == _PAGE:
            after = found[-1].position
        else:
            after = max(after, head)
            await context.log.store.wait(context.tenant, after, REAUTHORISE_S)


async def _page(context: Context, selected: Selected, after: int, until: int) -> list[Entry]:
    return await selected.read(context, after=after, until=until, limit=_PAGE)


async def play(
    context: Context,
    selected: Selected,
    after: int,
    until: int,
    speed: float,
    sleep: Sleep = asyncio.sleep,
    monotonic: Callable[[], float] = time.monotonic,
    clock: datetime | None = None,
) -> AsyncIterator[Entry]:
    """Yield the matching events of a span with the gaps between them that they had, divided by the speed.

    `clock` is the moment of the past at which it begins: so long the first event waits. None: it does not wait.
    """
    watch = Watch(context, monotonic)
    before = clock
    while after < until:
        await watch.check()
        async with context.turns.reading(context.tenant):
            found = await _page(context, selected, after, until)
        for entry in found:
            if before is not None and speed > 0:
                gap_s = (entry.recorded_at - before).total_seconds() / speed
                await _pause(watch, min(gap_s, MAX_PAUSE_S), sleep)
            await context.turns.take(context.tenant)
            await watch.check()
            yield entry
            before = entry.recorded_at
        after = found[-1].position if len(found) == _PAGE else until


async def _pause(watch: Watch, left_s: float, sleep: Sleep) -> None:
    while left_s > 0:
        await sleep(min(left_s, REAUTHORISE_S))
        left_s -= REAUTHORISE_S
        await watch.check()


def _backwards(begin: Moment | None, end: Moment | None) -> bool:
    """Tell whether two times are the wrong way round, be there nothing recorded between them or not."""
    if begin is None or end is None or begin.time is None or end.time is None:
        return False
    return begin.time.value > end.time.value


@strawberry.type(description="What can be listened to, over `graphql-transport-ws` alone.")
class Subscription:
    @stream("Events as they are recorded. Give `after` the position of the last event you had to miss none.")
    async def timeline(
        self,
        info: Info,
        after: Annotated[
            Position | None, strawberry.argument(description="Begin after this position; left out: from now on.")
        ] = None,
        filter: Annotated[TimelineFilter | None, strawberry.argument(description="Which events; no `to`.")] = None,
    ) -> AsyncIterator[TimelineEntry]:
        context = info.context
        if filter is not None and filter.to is not None:
            raise InvalidInput("a live timeline has no end; use `replay` for a span of the past", field="to")
        head = (await context.log.head(context.tenant)).position
        if after is not None and after > head:
            raise InvalidInput(f"the log ends at {head}: nothing is known at {after} yet", position=after, head=head)
        selected = await select(context, filter)
        with_data = selects(info, *DATA)
        async for entry in follow(context, selected, max(head if after is None else after, selected.after)):
            yield await show_entry(context, entry, with_data=with_data)

    @stream(
        "The past again: each event after the gap it had, divided by `speed`, then the end of the stream. To pause, "
        "complete it. To go on, or at another speed, begin after the position of the last event you had, with `clock`; "
        "to seek, begin anywhere else."
    )
    async def replay(
        self,
        info: Info,
        from_: Annotated[
            Moment | None, strawberry.argument(name="from", description="Where to begin; left out: at the beginning.")
        ] = None,
        to: Annotated[Moment | None, strawberry.argument(description="Where to end; left out: at what is now.")] = None,
        speed: Annotated[
            float, strawberry.argument(description="How much faster than it was; 0: as fast as it can be read.")
        ] = 0.0,
        clock: Annotated[
            datetime | None,
            strawberry.argument(
                description="The moment of the past at which it begins: the first event waits for its own. Left out: "
                "it does not wait."
            ),
        ] = None,
        filter: Annotated[TimelineFilter | None, strawberry.argument(description="Which events.")] = None,
    ) -> AsyncIterator[TimelineEntry]:
        context = info.context
        if not 0 <= speed <= MAX_SPEED:
            raise InvalidInput(f"`speed` is from 0 to {MAX_SPEED:.0f}", field="speed")
        selected = await select(context, filter)
        after = max(selected.after, 0 if from_ is None else await position_of(context, from_))
        head = (await context.log.head(context.tenant)).position
        until = min(
            head if to is None else await position_of(context, to), head if selected.until is None else selected.until
        )
        if after > until or _backwards(from_, to):
            raise InvalidInput(
                f"a replay goes forward, and this one begins after {after}, where it would have ended by {until}",
                fields=["from", "to"],
            )
        if until - after > MAX_REPLAYED:
            raise InvalidInput(
                f"a replay spans at most {MAX_REPLAYED} positions; take the export for more", limit=MAX_REPLAYED
            )
        with_data = selects(info, *DATA)
        async for entry in play(context, selected, after, until, speed, clock=clock):
            yield await show_entry(context, entry, with_data=with_data)
