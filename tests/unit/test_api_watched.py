"""A fold that is never behind, under the one interleaving that matters and under many. Serves DC-05; threat T17."""

from __future__ import annotations

import asyncio
import uuid

from eventsourcing.dcb.api import DCBQuery

from quarterdeck_api.auth.clock import RESYNC_S, LedgerClock
from quarterdeck_api.auth.watched import ADVANCE_EVERY, Watched
from quarterdeck_domain.access.events import ApiKeyRevoked, RoleGranted
from quarterdeck_domain.access.values import SYSTEM
from quarterdeck_domain.events import Event, NewEvent, RecordedEvent
from quarterdeck_domain.slices import boundary
from quarterdeck_ledger.entry import Entry
from quarterdeck_ledger.keys import MemoryKeyStore
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.memory import MemoryStore

TENANT = "acme"


class SlowLedger(EventLedger):
    """A ledger whose checks can be held after they have looked, before they answer; it counts its reads."""

    def __init__(self) -> None:
        super().__init__(MemoryStore(), MemoryKeyStore())
        self.gate: asyncio.Event | None = None
        self.looked = asyncio.Event()
        self.checks = 0
        self.folds = 0

    async def read_sealed(self, *args: object, **options: object) -> list[Entry]:  # type: ignore[override]
        found = await super().read_sealed(*args, **options)  # type: ignore[arg-type]
        self.checks += 1
        self.looked.set()
        if self.gate is not None:
            await self.gate.wait()
        return found

    async def read(self, *args: object, **options: object) -> list[RecordedEvent]:  # type: ignore[override]
        self.folds += 1
        return await super().read(*args, **options)  # type: ignore[arg-type]

    async def record(self, payload: Event) -> None:
        """Record an event."""
        await self.append(TENANT, [NewEvent(id=uuid.uuid4(), payload=payload, actor=SYSTEM)])


class Count:
    """Counts the revocations of one key."""

    def __init__(self) -> None:
        self.seen = 0
        self._asked = False

    def missing(self) -> DCBQuery | None:
        """Return the one query there is."""
        asked, self._asked = self._asked, True
        return None if asked else boundary(((ApiKeyRevoked,), ("key:k",)))

    def apply(self, event: RecordedEvent) -> None:
        """Count it."""
        self.seen += 1


def revoked() -> ApiKeyRevoked:
    """Return the event that is counted."""
    return ApiKeyRevoked(key_id="k", principal_id="p", reason="r")


async def test_a_check_that_began_before_an_event_answers_nobody_who_came_after_it() -> None:
    """It looked before the event; whoever asks after the event was acknowledged gets a check of their own."""
    ledger = SlowLedger()
    watched = Watched(ledger, TENANT, Count)
    assert (await watched.current()).seen == 0
    ledger.gate = asyncio.Event()
    early = asyncio.create_task(watched.current())
    await ledger.looked.wait()
    await ledger.record(revoked())
    late = asyncio.create_task(watched.current())
    await asyncio.sleep(0)
    ledger.gate.set()
    assert (await early).seen == 0
    assert (await late).seen == 1


async def test_those_who_wait_together_share_one_check() -> None:
    """A hundred that arrive while one is under way cost one more."""
    ledger = SlowLedger()
    watched = Watched(ledger, TENANT, Count)
    await watched.current()
    ledger.gate = asyncio.Event()
    first = asyncio.create_task(watched.current())
    await ledger.looked.wait()
    rest = [asyncio.create_task(watched.current()) for _ in range(100)]
    await asyncio.sleep(0)
    ledger.gate.set()
    await asyncio.gather(first, *rest)
    assert ledger.checks == 2


async def test_other_events_cost_nothing_and_its_own_make_it_anew() -> None:
    """The fold is read again only when something of its boundary was recorded; also after its position moved."""
    ledger = SlowLedger()
    watched = Watched(ledger, TENANT, Count)
    await watched.current()
    folds = ledger.folds
    for _ in range(ADVANCE_EVERY + 5):
        await ledger.record(RoleGranted(principal_id="p", role="operator"))
        assert (await watched.current()).seen == 0
    assert ledger.folds == folds
    assert watched._after >= ADVANCE_EVERY - 1
    await ledger.record(revoked())
    assert (await watched.current()).seen == 1
    assert ledger.folds == folds + 1


async def test_a_check_that_is_given_up_holds_nobody_up() -> None:
    """A caller that goes away while its check waits leaves the next one free to look."""
    ledger = SlowLedger()
    watched = Watched(ledger, TENANT, Count)
    await watched.current()
    ledger.gate = asyncio.Event()
    first = asyncio.create_task(watched.current())
    await ledger.looked.wait()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    ledger.gate = None
    await ledger.record(revoked())
    assert (await watched.current()).seen == 1


async def test_the_clock_is_the_databases_and_never_behind() -> None:
    """Read at most every half minute, carried on by the monotonic clock in between."""
    ledger = SlowLedger()
    asked = 0
    really = ledger.store.now

    async def counted() -> object:
        nonlocal asked
        asked += 1
        return await really()

    ledger.store.now = counted  # type: ignore[method-assign, assignment]
    at = 100.0
    clock = LedgerClock(ledger, lambda: at)
    first = await clock.now()
    at += RESYNC_S - 1
    assert (await clock.now() - first).total_seconds() == RESYNC_S - 1
    assert asked == 1
    at += 2
    await clock.now()
    assert asked == 2
