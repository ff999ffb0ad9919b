"""Why something is so: from the log alone, so that it is the same story whenever it is asked for.

Of anything in the record: the slice of the log that forces it, see `slices`. Of a decision also its story: what it
rests on, what policy said, and what it led to.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from functools import partial
from typing import Final

import strawberry
from eventsourcing.dcb.api import DCBQuery
from strawberry.scalars import JSON

from quarterdeck_domain.errors import InvalidInput, NotFound
from quarterdeck_domain.policy.events import DecisionRecorded
from quarterdeck_graphql.approvals import Approval, Effect, Grant, load_approval, load_grant
from quarterdeck_graphql.at import At, Shown
from quarterdeck_graphql.context import Context
from quarterdeck_graphql.decision_story import (
    DECIDED,
    MAX_EVENTS,
    DeterminingPolicy,
    asked_for,
    policy_texts,
    query_of,
    story_of,
)
from quarterdeck_graphql.declare import resolver
from quarterdeck_graphql.enums import DecisionOutcome
from quarterdeck_graphql.estate import full_id
from quarterdeck_graphql.events import TimelineEntry, may_see, show_entries
from quarterdeck_graphql.limits import WEIGHT
from quarterdeck_graphql.node import Node
from quarterdeck_graphql.policy import Decision, PolicyBundle, load_decision
from quarterdeck_graphql.record import KINDS, Record, node_at, record_at
from quarterdeck_graphql.slices import CausalSlice, slice_of_decision, slice_of_state
from quarterdeck_ledger.entry import Entry, parse_entry
from quarterdeck_policy.basis import read_bundle
from quarterdeck_policy.decisions import verdict_of
from quarterdeck_policy.errors import NotReplayable
from quarterdeck_readmodels import approvals as approvals_rows
from quarterdeck_readmodels import policy as policy_rows
from quarterdeck_readmodels.estate import Asset, Relation
from quarterdeck_readmodels.naming import Names, better
from quarterdeck_readmodels.replaying import concerning, object_of
from quarterdeck_readmodels.tables import Row

_DECISION: Final = "dec_"
_RELATION: Final = "relation:"
_MOST: Final = 10_000
"""Under so many names a relation is looked for that is called otherwise since mergers."""


@strawberry.type(description="What policy said of one member of the chain that an action was asked through.")
class Judgement:
    principal: str = strawberry.field(description="Of whom, `type:id`, as policy was shown it.")
    outcome: DecisionOutcome = strawberry.field(description="What it said.")
    determining: list[str] = strawberry.field(description="The `@id` of each policy that decided about this one.")


@strawberry.type(description="The decision made again, now, from what it was made of.")
class Redecision:
    outcome: DecisionOutcome | None = strawberry.field(description="What policy says again; null where it cannot.")
    same: bool | None = strawberry.field(description="Whether that is the recorded decision in every part.")
    not_replayable: str | None = strawberry.field(description="Why it cannot be made again.")


@strawberry.type(description="Why something is so. Of a decision: why it was made, too, and what it led to.")
class Explanation:
    context: strawberry.Private[Context]
    entry: strawberry.Private[Entry | None]
    row: strawberry.Private[Row | None]
    fields: strawberry.Private[Sequence[str] | None]
    approval_id: strawberry.Private[str | None]
    id: strawberry.ID = strawberry.field(description="Of what.")
    record: Record = strawberry.field(description="The record as it is: what the rest of this stands in.")
    estate: Record = strawberry.field(
        description="The record as the decision saw it; of anything else, as of the moment that was asked about."
    )
    decision: Decision | None = strawberry.field(description="The decision; null where it is something else.")

    @resolver("The events it rests on and those it led to, or all that made it what it is, by position; the first 200.")
    async def events(self) -> list[TimelineEntry]:
        context = self.context
        if self.entry is not None:
            return await show_entries(context, await story_of(context, self.entry, self.approval_id))
        if self.row is None:
            return []
        query = DCBQuery(items=[concerning(self.row)])
        found = await context.log.read_sealed(context.tenant, query, until=self.estate.position, limit=MAX_EVENTS)
        return await show_entries(context, [entry for entry in found if may_see(context, entry)])

    @resolver("The thing itself, as of the moment that was asked about.")
    async def node(self) -> Node | None:
        record = self.record if self.entry is not None else self.estate
        return await node_at(record.at, self.id)

    @resolver(
        "The fewest past events that force it, and what must not have happened besides; found and checked by replays.",
        metadata={WEIGHT: 50},
    )
    async def slice(self) -> CausalSlice:
        if self.entry is not None:
            return await slice_of_decision(self.context, self.entry)
        if self.row is None:
            raise NotFound("there is no such thing at that moment", id=self.id)
        return await slice_of_state(self.context, self.id, self.row, self.estate.position, self.fields)

    @resolver("What was asked: the AuthZEN request; null where withheld, or where it is no decision.")
    def request(self) -> JSON | None:
        if self.decision is None or self.decision.request is None:
            return None
        return JSON(json.loads(self.decision.request))

    @resolver("What whoever asked must do with the answer.")
    def obligations(self) -> JSON:
        return JSON([] if self.entry is None else self.entry.data.get("obligations", []))

    @resolver("Everyone whom policy judged, all of whom must be permitted; empty where it was the subject alone.")
    def judged(self) -> list[Judgement]:
        return [
            Judgement(
                principal=item["principal"], outcome=DecisionOutcome(item["outcome"]), determining=item["determining"]
            )
            for item in (() if self.entry is None else self.entry.data.get("judged", []))
        ]

    @resolver("The bundle that decided.")
    async def bundle(self) -> PolicyBundle | None:
        if self.entry is None:
            return None
        row = await self.record.at.get(policy_rows.PolicyBundle, self.entry.data["bundle_id"])
        return None if row is None else PolicyBundle.of(row, self.record.at)

    @resolver("The policies that decided, with their texts.")
    async def policies(self) -> list[DeterminingPolicy]:
        if self.entry is None:
            return []
        data = self.entry.data
        texts: dict[str, str] = {}
        if data["bundle_id"] is not None and self.context.sees_all:
            texts = policy_texts((await read_bundle(self.context.log, self.context.tenant, data["bundle_id"])).policies)
        return [DeterminingPolicy(id=name, text=texts.get(name)) for name in data["determining"]]

    @resolver("The same decision made again from what it was made of.")
    async def redecided(self) -> Redecision | None:
        if self.entry is None:
            return None
        event = await self.context.log.find(self.context.tenant, self.entry.id)
        if event is None:
            raise NotFound("the decision's event is gone", decision=self.id)
        try:
            verdict = await self.context.decisions.redecide(event)
        except NotReplayable as error:
            return Redecision(outcome=None, same=None, not_replayable=error.message)
        same = isinstance(event.payload, DecisionRecorded) and verdict == verdict_of(event.payload)
        return Redecision(outcome=DecisionOutcome(verdict.outcome), same=same, not_replayable=None)

    @resolver("The approval that it asked for, or that was presented to it, with its votes.")
    async def approval(self) -> Approval | None:
        return await load_approval(self.record.at, self.approval_id)

    @resolver("The grant that the approval led to.")
    async def grant(self) -> Grant | None:
        approval = await self.record.at.get(approvals_rows.Approval, self.approval_id)
        return None if approval is None else await load_grant(self.record.at, approval.grant_id)

    @resolver("What the grant set off.")
    async def effect(self) -> Effect | None:
        approval = await self.record.at.get(approvals_rows.Approval, self.approval_id)
        grant = None if approval is None else await self.record.at.get(approvals_rows.Grant, approval.grant_id)
        row = None if grant is None else await self.record.at.get(approvals_rows.Effect, grant.effect_id)
        return None if row is None else Effect.of(row, self.record.at)


async def explain(
    context: Context, object_id: str, *, position: int | None = None, fields: Sequence[str] | None = None
) -> Explanation | None:
    """Return why something is so, as of a position or now; None where there is none, or it is not the caller's to read.

    Raises:
        InvalidInput: fields are asked about that it has not.
    """
    try:
        found = await _event(context, uuid.UUID(object_id))
    except ValueError:
        pass
    else:
        if found is None:
            return None
        object_id, position = found
    if object_id.startswith(_DECISION):
        if fields is not None:
            raise InvalidInput("a decision is explained as a whole: leave `fields` out", field="fields")
        return await _decision(context, object_id, position)
    return await _state(context, full_id(object_id), position, fields)


async def _event(context: Context, event_id: uuid.UUID) -> tuple[str, int] | None:
    """Return what an event made or changed, and its position."""
    stored = await context.log.store.find(context.tenant, event_id)
    entry = None if stored is None else parse_entry(stored)
    if stored is None or entry is None or not may_see(context, entry):
        return None
    touched = object_of(entry.position, stored)
    if touched is None:
        raise InvalidInput(f"{entry.type} changes nothing that the record shows", type=entry.type)
    row, object_id = touched
    prefix = next((prefix for prefix, (_, known) in KINDS.items() if known is row), "")
    return (f"{prefix}{object_id}" if prefix.endswith(":") else object_id), entry.position


async def _decision(context: Context, decision_id: str, position: int | None) -> Explanation | None:
    tag = f"decision:{decision_id}"
    found = await context.log.read_sealed(context.tenant, query_of(((DECIDED,), (tag,))), until=position, limit=1)
    if not found or not may_see(context, found[0]):
        return None
    entry = found[0]
    record = await record_at(context, at_least=entry.position)
    decision = await load_decision(record.at, decision_id)
    if decision is None:
        return None
    approval_id = entry.data.get("approval_id") or await asked_for(context, tag)
    return Explanation(
        context=context,
        entry=entry,
        row=None,
        fields=None,
        approval_id=approval_id,
        id=strawberry.ID(decision_id),
        record=record,
        estate=await record_at(context, position=entry.data["estate_position"]),
        decision=decision,
    )


async def _state(
    context: Context, object_id: str, position: int | None, fields: Sequence[str] | None
) -> Explanation | None:
    now = await record_at(context)
    then = now if position is None else await record_at(context, position=position)
    node = await node_at(then.at, object_id)
    if node is None and object_id.startswith(_RELATION) and context.sees_all:
        object_id = await _recorded(then.at, object_id.removeprefix(_RELATION))
        node = await node_at(then.at, object_id)
    if not isinstance(node, Shown):
        return None
    # What is shown may lack the columns with which rows are worked out.
    shown: Row = node.__dict__["_row"]
    async with context.reader.at(context.tenant, then.position) as stored:
        row = await stored.get(type(shown), shown.id)
    if row is None:
        return None
    return Explanation(
        context=context,
        entry=None,
        row=row,
        fields=fields,
        approval_id=None,
        id=strawberry.ID(object_id),
        record=now,
        estate=then,
        decision=None,
    )


async def _recorded(at: At, name: str) -> str:
    """Return the id under which a relation was recorded that is named by what its ends are called after mergers: of the
    one that `ways` shows. The same id, if there is none."""
    parts = name.split(" ")
    if len(parts) != 3:
        return _RELATION + name
    async with at.record() as record:
        names = Names(partial(record.many, Asset))
        await names.see((parts[0], parts[2]))
        sources, targets = await names.called([names.now(parts[0])]), await names.called([names.now(parts[2])])
        ids = [f"{source} {parts[1]} {target}" for source in sources for target in targets][:_MOST]
        found = await record.many(Relation, ids)
    shown: Relation | None = None
    for row in found.values():
        shown = better(shown, names.moved(row))
    return _RELATION + (name if shown is None else shown.id)
