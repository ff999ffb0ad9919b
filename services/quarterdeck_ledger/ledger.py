"""The log as the house uses it: typed events in, typed events out, over any store."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Any, Final

from eventsourcing.dcb.api import DCBAppendCondition, DCBQuery

from quarterdeck_domain import merkle
from quarterdeck_domain.canonical import MAX_INTEGER
from quarterdeck_domain.catalogue import REGISTRY
from quarterdeck_domain.checks import in_utc
from quarterdeck_domain.errors import InvalidInput, Refused
from quarterdeck_domain.events import Event, EventRegistry, NewEvent, RecordedEvent, event_id
from quarterdeck_domain.ids import check_tenant
from quarterdeck_domain.slices import HotSlice, Slice
from quarterdeck_ledger import faults, fingerprints, instruments, sealing
from quarterdeck_ledger.contention import MAX_TRIES, pause
from quarterdeck_ledger.entry import Draft, Entry, make_draft, parse_entry, same_content
from quarterdeck_ledger.errors import AppendConflict, Contended, Expired, IdReused
from quarterdeck_ledger.facts import all_tags, new_events, recorded
from quarterdeck_ledger.hot import HotBoundaries
from quarterdeck_ledger.interface import Appended, Context, Executed, Head
from quarterdeck_ledger.keys import KeyStore
from quarterdeck_ledger.sequencer import Sequencer
from quarterdeck_ledger.store import Outcome, Store, Submission

MAX_EVENTS_PER_APPEND: Final = 256
MAX_EVENTS_IN_BULK: Final = 250_000
MAX_BYTES_IN_BULK: Final = 256 * 2**20
_PAGE: Final = 1_000
_POLL_S: Final = 1.0


class EventLedger:
    """One append-only log per tenant. Implements `interface.Ledger`."""

    def __init__(
        self, store: Store, keys: KeyStore, *, registry: EventRegistry = REGISTRY, sequencer: Sequencer | None = None
    ) -> None:
        self.store = store
        self.keys = keys
        self.registry = registry
        self._sequencer = sequencer or Sequencer(store)
        self._hot = HotBoundaries(self)

    @instruments.append
    async def append(
        self,
        tenant: str,
        events: Sequence[NewEvent],
        condition: DCBAppendCondition | None = None,
        *,
        not_after: datetime | None = None,
    ) -> Appended:
        """Record events, all or none, durably. See `interface.Ledger.append`."""
        check_tenant(tenant)
        if condition is not None:
            check_query(condition.fail_if_events_match, condition.after or 0)
        if not 1 <= len(events) <= MAX_EVENTS_PER_APPEND:
            raise InvalidInput(f"an append holds 1 to {MAX_EVENTS_PER_APPEND} events, not {len(events)}")
        drafts = tuple([await self.draft(tenant, event) for event in events])
        if len(drafts) > 1 and len({draft.id for draft in drafts}) != len(drafts):
            raise InvalidInput("the same event id twice in one append")
        submission = Submission(drafts=drafts, condition=condition, not_after=not_after)
        return await self._settle(tenant, submission, await self._sequencer.submit(tenant, submission))

    async def append_bulk(
        self,
        tenant: str,
        events: Sequence[NewEvent],
        condition: DCBAppendCondition,
        progress: Callable[[int], None],
    ) -> Appended:
        """Record very many events in one append, all or none, telling how many are prepared. Others wait meanwhile.

        Raises:
            InvalidInput: none, too many, or too long together.
            and what `append` raises.
        """
        check_tenant(tenant)
        if not 1 <= len(events) <= MAX_EVENTS_IN_BULK:
            raise InvalidInput(f"a bulk append holds 1 to {MAX_EVENTS_IN_BULK} events, not {len(events)}")
        drafts: list[Draft] = []
        size = 0
        for event in events:
            drafts.append(await self.draft(tenant, event))
            size += len(drafts[-1].prefix) + len(drafts[-1].suffix)
            if size > MAX_BYTES_IN_BULK:
                raise InvalidInput(f"a bulk append holds at most {MAX_BYTES_IN_BULK} bytes", limit=MAX_BYTES_IN_BULK)
            if len(drafts) % _PAGE == 0:
                progress(len(drafts))
                await asyncio.sleep(0)  # so that others are served in between
        progress(len(drafts))
        submission = Submission(drafts=tuple(drafts), condition=condition, not_after=None)
        return await self._settle(tenant, submission, await self._sequencer.submit(tenant, submission))

    async def _settle(self, tenant: str, submission: Submission, outcome: Outcome) -> Appended:
        first, last = outcome.first, outcome.last
        if outcome.status == "conflict":
            after = submission.condition.after if submission.condition else None
            raise AppendConflict("a matching event was recorded in between; read again and decide again", after=after)
        if outcome.status == "expired":
            raise Expired("the moment until which this could be recorded has passed", not_after=submission.not_after)
        if outcome.status == "partial" or first is None or last is None:
            raise IdReused("some of these event ids are recorded already, some are not", first=first)
        if outcome.status == "repeated":
            entries = await self.store.read(tenant, None, first - 1, last, None, False)
            for draft, (position, entry) in zip(submission.drafts, entries, strict=True):
                if not same_content(draft, entry):
                    raise IdReused(f"event id {draft.id} stands for other content", position=position)
            return Appended(first=first, last=last, recorded_at=parse_entry(entries[-1][1]).recorded_at, repeated=True)
        return Appended(first=first, last=last, recorded_at=outcome.at)

    async def read(
        self,
        tenant: str,
        query: DCBQuery | None = None,
        *,
        after: int = 0,
        until: int | None = None,
        limit: int | None = None,
        backwards: bool = False,
    ) -> list[RecordedEvent]:
        """Return matching events, personal fields in clear or None if erased."""
        check_query(query, after, until, limit)
        entries = await self.store.read(check_tenant(tenant), query, after, until, limit, backwards)
        return [await self.open(parse_entry(entry)) for _, entry in entries]

    async def read_sealed(
        self,
        tenant: str,
        query: DCBQuery | None = None,
        *,
        after: int = 0,
        until: int | None = None,
        limit: int | None = None,
        backwards: bool = False,
    ) -> list[Entry]:
        """Return matching events as their bytes say them: personal fields stay sealed."""
        check_query(query, after, until, limit)
        entries = await self.store.read(check_tenant(tenant), query, after, until, limit, backwards)
        return [parse_entry(entry) for _, entry in entries]

    async def find(self, tenant: str, event_id: uuid.UUID) -> RecordedEvent | None:
        """Return the event with that id."""
        entry = await self.store.find(check_tenant(tenant), event_id)
        return None if entry is None else await self.open(parse_entry(entry))

    async def head(self, tenant: str) -> Head:
        """Return the end of the log."""
        head = await self.store.head(check_tenant(tenant))
        return Head(
            position=head.position,
            root=merkle.root_of(head.frontier),
            recorded_at=head.recorded_at,
        )

    async def now(self) -> datetime:
        """Return the database's clock."""
        return await self.store.now()

    async def position_at(self, tenant: str, moment: datetime) -> int:
        """Return the last position recorded at or before a moment.

        Raises:
            InvalidInput: it is none in UTC.
        """
        return await self.store.position_at(check_tenant(tenant), in_utc(moment, "time"))

    async def tenants(self) -> list[str]:
        """Return the names of all tenants that have a log."""
        return await self.store.tenants()

    async def subscribe(self, tenant: str, *, after: int = 0) -> AsyncIterator[RecordedEvent]:
        """Yield every event after a position, then live ones, each once, in order, for ever."""
        while True:
            events = await self.read(tenant, after=after, limit=_PAGE)
            for event in events:
                yield event
                after = event.position
            if not events:
                await self.store.wait(tenant, after, _POLL_S)

    async def wait(self, tenant: str, after: int, timeout_s: float) -> None:
        """Return when the log may have grown beyond a position, or after the timeout."""
        await self.store.wait(tenant, after, timeout_s)

    async def execute(self, command: Slice, context: Context) -> Executed:
        """Run a command. See `interface.Ledger.execute`."""
        if isinstance(command, HotSlice):
            return await self._hot.execute(command, context)
        query = command.consistency_boundary()
        seen = 0
        for attempt in range(MAX_TRIES):
            for event in await self.read(context.tenant, query, after=seen):
                command.apply(event)
                seen = event.position
            while (wider := command.widened()) is not None:
                command, query, seen = wider, wider.consistency_boundary(), 0
                for event in await self.read(context.tenant, query):
                    command.apply(event)
                    seen = event.position
            faults.point("execute.read")
            try:
                return await self._decide(command, context, DCBAppendCondition(query, seen))
            except AppendConflict:
                await pause(attempt)
            except Refused:
                # A command that comes again is refused by what it did itself: it hears its first answer.
                repeated = await self.repeated(context)
                if repeated is None:
                    raise
                return repeated
        raise Contended(f"met a conflict {MAX_TRIES} times; try again", tries=MAX_TRIES)

    async def _decide(self, command: Slice, context: Context, condition: DCBAppendCondition) -> Executed:
        decision = command.decide(await self.now())
        if not decision.events:
            repeated = await self.repeated(context)
            head = await self.head(context.tenant)
            return repeated or Executed(position=head.position, recorded_at=head.recorded_at, events=())
        events = await self.prepared(decision.events, context)
        faults.point("execute.decide")
        placed = await self.append(context.tenant, events, condition, not_after=decision.not_after)
        faults.point("execute.done")
        return Executed(
            position=placed.last,
            recorded_at=placed.recorded_at,
            events=recorded(context.tenant, events, placed),
            repeated=placed.repeated,
        )

    async def repeated(self, context: Context) -> Executed | None:
        """Return what a command came to if it was recorded before. See `interface.Ledger.repeated`."""
        events: list[RecordedEvent] = []
        while (found := await self.find(context.tenant, event_id(context.command_id, len(events)))) is not None:
            events.append(found)
        if not events:
            return None
        if context.fingerprint is not None and not await fingerprints.same(self.keys, self.registry, context, events):
            raise IdReused("this idempotency key was used with another request", position=events[0].position)
        return Executed(
            position=events[-1].position, recorded_at=events[0].recorded_at, events=tuple(events), repeated=True
        )

    async def prepared(self, payloads: Sequence[Event], context: Context) -> list[NewEvent]:
        """Return what a command decided as events to append. See `interface.Ledger.prepared`."""
        return new_events(payloads, await fingerprints.keyed(self.keys, self.registry, context, payloads))

    async def draft(self, tenant: str, event: NewEvent) -> Draft:
        """Return an event ready to be recorded: validated, its personal fields sealed.

        Raises:
            InvalidInput: it does not fit its schema or the limits of an entry.
        """
        data = self.registry.to_data(event.payload)
        data = await sealing.seal(self.keys, self.registry, tenant, event.id, event.payload, data)
        payload = event.payload
        return make_draft(
            tenant, event.id, payload.type, payload.version, data, all_tags(event), event.actor, event.cause
        )

    async def open(self, entry: Entry) -> RecordedEvent:
        """Return an entry as an event, personal fields in clear or None if erased."""
        data: dict[str, Any] = entry.data
        if self.registry.personal(entry.type):
            data = await sealing.unseal(self.keys, self.registry, entry.tenant, entry.id, entry.type, data)
        return RecordedEvent(
            tenant=entry.tenant,
            position=entry.position,
            id=entry.id,
            recorded_at=entry.recorded_at,
            actor=entry.actor,
            cause=entry.cause,
            tags=entry.tags,
            payload=self.registry.from_data(entry.type, entry.version, data),
        )


def check_query(query: DCBQuery | None, *numbers: int | None) -> None:
    """Let pass what can be asked of a log: text that can be written, and positions and counts that can be.

    Raises:
        InvalidInput: it cannot.
    """
    if not all(number is None or 0 <= number <= MAX_INTEGER for number in numbers):
        raise InvalidInput(f"positions and limits are from 0 to {MAX_INTEGER}")
    for item in query.items if query is not None else ():
        if not all(map(str.isprintable, item.types)):
            raise InvalidInput("the name of an event type has no control characters")
        for tag in item.tags:
            if not tag.isascii() and any("\ud800" <= char <= "\udfff" for char in tag):
                raise InvalidInput("a tag has half of a character: a lone surrogate")
