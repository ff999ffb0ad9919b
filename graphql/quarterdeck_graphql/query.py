"""The questions: of now, of then, of what happened, of the difference, of one decision, and of the proof."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Final

import strawberry

from quarterdeck_graphql import access, approvals, estate, policy
from quarterdeck_graphql.context import Context, Info
from quarterdeck_graphql.declare import resolver
from quarterdeck_graphql.diff import Diff, diff_between
from quarterdeck_graphql.enums import Order
from quarterdeck_graphql.events import TimelineEntry, may_see, show_entry
from quarterdeck_graphql.explain import Explanation, explain
from quarterdeck_graphql.limits import WEIGHT
from quarterdeck_graphql.moments import Moment, position_at, position_of, view_of
from quarterdeck_graphql.node import Connection, Node
from quarterdeck_graphql.opened import Opened, opened_between
from quarterdeck_graphql.proofs import Log
from quarterdeck_graphql.record import After, First, Record, node_at, record_at
from quarterdeck_graphql.scalars import Position
from quarterdeck_graphql.timeline import TimelineFilter, timeline_page
from quarterdeck_ledger.entry import parse_entry

NODE_TYPES: Final = (
    access.ApiKey,
    access.Principal,
    access.Tenant,
    approvals.Approval,
    approvals.ApprovalPath,
    approvals.Callback,
    approvals.Effect,
    approvals.Grant,
    approvals.ParkedEvent,
    approvals.Vote,
    estate.Asset,
    estate.Drift,
    estate.Relation,
    policy.Decision,
    policy.PolicyBundle,
    TimelineEntry,
)
"""Every type that `node` may answer with."""


@strawberry.type(description="What can be asked.")
class Query:
    @resolver("The record as it is.")
    async def now(
        self,
        info: Info,
        at_least: Annotated[
            Position | None,
            strawberry.argument(description="Wait until this position is in it: the one a command answered with."),
        ] = None,
    ) -> Record:
        return await record_at(info.context, at_least=at_least)

    @resolver(
        "The record as it was: at a time (the last position recorded by then) or a position. With `knownAt`, objects "
        "and relations of the estate are as they were true at that moment, as known at the other one: with what was "
        "recorded late, and without what was not known yet. Everything else is then as it was recorded by `knownAt`. "
        "With neither a time nor a position: now."
    )
    async def at(
        self,
        info: Info,
        time: Annotated[
            datetime | None, strawberry.argument(description="A moment; one to come only with `knownAt`.")
        ] = None,
        position: Annotated[Position | None, strawberry.argument(description="A place in the log.")] = None,
        known_at: Annotated[
            Moment | None, strawberry.argument(description="The moment as of which it is known: earlier or later.")
        ] = None,
    ) -> Record:
        context = info.context
        if time is None and position is None:
            if known_at is None:
                return await record_at(context)
            time = await context.log.now()
        if known_at is not None:
            view = await view_of(context, time=time, position=position, known=known_at)
            return await record_at(context, position=view.known, view=view)
        here = position if time is None else await position_at(context, time=time, position=position)
        return await record_at(context, position=here, moment=time)

    @resolver("One object as it is, of whatever kind; null where there is none, or not for you.")
    async def node(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="The id of an object, or of an event (a UUID).")],
    ) -> Node | None:
        try:
            event_id = uuid.UUID(id)
        except ValueError:
            return await node_at((await record_at(info.context)).at, id)
        return await _event(info.context, event_id)

    @resolver("What happened. New events never move those of another page.")
    async def timeline(
        self,
        info: Info,
        first: First,
        filter: Annotated[TimelineFilter | None, strawberry.argument(description="Which events.")] = None,
        order: Annotated[Order, strawberry.argument(description="In which order.")] = Order.OLDEST_FIRST,
        after: After = None,
    ) -> Connection[TimelineEntry]:
        return await timeline_page(info, first, filter, order, after)

    @resolver(
        "What changed between two moments that opened the way from one object to another: whether there was one then "
        "and is one now, what of each way took no part then and what made it so, and the fewest changes that opened "
        "one.",
        metadata={WEIGHT: 20},
    )
    async def opened(
        self,
        info: Info,
        from_: Annotated[strawberry.ID, strawberry.argument(name="from", description="The one object, `kind:name`.")],
        to: Annotated[strawberry.ID, strawberry.argument(description="The other.")],
        since: Annotated[Moment, strawberry.argument(description="The one moment.")],
        until: Annotated[Moment | None, strawberry.argument(description="The other; left out: now.")] = None,
        known_at: Annotated[
            Moment | None,
            strawberry.argument(description="The moment as of which both are known; left out: as each was recorded."),
        ] = None,
        hops: Annotated[
            int | None,
            strawberry.argument(description="Only ways of at most so many steps are shown, 1 to 12; left out: all."),
        ] = None,
        first: Annotated[int, strawberry.argument(description="How many ways are shown, 1 to 50.")] = 10,
    ) -> Opened:
        return await opened_between(
            info.context, from_, to, since=since, until=until, known=known_at, hops=hops, first=first
        )

    @resolver("What is different between two moments.")
    async def diff(
        self,
        info: Info,
        from_: Annotated[Moment, strawberry.argument(name="from", description="The one moment.")],
        to: Annotated[
            Moment | None, strawberry.argument(description="The other; left out: now, also with an earlier `knownAt`.")
        ] = None,
        known_at: Annotated[
            Moment | None,
            strawberry.argument(
                description="The moment as of which both are known: then it is told how the estate differed in truth. "
                "Left out: how what was recorded differs."
            ),
        ] = None,
    ) -> Diff:
        return await diff_between(info.context, from_, to, known_at)

    @resolver(
        "Why something is so: a decision, or what any object of the record says; null where there is none, or not for "
        "you.",
        metadata={WEIGHT: 50},
    )
    async def explain(
        self,
        info: Info,
        id: Annotated[
            strawberry.ID,
            strawberry.argument(
                description="Of what: the id of a decision, of any other object, or of an event (a UUID): then of what "
                "the event made or changed."
            ),
        ],
        at: Annotated[Moment | None, strawberry.argument(description="As of when; left out: now.")] = None,
        fields: Annotated[
            list[str] | None,
            strawberry.argument(description="What of the object, as `lifecycle`; left out: everything it says."),
        ] = None,
    ) -> Explanation | None:
        position = None if at is None else await position_of(info.context, at)
        return await explain(info.context, id, position=position, fields=fields)

    @resolver("The log's checkpoints and proofs.")
    def log(self) -> Log:
        return Log()


async def _event(context: Context, event_id: uuid.UUID) -> TimelineEntry | None:
    stored = await context.log.store.find(context.tenant, event_id)
    if stored is None:
        return None
    entry = parse_entry(stored)
    return await show_entry(context, entry) if may_see(context, entry) else None
