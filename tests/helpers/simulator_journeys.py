"""Whole journeys in a whole installation: agents ask, gates wait, people decide, grants are redeemed, operators meddle.

Cedar decides, the dispatcher starts and signals gates, the gates remind and expire, the API's own redemption redeems.
Two APIs, a dispatcher, a worker, the log and Temporal fail at seeded moments; when the clients have what they wanted, or
know why not, faults cease, and everything must come to its end. `run(seed)` is the whole interface.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from functools import cache
from typing import Any

from approval_world import house, path
from given import acting, named, prn
from simulator_checks import Tally, check_answers, check_log, need
from simulator_store import IndexedStore
from simulator_world import T0, TENANT, Api, Violation, World

from quarterdeck_api.auth.caller import Caller
from quarterdeck_api.authzen.state import ApprovalState, read_approval
from quarterdeck_api.commands.idempotency import command_id as command_id_of
from quarterdeck_api.grants.grant import show_grant
from quarterdeck_api.grants.redeem import redeem
from quarterdeck_domain.access.slices import DeactivatePrincipal, RevokeRole
from quarterdeck_domain.access.values import SYSTEM
from quarterdeck_domain.approvals.errors import AlreadyRequested
from quarterdeck_domain.approvals.slices import CancelApproval, CastVote, ReportEffect, RequestApproval, RevokeGrant
from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_domain.estate.events import AssetRegistered, RelationDeclared
from quarterdeck_domain.estate.slices import QuarantineAsset, ReleaseAsset
from quarterdeck_domain.events import Actor, Event, NewEvent
from quarterdeck_domain.ids import make_id
from quarterdeck_domain.policy.events import DecisionRecorded
from quarterdeck_domain.policy.slices import ChangeBundleMode, PublishBundle
from quarterdeck_domain.policy.values import BundleText
from quarterdeck_domain.slices import Slice
from quarterdeck_ledger.errors import Busy, Contended, IdReused, Unavailable
from quarterdeck_ledger.interface import Context, Executed
from quarterdeck_ledger.keys import MemoryKeyStore
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_policy.authzen import intent_of
from quarterdeck_projector.dispatcher import NAME as DISPATCHER

POLICY = """
@id("read") permit (principal, action, resource) when { context.request.action == "read" };
@id("ask") @approval("default") permit (principal, action, resource) when { context.request.action == "refund" };
@id("gone") forbid (principal, action, resource) when { context.verified.subject.deactivated };
"""
EXPECTED = {"read": "permit", "refund": "approval_required", "launch": "deny"}
TOOL = {"type": "tool", "id": "crm/refund"}
BUNDLE, SECOND = named("bnd", "1"), named("bnd", "2")
BOT, ADA, OTTO = acting("bot", "agent"), acting("ada"), acting("otto")
CALLER = Caller(TENANT, BOT, frozenset({"agent"}))
PATIENCE_S = 90.0
NO_ANSWER = (Busy, Contended, Unavailable)


def run(seed: int) -> World:
    """Play one schedule and check everything; return the world it came to.

    Raises:
        Violation: something that must always hold does not.
    """
    rng = random.Random(seed)
    store, keys = base()
    world = World(rng, store, keys, span=320)
    journey = Journey(world)
    for _ in range(1 + int(rng.random() * 2)):
        world.client_task(journey.agent(("read", "refund", "refund", "refund", "launch")[int(rng.random() * 5)]))
    for name in ("cleo", "dora", "bob"):
        if rng.random() < 0.7:
            world.client_task(journey.approver(name))
    if rng.random() < 0.4:
        world.client_task(journey.meddler())
    if rng.random() < 0.5:
        world.client_task(journey.watchman())
    world.play(then=lambda: settled(world, journey))
    entries = world.store._logs[TENANT].entries
    since = len(store._logs[TENANT].entries)
    tally = check_log(entries, since=since, expected=EXPECTED, set_back_s=-world.skew_s)
    check_answers(entries, world.acknowledged, world.refused)
    ended(tally)
    return world


def ended(tally: Tally) -> None:
    """Every request came to an end, and every grant that was used was used for one effect."""
    for approval_id, approval in tally.approvals.items():
        need("everything ends", approval.end is not None, f"{approval_id} is still open")


def settled(world: World, journey: Journey) -> None:
    """Without faults, everything has come to rest: the dispatcher is at the end, and no gate outlives its approval."""
    log = world.store._logs[TENANT]
    place = world.places.get((TENANT, DISPATCHER), 0)
    need(
        "gates agree with the log", place == len(log.entries), f"the dispatcher rests at {place} of {len(log.entries)}"
    )
    for execution in world.temporal.executions.values():
        need(
            "gates agree with the log", execution.status == "completed", f"{execution.workflow_id}: {execution.status}"
        )
    parked = [draft.type for draft in log.drafts if draft.type == "dispatch.parked"]
    need("gates agree with the log", not parked, "an event was set aside though nothing was wrong with it")
    for grant_id, effects in journey.effects.items():
        need("used once", len(effects) == 1, f"{grant_id} was executed as {sorted(effects)}")


class Journey:
    """What clients do, and what they were told."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.open: list[tuple[str, str]] = []
        self.effects: dict[str, set[str]] = {}

    async def command(self, actor: Actor, make: Any) -> Executed | QuarterdeckError:
        """Send a command until it is answered; return what it was told."""
        command_id = self.world.new_id()
        context = Context(tenant=TENANT, actor=actor, command_id=command_id, fingerprint=str(command_id))

        async def work(api: Api) -> Executed:
            command: Slice = make()
            try:
                return await api.ledger.execute(command, context)
            except IdReused:
                found = await api.ledger.repeated(context)
                if found is None:
                    raise
                return found

        try:
            executed: Executed = await self.world.ask(work)
        except NO_ANSWER:
            raise
        except QuarterdeckError as error:
            self.world.refused.append(command_id)
            return error
        self.world.acknowledge(command_id, executed)
        return executed

    async def agent(self, action: str) -> None:
        """Ask; if a human must agree, ask for that, wait, redeem, act, and say how it went."""
        world = self.world
        order = f"{int(world.rng.random() * 3)}"
        body = {
            "subject": {"type": "agent", "id": BOT.principal},
            "action": {"name": action},
            "resource": TOOL if order == "0" else {"type": "order", "id": order},
        }
        decision = await self.decide(body)
        if decision.outcome != "approval_required":
            return
        approval_id = make_id("apr", world.new_id())
        answer = await self.command(
            BOT,
            lambda: RequestApproval(
                approval_id=approval_id,
                decision_id=decision.decision_id,
                subject=decision.subject,
                resource=decision.resource,
                binding_hash=decision.binding_hash,
                action_digest=decision.action_digest,
                actor=BOT,
            ),
        )
        if isinstance(answer, AlreadyRequested):
            approval_id = str(answer.details["approval_id"])
        elif isinstance(answer, QuarterdeckError):
            return
        self.open.append((approval_id, decision.action_digest))
        text = await self.grant(approval_id)
        if text is None:
            return
        redeemers = 1 + int(world.rng.random() * 3)
        for _ in range(redeemers):
            altered = world.rng.random() < 0.1
            asked = body if not altered else body | {"resource": {"type": "order", "id": "another"}}
            world.client_task(self.redeemer({"grant": text, "intent": asked}, altered=altered))

    async def decide(self, body: dict[str, Any]) -> DecisionRecorded:
        """Ask policy, and expect the decision to be recorded by the time it is told."""
        world = self.world
        context = Context(tenant=TENANT, actor=BOT, command_id=world.new_id())
        decided = await world.ask(lambda api: api.decisions.decide(context, intent_of(body)))
        world.durable(decided.event)
        told: DecisionRecorded = decided.decision
        recorded = await EventLedger(world.store, world.keys).find(TENANT, decided.event.id)
        assert recorded is not None
        need("recorded as told", getattr(recorded.payload, "outcome", None) == told.outcome, f"told {told.outcome}")
        return told

    async def grant(self, approval_id: str) -> str | None:
        """Wait until somebody has decided; return the signed grant, if there is one."""
        world = self.world
        until = world.loop.now + PATIENCE_S
        while world.loop.now < until:
            await asyncio.sleep(1 + world.rng.random() * 4)
            shown = await world.ask(lambda api: _look(api, approval_id))
            if shown is not None:
                return str(shown) or None
        return None

    async def redeemer(self, body: dict[str, Any], *, altered: bool) -> None:
        """Redeem as the agent, with one key for every attempt; then act, and report."""
        world = self.world
        key = str(world.new_id())
        try:
            answer = await world.ask(lambda api: redeem(api.services, CALLER, body, key))
        except NO_ANSWER:
            raise
        except QuarterdeckError:
            world.refused.append(command_id_of(CALLER, key))
            return
        need("bound to the action", not altered, "a grant was redeemed for another action")
        log = world.store._logs[TENANT]
        need("durable before told", log.drafts[answer["position"] - 1].type == "grant.redeemed", "nothing is recorded")
        self.effects.setdefault(answer["grant_id"], set()).add(answer["effect_id"])
        effect_id = answer["effect_id"]
        await self.command(BOT, lambda: ReportEffect(effect_id=effect_id, outcome="committed", actor=BOT))

    async def approver(self, name: str) -> None:
        """Look now and then for what is asked, and decide it."""
        world, actor = self.world, acting(name)
        for _ in range(3):
            await asyncio.sleep(world.rng.random() * 25)
            for approval_id, digest in list(self.open):
                grant_id = make_id("grt", world.new_id())
                verdict: Any = "deny" if world.rng.random() < 0.15 else "approve"
                await self.command(actor, _vote(approval_id, verdict, digest, grant_id, actor))

    async def meddler(self) -> None:
        """Change policy, people or requests while all this goes on."""
        world = self.world
        await asyncio.sleep(world.rng.random() * 30)
        choice = int(world.rng.random() * 6)
        if choice == 0:
            await self.command(ADA, lambda: ChangeBundleMode(SECOND, "enforced", "newer", actor=ADA))
        elif choice == 1:
            await self.command(ADA, lambda: ChangeBundleMode(BUNDLE, "retired", "wrong", actor=ADA))
        elif choice == 2:
            await self.command(ADA, lambda: DeactivatePrincipal(principal_id=prn("bot"), reason="odd", actor=ADA))
        elif choice == 3:
            await self.command(ADA, lambda: RevokeRole(principal_id=prn("cleo"), role="approver", actor=ADA))
        for approval_id, _ in list(self.open):
            if choice == 4:
                await self.command(BOT, lambda name=approval_id: CancelApproval(approval_id=name, actor=BOT))
            elif choice == 5:
                await self.revoke(approval_id)

    async def watchman(self) -> None:
        """Shut the tool, or the server that exposes it, and open it again; or not."""
        rng = self.world.rng
        asset = ("tool:crm/refund", "mcp_server:crm")[int(rng.random() * 2)]
        for _ in range(1 + int(rng.random() * 3)):
            await asyncio.sleep(rng.random() * 20)
            await self.command(ADA, lambda: QuarantineAsset(asset=asset, reason="it changed", actor=ADA))
            await asyncio.sleep(rng.random() * 10)
            if rng.random() < 0.7:
                await self.command(ADA, lambda: ReleaseAsset(asset=asset, reason="it was looked at", actor=ADA))

    async def revoke(self, approval_id: str) -> None:
        """Take a grant back, where there is one."""
        state: ApprovalState | None = await self.world.ask(lambda api: read_approval(api.ledger, TENANT, approval_id))
        if state is not None and state.grant is not None:
            grant_id = state.grant.minted.grant_id
            await self.command(OTTO, lambda: RevokeGrant(grant_id=grant_id, reason="odd", actor=OTTO))


