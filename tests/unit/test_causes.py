"""Slices: the fewest events that force something, and the absences it rests on. Serves S0-27, DC-06."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Mapping
from datetime import timedelta
from typing import Any

import pytest
from given import T0, TENANT
from golden_events import example
from hypothesis import given, settings
from hypothesis import strategies as st

from quarterdeck_domain import causes
from quarterdeck_domain.access.events import RoleGranted, RoleRevoked
from quarterdeck_domain.access.values import SYSTEM
from quarterdeck_domain.catalogue import REGISTRY
from quarterdeck_domain.causes import Contrary, Found, Missed, Question, TooMuch, arranged, minimal, search
from quarterdeck_domain.contraries import BEGINS, MAKERS, contraries
from quarterdeck_domain.events import Cause, RecordedEvent
from quarterdeck_graphql import causal_words
from quarterdeck_readmodels.catalogue import FOLDS
from quarterdeck_readmodels.replaying import ABOUT
from quarterdeck_readmodels.tables import By, Change, Seen

Judge = Callable[[Question], Any]


def reduced(candidates: list[int], test: Callable[[frozenset[int]], bool]) -> tuple[tuple[int, ...], int]:
    """Return what is left, and how many questions that took."""
    asking, count = minimal(candidates), 0
    try:
        wanted = next(asking)
        while True:
            count += 1
            wanted = asking.send(test(frozenset(wanted)))
    except StopIteration as stop:
        return stop.value, count


def answered(questions: Generator[Question, Any, Found], judge: Judge) -> Found:
    """Let a judge answer a search."""
    try:
        question = next(questions)
        while True:
            question = questions.send(judge(question))
    except StopIteration as stop:
        found: Found = stop.value
        return found


@given(st.integers(0, 60), st.data())
def test_what_is_needed_is_found_exactly(size: int, data: st.DataObject) -> None:
    """Where some events are needed and the others do not matter, those are what is left."""
    needed = data.draw(st.sets(st.integers(0, size - 1))) if size else set()
    left, _ = reduced(list(range(size)), lambda kept: needed <= kept)
    assert set(left) == needed


@given(st.integers(1, 8), st.randoms(use_true_random=False))
def test_whatever_the_test_nothing_can_be_left_out(size: int, chance: Any) -> None:
    """1-minimal also of a test that is not monotone: what is left passes, and not without any one of it."""
    table = {bits: chance.random() < 0.4 for bits in range(2**size)}
    table[2**size - 1] = True

    def test(kept: frozenset[int]) -> bool:
        return bool(table[sum(1 << item for item in kept)])

    left, _ = reduced(list(range(size)), test)
    assert test(frozenset(left))
    assert not any(test(frozenset(left) - {item}) for item in left)
    assert left == reduced(list(range(size)), test)[0]


@given(st.integers(1, 40), st.data())
def test_of_several_that_would_do_the_latest_stays(size: int, data: st.DataObject) -> None:
    """It is the one that held."""
    enough = data.draw(st.sets(st.integers(0, size - 1), min_size=1))
    left, _ = reduced(list(range(size)), lambda kept: bool(kept & enough))
    assert left == (max(enough),)


def test_few_of_many_are_found_with_few_questions() -> None:
    """A few of a thousand take dozens of questions, not thousands."""
    left, count = reduced(list(range(1_000)), lambda kept: {7, 501, 998} <= kept)
    assert left == (7, 501, 998)
    assert count < 100


def recorded(position: int, payload: Any) -> RecordedEvent:
    """Return a payload as an event."""

    return RecordedEvent(
        tenant=TENANT,
        position=position,
        id=uuid.uuid5(uuid.NAMESPACE_OID, str(position)),
        recorded_at=T0 + timedelta(seconds=position),
        actor=SYSTEM,
        cause=Cause(),
        tags=payload.tags(),
        payload=payload,
    )


def holds(events: list[RecordedEvent]) -> bool:
    """Judge whether the role is held in the end."""
    held = False
    for event in events:
        held = (
            True
            if isinstance(event.payload, RoleGranted)
            else False
            if isinstance(event.payload, RoleRevoked)
            else held
        )
    return held


ROLE = {"principal_id": "prn_" + "0" * 26, "role": "approver"}


@settings(max_examples=200)
@given(st.lists(st.booleans(), max_size=12))
def test_a_slice_forces_and_its_absences_matter(history: list[bool]) -> None:
    """Roles given and taken: the slice is what forces the end, and what is said to be absent would have changed it."""
    events = {
        number * 3: recorded(number * 3, (RoleGranted if given_ else RoleRevoked)(**ROLE))  # type: ignore[arg-type]
        for number, given_ in enumerate(history, 1)
    }
    until = 3 * len(history) + 2

    def judge(question: Question) -> bool:
        return holds(arranged(question, events, "acme"))

    end = holds(list(events.values()))
    possible = [
        Contrary(payload=RoleGranted(**ROLE), tags=()),  # type: ignore[arg-type]
        Contrary(payload=RoleRevoked(**ROLE), tags=()),  # type: ignore[arg-type]
    ]
    found = answered(search(tuple(events), until, end, possible), judge)
    assert (found.whole, found.sufficient, found.irreducible) == (True, True, True)
    assert len(found.kept) == int(end)
    assert not end or found.kept == (max(number for number, event in events.items() if event.type.endswith("granted")),)
    (missed,) = found.missed
    assert isinstance(missed.contrary.payload, RoleRevoked if end else RoleGranted)
    assert (missed.after, missed.until, missed.instead) == (found.kept[0] if end else 0, until, not end)
    assert dict(found.without) == dict.fromkeys(found.kept, False)


@pytest.mark.parametrize("most", [causes.MAX_SETTLING, 0])
@given(st.lists(st.booleans(), max_size=12))
def test_what_came_to_nothing_is_named_with_what_undid_it(most: int, history: list[bool]) -> None:
    """Roles given and taken again: with the slice they come to the same; without any one that undid them, they do not.
    Where there is no time to find those out, all others are named."""
    events = {
        number: recorded(number, (RoleGranted if given_ else RoleRevoked)(**ROLE))  # type: ignore[arg-type]
        for number, given_ in enumerate(history, 1)
    }
    possible = [Contrary(payload=made(**ROLE), tags=()) for made in (RoleGranted, RoleRevoked)]  # type: ignore[arg-type]

    def alike(missed: Missed) -> list[int]:
        kind = missed.contrary.payload.type
        return [number for number, event in events.items() if event.type == kind and number > missed.after]

    def judge(question: Question) -> bool:
        return holds(arranged(question, events, "acme"))

    end = holds(list(events.values()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(causes, "MAX_SETTLING", most)
        found = answered(search(tuple(events), len(events), end, possible, alike=alike), judge)
    assert found.settles
    named = {position for missed in found.missed for position in alike(missed)}
    assert named <= {*found.kept, *found.settled}
    assert not set(found.kept) & set(found.settled)
    together = sorted((*found.kept, *found.settled))
    assert holds([events[position] for position in together]) == end
    undone = set(found.settled) - named
    assert len(undone) <= 1 or most == 0
    for position in undone if most else ():
        assert holds([events[other] for other in together if other != position]) != end


def test_what_comes_to_something_else_has_no_slice() -> None:
    """The record says one thing and its events another: that is all that is said."""
    events = {1: recorded(1, RoleGranted(**ROLE))}  # type: ignore[arg-type]
    found = answered(search((1,), 2, False, ()), lambda question: holds(arranged(question, events, "acme")))
    assert found == Found(candidates=1, outcome=True, whole=False, questions=1)


def test_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded by how many events the judge is shown."""
    monkeypatch.setattr(causes, "MAX_STEPS", 500)
    with pytest.raises(TooMuch, match="fewer of its fields"):
        answered(search(range(1, 101), 100, 100, ()), lambda question: len(question.kept))


