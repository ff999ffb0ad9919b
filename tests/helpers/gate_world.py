"""A log, Temporal and the dispatcher between them, and short ways to make approvals happen on them."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from temporalio.client import Client

from quarterdeck_domain.approvals.events import ApprovalRequested, Callback, Stage
from quarterdeck_domain.events import Actor, Event, NewEvent
from quarterdeck_domain.ids import make_id
from quarterdeck_domain.slices import boundary
from quarterdeck_ledger.followers import Followers
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.signing import SigningKey
from quarterdeck_projector.dispatcher import Dispatcher
from quarterdeck_worker.worker import make_worker, running
from quarterdeck_workflows.approval_gate.activities import ApprovalGateActivities
from quarterdeck_workflows.callback_delivery.activities import CallbackDeliveryActivities
from quarterdeck_workflows.callback_delivery.destination import Destinations

AGENT = Actor(principal=make_id("prn", uuid.uuid4()), kind="agent")
WEBHOOK_KEY = SigningKey("test", Ed25519PrivateKey.generate())
DIGEST = "sha256-action-v1:" + "a" * 64


@dataclass
class House:
    """A log, Temporal, and the dispatcher between them."""

    ledger: EventLedger
    followers: Followers
    temporal: Client
    dispatcher: Dispatcher
    task_queue: str


async def open_approval(
    house: House, *, expires_in_s: float, remind_after_s: int = 600, callback: Callback | None = None
) -> str:
    """Record a request that expires so many seconds from now; return its id."""
    approval = make_id("apr", uuid.uuid4())
    await settled(
        house,
        ApprovalRequested(
            approval_id=approval,
            decision_id=make_id("dec", uuid.uuid4()),
            subject=f"agent:{AGENT.principal}",
            action="refund",
            resource="order:17",
            request="{}",
            callback_state="opaque" if callback else None,
            action_digest=DIGEST,
            binding_hash="sha256:" + "c" * 64,
            path_id="default",
            path_version=1,
            stages=(Stage(name="decide"),),
            remind_after_s=remind_after_s,
            grant_lifetime_s=900,
            requester=AGENT.principal,
            requesters=(AGENT.principal,),
            expires_at=await house.ledger.now() + timedelta(seconds=expires_in_s),
            callback=callback,
        ),
    )
    return approval


async def settled(house: House, payload: Event) -> None:
    """Record one event as it is, past every rule: these tests are about what happens after it."""
    await house.ledger.append("acme", [NewEvent(id=uuid.uuid4(), payload=payload, actor=AGENT)])


async def recorded(house: House, approval: str) -> list[str]:
    """Return the types of an approval's events, in order."""
    events = await house.ledger.read("acme", boundary(((), (f"approval:{approval}",))))
    return [event.type for event in events]


@contextlib.asynccontextmanager
async def running_worker(house: House, destinations: Destinations | None = None) -> AsyncIterator[None]:
    """Run a worker of this release on the house's task queue."""
    delivery = CallbackDeliveryActivities(
        house.ledger, lambda _: WEBHOOK_KEY, destinations or Destinations(), "https://quarterdeck.example"
    )
    worker = make_worker(house.temporal, ApprovalGateActivities(house.ledger), delivery, task_queue=house.task_queue)
    async with running(worker, house.temporal):
        yield
