"""What decisions see of the estate: facts as attributes, and what is in quarantine or retired is denied always.

Serves C02, 3 (rug-pull), DC-02, S0-35.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from eventsourcing.dcb.api import DCBAppendCondition
from hypothesis import given, settings
from hypothesis import strategies as st

from quarterdeck_domain.access.events import PrincipalRegistered
from quarterdeck_domain.access.values import SYSTEM
from quarterdeck_domain.estate.events import (
    AssetChanged,
    AssetQuarantined,
    AssetRegistered,
    AssetReleased,
    AssetRetired,
    AssetsMerged,
    RelationDeclared,
    RelationWithdrawn,
)
from quarterdeck_domain.estate.naming import name_of, resource_name, seen_name_of
from quarterdeck_domain.events import Actor, Event, NewEvent, RecordedEvent
from quarterdeck_domain.ids import make_id
from quarterdeck_domain.intent import Action, Entity, Intent
from quarterdeck_domain.policy.events import Barred, DecisionRecorded
from quarterdeck_domain.policy.slices import ChangeBundleMode, PublishBundle
from quarterdeck_domain.policy.values import BundleText
from quarterdeck_ledger.entry import MAX_TAG_LENGTH
from quarterdeck_ledger.errors import Unavailable
from quarterdeck_ledger.interface import Appended, Context
from quarterdeck_ledger.keys import MemoryKeyStore
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.memory import MemoryStore
from quarterdeck_policy import estate as estate_module
from quarterdeck_policy import looking as looking_module
from quarterdeck_policy import sight as sight_module
from quarterdeck_policy.decision_point import DecisionPoint
from quarterdeck_policy.decisions import Ask, Decided, verdict_of
from quarterdeck_policy.engine import Engine
from quarterdeck_policy.named import MANY, MAX_LISTED, UNREADABLE, names_of

ADMIN = Actor(principal="prn_admin", kind="human")
CALLER = Actor(principal="prn_door", kind="service")
BOT = make_id("prn", uuid.UUID(int=7))
PERMIT = '@id("yes") permit(principal, action, resource);'


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, 9, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class House(EventLedger):
    """A log in memory with somebody who decides, and hooks where others may come in between."""

    def __init__(self) -> None:
        self.clock = Clock()
        super().__init__(MemoryStore(self.clock), MemoryKeyStore())
        self.point = DecisionPoint(self)
        self.reads = 0
        self.before_append: list[Any] = []
        self.down = False

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
        return await super().append(tenant, events, condition, not_after=not_after)

    async def read(self, *arguments: Any, **named: Any) -> list[RecordedEvent]:
        self.reads += 1
        if self.down:
            raise Unavailable("the database does not answer")
        return await super().read(*arguments, **named)

    async def note(self, *payloads: Event) -> None:
        events = [NewEvent(id=uuid.uuid4(), payload=payload, actor=ADMIN) for payload in payloads]
        await super().append("acme", events)

    async def enforce(self, policies: str, entities: str = "[]") -> None:
        bundle_id = make_id("bnd", uuid.uuid4())
        text = BundleText(policies=policies, entities=entities)
        await self.execute(PublishBundle(bundle_id, "main", text, actor=SYSTEM), by(ADMIN))
        await self.execute(ChangeBundleMode(bundle_id, "enforced", "test", actor=SYSTEM), by(ADMIN))

    async def decide(self, intent: Intent, actor: Actor = CALLER) -> DecisionRecorded:
        decided = await self.point.decide(by(actor), intent)
        assert await self.point.redecide(decided.event) == decided.verdict == verdict_of(decided.decision)
        # Somebody who has just come, and knows nothing, decides the same.
        again = await DecisionPoint(self).redecide(decided.event)
        assert again == decided.verdict
        return decided.decision


@pytest.fixture
async def house() -> House:
    made = House()
    await made.enforce(PERMIT)
    return made


def by(actor: Actor = CALLER) -> Context:
    return Context(tenant="acme", actor=actor, command_id=uuid.uuid4())


def ask(
    resource: str = "tool:crm/refund",
    *,
    subject: str = "agent:bot",
    action: str = "call",
    context: dict[str, Any] | None = None,
    **properties: Any,
) -> Intent:
    kind, _, name = resource.partition(":")
    who, _, whose = subject.partition(":")
    return Intent(
        subject=Entity(type=who, id=whose),
        action=Action(name=action),
        resource=Entity(type=kind, id=name, properties=properties or None),
        context=context,
    )


def registered(asset: str, **facts: Any) -> AssetRegistered:
    said = {name.replace("__", "."): value for name, value in facts.items()}
    return AssetRegistered(asset=asset, facts={"lifecycle": "live"} | said, source="test")


def quarantined(asset: str) -> AssetQuarantined:
    return AssetQuarantined(asset=asset, reason="it changed", previous_lifecycle="live")


def released(asset: str) -> AssetReleased:
    return AssetReleased(asset=asset, lifecycle="live", reason="it was looked at")


def exposes(server: str, asset: str) -> RelationDeclared:
    return RelationDeclared(source=server, relation="exposes", target=asset)


TOOL = "tool:crm/refund"
SERVER = "mcp_server:crm"
LENT = "tool:pay/refund"
"""What a server exposes under the name of another: only because of that it stands and falls with it."""
CALLED = {
    "the resource": ask(),
    "the resource, its kind written otherwise": ask("Tool:crm/refund"),
    "the action": ask("order:A-1", action="crm/refund"),
    "the action with its kind": ask("order:A-1", action="tool:crm/refund"),
    "the action and its server": ask("order:A-1", action="refund", context={"mcp_server": "crm"}),
    "context.tool": ask("order:A-1", context={"tool": "crm/refund"}),
    "context.tool as an entity": ask("order:A-1", context={"tool": {"type": "tool", "id": "crm/refund"}}),
    "context.tool and its server": ask("order:A-1", context={"tool": ["other", "refund"], "mcp_server": SERVER}),
    "the resource and its server": ask("tool:refund", mcp_server="crm"),
    "a property of the resource": ask("order:A-1", tool="crm/refund"),
    "the action on its server": ask(SERVER, action="refund"),
    "the action on its server, written as elsewhere": ask("MCP-Server:crm", action="tool:refund"),
    "the action on its server, and said again": ask(SERVER, action="refund", context={"tool": "refund"}),
    "a call of its server with context.tool": ask(SERVER, action="tools/call", context={"tool": "refund"}),
    "a call of its server with a property": ask(SERVER, action="tools/call", tool={"type": "tool", "id": "refund"}),
    "the subject": ask("order:A-1", subject=TOOL),
}


@pytest.mark.parametrize("how", CALLED)
async def test_what_names_something_in_quarantine_is_denied_however_it_names_it(house: House, how: str) -> None:
    await house.note(registered(TOOL))
    assert (await house.decide(CALLED[how])).outcome == "permit"
    await house.note(quarantined(TOOL))
    denied = await house.decide(CALLED[how])
    assert (denied.outcome, denied.determining, denied.errors) == ("deny", (), ())
    assert denied.barred == (Barred(asset=TOOL, lifecycle="quarantined", named=TOOL),)
    assert denied.reason == f"{TOOL} is in quarantine until somebody has looked at it and releases it"
    assert (await house.decide(ask("tool:crm/lookup"))).outcome == "permit"
    await house.note(released(TOOL))
    assert (await house.decide(CALLED[how])).outcome == "permit"


async def test_a_tool_stands_and_falls_with_the_server_that_exposes_it(house: House) -> None:
    await house.note(registered(LENT), registered(SERVER), registered("mcp_server:old"))
    await house.note(exposes(SERVER, LENT), exposes("mcp_server:old", LENT))
    permitted = await house.decide(ask(LENT))
    assert (permitted.outcome, permitted.estate) == ("permit", (LENT, SERVER, "mcp_server:old"))
    await house.note(AssetRetired(asset="mcp_server:old"))
    assert (await house.decide(ask(LENT))).outcome == "permit"
    await house.note(quarantined(SERVER))
    denied = await house.decide(ask(LENT))
    assert denied.barred[0] == Barred(asset=SERVER, lifecycle="quarantined", named=LENT)
    assert denied.reason.startswith(f"{SERVER}, on which {LENT} stands, is in quarantine")
    await house.note(RelationWithdrawn(source=SERVER, relation="exposes", target=LENT))
    retired = Barred(asset="mcp_server:old", lifecycle="retired", named=LENT)
    assert (await house.decide(ask(LENT))).barred == (retired,)
    await house.note(RelationWithdrawn(source="mcp_server:old", relation="exposes", target=LENT))
    assert (await house.decide(ask(LENT))).outcome == "permit"


async def test_an_agent_is_known_by_the_principal_it_acts_as(house: House) -> None:
    await house.note(PrincipalRegistered(principal_id=BOT, kind="agent", display_name="Bot"))
    await house.note(registered("agent:support", attributes__principal=BOT))
    mine = ask(subject=f"agent:{BOT}")
    assert (await house.decide(mine)).estate == ("agent:support",)
    await house.note(quarantined("agent:support"))
    assert (await house.decide(mine)).barred == (Barred(asset="agent:support", lifecycle="quarantined", named=BOT),)
    # Whoever it acts for, and whatever somebody calls it: it is denied.
    acting = Actor(principal=BOT, kind="agent", on_behalf_of=("prn_ann",))
    for intent, actor in (
        (ask(subject="user:prn_ann"), acting),
        (ask(subject=f"user:{BOT}"), CALLER),
        (ask("agent:" + BOT), CALLER),
    ):
        assert (await house.decide(intent, actor)).outcome == "deny"
    claimed = acted_for_by_bot(ask(subject="user:prn_ann"))
    assert (await house.decide(claimed)).outcome == "deny"
    # Another agent takes its place under the same principal; the old one is retired.
    await house.note(released("agent:support"), AssetRetired(asset="agent:support"))
    assert (await house.decide(mine)).barred[0].lifecycle == "retired"
    await house.note(registered("agent:support-2", attributes__principal=BOT))
    assert (await house.decide(mine)).outcome == "permit"
    # The first lets go of the principal: nothing of it counts any more.
    await house.note(AssetChanged(asset="agent:support", facts={"attributes.principal": None}, source="test"))
    assert (await house.decide(mine)).estate == ("agent:support-2",)


def acted_for_by_bot(intent: Intent) -> Intent:
    subject = Entity(type=intent.subject.type, id=intent.subject.id, properties={"act": {"sub": BOT}})
    return Intent(subject=subject, action=intent.action, resource=intent.resource, context=intent.context)


async def test_what_was_merged_is_known_by_every_name_it_had(house: House) -> None:
    names = [f"tool:refund-{number}" for number in range(4)]
    await house.note(*map(registered, names), registered(SERVER), exposes(SERVER, names[0]))
    for one, other in itertools.pairwise(names):
        await house.note(AssetsMerged(survivor=other, merged=one))
    for name in names:
        assert (await house.decide(ask(name))).estate == (names[-1], SERVER)
    await house.note(quarantined(SERVER))
    for name in names:
        assert (await house.decide(ask(name))).barred[0].asset == SERVER
    await house.note(released(SERVER), quarantined(names[-1]))
    for name in names:
        denied = await house.decide(ask(name))
        assert denied.barred == (Barred(asset=names[-1], lifecycle="quarantined", named=name),)


RENAMED = ["検索", "send mail", "-wipe-", "x" * 300, "mail ann@example.com", "naïve"]
WAYS = {
    "context.tool": lambda name: ask("order:A-1", context={"tool": f"mail/{name}"}),
    "context.tool and its server": lambda name: ask("order:A-1", context={"tool": name, "mcp_server": "mail"}),
    "the resource": lambda name: ask(f"tool:mail/{name}"),
    "the action on its server": lambda name: ask("mcp_server:mail", action=name[:250]),
    "the subject": lambda name: ask("order:A-1", subject=f"tool:mail/{name}"),
}


@pytest.mark.parametrize("name", RENAMED)
@pytest.mark.parametrize("how", WAYS)
async def test_what_an_importer_renamed_is_found_by_what_it_is_called(house: House, how: str, name: str) -> None:
    """A hostile server chooses the names of its tools: they are asked for as it calls them."""
    if len(name) > 250 and "action" in how:
        name = name[:250]  # as long as an action's name may be
    for named in (name_of(f"mail/{name}"), seen_name_of(f"mail/{name}")):
        tool = f"tool:{named}"
        await house.note(registered(tool))
        assert tool in (await house.decide(WAYS[how](name))).estate
        await house.note(quarantined(tool))
        assert {bar.asset for bar in (await house.decide(WAYS[how](name))).barred} == {tool}
        assert (await house.decide(ask("tool:mail/other"))).outcome == "permit"
        await house.note(released(tool))


async def test_resources_prompts_and_agents_are_found_by_what_they_are_called_too(house: House) -> None:
    uri = "https://files.example/報告?key=k3y"
    made = {
        f"dataset:{name_of(f'crm/{resource_name(uri)}')}": (f"dataset:crm/{uri}", uri),
        f"prompt:{name_of('crm/挨拶 する')}": ("prompt:crm/挨拶 する", "挨拶 する"),
    }
    await house.note(*map(registered, made), registered(f"agent:{name_of('客服')}"))
    await house.note(registered("agent:of-ann", attributes__principal="客服 ann"))
    await house.note(*map(quarantined, (*made, f"agent:{name_of('客服')}", "agent:of-ann")))
    for asset, (alone, within) in made.items():
        kind = asset.partition(":")[0]
        for intent in (ask(alone), ask(f"{kind}:{within}", context={"mcp_server": "crm"})):
            denied = await house.decide(intent)
            assert [bar.asset for bar in denied.barred] == [asset]
            assert "k3y" not in str(denied.barred)
    assert (await house.decide(ask(subject="agent:客服"))).outcome == "deny"
    assert (await house.decide(ask(subject="agent:客服 ann"))).barred[0].asset == "agent:of-ann"
    assert (await house.decide(ask(subject="agent:客服-ann"))).outcome == "permit"


def of_server(server: str, tool: str) -> list[Intent]:
    return [
        ask("order:A-1", context={"mcp_server": server, "tool": tool}),
        ask("order:A-1", context={"tool": f"{server}/{tool}"}),
        ask(f"mcp_server:{server}", action=tool),
        ask(f"tool:{server}/{tool}"),
    ]


@pytest.mark.parametrize("tool", ["wipe", "消去", "wipe all"])
async def test_the_tools_of_a_merged_server_are_known_by_all_of_its_names(house: House, tool: str) -> None:
    """What was merged away is the survivor, also within the names of tools; before and after, and on and on."""
    asset = f"tool:{name_of(f'pay/{tool}')}"
    servers = ["pay", "payments", "money"]
    await house.note(registered(asset), *(registered(f"mcp_server:{server}") for server in servers))
    await house.note(exposes("mcp_server:pay", asset))
    for survivor, merged in (("payments", "pay"), ("money", "payments")):
        before = ask("order:A-1", context={"mcp_server": survivor, "tool": tool})
        assert asset not in (await house.decide(before)).estate
        await house.note(AssetsMerged(survivor=f"mcp_server:{survivor}", merged=f"mcp_server:{merged}"))
        assert asset in (await house.decide(before)).estate
    await house.note(quarantined(asset))
    for server in servers:
        for intent in of_server(server, tool):
            assert [bar.asset for bar in (await house.decide(intent)).barred] == [asset]
        assert (await house.decide(ask("order:A-1", context={"mcp_server": server, "tool": "look"}))).barred == ()
    await house.note(released(asset), AssetRetired(asset=asset))
    assert (await house.decide(of_server("money", tool)[0])).barred[0].lifecycle == "retired"
    # Another of the server's tools has taken its place.
    await house.note(registered(f"tool:{name_of(f'money/{tool}')}"))
    assert (await house.decide(of_server("money", tool)[0])).outcome == "permit"


async def test_what_a_server_exposes_under_a_name_of_another_is_its_own(house: House) -> None:
    """A tool keeps the name that it was registered by; who exposes it may ask for it by its own."""
    asset = "tool:pay/wipe"
    later = house.clock.now + timedelta(hours=1)
    await house.note(registered(asset), registered("mcp_server:payments"), exposes("mcp_server:payments", asset))
    await house.note(
        registered("mcp_server:old"), AssetsMerged(survivor="mcp_server:payments", merged="mcp_server:old")
    )
    await house.note(quarantined(asset))
    for server in ("payments", "old"):
        for intent in of_server(server, "wipe"):
            assert [bar.asset for bar in (await house.decide(intent)).barred] == [asset]
    assert (await house.decide(of_server("other", "wipe")[0])).outcome == "permit"
    await house.note(RelationWithdrawn(source="mcp_server:payments", relation="exposes", target=asset, valid_to=later))
    assert (await house.decide(of_server("payments", "wipe")[0])).outcome == "deny"
    house.clock.now = later
    assert (await house.decide(of_server("payments", "wipe")[0])).outcome == "permit"


async def test_a_quarantine_holds_without_any_policy_and_a_dated_fact_does_not_end_it(house: House) -> None:
    draft = AssetRegistered(asset=TOOL, facts={"lifecycle": "draft"}, source="test")
    tomorrow = house.clock.now + timedelta(days=1)
    await house.note(draft, AssetChanged(asset=TOOL, facts={"lifecycle": "live"}, source="t", valid_from=tomorrow))
    await house.note(quarantined(TOOL))
    assert (await house.decide(ask())).outcome == "deny"
    house.clock.now = tomorrow + timedelta(hours=1)
    assert (await house.decide(ask())).barred != ()
    bare = House()
    await bare.note(registered(TOOL), quarantined(TOOL))
    denied = await bare.decide(ask())
    assert (denied.bundle_id, denied.barred[0].lifecycle) == (None, "quarantined")


async def test_policy_sees_the_facts_of_principal_and_resource_and_no_claim_replaces_them(house: House) -> None:
    policies = (
        '@id("safe") permit(principal, action, resource) when { resource has classification && '
        'resource.classification == "public" && resource.tier == 2 && resource.environments.contains("prod") && '
        'resource.as_pinned && principal has team && principal.team == "support" && resource.lifecycle == "live" };'
    )
    await house.enforce(policies)
    digest = "sha256:" + "a" * 64
    facts = {"tier": 2, "environments": ["prod"], "attributes__digest": digest, "attributes__pinned": digest}
    await house.note(registered("agent:bot", team="support"), registered(TOOL, classification="public", **facts))
    assert (await house.decide(ask())).determining == ("safe",)
    assert (await house.decide(ask("tool:other", classification="public", tier=2))).outcome == "deny"
    await house.note(AssetChanged(asset=TOOL, facts={"classification": "restricted"}, source="test"))
    claims = ask(classification="public", lifecycle="live", tier=2)
    assert (await house.decide(claims)).outcome == "deny"
    await house.note(AssetChanged(asset=TOOL, facts={"classification": "public"}, source="test"))
    assert (await house.decide(ask())).outcome == "permit"
    await house.note(AssetChanged(asset=TOOL, facts={"attributes.digest": "sha256:" + "b" * 64}, source="test"))
    assert (await house.decide(ask())).outcome == "deny"


async def test_the_bundles_entities_stay_what_the_bundle_says(house: House) -> None:
    entities = """[
      {"uid": {"type": "agent", "id": "bot"}, "attrs": {"boss": {"__entity": {"type": "user", "id": "ann"}}},
       "parents": [{"type": "team", "id": "inner"}]},
      {"uid": {"type": "team", "id": "inner"}, "attrs": {}, "parents": [{"type": "team", "id": "all"}]},
      {"uid": {"type": "user", "id": "ann"}, "attrs": {"level": 3}, "parents": []},
      {"uid": {"type": "house", "id": "x"}, "attrs": {"open": true}, "parents": []},
      {"uid": {"type": "tool", "id": "crm/refund"}, "attrs": {"tier": 9}, "parents": []}
    ]"""
    policies = (
        '@id("all") permit(principal in team::"all", action, resource) when { principal.boss.level == 3 && '
        'house::"x".open && resource.tier == 9 && resource.risk == "low" && principal.lifecycle == "live" };'
    )
    await house.enforce(policies, entities)
    await house.note(registered("agent:bot"), registered(TOOL, tier=1, risk="low"))
    decided = await house.decide(ask())
    assert (decided.outcome, decided.errors) == ("permit", ())


async def test_dated_facts_hold_as_of_the_clock_and_the_decision_says_which(house: House) -> None:
    await house.enforce('@id("low") permit(principal, action, resource) when { resource.risk == "low" };')
    tomorrow = house.clock.now + timedelta(days=1)
    await house.note(registered(TOOL, risk="low"))
    assert (await house.decide(ask())).evaluated_at is None
    change = AssetChanged(asset=TOOL, facts={"risk": "high"}, source="t", valid_from=tomorrow)
    await house.note(change)
    before = await house.decide(ask())
    assert (before.outcome, before.evaluated_at) == ("permit", house.clock.now)
    house.clock.now = tomorrow
    after = await house.decide(ask())
    assert (after.outcome, after.evaluated_at) == ("deny", tomorrow)
    # Now that nothing lies ahead, no date counts any more.
    assert (await house.decide(ask())).evaluated_at is None


async def test_a_quarantine_between_reading_and_recording_is_seen(house: House) -> None:
    await house.note(registered(TOOL))

    async def shut() -> None:
        await house.note(quarantined(TOOL))

    assert (await house.decide(ask())).outcome == "permit"
    house.before_append.append(shut)
    assert (await house.decide(ask())).barred != ()


async def test_registering_the_first_object_and_shutting_it_is_seen(house: House) -> None:
    async def shut() -> None:
        await house.note(registered(TOOL), quarantined(TOOL))

    assert (await house.decide(ask())).estate == ()
    house.before_append.append(shut)
    assert (await house.decide(ask())).barred != ()


async def test_if_the_estate_cannot_be_read_nothing_is_decided(house: House) -> None:
    await house.note(registered(TOOL))
    await house.decide(ask("tool:other"))
    house.down = True
    with pytest.raises(Unavailable):
        await house.point.decide(by(), ask())
    house.down = False
    assert (await house.decide(ask())).outcome == "permit"


async def test_names_are_read_once_and_again_only_when_something_of_them_changed(house: House) -> None:
    await house.note(registered(TOOL), registered("tool:other"))
    for _ in range(2):
        await house.point.decide(by(), ask())
    house.reads = 0
    await house.point.decide(by(), ask())
    assert house.reads == 0
    await house.note(AssetChanged(asset="tool:other", facts={"risk": "low"}, source="test"))
    await house.point.decide(by(), ask())
    assert house.reads == 2  # what changed, of policy and of the estate; nothing of this tool
    await house.note(AssetChanged(asset=TOOL, facts={"risk": "low"}, source="test"))
    house.reads = 0
    await house.point.decide(by(), ask())
    assert house.reads == 3


async def test_after_a_great_many_changes_everything_is_read_anew(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sight_module, "MAX_CHANGES", 5)
    await house.note(registered(TOOL))
    await house.decide(ask())
    many = [registered(f"tool:t{number}") for number in range(8)]
    await house.note(*many, quarantined(TOOL))
    assert (await house.decide(ask())).barred != ()


async def test_what_hangs_on_too_much_is_denied_and_spoils_nothing_for_others(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking_module, "MAX_READ", 20)
    await house.note(registered(TOOL), registered("tool:fine"))
    await house.note(*(registered(f"mcp_server:s{number}") for number in range(30)))
    await house.note(*(exposes(f"mcp_server:s{number}", TOOL) for number in range(30)))
    denied = await house.decide(ask(context={"tool": "fine"}))
    assert (denied.outcome, denied.errors) == ("deny", (estate_module.TANGLED,))
    assert (await house.decide(ask("tool:fine"))).outcome == "permit"


async def test_a_batch_sees_it_too(house: House) -> None:
    await house.note(registered(TOOL), quarantined(TOOL))
    asks = [Ask(intent=ask("order:1")), Ask(intent=ask()), Ask(intent=ask("order:2"))]
    decided = await house.point.decide_many(by(), asks)
    assert [item.decision.outcome for item in decided if isinstance(item, Decided)] == ["permit", "deny", "permit"]
    first = await house.point.decide_many(by(), asks, "deny_on_first_deny")
    assert len(first) == 2


async def test_what_would_wait_in_vain_is_told_without_a_decision(house: House) -> None:
    await house.note(registered(TOOL), quarantined(TOOL))
    assert [bar.asset for bar in await house.point.barred("acme", ask(), CALLER)] == [TOOL]
    assert await house.point.barred("acme", ask("tool:other"), CALLER) == ()


TEXTS = st.text(max_size=12) | st.sampled_from(["tool:x", "mcp_server:crm", "::", "tool:", "agent:é", "a b"])
CLAIMS = st.recursive(
    st.none() | st.booleans() | TEXTS | st.integers(),
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.sampled_from(["type", "id", "sub", "act"]), inner),
    max_leaves=10,
)


def readable(claim: Any) -> bool:
    """Tell whether all that is claimed is a name or an entity."""
    items = claim if isinstance(claim, list) else [] if claim is None else [claim]
    return all(isinstance(item, str) or (isinstance(item, dict) and isinstance(item.get("id"), str)) for item in items)


def depth(act: Any) -> int:
    return 1 + depth(act.get("act")) if isinstance(act, dict) else 0


@settings(max_examples=300)
@given(TEXTS, TEXTS, TEXTS, CLAIMS, CLAIMS, CLAIMS)
def test_whatever_a_request_claims_its_names_are_few_and_can_be_tags(
    kind: str, name: str, action: str, tool: Any, server: Any, act: Any
) -> None:
    intent = Intent(
        subject=Entity(type=kind or "agent", id=name, properties={"act": act}),
        action=Action(name=action),
        resource=Entity(type="tool", id=name, properties={"mcp_server": server}),
        context={"tool": tool, "mcp_server": server},
    )
    found = names_of(intent, ())
    many = any(isinstance(said, list) and len(said) > MAX_LISTED for said in (tool, server))
    wanted = MANY if many or depth(act) > MAX_LISTED else "" if readable(tool) and readable(server) else UNREADABLE
    assert found.problem == wanted
    if found.problem:
        assert found.every() == ()
        return
    names = found.every()
    looking = looking_module.Looking(names)
    asked = looking.wanted()
    assert asked is not None
    tags = [tag for item in asked.items for tag in item.tags]
    assert len(tags) < looking_module.MAX_READ
    assert all(tag.isascii() and tag.isprintable() and " " not in tag and len(tag) <= MAX_TAG_LENGTH for tag in tags)
    looking.found(datetime.now(UTC))


EVENTS = st.lists(
    st.sampled_from(
        [
            *(lambda name: [quarantined(name), released(name), AssetRetired(asset=name)])("tool:a"),
            *(lambda name: [quarantined(name), released(name), AssetRetired(asset=name)])("tool:b"),
            *(lambda name: [quarantined(name), released(name)])(SERVER),
            exposes(SERVER, "tool:a"),
            RelationWithdrawn(source=SERVER, relation="exposes", target="tool:a"),
            AssetsMerged(survivor="tool:b", merged="tool:a"),
        ]
    ),
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(EVENTS, st.sampled_from(["tool:a", "tool:b"]))
def test_decisions_agree_with_a_naive_fold_at_every_position(events: list[Event], named: str) -> None:
    async def run() -> None:
        house = House()
        await house.enforce(PERMIT)
        await house.note(registered("tool:a"), registered("tool:b"), registered(SERVER))
        state: dict[str, str] = {}
        exposed, merged = False, False
        for event in (None, *events):
            if event is not None:
                await house.note(event)
            match event:
                case AssetQuarantined(asset=asset):
                    state[asset] = "quarantined"
                case AssetRetired(asset=asset):
                    state[asset] = "retired"
                case AssetReleased(asset=asset):
                    state.pop(asset, None)
                case RelationDeclared() | RelationWithdrawn():
                    exposed = isinstance(event, RelationDeclared)
                case AssetsMerged():
                    merged = True
                case _:
                    pass
            asset = "tool:b" if merged else named
            through = exposed and (asset == "tool:a" or merged)
            barred = asset in state or (through and SERVER in state)
            assert ((await house.decide(ask(named))).outcome == "deny") == barred

    asyncio.run(run())


DAYS = st.integers(-400, 400).map(lambda day: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day))
PERIODS = st.lists(st.tuples(DAYS, st.none() | st.integers(1, 300)), max_size=6)


@settings(max_examples=60, deadline=None)
@given(PERIODS, st.integers(0, 6))
def test_what_a_server_exposes_stays_shut_whatever_periods_are_said(
    periods: list[tuple[datetime, int | None]], place: int
) -> None:
    """Of a time that is over, or to come, or within another: exposed for good, the tool is denied with its server."""

    async def run() -> None:
        house = House()
        await house.enforce(PERMIT)
        await house.note(registered(LENT), registered(SERVER), quarantined(SERVER))
        said = [
            msgspec.structs.replace(
                exposes(SERVER, LENT),
                valid_from=begins,
                valid_to=None if lasts is None else begins + timedelta(days=lasts),
            )
            for begins, lasts in periods
        ]
        for event in (*said[:place], exposes(SERVER, LENT), *said[place:]):
            await house.note(event)
        denied = await house.decide(ask(LENT))
        assert (denied.outcome, denied.barred[0].asset) == ("deny", SERVER)
        house.clock.now += timedelta(days=1_000)
        assert (await house.decide(ask(LENT))).outcome == "deny"
        await house.note(RelationWithdrawn(source=SERVER, relation="exposes", target=LENT))
        assert (await house.decide(ask(LENT))).outcome == "permit"

    asyncio.run(run())


async def test_an_exposure_ends_when_the_last_of_its_periods_does(house: House) -> None:
    """One that was withdrawn as of a moment goes on till then, and nothing said of another time makes that earlier."""
    await house.note(registered(LENT), registered(SERVER), quarantined(SERVER))
    now, week = house.clock.now, timedelta(days=7)
    exposure = exposes(SERVER, LENT)
    await house.note(msgspec.structs.replace(exposure, valid_from=now, valid_to=now + 3 * week))
    await house.note(msgspec.structs.replace(exposure, valid_from=now - 9 * week, valid_to=now - 8 * week))
    assert (await house.decide(ask(LENT))).outcome == "deny"
    await house.note(
        RelationWithdrawn(source=SERVER, relation="exposes", target=LENT, valid_to=now + 2 * week),
        msgspec.structs.replace(exposure, valid_from=now - 7 * week, valid_to=now - 6 * week),
    )
    house.clock.now += week
    assert (await house.decide(ask(LENT))).outcome == "deny"
    house.clock.now += week
    assert (await house.decide(ask(LENT))).outcome == "permit"


OF_SERVERS = st.lists(
    st.sampled_from(
        [
            *(event(tool) for tool in ("tool:a/x", "tool:b/x", "tool:c/x") for event in (quarantined, released)),
            *(
                exposes(server, tool)
                for server in ("mcp_server:a", "mcp_server:b")
                for tool in ("tool:a/x", "tool:c/x")
            ),
            RelationWithdrawn(source="mcp_server:b", relation="exposes", target="tool:a/x"),
            RelationWithdrawn(source="mcp_server:a", relation="exposes", target="tool:c/x"),
            AssetsMerged(survivor="mcp_server:b", merged="mcp_server:a"),
            AssetsMerged(survivor="tool:c/x", merged="tool:a/x"),
        ]
    ),
    max_size=8,
    unique_by=repr,
)


@settings(max_examples=150, deadline=None)
@given(OF_SERVERS, st.sampled_from(["a", "b"]))
def test_a_tool_of_a_server_is_what_a_naive_fold_takes_it_for(events: list[Event], server: str) -> None:
    """Called after any name of its server, or exposed by any of them, and whatever it was merged into."""

    async def run() -> None:
        house = House()
        await house.enforce(PERMIT)
        await house.note(
            *(registered(f"tool:{name}/x") for name in "abc"), *(registered(f"mcp_server:{s}") for s in "ab")
        )
        shut: set[str] = set()
        exposed: set[tuple[str, str]] = set()
        same, one = {server}, False
        for event in (None, *events):
            if event is not None:
                await house.note(event)
            match event:
                case AssetQuarantined(asset=asset):
                    shut.add(asset)
                case AssetReleased(asset=asset):
                    shut.discard(asset)
                case RelationDeclared(source=source, target=target):
                    exposed.add((source, target))
                case RelationWithdrawn(source=source, target=target):
                    exposed.discard((source, target))
                case AssetsMerged(survivor="mcp_server:b"):
                    same = {"a", "b"}
                case AssetsMerged():
                    one = True
                case _:
                    pass
            meant = {f"tool:{name}/x" for name in same}
            meant |= {tool for source, tool in exposed if source.partition(":")[2] in same}
            if one:
                # What is exposed by an old name is exposed by the new one; who asks for that gets the same.
                meant = {"tool:c/x" if tool == "tool:a/x" else tool for tool in meant}
            asked = await house.decide(ask("order:1", context={"mcp_server": server, "tool": "x"}))
            assert {bar.asset for bar in asked.barred} == meant & shut

    asyncio.run(run())


def test_no_bundle_is_read_wrongly_for_the_entities_it_names() -> None:
    text = BundleText(
        policies='@id("a") permit(principal, action, resource) when { A::B::"x\\u{41}".lifecycle == "live" };'
        '@id("b") permit(principal, action, resource) when { A::B::"y".tier == 1 && ["team"].contains("team") };'
    )
    loaded = Engine().load(text)
    said = {("agent", "bot"): {"lifecycle": "live"}}
    intent = ask("order:1")
    assert loaded.evaluate(intent, estate=said).outcome == "deny"  # neither entity exists: an error, and that denies


@pytest.mark.parametrize(
    "own", ["agent:foo", "tool:refund", "dataset:bar", "MCP_SERVER:z", "mcp-server:z", "tool:tool:x"]
)
async def test_a_server_may_call_its_tools_as_ids_are_written(house: House, own: str) -> None:
    """What is in quarantine is found as it is spelt, by every way in which a request may name it. Serves S0-30."""
    tool = f"tool:crm/{own}"
    await house.note(registered(SERVER), registered(tool), quarantined(tool))
    for intent in (
        ask(tool),
        ask(f"tool:{tool}"),
        ask(SERVER, action=own),
        ask(f"mcp_server:{SERVER}", action=own),
        ask("order:1", context={"tool": own, "mcp_server": "crm"}),
        ask("order:1", context={"tool": f"crm/{own}"}),
        ask("order:1", context={"tool": tool}),
        ask("order:1", context={"tool": own, "mcp_server": SERVER}),
        ask("order:1", context={"tool": {"type": "tool", "id": f"crm/{own}"}}),
    ):
        decided = await house.decide(intent)
        assert (decided.outcome, [bar.asset for bar in decided.barred]) == ("deny", [tool]), intent


async def test_ids_as_every_screen_prints_them_name_a_resource(house: House) -> None:
    """With their kind in them, too."""
    await house.note(registered(TOOL), registered(SERVER), quarantined(TOOL), quarantined(SERVER))
    for resource in (f"tool:{TOOL}", f"mcp_server:{SERVER}", f"mcp-server:{SERVER}"):
        assert (await house.decide(ask(resource))).outcome == "deny", resource


async def test_a_server_in_quarantine_does_not_offer_something_new(house: House) -> None:
    """What nobody has imported yet is named by its server, and so is what it no longer lists."""
    await house.note(registered(SERVER), registered(TOOL))
    asked = (
        ask("tool:crm/brandnew"),
        ask("order:1", action="crm/brandnew"),
        ask("order:1", context={"tool": "crm/brandnew"}),
        ask("order:1", context={"tool": "brandnew", "mcp_server": "crm"}),
    )
    assert [(await house.decide(intent)).outcome for intent in asked] == ["permit"] * 4
    await house.note(quarantined(SERVER))
    for intent in asked:
        decided = await house.decide(intent)
        assert (decided.outcome, decided.barred[0].asset) == ("deny", SERVER)
    assert (await house.decide(ask(TOOL))).barred == (Barred(asset=SERVER, lifecycle="quarantined", named=TOOL),)


def observed(asset: str) -> AssetRegistered:
    """Return what a trace of anybody makes of a name."""
    return msgspec.structs.replace(registered(asset), source="traces", confidence="observed")


def imported(asset: str) -> AssetRegistered:
    return msgspec.structs.replace(registered(asset), source="bill", confidence="imported")


OFFERED = ("www", "refund", "a/b")
_THEIRS = [f"{kind}:{name}" for kind in ("tool", "dataset", "prompt") for name in ("crm/www", "crm/refund", "crm/a/b")]
_SERVERS = ["mcp_server:crm", "mcp_server:old", "mcp_server:other", "mcp_server:crm/a"]
SAID = st.lists(
    st.sampled_from(
        [
            *(
                say(asset)
                for asset in (*_THEIRS, "tool:other/www", *_SERVERS)
                for say in (observed, imported, registered)
            ),
            *(exposes(server, asset) for server in _SERVERS for asset in _THEIRS),
            *(
                RelationWithdrawn(source=server, relation="exposes", target=asset)
                for server in _SERVERS
                for asset in _THEIRS
            ),
            *(AssetRetired(asset=asset) for asset in ("tool:crm/www", "mcp_server:other")),
            *(released(asset) for asset in ("tool:crm/www", "mcp_server:other", "mcp_server:crm/a")),
            AssetsMerged(survivor="tool:other/www", merged="tool:crm/www"),
            AssetsMerged(survivor="tool:crm/refund", merged="tool:crm/www"),
            AssetsMerged(survivor="mcp_server:other", merged="mcp_server:crm/a"),
        ]
    ),
    max_size=10,
)


def asks_of(server: str, name: str) -> list[Intent]:
    return [
        *of_server(server, name),
        ask("order:A-1", action=f"{server}/{name}"),
        ask("order:A-1", action=name, context={"mcp_server": server}),
        ask("order:A-1", tool=f"mcp_server:{server}/{name}"),
        ask(f"dataset:{server}/{name}"),
        ask(f"prompt:{name}", mcp_server=server),
        ask(f"tool:{server.upper()}/{name}"),
    ]


@settings(max_examples=100, deadline=None)
@given(SAID, st.integers(0, 10), st.sampled_from(["crm", "old"]), st.sampled_from(OFFERED))
def test_nothing_but_its_release_opens_a_server_in_quarantine(
    events: list[Event], place: int, server: str, name: str
) -> None:
    """Whatever traces, imports and people say of what it offers before and after, who else exposes it, and what becomes
    of that: by each of its names it is denied. Serves C02, S0-30."""

    async def run() -> None:
        house = House()
        await house.enforce(PERMIT)
        await house.note(registered("mcp_server:old"), registered(SERVER))
        await house.note(AssetsMerged(survivor=SERVER, merged="mcp_server:old"))
        for event in events[:place]:
            await house.note(event)
        for intent in asks_of(server, name):
            decided = await house.point.decide(by(), intent)  # and remembered, as what it hangs on now
            assert SERVER not in {bar.asset for bar in decided.verdict.barred}
        await house.note(quarantined(SERVER))
        for event in (None, *events[place:]):
            if event is not None:
                await house.note(event)
            for intent in asks_of(server, name):
                decided = await house.point.decide(by(), intent)
                assert decided.verdict.outcome == "deny", intent
                assert SERVER in {bar.asset for bar in decided.verdict.barred}
        await house.decide(asks_of(server, name)[-1])
        await house.note(released(SERVER))
        for intent in asks_of(server, name):
            assert SERVER not in {bar.asset for bar in (await house.decide(intent)).barred}

    asyncio.run(run())


@pytest.mark.parametrize("known", [observed, imported, registered])
async def test_who_says_something_of_a_tool_does_not_release_its_server(house: House, known: Any) -> None:
    """A trace, a bill, a person: what is said of the tool is no word about the server. Serves S0-30."""
    await house.note(registered(SERVER), quarantined(SERVER))
    for intent in asks_of("crm", "www"):
        assert (await house.decide(intent)).outcome == "deny"
    await house.note(known("tool:crm/www"), known("prompt:crm/www"), known("dataset:crm/www"))
    for intent in asks_of("crm", "www"):
        decided = await house.decide(intent)
        assert (decided.outcome, decided.barred[0].asset) == ("deny", SERVER), intent


async def test_a_server_in_quarantine_frees_nothing_by_no_longer_listing_it(house: House) -> None:
    """Nor does another that offers the same; both are what it would do. A retired one is spared, as ever."""
    await house.note(registered(SERVER), registered("mcp_server:other"), registered(TOOL), exposes(SERVER, TOOL))
    await house.note(quarantined(SERVER), RelationWithdrawn(source=SERVER, relation="exposes", target=TOOL))
    assert (await house.decide(ask())).barred == (Barred(asset=SERVER, lifecycle="quarantined", named=TOOL),)
    await house.note(exposes("mcp_server:other", TOOL))
    assert (await house.decide(ask())).outcome == "deny"
    await house.note(AssetRetired(asset=SERVER))
    assert (await house.decide(ask())).outcome == "permit"


def unlisted(server: str, asset: str) -> RelationWithdrawn:
    """Return what an import records of something that a server no longer lists."""
    return RelationWithdrawn(source=server, relation="exposes", target=asset, run="run_1")


def listed(server: str, asset: str) -> RelationDeclared:
    """Return what an import records of something that a server lists."""
    return msgspec.structs.replace(exposes(server, asset), confidence="imported", said_by="bill", run="run_1")


async def test_what_was_exposed_at_the_quarantine_stays_shut_by_every_name(house: House) -> None:
    """Merged or called something else, and whatever imports take back; not what it had given up before. A person's
    command takes it back, and so does the release. Serves C02, S0-30."""
    await house.note(registered(SERVER), registered("mcp_server:other"), registered("tool:refunds"), registered(TOOL))
    await house.note(registered("tool:given-up"), exposes(SERVER, "tool:given-up"), unlisted(SERVER, "tool:given-up"))
    await house.note(exposes(SERVER, TOOL), AssetsMerged(survivor="tool:refunds", merged=TOOL))
    await house.note(registered(LENT), exposes(SERVER, LENT), quarantined(SERVER))
    assert (await house.decide(ask("tool:given-up"))).outcome == "permit"
    await house.note(unlisted(SERVER, TOOL), unlisted(SERVER, LENT), listed("mcp_server:other", LENT))
    await house.note(registered("tool:lent"), AssetsMerged(survivor="tool:lent", merged=LENT))
    for asset in ("tool:refunds", LENT, "tool:lent"):
        assert [bar.asset for bar in (await house.decide(ask(asset))).barred] == [SERVER], asset
    await house.note(AssetRetired(asset=SERVER))
    for asset in ("tool:refunds", LENT, "tool:lent"):
        decided = await house.decide(ask(asset))
        assert [(bar.asset, bar.lifecycle) for bar in decided.barred] == [(SERVER, "retired")], asset
    await house.note(RelationWithdrawn(source=SERVER, relation="exposes", target=LENT))
    assert (await house.decide(ask("tool:lent"))).outcome == "permit"
    assert (await house.decide(ask("tool:refunds"))).outcome == "deny"
    await house.note(released(SERVER))
    assert (await house.decide(ask("tool:refunds"))).outcome == "permit"


LISTED = st.lists(
    st.sampled_from(
        [
            *(say(asset) for asset in (LENT, "tool:lent", "tool:other/lent") for say in (observed, imported)),
            *(say("mcp_server:other", asset) for asset in (LENT, "tool:lent") for say in (listed, unlisted)),
            *(say(SERVER, asset) for asset in (LENT, "tool:lent") for say in (listed, unlisted)),
            AssetsMerged(survivor="tool:lent", merged=LENT),
            AssetsMerged(survivor="tool:other/lent", merged="tool:lent"),
            AssetRetired(asset=SERVER),
            AssetRetired(asset="mcp_server:other"),
        ]
    ),
    max_size=8,
)


@settings(max_examples=100, deadline=None)
@given(LISTED, LISTED)
def test_no_list_and_no_merger_opens_what_a_server_in_quarantine_exposes(
    before: list[Event], events: list[Event]
) -> None:
    """By its own name, whoever called it so, and by that of whatever it became."""

    async def run() -> None:
        house = House()
        await house.enforce(PERMIT)
        await house.note(registered(SERVER), registered("mcp_server:other"), registered(LENT))
        for event in before:
            if event != AssetRetired(asset=SERVER):
                await house.note(event)
        await house.note(exposes(SERVER, LENT), quarantined(SERVER))
        for event in (None, *events):
            if event is not None:
                await house.note(event)
            decided = await house.decide(ask(LENT))
            assert decided.outcome == "deny"
            assert SERVER in {bar.asset for bar in decided.barred}

    asyncio.run(run())


async def test_a_retired_server_ends_what_only_imports_and_traces_know(house: House) -> None:
    """What people registered goes on without it, and what another server in use offers."""
    await house.note(registered(SERVER), AssetRetired(asset=SERVER))
    for known in (observed, imported):
        await house.note(known(TOOL))
        assert (await house.decide(ask())).barred == (Barred(asset=SERVER, lifecycle="retired", named=TOOL),)
    await house.note(registered("mcp_server:other"), exposes("mcp_server:other", TOOL))
    assert (await house.decide(ask())).outcome == "permit"
    await house.note(registered("tool:crm/by-hand"))
    assert (await house.decide(ask("tool:crm/by-hand"))).outcome == "permit"


async def test_whom_an_import_calls_shut_shuts_nothing_of_others(house: House) -> None:
    """A document with the name of somebody's tools would be enough; what it says of itself holds for itself."""
    of_import = msgspec.structs.replace(imported(SERVER), facts={"lifecycle": "quarantined"})
    await house.note(registered(TOOL), registered("dataset:crm/customers"), of_import)
    for resource in (TOOL, "dataset:crm/customers"):
        assert (await house.decide(ask(resource))).outcome == "permit"
    assert (await house.decide(ask(SERVER))).outcome == "deny"
    await house.note(quarantined(SERVER))
    assert (await house.decide(ask())).outcome == "deny"


