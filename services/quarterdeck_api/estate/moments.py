"""The whole estate of a moment, as files and bills have it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Final

from quarterdeck_api.auth.caller import Caller, require
from quarterdeck_api.services import Services
from quarterdeck_connectors.bom import Stamp
from quarterdeck_domain.errors import InvalidInput, WrongState
from quarterdeck_readmodels.held import held_at, view_at
from quarterdeck_readmodels.living import Live, live_at
from quarterdeck_readmodels.reader import Reader, Record
from quarterdeck_readmodels.standing import as_file

WAIT_S: Final = 3.0
READERS: Final = ("operator", "administrator", "auditor", "approver")


def reader_of(services: Services) -> Reader:
    """Return what answers questions about the estate.

    Raises:
        WrongState: no read models are kept here.
    """
    if services.reader is None:
        raise WrongState("no read models are kept here")
    return services.reader


async def reached(services: Services, tenant: str, position: int | None, name: str = "position") -> int:
    """Return the position that is asked about, once the read models hold it; None: the last one that they hold.

    `name` is what the caller calls it.

    Raises:
        InvalidInput: the log is not that long.
        NotYet: the read models do not hold it in time.
    """
    reader = reader_of(services)
    projected = await reader.projected(tenant)
    if position is None:
        return projected
    # What the read models hold is in the log.
    if position > projected:
        head = (await services.ledger.head(tenant)).position
        if position > head:
            raise InvalidInput(
                f"the log ends at {head}: nothing is known at {position} yet", field=name, position=position, head=head
            )
        await reader.wait_for(tenant, position, WAIT_S)
    return position


async def recorded_at(services: Services, tenant: str, position: int) -> datetime | None:
    """Return when the event at a position was recorded; None for position 0."""
    if not position:
        return None
    (entry,) = await services.ledger.read_sealed(tenant, after=position - 1, until=position)
    return entry.recorded_at


async def as_of(
    caller: Caller,
    services: Services,
    source: str,
    position: int | None,
    time: datetime | None,
    *,
    stamped: bool = False,
) -> tuple[dict[str, Any], Stamp]:
    """Return the estate as a declarative file, and whose and when that is.

    Without a time it is what held when the position was recorded, or holds now; with one, as it was true then, as known
    at the position. `stamped`: the stamp says so, too, where it is another estate than that of the position though
    nothing was recorded since.

    Raises:
        NotAllowed: the caller may not read the whole estate.
        InvalidInput: the log is not that long.
        NotYet: the read models do not hold the position in time.
    """
    require(caller, *READERS)
    reader, tenant = reader_of(services), caller.tenant
    known = await reached(services, tenant, position)
    now = await services.ledger.now()
    at = await recorded_at(services, tenant, known) or now
    opened: AbstractAsyncContextManager[Record]
    if time is None:
        # What is recorded holds from then on, whatever a clock that was set back says now.
        opened = live_at(reader, tenant, known, max(now, at) if position is None else at)
    else:
        opened = held_at(reader, tenant, await view_at(services.ledger, tenant, time, known))
    async with opened as record:
        document = await as_file(record, source)
        if stamped and isinstance(record, Live) and record.moment > at and await record.turned(at):
            # What was announced and holds, or is over, by now makes it another one than that of the position.
            time = record.moment
    return document, Stamp(tenant=tenant, position=known, at=at, moment=time)
