"""Journeys through a failing house, explained: each decision and each approval has a slice that replays to the same.

Processes die and answers are lost in these; people leave, policies change and tools are quarantined while others decide.
Serves S0-27, DC-02.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

import pytest
import simulator_journeys
from simulator_world import TENANT, World, simulating

from quarterdeck_domain.approvals.consent import follows
from quarterdeck_domain.approvals.events import ApprovalRequested
from quarterdeck_domain.events import RecordedEvent
from quarterdeck_domain.policy.events import DecisionRecorded
from quarterdeck_graphql.causal import Slice, of_decision, of_state
from quarterdeck_graphql.context import Context
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_readmodels.approvals import Approval
from quarterdeck_readmodels.folding import Reading, Run, fold

SEEDS: Final = range(24)


class There:
    """Stands for whoever asks: slices need a log and a tenant."""

    def __init__(self, log: EventLedger) -> None:
        self.log = log
        self.tenant = TENANT


def played(seed: int) -> World:
    """Return the world that a schedule came to."""
    with simulating():
        return simulator_journeys.run(seed)


def approvals(entries: list[tuple[int, bytes]]) -> dict[str, Approval]:
    """Return the approvals as the projector would have them."""
    run = Run(1, 0, [])
    assert Reading().extend(run, entries) is None
    found: dict[str, dict[str, Any]] = {item["id"]: item for item in fold(run, {}).inserts.get(Approval, ())}
    return {name: Approval(**values) for name, values in found.items()}


def check(found: Slice, what: str) -> None:
    """Assert that everything about a slice holds."""
    checks = (found.found.whole, found.found.sufficient, found.found.irreducible)
    assert checks == (True, True, True), what
    assert all(missing.holds for missing in found.missing), what
    assert found.found.settles, what


@pytest.mark.parametrize("seed", SEEDS)
def test_everything_that_was_decided_is_explained(seed: int) -> None:
    """Whatever failed meanwhile: what is in the log is forced by what was in the log."""
    world = played(seed)

    async def explained() -> None:
        ledger = EventLedger(world.store, world.keys)
        log: list[RecordedEvent] = await ledger.read(TENANT)
        there = cast(Context, There(ledger))
        for event in log:
            if isinstance(event.payload, DecisionRecorded):
                check(await of_decision(there, event), f"{seed}: {event.payload.decision_id}")
        rows = approvals(await world.store.read(TENANT, None, 0, None, None, False))
        assert set(rows) == {event.payload.approval_id for event in log if isinstance(event.payload, ApprovalRequested)}
        for name, row in rows.items():
            assert follows(name, log), name
            check(await of_state(there, row, len(log)), f"{seed}: {name}")

    asyncio.run(explained())