@pytest.mark.parametrize(
    "claim", [[["crm/x"]], {"mcp_server": "crm", "name": "x"}, {"type": "tool", "id": {}}, 7, [None]]
)
async def test_what_cannot_be_read_is_denied(house: House, claim: Any) -> None:
    """It could name what is shut. Properties of a resource may mean something else by such a name."""
    for name in ("tool", "mcp_server"):
        decided = await house.decide(ask("order:1", context={name: claim}))
        assert (decided.outcome, decided.errors) == ("deny", (UNREADABLE,))
    assert (await house.decide(ask("order:1", tool=claim, mcp_server=claim))).outcome == "permit"
    extra = {"type": "tool", "id": "x", "name": "X"}
    assert (await house.decide(ask("order:1", context={"tool": extra}))).outcome == "permit"


async def test_people_say_that_another_server_offers_it(house: House) -> None:
    """The way out where the server that is shut no longer lists it: while it does, nothing helps but its release."""
    other = "mcp_server:other"
    await house.note(
        registered(SERVER), registered(other), registered(LENT), exposes(SERVER, LENT), quarantined(SERVER)
    )
    for event in (unlisted(SERVER, LENT), listed(other, LENT)):
        await house.note(event)
        assert [bar.asset for bar in (await house.decide(ask(LENT))).barred] == [SERVER]
    await house.note(exposes(other, LENT))
    assert (await house.decide(ask(LENT))).outcome == "permit"
    await house.note(quarantined(other))
    assert {bar.asset for bar in (await house.decide(ask(LENT))).barred} == {SERVER, other}
    await house.note(released(other), exposes(SERVER, LENT))
    assert [bar.asset for bar in (await house.decide(ask(LENT))).barred] == [SERVER]


