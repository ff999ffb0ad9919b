"""One of several processes that write into one tenant at once: run as a program, it takes seats and says which.

Halls stand in a ring, and a seat in one may be taken while it and the next have fewer than so many together: what each
command has to know overlaps with what others change. The hall `hot` is decided under the log's lock. Command ids are
the writer's name and a number: a writer that died and comes again repeats itself.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import uuid
from datetime import datetime
from pathlib import Path
from typing import Final

from eventsourcing.dcb.api import DCBQuery

from quarterdeck_domain.access.events import RoleGranted
from quarterdeck_domain.errors import WrongState
from quarterdeck_domain.events import Actor, RecordedEvent
from quarterdeck_domain.slices import Decision, HotSlice, Slice, boundary
from quarterdeck_ledger import faults
from quarterdeck_ledger.errors import Busy, Contended, Unavailable
from quarterdeck_ledger.interface import Context
from quarterdeck_ledger.keys import FileKeyStore
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.postgres import PostgresStore

TENANT: Final = "acme"
HALLS: Final = ("hall-0", "hall-1", "hall-2")
HOT: Final = "hot"
SEATS: Final = 40
COMMANDS: Final = 60
NAMESPACE: Final = uuid.UUID("7b0c5a0e-3f57-4d0a-8a63-5f6f0b9d3f11")
_AT_ONCE: Final = 4


def next_to(hall: str) -> str:
    """Return the hall whose seats count too."""
    return HALLS[(HALLS.index(hall) + 1) % len(HALLS)]


class TakeSeat(Slice):
    """Take a seat in a hall of the ring."""

    def __init__(self, hall: str) -> None:
        self.hall = hall
        self.taken = 0

    def consistency_boundary(self) -> DCBQuery:
        """Know both halls."""
        both = (self.hall, next_to(self.hall))
        return boundary(*(((RoleGranted,), (f"principal:{hall}",)) for hall in both))

    def apply(self, event: RecordedEvent) -> None:
        """Count a seat."""
        self.taken += 1

    def decide(self, now: datetime) -> Decision:
        """Take it if there is one."""
        if self.taken >= SEATS:
            raise WrongState("no seat is left", taken=self.taken)
        return Decision(events=(RoleGranted(principal_id=self.hall, role="operator"),))


class TakeHotSeat(HotSlice):
    """Take a seat in the hall that everybody wants."""

    def new_state(self) -> list[int]:
        """Return the seats of nobody."""
        return []

    def consistency_boundary(self) -> DCBQuery:
        """Know the hall."""
        return boundary(((RoleGranted,), (f"principal:{HOT}",)))

    def apply(self, event: RecordedEvent) -> None:
        """Count a seat."""
        self.state.append(event.position)

    def decide(self, now: datetime) -> Decision:
        """Take it if there is one."""
        if len(self.state) >= SEATS:
            raise WrongState("no seat is left", taken=len(self.state))
        return Decision(events=(RoleGranted(principal_id=HOT, role="operator"),))


def command_id(writer: str, number: int) -> uuid.UUID:
    """Return the id of a writer's command."""
    return uuid.uuid5(NAMESPACE, f"{writer}/{number}")


async def take(ledger: EventLedger, writer: str, number: int) -> None:
    """Take one seat, or hear that there is none; say so."""
    hall = random.Random(f"{writer}/{number}").choice((*HALLS, HOT))
    context = Context(
        tenant=TENANT,
        actor=Actor(principal="prn_test", kind="service"),
        command_id=command_id(writer, number),
        fingerprint=hall,
    )
    while True:
        try:
            done = await ledger.execute(TakeHotSeat() if hall == HOT else TakeSeat(hall), context)
        except WrongState:
            print("full", number, flush=True)
        except (Contended, Busy, Unavailable):
            continue
        else:
            print("seat", number, done.position, flush=True)
        return


async def main(url: str, writer: str, keys: Path) -> None:
    """Take seats, some at once, until every command is answered."""
    faults.from_environment(os.environ, url)
    numbers = iter(range(COMMANDS))

    async def lane(ledger: EventLedger) -> None:
        for number in numbers:
            await take(ledger, writer, number)

    async with PostgresStore.open(url, size=_AT_ONCE) as store:
        ledger = EventLedger(store, FileKeyStore(keys))
        await asyncio.gather(*(lane(ledger) for _ in range(_AT_ONCE)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
