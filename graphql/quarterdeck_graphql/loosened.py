"""What loosened a way since: controls and watchers that it lost, exceptions that were granted, and grants whose time is
over."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

import strawberry

from quarterdeck_domain.estate.reach import Graph
from quarterdeck_domain.estate.relations import EXCEPTING
from quarterdeck_graphql.at import At
from quarterdeck_graphql.events import TimelineEntry, show_entries
from quarterdeck_graphql.limits import PART
from quarterdeck_graphql.opening import Histories, phrase, told, valid_until
from quarterdeck_ledger.entry import Entry
from quarterdeck_readmodels.estate import Asset
from quarterdeck_readmodels.reaching import Controls, Part, end_of_time, is_live
from quarterdeck_readmodels.reader import Record


@strawberry.type(description="A control, or a watcher, of something on a way that was in force then and is not now.")
class LostControl:
    on: strawberry.ID = strawberry.field(description="The object that it was about.")
    relation: str = strawberry.field(description="How: `governed_by`, `gated_by`, …")
    control: strawberry.ID = strawberry.field(description="The control, or the watcher.")
    sentence: str = strawberry.field(description="What happened, by whom and when, in words.")
    events: list[TimelineEntry] = strawberry.field(metadata=PART, description="What made it so.")


@strawberry.type(description="An exception for something on a way that holds now and did not then.")
class GrantedException:
    on: strawberry.ID = strawberry.field(description="The object to whose doings nobody has to consent by it.")
    exception: strawberry.ID = strawberry.field(description="The exception.")
    expires_at: datetime | None = strawberry.field(description="Until when; null: nobody says.")
    sentence: str = strawberry.field(description="What happened, by whom and when, in words.")
    events: list[TimelineEntry] = strawberry.field(metadata=PART, description="What made it so.")


@strawberry.type(description="A grant on a way of then whose time is over.")
class EndedGrant:
    grant: strawberry.ID = strawberry.field(description="The grant.")
    expired_at: datetime = strawberry.field(description="Until when it was valid.")
    sentence: str = strawberry.field(description="The same in words.")


class Loosened:
    """Tells what was lost and granted, each once."""

    def __init__(self, at: At, then: Controls, now: Part, histories: Histories) -> None:
        self._at, self._then, self._now, self._histories = at, then, now, histories
        self._lost: dict[tuple[str, str, str], LostControl] = {}
        self._excepted: dict[tuple[str, str], GrantedException] = {}

    async def lost(self, passed: Iterable[str], types: Collection[str]) -> list[LostControl]:
        """Return what stood over objects then, by relations of some types, and does not now."""
        return [
            await self._lost_control(name, relation, control)
            for name in passed
            for relation, control in sorted(self._of_then(name) - self._of_now(name))
            if relation in types
        ]

    async def excepted(self, passed: Iterable[str]) -> list[GrantedException]:
        """Return the exceptions for objects that hold now and did not then."""
        return [
            await self._exception(name, control)
            for name in passed
            for relation, control in sorted(self._of_now(name) - self._of_then(name))
            if relation == EXCEPTING
        ]

    def _of_then(self, name: str) -> frozenset[tuple[str, str]]:
        return self._then.pairs.get(name, frozenset())

    def _of_now(self, name: str) -> frozenset[tuple[str, str]]:
        return self._now.graph.controls.get(name, frozenset())

    async def _lost_control(self, name: str, relation: str, control: str) -> LostControl:
        key = (name, relation, control)
        if key not in self._lost:
            ends = self._then.relations[f"{name} {relation} {control}"].id
            entry = await self._histories.control(ends, control)
            self._lost[key] = LostControl(
                on=strawberry.ID(f"asset:{name}"),
                relation=relation,
                control=strawberry.ID(f"asset:{control}"),
                sentence=f"{phrase(ends)} no more; {told(entry, over=True)}",
                events=await self._events(entry),
            )
        return self._lost[key]

    async def _exception(self, name: str, control: str) -> GrantedException:
        if (name, control) not in self._excepted:
            ends = self._now.relations[f"{name} {EXCEPTING} {control}"].id
            entry = await self._histories.exception(ends, control)
            asset = self._now.assets[control]
            self._excepted[name, control] = GrantedException(
                on=strawberry.ID(f"asset:{name}"),
                exception=strawberry.ID(f"asset:{control}"),
                expires_at=end_of_time(asset),
                sentence=f"{phrase(ends)}, {valid_until(asset)}; {told(entry)}",
                events=await self._events(entry),
            )
        return self._excepted[name, control]

    async def _events(self, entry: Entry | None) -> list[TimelineEntry]:
        return await show_entries(self._at.context, [] if entry is None else [entry])


async def ended(record: Record, graph: Graph, moment: datetime) -> list[EndedGrant]:
    """Return which grants of a graph of then are over at a moment, and nothing else: still there, and in use."""
    passed = {name for edges in graph.out.values() for edge in edges for name in (edge.source, edge.target)}
    found = await record.many(Asset, sorted(name for name in passed if name.startswith("tool_grant:")))
    return [
        EndedGrant(grant=strawberry.ID(f"asset:{name}"), expired_at=end, sentence=f"{name} was {valid_until(asset)}")
        for name, asset in sorted(found.items())
        if is_live(asset) and (end := end_of_time(asset)) is not None and end <= moment
    ]
