"""The policy decision point: an intent in, a decision that is recorded before anybody hears of it out.

A decision stands on a basis: the bundle in force, the principals, the estate. It is appended on the condition that
nothing of that was recorded after the basis. A stale basis conflicts, is brought up to date, and the intent is
evaluated again. If the log does not answer, nothing is decided.

Source: AuthZEN Authorization API 1.0 sections 6 and 7; ARAP draft, re-evaluation.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Final

from eventsourcing.dcb.api import DCBAppendCondition

from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.events import Actor, RecordedEvent
from quarterdeck_domain.intent import Intent
from quarterdeck_domain.policy.events import Barred, DecisionRecorded
from quarterdeck_domain.policy.slices import RecordDecision
from quarterdeck_domain.policy.values import Verdict
from quarterdeck_ledger import faults, instruments
from quarterdeck_ledger.contention import MAX_TRIES, pause
from quarterdeck_ledger.errors import AppendConflict, Contended, Expired, IdReused
from quarterdeck_ledger.facts import recorded
from quarterdeck_ledger.interface import Context, Ledger
from quarterdeck_policy.authzen import Semantic, intent_of, parse_json
from quarterdeck_policy.basis import Basis, ReadyBundle, first_basis, next_basis, ready_bundle, subject_at
from quarterdeck_policy.chain import members
from quarterdeck_policy.decisions import (
    Ask,
    Decided,
    judged_on,
    make_decision,
    same_request,
    verdict_of,
    with_guards,
)
from quarterdeck_policy.engine import Engine, failed
from quarterdeck_policy.errors import NotReplayable
from quarterdeck_policy.named import names_of
from quarterdeck_policy.sight import sight_at

MAX_TENANTS: Final = 256
MAX_PAST_BUNDLES: Final = 32
TIME_HOLDS: Final = timedelta(seconds=5)
"""How long a verdict that read the clock may wait to be recorded."""


class _Tenant:
    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.basis: Basis | None = None


class DecisionPoint:
    """Decides for any number of tenants. One per process and event loop."""

    def __init__(self, ledger: Ledger, engine: Engine | None = None) -> None:
        """Decide on this ledger."""
        self._ledger = ledger
        self._engine = engine or Engine()
        self._tenants: OrderedDict[str, _Tenant] = OrderedDict()
        self._past: OrderedDict[tuple[str, str], ReadyBundle] = OrderedDict()

    async def decide(
        self,
        context: Context,
        intent: Intent,
        *,
        approval_id: str | None = None,
        guard: DCBAppendCondition | None = None,
    ) -> Decided:
        """Evaluate an intent, record the decision, and then return it. See `Ask` for `approval_id` and `guard`.

        A command id that was decided before returns that decision.

        Raises:
            Unavailable, Busy: the log does not take it: there is no decision, so the answer is no.
            WrongState: the tenant is closed.
            Contended: policy, principals or the estate changed on every try, with a growing pause after each.
            AppendConflict: an event matched `guard`: find out anew whether the approval applies.
            IdReused: the command id was used with another request.
        """
        ask = Ask(intent=intent, approval_id=approval_id, guard=guard)
        (decided,) = await self.decide_many(context, (ask,))
        if isinstance(decided, InvalidInput):
            raise decided
        return decided

    @instruments.decide
    async def decide_many(
        self, context: Context, asks: Sequence[Ask | InvalidInput], semantic: Semantic = "execute_all"
    ) -> tuple[Decided | InvalidInput, ...]:
        """Decide several at once, all or none recorded, in one append.

        Returns what was evaluated, in order: with `deny_on_first_deny` up to the first that is not a permit, with
        `permit_on_first_permit` up to the first that is. An ask that is an error stays one and counts as a denial.

        Raises:
            as `decide`.
        """
        for attempt in range(MAX_TRIES):
            basis = await self._basis(context.tenant)
            # The basis may move on meanwhile; everything below stands on this position.
            position = basis.position
            basis.require_open()
            await self._check_guards(context.tenant, position, asks)
            await basis.estate.look(self._ledger, position)
            decided = await self._evaluate(basis, position, context, asks, semantic)
            try:
                return await self._record(basis, context, asks, decided)
            except AppendConflict:
                await pause(attempt)
                await self._renew(basis)
            except Expired:
                continue
            except IdReused:
                return await self._recorded_before(context, asks)
        raise Contended(f"what it stands on changed {MAX_TRIES} times while deciding; try again", tries=MAX_TRIES)

    async def rehearse(self, context: Context, ask: Ask) -> DecisionRecorded:
        """Return the decision that would be made of this now. Nothing is recorded.

        Raises:
            WrongState: the tenant is closed.
            NotFound: the bundle in force was never published.
        """
        basis = await self._basis(context.tenant)
        basis.require_open()
        (made,) = await self._evaluate(basis, basis.position, context, (ask,), "execute_all")
        if isinstance(made, InvalidInput):
            raise made
        return made[0]

    async def redecide(self, event: RecordedEvent) -> Verdict:
        """Make a recorded decision again, from the bundle, the request and the log as they were then.

        It must equal `verdict_of(event.payload)`.

        Raises:
            InvalidInput: the event is not a decision.
            NotReplayable: its request was erased.
            NotFound: its bundle is not in the log.
        """
        decision = event.payload
        if not isinstance(decision, DecisionRecorded):
            raise InvalidInput(f"{event.type} is not a decision", expected=DecisionRecorded.type)
        if decision.request is None:
            raise NotReplayable("the request was erased with its data subject's key", decision_id=decision.decision_id)
        intent = intent_of(parse_json(decision.request.encode()))
        tenant, position = event.tenant, decision.estate_position
        judged = await members(
            intent, event.actor, lambda principal_id: subject_at(self._ledger, tenant, principal_id, position)
        )
        # Where no time was recorded, none counted: what it saw of the estate held from then on.
        moment = decision.evaluated_at or event.recorded_at
        sight = await sight_at(self._ledger, tenant, names_of(intent, judged), position, moment)
        bundle = None if decision.bundle_id is None else await self._past_bundle(tenant, decision.bundle_id)
        if bundle is not None and bundle.digest != decision.bundle_digest:
            return failed([f"bundle {decision.bundle_id} is not the one that decided: its digest differs"])
        approved = decision.approval_id is not None
        return judged_on(bundle, intent, judged, sight, decision.evaluated_at, caller=event.actor, approved=approved)

    async def barred(self, tenant: str, intent: Intent, caller: Actor) -> tuple[Barred, ...]:
        """Return what an intent names and nobody may use now. A decision finds out by itself; this is for who would
        only wait for one in vain.

        Raises:
            Unavailable: the log does not answer.
        """
        position, now = (await self._ledger.head(tenant)).position, await self._ledger.now()
        judged = await members(intent, caller, lambda name: subject_at(self._ledger, tenant, name, position))
        return (await sight_at(self._ledger, tenant, names_of(intent, judged), position, now)).barred

    async def _basis(self, tenant: str) -> Basis:
        state = self._state(tenant)
        if state.basis is None:
            async with state.lock:
                if state.basis is None:
                    state.basis = await first_basis(self._ledger, self._engine, tenant)
        return state.basis

    async def _renew(self, stale: Basis) -> Basis:
        state = self._state(stale.tenant)
        async with state.lock:
            # Whoever came first has renewed it for all.
            if state.basis is stale or state.basis is None:
                state.basis = await next_basis(self._ledger, self._engine, stale)
            return state.basis

    def _state(self, tenant: str) -> _Tenant:
        state = self._tenants.setdefault(tenant, _Tenant())
        self._tenants.move_to_end(tenant)
        if len(self._tenants) > MAX_TENANTS:
            self._tenants.popitem(last=False)
        return state

    async def _check_guards(self, tenant: str, position: int, asks: Sequence[Ask | InvalidInput]) -> None:
        for ask in asks:
            if isinstance(ask, InvalidInput) or ask.guard is None:
                continue
            # The append looks only behind the basis; what lies between the guard and the basis is looked at here.
            after, query = ask.guard.after or 0, ask.guard.fail_if_events_match
            if after < position and await self._ledger.read(tenant, query, after=after, until=position, limit=1):
                raise AppendConflict("what the approval stands on has changed; look at it again", after=after)

    async def _evaluate(
        self, basis: Basis, position: int, context: Context, asks: Sequence[Ask | InvalidInput], semantic: Semantic
    ) -> list[tuple[DecisionRecorded, Verdict] | InvalidInput]:
        now = await self._ledger.now() if basis.reads_clock else None
        made: list[tuple[DecisionRecorded, Verdict] | InvalidInput] = []
        recorded = 0
        for ask in asks:
            if isinstance(ask, InvalidInput):
                made.append(ask)
                permitted = False
            else:
                judged = await members(ask.intent, context.actor, partial(basis.subject, self._ledger))
                names = names_of(ask.intent, judged)
                sight = await basis.estate.sight(self._ledger, names, position, now or basis.clock)
                if sight.until is not None and now is None:
                    # Dates matter: only the database's clock says which of them have come.
                    now = await self._ledger.now()
                    sight = await basis.estate.sight(self._ledger, names, position, now)
                decision, verdict = make_decision(basis.bundle, context, ask, recorded, position, now, judged, sight)
                recorded += 1
                made.append((decision, verdict))
                permitted = verdict.outcome == "permit"
            if semantic == ("permit_on_first_permit" if permitted else "deny_on_first_deny"):
                break
        return made

    async def _record(
        self,
        basis: Basis,
        context: Context,
        asks: Sequence[Ask | InvalidInput],
        made: Sequence[tuple[DecisionRecorded, Verdict] | InvalidInput],
    ) -> tuple[Decided | InvalidInput, ...]:
        decisions = [item[0] for item in made if not isinstance(item, InvalidInput)]
        if not decisions:
            return tuple(item for item in made if isinstance(item, InvalidInput))
        position = decisions[0].estate_position
        evaluated_at = next((item.evaluated_at for item in decisions if item.evaluated_at is not None), None)
        not_after = None if evaluated_at is None else evaluated_at + TIME_HOLDS
        command = RecordDecision(decisions, position, not_after)
        decision = command.decide(evaluated_at or basis.clock)
        events = await self._ledger.prepared(decision.events, context)
        query = with_guards(command.consistency_boundary(), asks)
        faults.point("decision.before_record")
        placed = await self._ledger.append(
            context.tenant, events, DCBAppendCondition(query, position), not_after=decision.not_after
        )
        faults.point("decision.after_record")
        if not placed.repeated:
            basis.advance(placed.last, placed.recorded_at)
        facts = iter(recorded(context.tenant, events, placed))
        return tuple(
            item
            if isinstance(item, InvalidInput)
            else Decided(event=next(facts), decision=item[0], verdict=item[1], repeated=placed.repeated)
            for item in made
        )

    async def _recorded_before(
        self, context: Context, asks: Sequence[Ask | InvalidInput]
    ) -> tuple[Decided | InvalidInput, ...]:
        """Return the decisions that this command id came to before."""
        repeated = await self._ledger.repeated(context)
        if repeated is None:
            raise IdReused("this command id was used with another request")
        answers: list[Decided | InvalidInput] = []
        events = iter(repeated.events)
        for ask in asks:
            if isinstance(ask, InvalidInput):
                answers.append(ask)
                continue
            event = next(events, None)
            if event is None:
                break
            decision = event.payload
            if not isinstance(decision, DecisionRecorded) or not same_request(context, event, decision, ask):
                raise IdReused("this command id was used with another request", position=event.position)
            answers.append(Decided(event=event, decision=decision, verdict=verdict_of(decision), repeated=True))
        return tuple(answers)

    async def _past_bundle(self, tenant: str, bundle_id: str) -> ReadyBundle:
        found = self._past.get((tenant, bundle_id))
        if found is None:
            found = await ready_bundle(self._ledger, self._engine, tenant, bundle_id)
            self._past[tenant, bundle_id] = found
            if len(self._past) > MAX_PAST_BUNDLES:
                self._past.popitem(last=False)
        self._past.move_to_end((tenant, bundle_id))
        return found
