"""Causal slices as the record shows them, with what is not the caller's left out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import strawberry
from strawberry.scalars import JSON

from quarterdeck_domain.errors import NotFound
from quarterdeck_domain.policy.events import DecisionRecorded
from quarterdeck_graphql import causal_words as words
from quarterdeck_graphql.causal import Slice, of_decision, of_state
from quarterdeck_graphql.causal_absences import Missing
from quarterdeck_graphql.context import Context
from quarterdeck_graphql.declare import resolver
from quarterdeck_graphql.events import TimelineEntry, may_see, show_entry
from quarterdeck_graphql.scalars import Position
from quarterdeck_ledger.entry import Entry
from quarterdeck_policy.errors import NotReplayable
from quarterdeck_policy.replaying import outcome_of
from quarterdeck_readmodels.tables import Row


@strawberry.type(description="An event of a slice: without it, this would not be so.")
class SliceEvent:
    context: strawberry.Private[Context]
    entry: strawberry.Private[Entry]
    visible: strawberry.Private[bool]
    position: Position = strawberry.field(description="Its place in the log.")
    why: str | None = strawberry.field(description="Why it is needed, in words; null where it is not for you.")
    without: str | None = strawberry.field(
        description="What the rest of the slice comes to without it, in words; null where the event is not for you."
    )

    @resolver("Its stable name; null where it is not for you.")
    def type(self) -> str | None:
        return self.entry.type if self.visible else None

    @resolver("When it was recorded; null where it is not for you.")
    def recorded_at(self) -> datetime | None:
        return self.entry.recorded_at if self.visible else None

    @resolver("The principal that acted; null where it is not for you.")
    def actor(self) -> strawberry.ID | None:
        return strawberry.ID(self.entry.actor.principal) if self.visible else None

    @resolver("The event itself; null where it is not for you.")
    async def event(self) -> TimelineEntry | None:
        return await show_entry(self.context, self.entry) if self.visible else None


@strawberry.type(
    description="Something that did not happen; with it, anywhere in this stretch, the slice comes to something else."
)
class Absence:
    words: str = strawberry.field(description="It as a sentence.")
    types: list[str] = strawberry.field(description="No event of any of these types was recorded …")
    tags: list[str] = strawberry.field(description="… with all of these tags …")
    after: Position = strawberry.field(description="… after this position; 0: from the beginning …")
    until: Position = strawberry.field(description="… and up to this one …")
    besides: list[Position] = strawberry.field(
        description="… but these, by position: events of the slice, or `settled`."
    )
    instead: str = strawberry.field(description="What the slice would come to with it, in words.")
    holds: bool = strawberry.field(description="Whether the log was asked, and has none but those.")


@strawberry.type(description="What was found out by replaying, of this very slice. What was not checked is null.")
class SliceChecks:
    whole: bool | None = strawberry.field(description="All events that have a bearing on it come to what is recorded.")
    sufficient: bool | None = strawberry.field(description="Those of the slice alone come to the same.")
    irreducible: bool | None = strawberry.field(description="Without any one of them it is something else.")
    absent: bool | None = strawberry.field(description="The log has none of the events that are said to be absent.")
    settled: bool | None = strawberry.field(description="With those that are `settled` the slice comes to the same.")


@strawberry.type(
    description="The fewest past events that force something: these alone come to it, without any one of them it is "
    "something else; and what must not have happened besides. Another slice may do as well; of events that would "
    "do, the latest is in it."
)
class CausalSlice:
    outcome: str = strawberry.field(description="What is so, in words.")
    value: JSON = strawberry.field(description="What is so: what every check compares.")
    events: list[SliceEvent] = strawberry.field(description="The events, by position.")
    absences: list[Absence] = strawberry.field(description="What did not happen.")
    settled: list[Position] = strawberry.field(
        description="Events besides the slice that came to nothing, by position: those that absences name, and those "
        "that undid them, if it takes any."
    )
    candidates: int = strawberry.field(description="How many events have a bearing on it.")
    size: int = strawberry.field(description="How many of them are in the slice.")
    replays: int = strawberry.field(description="How often it was replayed to find and to check this.")
    withheld: int = strawberry.field(description="How many absences are not for you.")
    checked: SliceChecks = strawberry.field(description="What was found out by replaying.")
    not_replayable: str | None = strawberry.field(
        description="Why there is no slice: what it takes to replay this was erased, or it comes to something else."
    )
    text: str = strawberry.field(description="All of this, for people.")


async def slice_of_decision(context: Context, entry: Entry) -> CausalSlice:
    """Return the slice of a decision as the caller may see it."""
    event = await context.log.find(context.tenant, entry.id)
    if event is None:
        raise NotFound("the decision's event is gone", position=entry.position)
    name = str(entry.data["decision_id"])
    try:
        found = await of_decision(context, event)
    except NotReplayable as error:
        known = outcome_of(event.payload) if isinstance(event.payload, DecisionRecorded) else None
        return _none(name, known, error.message, whole=None)
    return _shown(context, name, found)


async def slice_of_state(
    context: Context, object_id: str, row: Row, position: int, fields: Sequence[str] | None
) -> CausalSlice:
    """Return the slice of a state as the caller may see it."""
    return _shown(context, object_id, await of_state(context, row, position, fields))


def _shown(context: Context, name: str, found: Slice) -> CausalSlice:
    if not found.found.whole:
        return _none(name, found.recorded, words.other(found), whole=False)
    visible = [may_see(context, entry) for entry in found.entries]
    missing = [one for one in found.missing if _concerns(context, one, name)]
    told = [
        SliceEvent(
            context=context,
            entry=entry,
            visible=may,
            position=Position(entry.position),
            why=words.why(entry.type) if may else None,
            without=words.instead(found.found.without[entry.position], found.recorded) if may else None,
        )
        for entry, may in zip(found.entries, visible, strict=True)
    ]
    return CausalSlice(
        outcome=words.outcome(found.recorded),
        value=JSON(words.value(found.recorded)),
        events=told,
        absences=[_absence(one, found) for one in missing],
        settled=[Position(position) for position in found.found.settled],
        candidates=found.found.candidates,
        size=len(told),
        replays=found.found.questions,
        withheld=len(found.missing) - len(missing),
        checked=SliceChecks(
            whole=True,
            sufficient=found.found.sufficient,
            irreducible=found.found.irreducible,
            absent=all(one.holds for one in found.missing),
            settled=found.found.settles,
        ),
        not_replayable=None,
        text=words.text(name, found, visible, missing),
    )


def _absence(missing: Missing, found: Slice) -> Absence:
    return Absence(
        words=words.absence(missing),
        types=list(missing.types),
        tags=list(missing.tags),
        after=Position(missing.after),
        until=Position(missing.until),
        besides=[Position(position) for position in missing.besides],
        instead=words.instead(missing.instead, found.recorded),
        holds=missing.holds,
    )


def _concerns(context: Context, missing: Missing, name: str) -> bool:
    """Tell whether the caller may hear of an absence: of every one, or of one about itself or what it asked about."""
    own = context.own
    return (
        own is None
        or not {f"principal:{own}"}.isdisjoint(missing.tags)
        or name in {tag.partition(":")[2] for tag in missing.tags}
    )


def _none(name: str, recorded: Any, why: str, *, whole: bool | None) -> CausalSlice:
    outcome = words.outcome(recorded)
    return CausalSlice(
        outcome=outcome,
        value=JSON(words.value(recorded)),
        events=[],
        absences=[],
        settled=[],
        candidates=0,
        size=0,
        replays=0,
        withheld=0,
        checked=SliceChecks(whole=whole, sufficient=None, irreducible=None, absent=None, settled=None),
        not_replayable=why,
        text=f"{name}: {outcome}\nThere is no slice: {why}.",
    )
