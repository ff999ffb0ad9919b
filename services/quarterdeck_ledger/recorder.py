"""The `eventsourcing` library's recorder on our log, so that its DCB applications and projections run here.

A thin synchronous adapter below event validation: types, data and tags are the library's own, the guarantees
are the store's. It runs its store on an event loop in a thread of its own.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import threading
import uuid
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, Final, Self, TypeVar

from eventsourcing.dcb.api import (
    DCBAppendCondition,
    DCBEvent,
    DCBQuery,
    DCBReadResponse,
    DCBRecorder,
    DCBSequencedEvent,
    DCBSubscription,
)
from eventsourcing.dcb.persistence import DCBInfrastructureFactory
from eventsourcing.persistence import IntegrityError, TrackingRecorder
from eventsourcing.popo import POPOFactory

from quarterdeck_domain.events import Actor, Cause
from quarterdeck_domain.slices import matches
from quarterdeck_ledger.entry import make_draft, parse_entry
from quarterdeck_ledger.postgres import PostgresStore
from quarterdeck_ledger.sequencer import Sequencer
from quarterdeck_ledger.store import Submission

T = TypeVar("T")
_ACTOR: Final = Actor(principal="eventsourcing", kind="service")
_PAGE: Final = 500
_POLL_S: Final = 0.25


class LedgerRecorder(DCBRecorder):
    """A `DCBRecorder` over one tenant's log. Use it as a context manager, or `close` it."""

    def __init__(self, url: str, tenant: str) -> None:
        """Connect to the database at `url`, whose schema is current."""
        self._tenant = tenant
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ledger recorder", daemon=True)
        self._thread.start()
        self._open = contextlib.AsyncExitStack()
        self._store = self.wait(self._open.enter_async_context(PostgresStore.open(url)))
        self._sequencer = Sequencer(self._store)

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the recorder's loop and return its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def close(self) -> None:
        """Disconnect and end the thread."""
        self.wait(self._open.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(
        self, query: DCBQuery | None = None, *, after: int | None = None, limit: int | None = None
    ) -> DCBReadResponse:
        """Return the events of a query after a position. With a limit, `head` is the last one returned."""
        return self.wait(self._read(query, after or 0, limit))

    async def _read(self, query: DCBQuery | None, after: int, limit: int | None) -> _Response:
        head = (await self._store.head(self._tenant)).position
        entries = await self._store.read(self._tenant, query, after, head, limit, False)
        events = [_sequenced(entry) for _, entry in entries]
        if limit is None:
            return _Response(events, head or None)
        return _Response(events, events[-1].position if events else None)

    def append(self, events: Sequence[DCBEvent], condition: DCBAppendCondition | None = None) -> int:
        """Append events and return the last one's position.

        Raises:
            IntegrityError: an event matches the condition after its position.
        """
        drafts = tuple(
            make_draft(
                self._tenant,
                uuid.uuid4(),
                event.type,
                1,
                {"base64": base64.b64encode(event.data).decode()},
                tuple(event.tags),
                _ACTOR,
                Cause(),
            )
            for event in events
        )
        outcome = self.wait(self._sequencer.submit(self._tenant, Submission(drafts=drafts, condition=condition)))
        if outcome.last is None:
            raise IntegrityError(condition)
        return outcome.last

    def subscribe(self, query: DCBQuery | None = None, *, after: int | None = None) -> _Subscription:
        """Return an iterator of the events of a query after a position, then of new ones."""
        return _Subscription(self, query, after)

    def grown(self, after: int) -> None:
        """Return when the log may have grown beyond a position, or after a moment."""
        self.wait(self._store.wait(self._tenant, after, _POLL_S))


class LedgerFactory(POPOFactory, DCBInfrastructureFactory[TrackingRecorder]):
    """What the library constructs from `PERSISTENCE_MODULE=quarterdeck_ledger.recorder`.

    Reads `QUARTERDECK_LEDGER_URL` and `QUARTERDECK_LEDGER_TENANT` from the application's environment.
    """

    def dcb_recorder(self) -> LedgerRecorder:
        """Return a recorder on the configured log."""
        environment = {**os.environ, **self.env}
        return LedgerRecorder(environment["QUARTERDECK_LEDGER_URL"], environment["QUARTERDECK_LEDGER_TENANT"])


class _Response(DCBReadResponse):
    def __init__(self, events: list[DCBSequencedEvent], head: int | None) -> None:
        self._events: Iterator[DCBSequencedEvent] = iter(events)
        self._head = head

    @property
    def head(self) -> int | None:
        return self._head

    def __next__(self) -> DCBSequencedEvent:
        return next(self._events)


class _Subscription(DCBSubscription[LedgerRecorder]):
    def __init__(self, recorder: LedgerRecorder, query: DCBQuery | None, after: int | None) -> None:
        super().__init__(recorder, query, after)
        self._ready: list[DCBSequencedEvent] = []

    def __next__(self) -> DCBSequencedEvent:
        while not self._has_been_stopped:
            if self._ready:
                event = self._ready.pop(0)
                self._last_position = event.position
                if self._query is None or matches(self._query, event.event.type, frozenset(event.event.tags)):
                    return event
                continue
            self._ready = list(self._recorder.read(after=self._last_position, limit=_PAGE))
            if not self._ready:
                self._recorder.grown(self._last_position)
        raise StopIteration


def _sequenced(entry: bytes) -> DCBSequencedEvent:
    recorded = parse_entry(entry)
    event = DCBEvent(type=recorded.type, data=base64.b64decode(recorded.data["base64"]), tags=sorted(recorded.tags))
    return DCBSequencedEvent(event=event, position=recorded.position)
