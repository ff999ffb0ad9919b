"""Decisions are recorded before they are answered, on the policy that was in force, once per command.

Serves DC-02, S0-35, S0-66, S0-82, S0-90, S0-100, S0-162.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from eventsourcing.dcb.api import DCBAppendCondition, DCBQuery

from quarterdeck_domain.access.events import (
    ApiKeyRevoked,
    PrincipalDeactivated,
    PrincipalRegistered,
    Role,
    RoleGranted,
    TenantClosed,
)
from quarterdeck_domain.access.values import SYSTEM
from quarterdeck_domain.errors import InvalidInput, QuarterdeckError, WrongState
from quarterdeck_domain.events import Actor, Event, NewEvent, RecordedEvent
from quarterdeck_domain.ids import make_id
from quarterdeck_domain.intent import Action, Entity, Intent, action_digest
from quarterdeck_domain.policy.commands import PublishPolicyBundle
from quarterdeck_domain.policy.events import BundleModeChanged, DecisionRecorded
from quarterdeck_domain.policy.slices import ChangeBundleMode, PublishBundle, enforced_after
from quarterdeck_domain.policy.values import BundleText
from quarterdeck_domain.slices import boundary
from quarterdeck_ledger.contention import MAX_TRIES, longest_pause_s
from quarterdeck_ledger.errors import AppendConflict, Busy, Contended, IdReused, Unavailable
from quarterdeck_ledger.interface import Appended, Context
from quarterdeck_ledger.keys import MemoryKeyStore
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.memory import MemoryStore
from quarterdeck_policy import decision_point
from quarterdeck_policy.authzen import MAX_REQUEST_BYTES, binding_hash, intent_text, request_text
from quarterdeck_policy.decision_point import DecisionPoint
from quarterdeck_policy.decisions import Ask, Decided, verdict_of
from quarterdeck_policy.errors import InvalidBundle, NotReplayable
from quarterdeck_policy.preflight import CHECKS

ADMIN = Actor(principal="prn_admin", kind="human")
CALLER = Actor(principal="prn_caller", kind="service", on_behalf_of=("prn_ann",))
BOT = make_id("prn", uuid.UUID(int=7))
PERMIT = '@id("yes") permit(principal, action, resource);'
FORBID = '@id("no") forbid(principal, action, resource);'
HUMAN = (
    '@id("ask") @approval("default") @obligation("custom?a=1") permit(principal, action, resource) '
    "unless { context has ticket };"
)
GONE = PERMIT + '@id("gone") forbid(principal, action, resource) when { context.verified.subject.deactivated };'


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, 9, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class WatchedLedger(EventLedger):
    """The ledger in memory, with a hook before each append and a count of what is asked of it."""

    def __init__(self) -> None:
        self.clock = Clock()
        super().__init__(MemoryStore(self.clock), MemoryKeyStore())
        self.appends: list[int] = []
        self.reads = 0
        self.before_append: list[Any] = []

    async def append(
        self,
        tenant: str,
        events: Sequence[NewEvent],
        condition: DCBAppendCondition | None = None,
        *,
        not_after: datetime | None = None,
    ) -> Appended:
        if self.before_append:
            await self.before_append.pop(0)()
        self.appends.append(len(events))
        return await super().append(tenant, events, condition, not_after=not_after)

    async def read(self, *arguments: Any, **named: Any) -> list[RecordedEvent]:
        self.reads += 1
        return await super().read(*arguments, **named)


@pytest.fixture
def ledger() -> WatchedLedger:
    return WatchedLedger()


def by(actor: Actor = CALLER, tenant: str = "acme", **more: Any) -> Context:
    return Context(tenant=tenant, actor=actor, command_id=uuid.uuid4(), **more)


def ask(action: str = "act", subject: str = "bot", **more: Any) -> Intent:
    return Intent(
        subject=Entity(type="agent", id=subject),
        action=Action(name=action),
        resource=Entity(type="order", id="A-1"),
        **more,
    )


async def enforce(ledger: EventLedger, policies: str, entities: str = "[]", tenant: str = "acme") -> str:
    bundle_id = make_id("bnd", uuid.uuid4())
    text = BundleText(policies=policies, entities=entities)
    await ledger.execute(PublishBundle(bundle_id, "main", text, actor=SYSTEM), by(ADMIN, tenant))
    await switch(ledger, bundle_id, tenant)
    return bundle_id


async def switch(ledger: EventLedger, bundle_id: str, tenant: str = "acme") -> None:
    await ledger.execute(ChangeBundleMode(bundle_id, "enforced", "test", actor=SYSTEM), by(ADMIN, tenant))


async def note(ledger: EventLedger, payload: Event, tenant: str = "acme") -> None:
    await ledger.append(tenant, [NewEvent(id=uuid.uuid4(), payload=payload, actor=ADMIN)])


async def decisions(ledger: EventLedger, tenant: str = "acme") -> list[RecordedEvent]:
    return await ledger.read(tenant, boundary(((DecisionRecorded,), ())))


async def test_a_decision_is_in_the_log_with_all_it_takes_to_make_it_again(ledger: WatchedLedger) -> None:
    bundle_id = await enforce(ledger, HUMAN)
    context, intent = by(traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), ask(context={"a": 1})
    decided = await DecisionPoint(ledger).decide(context, intent)
    (recorded,) = await decisions(ledger)
    assert decided.event == recorded
    assert decided.decision == recorded.payload
    decision = decided.decision
    assert (decision.outcome, decision.approval_path, decision.determining) == (
        "approval_required",
        "default",
        ("ask",),
    )
    assert decision.request == request_text(intent)
    assert decision.action_digest == action_digest("acme", CALLER, intent_text(intent))
    assert decision.binding_context == ("ticket",)
    assert decision.binding_hash == binding_hash(intent, ("ticket",))
    assert decision.bundle_id == bundle_id
    assert decision.estate_position == recorded.position - 1
    assert recorded.cause.traceparent == context.traceparent
    assert recorded.actor == CALLER
    assert decision.decision_id.startswith("dec_")


async def test_no_answer_before_the_decision_is_recorded(ledger: WatchedLedger) -> None:
    await enforce(ledger, PERMIT)
    reached, released = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        reached.set()
        await released.wait()

    ledger.before_append.append(hold)
    task = asyncio.create_task(DecisionPoint(ledger).decide(by(), ask()))
    await reached.wait()
    await asyncio.wait([task], timeout=0.01)
    assert not task.done()
    assert await decisions(ledger) == []
    released.set()
    assert (await task).verdict.outcome == "permit"
    assert len(await decisions(ledger)) == 1


@pytest.mark.parametrize("error", [Unavailable("away"), Busy("full", retry_after_s=1)])
async def test_no_answer_if_the_decision_cannot_be_recorded(ledger: WatchedLedger, error: QuarterdeckError) -> None:
    await enforce(ledger, PERMIT)

    async def fail() -> None:
        raise error

    ledger.before_append.append(fail)
    point = DecisionPoint(ledger)
    with pytest.raises(type(error)):
        await point.decide(by(), ask())
    assert await decisions(ledger) == []
    assert (await point.decide(by(), ask())).verdict.outcome == "permit"


async def test_no_answer_if_the_log_cannot_be_read(ledger: WatchedLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> None:
        raise Unavailable("away")

    point = DecisionPoint(ledger)
    with monkeypatch.context() as patched:
        patched.setattr(ledger, "head", away)
        with pytest.raises(Unavailable):
            await point.decide(by(), ask())
    assert (await point.decide(by(), ask())).verdict.reason == "no policy is in force"


async def test_without_policy_everything_is_denied_and_recorded(ledger: WatchedLedger) -> None:
    decided = await DecisionPoint(ledger).decide(by(), ask())
    assert (decided.verdict.outcome, decided.decision.bundle_id, decided.event.position) == ("deny", None, 1)
    bundle_id = await enforce(ledger, PERMIT)
    await ledger.execute(ChangeBundleMode(bundle_id, "retired", "stop", actor=SYSTEM), by(ADMIN))
    assert (await DecisionPoint(ledger).decide(by(), ask())).verdict.outcome == "deny"


async def test_a_change_of_policy_elsewhere_counts_at_once(ledger: WatchedLedger) -> None:
    point = DecisionPoint(ledger)
    first = await enforce(ledger, PERMIT)
    assert (await point.decide(by(), ask())).verdict.outcome == "permit"
    second = await enforce(ledger, FORBID)
    assert (await point.decide(by(), ask())).decision.bundle_id == second
    await switch(ledger, first)
    assert (await point.decide(by(), ask())).decision.bundle_id == first


async def test_a_change_of_policy_between_evaluation_and_record_counts(ledger: WatchedLedger) -> None:
    await enforce(ledger, PERMIT)
    point = DecisionPoint(ledger)
    await point.decide(by(), ask())

    async def meanwhile() -> None:
        await enforce(ledger, FORBID)

    ledger.before_append.append(meanwhile)
    assert (await point.decide(by(), ask())).verdict.determining == ("no",)


async def test_whoever_was_deactivated_is_denied_at_once(ledger: WatchedLedger) -> None:
    await enforce(ledger, GONE)
    point = DecisionPoint(ledger)
    await note(ledger, PrincipalRegistered(principal_id=BOT, kind="agent", display_name="bot", owner="prn_o"))
    assert (await point.decide(by(), ask(subject=BOT))).verdict.outcome == "permit"
    await note(ledger, PrincipalDeactivated(principal_id=BOT, reason="misbehaved"))
    assert (await point.decide(by(), ask(subject=BOT))).verdict.determining == ("gone",)
    assert (await point.decide(by(), ask(subject="bot"))).verdict.outcome == "permit"


async def test_roles_are_shown_as_the_log_has_them(ledger: WatchedLedger) -> None:
    await enforce(
        ledger,
        '@id("role") permit(principal, action, resource) when { context.verified.subject.known && '
        'context.verified.subject.roles.contains("operator") };',
    )
    point = DecisionPoint(ledger)
    assert (await point.decide(by(), ask(subject=BOT))).verdict.outcome == "deny"
    await note(ledger, PrincipalRegistered(principal_id=BOT, kind="agent", display_name="bot"))
    await note(ledger, RoleGranted(principal_id=BOT, role="operator"))
    assert (await point.decide(by(), ask(subject=BOT))).verdict.outcome == "permit"
    assert (await DecisionPoint(ledger).decide(by(), ask(subject=BOT))).verdict.outcome == "permit"


async def test_every_decision_stands_on_the_policy_in_force_where_it_is_recorded(ledger: WatchedLedger) -> None:
    bundles = [await enforce(ledger, text) for text in (PERMIT, FORBID)]
    points = [DecisionPoint(ledger) for _ in range(3)]

    decided = 0

    async def change() -> None:
        for turn in range(12):
            await switch(ledger, bundles[turn % 2])
            # One more than there are workers: then one was begun, and ended, under this bundle.
            enough = min(decided + 7, 120)
            while decided < enough:  # noqa: ASYNC110  the others count in this very loop
                await asyncio.sleep(0)

    async def work(number: int) -> None:
        nonlocal decided
        for turn in range(20):
            await points[number % 3].decide(by(), ask(subject=f"s{number}-{turn}"))
            decided += 1

    await asyncio.gather(change(), *(work(number) for number in range(6)))
    enforced: str | None = None
    seen = set()
    for event in await ledger.read("acme"):
        if isinstance(event.payload, BundleModeChanged):
            enforced = enforced_after(event.payload, enforced)
        elif isinstance(event.payload, DecisionRecorded):
            assert event.payload.bundle_id == enforced
            assert event.payload.outcome == ("permit" if enforced == bundles[0] else "deny")
            seen.add(enforced)
    assert len(await decisions(ledger)) == 120
    assert seen == set(bundles)


async def test_a_quiet_decision_costs_one_append_and_no_read(ledger: WatchedLedger) -> None:
    await enforce(ledger, PERMIT)
    point = DecisionPoint(ledger)
    await point.decide(by(), ask(subject=BOT))
    ledger.reads, ledger.appends = 0, []
    for _ in range(5):
        await point.decide(by(), ask(subject=BOT))
        await point.decide(by(), ask(subject="somebody else"))
    assert (ledger.reads, ledger.appends) == (0, [1] * 10)


async def test_a_command_is_decided_once(ledger: WatchedLedger) -> None:
    await enforce(ledger, PERMIT)
    context, point = by(fingerprint="f"), DecisionPoint(ledger)
    first = await point.decide(context, ask())
    await enforce(ledger, FORBID)
    for again in (point, DecisionPoint(ledger)):
        repeated = await again.decide(context, ask())
        assert repeated.repeated
        assert (repeated.event, repeated.verdict) == (first.event, first.verdict)
    assert len(await decisions(ledger)) == 1


async def test_a_command_id_stands_for_one_request_of_one_requester(ledger: WatchedLedger) -> None:
    await enforce(ledger, PERMIT)
    context, point = by(fingerprint="f"), DecisionPoint(ledger)
    await point.decide(context, ask())
    for other, intent, approval in (
        (context, ask("other"), None),
        (context, ask(), "apr_1"),
        (msgspec.structs.replace(context, fingerprint="g"), ask(), None),
        (msgspec.structs.replace(context, actor=ADMIN), ask(), None),
    ):
        with pytest.raises(IdReused):
            await point.decide(other, intent, approval_id=approval)
    assert len(await decisions(ledger)) == 1


async def test_an_approval_that_applies_turns_the_question_into_a_permit(ledger: WatchedLedger) -> None:
    await enforce(ledger, HUMAN)
    decided = await DecisionPoint(ledger).decide(by(), ask(), approval_id="apr_1")
    assert (decided.verdict.outcome, decided.decision.approval_id) == ("permit", "apr_1")
    assert (decided.verdict.approval_path, decided.verdict.obligations[0].id) == ("default", "ask#1")
    assert "approval:apr_1" in decided.event.tags


async def test_a_guard_that_broke_means_asking_again_about_the_approval(ledger: WatchedLedger) -> None:
    await enforce(ledger, HUMAN)
    point = DecisionPoint(ledger)
    revoked = ApiKeyRevoked(key_id="key_1", principal_id=BOT, reason="x")
    query = boundary(((ApiKeyRevoked,), ("key:key_1",)))
    seen = (await ledger.head("acme")).position
    guard = DCBAppendCondition(query, seen)
    assert (await point.decide(by(), ask(), approval_id="apr_1", guard=guard)).verdict.outcome == "permit"
    await note(ledger, ApiKeyRevoked(key_id="key_2", principal_id=BOT, reason="x"))
    assert (await point.decide(by(), ask(), approval_id="apr_1", guard=guard)).verdict.outcome == "permit"

    async def meanwhile() -> None:
        await note(ledger, revoked)

    ledger.before_append.append(meanwhile)
    with pytest.raises(AppendConflict):
        await point.decide(by(), ask(), approval_id="apr_1", guard=guard)
    late = DCBAppendCondition(query, (await ledger.head("acme")).position)
    assert (await point.decide(by(), ask(), approval_id="apr_1", guard=late)).verdict.outcome == "permit"
    everything = DCBAppendCondition(DCBQuery(items=[]), seen)
    with pytest.raises(AppendConflict):
        await point.decide(by(), ask(), guard=everything)


BY_NAME = '@id("ok") permit(principal, action == Action::"ok", resource);' + (
    '@id("ask") @approval("default") permit(principal, action == Action::"ask", resource);'
)
BAD = InvalidInput("evaluations[1].subject is missing")


@pytest.mark.parametrize(
    ("names", "semantic", "expected"),
    [
        (["ok", "no", "ok"], "execute_all", ["permit", "deny", "permit"]),
        (["ok", "no", "ok"], "deny_on_first_deny", ["permit", "deny"]),
        (["ok", "ask", "ok"], "deny_on_first_deny", ["permit", "approval_required"]),
        (["no", "ask", "ok", "no"], "permit_on_first_permit", ["deny", "approval_required", "permit"]),
        (["no", "no"], "permit_on_first_permit", ["deny", "deny"]),
        (["ok", BAD, "ok"], "execute_all", ["permit", BAD, "permit"]),
        (["ok", BAD, "ok"], "deny_on_first_deny", ["permit", BAD]),
        ([BAD, "ok", "ok"], "permit_on_first_permit", [BAD, "permit"]),
        ([BAD, BAD], "execute_all", [BAD, BAD]),
    ],
)
async def test_a_batch_is_decided_in_one_append_and_stops_as_asked(
    ledger: WatchedLedger, names: list[Any], semantic: Any, expected: list[Any]
) -> None:
    await enforce(ledger, BY_NAME)
    ledger.appends = []
    point, context = DecisionPoint(ledger), by()
    asks = [name if name is BAD else Ask(intent=ask(name)) for name in names]
    answers = await point.decide_many(context, asks, semantic)
    assert [item.verdict.outcome if isinstance(item, Decided) else item for item in answers] == expected
    made = [item for item in answers if isinstance(item, Decided)]
    assert [item.event for item in made] == await decisions(ledger)
    assert len({item.decision.decision_id for item in made}) == len(made)
    assert ledger.appends == ([len(made)] if made else [])
    await enforce(ledger, FORBID)
    if made:
        again = await point.decide_many(context, asks, semantic)
        assert [item.event for item in again if isinstance(item, Decided)] == [item.event for item in made]


async def test_any_recorded_decision_can_be_made_again(ledger: WatchedLedger) -> None:
    clocked = '@id("day") permit(principal, action, resource) when { context.verified.now < datetime("2026-01-02") };'
    point = DecisionPoint(ledger)
    await point.decide(by(), ask())
    for policies in (
        PERMIT,
        HUMAN,
        GONE,
        clocked,
        PERMIT + '@id("err") forbid(principal, action, resource) when { context.x };',
    ):
        await enforce(ledger, policies)
        await point.decide(by(), ask(subject=BOT, context={"x": 1.5, "y": [None, {"z": "é"}]}))
        await point.decide(by(), ask(subject=BOT), approval_id="apr_1")
        await note(ledger, PrincipalRegistered(principal_id=BOT, kind="agent", display_name="bot"))
        await point.decide(by(), ask(subject=BOT))
        await note(ledger, PrincipalDeactivated(principal_id=BOT, reason="x"))
        ledger.clock.now += timedelta(days=1)
    events = await decisions(ledger)
    assert len(events) == 16
    auditor = DecisionPoint(ledger)
    for event in events:
        assert isinstance(event.payload, DecisionRecorded)
        assert await auditor.redecide(event) == verdict_of(event.payload)
    outcomes = {event.payload.outcome for event in events if isinstance(event.payload, DecisionRecorded)}
    assert outcomes == {"permit", "deny", "approval_required"}


async def test_an_altered_record_does_not_redecide_to_itself(ledger: WatchedLedger) -> None:
    await enforce(ledger, PERMIT)
    point = DecisionPoint(ledger)
    event = (await point.decide(by(), ask())).event
    assert isinstance(event.payload, DecisionRecorded)
    for changes in ({"outcome": "deny"}, {"bundle_digest": "sha256-jcs-v1:00"}, {"bundle_id": None}):
        altered = msgspec.structs.replace(event.payload, **changes)
        verdict = await point.redecide(msgspec.structs.replace(event, payload=altered))
        assert verdict != verdict_of(altered)


async def test_what_cannot_be_made_again_says_so(ledger: WatchedLedger) -> None:
    await enforce(ledger, PERMIT)
    point = DecisionPoint(ledger)
    decided = await point.decide(by(), ask())
    await ledger.keys.destroy("acme", "agent:bot")
    (erased,) = await decisions(ledger)
    with pytest.raises(NotReplayable):
        await point.redecide(erased)
    with pytest.raises(InvalidInput):
        await point.redecide((await ledger.read("acme", limit=1))[0])
    assert erased.payload == msgspec.structs.replace(decided.decision, request=None)


async def test_a_bundle_that_cannot_be_used_denies_until_another_is_enforced(ledger: WatchedLedger) -> None:
    point = DecisionPoint(ledger)
    await enforce(ledger, "permit(principal, action, resource);")
    decided = await point.decide(by(), ask())
    assert decided.verdict.outcome == "deny"
    assert "@id" in decided.verdict.errors[0]
    assert await point.redecide(decided.event) == decided.verdict
    await enforce(ledger, PERMIT)
    assert (await point.decide(by(), ask())).verdict.outcome == "permit"


async def test_policy_sees_the_databases_clock_and_a_late_verdict_is_made_again(ledger: WatchedLedger) -> None:
    await enforce(
        ledger,
        '@id("am") permit(principal, action, resource) when { context.verified.now.toTime() < duration("12h") };',
    )
    point = DecisionPoint(ledger)
    decided = await point.decide(by(), ask())
    assert (decided.verdict.outcome, decided.decision.evaluated_at) == ("permit", ledger.clock.now)

    async def later() -> None:
        ledger.clock.now += timedelta(hours=4)

    ledger.before_append.append(later)
    late = await point.decide(by(), ask())
    assert (late.verdict.outcome, late.decision.evaluated_at) == ("deny", ledger.clock.now)
    assert await point.redecide(late.event) == late.verdict


async def test_who_never_gets_through_is_told_so(ledger: WatchedLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    await enforce(ledger, PERMIT)
    point = DecisionPoint(ledger)
    await point.decide(by(), ask())

    async def conflict() -> None:
        raise AppendConflict("somebody was faster")

    paused: list[int] = []

    async def count(attempt: int) -> None:
        paused.append(attempt)

    monkeypatch.setattr(decision_point, "pause", count)
    ledger.before_append.extend([conflict] * MAX_TRIES)
    before = len(await decisions(ledger))
    with pytest.raises(Contended) as caught:
        await point.decide(by(), ask())
    assert caught.value.details == {"tries": MAX_TRIES}
    assert paused == list(range(MAX_TRIES)), "a growing pause after every conflict"
    assert len(await decisions(ledger)) == before
    assert (await point.decide(by(), ask())).verdict.outcome == "permit", "the next one has its own tries"


def test_all_pauses_together_are_bounded() -> None:
    bounds = [longest_pause_s(attempt) for attempt in range(MAX_TRIES)]
    assert bounds == sorted(bounds)
    assert bounds[0] == 0.002
    assert bounds[-1] == bounds[6] == 0.128
    assert sum(bounds) < 1


async def test_a_storm_of_changes_is_outlasted_or_told(ledger: WatchedLedger) -> None:
    await enforce(ledger, PERMIT)
    points = [DecisionPoint(ledger) for _ in range(4)]
    calm = asyncio.Event()

    async def storm() -> int:
        changes = 0
        while not calm.is_set():
            role: Role = "agent" if changes % 2 else "operator"
            await note(ledger, RoleGranted(principal_id=BOT, role=role))
            changes += 1
            await asyncio.sleep(0)
        return changes

    async def decide(number: int) -> Decided | Contended:
        try:
            return await points[number % len(points)].decide(by(), ask(subject=BOT))
        except Contended as error:
            return error

    ledger.appends.clear()
    async with asyncio.timeout(30):
        storming = asyncio.create_task(storm())
        answers = await asyncio.gather(*(decide(number) for number in range(150)))
        calm.set()
        changes = await storming
    decided = [answer for answer in answers if isinstance(answer, Decided)]
    assert decided, "a storm does not starve everybody"
    recorded = {event.id for event in await decisions(ledger)}
    assert recorded == {answer.event.id for answer in decided}, "what was answered was recorded, and nothing else"
    assert len(ledger.appends) - changes <= MAX_TRIES * len(answers)


async def test_nothing_is_decided_in_a_closed_tenant(ledger: WatchedLedger) -> None:
    await enforce(ledger, PERMIT)
    point = DecisionPoint(ledger)
    await point.decide(by(), ask())

    async def close() -> None:
        await note(ledger, TenantClosed(tenant="acme", reason="x"))

    ledger.before_append.append(close)
    for asked in (point, point, DecisionPoint(ledger)):
        with pytest.raises(WrongState, match="closed"):
            await asked.decide(by(), ask())
    assert len(await decisions(ledger)) == 1


async def test_a_bundle_longer_than_an_entry_is_put_together_and_decides(ledger: WatchedLedger) -> None:
    policies = "\n".join(f'@id("p{n}") permit(principal == agent::"{n}", action, resource);' for n in range(1_500))
    await enforce(ledger, policies)
    point = DecisionPoint(ledger)
    decided = await point.decide(by(), ask(subject="1499"))
    assert decided.verdict.determining == ("p1499",)
    assert await DecisionPoint(ledger).redecide(decided.event) == decided.verdict
    assert (await point.decide(by(), ask(subject="1500"))).verdict.outcome == "deny"


async def test_the_largest_decision_fits_an_entry(ledger: WatchedLedger) -> None:
    many = "\n".join(
        f'@id("{n:03}{"x" * 77}") @reason("{"é" * 300}") @obligation("custom?{"k" * 200}={n}") '
        f"permit(principal, action, resource);"
        for n in range(16)
    ) + "\n".join(f'@id("{n}{"y" * 76}") permit(principal, action, resource);' for n in range(100, 200))
    await enforce(ledger, many)
    control = "\x01"
    note_length = MAX_REQUEST_BYTES - 6 * (2 * 384 + 256 + 200) - 200
    intent = Intent(
        subject=Entity(type=control * 100, id=control * 384),
        action=Action(name=control * 256, properties={"note": "x" * note_length}),
        resource=Entity(type=control * 100, id=control * 384),
    )
    assert 0 < MAX_REQUEST_BYTES - len(request_text(intent)) < 200
    decided = await DecisionPoint(ledger).decide(by(), intent)
    assert decided.verdict.outcome == "permit"
    assert len(decided.verdict.determining) == 64
    assert await DecisionPoint(ledger).redecide(decided.event) == decided.verdict


async def test_one_tenant_does_not_decide_for_another(ledger: WatchedLedger) -> None:
    await enforce(ledger, PERMIT)
    point = DecisionPoint(ledger)
    assert (await point.decide(by(), ask())).verdict.outcome == "permit"
    assert (await point.decide(by(tenant="other"), ask())).verdict.outcome == "deny"
    assert len(await decisions(ledger, "other")) == 1


def test_a_bundle_is_checked_before_it_is_published() -> None:
    check = CHECKS["publish_policy_bundle"]
    check(PublishPolicyBundle(name="main", policies=PERMIT))
    for body in (
        PublishPolicyBundle(name="main", policies="permit(principal, action, resource);"),
        PublishPolicyBundle(name="main", policies=PERMIT, entities="[{}]"),
        PublishPolicyBundle(name="main", policies=PERMIT, cedar_schema="entity"),
    ):
        with pytest.raises(InvalidBundle):
            check(body)
