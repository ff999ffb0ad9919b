"""What decisions of one tenant stand on, as of a position of the log: the bundle in force, the principals, and the
objects of the estate that requests name."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from datetime import datetime
from typing import Final

import msgspec

from quarterdeck_domain.access.events import TenantClosed
from quarterdeck_domain.errors import InvalidInput, NotFound, WrongState
from quarterdeck_domain.ids import check_id
from quarterdeck_domain.policy.events import BundleContinued, BundleModeChanged, BundlePublished
from quarterdeck_domain.policy.slices import POLICY_BASIS, enforced_after
from quarterdeck_domain.policy.values import (
    SUBJECT_EVENTS,
    UNKNOWN_SUBJECT,
    BundleText,
    SubjectFacts,
    assemble,
    fold_subject,
)
from quarterdeck_domain.slices import boundary
from quarterdeck_ledger.interface import Ledger
from quarterdeck_policy.engine import Engine, LoadedBundle
from quarterdeck_policy.errors import InvalidBundle
from quarterdeck_policy.sight import EstateView, next_view

MAX_SUBJECTS: Final = 10_000


class ReadyBundle(msgspec.Struct, frozen=True, kw_only=True):
    """A published bundle, loaded; or why it cannot be, and then it denies everything."""

    bundle_id: str
    digest: str
    loaded: LoadedBundle | None = None
    problem: str = ""


class Basis:
    """One tenant's state at `position`. The position moves on while nothing that matters is recorded; any change of
    what decisions stand on makes a new basis."""

    def __init__(
        self,
        tenant: str,
        position: int,
        clock: datetime,
        bundle: ReadyBundle | None,
        estate: EstateView,
        subjects: OrderedDict[str, SubjectFacts] | None = None,
        *,
        closed: bool = False,
    ) -> None:
        """Take a state that was read up to `position`; `clock` is the database's time then, or a little before."""
        self.closed = closed
        self.tenant = tenant
        self.position = position
        self.clock = clock
        self.bundle = bundle
        self.estate = estate
        self.subjects = OrderedDict() if subjects is None else subjects

    @property
    def reads_clock(self) -> bool:
        """Whether the bundle in force asks for the time."""
        return self.bundle is not None and self.bundle.loaded is not None and self.bundle.loaded.reads_clock

    def require_open(self) -> None:
        """Refuse to decide in a closed tenant.

        Raises:
            WrongState: it is closed.
        """
        if self.closed:
            raise WrongState("this tenant is closed; its log can only be read")

    def advance(self, position: int, clock: datetime) -> None:
        """Move on after an append whose condition has shown that nothing changed up to `position`."""
        if position > self.position:
            self.position = position
            self.clock = max(clock, self.clock)

    async def subject(self, ledger: Ledger, principal_id: str) -> SubjectFacts:
        """Return what the log says of a principal; remembered."""
        if principal_id in self.subjects:
            self.subjects.move_to_end(principal_id)
            return self.subjects[principal_id]
        facts = await subject_at(ledger, self.tenant, principal_id, self.position)
        self.subjects[principal_id] = facts
        if len(self.subjects) > MAX_SUBJECTS:
            self.subjects.popitem(last=False)
        return facts


async def first_basis(ledger: Ledger, engine: Engine, tenant: str) -> Basis:
    """Read a tenant's basis from the log."""
    head, clock = await ledger.head(tenant), await ledger.now()
    changes = await ledger.read(tenant, boundary(((BundleModeChanged, TenantClosed), ())), until=head.position)
    enforced, closed = None, False
    for change in changes:
        if isinstance(change.payload, BundleModeChanged):
            enforced = enforced_after(change.payload, enforced)
        elif isinstance(change.payload, TenantClosed):
            closed = True
    bundle = None if enforced is None else await ready_bundle(ledger, engine, tenant, enforced)
    estate = EstateView(tenant, empty=None)
    return Basis(tenant, head.position, max(clock, head.recorded_at or clock), bundle, estate, closed=closed)


async def next_basis(ledger: Ledger, engine: Engine, old: Basis) -> Basis:
    """Return the basis at the end of the log, reading only what was recorded since the old one."""
    start, subjects = old.position, OrderedDict(old.subjects)
    head, clock = await ledger.head(old.tenant), await ledger.now()
    events = await ledger.read(old.tenant, POLICY_BASIS, after=start, until=head.position)
    before = None if old.bundle is None else old.bundle.bundle_id
    enforced, closed = before, old.closed
    for event in events:
        payload = event.payload
        if isinstance(payload, BundleModeChanged):
            enforced = enforced_after(payload, enforced)
            continue
        if isinstance(payload, TenantClosed):
            closed = True
            continue
        principal_id = str(getattr(payload, "principal_id", ""))
        if principal_id in subjects:
            subjects[principal_id] = fold_subject(principal_id, (payload,), subjects[principal_id])
    bundle = old.bundle
    if enforced != before:
        bundle = None if enforced is None else await ready_bundle(ledger, engine, old.tenant, enforced)
    estate = await next_view(ledger, old.tenant, old.estate, start, head.position)
    clock = max(clock, old.clock, head.recorded_at or clock)
    return Basis(old.tenant, head.position, clock, bundle, estate, subjects, closed=closed)


async def subject_at(ledger: Ledger, tenant: str, principal_id: str, position: int) -> SubjectFacts:
    """Return what the log said of a principal at a position; of ids that are no principal's, nothing."""
    try:
        check_id(principal_id, "prn")
    except InvalidInput:
        return UNKNOWN_SUBJECT
    query = boundary((SUBJECT_EVENTS, (f"principal:{principal_id}",)))
    events = await ledger.read(tenant, query, until=position)
    return fold_subject(principal_id, [event.payload for event in events])


async def ready_bundle(ledger: Ledger, engine: Engine, tenant: str, bundle_id: str) -> ReadyBundle:
    """Return a published bundle, loaded. A bundle that cannot be used comes back with the problem."""
    published, rest = await _published(ledger, tenant, bundle_id)
    try:
        text = assemble(published, rest)
        loaded = engine.loaded(text) or await asyncio.to_thread(engine.load, text)
    except InvalidBundle as error:
        return ReadyBundle(
            bundle_id=bundle_id, digest=published.digest, problem=f"bundle {bundle_id} cannot be used: {error.message}"
        )
    except InvalidInput as error:
        return ReadyBundle(bundle_id=bundle_id, digest=published.digest, problem=error.message)
    return ReadyBundle(bundle_id=bundle_id, digest=published.digest, loaded=loaded)


async def read_bundle(ledger: Ledger, tenant: str, bundle_id: str) -> BundleText:
    """Return the text of a published bundle.

    Raises:
        NotFound: no such bundle.
        InvalidInput: its parts do not add up to its digest.
    """
    return assemble(*await _published(ledger, tenant, bundle_id))


async def _published(ledger: Ledger, tenant: str, bundle_id: str) -> tuple[BundlePublished, list[BundleContinued]]:
    found = await ledger.read(tenant, boundary(((BundlePublished,), (f"bundle:{bundle_id}",))), limit=1)
    if not found or not isinstance(found[0].payload, BundlePublished):
        raise NotFound(f"no policy bundle {bundle_id}", bundle_id=bundle_id)
    published, position = found[0].payload, found[0].position
    if published.parts == 1:
        return published, []
    # The parts were recorded in the same append: they are the next positions.
    rest = await ledger.read(tenant, after=position, until=position + published.parts - 1)
    return published, [event.payload for event in rest if isinstance(event.payload, BundleContinued)]
