"""What traces show, recorded: what stands of it is read, what is new is decided, and recorded in one append.

Its condition is that nobody recorded the same in between; else it is decided anew, with what the log says since.
Most requests record nothing: what they show is known.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import Any, Final

import msgspec
from eventsourcing.dcb.api import DCBAppendCondition

from quarterdeck_api.auth.caller import Caller
from quarterdeck_api.commands.idempotency import fresh_id
from quarterdeck_api.services import Services
from quarterdeck_connectors.mixing import Mixes
from quarterdeck_connectors.observing import (
    Observed,
    Standing,
    asked_of,
    candidates,
    observe,
    other_names,
    possible_ends,
)
from quarterdeck_connectors.otlp import Batch
from quarterdeck_connectors.quota import Quota
from quarterdeck_connectors.sightings import Sightings, gather
from quarterdeck_connectors.waiting import Waiting
from quarterdeck_domain.access.events import TenantClosed
from quarterdeck_domain.access.values import PRINCIPAL_EVENTS
from quarterdeck_domain.errors import InvalidInput, WrongState
from quarterdeck_domain.estate.events import (
    AssetChanged,
    AssetQuarantined,
    AssetRegistered,
    AssetReleased,
    AssetRetired,
    AssetsMerged,
    DriftAccepted,
    DriftDetected,
    RelationObserved,
)
from quarterdeck_domain.estate.values import relation_id
from quarterdeck_domain.slices import boundary
from quarterdeck_ledger.errors import AppendConflict, Busy
from quarterdeck_ledger.facts import new_events
from quarterdeck_ledger.interface import Context
from quarterdeck_readmodels.estate import Asset, Drift, Relation
from quarterdeck_readmodels.estate_relations import MAX_SENDERS
from quarterdeck_readmodels.reader import Record
from quarterdeck_readmodels.standing import facts_of
from quarterdeck_runtime.telemetry import current_traceparent

COLLECTORS: Final = frozenset({"operator", "administrator"})
"""Who may speak for others: an agent's own key proves only what that agent does."""
MAX_SERVERS: Final = 2_000
TRIES: Final = 5
MAX_DRIFTS: Final = 20_000
MAX_LATEST: Final = 5_000
"""Events of the estate that the tables may be behind."""
_CHUNK: Final = 2_000
_MERGES: Final = 5
_SHUT: Final = frozenset({"quarantined", "retired"})
_TOLD: Final = (
    AssetRegistered,
    AssetChanged,
    AssetsMerged,
    AssetQuarantined,
    AssetReleased,
    AssetRetired,
    RelationObserved,
    DriftDetected,
)
"""What the tables may not show yet of what traces are about."""


async def take(
    services: Services, caller: Caller, batch: Batch, waiting: Waiting, mixes: Mixes, quota: Quota
) -> Observed:
    """Record what is new in a batch; return that, and how much of it was left out because it was too much.

    Raises:
        WrongState: no read models are kept here.
        NotYet, Unavailable, Busy: it cannot be told or recorded just now; nothing was.
    """
    sender = (caller.tenant, caller.actor.principal)
    together = waiting.join(sender, batch.spans, time.monotonic())
    try:
        found = await asyncio.to_thread(gather, together.spans, together.overdue)
        observed = await _record(services, caller, found, mixes, quota) if found.things else Observed()
    except BaseException:
        # The sender will send its own again; what waited before is not its to send.
        new = {(span.trace, span.id) for span in batch.spans}
        again = [span for span in together.spans if (span.trace, span.id) not in new]
        waiting.keep(sender, again, time.monotonic())
        raise
    waiting.keep(sender, found.unsettled, time.monotonic())
    return observed


async def _record(services: Services, caller: Caller, found: Sightings, mixes: Mixes, quota: Quota) -> Observed:
    if services.reader is None:
        raise WrongState("no read models are kept here")
    collects = not caller.roles.isdisjoint(COLLECTORS)
    said_by = "" if collects else caller.actor.principal
    behind = False
    for _ in range(TRIES):
        async with services.reader.at(caller.tenant) as record:
            standing, position = await _standing(record, found, said_by), record.position
        if behind:
            standing, position = await _with_the_latest(services, caller.tenant, standing, position, said_by)
        now = await services.ledger.now()
        asked = asked_of(found, standing)
        news = quota.left(caller.tenant, caller.actor.principal, time.monotonic(), collects=collects)
        full = mixes.full(caller.tenant, asked)
        observed = await asyncio.to_thread(
            observe, found, standing, sender=caller.actor, now=now, mixes=full, collects=collects, news=news
        )
        if not observed.events and not behind and await _shut_since(services, caller.tenant, position):
            behind = True
            continue
        if not observed.events:
            mixes.count(caller.tenant, asked)
            return observed
        context = Context(
            tenant=caller.tenant, actor=caller.actor, command_id=fresh_id(), traceparent=current_traceparent()
        )
        try:
            await services.ledger.append(
                caller.tenant, new_events(observed.events, context), _unless(caller, observed, position)
            )
        except AppendConflict:
            behind = True
            continue
        mixes.count(caller.tenant, asked)
        quota.spend(caller.tenant, caller.actor.principal, observed.news, time.monotonic())
        return observed
    raise Busy("the estate changes faster than this can be recorded; send it again", retry_after_s=1)


