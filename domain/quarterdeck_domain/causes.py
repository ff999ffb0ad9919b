"""Why something is so: the fewest past events that force it, and what must not have happened besides. Pure.

A judge is whoever can say what would have come of some of the events, in their order. It is asked here, one question at
a time: `search` is a generator of questions, and what is sent into it are the judge's answers. So the same search works
on a judge that computes and on one that has to wait.

What is found is 1-minimal: without any one of its events the answer is another. It need not be the smallest there is.
Of several events that would do the latest stays, as it was the one that held.

Source: Zeller, Hildebrandt, 'Simplifying and Isolating Failure-Inducing Input' (2002), section 3, `ddmin`, by
complements, oldest first.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.events import Actor, Cause, Event, RecordedEvent

MAX_STEPS: Final = 200_000
"""How many events the judge is shown at most, over all questions."""
MAX_INSIDE: Final = 32
"""Of how many events at most it is asked whether something between them alone would have made a difference."""
MAX_SETTLING: Final = 20_000
"""How many events the judge is shown at most to find out what undid those that came to nothing."""

_NOBODY: Final = Actor(principal="", kind="")
_EARLY: Final = datetime(1970, 1, 1, tzinfo=UTC)

NOBODY: Final = "prn_" + "0" * 26
NOTHING: Final = "0" * 26
SOMETHING: Final = "something else"
SOME_DAY: Final = datetime(9000, 1, 1, tzinfo=UTC)

Known = Mapping[str, str]
"""What is known of a thing: the ids in its tags by their prefix, and whatever else an event about it must say."""
Maker = Callable[[Known], Iterable[Event]]
"""Makes examples of what could have happened to a thing. A KeyError says that too little is known of it."""
Test = Generator[tuple[int, ...], bool, tuple[int, ...]]


class Contrary(msgspec.Struct, frozen=True, kw_only=True):
    """Something that did not happen, as far as a slice knows, and the tags that it would be found by."""

    payload: Event
    tags: tuple[str, ...]


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What would have come of these events alone, by position; and of `added` besides, right after position `after`."""

    kept: tuple[int, ...]
    added: Contrary | None = None
    after: int = 0


