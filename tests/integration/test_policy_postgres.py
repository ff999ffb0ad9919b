"""Decisions on a real PostgreSQL: several decision points, policy changing under them, the server going away.

Serves DC-02, S0-66, S0-82, S0-90, S0-100.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from quarterdeck_domain.access.events import PrincipalDeactivated, PrincipalRegistered
from quarterdeck_domain.access.values import SYSTEM
from quarterdeck_domain.events import Actor, NewEvent, RecordedEvent
from quarterdeck_domain.ids import make_id
from quarterdeck_domain.intent import Action, Entity, Intent
from quarterdeck_domain.policy.events import BundleModeChanged, DecisionRecorded
from quarterdeck_domain.policy.slices import ChangeBundleMode, PublishBundle, enforced_after
from quarterdeck_domain.policy.values import BundleText
from quarterdeck_domain.slices import boundary
from quarterdeck_ledger.errors import Unavailable
from quarterdeck_ledger.interface import Context
from quarterdeck_ledger.keys import MemoryKeyStore
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.postgres import PostgresStore
from quarterdeck_policy.decision_point import DecisionPoint
from quarterdeck_policy.decisions import verdict_of
from quarterdeck_policy.starter import starter_bundle

ADMIN = Actor(principal="prn_admin", kind="human")
BOT = make_id("prn", uuid.UUID(int=7))
CALLER = Actor(principal=BOT, kind="agent")
FORBID = BundleText(policies='@id("no") forbid(principal, action, resource);')
DECISIONS = boundary(((DecisionRecorded,), ()))


def by(actor: Actor = CALLER) -> Context:
    return Context(tenant="acme", actor=actor, command_id=uuid.uuid4())


def refund(amount: float) -> Intent:
    return Intent(
        subject=Entity(type="agent", id=BOT),
        action=Action(name="refund", properties={"amount": amount, "currency": "EUR"}),
        resource=Entity(type="order", id="A-1"),
    )


@pytest.fixture
async def ledgers(migrated_database: Callable[[], str]) -> AsyncIterator[list[EventLedger]]:
    """Three ledgers on one database, as three processes would have them."""
    url, keys = migrated_database(), MemoryKeyStore()
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(PostgresStore.open(url, size=4)) for _ in range(3)]
        yield [EventLedger(store, keys) for store in stores]


async def publish(ledger: EventLedger, text: BundleText) -> str:
    bundle_id = make_id("bnd", uuid.uuid4())
    await ledger.execute(PublishBundle(bundle_id, "main", text, actor=SYSTEM), by(ADMIN))
    return bundle_id


async def enforce(ledger: EventLedger, bundle_id: str) -> None:
    await ledger.execute(ChangeBundleMode(bundle_id, "enforced", "test", actor=SYSTEM), by(ADMIN))


async def test_the_starter_journey(ledgers: list[EventLedger]) -> None:
    await enforce(ledgers[0], await publish(ledgers[0], starter_bundle()))
    point, auditor = DecisionPoint(ledgers[1]), DecisionPoint(ledgers[2])
    outcomes = [(await point.decide(by(), refund(amount))).verdict.outcome for amount in (49.5, 500)]
    assert outcomes == ["permit", "approval_required"]
    recorded = await ledgers[2].read("acme", DECISIONS)
    for event in recorded:
        assert isinstance(event.payload, DecisionRecorded)
        assert await auditor.redecide(event) == verdict_of(event.payload)


async def test_several_processes_decide_while_policy_and_principals_change(ledgers: list[EventLedger]) -> None:
    bundles = [await publish(ledgers[0], text) for text in (starter_bundle(), FORBID)]
    await enforce(ledgers[0], bundles[0])
    points = [DecisionPoint(ledger) for ledger in ledgers]
    answered: list[RecordedEvent] = []

    async def change() -> None:
        for turn in range(1, 9):
            await asyncio.gather(*(points[n % 3].decide(by(), refund(n)) for n in range(4)))
            await enforce(ledgers[turn % 3], bundles[turn % 2])
        gone = PrincipalDeactivated(principal_id=BOT, reason="test")
        await ledgers[0].append("acme", [NewEvent(id=uuid.uuid4(), payload=gone, actor=ADMIN)])

    async def work(number: int) -> None:
        point = points[number % 3]
        answered.extend([(await point.decide(by(), refund(1 + turn * 4))).event for turn in range(25)])

    registered = PrincipalRegistered(principal_id=BOT, kind="agent", display_name="bot", owner="prn_ann")
    await ledgers[0].append("acme", [NewEvent(id=uuid.uuid4(), payload=registered, actor=ADMIN)])
    await asyncio.gather(change(), *(work(number) for number in range(9)))

    enforced, gone, by_position = None, False, {}
    for event in await ledgers[0].read("acme"):
        by_position[event.position] = event
        if isinstance(event.payload, BundleModeChanged):
            enforced = enforced_after(event.payload, enforced)
        elif isinstance(event.payload, PrincipalDeactivated):
            gone = True
        elif isinstance(event.payload, DecisionRecorded):
            assert event.payload.bundle_id == enforced
            if gone or enforced == bundles[1]:
                assert event.payload.outcome == "deny"
            else:
                assert event.payload.outcome in ("permit", "approval_required")
    assert len(answered) == 225
    assert all(by_position[event.position] == event for event in answered)
    late = await points[2].decide(by(), refund(10))
    assert late.verdict.outcome == "deny"


async def test_a_repeated_command_finds_its_decision_from_any_process(ledgers: list[EventLedger]) -> None:
    await enforce(ledgers[0], await publish(ledgers[0], starter_bundle()))
    context = by()
    answers = await asyncio.gather(*(DecisionPoint(ledger).decide(context, refund(500)) for ledger in ledgers * 4))
    assert {answer.event.position for answer in answers} == {answers[0].event.position}
    assert sum(not answer.repeated for answer in answers) == 1
    assert len(await ledgers[0].read("acme", DECISIONS)) == 1


async def test_without_the_database_there_is_no_decision(migrated_database: Callable[[], str]) -> None:
    async with PostgresStore.open(migrated_database(), size=2) as store:
        ledger = EventLedger(store, MemoryKeyStore())
        await enforce(ledger, await publish(ledger, starter_bundle()))
        point = DecisionPoint(ledger)
        assert (await point.decide(by(), refund(1))).verdict.outcome == "permit"
        await store.pool.close()
        with pytest.raises(Unavailable):
            await point.decide(by(), refund(1))
