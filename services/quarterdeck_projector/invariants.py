"""The invariants, checked on a living installation: what must hold at every moment, recomputed from the bytes.

I1-I3 positions, ids, times · I4 hashes, columns, tags, tree, checkpoints · I5 votes and decisions · I6 grants and
effects · I8 gates · I9 read models · I10 tenants · I12 what is stuck. (I7, budgets, has no room yet; I11, that
everything ends, needs time and is what the fault tests check.) Each check yields its violations; none is the good
answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Final

import msgspec
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from quarterdeck_domain import merkle
from quarterdeck_domain.approvals import events as approvals
from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_domain.events import RecordedEvent
from quarterdeck_domain.slices import boundary
from quarterdeck_ledger.entry import parse_entry, tag_key
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.notes import parse_checkpoint, parse_note
from quarterdeck_ledger.postgres import PostgresStore
from quarterdeck_ledger.store import StoredHead
from quarterdeck_projector.projector import Projector
from quarterdeck_readmodels import schema
from quarterdeck_readmodels.catalogue import ROWS
from quarterdeck_readmodels.schema import LIVE, SHADOW
from quarterdeck_readmodels.tables import Row, columns
from quarterdeck_workflows.ids import gate_id

_PAGE: Final = 1_000
_KEPT: Final = ("id", "type", "recorded_at", "leaf hash")
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


async def check_log(store: PostgresStore, tenant: str) -> AsyncIterator[Violation]:
    """I1-I4 and I10: the bytes, what is derived from them in the same append, and every checkpoint ever signed."""
    checkpoints = await _checkpoints(store, tenant)
    frontier = b""
    size = 0
    ids: set[str] = set()
    nodes: dict[merkle.Node, bytes] = {}
    before: datetime | None = None
    head: StoredHead | None = None
    while True:
        page = await store.read(tenant, None, size, None, _PAGE, False)
        if not page:
            if head is not None:
                break
            head = await store.head(tenant)
            if head.position <= size:
                break
            continue  # it has grown since: what the head counts must be there now
        head = None
        stored = await _columns(store, tenant, size, page[-1][0])
        stored_tags = await _tags(store, tenant, size, page[-1][0])
        for position, raw in page:
            entry = parse_entry(raw)
            leaf = hashlib.sha256(b"\x00" + raw).digest()
            frontier, completed = merkle.append_leaves_and_nodes(frontier, size, [leaf])
            nodes.update(completed)
            size += 1

            def broken(invariant: str, what: str, at: int = position) -> Violation:
                return Violation(invariant=invariant, tenant=tenant, what=what, position=at)

            if position != size or entry.position != position:
                yield broken("I3", f"position {position} stands at place {size}, its bytes say {entry.position}")
                return
            if str(entry.id) in ids:
                yield broken("I2", f"id {entry.id} occurs twice")
            ids.add(str(entry.id))
            if before is not None and entry.recorded_at < before:
                yield broken("I3", "recorded_at decreases")
            before = entry.recorded_at
            if entry.tenant != tenant:
                yield broken("I10", f"the entry belongs to {entry.tenant}")
            for name, told, kept in zip(
                _KEPT, (entry.id, entry.type, entry.recorded_at, leaf), stored[position], strict=True
            ):
                if told != kept:
                    yield broken("I4", f"the stored {name} is not that of the bytes")
            if {tag_key(tag) for tag in entry.tags} != stored_tags.get(position, set()):
                yield broken("I4", "the indexed tags are not those of the bytes")
            for root in checkpoints.pop(size, ()):
                if root != merkle.root(frontier, size):
                    yield broken("I4", f"a checkpoint of size {size} was signed over another root")
    if head.position != size:
        yield Violation(invariant="I3", tenant=tenant, what=f"the head says {head.position}, there are {size} events")
    elif merkle.root_of(head.frontier) != merkle.root(frontier, size):
        yield Violation(invariant="I4", tenant=tenant, what="the head's root is not that of the bytes")
    elif before is not None and head.recorded_at != before:
        what = f"the head says {head.recorded_at}, the last event {before}"
        yield Violation(invariant="I3", tenant=tenant, what=what)
    if before is not None and before > await store.now():
        yield Violation(invariant="I3", tenant=tenant, what=f"the last event is of {before}, which has not come yet")
    for what in await _notes(store, tenant):
        yield Violation(invariant="I4", tenant=tenant, what=what)
    async for what in _derived(store, tenant, nodes, size):
        yield Violation(invariant="I4", tenant=tenant, what=what)
    for beyond in (signed for signed in checkpoints if signed > size):
        yield Violation(
            invariant="I4", tenant=tenant, what=f"a checkpoint of size {beyond} was signed, {size} are left"
        )


def check_rules(tenant: str, events: list[RecordedEvent]) -> list[Violation]:
    """I5 and I6: an approval is settled once, by others than who asked, in time; a grant is used once, as bound."""
    found: list[Violation] = []
    requests: dict[str, approvals.ApprovalRequested] = {}
    settled: dict[str, int] = {}
    granted: set[str] = set()
    votes: dict[str, list[approvals.VoteCast]] = {}
    grants: dict[str, approvals.GrantMinted] = {}
    redeemed: set[str] = set()

    def broken(event: RecordedEvent, invariant: str, what: str) -> None:
        found.append(Violation(invariant=invariant, tenant=tenant, what=what, position=event.position))

    for event in events:
        match event.payload:
            case approvals.ApprovalRequested() as request:
                requests[request.approval_id] = request
            case approvals.VoteCast() as vote:
                if vote.approval_id not in requests:
                    broken(event, "I5", "a vote on what nobody asked")
                    continue
                request = requests[vote.approval_id]
                votes.setdefault(vote.approval_id, []).append(vote)
                if vote.approver in request.requesters:
                    broken(event, "I5", f"{vote.approver} voted on what was asked for them")
                if event.recorded_at >= request.expires_at or vote.approval_id in settled:
                    broken(event, "I5", "a vote after the end")
                if vote.action_digest != request.action_digest:
                    broken(event, "I5", "a vote on another action than was asked")
            case payload if isinstance(payload, _SETTLED):
                if payload.approval_id in settled:
                    broken(event, "I5", f"settled already at {settled[payload.approval_id]}")
                if payload.approval_id not in requests:
                    broken(event, "I5", "an answer to what nobody asked")
                    continue
                settled[payload.approval_id] = event.position
                if isinstance(payload, approvals.ApprovalGranted):
                    granted.add(payload.approval_id)
                    for stage in requests[payload.approval_id].stages:
                        cast = votes.get(payload.approval_id, [])
                        yes = {vote.approver for vote in cast if vote.stage == stage.name and vote.verdict == "approve"}
                        if len(yes) < stage.quorum:
                            broken(event, "I5", f"stage {stage.name} has {len(yes)} of {stage.quorum} approvals")
            case approvals.GrantMinted() as grant:
                grants[grant.grant_id] = grant
                if grant.approval_id not in granted:
                    broken(event, "I6", "a grant without an approval")
                    continue
                if grant.action_digest != requests[grant.approval_id].action_digest:
                    broken(event, "I6", "a grant for another action than was approved")
            case approvals.GrantRedeemed() as use:
                minted = grants.get(use.grant_id)
                if use.grant_id in redeemed:
                    broken(event, "I6", "a grant was redeemed twice")
                redeemed.add(use.grant_id)
                if minted is None or use.action_digest != minted.action_digest or use.redeemer != minted.redeemer:
                    broken(event, "I6", "redeemed for another action, or by somebody else, than granted")
                elif event.recorded_at > minted.expires_at:
                    broken(event, "I6", "redeemed after it expired")
            case _:
                pass
    return found


async def check_gates(
    ledger: EventLedger, temporal: Client, tenant: str, events: list[RecordedEvent]
) -> list[Violation]:
    """I8: every open approval has a running gate, and no settled one has."""
    found: list[Violation] = []
    open_now: dict[str, bool] = {}
    for event in events:
        if isinstance(event.payload, approvals.ApprovalRequested):
            open_now[event.payload.approval_id] = True
        elif isinstance(event.payload, _SETTLED):
            open_now[event.payload.approval_id] = False
    for approval_id, is_open in open_now.items():
        running = await _is_running(temporal, gate_id(tenant, approval_id))
        if is_open and not running:
            found.append(Violation(invariant="I8", tenant=tenant, what=f"{approval_id} is open and has no gate"))
        if running and not is_open:
            found.append(Violation(invariant="I8", tenant=tenant, what=f"{approval_id} is settled and its gate waits"))
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


async def _checkpoints(store: PostgresStore, tenant: str) -> dict[int, list[bytes]]:
    rows = await _within(store, tenant, "SELECT size, root FROM ledger.checkpoints WHERE tenant_id = $1 AND size > 0")
    found: dict[int, list[bytes]] = {}
    for row in rows:
        found.setdefault(row["size"], []).append(row["root"])
    return found


async def _notes(store: PostgresStore, tenant: str) -> list[str]:
    found = []
    for row in await _within(store, tenant, "SELECT size, root, note FROM ledger.checkpoints WHERE tenant_id = $1"):
        try:
            said = parse_checkpoint(parse_note(row["note"].encode()).text)
        except QuarterdeckError as error:
            found.append(f"the note of a checkpoint of size {row['size']} is none: {error.message}")
            continue
        if (said.size, said.root) != (row["size"], row["root"]):
            found.append(f"the note of a checkpoint of size {row['size']} says another size or root")
    return found


async def _columns(store: PostgresStore, tenant: str, after: int, until: int) -> dict[int, tuple[Any, ...]]:
    statement = """SELECT position, id, type, recorded_at, leaf_hash FROM ledger.events
        WHERE tenant_id = $1 AND position > $2 AND position <= $3"""
    return {row["position"]: tuple(row)[1:] for row in await _within(store, tenant, statement, after, until)}


async def _derived(store: PostgresStore, tenant: str, nodes: dict[merkle.Node, bytes], size: int) -> AsyncIterator[str]:
    """Yield what is wrong with the stored nodes of the tree, and with tags of events that do not exist."""
    found = await _within(store, tenant, "SELECT level, index, hash FROM ledger.tree_nodes WHERE tenant_id = $1")
    stored = {(row["level"] * merkle.TILE_HEIGHT, row["index"]): row["hash"] for row in found}
    for level, index in sorted({*nodes, *stored}):
        # What has been completed since is checked the next time.
        if (index + 1) << level <= size and stored.get((level, index)) != nodes.get((level, index)):
            yield f"the stored node {index} of level {level} is not that of the bytes"
    statement = """SELECT t.position FROM ledger.tags t JOIN ledger.heads h USING (tenant_id)
        WHERE t.tenant_id = $1 AND t.position > h.position LIMIT 1"""
    for row in await _within(store, tenant, statement):
        yield f"a tag is indexed for position {row['position']}, where no event is"
    statement = """SELECT n.level, n.index FROM ledger.tree_nodes n JOIN ledger.heads h USING (tenant_id)
        WHERE n.tenant_id = $1 AND (n.index + 1) * power(256, n.level) > h.position LIMIT 1"""
    for row in await _within(store, tenant, statement):
        yield f"the tree has node {row['index']} of level {row['level'] * merkle.TILE_HEIGHT}, which is not complete"


async def _tags(store: PostgresStore, tenant: str, after: int, until: int) -> dict[int, set[str]]:
    statement = "SELECT position, tag FROM ledger.tags WHERE tenant_id = $1 AND position > $2 AND position <= $3"
    found: dict[int, set[str]] = {}
    for row in await _within(store, tenant, statement, after, until):
        found.setdefault(row["position"], set()).add(row["tag"].hex)
    return found


async def _within(store: PostgresStore, tenant: str, statement: str, *arguments: Any) -> list[Any]:
    async with store.pool.acquire() as connection, connection.transaction():
        tenant_id = await connection.fetchval("SELECT ledger.enter($1)", tenant)
        rows: list[Any] = await connection.fetch(statement, tenant_id, *arguments)
    return rows