class Missed(msgspec.Struct, frozen=True, kw_only=True):
    """Something that would have made a difference after one position and up to another: what it is, and which."""

    contrary: Contrary
    after: int
    until: int
    instead: Any


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a search came to. The checks are answers of the judge, asked again once the slice was found."""

    candidates: int
    outcome: Any
    """What comes of all candidates."""
    whole: bool
    """Whether that is what was expected; if not, there is no slice."""
    kept: tuple[int, ...] = ()
    sufficient: bool = False
    """Whether the slice alone comes to the same."""
    irreducible: bool = False
    """Whether it comes to something else without any one of its events."""
    without: Mapping[int, Any] = {}
    """What it would come to without each."""
    missed: tuple[Missed, ...] = ()
    settled: tuple[int, ...] = ()
    """Events besides the slice that are of the kind that was missed where it was missed, and what undid them."""
    settles: bool = True
    """Whether the slice comes to the same with these."""
    questions: int


class TooMuch(InvalidInput):
    """So much has a bearing on it that a slice is not found in reasonable time."""


def arranged(question: Question, events: Mapping[int, RecordedEvent], tenant: str) -> list[RecordedEvent]:
    """Return the events that a question is about, in order, with what is added to them as if it had been recorded."""
    kept = [events[position] for position in question.kept]
    if question.added is None:
        return kept
    place = sum(position <= question.after for position in question.kept)
    payload = question.added.payload
    added = RecordedEvent(
        tenant=tenant,
        position=question.after + 1,
        id=uuid.UUID(int=0),
        recorded_at=(kept[place - 1].recorded_at if place else _EARLY) + timedelta(microseconds=1),
        actor=_NOBODY,
        cause=Cause(),
        tags=tuple(sorted({*payload.tags(), *question.added.tags})),
        payload=payload,
    )
    return [*kept[:place], added, *kept[place:]]


def minimal(candidates: Sequence[int]) -> Test:
    """Return some of the candidates that pass a test all of them pass, none of which can be left out. Yields what is to
    be tested; it is to be sent whether that passes."""
    kept = tuple(candidates)
    if not kept or (yield ()):
        return ()
    size = max(1, len(kept) // 2)
    while True:
        start, before = 0, kept
        while start < len(kept):
            rest = kept[:start] + kept[start + size :]
            # Of one event nothing is left, and nothing was tested already.
            if rest and (yield rest):
                kept = rest
            else:
                start += size
        if size == 1 and kept == before:
            return kept
        size = max(1, size // 2)


def search(
    candidates: Sequence[int],
    until: int,
    expected: Any,
    contraries: Sequence[Contrary],
    possible: Callable[[Any], bool] = lambda outcome: True,
    near: Callable[[Contrary, tuple[int, ...]], bool] = lambda contrary, kept: True,
    alike: Callable[[Missed], Iterable[int]] = lambda missed: (),
) -> Generator[Question, Any, Found]:
    """Find the slice of what came of these events, as of position `until`, and which of the contraries count: those
    that would have made a difference, and could have happened there (`possible`). Where one would make none in the end,
    it is tried between the events only if it has to do with one of them (`near`). What was recorded of the kind that is
    missed (`alike`) came to nothing: by itself, or because of other events, which are found, too. If all events come to
    something else than expected, there is nothing to be found.

    Raises:
        TooMuch: the judge would have to be shown too many events.
    """
    asked = steps = 0

    def ask(kept: tuple[int, ...], added: Contrary | None = None, after: int = 0) -> Generator[Question, Any, Any]:
        nonlocal asked, steps
        asked, steps = asked + 1, steps + len(kept) + 1
        if steps > MAX_STEPS:
            raise TooMuch(
                f"{len(candidates)} events have a bearing on this, too many to find out which of them force it: ask "
                "about fewer of its fields",
                candidates=len(candidates),
            )
        return (yield Question(kept=kept, added=added, after=after))

    whole = tuple(sorted(candidates))
    outcome = yield from ask(whole)
    if outcome != expected:
        return Found(candidates=len(whole), outcome=outcome, whole=False, questions=asked)
    testing = minimal(whole)
    kept: tuple[int, ...] = ()
    try:
        rest = next(testing)
        while True:
            rest = testing.send((yield from ask(rest)) == outcome)
    except StopIteration as stop:
        kept = stop.value
    sufficient = (yield from ask(kept)) == outcome
    without = {}
    for position in kept:
        without[position] = yield from ask(tuple(other for other in kept if other != position))
    missed: list[Missed] = []
    for contrary in contraries:
        inside = len(kept) <= MAX_INSIDE and near(contrary, kept)
        counts = lambda instead: instead != outcome and possible(instead)  # noqa: E731
        missed += yield from _missed(ask, kept, until, contrary, counts, inside=inside)
    named = {position for one in missed for position in alike(one)} - set(kept)
    settled, settles = (), True
    if named:
        settling = _settled(whole, kept, named, outcome)
        try:
            question = next(settling)
            while True:
                asked += 1
                question = settling.send((yield question))
        except StopIteration as stop:
            settled, settles = stop.value
    return Found(
        candidates=len(whole),
        outcome=outcome,
        whole=True,
        kept=kept,
        sufficient=sufficient,
        irreducible=all(instead != outcome for instead in without.values()),
        without=without,
        missed=tuple(missed),
        settled=settled,
        settles=settles,
        questions=asked,
    )


def _missed(
    ask: Any, kept: tuple[int, ...], until: int, contrary: Contrary, counts: Callable[[Any], bool], *, inside: bool
) -> Generator[Question, Any, list[Missed]]:
    """Return the stretches in which something would have made a difference, wherever in them it had happened, the last
    one first."""
    places = [0, *kept]
    ends = [*kept, until + 1]
    found: list[Missed] = []
    joined = False
    for after, end in zip(reversed(places), reversed(ends), strict=True):
        instead = yield from ask(kept, contrary, after)
        if not counts(instead):
            if not inside:
                break
            joined = False
        elif joined:
            found[-1] = msgspec.structs.replace(found[-1], after=after)
        else:
            found.append(Missed(contrary=contrary, after=after, until=end - 1, instead=instead))
            joined = True
    return found


def _settled(
    whole: tuple[int, ...], kept: tuple[int, ...], named: set[int], outcome: Any
) -> Generator[Question, Any, tuple[tuple[int, ...], bool]]:
    """Return some events and those that undid them, all others where that takes too long to find out; and whether the
    slice comes to the same with these."""
    base = {*kept, *named}
    rest = tuple(position for position in whole if position not in base)
    testing, shown, more = minimal(rest), 0, rest
    try:
        part = next(testing)
        while shown <= MAX_SETTLING:
            question = Question(kept=tuple(sorted((*base, *part))))
            shown += len(question.kept) + 1
            part = testing.send((yield question) == outcome)
    except StopIteration as stop:
        more = stop.value
    settled = tuple(sorted((*named, *more)))
    return settled, (yield Question(kept=tuple(sorted((*kept, *settled))))) == outcome
