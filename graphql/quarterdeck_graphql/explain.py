"""Why a decision was made: from the log alone, so that it is the same story whenever it is asked for."""

from __future__ import annotations

import json
import re
from typing import Final

import strawberry
from eventsourcing.dcb.api import DCBQuery, DCBQueryItem
from strawberry.scalars import JSON

from quarterdeck_domain.errors import NotFound
from quarterdeck_domain.policy.events import DecisionRecorded
from quarterdeck_graphql.approvals import Approval, Effect, Grant, load_approval, load_grant
from quarterdeck_graphql.context import Context
from quarterdeck_graphql.declare import resolver
from quarterdeck_graphql.enums import DecisionOutcome
from quarterdeck_graphql.events import TimelineEntry, may_see, show_entries
from quarterdeck_graphql.policy import Decision, PolicyBundle, load_decision
from quarterdeck_graphql.record import Record, record_at
from quarterdeck_ledger.entry import Entry
from quarterdeck_policy.basis import read_bundle
from quarterdeck_policy.cedar_text import split_policies
from quarterdeck_policy.decisions import verdict_of
from quarterdeck_policy.errors import NotReplayable
from quarterdeck_readmodels import approvals as approvals_rows
from quarterdeck_readmodels import policy as policy_rows

MAX_EVENTS: Final = 200
_DECIDED: Final = "policy.decision_recorded"
_ID: Final = re.compile(r'@id\s*\(\s*"([^"\\]*)"\s*\)')


@strawberry.type(description="A policy that determined the decision.")
class DeterminingPolicy:
    id: str = strawberry.field(description="Its `@id`.")
    text: str | None = strawberry.field(description="What it says, as its bundle had it.")


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


@strawberry.type(description="Why a decision was made, and what it led to.")
class Explanation:
    context: strawberry.Private[Context]
    entry: strawberry.Private[Entry]
    approval_id: strawberry.Private[str | None]
    record: Record = strawberry.field(description="The record as it is: what the rest of this stands in.")
    estate: Record = strawberry.field(description="The record as the decision saw it.")
    decision: Decision = strawberry.field(description="The decision.")
    events: list[TimelineEntry] = strawberry.field(
        description="The events it rests on and those it led to, by position; the first 200."
    )

    @resolver("What was asked: the AuthZEN request; null where withheld.")
    def request(self) -> JSON | None:
        return None if self.decision.request is None else JSON(json.loads(self.decision.request))

    @resolver("What whoever asked must do with the answer.")
    def obligations(self) -> JSON:
        return JSON(self.entry.data.get("obligations", []))

    @resolver("Everyone whom policy judged, all of whom must be permitted; empty where it was the subject alone.")
    def judged(self) -> list[Judgement]:
        return [
            Judgement(
                principal=item["principal"], outcome=DecisionOutcome(item["outcome"]), determining=item["determining"]
            )
            for item in self.entry.data.get("judged", [])
        ]

    @resolver("The bundle that decided.")
    async def bundle(self) -> PolicyBundle | None:
        row = await self.record.at.get(policy_rows.PolicyBundle, self.entry.data["bundle_id"])
        return None if row is None else PolicyBundle.of(row, self.record.at)

    @resolver("The policies that decided, with their texts.")
    async def policies(self) -> list[DeterminingPolicy]:
        data = self.entry.data
        texts: dict[str, str] = {}
        if data["bundle_id"] is not None and self.context.sees_all:
            texts = policy_texts((await read_bundle(self.context.log, self.context.tenant, data["bundle_id"])).policies)
        return [DeterminingPolicy(id=name, text=texts.get(name)) for name in data["determining"]]

    @resolver("The same decision made again from what it was made of.")
    async def redecided(self) -> Redecision:
        event = await self.context.log.find(self.context.tenant, self.entry.id)
        if event is None:
            raise NotFound("the decision's event is gone", decision=self.decision.id)
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


async def explain_decision(context: Context, decision_id: str) -> Explanation | None:
    """Return the explanation of a decision; None where there is none, or it is not the caller's to read."""
    tag = f"decision:{decision_id}"
    found = await context.log.read_sealed(context.tenant, _query(((_DECIDED,), (tag,))), limit=1)
    if not found or not may_see(context, found[0]):
        return None
    entry = found[0]
    record = await record_at(context, at_least=entry.position)
    decision = await load_decision(record.at, decision_id)
    if decision is None:
        return None
    approval_id = entry.data.get("approval_id") or await _asked_for(context, tag)
    return Explanation(
        context=context,
        entry=entry,
        approval_id=approval_id,
        record=record,
        estate=await record_at(context, position=entry.data["estate_position"]),
        decision=decision,
        events=await show_entries(context, await _story(context, entry, approval_id)),
    )


def policy_texts(policies: str) -> dict[str, str]:
    """Return the text of each policy of a bundle by its `@id`."""
    found: dict[str, str] = {}
    for item in split_policies(policies):
        name = _ID.search(item.head)
        if name is not None:
            found[name[1]] = item.text
    return found


async def _asked_for(context: Context, decision_tag: str) -> str | None:
    """Return the approval that was asked for because of a decision."""
    query = _query((("approval.requested",), (decision_tag,)))
    found = await context.log.read_sealed(context.tenant, query, limit=1)
    return str(found[0].data["approval_id"]) if found else None


async def _story(context: Context, entry: Entry, approval_id: str | None) -> list[Entry]:
    """Return the events that a decision rests on and those it led to, by position."""
    log, tenant, data = context.log, context.tenant, entry.data
    after = [((), (f"decision:{data['decision_id']}",))]
    if approval_id is not None:
        after.append(((), (f"approval:{approval_id}",)))
    story = {item.position: item for item in await log.read_sealed(tenant, _query(*after), limit=MAX_EVENTS)}
    bundle_id = data["bundle_id"]
    if bundle_id is not None and context.sees_all:
        tag = (f"bundle:{bundle_id}",)
        for event_type in ("policy_bundle.published", "policy_bundle.mode_changed"):
            # Of its modes, the one it had when it decided.
            before = await log.read_sealed(
                tenant, _query(((event_type,), tag)), until=data["estate_position"], limit=1, backwards=True
            )
            story.update((item.position, item) for item in before)
    return [story[position] for position in sorted(story)][:MAX_EVENTS]


def _query(*items: tuple[tuple[str, ...], tuple[str, ...]]) -> DCBQuery:
    return DCBQuery(items=[DCBQueryItem(types=list(types), tags=list(tags)) for types, tags in items])
