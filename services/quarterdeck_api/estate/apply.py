"""Applying a declaration: plan against what stands, then record everything in one append, or nothing.

The plan is made at a position; the append is refused if the estate changed after it, and then everything is planned
anew. So what is recorded is what was shown, or, where nobody insisted on a plan, what is right at that moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec
from eventsourcing.dcb.api import DCBAppendCondition

from quarterdeck_api.auth.caller import Caller
from quarterdeck_api.commands.idempotency import command_id, fingerprint
from quarterdeck_api.services import Services
from quarterdeck_domain.access.events import TenantClosed
from quarterdeck_domain.access.values import PRINCIPAL_EVENTS
from quarterdeck_domain.errors import Refused, WrongState
from quarterdeck_domain.estate.events import ESTATE_EVENTS, EstateApplied
from quarterdeck_domain.estate.plan import Declaration, Plan, Step, applied, digest_of, make_plan
from quarterdeck_domain.slices import boundary
from quarterdeck_ledger.errors import AppendConflict, Contended
from quarterdeck_ledger.facts import new_events
from quarterdeck_ledger.interface import Context
from quarterdeck_readmodels.standing import standing
from quarterdeck_runtime.telemetry import current_traceparent

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


async def plan(services: Services, caller: Caller, wanted: Declaration, notes: tuple[str, ...] = ()) -> Planned:
    """Return what applying a file would do now.

    Raises:
        InvalidInput: the file cannot be applied to what stands; `problems` says why.
        NotYet, Unavailable: what stands cannot be told just now.
    """
    position, made = await _plan(services, caller, wanted, "")
    return Planned(position=position, plan_digest=made.digest, counts=made.counts(), steps=made.steps, notes=notes)


async def apply(
    services: Services,
    caller: Caller,
    wanted: Declaration,
    *,
    key: str | None,
    agreed: str | None,
    progress: Progress,
) -> Done:
    """Make a file true, all of it or nothing.

    Raises:
        InvalidInput: as `plan`.
        PlanChanged: `agreed` is the digest of another plan.
        Contended: the estate changes faster than this can be planned.
        IdReused: the idempotency key was used with another request.
    """
    digest = await asyncio.to_thread(digest_of, wanted)
    given = command_id(caller, key)
    run = f"run_{given.hex}"
    repeated = await _before(services, caller, run, digest)
    if repeated is not None:
        return repeated
    for _ in range(TRIES):
        progress("plan", 0, len(wanted.assets))
        position, made = await _plan(services, caller, wanted, run)
        if agreed is not None and made.digest != agreed:
            raise PlanChanged(
                "this is not the plan that was agreed to: the estate has changed since",
                plan_digest=made.digest,
                agreed=agreed,
            )
        if not made.steps:
            return Done(position=position, plan_digest=made.digest, counts=made.counts())
        context = Context(
            tenant=caller.tenant,
            actor=caller.actor,
            command_id=given,
            fingerprint=None if key is None else fingerprint(caller, "POST", "apply_estate", digest),
            traceparent=current_traceparent(),
        )
        events = new_events((applied(made, wanted, run, digest), *made.events), context)
        unchanged = DCBAppendCondition(boundary((ESTATE_EVENTS, ()), *_authority(caller)), position)
        try:
            placed = await services.ledger.append_bulk(
                caller.tenant, events, unchanged, partial(_recording, progress, len(events))
            )
        except AppendConflict:
            continue
        return Done(
            position=placed.last,
            plan_digest=made.digest,
            counts=made.counts(),
            run=run,
            repeated=placed.repeated,
        )
    raise Contended("the estate changes faster than this can be planned; try again", tries=TRIES)


def _recording(progress: Progress, of: int, done: int) -> None:
    progress("record", done, of)


def _authority(caller: Caller) -> tuple[Any, ...]:
    """Return the boundary of what lets the caller do this: its roles were read before the plan was made."""
    return (((TenantClosed,), ()), *((PRINCIPAL_EVENTS, (f"principal:{name}",)) for name in caller.actor.everyone()))


async def _plan(services: Services, caller: Caller, wanted: Declaration, run: str) -> tuple[int, Plan]:
    if services.reader is None:
        raise WrongState("no read models are kept here")
    head = await services.ledger.head(caller.tenant)
    await services.reader.wait_for(caller.tenant, head.position, WAIT_S)
    async with services.reader.at(caller.tenant) as record:
        stands = await standing(record, wanted)
    return record.position, await asyncio.to_thread(make_plan, wanted, stands, run)


async def _before(services: Services, caller: Caller, run: str, digest: str) -> Done | None:
    found = await services.ledger.read(caller.tenant, boundary(((EstateApplied,), (f"estate-run:{run}",))), limit=1)
    if not found or not isinstance(found[0].payload, EstateApplied):
        return None
    event = found[0].payload
    if event.digest != digest:
        raise WrongState("this idempotency key was used with another file", run=run)
    counts = {
        "register": event.registered,
        "change": event.changed,
        "retire": event.retired,
        "relate": event.related,
        "unrelate": event.unrelated,
    }
    counts |= {name: count for name, count in (("drift", event.drifted), ("quarantine", event.quarantined)) if count}
    last = found[0].position + sum(counts.values())
    return Done(position=last, plan_digest=event.plan_digest, counts=counts, run=run, repeated=True)
