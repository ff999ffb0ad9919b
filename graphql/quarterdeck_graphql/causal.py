"""Finding the causal slice of a decision or a state: which events of the log force it, and which absences it rests on.

`quarterdeck_domain.causes` says what a slice is. Here the log is read by tags, the judges (policy's and the read
models') are asked, and every absence is looked up in the log before it is claimed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from eventsourcing.dcb.api import DCBQuery, DCBQueryItem

from quarterdeck_domain.approvals.consent import follows, voters
from quarterdeck_domain.approvals.events import GrantMinted, VoteCast
from quarterdeck_domain.causes import Contrary, Found, Question, TooMuch, arranged, search
from quarterdeck_domain.contraries import BEGINS, contraries
from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.estate.events import ACTS_AS, EXPOSED, SERVES, RelationDeclared
from quarterdeck_domain.estate.values import relation_id
from quarterdeck_domain.events import RecordedEvent
from quarterdeck_domain.slices import boundary
from quarterdeck_graphql.causal_absences import Alike, Missing, merged
from quarterdeck_graphql.context import Context
from quarterdeck_ledger.entry import Entry, parse_entry
from quarterdeck_policy.replaying import Remembering
from quarterdeck_policy.replaying import Replay as DecisionReplay
from quarterdeck_readmodels import approvals as approvals_rows
from quarterdeck_readmodels.folding import Unfoldable
from quarterdeck_readmodels.replaying import Replay as StateReplay
from quarterdeck_readmodels.replaying import concerning
from quarterdeck_readmodels.tables import Row

MAX_CANDIDATES: Final = 5_000
_MOST: Final = MAX_CANDIDATES + 1
_TURN: Final = 200
"""After how many events shown to a judge others are served."""
_ENGINE: Final = Remembering()

Judge = Callable[[Question], Any]


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. `recorded` is what everything is compared with."""

    entries: tuple[Entry, ...]
    found: Found
    recorded: Any
    missing: tuple[Missing, ...]


async def of_decision(context: Context, event: RecordedEvent) -> Slice:
    """Return the slice of a recorded decision. `event` has its request in clear.

    Raises:
        NotReplayable: its request was erased.
        TooMuch: too many events have a bearing on it.
    """
    replay = DecisionReplay(event, _ENGINE)
    log = _Entries(context)
    reading = await replay.read(log.read)
    known = {"tenant": event.tenant}
    if replay.decision.bundle_id is not None:
        known["bundle"] = replay.decision.bundle_id
    for other in reading.events.values():
        if isinstance(other.payload, GrantMinted):
            known["grant"] = other.payload.grant_id

    async def judge(question: Question) -> Any:
        return await replay.outcome(arranged(question, reading.events, event.tenant))

    contrary = _contraries(reading.asked, reading.events, known)
    near, alike = _near(reading.events), Alike(reading.events)
    questions = search(tuple(reading.events), replay.last, replay.recorded, contrary, near=near, alike=alike)
    found = await _asked(questions, judge)
    return await _told(log, found, replay.recorded, alike)


async def of_state(context: Context, row: Row, position: int, fields: Sequence[str] | None = None) -> Slice:
    """Return the slice of what a row says as of a position, or of some of its fields.

    Raises:
        InvalidInput: it has no such field, or its kind cannot be explained.
        TooMuch: too many events have a bearing on it.
    """
    log = _Entries(context)
    items = [concerning(row)]
    await log.read(DCBQuery(items=items), 0, position)
    try:
        replay = StateReplay(row, [(number, log.bytes[number]) for number in sorted(log.bytes)], fields)
    except Unfoldable as error:
        raise InvalidInput(f"the log holds what this release cannot read: {error}", position=error.position) from None
    # Nobody but the people who voted makes a request granted or denied.
    counts = isinstance(row, approvals_rows.Approval) and "status" in replay.names
    if counts:
        cast = await log.read(boundary(((VoteCast,), (f"approval:{row.id}",))), 0, position)
        people = voters(row.id, cast)
        if people:
            await log.read(boundary(*people), 0, position)
            items += boundary(*people).items
    events = log.events
    recorded = {event.id for event in events.values()}
    candidates = tuple(number for number in sorted(events) if number in replay.changes or counts)

    def judge(question: Question) -> Any:
        happened = arranged(question, events, context.tenant)
        sound = not counts or follows(row.id, happened)
        return sound, replay.state(event.position if event.id in recorded else event for event in happened)

    contrary, alike = _contraries(items, events, _known(row, replay.names)), Alike(events)
    expected = (True, replay.recorded)
    questions = search(candidates, position, expected, contrary, _could_be, _near(events), alike)
    found = await asyncio.to_thread(_answered, questions, judge)
    return await _told(log, found, expected, alike)


