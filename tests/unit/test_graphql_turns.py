"""What streams take of a process: one event a round of the loop, tenants in turn, a quarter of its time while others ask.

Serves RELIABILITY T26. Nothing here measures time: rounds and turns are counted.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_graphql.context import Context
from quarterdeck_graphql.listeners import Listeners, Places, TooManyConnections, TooManySubscriptions
from quarterdeck_graphql.turns import READING_AT_ONCE, Turns


@contextlib.contextmanager
def streams(turns: Turns, tenants: list[str], deliver: Callable[[str], None]) -> Iterator[list[asyncio.Task[None]]]:
    """Run streams that always have a next event at hand."""

    async def stream(tenant: str) -> None:
        while True:
            await turns.take(tenant)
            deliver(tenant)

    tasks = [asyncio.create_task(stream(tenant)) for tenant in tenants]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()


async def rounds(count: int) -> None:
    """Let the loop go round so often, as a question does that waits for its answers from the database."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_round_of_the_loop_has_one_event_at_most() -> None:
    """However many streams want to deliver theirs: a question of fifty steps waits for fifty events, not thousands."""
    delivered: list[str] = []
    with streams(Turns(), ["busy"] * 10, delivered.append):
        await rounds(5)
        before = len(delivered)
        await rounds(50)
        assert len(delivered) - before <= 50


async def test_tenants_are_served_in_turn() -> None:
    """One with ten streams gets no more than one with one."""
    delivered: list[str] = []
    with streams(Turns(), ["busy"] * 10 + ["calm"], delivered.append):
        while len(delivered) < 60:
            await rounds(1)
    assert 29 <= delivered[:60].count("calm") <= 31


@pytest.mark.parametrize(
    ("asked_until", "least", "most"),
    [(1.0, 200, 260), (0.0, 590, 640), (-10.0, 950, 1_000)],
    ids=["all the time", "at the beginning", "never"],
)
async def test_streams_rest_three_times_as_long_as_they_work_while_somebody_asks(
    monkeypatch: pytest.MonkeyPatch, asked_until: float, least: int, most: int
) -> None:
    """By a clock that an event moves by a millisecond, and every round by a hundredth of one. Half a second after the
    last request they have the process to themselves."""
    loop = asyncio.get_running_loop()
    now = begin = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now)
    events = 0
    turns = Turns()

    def deliver(_tenant: str) -> None:
        nonlocal now, events
        now, events = now + 0.001, events + 1

    with streams(turns, ["busy"] * 3, deliver):
        while now < begin + 1.0:
            if now - begin <= asked_until:
                turns.asked()
            await asyncio.sleep(0)
            now += 0.000_01
    assert least <= events <= most


async def test_who_goes_away_is_passed_over() -> None:
    """And the others go on."""
    delivered: list[str] = []
    turns = Turns()
    with streams(turns, ["busy"] * 3, delivered.append) as tasks:
        await rounds(10)
        for task in tasks[:2]:
            task.cancel()
        before = len(delivered)
        while len(delivered) < before + 20:
            await rounds(1)
    await rounds(10)
    async with asyncio.timeout(10):
        await turns.take("busy")


async def test_pages_are_read_two_at_a_time_and_by_tenants_in_turn() -> None:
    """Of ten streams of one tenant, and one of another."""
    turns = Turns()
    inside = most = 0
    order: list[str] = []

    async def read(tenant: str) -> None:
        nonlocal inside, most
        async with turns.reading(tenant):
            inside += 1
            most = max(most, inside)
            order.append(tenant)
            await rounds(5)
            inside -= 1

    async with asyncio.timeout(10):
        await asyncio.gather(*(read("busy") for _ in range(10)), read("calm"))
    assert most == READING_AT_ONCE
    assert order.index("calm") <= READING_AT_ONCE + 1
    assert len(order) == 11


async def test_a_place_to_read_is_not_lost_with_who_waited_for_it() -> None:
    """Given up while waiting, or in the moment in which it was called."""
    turns = Turns()

    async def read(held: asyncio.Event, go: asyncio.Event) -> None:
        async with turns.reading("busy"):
            held.set()
            await go.wait()

    for after in range(4):
        go = asyncio.Event()
        held = [asyncio.Event() for _ in range(READING_AT_ONCE)]
        readers = [asyncio.create_task(read(each, go)) for each in held]
        for each in held:
            await each.wait()
        waiting = asyncio.create_task(read(asyncio.Event(), go))
        await rounds(2)
        go.set()
        await rounds(after)
        waiting.cancel()
        await asyncio.gather(*readers, waiting, return_exceptions=True)
    async with asyncio.timeout(10), turns.reading("busy"), turns.reading("calm"):
        pass


def listener(tenant: str = "acme", principal: str = "prn_a") -> Context:
    """Return what is counted of a context."""
    return cast(Context, SimpleNamespace(tenant=tenant, actor=SimpleNamespace(principal=principal)))


@pytest.mark.parametrize("refusal", [TooManyConnections, TooManySubscriptions])
def test_places_are_counted_by_caller_and_by_tenant(refusal: type[QuarterdeckError]) -> None:
    """What is refused takes no place; what is left is free again."""
    places = Places(refusal, "things", of_caller=2, of_tenant=3)
    places.take(listener())
    places.take(listener())
    with pytest.raises(refusal, match="a principal has at most 2 things"):
        places.take(listener())
    places.take(listener(principal="prn_b"))
    with pytest.raises(refusal, match="a tenant has at most 3 things"):
        places.take(listener(principal="prn_b"))
    places.take(listener(tenant="other"))
    places.leave(listener())
    places.take(listener(principal="prn_b"))
    for one in (listener(), listener(principal="prn_b"), listener(principal="prn_b"), listener(tenant="other")):
        places.leave(one)
    found: Any = places
    assert found._held == {}


def test_a_process_has_places_for_both() -> None:
    """As the guide says."""
    found = Listeners()
    limits: list[Any] = [found.connections, found.streams]
    assert [tuple(places._limits.values()) for places in limits] == [(10, 100), (50, 200)]
