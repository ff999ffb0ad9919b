"""Records a large estate (`estates.py`) as if over half a year: the real append, by a clock that goes with the log.

What `ledger.append` reads of the database's clock is the time of everything recorded. For the fill alone, that one
expression is made to say a moment that follows from the log's length; everything else of the function is as it is.
"""

from __future__ import annotations

import contextlib
import random
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

import asyncpg

from quarterdeck_bench.estates import EstateStream
from quarterdeck_domain.access.events import TenantOpened
from quarterdeck_domain.estate.events import EstateApplied
from quarterdeck_domain.events import Actor, Event, NewEvent
from quarterdeck_ledger.ledger import EventLedger

TENANT: Final = "bench"
SPAN: Final = timedelta(days=180)
_APPEND: Final = 250
_CLOCK: Final = "clock_timestamp()"
_BY_HAND: Final = Actor(principal="prn_00000000000000000000000000", kind="human")


async def fill_estate(
    url: str, ledger: EventLedger, *, assets: int, relations: int, events: int, seed: int = 0
) -> datetime:
    """Record exactly `events` events of an estate of that size; return when the first of them was recorded."""
    began = datetime.now(UTC) - SPAN - timedelta(days=1)
    step = SPAN / events
    chance = random.Random(seed)
    recorded = 0

    def clock() -> datetime:
        return began + recorded * step

    source = islice(_with_runs(EstateStream(seed, assets, relations, events, clock)), events)
    async with _clock_of_the_log(url, began, step):
        spent = time.perf_counter()
        while part := list(islice(source, _APPEND)):
            new = [NewEvent(id=uuid.UUID(int=chance.getrandbits(128)), payload=said, actor=_BY_HAND) for said in part]
            await ledger.append(TENANT, new)
            recorded += len(part)
        spent = time.perf_counter() - spent
    print(f"recorded {recorded:,} events in {spent:.0f} s, {recorded / spent:,.0f} a second", flush=True)
    return began


def _with_runs(stream: EstateStream) -> Iterator[Event]:
    """Yield the tenant's first event, then the stream; now and then an event says that a run was applied."""
    yield TenantOpened(tenant=TENANT, display_name="Bench")
    for number, event in enumerate(stream):
        if number % 1_000 == 999:
            digest = f"sha256:{number:064x}"
            yield EstateApplied(
                run=f"run_{number}",
                source="platform.yaml",
                digest=digest,
                plan_digest=digest,
                registered=0,
                changed=0,
                retired=0,
                related=0,
                unrelated=0,
            )
        yield event


@contextlib.asynccontextmanager
async def _clock_of_the_log(url: str, began: datetime, step: timedelta) -> AsyncIterator[None]:
    """Let `ledger.append` read a clock that goes with the log's length, for as long as the block lasts."""
    connection = await asyncpg.connect(url)
    try:
        real: str = await connection.fetchval("SELECT pg_get_functiondef('ledger.append'::regproc)")
        moment = f"('{began.isoformat()}'::timestamptz + head.position * '{step.total_seconds()}s'::interval)"
        assert real.count(_CLOCK) == 1, "the append reads the clock once"
        await connection.execute(real.replace(_CLOCK, moment))
        try:
            yield
        finally:
            await connection.execute(real)
    finally:
        await connection.close()