def test_what_is_supposed_stands_at_its_place() -> None:
    """After the events up to its place and before the others, later than what precedes it."""
    events = {number: recorded(number, RoleGranted(**ROLE)) for number in (3, 6)}  # type: ignore[arg-type]
    contrary = Contrary(payload=RoleRevoked(**ROLE), tags=("role:approver",))  # type: ignore[arg-type]
    for after, place in ((0, 0), (3, 1), (6, 2)):
        told = arranged(Question(kept=(3, 6), added=contrary, after=after), events, "acme")
        assert [event.payload == contrary.payload for event in told].index(True) == place
        assert told[place].position == after + 1
        assert place == 0 or told[place].recorded_at > told[place - 1].recorded_at


KNOWN: Mapping[str, str] = {
    "tenant": "acme",
    "principal": "prn_1",
    "key": "key_1",
    "bundle": "bnd_1",
    "path": "default",
    "parked": "7",
    "approval": "apr_1",
    "grant": "grt_1",
    "effect": "eff_1",
    "message": "msg_1",
    "asset": "tool:refund",
    "relation": "agent:bot calls tool:refund",
    "drift": "drf_1",
    "attribute": "digest",
    "source": "crm",
}


@pytest.mark.parametrize("event_type", sorted(MAKERS))
def test_every_example_could_be_recorded(event_type: str) -> None:
    """Well-formed, and of its type; asked for by a tag it is found by that tag."""
    made = list(contraries([event_type], [], KNOWN))
    assert made
    for contrary in made:
        assert contrary.payload.type == event_type
        data = REGISTRY.to_data(contrary.payload)
        assert REGISTRY.from_data(event_type, contrary.payload.version, data) == contrary.payload
        assert set(contrary.tags) <= set(contrary.payload.tags())


def test_of_what_is_not_known_nothing_is_made_up() -> None:
    """Too little to say to what it happens: no example."""
    assert list(contraries(sorted(MAKERS), [], {})) != []
    assert list(contraries(["asset.retired", "grant.minted"], ["principal:prn_1"], {})) == []


def changes(event_type: str) -> list[Change]:
    """Return what an example of a type does to the tables."""
    event_class = next(found for found in REGISTRY.types() if found.type == event_type)
    payload = example(event_class)
    event = recorded(1, payload)
    data = REGISTRY.to_data(payload)
    return list(
        FOLDS[event_type](Seen(event_type, payload.version, 1, event.recorded_at, str(event.id), data, By("prn_1")))
    )


@pytest.mark.parametrize("event_type", sorted(FOLDS))
def test_whatever_changes_a_row_is_looked_for(event_type: str) -> None:
    """A fold of another row that nobody told `replaying` about would make slices too small."""
    for change in changes(event_type):
        assert event_type in ABOUT[change.row].types, change.row.table
        assert event_type in MAKERS or event_type in BEGINS


def test_people_are_told_of_every_type() -> None:
    """Why an event of it is needed, and what would have been done by one that is absent."""
    needed = {event_type for about in ABOUT.values() for event_type in about.types}
    assert needed | {"policy_bundle.continued"} <= set(causal_words.WHY)
    assert set(MAKERS) <= set(causal_words.DONE)
