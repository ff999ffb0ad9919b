"""Hot boundaries: decided under the lock, in order, without conflicts, on both stores. Serves C01.

The rule is the hardest there is to share: a fixed number of seats that everybody wants at once.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta

import pytest
from eventsourcing.dcb.api import DCBQuery

from quarterdeck_domain.access.events import RoleGranted
from quarterdeck_domain.errors import WrongState
from quarterdeck_domain.events import Actor, NewEvent, RecordedEvent
from quarterdeck_domain.slices import Decision, HotSlice, boundary
from quarterdeck_ledger.errors import Expired, IdReused
from quarterdeck_ledger.interface import Context, Executed
from quarterdeck_ledger.keys import MemoryKeyStore
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.memory import MemoryStore
from quarterdeck_ledger.postgres import PostgresStore

ACTOR = Actor(principal="prn_test", kind="service")
SEATS = 30


class TakeSeat(HotSlice):
    """Take one of the seats (an event of `hall`), if one is left."""

    def __init__(self, hall: str = "hall", not_after: datetime | None = None) -> None:
        self.hall = hall
        self.not_after = not_after

    def new_state(self) -> list[int]:
        return []

    def consistency_boundary(self) -> DCBQuery:
        return boundary(((RoleGranted,), (f"principal:{self.hall}",)))

    def apply(self, event: RecordedEvent) -> None:
        self.state.append(event.position)

    def decide(self, now: datetime) -> Decision:
        if len(self.state) >= SEATS:
            raise WrongState("no seat is left", taken=len(self.state))
        return Decision(events=(RoleGranted(principal_id=self.hall, role="operator"),), not_after=self.not_after)


def context(command_id: uuid.UUID | None = None, fingerprint: str | None = None) -> Context:
    """Return a command's context."""
    return Context(tenant="acme", actor=ACTOR, command_id=command_id or uuid.uuid4(), fingerprint=fingerprint)


@pytest.fixture(params=["memory", "postgres"])
async def ledgers(
    request: pytest.FixtureRequest, migrated_database: Callable[[], str]
) -> AsyncIterator[list[EventLedger]]:
    """Three ledgers over one log and its keys, as three processes would have them."""
    keys = MemoryKeyStore()
    if request.param == "memory":
        store = MemoryStore()
        yield [EventLedger(store, keys) for _ in range(3)]
        return
    async with PostgresStore.open(migrated_database(), size=8) as postgres:
        yield [EventLedger(postgres, keys) for _ in range(3)]


async def test_exactly_the_seats_are_taken(ledgers: list[EventLedger]) -> None:
    """A hundred at once, through three processes, beside foreign appends: thirty sit, seventy are told why not."""

    async def foreign() -> None:
        for _ in range(20):
            payload = RoleGranted(principal_id=random.choice(["other", "hall"]), role="auditor")
            await ledgers[0].append("acme", [NewEvent(id=uuid.uuid4(), payload=payload, actor=ACTOR)])

    results = await asyncio.gather(
        foreign(),
        *[ledgers[number % 3].execute(TakeSeat(), context()) for number in range(100)],
        return_exceptions=True,
    )
    events = await ledgers[0].read("acme", TakeSeat().consistency_boundary())
    mine = [event for event in events if event.payload.role == "operator"]  # type: ignore[attr-defined]
    seated = [result for result in results if isinstance(result, Executed)]
    refused = [result for result in results if isinstance(result, WrongState)]
    assert len(seated) == len(mine)
    assert len(seated) + len(refused) == 100
    # At the moment of each, there was a seat: no more than SEATS events of the hall precede or include it.
    assert all(sum(1 for event in events if event.position <= seat.position) <= SEATS for seat in mine)
    assert sorted(result.position for result in seated) == [event.position for event in mine]
    head = await ledgers[0].head("acme")
    assert head.position == len(mine) + 20


async def test_a_repeated_command_hears_its_first_answer(ledgers: list[EventLedger]) -> None:
    """The same command id takes one seat, whoever repeats it; with another request it is refused."""
    command_id = uuid.uuid4()
    first = await ledgers[0].execute(TakeSeat(), context(command_id, "a"))
    again = await asyncio.gather(*[ledger.execute(TakeSeat(), context(command_id, "a")) for ledger in ledgers])
    assert {result.position for result in again} == {first.position}
    assert all(result.repeated for result in again)
    with pytest.raises(IdReused):
        await ledgers[1].execute(TakeSeat(), context(command_id, "b"))
    assert (await ledgers[0].head("acme")).position == 1


async def test_too_late_is_too_late_under_the_lock(ledgers: list[EventLedger]) -> None:
    """`not_after` is compared with the clock read after the lock is held."""
    past = await ledgers[0].now() - timedelta(seconds=1)
    with pytest.raises(Expired):
        await ledgers[0].execute(TakeSeat(not_after=past), context())
    assert (await ledgers[0].head("acme")).position == 0


async def test_the_same_command_twice_in_one_turn_is_done_once(ledgers: list[EventLedger]) -> None:
    """A client that lost patience sends again while its first request still waits, through the same process."""
    command_id = uuid.uuid4()
    results = await asyncio.gather(*[ledgers[0].execute(TakeSeat(), context(command_id, "a")) for _ in range(5)])
    assert {result.position for result in results} == {1}
    assert sorted(result.repeated for result in results) == [False, True, True, True, True]
    assert (await ledgers[0].head("acme")).position == 1