async def test_a_permit_notes_the_server_that_its_request_names(house: House) -> None:
    """Whoever uses a grant on it watches what it saw: the server counts before it lists the tool."""
    await house.note(registered(SERVER), registered(TOOL))
    assert (await house.decide(ask())).estate == (TOOL, SERVER)


@pytest.mark.parametrize(
    "resource",
    ["tool:CRM/new", "tool:Crm/new", "mcp_server:CRM", "tool:mcp_server:crm/new", "tool:MCP-Server:CRM/new"],
)
async def test_a_server_is_itself_in_capitals_and_with_its_kind(house: House, resource: str) -> None:
    """Its quarantine holds for it; a retired one is another, which may have taken its place."""
    await house.note(registered(SERVER), quarantined(SERVER))
    named = {"tool": resource.partition(":")[2]} if resource.startswith("tool:") else {"mcp_server": "CRM", "tool": "x"}
    for intent in (ask(resource), ask("order:1", context=named)):
        decided = await house.decide(intent)
        assert (decided.outcome, decided.barred[0].asset) == ("deny", SERVER), intent
    await house.note(released(SERVER), AssetRetired(asset=SERVER))
    await house.note(registered("mcp_server:CRM"), registered("tool:CRM/new"))
    assert (await house.decide(ask("tool:CRM/new"))).outcome == "permit"


