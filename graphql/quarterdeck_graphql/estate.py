"""The estate as the record shows it: objects, relations, and reach; `ways` is how, and what would close it."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Final

import strawberry
from strawberry.scalars import JSON

from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.estate.kinds import KINDS
from quarterdeck_domain.estate.relations import RELATION_TYPES
from quarterdeck_domain.estate.values import split
from quarterdeck_graphql.at import At, Shown
from quarterdeck_graphql.cursors import Cursors
from quarterdeck_graphql.dating import DatedFacts, Period, dated_facts, periods
from quarterdeck_graphql.declare import resolver
from quarterdeck_graphql.enums import Confidence, DriftInput, DriftState, Lifecycle
from quarterdeck_graphql.limits import PART
from quarterdeck_graphql.node import Node, PageInfo, check_first
from quarterdeck_readmodels import estate as rows
from quarterdeck_readmodels.bitemporal import holds
from quarterdeck_readmodels.reached import reached_or_alleged
from quarterdeck_readmodels.reaching import alleging

MAX_RELATIONS: Final = 1_000
MAX_PATHS: Final = 50


@strawberry.enum(description="The way in which reach is asked for.")
class Direction(Enum):
    FORWARD = strawberry.enum_value("forward", description="What can this object reach?")
    BACKWARD = strawberry.enum_value("backward", description="What can reach this object?")


@strawberry.type(description="An object of the estate.")
class Asset(Shown, Node):
    kind: str = strawberry.field(description="What it is: `agent`, `tool`, `dataset`, …")
    name: str = strawberry.field(description="Its name among those of its kind.")
    title: str | None = strawberry.field(description="How people call it.")
    description: str | None = strawberry.field(description="What it is, in words.")
    owner: str | None = strawberry.field(description="Who answers for it.")
    team: str | None = strawberry.field(description="The team that answers for it.")
    purpose: str | None = strawberry.field(description="What it is for.")
    environments: list[str] = strawberry.field(metadata=PART, description="Where it runs.")
    classification: str | None = strawberry.field(description="How sensitive what it holds is.")
    risk: str | None = strawberry.field(description="How much could go wrong.")
    policy_class: str | None = strawberry.field(description="The class of policy that it falls under.")
    tier: int | None = strawberry.field(description="How critical it is; 1: the business does not run without it.")
    lifecycle: Lifecycle = strawberry.field(description="Whether it is in use.")
    attributes: JSON = strawberry.field(description="What only its kind has.")
    source: str = strawberry.field(description="Where what is known of it comes from.")
    confidence: Confidence = strawberry.field(description="How that came to be known.")
    aliases: list[str] = strawberry.field(metadata=PART, description="Names of objects that were merged into it.")
    merged_into: strawberry.ID | None = strawberry.field(description="The object that it is part of now.")
    successor: strawberry.ID | None = strawberry.field(description="What takes its place.")
    sunset: datetime | None = strawberry.field(description="Its last day.")
    registered_at: datetime = strawberry.field(description="Since when it is known.")
    changed_at: datetime = strawberry.field(description="When what is known of it changed last.")
    valid_from: datetime | None = strawberry.field(description="Since when it exists, where somebody said so.")

    @classmethod
    def instead(cls, row: rows.Asset) -> dict[str, Any]:
        """Return the id as it is written everywhere."""
        merged = None if row.merged_into is None else f"asset:{row.merged_into}"
        successor = None if row.successor is None else f"asset:{row.successor}"
        return {"id": f"asset:{row.id}", "merged_into": merged, "successor": successor}

    @resolver("What holds from or until other moments than those of recording, as far as it is known.", metadata=PART)
    async def dated(self) -> list[DatedFacts]:
        if self._row.timed is None:
            return []
        async with self._at.record() as record:
            row = await record.get(rows.Asset, self._row.id)
        return [] if row is None else dated_facts(row.dated)

    @resolver("Its relations to others, those that begin at it, or with `incoming` those that lead to it.")
    async def relations(
        self,
        incoming: Annotated[bool, strawberry.argument(description="Those that lead to it.")] = False,
        types: Annotated[list[str] | None, strawberry.argument(description="Only those of these types.")] = None,
    ) -> list[Relation]:
        column = "target" if incoming else "source"
        async with self._at.record() as record:
            found = await record.matching(rows.Relation, column, [self._row.id], most=MAX_RELATIONS)
        return [Relation.of(row, self._at) for row in found if types is None or row.relation in types]

    @resolver("What is within reach of it, or with `BACKWARD` what reaches it.")
    async def reach(
        self,
        first: Annotated[int, strawberry.argument(description="How many at most, 1 to 100.")],
        direction: Annotated[Direction, strawberry.argument(description="Which way.")] = Direction.FORWARD,
        hops: Annotated[
            int | None, strawberry.argument(description="Over how many steps at most, 1 to 12; left out: over any.")
        ] = None,
        kinds: Annotated[list[str] | None, strawberry.argument(description="Only objects of these kinds.")] = None,
        after: Annotated[
            str | None, strawberry.argument(description="What follows this cursor, of `pageInfo` of the same question.")
        ] = None,
    ) -> Reach:
        return await reach_of(self._at, self._row.id, direction, hops, kinds, check_first(first), after)

    @resolver("The tools that it can call by itself: by grants it holds, straight, or through a server; by name.")
    async def callable_tools(self) -> list[CallableTool]:
        found = await self._at.tools.load(self._row.id)
        return [
            CallableTool(
                tool=Asset.of(item.tool, self._at),
                grants=[strawberry.ID(f"asset:{name}") for name in item.grants],
                privileges=list(item.privileges),
            )
            for item in found
        ]

    if TYPE_CHECKING:
        _at: At
        _row: rows.Asset


@strawberry.type(description="A tool that something can call.")
class CallableTool:
    tool: Asset = strawberry.field(description="The tool.")
    grants: list[strawberry.ID] = strawberry.field(
        metadata=PART, description="The grants that permit it; none, where it is called without one."
    )
    privileges: list[str] = strawberry.field(
        metadata=PART, description="`read`, `write`, `trigger`, `route`: what the tool can do and the grants permit."
    )


@strawberry.type(description="How one object is related to another.")
class Relation(Shown, Node):
    relation: str = strawberry.field(description="Its type, such as `calls`.")
    source: strawberry.ID = strawberry.field(
        description="The object that it begins at; on a way, what that was merged into, if it was. The id stays."
    )
    target: strawberry.ID = strawberry.field(description="The object that it leads to; on a way the same.")
    environment: str | None = strawberry.field(description="Where it holds.")
    declared: bool = strawberry.field(description="Whether somebody says so.")
    observed: bool = strawberry.field(description="Whether it was seen.")
    evidence: str = strawberry.field(description="By what evidence it is declared.")
    observation: str = strawberry.field(description="By what evidence it was seen.")
    seen: int = strawberry.field(description="How often it was seen.")
    first_seen: datetime | None = strawberry.field(description="When it was first seen.")
    last_seen: datetime | None = strawberry.field(description="When it was last seen.")
    confidence: Confidence = strawberry.field(description="How it came to be known.")
    periods: list[Period] = strawberry.field(
        metadata=PART, description="When it is declared to hold, as far as known, by beginning."
    )

    @classmethod
    def instead(cls, row: rows.Relation) -> dict[str, Any]:
        """Return the ids as they are written everywhere."""
        return {
            "id": f"relation:{row.id}",
            "source": f"asset:{row.source}",
            "target": f"asset:{row.target}",
            "periods": periods(row.intervals),
        }

    @resolver("Whether it takes part in `reach` at the moment of the record: it is declared to hold then, or was seen.")
    async def holds(self) -> bool:
        return holds(self._row, await moment_of(self._at))

    @resolver(
        "Whose word alone it is, by principal: senders of traces, none of which is known to be what it begins at or to "
        "speak for others. Empty where it is declared to hold at the moment of the record, or known to be seen."
    )
    async def alleged_by(self) -> list[strawberry.ID]:
        if not self._row.senders:
            return []
        source = await self._at.get(rows.Asset, self._row.source)
        return [strawberry.ID(name) for name in alleging(self._row, source, await moment_of(self._at))]

    @resolver("How it reads, in words.")
    def sentence(self) -> str:
        return f"{self._row.source} {RELATION_TYPES[self._row.relation].phrase} {self._row.target}"

    @resolver("The object that it begins at.", name="from")
    async def from_(self) -> Asset | None:
        return await load_asset(self._at, self._row.source)

    @resolver("The object that it leads to; it may be retired.")
    async def to(self) -> Asset | None:
        return await load_asset(self._at, self._row.target)

    if TYPE_CHECKING:
        _at: At
        _row: rows.Relation


@strawberry.type(description="One of the five inputs of behaviour was not what was pinned.")
class Drift(Shown, Node):
    asset_id: strawberry.ID = strawberry.field(description="The object.")
    input: DriftInput = strawberry.field(description="Which input.")
    field_name: str = strawberry.field(description="What of it.")
    expected: str = strawberry.field(description="What was pinned.")
    found: str = strawberry.field(description="What was found.")
    evidence: str = strawberry.field(description="How it was found.")
    quarantined: bool = strawberry.field(description="Whether the object was put into quarantine because of it.")
    state: DriftState = strawberry.field(description="Whether somebody took what was found as the new pin.")
    detected_at: datetime = strawberry.field(description="When it was found.")

    @classmethod
    def instead(cls, row: rows.Drift) -> dict[str, Any]:
        """Return the id as it is written everywhere."""
        return {"asset_id": f"asset:{row.asset}", "field_name": row.field}

    @resolver("The object.")
    async def asset(self) -> Asset | None:
        return await load_asset(self._at, self._row.asset)

    if TYPE_CHECKING:
        _at: At
        _row: rows.Drift


@strawberry.type(description="An object within reach.")
class Reached:
    steps: int = strawberry.field(description="In how many steps at least.")
    asset: Asset = strawberry.field(description="The object.")
    alleged: bool = strawberry.field(
        description="Whether it is as far as others claim alone: each way leads over a relation with an `allegedBy`."
    )


@strawberry.type(description="What is within reach of an object.")
class Reach:
    total: int = strawberry.field(description="How many objects are within reach, of the kinds that were asked for.")
    reached: list[Reached] = strawberry.field(
        metadata=PART, description="The nearest of them, or of those after `after`, nearest first, then by id."
    )
    page_info: PageInfo = strawberry.field(description="Where these stand among all of them.")


@strawberry.input(description="Which objects. A list is any of its values.")
class AssetFilter:
    kind: list[str] | None = strawberry.field(default=None, description="What they are.")
    owner: list[str] | None = strawberry.field(default=None, description="Who answers for them.")
    team: list[str] | None = strawberry.field(default=None, description="The team that does.")
    lifecycle: list[Lifecycle] | None = strawberry.field(default=None, description="Whether they are in use.")
    classification: list[str] | None = strawberry.field(default=None, description="How sensitive they are.")
    policy_class: list[str] | None = strawberry.field(default=None, description="Their class of policy.")
    environments: list[str] | None = strawberry.field(default=None, description="Where they run.")


@strawberry.input(description="Which relations. A list is any of its values.")
class RelationFilter:
    source: list[str] | None = strawberry.field(default=None, description="Where they begin, `kind:name`.")
    target: list[str] | None = strawberry.field(default=None, description="Where they lead, `kind:name`.")
    relation: list[str] | None = strawberry.field(default=None, description="Their types.")
    source_kind: list[str] | None = strawberry.field(default=None, description="The kinds where they begin.")
    target_kind: list[str] | None = strawberry.field(default=None, description="The kinds where they lead.")


@strawberry.input(description="Which drifts. A list is any of its values.")
class DriftFilter:
    asset: list[str] | None = strawberry.field(default=None, description="Of which objects, `kind:name`.")
    state: list[DriftState] | None = strawberry.field(default=None, description="How they stand.")
    input: list[DriftInput] | None = strawberry.field(default=None, description="Of which inputs.")


async def load_asset(at: At, asset: str | None) -> Asset | None:
    """Return an object as it was."""
    row = await at.get(rows.Asset, asset)
    return None if row is None else Asset.of(row, at)


def plain(asset: str) -> str:
    """Return the id of an object without the prefix that tells it from other things of the record."""
    return asset.removeprefix("asset:")


def full_id(object_id: str) -> str:
    """Return an id as the record has it: objects and relations of the estate are known by their names alone too."""
    if object_id.partition(":")[0] in KINDS:
        return f"{'relation' if ' ' in object_id else 'asset'}:{object_id}"
    return object_id


def named(assets: Sequence[str]) -> list[str]:
    """Return what objects are called, named in either form.

    Raises:
        InvalidInput: a text that can be no object's id.
    """
    found = [plain(asset) for asset in assets]
    for name in found:
        split(name)
    return found


def known_kinds(kinds: Sequence[str]) -> list[str]:
    """Return kinds of objects, each of which there is.

    Raises:
        InvalidInput: there is none of a name.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise InvalidInput(
                f"{kind!r} is no kind of object: there are {', '.join(KINDS)}", field="kind", known=sorted(KINDS)
            )
    return list(kinds)


