"""Deciding once more in an empty log that is given a few events: the plainest way to see what they come to."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_domain.events import Event, NewEvent, RecordedEvent
from quarterdeck_domain.policy.events import DecisionRecorded
from quarterdeck_ledger.interface import Context
from quarterdeck_ledger.keys import MemoryKeyStore
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.memory import MemoryStore
from quarterdeck_policy.authzen import intent_of, parse_json
from quarterdeck_policy.decision_point import DecisionPoint


async def decided_anew(events: Iterable[Event], decision: RecordedEvent) -> tuple[object, ...]:
    """Return what is decided where only these events were recorded, for whoever asked, of what was asked."""
    ledger = EventLedger(MemoryStore(), MemoryKeyStore())
    for payload in events:
        await ledger.append(decision.tenant, [NewEvent(id=uuid.uuid4(), payload=payload, actor=decision.actor)])
    payload = decision.payload
    assert isinstance(payload, DecisionRecorded)
    assert payload.request is not None
    context = Context(tenant=decision.tenant, actor=decision.actor, command_id=uuid.uuid4())
    try:
        again = await DecisionPoint(ledger).decide(context, intent_of(parse_json(payload.request.encode())))
    except QuarterdeckError as error:
        return (error.code,)
    return told(again.decision)


def told(decision: DecisionRecorded) -> tuple[object, ...]:
    """Return everything that a decision said."""
    return (
        *(decision.outcome, decision.determining, decision.reason, decision.obligations, decision.approval_path),
        *(decision.judged, decision.errors, decision.barred, decision.bundle_id, decision.bundle_digest),
    )