async def test_a_server_may_have_a_slash_in_its_name(house: House) -> None:
    """Where the server ends and its tool begins, a request does not say."""
    server, tool = "mcp_server:io.example/crm", "tool:io.example/crm/refund"
    await house.note(registered(server), registered(tool), quarantined(server))
    for intent in (
        ask(tool),
        ask("order:1", action="io.example/crm/other"),
        ask(f"dataset:io.example/crm/{'a/' * 40}"),
    ):
        assert [bar.asset for bar in (await house.decide(intent)).barred] == [server], intent
    await house.note(released(server))
    assert (await house.decide(ask(tool))).outcome == "permit"


@pytest.mark.parametrize("known", [False, True])
async def test_a_dataset_stands_and_falls_with_its_server_too(house: House, known: bool) -> None:
    """Known and exposed, or not: it is what its server says."""
    await house.note(registered(SERVER))
    for asset in ("dataset:crm/d", "prompt:crm/p", "dataset:pay/d") if known else ():
        await house.note(registered(asset), exposes(SERVER, asset))
    await house.note(quarantined(SERVER))
    for resource in ("dataset:crm/d", "prompt:crm/p", *(["dataset:pay/d"] if known else [])):
        decided = await house.decide(ask(resource))
        assert (decided.outcome, decided.barred[0].asset) == ("deny", SERVER)


