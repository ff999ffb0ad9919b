"""Planning and applying a file for a caller: see `quarterdeck_importing.applying`."""

from __future__ import annotations

import asyncio

from quarterdeck_api.auth.caller import Caller
from quarterdeck_api.commands.idempotency import command_id, fingerprint
from quarterdeck_api.services import Services
from quarterdeck_domain.estate.declaration import Declaration, digest_of
from quarterdeck_importing import applying
from quarterdeck_importing.applying import Done, Order, PlanChanged, Planned, Progress
from quarterdeck_runtime.telemetry import current_traceparent

__all__ = ["Done", "PlanChanged", "Planned", "Progress", "apply", "plan"]


async def plan(services: Services, caller: Caller, wanted: Declaration, notes: tuple[str, ...] = ()) -> Planned:
    """Return what applying a file would do now.

    Raises:
        InvalidInput: the file cannot be applied to what stands; `problems` says why.
        NotYet, Unavailable: what stands cannot be told just now.
    """
    return await applying.plan(services.ledger, services.reader, caller.tenant, wanted, notes)


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
    order = Order(
        tenant=caller.tenant,
        actor=caller.actor,
        command_id=command_id(caller, key),
        fingerprint=None if key is None else fingerprint(caller, "POST", "apply_estate", digest),
        traceparent=current_traceparent(),
    )
    return await applying.apply(
        services.ledger, services.reader, order, wanted, digest=digest, agreed=agreed, progress=progress
    )
