"""Applying a declaration: plan against what stands, then record everything in one append, or nothing.

The plan is made at a position; the append is refused if the estate changed after it, and then everything is planned
anew. So what is recorded is what was shown, or, where nobody insisted on a plan, what is right at that moment.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import msgspec
from eventsourcing.dcb.api import DCBAppendCondition

from quarterdeck_domain.access.events import TenantClosed
from quarterdeck_domain.access.values import PRINCIPAL_EVENTS, Item
from quarterdeck_domain.errors import Refused, WrongState
from quarterdeck_domain.estate.declaration import Declaration
from quarterdeck_domain.estate.events import ESTATE_EVENTS, AssetChanged, EstateApplied
from quarterdeck_domain.estate.plan import Plan, applied, make_plan
from quarterdeck_domain.estate.plan_draft import Step
from quarterdeck_domain.events import Actor, Event, RecordedEvent
from quarterdeck_domain.slices import boundary
from quarterdeck_ledger.errors import AppendConflict, Contended
from quarterdeck_ledger.facts import new_events
from quarterdeck_ledger.interface import Context
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_readmodels.reader import Reader
from quarterdeck_readmodels.standing import standing

TRIES: Final = 5
WAIT_S: Final = 10.0

Progress = Callable[[str, int, int], None]
"""Hears what is being done, how much of it is done, and how much there is."""


class PlanChanged(Refused):
    """What would be done is not what was agreed to: the estate has changed since. Look at the plan again."""

    code = "plan_changed"


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """What applying a file would do, at the position at which it was looked at."""

    position: int
    plan_digest: str
    counts: dict[str, int]
    steps: tuple[Step, ...]
    notes: tuple[str, ...] = ()
    """What of the source is not taken over, and why."""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What applying a file did. Without `run`, nothing was to be done. `position` is the last one recorded."""

    position: int
    plan_digest: str
    counts: dict[str, int]
    run: str | None = None
    repeated: bool = False


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Who wants a declaration to be true, and under which command; the same command is the same run, for ever."""

    tenant: str
    actor: Actor
    command_id: uuid.UUID
    fingerprint: str | None = None
    """Of the request, where whoever repeats it is told if it was another."""
    traceparent: str | None = None
    unless: tuple[Item, ...] = ()
    """Further events that must not have come after the plan was made."""
    check: Callable[[], Awaitable[None]] | None = None
    """Looks, once it is planned, whether it may still be done; raises if not."""
    also: Callable[[Plan], tuple[Event, ...]] | None = None
    """Events that belong to it and are recorded with it, whether or not anything is to be done."""

    @property
    def run(self) -> str:
        """Return the id of the run."""
        return f"run_{self.command_id.hex}"

    def authority(self) -> tuple[Item, ...]:
        """Return the boundary of what lets this be done: roles, say, were read before the plan was made."""
        people = ((PRINCIPAL_EVENTS, (f"principal:{name}",)) for name in self.actor.everyone())
        return (((TenantClosed,), ()), *people, *self.unless)


async def plan(
    ledger: EventLedger, reader: Reader | None, tenant: str, wanted: Declaration, notes: tuple[str, ...] = ()
) -> Planned:
    """Return what applying a file would do now.

    Raises:
        InvalidInput: the file cannot be applied to what stands; `problems` says why.
        NotYet, Unavailable: what stands cannot be told just now.
    """
    return (await plan_with_gone(ledger, reader, tenant, wanted, notes))[0]


async def plan_with_gone(
    ledger: EventLedger, reader: Reader | None, tenant: str, wanted: Declaration, notes: tuple[str, ...] = ()
) -> tuple[Planned, tuple[str, ...]]:
    """Return the same, and what the source of the file no longer offers.

    Raises:
        as `plan`.
    """
    position, made = await _plan(ledger, reader, tenant, wanted, "")
    planned = Planned(position=position, plan_digest=made.digest, counts=made.counts(), steps=made.steps, notes=notes)
    return planned, made.gone


async def apply(
    ledger: EventLedger,
    reader: Reader | None,
    order: Order,
    wanted: Declaration,
    *,
    digest: str,
    agreed: str | None,
    progress: Progress,
) -> Done:
    """Make a file true, all of it or nothing. `digest` is the file's, as `plan.digest_of` says it.

    Raises:
        InvalidInput: as `plan`.
        PlanChanged: `agreed` is the digest of another plan.
        Contended: the estate changes faster than this can be planned, or what lets this be done has changed.
        IdReused: the command was another, with the same id.
        WrongState: the command was used with another file.
    """
    repeated = await before(ledger, order, digest)
    if repeated is not None:
        return repeated
    for _ in range(TRIES):
        progress("plan", 0, len(wanted.assets))
        position, made = await _plan(ledger, reader, order.tenant, wanted, order.run)
        if agreed is not None and made.digest != agreed:
            raise PlanChanged(
                "this is not the plan that was agreed to: the estate has changed since",
                plan_digest=made.digest,
                agreed=agreed,
            )
        if order.check is not None:
            await order.check()
        payloads: tuple[Event, ...] = (applied(made, wanted, order.run, digest), *made.events) if made.steps else ()
        payloads += () if order.also is None else order.also(made)
        done = Done(
            position=position,
            plan_digest=made.digest,
            counts=made.counts(),
            run=order.run if made.steps else None,
        )
        if not payloads:
            return done
        context = Context(
            tenant=order.tenant,
            actor=order.actor,
            command_id=order.command_id,
            fingerprint=order.fingerprint,
            traceparent=order.traceparent,
        )
        events = new_events(payloads, context)
        unchanged = DCBAppendCondition(boundary((ESTATE_EVENTS, ()), *order.authority()), position)
        try:
            placed = await ledger.append_bulk(
                order.tenant, events, unchanged, partial(_recording, progress, len(events))
            )
        except AppendConflict:
            continue
        return msgspec.structs.replace(done, position=placed.last, repeated=placed.repeated)
    raise Contended("the estate changes faster than this can be planned; try again", tries=TRIES)


async def before(ledger: EventLedger, order: Order, digest: str) -> Done | None:
    """Return what a run did when it was first ordered; None if it has done nothing yet.

    Raises:
        WrongState: it was ordered with another file.
    """
    found = await ledger.read(order.tenant, boundary(((EstateApplied,), (f"estate-run:{order.run}",))), limit=1)
    if not found or not isinstance(found[0].payload, EstateApplied):
        return None
    event = found[0].payload
    if event.digest != digest:
        raise WrongState("this idempotency key was used with another file", run=order.run)
    counts = {
        "register": event.registered,
        "change": event.changed,
        "retire": event.retired,
        "relate": event.related,
        "unrelate": event.unrelated,
    }
    changes = await ledger.read(order.tenant, boundary(((AssetChanged,), (f"estate-run:{order.run}",))))
    more = {"drift": event.drifted, "quarantine": event.quarantined, "contest": sum(map(_is_claim, changes))}
    counts |= {name: count for name, count in more.items() if count}
    last = found[0].position + sum(counts.values())
    return Done(position=last, plan_digest=event.plan_digest, counts=counts, run=order.run, repeated=True)


def _is_claim(event: RecordedEvent) -> bool:
    return isinstance(event.payload, AssetChanged) and bool(event.payload.claims)


def _recording(progress: Progress, of: int, done: int) -> None:
    progress("record", done, of)


async def _plan(
    ledger: EventLedger, reader: Reader | None, tenant: str, wanted: Declaration, run: str
) -> tuple[int, Plan]:
    if reader is None:
        raise WrongState("no read models are kept here")
    head = await ledger.head(tenant)
    await reader.wait_for(tenant, head.position, WAIT_S)
    # What is recorded holds from then on, whatever a clock that was set back says now.
    now = max(moment for moment in (await ledger.now(), head.recorded_at) if moment is not None)
    async with reader.at(tenant) as record:
        stands = await standing(record, wanted, now)
    return record.position, await asyncio.to_thread(make_plan, wanted, stands, run)