def _vote(approval_id: str, verdict: Any, digest: str, grant_id: str, actor: Actor) -> Any:
    return lambda: CastVote(
        approval_id=approval_id, verdict=verdict, action_digest=digest, grant_id=grant_id, actor=actor
    )


async def _look(api: Api, approval_id: str) -> str | None:
    """Return the signed grant of an approval, nothing if it ended without one, None if it is open."""
    state = await read_approval(api.ledger, TENANT, approval_id)
    now = await api.ledger.now()
    if state is None:
        raise Violation("acknowledged is recorded", f"{approval_id} cannot be read")
    if state.status(now) == "pending":
        return None
    if state.grant is None:
        return ""
    shown = await show_grant(api.services, CALLER, state, state.grant, now)
    return str(shown.get("grant", ""))


@cache
def base() -> tuple[IndexedStore, MemoryKeyStore]:
    """Return the log that journeys begin with: people, a path of less than a minute, a policy in force and another one."""
    store, keys = IndexedStore(lambda: T0), MemoryKeyStore()
    asyncio.run(_furnish(EventLedger(store, keys)))
    return store, keys


async def _furnish(ledger: EventLedger) -> None:
    for event in house().events:
        await ledger.append(TENANT, [NewEvent(id=event.id, payload=event.payload, actor=event.actor)])
    quick = path(path_version=2, remind_after_s=14, expires_after_s=45, grant_lifetime_s=40)
    await ledger.append(TENANT, [NewEvent(id=uuid.UUID(int=1_000), payload=quick, actor=SYSTEM)])
    known: tuple[Event, ...] = (
        AssetRegistered(asset="mcp_server:crm", facts={"lifecycle": "live"}, source="simulated"),
        AssetRegistered(asset="tool:crm/refund", facts={"lifecycle": "live"}, source="simulated"),
        RelationDeclared(source="mcp_server:crm", relation="exposes", target="tool:crm/refund"),
    )
    made = [NewEvent(id=uuid.UUID(int=3_000 + n), payload=known[n], actor=SYSTEM) for n in range(len(known))]
    await ledger.append(TENANT, made)
    text = BundleText(policies=POLICY)
    for number, command in enumerate(
        (
            PublishBundle(BUNDLE, "first", text, actor=SYSTEM),
            PublishBundle(SECOND, "second", text, actor=SYSTEM),
            ChangeBundleMode(BUNDLE, "enforced", "to begin with", actor=SYSTEM),
        )
    ):
        context = Context(tenant=TENANT, actor=SYSTEM, command_id=uuid.UUID(int=2_000 + number))
        await ledger.execute(command, context)
