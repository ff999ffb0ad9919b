"""Small schedules: a handful of clients with one thing to fight over, through two processes, on one log.

The ledger, its sequencer, its hot boundaries and the slices are production code; there is neither policy engine nor
Temporal, which makes a schedule cheap enough for a hundred thousand of them. `run(seed)` is the whole interface.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import approval_world as house
from eventsourcing.dcb.api import DCBQuery
from given import Log, acting, named, prn, registered
from simulator_checks import check_answers, check_log
from simulator_store import IndexedStore
from simulator_world import APIS, T0, TENANT, Api, World

from quarterdeck_domain.access.events import RoleGranted
from quarterdeck_domain.access.slices import DeactivatePrincipal, GrantRole, RevokeRole
from quarterdeck_domain.access.values import SYSTEM
from quarterdeck_domain.approvals.events import Stage
from quarterdeck_domain.approvals.slices import (
    CancelApproval,
    CastVote,
    ExpireApproval,
    ReconcileEffect,
    RedeemGrant,
    RemindApproval,
    ReportEffect,
    RevokeGrant,
)
from quarterdeck_domain.errors import QuarterdeckError, WrongState
from quarterdeck_domain.events import Actor, NewEvent, RecordedEvent
from quarterdeck_domain.ids import make_id
from quarterdeck_domain.policy.events import BundleModeChanged
from quarterdeck_domain.slices import Decision, HotSlice, Slice, boundary
from quarterdeck_ledger.errors import Busy, Contended, IdReused, Unavailable
from quarterdeck_ledger.interface import Context, Executed
from quarterdeck_ledger.keys import MemoryKeyStore
from quarterdeck_ledger.ledger import EventLedger

SPAN = 70
HALL = prn("hall")
SEATS = 3
ADA, AMY, OTTO = acting("ada"), acting("amy"), acting("otto")
STAGES = ((Stage(name="decide"),), (Stage(name="decide", quorum=2),), (Stage(name="first"), Stage(name="second")))

Make = Callable[[], Slice]
Act = tuple[Actor, Make]
Draw = Callable[[World], list[Act]]


class TakeSeat(HotSlice):
    """Take one of the few seats of the hall: the hardest rule to share, decided under the log's lock."""

    def __init__(self, not_after: datetime | None = None) -> None:
        self.not_after = not_after

    def new_state(self) -> list[int]:
        return []

    def consistency_boundary(self) -> DCBQuery:
        return boundary(((RoleGranted,), (f"principal:{HALL}",)))

    def apply(self, event: RecordedEvent) -> None:
        self.state.append(event.position)

    def decide(self, now: datetime) -> Decision:
        if len(self.state) >= SEATS:
            raise WrongState("no seat is left", taken=len(self.state))
        return Decision(events=(RoleGranted(principal_id=HALL, role="operator"),), not_after=self.not_after)


def run(seed: int) -> World:
    """Play one schedule and check everything; return the world it came to.

    Raises:
        Violation: something that must always hold does not.
    """
    rng = random.Random(seed)
    kind, moments, draw = SCENARIOS[int(rng.random() * len(SCENARIOS))]
    store, keys = base(kind, int(rng.random() * len(STAGES)) if kind == "votes" else 0)
    begin_s = moments[int(rng.random() * len(moments))]
    world = World(rng, store, keys, begin_s=begin_s - rng.random() * 8 if begin_s else 0.0, roles=APIS, span=SPAN)
    for actor, make in draw(world):
        command_id = world.new_id()
        impatient = rng.random() < 0.2
        for _ in range(1 + impatient):
            world.client_task(send(world, actor, make, command_id, repeats=impatient))
    world.play()
    log = world.store._logs[TENANT]
    since = len(store._logs[TENANT].entries)
    check_log(log.entries, seats=SEATS, since=since, set_back_s=-world.skew_s)
    check_answers(log.entries, world.acknowledged, world.refused)
    return world


