"""Whether slices are what they say, found out in another way than they were. Of decisions, by recording the events of
a slice in an empty log in memory and letting policy decide there, as it does every day; of states, by a small fold that
shares nothing with the read models. Then again without each one of the events.

Absences are looked for in the whole log, event by event. And what is said to be absent is put where it is missing: with
it, the decision must be another.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from quarterdeck_domain.access.events import (
    PrincipalDeactivated,
    PrincipalRegistered,
    RoleGranted,
    RoleRevoked,
    TenantClosed,
)
from quarterdeck_domain.approvals import events as approvals
from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_domain.estate import events as estate
from quarterdeck_domain.estate.events import ACTS_AS
from quarterdeck_domain.events import Event, NewEvent, RecordedEvent
from quarterdeck_domain.policy.events import BundleModeChanged, DecisionRecorded
from quarterdeck_domain.policy.values import BundleText
from quarterdeck_ledger.interface import Context
from quarterdeck_ledger.keys import MemoryKeyStore
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.memory import MemoryStore
from quarterdeck_policy.authzen import intent_of, parse_json
from quarterdeck_policy.decision_point import DecisionPoint
from quarterdeck_policy.engine import Engine, LoadedBundle


class Loaded(Engine):
    """Parses each bundle once: thousands of logs hold the same one."""

    def __init__(self) -> None:
        self._texts: dict[BundleText, LoadedBundle] = {}

    def load(self, text: BundleText) -> LoadedBundle:
        """Return the bundle of a text."""
        if text not in self._texts:
            self._texts[text] = super().load(text)
        return self._texts[text]


_ENGINE: Final = Loaded()


async def decision_stands(
    decision: RecordedEvent, events: Sequence[RecordedEvent], settled: Sequence[RecordedEvent] = ()
) -> bool:
    """Tell whether events force a recorded decision, and none of them can be left out; and whether with what is said to
    have come to nothing it is the same."""
    payload = decision.payload
    assert isinstance(payload, DecisionRecorded)
    recorded = _said(payload)
    if await _decided(decision, payload, events) != recorded:
        return False
    together = sorted((*events, *settled), key=lambda event: event.position)
    if settled and await _decided(decision, payload, together) != recorded:
        return False
    for event in events:
        if await _decided(decision, payload, [other for other in events if other is not event]) == recorded:
            return False
    return True


async def absences_matter(
    decision: RecordedEvent, events: Sequence[RecordedEvent], absences: Iterable[Mapping[str, Any]]
) -> tuple[int, int]:
    """Return for how many gaps of its absences, between the events that these name, an event could be made here, and
    with how many of these the decision is another."""
    payload = decision.payload
    assert isinstance(payload, DecisionRecorded)
    recorded = _said(payload)
    tried = matter = 0
    for absence in absences:
        contrary = _contrary(absence, decision.tenant)
        for place in (absence["after"], *absence["besides"]) if contrary is not None else ():
            tried += 1
            made = msgspec.structs.replace(decision, payload=contrary, position=place)
            before = [event for event in events if event.position <= place]
            after = [event for event in events if event.position > place]
            matter += await _decided(decision, payload, [*before, made, *after]) != recorded
    return tried, matter


def _contrary(absence: Mapping[str, Any], tenant: str) -> Event | None:
    """Return an event of what is said to be absent; None for types that none is made of here."""
    types = set(absence["types"])
    tags = dict(tag.split(":", 1) for tag in absence["tags"])
    if "tenant.closed" in types:
        return TenantClosed(tenant=tenant, reason="a contrary")
    if "policy_bundle.mode_changed" in types and "bundle" in tags:
        return BundleModeChanged(bundle_id=tags["bundle"], mode="retired")
    if "principal.deactivated" in types:
        return PrincipalDeactivated(principal_id=tags["principal"], reason="a contrary")
    if "principal.role_revoked" in types:
        return RoleRevoked(principal_id=tags["principal"], role=cast(Any, tags["role"]))
    if "asset.registered" in types and ACTS_AS in tags:
        facts = {"lifecycle": "quarantined", "attributes.principal": tags[ACTS_AS]}
        return estate.AssetRegistered(asset="agent:a-contrary", facts=facts, source="bench")
    if "asset.registered" in types and "asset" in tags:
        return estate.AssetRegistered(asset=tags["asset"], facts={"lifecycle": "quarantined"}, source="bench")
    if "asset.quarantined" in types:
        return estate.AssetQuarantined(asset=tags["asset"], reason="a contrary", previous_lifecycle="live")
    return None


async def _decided(decision: RecordedEvent, payload: DecisionRecorded, events: Sequence[RecordedEvent]) -> object:
    ledger = EventLedger(MemoryStore(), MemoryKeyStore())
    for event in events:
        await ledger.append(decision.tenant, [NewEvent(id=uuid.uuid4(), payload=event.payload, actor=event.actor)])
    assert payload.request is not None
    approval = payload.approval_id if _granted(payload, events) else None
    context = Context(tenant=decision.tenant, actor=decision.actor, command_id=uuid.uuid4())
    intent = intent_of(parse_json(payload.request.encode()))
    try:
        found = await DecisionPoint(ledger, _ENGINE).decide(context, intent, approval_id=approval)
    except QuarterdeckError as error:
        return error.code
    return _said(found.decision)


def _said(decision: DecisionRecorded) -> object:
    return (
        decision.outcome,
        decision.determining,
        decision.reason,
        decision.obligations,
        decision.approval_path,
        decision.judged,
        decision.errors,
        decision.barred,
        decision.bundle_id,
        decision.bundle_digest,
    )


def _granted(decision: DecisionRecorded, events: Iterable[RecordedEvent]) -> bool:
    """Tell whether the approval that was presented was asked for, voted on by somebody who could, and granted."""
    asked: str | None = None
    roles: set[str] = set()
    seen: set[str] = set()
    decided: set[str] = set()
    for event in events:
        match event.payload:
            case DecisionRecorded(decision_id=name):
                decided.add(name)
            case PrincipalRegistered(principal_id=name, roles=held) if "approver" in held:
                roles.add(name)
            case RoleGranted(principal_id=name, role="approver"):
                roles.add(name)
            case RoleRevoked(principal_id=name, role="approver") | PrincipalDeactivated(principal_id=name):
                roles.discard(name)
            case approvals.ApprovalRequested(approval_id=decision.approval_id) as request:
                asked = request.decision_id
            case approvals.VoteCast(approval_id=decision.approval_id, approver=voter) if voter in roles:
                seen.add("voted")
            case approvals.ApprovalGranted(approval_id=decision.approval_id) if "voted" in seen:
                seen.add("granted")
            case approvals.GrantMinted(approval_id=decision.approval_id):
                seen.add("minted")
            case _:
                pass
    return asked in decided and seen == {"voted", "granted", "minted"}


def state_stands(
    object_id: str,
    positions: Sequence[int],
    every: Mapping[int, RecordedEvent],
    until: int,
    settled: Sequence[int] = (),
) -> bool:
    """Tell whether events force what all events up to a position say of an object, none can be left out, and with what
    is said to have come to nothing it is the same."""
    whole = naive(object_id, [event for position, event in every.items() if position <= until])
    events = [every[position] for position in positions]
    together = [every[position] for position in sorted((*positions, *settled)) if position in every]
    if naive(object_id, together) != whole:
        return False
    return naive(object_id, events) == whole and all(
        naive(object_id, [other for other in events if other is not event]) != whole for event in events
    )


def naive(object_id: str, events: Iterable[RecordedEvent]) -> object:
    """Return what events say of an object of the estate or of an approval, and who says it: one after another."""
    facts: dict[str, Any] = {}
    roles: set[str] = set()
    voted = False
    for event in events:
        payload, place = event.payload, event.position
        match payload:
            case estate.AssetRegistered() | estate.AssetChanged() if f"asset:{payload.asset}" == object_id:
                if isinstance(payload, estate.AssetChanged) and not facts:
                    return None
                facts |= {name: (value, place) for name, value in payload.facts.items()} | {"at": place}
            case estate.AssetQuarantined() | estate.AssetReleased() if f"asset:{payload.asset}" == object_id:
                if not facts:
                    return None
                state = payload.lifecycle if isinstance(payload, estate.AssetReleased) else "quarantined"
                facts |= {"lifecycle": (state, place), "at": place}
            case PrincipalRegistered(principal_id=name, roles=held) if "approver" in held:
                roles.add(name)
            case approvals.ApprovalRequested(approval_id=name) if name == object_id:
                facts = {"status": "pending", "at": place}
            case approvals.VoteCast(approval_id=name, approver=voter) if name == object_id:
                voted = voted or voter in roles
            case approvals.ApprovalGranted(approval_id=name) if name == object_id:
                if not facts:
                    return None
                facts |= {"status": "approved", "sound": voted}
            case approvals.GrantMinted(approval_id=name) if name == object_id:
                if not facts:
                    return None
                facts["grant"] = payload.grant_id
            case _:
                pass
    return facts


def absent(absence: Mapping[str, Any], log: Mapping[int, tuple[str, frozenset[str]]]) -> bool:
    """Tell whether a log, event by event, has of what is said to be absent only what is named."""
    types, tags = set(absence["types"]), set(absence["tags"])
    there = [
        position
        for position in range(absence["after"] + 1, absence["until"] + 1)
        if log[position][0] in types and tags <= log[position][1]
    ]
    return there == list(absence["besides"])


def about(payload: Event) -> bool:
    """Tell whether `naive` folds an event."""
    return payload.type.startswith(("asset.", "approval.", "grant.", "principal."))
