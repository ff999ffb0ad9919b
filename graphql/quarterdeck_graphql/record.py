"""The record: everything that was true at one position. `now` and `at` return the same type, also where `at` was asked
for the estate as it was true at one moment and known at another."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Final, TypeVar

import strawberry

from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.estate.relations import RELATION_TYPES
from quarterdeck_graphql import access, accesses, blast, estate, policy, sources, ways
from quarterdeck_graphql import approvals as approving
from quarterdeck_graphql import findings as found
from quarterdeck_graphql.at import At, Shown
from quarterdeck_graphql.context import Context, Info
from quarterdeck_graphql.declare import resolver
from quarterdeck_graphql.enums import Order
from quarterdeck_graphql.finding_words import CoverageBy
from quarterdeck_graphql.limits import WEIGHT
from quarterdeck_graphql.moments import recorded_at
from quarterdeck_graphql.node import Connection, Node, check_first, page
from quarterdeck_graphql.scalars import Position
from quarterdeck_graphql.selection import selects
from quarterdeck_readmodels import access as access_rows
from quarterdeck_readmodels import approvals as approvals_rows
from quarterdeck_readmodels import estate as estate_rows
from quarterdeck_readmodels import policy as policy_rows
from quarterdeck_readmodels import sources as source_rows
from quarterdeck_readmodels.held import View
from quarterdeck_readmodels.tables import Row

S = TypeVar("S", bound=Shown)

WAIT_S: Final = 3.0
MAX_VALUES: Final = 100
_WITHHELD: Final = "withheld"

First = Annotated[int, strawberry.argument(description="How many nodes at most, 1 to 100.")]
After = Annotated[str | None, strawberry.argument(description="The cursor that the page follows.")]
PageOrder = Annotated[Order, strawberry.argument(description="In which order, by when they began.")]
_WHICH: Final = strawberry.argument(description="Which ones.")

KINDS: Final[dict[str, tuple[type[Shown], type[Row]]]] = {
    "tenant:": (access.Tenant, access_rows.Tenant),
    "prn_": (access.Principal, access_rows.Principal),
    "key_": (access.ApiKey, access_rows.ApiKey),
    "bnd_": (policy.PolicyBundle, policy_rows.PolicyBundle),
    "dec_": (policy.Decision, policy_rows.DecisionRecord),
    "path:": (approving.ApprovalPath, approvals_rows.ApprovalPath),
    "apr_": (approving.Approval, approvals_rows.Approval),
    "grt_": (approving.Grant, approvals_rows.Grant),
    "eff_": (approving.Effect, approvals_rows.Effect),
    "callback:": (approving.Callback, approvals_rows.CallbackRecord),
    "parked:": (approving.ParkedEvent, approvals_rows.Parked),
    "asset:": (estate.Asset, estate_rows.Asset),
    "relation:": (estate.Relation, estate_rows.Relation),
    "drf_": (estate.Drift, estate_rows.Drift),
    "source:": (sources.Source, source_rows.Source),
}
"""By what an id begins with: the type that shows the object, and its row."""


@strawberry.type(description="Everything that was true at one position of the log.")
class Record:
    at: strawberry.Private[At]
    position: Position = strawberry.field(description="The position whose record this is.")

    @resolver("When the event at that position was recorded; null at position 0.")
    async def recorded_at(self) -> datetime | None:
        return await recorded_at(self.at.context, self.at.position)

    @resolver(
        "The moment of which it tells: the `time` that was asked for, else when that event was recorded, or, in `now`, "
        "the present. Asked with `knownAt`, objects and relations are as they were true at this moment; otherwise they "
        "are as they were recorded, and this moment tells which relations hold in `reach` and `ways`."
    )
    async def moment(self) -> datetime | None:
        return await self.at.moment()

    @resolver("The tenant; null before its first event.")
    async def tenant(self, info: Info) -> access.Tenant | None:
        row = await self.at.get(access_rows.Tenant, info.context.tenant)
        return None if row is None else access.Tenant.of(row, self.at)

    @resolver("One object as it was; null where there was none, or you may not see it.")
    async def node(
        self, id: Annotated[strawberry.ID, strawberry.argument(description="Its id, of whatever kind.")]
    ) -> Node | None:
        return await node_at(self.at, id)

    @resolver("Humans, services and agents.")
    async def principals(
        self,
        info: Info,
        first: First,
        after: After = None,
        order: PageOrder = Order.NEWEST_FIRST,
        filter: Annotated[access.PrincipalFilter | None, _WHICH] = None,
    ) -> Connection[access.Principal]:
        return await _page(self.at, info, access.Principal, access_rows.Principal, first, after, order, filter)

    @resolver("Keys and sessions; never what opens with them.")
    async def api_keys(
        self,
        info: Info,
        first: First,
        after: After = None,
        order: PageOrder = Order.NEWEST_FIRST,
        filter: Annotated[access.ApiKeyFilter | None, _WHICH] = None,
    ) -> Connection[access.ApiKey]:
        return await _page(self.at, info, access.ApiKey, access_rows.ApiKey, first, after, order, filter)

    @resolver("Versions of policy bundles.")
    async def policy_bundles(
        self,
        info: Info,
        first: First,
        after: After = None,
        order: PageOrder = Order.NEWEST_FIRST,
        filter: Annotated[policy.PolicyBundleFilter | None, _WHICH] = None,
    ) -> Connection[policy.PolicyBundle]:
        return await _page(self.at, info, policy.PolicyBundle, policy_rows.PolicyBundle, first, after, order, filter)

    @resolver("Decisions of policy.")
    async def decisions(
        self,
        info: Info,
        first: First,
        after: After = None,
        order: PageOrder = Order.NEWEST_FIRST,
        filter: Annotated[policy.DecisionFilter | None, _WHICH] = None,
    ) -> Connection[policy.Decision]:
        return await _page(self.at, info, policy.Decision, policy_rows.DecisionRecord, first, after, order, filter)

    @resolver("Approval paths.")
    async def approval_paths(
        self, info: Info, first: First, after: After = None, order: PageOrder = Order.NEWEST_FIRST
    ) -> Connection[approving.ApprovalPath]:
        shown, row = approving.ApprovalPath, approvals_rows.ApprovalPath
        return await _page(self.at, info, shown, row, first, after, order, None)

    @resolver("Requests for people's consent.")
    async def approvals(
        self,
        info: Info,
        first: First,
        after: After = None,
        order: PageOrder = Order.NEWEST_FIRST,
        filter: Annotated[approving.ApprovalFilter | None, _WHICH] = None,
    ) -> Connection[approving.Approval]:
        return await _page(self.at, info, approving.Approval, approvals_rows.Approval, first, after, order, filter)

    @resolver("Permissions to do one action once.")
    async def grants(
        self,
        info: Info,
        first: First,
        after: After = None,
        order: PageOrder = Order.NEWEST_FIRST,
        filter: Annotated[approving.GrantFilter | None, _WHICH] = None,
    ) -> Connection[approving.Grant]:
        return await _page(self.at, info, approving.Grant, approvals_rows.Grant, first, after, order, filter)

    @resolver("What redeemed grants set off.")
    async def effects(
        self,
        info: Info,
        first: First,
        after: After = None,
        order: PageOrder = Order.NEWEST_FIRST,
        filter: Annotated[approving.EffectFilter | None, _WHICH] = None,
    ) -> Connection[approving.Effect]:
        return await _page(self.at, info, approving.Effect, approvals_rows.Effect, first, after, order, filter)

    @resolver("Messages to requesters' endpoints whose delivery ended.")
    async def callbacks(
        self,
        info: Info,
        first: First,
        after: After = None,
        order: PageOrder = Order.NEWEST_FIRST,
        filter: Annotated[approving.CallbackFilter | None, _WHICH] = None,
    ) -> Connection[approving.Callback]:
        shown, row = approving.Callback, approvals_rows.CallbackRecord
        return await _page(self.at, info, shown, row, first, after, order, filter)

    @resolver("Events that could not be acted on and were set aside.")
    async def parked_events(
        self,
        info: Info,
        first: First,
        after: After = None,
        order: PageOrder = Order.NEWEST_FIRST,
        filter: Annotated[approving.ParkedEventFilter | None, _WHICH] = None,
    ) -> Connection[approving.ParkedEvent]:
        return await _page(self.at, info, approving.ParkedEvent, approvals_rows.Parked, first, after, order, filter)

    @resolver("Objects of the estate.")
    async def assets(
        self,
        info: Info,
        first: First,
        after: After = None,
        order: PageOrder = Order.NEWEST_FIRST,
        filter: Annotated[estate.AssetFilter | None, _WHICH] = None,
    ) -> Connection[estate.Asset]:
        return await _page(self.at, info, estate.Asset, estate_rows.Asset, first, after, order, filter)

    @resolver("How objects of the estate are related, declared or seen; those that are no more, too.")
    async def relations(
        self,
        info: Info,
        first: First,
        after: After = None,
        order: PageOrder = Order.NEWEST_FIRST,
        filter: Annotated[estate.RelationFilter | None, _WHICH] = None,
    ) -> Connection[estate.Relation]:
        return await _page(self.at, info, estate.Relation, estate_rows.Relation, first, after, order, filter)

    @resolver("Where one of the five inputs of behaviour was not what was pinned.")
    async def drifts(
        self,
        info: Info,
        first: First,
        after: After = None,
        order: PageOrder = Order.NEWEST_FIRST,
        filter: Annotated[estate.DriftFilter | None, _WHICH] = None,
    ) -> Connection[estate.Drift]:
        return await _page(self.at, info, estate.Drift, estate_rows.Drift, first, after, order, filter)

    @resolver("Where the estate is imported from, and how that went; those that were removed, too.")
    async def sources(
        self,
        info: Info,
        first: First,
        after: After = None,
        order: PageOrder = Order.NEWEST_FIRST,
        filter: Annotated[sources.SourceFilter | None, _WHICH] = None,
    ) -> Connection[sources.Source]:
        return await _page(self.at, info, sources.Source, source_rows.Source, first, after, order, filter)

    @resolver("What is missing or wrong on the map, the worst first, each with the command that mends it.")
    async def findings(self, first: First, after: After = None, filter: found.Which = None) -> found.Findings:
        return await found.findings_page(self.at, first, after, filter)

    @resolver("How much of the estate is known and under control.")
    async def coverage(
        self,
        by: Annotated[CoverageBy, strawberry.argument(description="What objects are counted by.")],
        first: Annotated[int, strawberry.argument(description="How many groups at most, 1 to 100.")] = 100,
    ) -> found.Coverage:
        return await found.coverage_of(self.at, by, first)

    @resolver("What is concerned if something is wrong with an object, nearest first, up to the people to call.")
    async def blast_radius(
        self,
        of: Annotated[strawberry.ID, strawberry.argument(description="The object, `kind:name`.")],
        hops: Annotated[
            int | None, strawberry.argument(description="Over how many steps at most, 1 to 12; left out: over any.")
        ] = None,
        first: Annotated[int, strawberry.argument(description="How many of each group, 1 to 100.")] = 20,
    ) -> blast.BlastRadius:
        return await blast.blast_radius(self.at, of, hops, first)

    @resolver("What is within reach of an object, or with `BACKWARD` what reaches it.")
    async def reach(
        self,
        info: Info,
        of: Annotated[strawberry.ID, strawberry.argument(description="The object, `kind:name`.")],
        first: First,
        direction: Annotated[
            estate.Direction, strawberry.argument(description="Which way.")
        ] = estate.Direction.FORWARD,
        hops: Annotated[
            int | None, strawberry.argument(description="Over how many steps at most, 1 to 12; left out: over any.")
        ] = None,
        kinds: Annotated[list[str] | None, strawberry.argument(description="Only objects of these kinds.")] = None,
        after: Annotated[
            str | None, strawberry.argument(description="What follows this cursor, of `pageInfo` of the same question.")
        ] = None,
    ) -> estate.Reach:
        return await estate.reach_of(self.at, of, direction, hops, kinds, check_first(first), after)

    @resolver("Which objects can reach another, through which tools and under which controls.")
    async def reached_by(
        self,
        of: Annotated[strawberry.ID, strawberry.argument(description="The object that is reached, `kind:name`.")],
        first: First,
        kinds: Annotated[list[str] | None, strawberry.argument(description="Of which kinds; left out: agents.")] = None,
        hops: Annotated[
            int | None,
            strawberry.argument(
                description="Only objects that need a way of at most so many steps are shown, 1 to 12; left out: all."
            ),
        ] = None,
        after: Annotated[
            str | None, strawberry.argument(description="What follows this cursor, of `pageInfo` of the same question.")
        ] = None,
    ) -> accesses.Accesses:
        return await accesses.who_reaches(self.at, of, kinds or ["agent"], hops, check_first(first), after)

    @resolver("The ways from an object to another, and what would close them all.", metadata={WEIGHT: 10})
    async def ways(
        self,
        info: Info,
        from_: Annotated[strawberry.ID, strawberry.argument(name="from", description="The one, `kind:name`.")],
        to: Annotated[strawberry.ID, strawberry.argument(description="The other.")],
        first: Annotated[int, strawberry.argument(description="How many paths are shown, 1 to 50.")] = 10,
        hops: Annotated[
            int | None,
            strawberry.argument(description="Only ways of at most so many steps are shown, 1 to 12; left out: all."),
        ] = None,
    ) -> ways.Ways:
        return await ways.ways_between(self.at, from_, to, hops, first)


async def record_at(
    context: Context,
    *,
    position: int | None = None,
    at_least: int | None = None,
    moment: datetime | None = None,
    view: View | None = None,
) -> Record:
    """Return the record as of a position, or of now, with everything up to `at_least` in it.

    `moment` is the time that was asked for, where it was one; with a `view`, the estate is as it was true then.

    Raises:
        InvalidInput: the log is not that long.
        NotYet: the read models do not hold that position in time.
    """
    demanded = position if position is not None else at_least
    # What the read models hold is in the log.
    if demanded is not None and demanded > await context.reader.projected(context.tenant):
        head = (await context.log.head(context.tenant)).position
        if demanded > head:
            raise InvalidInput(
                f"the log ends at {head}: nothing is known at {demanded} yet", position=demanded, head=head
            )
        await context.reader.wait_for(context.tenant, demanded, WAIT_S)
    here = position if position is not None else await context.reader.projected(context.tenant)
    at = At(context, here, live=position is None, moment=moment, view=view)
    return Record(at=at, position=Position(here))


async def node_at(at: At, object_id: str) -> Node | None:
    """Return the object with an id as the caller may see it."""
    object_id = estate.full_id(object_id)
    if "/" in object_id and not object_id.startswith(("asset:", "relation:")):  # names of objects may have one
        vote = await at.get(approvals_rows.VoteRecord, object_id)
        return None if vote is None else await _opened(approving.Vote.of(vote, at), at)
    for prefix, (shown, row) in KINDS.items():
        if object_id.startswith(prefix):
            found = await at.get(row, object_id.removeprefix(prefix) if prefix.endswith(":") else object_id)
            return None if found is None else await _opened(shown.of(found, at), at)
    return None


async def _opened(node: Shown, at: At) -> Any:
    await at.open([node])
    return node


async def _page(
    at: At, info: Info, shown: type[S], row: type[Row], first: int, after: str | None, order: Order, filter: Any
) -> Connection[S]:
    check_first(first)
    where = _where(filter)
    fixed = {name: sorted(map(str, values)) for name, values in where.items()}
    cursors = await info.context.cursors(row.table, order.value, fixed)
    key = cursors.read(after)
    found = await at.page(
        row,
        info.field_name,
        first=first,
        after=None if key is None else key[0],
        newest_first=order is Order.NEWEST_FIRST,
        where=where,
    )
    nodes = [shown.of(item, at) for item in found.rows]
    if shown.personal and selects(info, *_graphql_names(shown.personal), _WITHHELD):
        await at.open(nodes)
    return page(nodes, [(item.created_position,) for item in found.rows], cursors, more=found.more, after=after)


def _where(wanted: Any) -> dict[str, Sequence[object]]:
    """Return a filter as columns and the values they may have."""
    if wanted is None:
        return {}
    given = {name: getattr(wanted, name) for name in wanted.__dataclass_fields__}
    where: dict[str, Sequence[object]] = {
        name: tuple(value.value if isinstance(value, Enum) else value for value in values)
        for name, values in given.items()
        if values is not None
    }
    if any(len(values) > MAX_VALUES for values in where.values()):
        raise InvalidInput(f"a filter takes at most {MAX_VALUES} values of one kind", limit=MAX_VALUES)
    if isinstance(wanted, estate.RelationFilter | estate.DriftFilter):
        for name in where.keys() & {"source", "target", "asset"}:
            where[name] = estate.named([str(value) for value in where[name]])
    if isinstance(wanted, estate.AssetFilter | estate.RelationFilter):
        for name in where.keys() & {"kind", "source_kind", "target_kind"}:
            estate.known_kinds([str(value) for value in where[name]])
        if wrong := sorted({str(value) for value in where.get("relation", ())} - RELATION_TYPES.keys()):
            known = ", ".join(RELATION_TYPES)
            raise InvalidInput(f"{wrong[0]!r} is no type of relation: there are {known}", field="relation")
    return where


def _graphql_names(names: Sequence[str]) -> list[str]:
    words = (name.split("_") for name in names)
    return [first + "".join(word.capitalize() for word in rest) for first, *rest in words]
