"""Bugs that people really write, to be patched into production code by tests: what finds none of them proves nothing.

Each names the invariants that may catch it, and within how many schedules of which layer it must be caught.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest
import simulator_world
from eventsourcing.dcb.api import DCBAppendCondition, DCBQuery
from simulator_store import Transaction

from quarterdeck_domain.access.slices import DeactivatePrincipal, RevokeRole
from quarterdeck_domain.approvals import slices_vote, values
from quarterdeck_domain.approvals.slices import CastVote, RedeemGrant, RemindApproval, ReportEffect
from quarterdeck_domain.approvals.values import ApprovalFold, GrantFold, SameAction
from quarterdeck_domain.errors import Refused
from quarterdeck_domain.events import NewEvent
from quarterdeck_domain.policy.events import BundleModeChanged, DecisionRecorded
from quarterdeck_domain.policy.slices import POLICY_BASIS, RecordDecision
from quarterdeck_domain.slices import Decision, boundary
from quarterdeck_ledger import ledger, memory, sequencer
from quarterdeck_ledger.errors import Expired, Unavailable
from quarterdeck_ledger.hot import HotBoundaries
from quarterdeck_ledger.interface import Appended, Executed
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.memory import MemoryStore
from quarterdeck_ledger.sequencer import Sequencer
from quarterdeck_ledger.store import Outcome
from quarterdeck_policy import decisions
from quarterdeck_policy.looking import Looking
from quarterdeck_policy.sight import EstateView
from quarterdeck_projector.dispatcher import NAME, Dispatcher
from quarterdeck_workflows import execution
from quarterdeck_workflows.approval_gate import activities
from quarterdeck_workflows.approval_gate.activities import ApprovalGateActivities

Plant = Callable[[pytest.MonkeyPatch], None]


class Bug(NamedTuple):
    """One bug, and what it breaks."""

    name: str
    layer: str
    within: int
    caught_by: tuple[str, ...]
    plant: Plant


BUGS: list[Bug] = []


def bug(layer: str, within: int, *caught_by: str) -> Callable[[Plant], Plant]:
    """Register a bug under its function's name."""

    def register(plant: Plant) -> Plant:
        BUGS.append(Bug(plant.__name__, layer, within, caught_by, plant))
        return plant

    return register


# The log.


@bug("slices", 400, "one vote each", "one end", "used once", "an effect ends once", "one open request an action")
def append_condition_dropped(patch: pytest.MonkeyPatch) -> None:
    """Events are recorded whatever happened since they were decided."""
    append = EventLedger.append

    async def careless(
        self: Any, tenant: str, events: Any, condition: Any = None, *, not_after: Any = None
    ) -> Appended:
        return await append(self, tenant, events, None, not_after=not_after)

    patch.setattr(EventLedger, "append", careless)


@bug("slices", 4_000, "policy in force")
def condition_without_the_policy(patch: pytest.MonkeyPatch) -> None:
    """A redemption does not watch for another policy while it is under way."""
    complete = RedeemGrant.consistency_boundary

    def narrow(self: RedeemGrant) -> Any:
        items = [item for item in complete(self).items if BundleModeChanged.type not in item.types]
        return DCBQuery(items=items)

    decide = EventLedger._decide

    async def narrowly(self: Any, command: Any, context: Any, condition: Any) -> Executed:
        # It reads everything, and forgets one thing when it says what must not have happened since.
        if isinstance(command, RedeemGrant):
            condition = DCBAppendCondition(narrow(command), condition.after)
        return await decide(self, command, context, condition)

    patch.setattr(EventLedger, "_decide", narrowly)


@bug("slices", 400, "one end", "one vote each", "used once", "an effect ends once", "one open request an action")
def neighbours_in_a_batch_not_kept_apart(patch: pytest.MonkeyPatch) -> None:
    """Two that conflict go into one transaction, each judged against the log before it."""
    patch.setattr(sequencer, "_could_meet", lambda *_: False)


@bug("slices", 400, "durable before told")
def acknowledged_before_commit(patch: pytest.MonkeyPatch) -> None:
    """The sequencer answers when a batch is on its way, not when it is durable."""

    async def hasty(self: Any, tenant: str, batch: list[Any]) -> None:
        position = (await self._store.head(tenant)).position
        for waiting in batch:
            size = len(waiting.submission.drafts)
            if not waiting.answer.done():
                at = await self._store.now()
                waiting.answer.set_result(Outcome(status="ok", first=position + 1, last=position + size, at=at))
            position += size
        await self._store.append_batch(tenant, [waiting.submission for waiting in batch])

    patch.setattr(Sequencer, "_commit", hasty)


