"""I8 of `quarterdeck verify --live` on a real Temporal server: what only lags is no violation, what is lost is one."""

from __future__ import annotations

import asyncio

from gate_world import DIGEST, House, open_approval, running_worker, settled

from quarterdeck_domain.approvals.events import ApprovalDenied
from quarterdeck_domain.events import RecordedEvent
from quarterdeck_projector.invariants import check_gates, ruled
from quarterdeck_workflows.ids import gate_id


async def read(house: House) -> list[RecordedEvent]:
    """Return what the check is given of the log."""
    events, unreadable = await ruled(house.ledger.store, "acme")
    assert unreadable == []
    return events


async def found(house: House, events: list[RecordedEvent], **options: float) -> list[str]:
    """Return what the check finds."""
    return [item.what for item in await check_gates(house.ledger.store, house.temporal, "acme", events, **options)]


async def test_what_was_settled_since_the_log_was_read_is_no_violation(house: House) -> None:
    """The events were read while it was open; when Temporal was asked, its gate had ended."""
    approval = await open_approval(house, expires_in_s=3600)
    before = await read(house)
    async with running_worker(house):
        await house.dispatcher.advance("acme")
        await settled(house, ApprovalDenied(approval_id=approval, action_digest=DIGEST))
        await house.dispatcher.advance("acme")
        await house.temporal.get_workflow_handle(gate_id("acme", approval)).result()
    assert await found(house, before, patience_s=0) == []


async def test_a_gate_that_is_about_to_follow_is_waited_for(house: House) -> None:
    """It opens, and ends, a little after the log says so."""
    approval = await open_approval(house, expires_in_s=3600)
    none, _ = await asyncio.gather(found(house, await read(house)), house.dispatcher.advance("acme"))
    assert none == []
    await settled(house, ApprovalDenied(approval_id=approval, action_digest=DIGEST))

    async def follow() -> None:
        async with running_worker(house):
            await house.dispatcher.advance("acme")
            await house.temporal.get_workflow_handle(gate_id("acme", approval)).result()

    none, _ = await asyncio.gather(found(house, await read(house)), follow())
    assert none == []


async def test_a_gate_that_is_lost_or_never_ends_is_told(house: House) -> None:
    """However often it is looked at."""
    lost = await open_approval(house, expires_in_s=3600)
    kept = await open_approval(house, expires_in_s=3600)
    await house.dispatcher.advance("acme")
    await house.temporal.get_workflow_handle(gate_id("acme", lost)).terminate()
    await settled(house, ApprovalDenied(approval_id=kept, action_digest=DIGEST))
    assert sorted(await found(house, await read(house), patience_s=0)) == sorted(
        [f"{lost} is open and has no gate", f"{kept} is settled and its gate waits"]
    )