async def _shut_since(services: Services, tenant: str, position: int) -> bool:
    """Tell whether something was taken out of use that the tables do not show yet."""
    query = boundary(((AssetQuarantined, AssetRetired), ()))
    return bool(await services.ledger.read(tenant, query, after=position, limit=1))


def _unless(caller: Caller, observed: Observed, position: int) -> DCBAppendCondition:
    """Return the condition that what is recorded as new is so still, and that the sender may still send."""
    items: list[Any] = [((TenantClosed,), ()), ((AssetsMerged,), ())]
    items += [(PRINCIPAL_EVENTS, (f"principal:{name}",)) for name in caller.actor.everyone()]
    for event in observed.events:
        if isinstance(event, AssetRegistered):
            items.append(((AssetRegistered,), (f"asset:{event.asset}",)))
        elif isinstance(event, AssetChanged | DriftDetected):
            items.append(((AssetChanged, DriftDetected, DriftAccepted), (f"asset:{event.asset}",)))
        else:
            same = relation_id(event.source, event.relation, event.target)
            items.append(((RelationObserved,), (f"relation:{same}",)))
    return DCBAppendCondition(boundary(*items), position)


async def _standing(record: Record, found: Sightings, said_by: str) -> Standing:
    """Return what stands of what was seen. When a relation was seen last counts by sender: no forgery of one keeps what
    another has to say from being recorded."""
    aliases: dict[str, str] = {}
    if any(thing.otherwise.startswith("mcp_server:") for thing in found.things):
        aliases |= other_names(await _servers(record))
    facts: dict[str, dict[str, Any]] = {}
    shut: dict[str, datetime] = {}
    looked: set[str] = set()
    # What was merged has other names, and so has what an MCP server offers that was.
    for _ in range(_MERGES):
        names = sorted(candidates(found, aliases) - looked)
        looked.update(names)
        for start in range(0, len(names), _CHUNK):
            for name, asset in (await record.many(Asset, names[start : start + _CHUNK])).items():
                facts[name] = facts_of(asset)
                if asset.lifecycle in _SHUT and "lifecycle" in asset.since:
                    shut[name] = datetime.fromisoformat(asset.since["lifecycle"][0])
                if asset.merged_into is not None:
                    aliases[name] = asset.merged_into
        if not names:
            break
    standing = Standing(facts=facts, aliases=aliases, shut=shut)
    ends = {relation_id(*each): each for each in possible_ends(found, standing)}
    ids, last_seen = sorted(ends), {}
    for start in range(0, len(ids), _CHUNK):
        for name, relation in (await record.many(Relation, ids[start : start + _CHUNK])).items():
            last = relation.senders.get(said_by)
            if last is not None:
                last_seen[ends[name]] = datetime.fromisoformat(last)
            elif relation.last_seen is not None and len(relation.senders) >= MAX_SENDERS:
                last_seen[ends[name]] = relation.last_seen
    drifting = sorted(name for name in facts if name.startswith(("model:", "agent:")))
    drifts: set[tuple[str, str, str]] = set()
    for start in range(0, len(drifting), _CHUNK):
        for drift in await record.matching(Drift, "asset", drifting[start : start + _CHUNK], most=MAX_DRIFTS):
            if drift.state == "open":
                drifts.add((drift.asset, drift.field, drift.found))
    return msgspec.structs.replace(standing, last_seen=last_seen, drifts=frozenset(drifts))


async def _with_the_latest(
    services: Services, tenant: str, standing: Standing, position: int, said_by: str
) -> tuple[Standing, int]:
    """Return what stands at the end of the log: the tables may be behind, and traces do not wait for them."""
    head = await services.ledger.head(tenant)
    query = boundary((_TOLD, ()))
    latest = await services.ledger.read(tenant, query, after=position, until=head.position, limit=MAX_LATEST + 1)
    if len(latest) > MAX_LATEST:
        raise Busy("the estate's tables are far behind its log; send it again", retry_after_s=5)
    facts, aliases, last_seen = dict(standing.facts), dict(standing.aliases), dict(standing.last_seen)
    drifts, shut = set(standing.drifts), dict(standing.shut)
    for event in latest:
        match event.payload:
            case AssetRegistered(asset=asset, facts=said):
                facts[asset] = said
            case AssetChanged(asset=asset, facts=said) if asset in facts:
                facts[asset] = {**facts[asset], **said}
            case DriftDetected(asset=asset, field=field, found=found):
                drifts.add((asset, field, found))
            case AssetsMerged(survivor=survivor, merged=merged):
                aliases[merged] = survivor
                facts.setdefault(survivor, {})
            case RelationObserved(source=source, relation=relation, target=target, last_seen=last, sender=sender) if (
                sender or ""
            ) == said_by:
                last_seen[source, relation, target] = last
            case AssetQuarantined(asset=asset) | AssetRetired(asset=asset):
                shut[asset] = event.recorded_at
            case AssetReleased(asset=asset):
                shut.pop(asset, None)
            case _:
                pass
    standing = Standing(facts=facts, aliases=aliases, last_seen=last_seen, drifts=frozenset(drifts), shut=shut)
    return standing, head.position


async def _servers(record: Record) -> dict[str, dict[str, Any]]:
    try:
        rows = await record.matching(Asset, "kind", ["mcp_server"], most=MAX_SERVERS)
    except InvalidInput:
        return {}  # so many that their other names are not looked up: they are known by their own
    return {row.id: facts_of(row) for row in rows if row.merged_into is None and row.lifecycle != "retired"}
