"""Decisions made again from some events of the log alone: what `causes` asks of policy.

What a decision rests on is not written down twice: the decision point itself is asked, once with the log as it stood
right before the decision, and everything it read is remembered (`Reading`); then again with parts of that (`Window`).

An approval that was presented counts if, from the same events, it was asked for by whoever presents it, for what is
asked now, its voters could vote, and its grant was neither used nor taken back. Whether it had expired is left to the
clock of then.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from threading import Lock
from typing import Any, Final, Protocol

import msgspec
from eventsourcing.dcb.api import DCBQuery, DCBQueryItem

from quarterdeck_domain.approvals.consent import follows, voters
from quarterdeck_domain.approvals.events import GrantMinted
from quarterdeck_domain.approvals.values import GRANT_EVENTS, LIFECYCLE, ApprovalFold, GrantFold
from quarterdeck_domain.errors import InvalidInput, QuarterdeckError
from quarterdeck_domain.events import Actor, RecordedEvent
from quarterdeck_domain.intent import Intent
from quarterdeck_domain.policy.events import DecisionRecorded
from quarterdeck_domain.policy.values import BundleText, Verdict
from quarterdeck_domain.slices import boundary, matches
from quarterdeck_ledger.interface import Context, Head
from quarterdeck_policy.authzen import binding_hash, intent_of, parse_json
from quarterdeck_policy.decision_point import DecisionPoint
from quarterdeck_policy.decisions import Ask, verdict_of
from quarterdeck_policy.engine import Engine, LoadedBundle
from quarterdeck_policy.errors import NotReplayable

MAX_BUNDLES: Final = 8


class Read(Protocol):
    """Reads matching events with `after < position <= until`, as a ledger does; personal fields may stay sealed."""

    async def __call__(
        self, query: DCBQuery, after: int, until: int, limit: int | None = None, backwards: bool = False
    ) -> Sequence[RecordedEvent]:
        """Return them, oldest first, or newest first."""
        ...


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision came to; `problem` where it could not be made."""

    verdict: Verdict | None = None
    bundle_id: str | None = None
    bundle_digest: str | None = None
    problem: str = ""


def outcome_of(decision: DecisionRecorded) -> Outcome:
    """Return what a recorded decision came to."""
    return Outcome(verdict=verdict_of(decision), bundle_id=decision.bundle_id, bundle_digest=decision.bundle_digest)


class Remembering(Engine):
    """Loads each text once, as nothing of it changes."""

    def __init__(self, engine: Engine | None = None) -> None:
        self._engine = engine or Engine()
        self._loaded: OrderedDict[BundleText, LoadedBundle] = OrderedDict()
        self._lock = Lock()

    def loaded(self, text: BundleText) -> LoadedBundle | None:
        """Return a bundle that is kept."""
        with self._lock:
            found = self._loaded.get(text)
            if found is not None:
                self._loaded.move_to_end(text)
            return found

    def load(self, text: BundleText) -> LoadedBundle:
        """Return the bundle of a text, and keep it. See `Engine.load`; it is called by threads."""
        found = self._engine.load(text)
        with self._lock:
            self._loaded[text] = found
            if len(self._loaded) > MAX_BUNDLES:
                self._loaded.popitem(last=False)
        return found


class _Past:
    """As much of a ledger as deciding reads: a log that ends at one position, and a clock that stands."""

    def __init__(self, last: int, now: datetime) -> None:
        self.last = last
        self._now = now

    async def head(self, tenant: str) -> Head:
        return Head(position=self.last, root=b"", recorded_at=None)

    async def now(self) -> datetime:
        return self._now

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
        end = self.last if until is None else min(until, self.last)
        return list(await self._read(query or DCBQuery(items=[]), after, end, limit, backwards))

    async def _read(
        self, query: DCBQuery, after: int, until: int, limit: int | None, backwards: bool
    ) -> Sequence[RecordedEvent]:
        raise NotImplementedError


class Reading(_Past):
    """The real log up to a position. Remembers what was asked of it, and what it answered."""

    def __init__(self, read: Read, last: int, now: datetime) -> None:
        super().__init__(last, now)
        self._source = read
        self.events: dict[int, RecordedEvent] = {}
        self.asked: list[DCBQueryItem] = []

    async def _read(
        self, query: DCBQuery, after: int, until: int, limit: int | None, backwards: bool
    ) -> Sequence[RecordedEvent]:
        found = await self._source(query, after, until, limit, backwards)
        self.events.update((event.position, event) for event in found)
        self.asked += [item for item in query.items if item not in self.asked]
        return found


