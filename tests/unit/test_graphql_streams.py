"""The pace of a replay, and how often a listener is looked at again. Serves DC-06, S0-120."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from eventsourcing.dcb.api import DCBQuery

from quarterdeck_domain.events import Actor, Cause
from quarterdeck_graphql.context import Context
from quarterdeck_graphql.problems import Unauthorised
from quarterdeck_graphql.subscriptions import MAX_PAUSE_S, REAUTHORISE_S, Watch, play
from quarterdeck_graphql.timeline import Selected
from quarterdeck_graphql.turns import Turns
from quarterdeck_ledger.entry import Entry

START = datetime(2026, 11, 21, tzinfo=UTC)
SELECTED = Selected(query=DCBQuery())


def entries(*gaps_s: float) -> list[Entry]:
    """Return events with these gaps between them."""
    moment, found = START, []
    for position, gap_s in enumerate((0.0, *gaps_s), 1):
        moment += timedelta(seconds=gap_s)
        entry = Entry(
            actor=Actor(principal="prn_x", kind="agent"),
            cause=Cause(),
            data={},
            id=uuid.UUID(int=position),
            position=position,
            recorded_at=moment,
            tags=(),
            tenant="acme",
            type="grant.revoked",
            version=1,
        )
        found.append(entry)
    return found


class Log:
    """A log that is only read."""

    def __init__(self, found: Sequence[Entry]) -> None:
        self._entries = found

    async def read_sealed(
        self, tenant: str, query: DCBQuery, *, after: int, until: int, limit: int, backwards: bool
    ) -> list[Entry]:
        """Return a page."""
        assert not backwards
        return [entry for entry in self._entries if after < entry.position <= until][:limit]


class Listener:
    """What a stream needs of its context: a log, and somebody who may listen for so many looks."""

    tenant = "acme"

    def __init__(self, found: Sequence[Entry], *, looks: int = 10_000) -> None:
        self.log = Log(found)
        self.turns = Turns()
        self.looks = looks

    async def still_valid(self) -> bool:
        """Tell whether it may still listen."""
        self.looks -= 1
        return self.looks >= 0


class Time:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        self.pauses.append(seconds)
        self.now += seconds

    def monotonic(self) -> float:
        """Return the time."""
        return self.now


def playing(
    found: Sequence[Entry],
    speed: float,
    clock: Time,
    *,
    looks: int = 10_000,
    after: int = 0,
    begin: datetime | None = None,
) -> AsyncIterator[Entry]:
    """Play a log to a listener, from a place and a moment of the past on."""
    context = cast(Context, Listener(found, looks=looks))
    return play(context, SELECTED, after, len(found), speed, clock.sleep, clock.monotonic, begin)


async def played(found: Sequence[Entry], speed: float) -> tuple[list[int], list[float]]:
    """Play a log; return the positions and the pauses."""
    clock = Time()
    return [entry.position async for entry in playing(found, speed, clock)], clock.pauses


@pytest.mark.parametrize(
    ("speed", "pauses"),
    [
        (0, []),
        (1, [0.5, 1.0, 0.5]),
        (2, [0.25, 0.75]),
        (10, [0.05, 0.15]),
    ],
)
async def test_the_gaps_are_divided_by_the_speed(speed: float, pauses: list[float]) -> None:
    """At 0 there are none; a long one is slept in pieces, so that a listener who may not listen is noticed."""
    positions, slept = await played(entries(0.5, 1.5), speed)
    assert positions == [1, 2, 3]
    assert slept == pytest.approx(pauses)


async def test_a_pause_takes_nothing_of_the_gap_it_falls_into() -> None:
    """Paused two of three seconds after the first event, and gone on twice as fast: half a second is left."""
    found, clock = entries(3.0, 1.0), Time()
    stream = playing(found, 2, clock, after=1, begin=START + timedelta(seconds=2))
    assert [entry.position async for entry in stream] == [2, 3]
    assert clock.pauses == pytest.approx([0.5, 0.5])


async def test_a_clock_that_is_ahead_waits_for_nothing() -> None:
    """Whoever seeks back with the clock where it was sees the event at once."""
    found, clock = entries(3.0), Time()
    stream = playing(found, 1, clock, begin=START + timedelta(days=1))
    assert (await anext(stream)).position == 1
    assert clock.pauses == []


async def test_an_idle_weekend_is_not_waited_for() -> None:
    """A gap is cut to what somebody waits for."""
    positions, slept = await played(entries(3 * 86_400.0), 1)
    assert positions == [1, 2]
    assert sum(slept) == pytest.approx(MAX_PAUSE_S)
    assert max(slept) <= REAUTHORISE_S


async def test_long_logs_are_read_in_pages() -> None:
    """Every event once, in order."""
    positions, _ = await played(entries(*[0.0] * 249), 0)
    assert positions == list(range(1, 251))


async def test_a_listener_is_looked_at_every_second_and_no_oftener() -> None:
    """By a clock of the test's."""
    now = 0.0
    listener = Listener([], looks=3)
    watch = Watch(cast(Context, listener), monotonic=lambda: now)
    for _ in range(100):
        await watch.check()
    assert listener.looks == 2
    now = REAUTHORISE_S
    await watch.check()
    now = REAUTHORISE_S * 2
    await watch.check()
    assert listener.looks == 0
    now = REAUTHORISE_S * 3
    with pytest.raises(Unauthorised):
        await watch.check()


async def test_a_replay_ends_for_who_may_not_listen() -> None:
    """In the middle of a pause, a second after it became so."""
    clock = Time()
    stream = playing(entries(5.0, 5.0), 1, clock, looks=3)
    assert (await anext(stream)).position == 1
    with pytest.raises(Unauthorised):
        await anext(stream)
    assert clock.now == pytest.approx(3 * REAUTHORISE_S)
