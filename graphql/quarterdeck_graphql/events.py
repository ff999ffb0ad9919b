"""Events as the timeline shows them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Final

import strawberry
from strawberry.scalars import JSON

from quarterdeck_graphql.context import Context, Info
from quarterdeck_graphql.declare import resolver
from quarterdeck_graphql.limits import PART, WEIGHT
from quarterdeck_graphql.node import Node
from quarterdeck_graphql.personal import Withheld, show_data
from quarterdeck_graphql.record import Record, node_at, record_at
from quarterdeck_graphql.scalars import Position
from quarterdeck_ledger.entry import Entry


@strawberry.type(description="Who acted, and for whom.")
class Actor:
    principal: strawberry.ID = strawberry.field(description="The verified principal that acted.")
    kind: str = strawberry.field(description="`human`, `service` or `agent`.")
    on_behalf_of: list[strawberry.ID] = strawberry.field(description="The principals it acted for, nearest first.")


@strawberry.type(description="Why an event was recorded.")
class Cause:
    command_id: str | None = strawberry.field(description="The command whose event this is.")
    position: Position | None = strawberry.field(description="The event that led to it.")
    traceparent: str | None = strawberry.field(description="The W3C trace that it is part of.")


@strawberry.type(description="An event of the log: what happened, when, by whom and why.")
class TimelineEntry(Node):
    position: Position = strawberry.field(description="Its place in the log.")
    type: str = strawberry.field(description="Its stable name, such as `approval.requested`.")
    version: int = strawberry.field(description="The version of its schema that it was recorded with.")
    recorded_at: datetime = strawberry.field(description="The database's clock when it was recorded.")
    actor: Actor = strawberry.field(description="Who acted.")
    tags: list[str] = strawberry.field(description="Everything it concerns, as `kind:id`.")
    cause: Cause = strawberry.field(description="Why it was recorded.")
    data: JSON = strawberry.field(
        description="What it says, as it was recorded. Personal fields are in clear, or null where withheld."
    )
    withheld: list[Withheld] = strawberry.field(
        metadata=PART, description="The personal fields that are not shown, and why."
    )

    @resolver("The record with this event in it, and nothing later: a frame of the past.", metadata={WEIGHT: 5})
    async def record(self, info: Info) -> Record:
        return await record_at(info.context, position=self.position)

    @resolver(
        "The objects that it concerns, as it left them: those that there were, and you may see, in order of their tags."
    )
    async def objects(
        self,
        info: Info,
        kinds: Annotated[
            list[str] | None, strawberry.argument(description="Only of these kinds, as tags name them: `asset`, …")
        ] = None,
    ) -> list[Node]:
        named = [tag.partition(":") for tag in self.tags if not tag.startswith("actor:")]
        ids = [
            f"{kind}:{name}" if kind in _TAGGED else name for kind, _, name in named if kinds is None or kind in kinds
        ]
        at = (await record_at(info.context, position=self.position)).at
        return [found for found in [await node_at(at, name) for name in dict.fromkeys(ids)] if found is not None]


_TAGGED: Final = frozenset({"asset", "relation", "path", "tenant", "parked"})
"""Kinds whose objects' ids are their tags; the ids of others say by themselves what they are of."""
DATA: Final = ("data", "withheld")
"""The fields for which an entry is unsealed."""
NAMES_ITS_OWNER: Final = ("policy.decision_recorded", "approval.requested", "grant.minted", "grant.redeemed")
"""Events that make a thing somebody's: their actor asked, or their `principal:` tag names whose it is."""


def may_see_personal(context: Context, entry: Entry) -> bool:
    """Tell whether the caller may see an event's personal fields: all of them, or in what it recorded itself."""
    return context.sees_all or entry.actor.principal == context.own


def may_see(context: Context, entry: Entry) -> bool:
    """Tell whether the caller may see an event by itself: all of them, or one that names it or that it recorded."""
    own = context.own
    return own is None or not {f"principal:{own}", f"actor:{own}"}.isdisjoint(entry.tags)


async def show_entry(context: Context, entry: Entry, *, with_data: bool = True) -> TimelineEntry:
    """Return an entry as the caller may see it. Without `with_data` nothing is unsealed, and `data` is as recorded."""
    data, withheld = entry.data, list[Withheld]()
    if with_data:
        visible = may_see_personal(context, entry)
        data, withheld = await show_data(context, entry.type, entry.id, entry.data, visible=visible)
    return TimelineEntry(
        id=strawberry.ID(str(entry.id)),
        position=Position(entry.position),
        type=entry.type,
        version=entry.version,
        recorded_at=entry.recorded_at,
        actor=Actor(
            principal=strawberry.ID(entry.actor.principal),
            kind=entry.actor.kind,
            on_behalf_of=[strawberry.ID(name) for name in entry.actor.on_behalf_of],
        ),
        tags=list(entry.tags),
        cause=Cause(
            command_id=entry.cause.command_id,
            position=None if entry.cause.position is None else Position(entry.cause.position),
            traceparent=entry.cause.traceparent,
        ),
        data=JSON(data),
        withheld=withheld,
    )


async def show_entries(context: Context, entries: Iterable[Entry], *, with_data: bool = True) -> list[TimelineEntry]:
    """Return entries as the caller may see them, in their order."""
    return [await show_entry(context, entry, with_data=with_data) for entry in entries]