async def test_policy_sees_nothing_of_what_traces_alone_know(house: House) -> None:
    """Whoever sends a trace would register what is to be permitted. What bars it counts all the same."""
    await house.enforce('@id("known") permit(principal, action, resource) when { resource has lifecycle };')
    await house.note(observed(TOOL), observed(LENT), registered(SERVER))
    assert (await house.decide(ask())).outcome == "deny"
    claim = AssetChanged(asset=TOOL, facts={}, source="bill", confidence="imported", claims={"risk": "low"})
    await house.note(claim)
    assert (await house.decide(ask())).outcome == "deny"
    await house.note(msgspec.structs.replace(claim, facts={"risk": "low"}))
    assert (await house.decide(ask())).outcome == "permit"
    await house.note(AssetChanged(asset=LENT, facts={"purpose": "to pay back"}, source="command"))
    assert (await house.decide(ask(LENT))).outcome == "permit"
    await house.note(observed("tool:seen"), quarantined("tool:seen"))
    assert [bar.asset for bar in (await house.decide(ask("tool:seen"))).barred] == ["tool:seen"]
    # What is registered does not become less by being seen.
    await house.note(AssetChanged(asset=LENT, facts={"title": "Pay"}, source="traces", confidence="observed"))
    assert (await house.decide(ask(LENT))).outcome == "permit"


