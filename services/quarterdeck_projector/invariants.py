"""The invariants of what the events of a log mean, and of what follows it, on a living installation.

I5 votes and decisions · I6 grants and effects · I8 gates · I9 read models · I12 what is stuck. (I1 to I4 and I10 are of
the log itself: `invariants_log`; I13 is `invariants_estate`. I7, budgets, has no room yet; I11, that everything ends,
needs time and is what the fault tests check.) Each check returns its violations; none is the good answer.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from quarterdeck_domain.approvals import events as approvals
from quarterdeck_domain.catalogue import REGISTRY
from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_domain.events import RecordedEvent
from quarterdeck_domain.slices import boundary
from quarterdeck_ledger.entry import parse_entry
from quarterdeck_ledger.followers import Followers
from quarterdeck_ledger.postgres import PostgresStore
from quarterdeck_ledger.store import Store
from quarterdeck_projector import dispatcher, eraser
from quarterdeck_projector.projector import Projector
from quarterdeck_readmodels import schema
from quarterdeck_readmodels.catalogue import ROWS
from quarterdeck_readmodels.schema import LIVE, SHADOW
from quarterdeck_readmodels.tables import Row, columns
from quarterdeck_workflows.ids import gate_id

GATES_SETTLE_S: Final = 10.0
"""How long a gate may take to open, or to end, after the log says so."""
_LOOK_S: Final = 0.2
FOLLOWERS: Final = (dispatcher.NAME, eraser.NAME)
_SETTLED: Final = (
    approvals.ApprovalGranted,
    approvals.ApprovalDenied,
    approvals.ApprovalExpired,
    approvals.ApprovalCancelled,
)
RULED: Final = boundary(
    (
        (
            approvals.ApprovalRequested,
            approvals.VoteCast,
            *_SETTLED,
            approvals.GrantMinted,
            approvals.GrantRedeemed,
            approvals.GrantRevoked,
            approvals.DispatchParked,
            approvals.DispatchReleased,
            approvals.CallbackAbandoned,
            approvals.CallbackResent,
            approvals.EffectReported,
            approvals.EffectReconciled,
        ),
        (),
    )
)
"""What `check_rules`, `check_gates` and `stuck` have to be given of a log."""


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """Something that must hold and does not. `position` is where it shows, if it shows at one."""

    invariant: str
    tenant: str
    what: str
    position: int | None = None


async def ruled(store: Store, tenant: str) -> tuple[list[RecordedEvent], list[Violation]]:
    """Return the events that the checks below have to be given, personal fields as they are sealed.

    What cannot be read is a violation (I4), whatever is wrong with it, and the rest is read on.
    """
    events: list[RecordedEvent] = []
    found: list[Violation] = []
    for position, raw in await store.read(tenant, RULED, 0, None, None, False):
        try:
            entry = parse_entry(raw)
            payload = REGISTRY.from_data(entry.type, entry.version, entry.data)
        except (ValueError, TypeError, LookupError, RecursionError, msgspec.MsgspecError, QuarterdeckError) as error:
            what = f"the event cannot be read: {error}"
            found.append(Violation(invariant="I4", tenant=tenant, what=what, position=position))
            continue
        events.append(
            RecordedEvent(
                tenant=tenant,
                position=position,
                id=entry.id,
                recorded_at=entry.recorded_at,
                actor=entry.actor,
                cause=entry.cause,
                tags=entry.tags,
                payload=payload,
            )
        )
    return events, found


def check_rules(tenant: str, events: list[RecordedEvent]) -> list[Violation]:
    """I5 and I6: an approval is settled once, by others than who asked, in time; it leads to one grant, which is used
    once, as bound, before an effect is told of."""
    votes, grants = _Votes(tenant), _Grants(tenant)
    for event in events:
        votes.apply(event)
        grants.apply(event, votes)
    return sorted((*votes.found, *grants.found), key=lambda item: item.position or 0)


class _Rule:
    def __init__(self, tenant: str, invariant: str) -> None:
        self._tenant = tenant
        self._invariant = invariant
        self.found: list[Violation] = []

    def broken(self, event: RecordedEvent, what: str) -> None:
        violation = Violation(invariant=self._invariant, tenant=self._tenant, what=what, position=event.position)
        self.found.append(violation)


class _Votes(_Rule):
    """I5: requests, votes and how they were settled."""

    def __init__(self, tenant: str) -> None:
        super().__init__(tenant, "I5")
        self.requests: dict[str, approvals.ApprovalRequested] = {}
        self.granted: set[str] = set()
        self._settled: dict[str, int] = {}
        self._votes: dict[str, list[approvals.VoteCast]] = {}

    def apply(self, event: RecordedEvent) -> None:
        match event.payload:
            case approvals.ApprovalRequested() as request:
                self.requests[request.approval_id] = request
            case approvals.VoteCast() as vote:
                self._vote(event, vote)
            case payload if isinstance(payload, _SETTLED):
                if payload.approval_id in self._settled:
                    self.broken(event, f"settled already at {self._settled[payload.approval_id]}")
                if payload.approval_id not in self.requests:
                    self.broken(event, "an answer to what nobody asked")
                    return
                self._settled[payload.approval_id] = event.position
                if isinstance(payload, approvals.ApprovalGranted):
                    self._grant(event, self.requests[payload.approval_id])
            case _:
                pass

    def _vote(self, event: RecordedEvent, vote: approvals.VoteCast) -> None:
        request = self.requests.get(vote.approval_id)
        if request is None:
            self.broken(event, "a vote on what nobody asked")
            return
        self._votes.setdefault(vote.approval_id, []).append(vote)
        if vote.approver in request.requesters:
            self.broken(event, f"{vote.approver} voted on what was asked for them")
        if event.recorded_at >= request.expires_at or vote.approval_id in self._settled:
            self.broken(event, "a vote after the end")
        if vote.action_digest != request.action_digest:
            self.broken(event, "a vote on another action than was asked")

    def _grant(self, event: RecordedEvent, request: approvals.ApprovalRequested) -> None:
        self.granted.add(request.approval_id)
        cast = self._votes.get(request.approval_id, [])
        for stage in request.stages:
            yes = {vote.approver for vote in cast if vote.stage == stage.name and vote.verdict == "approve"}
            if len(yes) < stage.quorum:
                self.broken(event, f"stage {stage.name} has {len(yes)} of {stage.quorum} approvals")


class _Grants(_Rule):
    """I6: one grant an approval, one use a grant, no effect without one."""

    def __init__(self, tenant: str) -> None:
        super().__init__(tenant, "I6")
        self._grants: dict[str, approvals.GrantMinted] = {}
        self._of: dict[str, int] = {}
        self._ended: dict[str, str] = {}
        self._started: dict[str, approvals.GrantRedeemed] = {}
        self._outcomes: dict[str, str] = {}

    def apply(self, event: RecordedEvent, votes: _Votes) -> None:
        match event.payload:
            case approvals.GrantMinted() as grant:
                self._mint(event, grant, votes)
            case approvals.GrantRedeemed() as use:
                self._redeem(event, use)
            case approvals.GrantRevoked() as revoked:
                if revoked.grant_id not in self._grants:
                    self.broken(event, "revoked what was never granted")
                elif revoked.grant_id in self._ended:
                    self.broken(event, f"a grant was revoked that was {self._ended[revoked.grant_id]} already")
                self._ended.setdefault(revoked.grant_id, "revoked")
            case approvals.EffectReported() | approvals.EffectReconciled() as effect:
                self._effect(event, effect)
            case _:
                pass

    def _mint(self, event: RecordedEvent, grant: approvals.GrantMinted, votes: _Votes) -> None:
        if grant.approval_id in self._of:
            self.broken(event, f"a second grant for one approval; the first is at {self._of[grant.approval_id]}")
        if grant.grant_id in self._grants:
            self.broken(event, "a grant was minted twice")
        self._of.setdefault(grant.approval_id, event.position)
        self._grants[grant.grant_id] = grant
        request = votes.requests.get(grant.approval_id)
        if request is None or grant.approval_id not in votes.granted:
            self.broken(event, "a grant without an approval")
        elif grant.action_digest != request.action_digest or grant.redeemer != request.requester:
            self.broken(event, "a grant for another action, or for somebody else, than was approved")

    def _redeem(self, event: RecordedEvent, use: approvals.GrantRedeemed) -> None:
        minted = self._grants.get(use.grant_id)
        if use.grant_id in self._ended:
            self.broken(event, f"a grant was redeemed that was {self._ended[use.grant_id]} already")
        self._ended.setdefault(use.grant_id, "redeemed")
        if use.effect_id in self._started:
            self.broken(event, "two redemptions start one effect")
        self._started.setdefault(use.effect_id, use)
        if (
            minted is None
            or use.action_digest != minted.action_digest
            or use.redeemer != minted.redeemer
            or use.approval_id != minted.approval_id
        ):
            self.broken(event, "redeemed for another action, or by somebody else, than granted")
        elif event.recorded_at > minted.expires_at:
            self.broken(event, "redeemed after it expired")

    def _effect(self, event: RecordedEvent, effect: approvals.EffectReported | approvals.EffectReconciled) -> None:
        started = self._started.get(effect.effect_id)
        if started is None or (started.grant_id, started.approval_id) != (effect.grant_id, effect.approval_id):
            self.broken(event, "an effect of which no redemption was recorded before")
            return
        before = self._outcomes.get(effect.effect_id)
        if isinstance(effect, approvals.EffectReported):
            if before is not None:
                self.broken(event, f"an effect was reported that was {before} already")
        elif before not in (None, "unknown"):
            self.broken(event, f"an effect was reconciled that was {before} already")
        self._outcomes[effect.effect_id] = effect.outcome


async def check_gates(
    store: Store, temporal: Client, tenant: str, events: list[RecordedEvent], patience_s: float = GATES_SETTLE_S
) -> list[Violation]:
    """I8: every open approval has a running gate, and no settled one has.

    Gates follow the log, and Temporal is asked after the log was read: whatever seems amiss is looked at again for a
    while, in both, before it is told.
    """
    end = asyncio.get_running_loop().time() + patience_s
    states = _open(events)
    while True:
        running = {name: await _is_running(temporal, gate_id(tenant, name)) for name in states}
        amiss = {name for name, is_open in states.items() if running[name] != is_open}
        if not amiss:
            return []
        now = _open((await ruled(store, tenant))[0])
        unmoved = [name for name in amiss if now.get(name) == states[name]]
        if unmoved and asyncio.get_running_loop().time() >= end:
            return [
                Violation(
                    invariant="I8",
                    tenant=tenant,
                    what=f"{name} is open and has no gate" if now[name] else f"{name} is settled and its gate waits",
                )
                for name in unmoved
            ]
        states = {name: now.get(name, states[name]) for name in amiss}
        if unmoved:
            await asyncio.sleep(_LOOK_S)


def _open(events: list[RecordedEvent]) -> dict[str, bool]:
    """Return of each approval whether it is open."""
    found: dict[str, bool] = {}
    for event in events:
        if isinstance(event.payload, approvals.ApprovalRequested):
            found[event.payload.approval_id] = True
        elif isinstance(event.payload, _SETTLED):
            found[event.payload.approval_id] = False
    return found


async def check_read_models(store: PostgresStore) -> list[Violation]:
    """I9: rebuilt from zero beside the living ones, every table has the same rows as of the same position."""
    found: list[Violation] = []
    ends = {tenant: (await store.head(tenant)).position for tenant in await store.tenants()}
    async with Projector(store, store.pool).shadow() as reached:
        for tenant, rebuilt in reached.items():
            if rebuilt < ends.get(tenant, 0):
                what = f"a rebuild stops at {rebuilt} of {ends[tenant]} events"
                found.append(Violation(invariant="I9", tenant=tenant, what=what, position=rebuilt + 1))
            async with store.pool.acquire() as connection, connection.transaction():
                _, live = await schema.enter(connection, LIVE, tenant)
                if live.stopped_at is not None:
                    what = f"the read models stand before event {live.stopped_at}: {live.problem}"
                    found.append(Violation(invariant="I9", tenant=tenant, what=what, position=live.stopped_at))
                elif live.position > (end := (await store.head(tenant)).position):
                    what = f"the read models are at {live.position}, the log ends at {end}: what comes is passed over"
                    found.append(Violation(invariant="I9", tenant=tenant, what=what, position=end))
                elif live.position < ends.get(tenant, 0):
                    # No fault of theirs where no projector runs; where one does, it has had the time of a rebuild.
                    what = f"the read models are at {live.position}, the log was at {ends[tenant]}"
                    found.append(Violation(invariant="I12", tenant=tenant, what=what, position=live.position + 1))
                position = min(live.position, rebuilt)
                for row in ROWS:
                    differing = await connection.fetchval(_differing(row), position)
                    if differing:
                        what = f"{row.table}: {differing} rows differ from a rebuild as of {position}"
                        found.append(Violation(invariant="I9", tenant=tenant, what=what))
    return found


async def check_followers(store: PostgresStore, tenant: str) -> list[Violation]:
    """I8: nobody who follows the log believes to have handled what was not recorded yet."""
    found: list[Violation] = []
    for name in FOLLOWERS:
        reached = await Followers(store.pool).position(tenant, name)
        end = (await store.head(tenant)).position
        if reached > end:
            what = f"the {name} is at {reached}, and the log ends at {end}: what comes is passed over"
            found.append(Violation(invariant="I8", tenant=tenant, what=what, position=end))
    return found


def _differing(row: type[Row]) -> str:
    # What began later is left out, and what ended later is open: so a table that moves meanwhile can be compared.
    names = ", ".join(("id", "created_position", "from_position", *columns(row)))
    ends = "CASE WHEN to_position <= $1 THEN to_position END"
    one, other = (
        f"SELECT {names}, {ends} FROM {name}.{row.table} WHERE from_position <= $1"  # noqa: S608
        for name in (LIVE, SHADOW)
    )
    return f"SELECT count(*) FROM (({one} EXCEPT {other}) UNION ALL ({other} EXCEPT {one})) d"  # noqa: S608


def stuck(tenant: str, events: list[RecordedEvent]) -> list[Violation]:
    """I12: parked events, dead letters and effects of unknown outcome that nobody has settled yet."""
    waiting: dict[str, tuple[int, str]] = {}
    for event in events:
        match event.payload:
            case approvals.DispatchParked() as parked:
                waiting[f"parked {parked.parked_position}"] = (event.position, parked.reason)
            case approvals.DispatchReleased() as released:
                waiting.pop(f"parked {released.parked_position}", None)
            case approvals.CallbackAbandoned() as letter:
                waiting[f"callback {letter.message_id}"] = (event.position, letter.reason)
            case approvals.CallbackResent() as letter:
                waiting.pop(f"callback {letter.message_id}", None)
            case approvals.EffectReported(outcome="unknown") as effect:
                waiting[f"effect {effect.effect_id}"] = (event.position, "its outcome is not known")
            case approvals.EffectReconciled() as effect:
                waiting.pop(f"effect {effect.effect_id}", None)
            case _:
                pass
    return [
        Violation(invariant="I12", tenant=tenant, what=f"{what}: {reason}", position=position)
        for what, (position, reason) in waiting.items()
    ]


async def _is_running(temporal: Client, workflow_id: str) -> bool:
    try:
        description = await temporal.get_workflow_handle(workflow_id).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    return description.status is WorkflowExecutionStatus.RUNNING