class _Entries:
    """The log as slices read it: personal fields stay sealed, nothing is read twice over."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.bytes: dict[int, bytes] = {}
        self.entries: dict[int, Entry] = {}
        self.events: dict[int, RecordedEvent] = {}

    async def read(
        self, query: DCBQuery, after: int, until: int, limit: int | None = None, backwards: bool = False
    ) -> list[RecordedEvent]:
        """Return matching events, and keep them.

        Raises:
            TooMuch: there are more than can be looked at.
        """
        store, tenant = self._context.log.store, self._context.tenant
        found = await store.read(tenant, query, after, until, min(limit or _MOST, _MOST), backwards)
        if len(found) > MAX_CANDIDATES or len(self.events) > MAX_CANDIDATES:
            raise TooMuch(f"more than {MAX_CANDIDATES} events have a bearing on this", limit=MAX_CANDIDATES)
        for position, entry in found:
            if position not in self.events:
                self.bytes[position] = entry
                self.entries[position] = parse_entry(entry)
                self.events[position] = self._event(self.entries[position])
        return [self.events[position] for position, _ in found]

    async def lacks(self, missed: Missing) -> bool:
        """Tell whether the log holds nothing of what is said to be missing, but what is named."""
        query = DCBQuery(items=[DCBQueryItem(types=list(missed.types), tags=list(missed.tags))])
        store, most = self._context.log.store, len(missed.besides) + 1
        found = await store.read(self._context.tenant, query, missed.after, missed.until, most, False)
        return tuple(position for position, _ in found) == missed.besides

    def _event(self, entry: Entry) -> RecordedEvent:
        return RecordedEvent(
            tenant=entry.tenant,
            position=entry.position,
            id=entry.id,
            recorded_at=entry.recorded_at,
            actor=entry.actor,
            cause=entry.cause,
            tags=entry.tags,
            payload=self._context.log.registry.from_data(entry.type, entry.version, entry.data),
        )


def _contraries(
    items: Iterable[DCBQueryItem], events: Mapping[int, RecordedEvent], known: Mapping[str, str]
) -> list[Any]:
    found: dict[tuple[Any, ...], Any] = {}
    for item in items:
        types = [
            name
            for name in item.types
            if name not in BEGINS
            # Several may act as one: another could always have begun to.
            or any(tag.startswith(f"{ACTS_AS}:") for tag in item.tags)
            or not any(event.type == name and set(item.tags) <= set(event.tags) for event in events.values())
        ]
        for told in (known, *_related(item, events, known)):
            for contrary in contraries(types, item.tags, told):
                found.setdefault((contrary.payload.type, contrary.tags, repr(contrary.payload)), contrary)
    return list(found.values())


def _related(
    item: DCBQueryItem, events: Mapping[int, RecordedEvent], known: Mapping[str, str]
) -> Iterator[Mapping[str, str]]:
    """Yield what is known with each relation that was declared of what is asked for by one of its ends."""
    if not any(tag.startswith((f"{EXPOSED}:", f"{SERVES}:")) for tag in item.tags):
        return
    for event in events.values():
        match event.payload:
            case RelationDeclared(source=source, relation=relation, target=target) if set(item.tags) <= set(event.tags):
                yield {**known, "relation": relation_id(source, relation, target)}
            case _:
                pass


def _near(events: Mapping[int, RecordedEvent]) -> Callable[[Contrary, tuple[int, ...]], bool]:
    """Return what tells whether something is about what one of some events is about."""

    def near(contrary: Contrary, kept: tuple[int, ...]) -> bool:
        return any(tag in events[position].tags for tag in contrary.tags[:1] for position in kept)

    return near


def _could_be(outcome: Any) -> bool:
    """Tell whether a state could have come to be: nothing is changed before it began."""
    return outcome[1] is not None


def _known(row: Row, names: Sequence[str]) -> dict[str, str]:
    known = {"message": row.id} if isinstance(row, approvals_rows.CallbackRecord) else {}
    for name in names:
        if name.startswith("attributes."):
            known["attribute"] = name.removeprefix("attributes.")
    return known


async def _asked(questions: Generator[Question, Any, Found], judge: Callable[[Question], Awaitable[Any]]) -> Found:
    shown = 0
    try:
        question = next(questions)
        while True:
            shown += len(question.kept) + 1
            question = questions.send(await judge(question))
            if shown > _TURN:
                shown = 0
                await asyncio.sleep(0)
    except StopIteration as stop:
        found: Found = stop.value
        return found


def _answered(questions: Generator[Question, Any, Found], judge: Judge) -> Found:
    try:
        question = next(questions)
        while True:
            question = questions.send(judge(question))
    except StopIteration as stop:
        found: Found = stop.value
        return found


async def _told(log: _Entries, found: Found, recorded: Any, alike: Alike) -> Slice:
    missing = [msgspec.structs.replace(one, holds=await log.lacks(one)) for one in merged(found.missed, alike)]
    return Slice(
        entries=tuple(log.entries[position] for position in found.kept),
        found=found,
        recorded=recorded,
        missing=tuple(missing),
    )