async def moment_of(at: At) -> datetime:
    """Return the moment whose relations hold; before the first event, any will do: there are none."""
    return await at.moment() or datetime.min.replace(tzinfo=UTC)


async def reach_of(
    at: At, start: str, direction: Direction, hops: int | None, kinds: list[str] | None, first: int, after: str | None
) -> Reach:
    """Return what is within reach of an object.

    Raises:
        NotFound: there is no such object.
        InvalidInput: too many steps, or too much is concerned.
        InvalidCursor: a cursor of another question.
    """
    at.context.require_all("reach")
    kinds = None if kinds is None else known_kinds(kinds)
    backwards = direction is Direction.BACKWARD
    cursors = await at.context.cursors("reach", plain(start), direction.value, hops, sorted(kinds or ()))
    last = cursors.read(after)
    moment = await moment_of(at)
    async with at.record() as record:
        found, alleged = await reached_or_alleged(record, plain(start), moment, hops=hops, backwards=backwards)
        wanted = [(steps, name) for name, steps in found.items() if kinds is None or name.partition(":")[0] in kinds]
        following = [place for place in wanted if last is None or place > (last[0], last[1])]
        nearest = heapq.nsmallest(first, following)
        assets = await record.lean().many(rows.Asset, [name for _, name in nearest])
    return Reach(
        total=len(wanted),
        reached=[
            Reached(steps=steps, asset=Asset.of(assets[name], at), alleged=name in alleged) for steps, name in nearest
        ],
        page_info=part_info(nearest, cursors, more=len(following) > len(nearest), after=after),
    )


def part_info(places: Sequence[tuple[Any, ...]], cursors: Cursors, *, more: bool, after: str | None) -> PageInfo:
    """Return where a part of a list stands."""
    return PageInfo(
        has_next_page=more,
        has_previous_page=after is not None,
        start_cursor=cursors.make(*places[0]) if places else None,
        end_cursor=cursors.make(*places[-1]) if places else None,
    )