@bug("slices", 1_000, "durable before told", "acknowledged is recorded", "everything ends")
def answers_of_a_batch_mixed_up(patch: pytest.MonkeyPatch) -> None:
    """Each caller of a batch hears what became of another."""

    async def mixed(self: Any, tenant: str, batch: list[Any]) -> None:
        try:
            outcomes = await self._store.append_batch(tenant, [waiting.submission for waiting in batch])
        except Unavailable as error:
            for waiting in batch:
                sequencer._fail(waiting, error)
            return
        for waiting, outcome in zip(batch, reversed(outcomes), strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(outcome)

    patch.setattr(Sequencer, "_commit", mixed)


@bug("slices", 400, "gapless")
def position_burnt_by_a_conflict(patch: pytest.MonkeyPatch) -> None:
    """Positions come from a counter that an append which fails has taken from, too."""
    complete, judge = memory.complete, MemoryStore._judge
    burnt: dict[int, int] = {}

    def counted(self: MemoryStore, log: Any, *rest: Any) -> Outcome:
        outcome = judge(self, log, *rest)
        burnt[0] = burnt.get(id(log), 0) + (outcome.status == "conflict")
        burnt[id(log)] = burnt[0]
        return outcome

    patch.setattr(MemoryStore, "_judge", counted)
    patch.setattr(memory, "complete", lambda draft, position, at: complete(draft, position + burnt.get(0, 0), at))


@bug(
    "slices",
    1_000,
    "used once",
    "one open request an action",
    "an effect ends once",
    "a command is whole and done once",
)
def command_id_ignored(patch: pytest.MonkeyPatch) -> None:
    """Every attempt of a command makes new event ids, so that a repetition is another command."""
    new_events = ledger.new_events

    def fresh(payloads: Any, context: Any) -> list[NewEvent]:
        made = new_events(payloads, context)
        return [msgspec.structs.replace(event, id=_fresh_id()) for event in made]

    patch.setattr(ledger, "new_events", fresh)


@bug("slices", 1_000, "refused is not recorded", "everything ends")
def repetition_refused(patch: pytest.MonkeyPatch) -> None:
    """Who asks again after a lost answer is refused because of what it did itself."""

    async def forgetful(self: Any, context: Any) -> None:
        return None

    patch.setattr(EventLedger, "repeated", forgetful)


@bug("slices", 6_000, "decided in time", "used in time")
def not_after_not_checked(patch: pytest.MonkeyPatch) -> None:
    """Time is looked at when deciding, and not again under the lock."""
    append = EventLedger.append

    async def late(self: Any, tenant: str, events: Any, condition: Any = None, *, not_after: Any = None) -> Appended:
        return await append(self, tenant, events, condition)

    patch.setattr(EventLedger, "append", late)


@bug("slices", 400, "seats")
def hot_boundary_without_the_lock(patch: pytest.MonkeyPatch) -> None:
    """A hot command reads, decides and appends as if it were alone."""

    async def alone(self: Any, command: Any, context: Any) -> Executed:
        before: Executed | None = await self._ledger.repeated(context)
        if before is not None:
            return before
        command.state = command.new_state()
        for event in await self._ledger.read(context.tenant, command.consistency_boundary()):
            command.apply(event)
        decision = command.decide(await self._ledger.now())
        events = await self._ledger.prepared(decision.events, context)
        placed = await self._ledger.append(context.tenant, events, None, not_after=decision.not_after)
        found = ledger.recorded(context.tenant, events, placed)
        return Executed(position=placed.last, recorded_at=placed.recorded_at, events=found)

    patch.setattr(HotBoundaries, "execute", alone)


@bug("slices", 400, "seats")
def hot_fold_not_caught_up(patch: pytest.MonkeyPatch) -> None:
    """The kept fold of a hot boundary misses what other processes recorded."""

    async def stale(self: Any, kept: Any, command: Any, _locked: Any) -> None:
        if kept.state is None:
            kept.state = command.new_state()
        command.state = kept.state

    patch.setattr(HotBoundaries, "_catch_up", stale)


@bug("slices", 2_500, "once", "durable before told")
def hot_command_twice_in_one_turn(patch: pytest.MonkeyPatch) -> None:
    """A command that waits twice in one turn of a hot boundary is done twice. (It was so; a schedule found it.)"""

    class Unaware(set[uuid.UUID]):
        def add(self, _: uuid.UUID) -> None:
            """Learn nothing during the turn."""

    known = Transaction.known

    async def unaware(self: Any, ids: Any) -> set[uuid.UUID]:
        return Unaware(await known(self, ids))

    patch.setattr(Transaction, "known", unaware)


# The slices.


@bug("slices", 400, "used once")
def second_redemption_allowed(patch: pytest.MonkeyPatch) -> None:
    """A grant that was used may be used."""
    patch.setattr(GrantFold, "unused", lambda self, _now: self.minted)


@bug("slices", 400, "the requester never decides", "people decide")
def requester_may_vote(patch: pytest.MonkeyPatch) -> None:
    """Nobody looks at who votes on whose request."""
    patch.setattr(CastVote, "_require_independent", lambda *_: None)


@bug("slices", 400, "decided as shown")
def approval_bound_to_another_digest(patch: pytest.MonkeyPatch) -> None:
    """What the voter was shown is not compared with what is asked."""
    decide = CastVote.decide

    def blind(self: CastVote, now: Any) -> Decision:
        shown, request = self.action_digest, self._approval.request
        self.action_digest = request.action_digest if request is not None else shown
        decision = decide(self, now)
        cast, *rest = decision.events
        return msgspec.structs.replace(decision, events=(msgspec.structs.replace(cast, action_digest=shown), *rest))

    patch.setattr(CastVote, "decide", blind)


@bug("slices", 400, "quorum")
def quorum_of_one_too_few(patch: pytest.MonkeyPatch) -> None:
    """The count is compared off by one."""

    def early(stages: Any, votes: Any, roles_of: Any) -> Any:
        cast = tuple(votes)
        return next((one for one in stages if len(values.counted(one, cast, roles_of)) < one.quorum - 1), None)

    patch.setattr(slices_vote, "open_stage", early)


@bug("slices", 4_000, "quorum")
def votes_of_who_left_still_count(patch: pytest.MonkeyPatch) -> None:
    """A vote counts although its voter may not decide any more."""

    def generous(stage: Any, votes: Any, _roles_of: Any) -> frozenset[str]:
        return frozenset(vote.approver for vote in votes if vote.stage == stage.name and vote.verdict == "approve")

    patch.setattr(values, "counted", generous)


@bug("slices", 1_000, "decided in time", "one end", "decided while open")
def ended_approvals_decided(patch: pytest.MonkeyPatch) -> None:
    """A vote does not look at whether there is anything left to decide."""
    patch.setattr(ApprovalFold, "pending", lambda self, _now: self.request)


@bug("slices", 1_000, "permitted before done", "policy in force")
def redeemed_without_asking_policy_again(patch: pytest.MonkeyPatch) -> None:
    """The re-evaluation is named, and nobody looks at it."""
    patch.setattr(RedeemGrant, "_require_permit", lambda *_: None)


@bug("slices", 400, "an effect ends once")
def effects_reported_again(patch: pytest.MonkeyPatch) -> None:
    """A report does not see the one before it."""
    apply = ReportEffect.apply

    def deaf(self: ReportEffect, event: Any) -> None:
        apply(self, event)
        self.effect.outcome = None

    patch.setattr(ReportEffect, "apply", deaf)


@bug("slices", 400, "one open request an action")
def same_action_asked_twice(patch: pytest.MonkeyPatch) -> None:
    """One may ask again while the first request is open."""
    patch.setattr(SameAction, "open_request", lambda *_: None)


@bug("slices", 400, "an administrator remains")
def administrators_not_in_the_boundary(patch: pytest.MonkeyPatch) -> None:
    """Two administrators may take each other away at the same moment: neither watches the other."""
    decide = EventLedger._decide

    async def careless(self: Any, command: Any, context: Any, condition: Any) -> Executed:
        if isinstance(command, RevokeRole | DeactivatePrincipal):
            everyone = boundary(*command.people.needs())
            items = [item for item in everyone.items if f"principal:{command.principal_id}" in item.tags]
            condition = DCBAppendCondition(DCBQuery(items=items), condition.after)
        return await decide(self, command, context, condition)

    patch.setattr(EventLedger, "_decide", careless)


# Deciding, and acting over time.


@bug("journeys", 200, "durable before told")
def decision_answered_before_it_is_recorded(patch: pytest.MonkeyPatch) -> None:
    """The decision point answers, and records beside it."""
    append = EventLedger.append

    async def beside(self: Any, tenant: str, events: Any, condition: Any = None, *, not_after: Any = None) -> Appended:
        if not isinstance(events[0].payload, DecisionRecorded):
            return await append(self, tenant, events, condition, not_after=not_after)
        task = asyncio.ensure_future(append(self, tenant, events, condition, not_after=not_after))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        head = await self.head(tenant)
        return Appended(first=head.position + 1, last=head.position + len(events), recorded_at=await self.now())

    patch.setattr(EventLedger, "append", beside)


@bug("journeys", 1_500, "policy in force", "what is shut is denied")
def decided_on_a_stale_policy(patch: pytest.MonkeyPatch) -> None:
    """A decision is recorded although policy has changed since its basis was read."""
    append = EventLedger.append

    async def careless(
        self: Any, tenant: str, events: Any, condition: Any = None, *, not_after: Any = None
    ) -> Appended:
        if isinstance(events[0].payload, DecisionRecorded):
            condition = None
        return await append(self, tenant, events, condition, not_after=not_after)

    patch.setattr(EventLedger, "append", careless)


@bug("journeys", 2_000, "what is shut is denied")
def decided_on_a_stale_estate(patch: pytest.MonkeyPatch) -> None:
    """A decision is recorded although something it names was put into quarantine since."""
    patch.setattr(RecordDecision, "consistency_boundary", lambda _: POLICY_BASIS)


@bug("journeys", 400, "what is shut is denied")
def the_estate_is_looked_at_once(patch: pytest.MonkeyPatch) -> None:
    """What is known of an object is kept, whatever happens to it."""

    def unmoved(self: EstateView, _changes: Any) -> EstateView:
        return self

    patch.setattr(EstateView, "after", unmoved)


@bug("journeys", 400, "what is shut is denied")
def servers_do_not_count(patch: pytest.MonkeyPatch) -> None:
    """A tool is looked at, and nobody asks whose it is."""
    patch.setattr(Looking, "_servers", lambda *_: [])


@bug("journeys", 4_000, "what is shut is denied")
def redemption_that_does_not_watch_the_estate(patch: pytest.MonkeyPatch) -> None:
    """A grant is used on a permit from before the quarantine."""
    patch.setattr(RedeemGrant, "widened", lambda _: None)


@bug("journeys", 600, "deny by default")
def permitted_without_a_policy(patch: pytest.MonkeyPatch) -> None:
    """Where no policy is in force, everything goes."""
    patch.setattr(decisions, "NO_POLICY", msgspec.structs.replace(decisions.NO_POLICY, outcome="permit"))


@bug("journeys", 2_500, "everything ends", "gates agree with the log")
def dispatcher_advances_before_it_acts(patch: pytest.MonkeyPatch) -> None:
    """The dispatcher's place is moved first, and it never looks back at what is open."""

    async def hasty(self: Any, tenant: str) -> bool:
        followers = self._followers
        after = await followers.position(tenant, NAME)
        head = (await self._ledger.head(tenant)).position
        if head <= after:
            return False
        await followers.advance(tenant, NAME, head)
        for event in await self._ledger.read(tenant, after=after, until=head):
            await self._handle(event)
        return True

    async def never(self: Any, _tenant: str) -> int:
        return 0

    patch.setattr(Dispatcher, "advance", hasty)
    patch.setattr(Dispatcher, "reconcile", never)


@bug("journeys", 2_500, "everything ends", "gates agree with the log")
def lost_gates_not_rebuilt(patch: pytest.MonkeyPatch) -> None:
    """When Temporal has lost its data, nobody starts the gates of open approvals again."""

    async def never(self: Any, _tenant: str) -> int:
        return 0

    patch.setattr(Dispatcher, "reconcile", never)


@bug("journeys", 1_500, "told when due")
def gate_effects_repeated_on_retry(patch: pytest.MonkeyPatch) -> None:
    """An activity that is tried again has a fresh command id, and its slice believes that it is due."""

    def believing(self: RemindApproval, now: Any) -> Decision:
        request = self.approval.pending(now)
        return Decision(events=(values.ApprovalReminded(approval_id=request.approval_id),))

    patch.setattr(RemindApproval, "decide", believing)
    patch.setattr(execution, "command_id", lambda *_: _fresh_id())


@bug("journeys", 2_500, "everything ends", "gates agree with the log")
def gate_that_fails_over_a_late_reminder(patch: pytest.MonkeyPatch) -> None:
    """A reminder that comes too late to be recorded fails its gate for good. (It did; a schedule found it.)"""
    record = execution.record

    class Strict:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        async def execute(self, command: Any, context: Any) -> Executed:
            try:
                found: Executed = await self._inner.execute(command, context)
            except Expired as error:
                raise Refused(error.message) from error
            return found

    async def strictly(inner: Any, tenant: str, command: Any, step: str) -> bool:
        return await record(Strict(inner), tenant, command, step)  # type: ignore[arg-type]

    patch.setattr(activities, "record", strictly)


@bug("journeys", 200, "everything ends", "gates agree with the log")
def gate_that_expires_nothing(patch: pytest.MonkeyPatch) -> None:
    """The gate's expiry reports success and records nothing."""

    async def nothing(self: Any, _gate: Any) -> None:
        return None

    patch.setattr(ApprovalGateActivities, "expire_approval", nothing)


@bug("journeys", 1_000, "refused is not recorded")
def redemption_key_ignored(patch: pytest.MonkeyPatch) -> None:
    """A redeemer that asks again after a lost answer is refused, because the grant is used: by itself."""

    async def unknown(_services: Any, _context: Any) -> None:
        return None

    patch.setattr(simulator_world.redeem_module, "_redeemed_before", unknown)


def _fresh_id() -> uuid.UUID:
    return uuid.UUID(int=simulator_world._rng.getrandbits(128), version=4)
