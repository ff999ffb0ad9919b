"""Where somebody acts for somebody else, policy judges everyone in between, and all must be permitted.

Serves DC-02, DC-07, S0-82, S0-90.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

import msgspec
import pytest
from given import agent, prn, registered

from quarterdeck_domain.access.events import PrincipalDeactivated
from quarterdeck_domain.access.values import SYSTEM
from quarterdeck_domain.events import Actor, Event, NewEvent
from quarterdeck_domain.ids import make_id
from quarterdeck_domain.intent import Action, Entity, Intent
from quarterdeck_domain.policy.events import DecisionRecorded, Judged
from quarterdeck_domain.policy.slices import ChangeBundleMode, PublishBundle
from quarterdeck_domain.policy.values import BundleText
from quarterdeck_ledger.interface import Context
from quarterdeck_ledger.keys import MemoryKeyStore
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.memory import MemoryStore
from quarterdeck_policy.chain import between
from quarterdeck_policy.decision_point import DecisionPoint
from quarterdeck_policy.decisions import Decided, verdict_of
from quarterdeck_policy.engine import FAILED, MAX_DETERMINING
from quarterdeck_policy.starter import starter_bundle

BOB, BOT, CRON, EVE = prn("bob"), prn("bot"), prn("cron"), prn("eve")
ALONE = Actor(principal=BOT, kind="agent")
FOR_BOB = Actor(principal=BOT, kind="agent", on_behalf_of=(BOB,))
THROUGH_CRON = Actor(principal=BOT, kind="agent", on_behalf_of=(CRON, BOB))

PERMIT_BOB = f'@id("bob") permit(principal == user::"{BOB}", action == Action::"launch", resource);'
PERMIT_BOT = f'@id("bot") permit(principal == agent::"{BOT}", action == Action::"launch", resource);'
PERMIT_CRON = f'@id("cron") permit(principal == service::"{CRON}", action == Action::"launch", resource);'
PERMIT_ALL = '@id("all") permit(principal, action, resource);'
FORBID_BOT = f'@id("not-bot") @reason("bot launches nothing") forbid(principal == agent::"{BOT}", action, resource);'


@pytest.fixture
async def ledger() -> EventLedger:
    """A log in memory. Bob owns bot, an agent, and cron, a service; Eve is another human."""
    made = EventLedger(MemoryStore(), MemoryKeyStore())
    house = (
        registered("bob"),
        registered("eve"),
        agent("bot", "bob"),
        registered("cron", "agent", kind="service", owner="bob"),
    )
    await note(made, *house)
    return made


async def note(ledger: EventLedger, *payloads: Event) -> None:
    await ledger.append("acme", [NewEvent(id=uuid.uuid4(), payload=item, actor=SYSTEM) for item in payloads])


def by(actor: Actor) -> Context:
    return Context(tenant="acme", actor=actor, command_id=uuid.uuid4())


async def enforce(ledger: EventLedger, *policies: str, entities: str = "[]") -> None:
    bundle_id = make_id("bnd", uuid.uuid4())
    text = BundleText(policies="\n".join(policies), entities=entities)
    await ledger.execute(PublishBundle(bundle_id, "main", text, actor=SYSTEM), by(SYSTEM))
    await ledger.execute(ChangeBundleMode(bundle_id, "enforced", "test", actor=SYSTEM), by(SYSTEM))


def launch(subject: str = BOB, kind: str = "user", *, properties: dict[str, Any] | None = None, **more: Any) -> Intent:
    return Intent(
        subject=Entity(type=kind, id=subject, properties=properties),
        action=Action(name=more.pop("action", "launch")),
        resource=Entity(type="rocket", id="7"),
        **more,
    )


async def decide(ledger: EventLedger, actor: Actor, intent: Intent, **more: Any) -> Decided:
    """Decide, and make sure that another process makes the same of what was recorded."""
    decided = await DecisionPoint(ledger).decide(by(actor), intent, **more)
    assert decided.verdict == verdict_of(decided.decision)
    assert await DecisionPoint(ledger).redecide(decided.event) == decided.verdict
    assert decided.decision.outcome == decided.verdict.outcome
    return decided


async def outcome(ledger: EventLedger, actor: Actor, intent: Intent, **more: Any) -> str:
    return (await decide(ledger, actor, intent, **more)).verdict.outcome


async def test_nobody_borrows_a_right_by_acting_for_whoever_has_it(ledger: EventLedger) -> None:
    """What policy permits a key that acts for a person is what both may do."""
    await enforce(ledger, PERMIT_BOB)
    assert await outcome(ledger, ALONE, launch(BOT, "agent")) == "deny"
    denied = await decide(ledger, FOR_BOB, launch())
    assert denied.verdict.outcome == "deny"
    assert denied.verdict.determining == ()
    assert denied.verdict.reason == f"no policy permits this to agent:{BOT}"
    assert denied.verdict.judged == (
        Judged(principal=f"user:{BOB}", outcome="permit", determining=("bob",)),
        Judged(principal=f"agent:{BOT}", outcome="deny"),
    )
    await enforce(ledger, PERMIT_BOB, PERMIT_BOT)
    permitted = await decide(ledger, FOR_BOB, launch())
    assert permitted.verdict.outcome == "permit"
    assert permitted.verdict.determining == ("bob", "bot")
    assert [(item.principal, item.determining) for item in permitted.decision.judged] == [
        (f"user:{BOB}", ("bob",)),
        (f"agent:{BOT}", ("bot",)),
    ]


async def test_nor_lends_it_to_whoever_is_forbidden(ledger: EventLedger) -> None:
    await enforce(ledger, PERMIT_ALL, FORBID_BOT)
    assert await outcome(ledger, Actor(principal=BOB, kind="human"), launch()) == "permit"
    denied = await decide(ledger, FOR_BOB, launch())
    assert (denied.verdict.outcome, denied.verdict.reason) == ("deny", "bot launches nothing")
    assert denied.verdict.determining == ("not-bot",)
    assert [item.outcome for item in denied.verdict.judged] == ["permit", "deny"]


@pytest.mark.parametrize("left_out", [PERMIT_BOB, PERMIT_BOT, PERMIT_CRON])
async def test_every_link_of_the_chain_counts(ledger: EventLedger, left_out: str) -> None:
    everybody = [PERMIT_BOB, PERMIT_BOT, PERMIT_CRON]
    await enforce(ledger, *everybody)
    permitted = await decide(ledger, THROUGH_CRON, launch())
    assert permitted.verdict.outcome == "permit"
    assert [item.principal for item in permitted.verdict.judged] == [f"user:{BOB}", f"agent:{BOT}", f"service:{CRON}"]
    await enforce(ledger, *(item for item in everybody if item != left_out))
    assert await outcome(ledger, THROUGH_CRON, launch()) == "deny"


async def test_whoever_stands_behind_the_named_subject_is_not_asked_about(ledger: EventLedger) -> None:
    """The subject asks in its own right: what is between it and the caller counts, and nothing beyond."""
    await enforce(ledger, PERMIT_BOT, PERMIT_CRON)
    assert await outcome(ledger, THROUGH_CRON, launch(CRON, "service")) == "permit"
    own = await decide(ledger, FOR_BOB, launch(BOT, "agent"))
    assert (own.verdict.outcome, own.verdict.judged) == ("permit", ())


async def test_whoever_asks_about_others_without_acting_for_them_is_not_judged(ledger: EventLedger) -> None:
    """An enforcement point says who wants what: what it may do itself is another question."""
    await enforce(ledger, '@id("users") permit(principal is user, action, resource);')
    service = Actor(principal=CRON, kind="service")
    for subject in ("alice", BOB, EVE):
        decided = await decide(ledger, service, launch(subject))
        assert (decided.verdict.outcome, decided.verdict.judged) == ("permit", ())
    operator = Actor(principal=EVE, kind="human", on_behalf_of=(BOB,))
    assert (await decide(ledger, operator, launch("alice"))).verdict.judged == ()


@pytest.mark.parametrize("claimed", ["robot", "user", "service", "Agent"])
async def test_nobody_escapes_by_another_type(ledger: EventLedger, claimed: str) -> None:
    """What the request calls a principal of the house grants nothing, and hides it from no policy."""
    await enforce(ledger, PERMIT_ALL, FORBID_BOT)
    for actor in (ALONE, FOR_BOB):
        denied = await decide(ledger, actor, launch(BOT, claimed))
        assert denied.verdict.determining == ("not-bot",)
        assert [item.principal for item in denied.verdict.judged] == [f"{claimed}:{BOT}", f"agent:{BOT}"]
    await enforce(ledger, f'@id("{claimed}") permit(principal is {claimed}, action, resource);')
    assert await outcome(ledger, ALONE, launch(BOT, claimed)) == "deny"


async def test_claims_about_the_subject_are_nobody_elses(ledger: EventLedger) -> None:
    await enforce(
        ledger,
        '@id("admin") permit(principal, action, resource)'
        ' when { context.subject has role && context.subject.role == "admin" };',
    )
    assert await outcome(ledger, FOR_BOB, launch(properties={"role": "admin"})) == "deny"
    assert await outcome(ledger, ALONE, launch(BOT, "agent", properties={"role": "admin"})) == "permit"


async def test_each_is_judged_by_what_the_log_says_of_it(ledger: EventLedger) -> None:
    await enforce(
        ledger,
        PERMIT_ALL,
        '@id("gone") forbid(principal, action, resource) when { context.verified.subject.deactivated };',
        '@id("asked") forbid(principal, action, resource)'
        ' unless { context.request.subject_type == "user" && context.verified.subject.kind == "human" ||'
        ' context.request.subject_type == "agent" && context.verified.subject.kind == "agent" };',
    )
    assert await outcome(ledger, FOR_BOB, launch()) == "permit"
    await note(ledger, PrincipalDeactivated(principal_id=BOT, reason="x"))
    denied = await decide(ledger, FOR_BOB, launch())
    assert denied.verdict.judged[1] == Judged(principal=f"agent:{BOT}", outcome="deny", determining=("gone",))


async def test_groups_of_each_count(ledger: EventLedger) -> None:
    entities = [
        {"uid": {"type": kind, "id": name}, "attrs": {}, "parents": [{"type": "team", "id": "pilots"}]}
        for kind, name in (("user", BOB), ("agent", BOT))
    ]
    pilots = '@id("pilots") permit(principal in team::"pilots", action, resource);'
    await enforce(ledger, pilots, entities=json.dumps(entities[:1]))
    assert await outcome(ledger, FOR_BOB, launch()) == "deny"
    await enforce(ledger, pilots, entities=json.dumps(entities))
    assert await outcome(ledger, FOR_BOB, launch()) == "permit"


async def test_one_demand_for_approval_is_enough_and_one_approval_serves_all(ledger: EventLedger) -> None:
    ask_bot = PERMIT_BOT.replace(
        '@id("bot")', '@id("bot") @approval("two-stage") @reason("a human looks at bot") @obligation("custom?b=1")'
    )
    await enforce(ledger, PERMIT_BOB.replace('@id("bob")', '@id("bob") @obligation("custom?a=1")'), ask_bot)
    waiting = await decide(ledger, FOR_BOB, launch())
    assert (waiting.verdict.outcome, waiting.verdict.approval_path) == ("approval_required", "two-stage")
    assert waiting.verdict.reason == "a human looks at bot"
    assert waiting.verdict.obligations == ()
    assert [item.outcome for item in waiting.verdict.judged] == ["permit", "approval_required"]
    approved = await decide(ledger, FOR_BOB, launch(), approval_id="apr_1")
    assert (approved.verdict.outcome, approved.verdict.approval_path) == ("permit", "two-stage")
    assert [item.id for item in approved.verdict.obligations] == ["bob#1", "bot#1"]
    await enforce(ledger, ask_bot, PERMIT_BOB, f'@id("no") forbid(principal == user::"{BOB}", action, resource);')
    assert await outcome(ledger, FOR_BOB, launch(), approval_id="apr_1") == "deny"


async def test_who_acts_for_somebody_does_not_choose_the_easier_approval_path(ledger: EventLedger) -> None:
    strict = PERMIT_BOT.replace('@id("bot")', '@id("bot") @approval("strict")')
    easy = PERMIT_BOB.replace('@id("bob")', '@id("bob") @approval("easy")')
    await enforce(ledger, strict, easy)
    for approval in (None, "apr_1"):
        denied = (await decide(ledger, FOR_BOB, launch(), approval_id=approval)).verdict
        assert (denied.outcome, denied.approval_path) == ("deny", None)
        assert "different paths" in denied.reason
    await enforce(ledger, strict, easy.replace("easy", "strict"))
    assert (await decide(ledger, FOR_BOB, launch())).verdict.approval_path == "strict"


async def test_obligations_are_united_each_once(ledger: EventLedger) -> None:
    everybody = PERMIT_ALL.replace('@id("all")', '@id("all") @obligation("custom?all=1")')
    mine = PERMIT_BOT.replace('@id("bot")', '@id("bot") @obligation("custom?bot=1 custom?bot=2")')
    await enforce(ledger, everybody, mine)
    decided = await decide(ledger, FOR_BOB, launch())
    assert [item.id for item in decided.verdict.obligations] == ["all#1", "bot#1", "bot#2"]
    forbidding = FORBID_BOT.replace('@id("not-bot")', '@id("not-bot") @obligation("custom?told=1")')
    await enforce(ledger, everybody, forbidding)
    denied = await decide(ledger, FOR_BOB, launch())
    assert [item.id for item in denied.verdict.obligations] == ["not-bot#1"], "of those who deny"


async def test_more_obligations_than_fit_deny(ledger: EventLedger) -> None:
    ten = " ".join(f"custom?n={number}" for number in range(10))
    await enforce(
        ledger,
        PERMIT_BOB.replace('@id("bob")', f'@id("bob") @obligation("{ten}")'),
        PERMIT_BOT.replace('@id("bot")', f'@id("bot") @obligation("{ten}")'),
    )
    denied = await decide(ledger, FOR_BOB, launch())
    assert (denied.verdict.outcome, denied.verdict.reason, denied.verdict.obligations) == ("deny", FAILED, ())
    assert len(denied.verdict.judged) == 2


async def test_an_error_about_anybody_denies(ledger: EventLedger) -> None:
    broken = f'@id("broken") permit(principal == agent::"{BOT}", action, resource) when {{ context.missing > 1 }};'
    await enforce(ledger, PERMIT_ALL, broken)
    denied = await decide(ledger, FOR_BOB, launch())
    assert (denied.verdict.outcome, denied.verdict.reason) == ("deny", FAILED)
    assert denied.verdict.errors
    assert [item.outcome for item in denied.verdict.judged] == ["permit", "deny"]


async def test_a_link_that_the_log_does_not_know_denies(ledger: EventLedger) -> None:
    await enforce(ledger, PERMIT_ALL)
    chain = Actor(principal=BOT, kind="agent", on_behalf_of=(prn("nobody"), BOB))
    denied = await decide(ledger, chain, launch())
    assert denied.verdict.errors == ("a link of the chain is not known here",)


async def test_without_policy_nobody_is_judged(ledger: EventLedger) -> None:
    denied = await decide(ledger, FOR_BOB, launch())
    assert (denied.verdict.outcome, denied.verdict.judged) == ("deny", ())


async def test_the_longest_chain_with_the_most_to_say_fits_an_entry(ledger: EventLedger) -> None:
    names = [f"link{number}" for number in range(7)]
    await note(ledger, *(agent(name, "bob") for name in names))
    many = (
        f'@id("{n}{"x" * 77}") @reason("{"é" * 300}") permit(principal, action, resource);' for n in range(100, 200)
    )
    await enforce(ledger, *many)
    chain = Actor(principal=BOT, kind="agent", on_behalf_of=(*map(prn, names), BOB))
    large = launch(kind="\x01" * 100, properties={"note": "x" * 22_000})
    decided = await decide(ledger, chain, large)
    assert decided.verdict.outcome == "permit"
    # Bob is judged twice: by the type that he was given, and as the human he is.
    assert len(decided.verdict.judged) == 10
    assert sum(len(item.determining) for item in decided.verdict.judged) <= MAX_DETERMINING


async def test_a_record_that_leaves_somebody_out_does_not_redecide_to_itself(ledger: EventLedger) -> None:
    await enforce(ledger, PERMIT_BOB, PERMIT_BOT)
    event = (await decide(ledger, FOR_BOB, launch())).event
    assert isinstance(event.payload, DecisionRecorded)
    altered = msgspec.structs.replace(event.payload, judged=())
    verdict = await DecisionPoint(ledger).redecide(msgspec.structs.replace(event, payload=altered))
    assert verdict != verdict_of(altered)


@pytest.mark.parametrize(("action", "expected"), [("read", "permit"), ("deploy", "approval_required"), ("fly", "deny")])
async def test_the_starter_policy_lets_an_agent_act_for_its_owner(
    ledger: EventLedger, action: str, expected: str
) -> None:
    await enforce(ledger, starter_bundle().policies)
    assert await outcome(ledger, FOR_BOB, launch(action=action)) == expected
    assert await outcome(ledger, THROUGH_CRON, launch(action=action)) == expected


def test_who_is_between() -> None:
    assert between(ALONE, BOT) == (BOT,)
    assert between(ALONE, BOB) == ()
    assert between(THROUGH_CRON, BOT) == (BOT,)
    assert between(THROUGH_CRON, CRON) == (BOT, CRON)
    assert between(THROUGH_CRON, BOB) == (BOT, CRON, BOB)