async def send(world: World, actor: Actor, make: Make, command_id: uuid.UUID, *, repeats: bool) -> None:
    """Send a command until it is answered, and write down what the answer was."""
    if world.rng.random() < 0.3:
        await asyncio.sleep(world.rng.random() * 0.5)
    context = Context(tenant=TENANT, actor=actor, command_id=command_id, fingerprint=str(command_id))

    async def work(api: Api) -> Executed:
        try:
            return await api.ledger.execute(make(), context)
        except IdReused:
            # As the API's door does: what this very request came to when it was first done.
            found = await api.ledger.repeated(context)
            if found is None:
                raise
            return found

    try:
        world.acknowledge(command_id, await world.ask(work))
    except (Busy, Contended, Unavailable):
        raise
    except QuarterdeckError:
        # Of two that are on their way at once, one may be refused and the other, later, not.
        if not repeats:
            world.refused.append(command_id)


@cache
def base(kind: str, variant: int) -> tuple[IndexedStore, MemoryKeyStore]:
    """Return the log that schedules of a kind begin with. It must not grow any more."""
    made: Log = _BASES[kind](variant)
    store, keys = IndexedStore(lambda: T0), MemoryKeyStore()
    asyncio.run(_record(EventLedger(store, keys), made))
    return store, keys


async def _record(ledger: EventLedger, log: Log) -> None:
    for event in log.events:
        await ledger.append(TENANT, [NewEvent(id=event.id, payload=event.payload, actor=event.actor)])


def _redeemed() -> Log:
    log = house.granted()
    log.when(house.redeem())
    return log


_BASES: dict[str, Callable[[int], Log]] = {
    "votes": lambda variant: house.requested(*STAGES[variant]),
    "grants": lambda _: house.granted(),
    "effects": lambda _: _redeemed(),
    "requests": lambda _: house.house().given(house.decided(), by=house.AGENT),
    "people": lambda _: house.house().given(registered("amy", "administrator")),
    "seats": lambda _: house.house(),
}


def _pick(world: World, options: list[Any], least: int, most: int) -> list[Any]:
    count = least + int(world.rng.random() * (most - least + 1))
    return [options[int(world.rng.random() * len(options))] for _ in range(count)]


def _vote(world: World, name: str | Actor) -> Act:
    actor = acting(name) if isinstance(name, str) else name
    roll, grant_id = world.rng.random(), make_id("grt", world.new_id())
    verdict: Any = "deny" if roll < 0.15 else "approve"
    shown = house.OTHER_ACTION if roll > 0.93 else house.ACTION
    approval_id = house.APPROVAL
    return actor, lambda: CastVote(
        approval_id=approval_id, verdict=verdict, action_digest=shown, grant_id=grant_id, actor=actor
    )


def _votes(world: World) -> list[Act]:
    voters: list[str | Actor] = ["cleo", "dora", "emil", "cleo", "dora", "bob", "otto", "ada", house.AGENT]
    acts = [_vote(world, name) for name in _pick(world, voters, 2, 4)]
    others: list[Act] = [
        (house.AGENT, lambda: CancelApproval(approval_id=house.APPROVAL, actor=house.AGENT)),
        (SYSTEM, lambda: ExpireApproval(approval_id=house.APPROVAL)),
        (SYSTEM, lambda: RemindApproval(approval_id=house.APPROVAL)),
        (ADA, lambda: RevokeRole(principal_id=prn("cleo"), role="approver", actor=ADA)),
        (ADA, lambda: DeactivatePrincipal(principal_id=prn("dora"), reason="left", actor=ADA)),
        (ADA, lambda: GrantRole(principal_id=prn("otto"), role="approver", actor=ADA)),
    ]
    return acts + _pick(world, others, 0, 2)


def _redeem(world: World, actor: Actor, digest: str = house.ACTION) -> Act:
    effect_id = make_id("eff", world.new_id())
    return actor, lambda: RedeemGrant(
        grant_id=house.GRANT,
        effect_id=effect_id,
        effect_class="at_most_once",
        action_digest=digest,
        decision_id=house.REEVALUATION,
        actor=actor,
    )


class ForeignPolicyChange(Slice):
    """Put another policy in force, whatever it is: a foreign append with an honest boundary."""

    def consistency_boundary(self) -> DCBQuery:
        return boundary(((BundleModeChanged,), ()))

    def apply(self, event: RecordedEvent) -> None:
        """Know nothing."""

    def decide(self, now: datetime) -> Decision:
        return Decision(events=(BundleModeChanged(bundle_id=named("bnd", "other"), mode="enforced"),))