class Window(_Past):
    """A log of a few events, each at its own position."""

    def __init__(self, events: Sequence[RecordedEvent], last: int, now: datetime) -> None:
        super().__init__(last, now)
        self._events = events

    async def _read(
        self, query: DCBQuery, after: int, until: int, limit: int | None, backwards: bool
    ) -> Sequence[RecordedEvent]:
        found = [
            event
            for event in self._events
            if after < event.position <= until and matches(query, event.type, frozenset(event.tags))
        ]
        return (found[::-1] if backwards else found)[:limit]


class Replay:
    """One recorded decision, to be made again from whatever it is said that had happened."""

    def __init__(self, event: RecordedEvent, engine: Engine) -> None:
        """Take the decision's event, its request in clear.

        Raises:
            InvalidInput: the event is not a decision.
            NotReplayable: its request was erased.
        """
        decision = event.payload
        if not isinstance(decision, DecisionRecorded):
            raise InvalidInput(f"{event.type} is not a decision", expected=DecisionRecorded.type)
        if decision.request is None:
            raise NotReplayable("the request was erased with its data subject's key", decision_id=decision.decision_id)
        self.event = event
        self.decision = decision
        self.intent: Intent = intent_of(parse_json(decision.request.encode()))
        self.last = event.position - 1
        """The position right before it: nothing that it rests on was recorded between what it had seen and there."""
        self._engine = engine

    @property
    def recorded(self) -> Outcome:
        """What the decision came to."""
        return outcome_of(self.decision)

    async def read(self, read: Read) -> Reading:
        """Return everything in the log that making the decision looks at."""
        reading = Reading(read, self.last, self._clock)
        await self._make(reading)
        return reading

    async def outcome(self, events: Sequence[RecordedEvent]) -> Outcome:
        """Return what the decision comes to if this is all that had happened."""
        return await self._make(Window(events, self.last + 1, self._clock))

    @property
    def _clock(self) -> datetime:
        return self.decision.evaluated_at or self.event.recorded_at

    async def _make(self, log: Any) -> Outcome:
        event, approval_id = self.event, self.decision.approval_id
        context = Context(tenant=event.tenant, actor=event.actor, command_id=event.id)
        try:
            if approval_id is not None and not await self._applies(log, approval_id):
                approval_id = None
            ask = Ask(intent=self.intent, approval_id=approval_id)
            made = await DecisionPoint(log, self._engine).rehearse(context, ask)
        except QuarterdeckError as error:
            return Outcome(problem=error.message)
        except Exception as error:  # a log with holes in it is none that the rules were made for
            return Outcome(problem=type(error).__name__)
        return outcome_of(made)

    async def _applies(self, log: _Past, approval_id: str) -> bool:
        tenant, tags = self.event.tenant, (f"approval:{approval_id}",)
        events = await log.read(tenant, boundary((LIFECYCLE, tags), (GRANT_EVENTS, tags)))
        people = voters(approval_id, events)
        known = await log.read(tenant, boundary(*people)) if people else []
        approval, actor, grant = ApprovalFold(approval_id), Actor(principal="", kind=""), GrantFold("")
        for event in events:
            if isinstance(event.payload, GrantMinted):
                grant = GrantFold(event.payload.grant_id)
            approval.apply(event)
            grant.apply(event)
            actor = event.actor if event.payload is approval.request else actor
        request = approval.request
        if request is None or not (actor == self.event.actor or self.intent.subject.id == request.requester):
            return False
        if approval.status != "approved" or not grant.unended:
            return False
        if not follows(approval_id, sorted((*events, *known), key=_place)):
            return False
        asked = await log.read(tenant, boundary(((DecisionRecorded,), (f"decision:{request.decision_id}",))), limit=1)
        first = asked[0].payload if asked else None
        return isinstance(first, DecisionRecorded) and (
            binding_hash(self.intent, first.binding_context) == first.binding_hash
        )


def _place(event: RecordedEvent) -> tuple[int, int]:
    # What is only supposed to have happened is put right before what was recorded there.
    return event.position, event.id.int
