"""Given, when, then over slices: a log in memory, without a ledger.

Every decision is checked on the way for what must hold of every slice, whatever it is about:
the whole log decides as its boundary alone does (so the boundary is complete), folding in two steps as one, asking
twice as asking once; what it decides can be stored; and a command that comes again is refused or says the same.
"""

from __future__ import annotations

import copy
import random
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from quarterdeck_domain import canonical
from quarterdeck_domain.access.events import PrincipalKind, PrincipalRegistered, Role
from quarterdeck_domain.access.values import SYSTEM
from quarterdeck_domain.catalogue import REGISTRY
from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_domain.events import Actor, Event, NewEvent, RecordedEvent
from quarterdeck_domain.ids import make_id
from quarterdeck_domain.slices import Decision, Slice, matches

NAMES = uuid.UUID("6f1d2a52-0a3e-5c52-9c6e-6f4f5a7c1b10")
T0 = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
TENANT = "acme"
HASH = "sha256:" + "0" * 64


def named(prefix: str, name: str) -> str:
    """Return an id that is the same for the same name."""
    return make_id(prefix, uuid.uuid5(NAMES, f"{prefix}/{name}"))


def prn(name: str) -> str:
    """Return the id of the principal that a test calls by this name."""
    return named("prn", name)


def acting(name: str, kind: str = "human", *, for_: Sequence[str] = ()) -> Actor:
    """Return the actor that a test calls by this name, acting for others perhaps."""
    return Actor(principal=prn(name), kind=kind, on_behalf_of=tuple(prn(other) for other in for_))


def registered(name: str, *roles: Role, kind: PrincipalKind = "human", owner: str | None = None) -> PrincipalRegistered:
    """Return the fact that somebody is known here."""
    return PrincipalRegistered(
        principal_id=prn(name),
        kind=kind,
        display_name=name.title(),
        owner=None if owner is None else prn(owner),
        roles=roles,
    )


def agent(name: str, owner: str) -> PrincipalRegistered:
    """Return the fact that an agent is known here."""
    return registered(name, "agent", kind="agent", owner=owner)


class Log:
    """A tenant's log as a test sees it."""

    def __init__(self, *payloads: Event, now: datetime = T0, seed: int = 0) -> None:
        self.events: list[RecordedEvent] = []
        self.now = now
        self._random = random.Random(seed)
        self.given(*payloads)

    def given(self, *payloads: Event, by: Actor = SYSTEM) -> Log:
        """Record facts as they are."""
        for payload in payloads:
            new = NewEvent(id=uuid.UUID(int=len(self.events) + 1), payload=payload, actor=by)
            self.events.append(self._record(new))
        return self

    def wait(self, **duration: float) -> Log:
        """Let time pass: `log.wait(minutes=10)`."""
        self.now += timedelta(**duration)
        return self

    def decide(self, command: Slice) -> Decision:
        """Return what a command comes to, recording nothing."""
        outcome = self._outcome(command)
        if isinstance(outcome, QuarterdeckError):
            raise outcome
        return outcome

    def when(self, command: Slice) -> tuple[Event, ...]:
        """Run a command as its own actor would, and return what it recorded."""
        again = copy.deepcopy(command)
        decision = self.decide(command)
        if decision.not_after is not None:
            assert self.now <= decision.not_after, "decided to record something that is too late already"
        self.given(*decision.events, by=getattr(command, "actor", SYSTEM))
        self.now += timedelta(milliseconds=1)
        self._check_repetition(again, decision)
        return decision.events

    def refuses(
        self, command: Slice, error: type[QuarterdeckError], match: str | None = None, **details: object
    ) -> QuarterdeckError:
        """Expect a command to be refused, with these details, and return the error."""
        before = len(self.events)
        with pytest.raises(error, match=match) as caught:
            self.when(command)
        assert type(caught.value) is error
        assert {name: caught.value.details.get(name) for name in details} == details
        assert len(self.events) == before
        return caught.value

    def races(self, first: Slice, second: Slice) -> bool:
        """Decide two commands on the same log, record the first, and tell whether the second must decide again."""
        query = self._wide(second).consistency_boundary()
        self.decide(second)
        before = len(self.events)
        self.when(first)
        return any(matches(query, event.type, frozenset(event.tags)) for event in self.events[before:])

    def payloads(self, *types: type[Event]) -> list[Any]:
        """Return the facts of these types, in order."""
        return [event.payload for event in self.events if isinstance(event.payload, types)]

    def fold(self, apply: Callable[[RecordedEvent], None]) -> None:
        """Apply every event."""
        for event in self.events:
            apply(event)

    def _record(self, event: NewEvent) -> RecordedEvent:
        data = REGISTRY.to_data(event.payload)
        assert REGISTRY.from_data(event.payload.type, event.payload.version, copy.deepcopy(data)) == event.payload
        assert len(canonical.encode(data)) < canonical.MAX_BYTES
        tags = tuple(sorted({*event.payload.tags(), f"actor:{event.actor.principal}"}))
        assert len(tags) <= 64
        return RecordedEvent(
            tenant=TENANT,
            position=len(self.events) + 1,
            id=event.id,
            recorded_at=self.now,
            actor=event.actor,
            cause=event.cause,
            tags=tags,
            payload=event.payload,
        )

    def _wide(self, command: Slice) -> Slice:
        """Return a command, unfolded, that knows what else it must know."""
        query = command.consistency_boundary()
        folded = copy.deepcopy(command)
        for event in self.events:
            if matches(query, event.type, frozenset(event.tags)):
                folded.apply(event)
        wider = folded.widened()
        if wider is None:
            return command
        assert wider.consistency_boundary() != query, "what is wider knows more"
        return self._wide(wider)

    def _outcome(self, command: Slice) -> Decision | QuarterdeckError:
        command = self._wide(command)
        query = command.consistency_boundary()
        assert query.items, "an empty boundary is the whole log"
        inside = [event for event in self.events if matches(query, event.type, frozenset(event.tags))]
        outcome = _decide(copy.deepcopy(command), inside, self.now)
        assert _same(_decide(copy.deepcopy(command), self.events, self.now), outcome), "the boundary is incomplete"
        stepwise = copy.deepcopy(command)
        cut = self._random.randint(0, len(inside))
        _decide(stepwise, inside[:cut], self.now)
        assert _same(_decide(stepwise, inside[cut:], self.now), outcome), "a decision changed what was folded"
        assert command.consistency_boundary() == query, "the boundary moved"
        return outcome

    def _check_repetition(self, command: Slice, first: Decision) -> None:
        outcome = self._outcome(command)
        assert isinstance(outcome, QuarterdeckError) or outcome.events == first.events, (
            "the same command says another thing"
        )


def attempt(log: Log, command: Slice) -> QuarterdeckError | None:
    """Run a command and return what refused it, if anything did."""
    try:
        log.when(command)
    except QuarterdeckError as refusal:
        return refusal
    return None


def _decide(command: Slice, events: Iterable[RecordedEvent], now: datetime) -> Decision | QuarterdeckError:
    for event in events:
        command.apply(event)
    try:
        return command.decide(now)
    except QuarterdeckError as refusal:
        return refusal


def _same(left: Decision | QuarterdeckError, right: Decision | QuarterdeckError) -> bool:
    if isinstance(left, QuarterdeckError) or isinstance(right, QuarterdeckError):
        return type(left) is type(right) and str(left) == str(right)
    return msgspec.to_builtins(left) == msgspec.to_builtins(right)