def _grants(world: World) -> list[Act]:
    acts = [_redeem(world, house.AGENT) for _ in _pick(world, [None], 2, 4)]
    others: list[Act] = [
        _redeem(world, acting("cleo")),
        _redeem(world, house.AGENT, house.OTHER_ACTION),
        (OTTO, lambda: RevokeGrant(grant_id=house.GRANT, reason="no longer", actor=OTTO)),
        (ADA, ForeignPolicyChange),
        (ADA, lambda: DeactivatePrincipal(principal_id=prn("bot"), reason="odd", actor=ADA)),
    ]
    return acts + _pick(world, others, 0, 2)


def _effects(world: World) -> list[Act]:
    options: list[Act] = [
        *(
            (house.AGENT, lambda how=how: ReportEffect(effect_id=house.EFFECT, outcome=how, actor=house.AGENT))
            for how in ("committed", "failed", "unknown", "unknown")
        ),
        *(
            (OTTO, lambda how=how: ReconcileEffect(effect_id=house.EFFECT, outcome=how, reason="seen", actor=OTTO))
            for how in ("committed", "failed")
        ),
        (ADA, lambda: ReportEffect(effect_id=house.EFFECT, outcome="failed", actor=ADA)),
        _redeem(world, house.AGENT),
    ]
    return _pick(world, options, 2, 5)


def _requests(world: World) -> list[Act]:
    def ask(by: Actor = house.AGENT, **changes: Any) -> Act:
        approval_id = make_id("apr", world.new_id())
        return by, lambda: house.ask(by, approval_id=approval_id, **changes)

    mine = [ask() for _ in _pick(world, [None], 2, 3)]
    first = make_id("apr", world.new_id())
    others: list[Act] = [
        (house.AGENT, lambda: house.ask(approval_id=first)),
        (house.AGENT, lambda: CancelApproval(approval_id=first, actor=house.AGENT)),
        ask(acting("cleo")),
        ask(action_digest=house.OTHER_ACTION),
        (ADA, lambda: DeactivatePrincipal(principal_id=prn("bot"), reason="odd", actor=ADA)),
    ]
    return mine + _pick(world, others, 1, 3)


def _people(world: World) -> list[Act]:
    options: list[Act] = [
        (ADA, lambda: RevokeRole(principal_id=prn("amy"), role="administrator", actor=ADA)),
        (AMY, lambda: RevokeRole(principal_id=prn("ada"), role="administrator", actor=AMY)),
        (ADA, lambda: DeactivatePrincipal(principal_id=prn("amy"), reason="left", actor=ADA)),
        (AMY, lambda: DeactivatePrincipal(principal_id=prn("ada"), reason="left", actor=AMY)),
        (AMY, lambda: GrantRole(principal_id=prn("otto"), role="administrator", actor=AMY)),
        (OTTO, lambda: RevokeRole(principal_id=prn("ada"), role="administrator", actor=OTTO)),
    ]
    return _pick(world, options, 2, 5)


def _seats(world: World) -> list[Act]:
    def take() -> Act:
        soon = world.clock() + timedelta(seconds=world.rng.random() * 4) if world.rng.random() < 0.3 else None
        return OTTO, lambda: TakeSeat(soon)

    # Plain slices beside the hot ones: they meet in the sequencer and at the lock.
    foreign: list[Act] = [(ADA, lambda: GrantRole(principal_id=prn("cleo"), role="operator", actor=ADA))]
    return [take() for _ in _pick(world, [None], 3, 6)] + _pick(world, foreign, 0, 1)


SCENARIOS: tuple[tuple[str, tuple[float, ...], Draw], ...] = (
    ("votes", (0.0, 0.0, 600.0, 3_600.0), _votes),
    ("votes", (0.0, 3_600.0), _votes),
    ("grants", (0.0, 0.0, 300.0, 900.0), _grants),
    ("grants", (0.0, 300.0, 900.0), _grants),
    ("effects", (0.0,), _effects),
    ("requests", (0.0, 600.0), _requests),
    ("people", (0.0,), _people),
    ("seats", (0.0,), _seats),
)
