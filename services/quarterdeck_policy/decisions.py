"""Decisions as events: made from a verdict, recognised when a command comes again. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from eventsourcing.dcb.api import DCBAppendCondition, DCBQuery

from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.events import Actor, RecordedEvent, event_id
from quarterdeck_domain.ids import make_id
from quarterdeck_domain.intent import Intent, action_digest
from quarterdeck_domain.policy.events import DecisionRecorded
from quarterdeck_domain.policy.values import Verdict
from quarterdeck_ledger.interface import Context
from quarterdeck_policy.authzen import CanonicalIntent, binding_context, request_text
from quarterdeck_policy.basis import ReadyBundle
from quarterdeck_policy.chain import Member, judge
from quarterdeck_policy.engine import NO_POLICY, failed
from quarterdeck_policy.estate import Sight, refusal


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to decide. `approval_id`: an approval that was presented, and that the caller found to apply.

    `guard`: what the caller stood on when it found so; the decision is not recorded if a matching event is.
    """

    intent: Intent
    approval_id: str | None = None
    guard: DCBAppendCondition | None = None


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """A decision and the event that records it. `repeated`: the command had been decided before."""

    event: RecordedEvent
    decision: DecisionRecorded
    verdict: Verdict
    repeated: bool = False


def judged_on(
    bundle: ReadyBundle | None,
    intent: Intent,
    judged: Sequence[Member],
    sight: Sight,
    now: datetime | None,
    *,
    caller: Actor,
    approved: bool,
) -> Verdict:
    """Return the verdict on an intent, from everything that a decision stands on. Never raises.

    What the estate bars is denied before any policy is asked.
    """
    if sight.problem:
        return failed([sight.problem])
    if sight.barred:
        return refusal(sight.barred)
    if bundle is None:
        return NO_POLICY
    if bundle.loaded is None:
        return failed([bundle.problem])
    return judge(bundle.loaded, intent, judged, now, caller=caller, approved=approved, sight=sight)


def make_decision(
    bundle: ReadyBundle | None,
    context: Context,
    ask: Ask,
    index: int,
    position: int,
    now: datetime | None,
    judged: Sequence[Member],
    sight: Sight,
) -> tuple[DecisionRecorded, Verdict]:
    """Evaluate one ask on a basis, for everyone whom policy judges, and return the event that would record it."""
    intent = ask.intent
    loaded = None if bundle is None else bundle.loaded
    approved = ask.approval_id is not None
    verdict = judged_on(bundle, intent, judged, sight, now, caller=context.actor, approved=approved)
    bound = binding_context(intent, frozenset() if loaded is None else loaded.context_members)
    texts = CanonicalIntent(intent)
    decision = DecisionRecorded(
        decision_id=make_id("dec", event_id(context.command_id, index)),
        subject=intent.subject.ref,
        action=intent.action.name,
        resource=intent.resource.ref,
        request=texts.request_text,
        action_digest=action_digest(context.tenant, context.actor, texts.intent_text),
        binding_hash=texts.binding_hash(bound),
        binding_context=bound,
        outcome=verdict.outcome,
        determining=verdict.determining,
        judged=verdict.judged,
        reason=verdict.reason,
        obligations=verdict.obligations,
        approval_path=verdict.approval_path,
        bundle_id=None if bundle is None else bundle.bundle_id,
        bundle_digest=None if bundle is None else bundle.digest,
        estate_position=position,
        evaluated_at=now,
        approval_id=ask.approval_id,
        errors=verdict.errors,
        estate=sight.estate,
        barred=verdict.barred,
    )
    return decision, verdict


def verdict_of(decision: DecisionRecorded) -> Verdict:
    """Return the verdict that a decision records."""
    return Verdict(
        outcome=decision.outcome,
        determining=decision.determining,
        reason=decision.reason,
        obligations=decision.obligations,
        approval_path=decision.approval_path,
        errors=decision.errors,
        judged=decision.judged,
        barred=decision.barred,
    )


def same_request(context: Context, event: RecordedEvent, decision: DecisionRecorded, ask: Ask) -> bool:
    """Tell whether a recorded decision answers this very request of this very requester."""
    return (
        event.actor == context.actor
        and decision.approval_id == ask.approval_id
        and decision.request == request_text(ask.intent)
    )


def with_guards(query: DCBQuery, asks: Sequence[Ask | InvalidInput]) -> DCBQuery:
    """Return a query widened by everything the asks stand on themselves."""
    guards = [ask.guard.fail_if_events_match for ask in asks if isinstance(ask, Ask) and ask.guard is not None]
    if any(not guard.items for guard in guards):
        return DCBQuery(items=[])  # an empty query matches everything, and so does the wider one
    return DCBQuery(items=[*query.items, *(item for guard in guards for item in guard.items)])