@pytest.mark.parametrize("empty", [True, False])
@pytest.mark.parametrize("claim", ["tool", "mcp_server", "act", "a property"])
async def test_who_names_too_many_is_denied_whatever_their_order(house: House, claim: str, empty: bool) -> None:
    """What was left out could be what is shut: eight are judged, of nine none."""
    if not empty:
        await house.note(registered(SERVER), registered("agent:ann"))

    def naming(count: int) -> Intent:
        if claim == "act":
            act: dict[str, Any] = {"sub": "ann"}
            for number in range(count - 1):
                act = {"sub": f"agent-{number}", "act": act}
            made = ask("order:1")
            return msgspec.structs.replace(made, subject=Entity(type="user", id="eve", properties={"act": act}))
        names = [f"a{number}" for number in range(count - 1)]
        if claim == "mcp_server":
            return ask("order:1", context={"tool": "unk", "mcp_server": [*names, "crm"]})
        listed = [*names, "crm/unk"]
        return ask("order:1", context={"tool": listed}) if claim == "tool" else ask("order:1", tool=listed)

    assert (await house.decide(naming(MAX_LISTED))).outcome == "permit"
    many = await house.decide(naming(MAX_LISTED + 1))
    assert (many.outcome, many.errors, many.barred) == ("deny", (MANY,), ())
    if not empty:
        await house.note(quarantined(SERVER), quarantined("agent:ann"))
        assert (await house.decide(naming(MAX_LISTED))).barred[0].lifecycle == "quarantined"
