"""A log, Temporal and the dispatcher between them, and short ways to make approvals happen on them."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from temporalio.client import Client, WorkflowHistory

from quarterdeck_connectors.destinations import Allowed
from quarterdeck_domain.approvals.events import ApprovalRequested, Callback, Stage
from quarterdeck_domain.events import Actor, Event, NewEvent
from quarterdeck_domain.ids import make_id
from quarterdeck_domain.slices import boundary
from quarterdeck_importing.credentials import Credentials
from quarterdeck_importing.fetching import Fetching
from quarterdeck_importing.importing import Importing
from quarterdeck_ledger.followers import Followers
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.signing import Purpose, SigningKey
from quarterdeck_projector.dispatcher import Dispatcher
from quarterdeck_readmodels.reader import Reader
from quarterdeck_worker.worker import make_worker, running
from quarterdeck_workflows.approval_gate.activities import ApprovalGateActivities
from quarterdeck_workflows.callback_delivery.activities import CallbackDeliveryActivities
from quarterdeck_workflows.callback_delivery.destination import Destinations
from quarterdeck_workflows.import_source.activities import ImportSourceActivities

AGENT = Actor(principal=make_id("prn", uuid.uuid4()), kind="agent")
DIGEST = "sha256-action-v1:" + "a" * 64


class MemorySigningKeys:
    """Signing keys of all tenants, for as long as the tests run."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str, Purpose], list[SigningKey]] = {}

    def current(self, tenant: str, purpose: Purpose) -> SigningKey:
        """Return the newest key for a purpose."""
        return self.all(tenant, purpose)[-1] if self.all(tenant, purpose) else self.rotate(tenant, purpose)

    def all(self, tenant: str, purpose: Purpose) -> list[SigningKey]:
        """Return every key for a purpose, oldest first."""
        return list(self._keys.get((tenant, purpose), ()))

    def rotate(self, tenant: str, purpose: Purpose) -> SigningKey:
        """Make a new current key for a purpose."""
        key = SigningKey(uuid.uuid4().hex[:16], Ed25519PrivateKey.generate())
        self._keys.setdefault((tenant, purpose), []).append(key)
        return key


@dataclass
class House:
    """A log, Temporal, and the dispatcher between them."""

    ledger: EventLedger
    followers: Followers
    temporal: Client
    dispatcher: Dispatcher
    task_queue: str
    signing: MemorySigningKeys = field(default_factory=MemorySigningKeys)


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


async def every_run(temporal: Client, workflow_id: str, first_run_id: str) -> list[WorkflowHistory]:
    """Return the histories of a workflow's runs: each one but the last went on as the next."""
    found = []
    run_id = first_run_id
    while run_id:
        found.append(await temporal.get_workflow_handle(workflow_id, run_id=run_id).fetch_history())
        run_id = found[-1].events[-1].workflow_execution_continued_as_new_event_attributes.new_execution_run_id
    return found


@contextlib.asynccontextmanager
async def running_worker(
    house: House, destinations: Destinations | None = None, fetching: Fetching | None = None
) -> AsyncIterator[None]:
    """Run a worker of this release on the house's task queue."""
    delivery = CallbackDeliveryActivities(
        house.ledger, house.signing, destinations or Destinations(), "https://quarterdeck.example"
    )
    store: Any = house.ledger.store
    importing = Importing(house.ledger, Reader(store.pool), fetching or Fetching(Allowed(), Credentials()))
    worker = make_worker(
        house.temporal,
        ApprovalGateActivities(house.ledger),
        delivery,
        ImportSourceActivities(importing),
        task_queue=house.task_queue,
    )
    async with running(worker, house.temporal):
        yield
