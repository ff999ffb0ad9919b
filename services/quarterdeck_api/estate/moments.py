"""The whole estate of a moment, as files and bills have it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from quarterdeck_api.auth.caller import Caller, require
from quarterdeck_api.services import Services
from quarterdeck_connectors.bom import Stamp
from quarterdeck_domain.errors import InvalidInput, WrongState
from quarterdeck_readmodels.held import held_at, view_at
from quarterdeck_readmodels.reader import Reader
from quarterdeck_readmodels.standing import as_file

READERS: Final = ("operator", "administrator", "auditor", "approver")


def reader_of(services: Services) -> Reader:
    """Return what answers questions about the estate.

    Raises:
        WrongState: no read models are kept here.
    """
    if services.reader is None:
        raise WrongState("no read models are kept here")
    return services.reader


async def as_of(
    caller: Caller, services: Services, source: str, position: int | None, time: datetime | None
) -> tuple[dict[str, Any], Stamp]:
    """Return the estate as a declarative file, and whose and when that is.

    Without a time it is as it was recorded by the position; with one, as it was true then, as known at the position.

    Raises:
        NotAllowed: the caller may not read the whole estate.
        InvalidInput: the log is not that long.
        NotYet: the read models do not hold the position yet.
    """
    require(caller, *READERS)
    reader, tenant = reader_of(services), caller.tenant
    head = await services.ledger.head(tenant)
    if position is not None and position > head.position:
        raise InvalidInput(f"the log ends at {head.position}: nothing is known at {position} yet", head=head.position)
    if time is None:
        opened = reader.at(tenant, position)
    else:
        known = position if position is not None else await reader.projected(tenant)
        opened = held_at(reader, tenant, await view_at(services.ledger, tenant, time, known))
    async with opened as record:
        document = await as_file(record, source)
        here = record.position
    at = head.recorded_at or await services.ledger.now()
    if 0 < here < head.position:
        (entry,) = await services.ledger.read_sealed(tenant, after=here - 1, until=here)
        at = entry.recorded_at
    return document, Stamp(tenant=tenant, position=here, at=at, moment=time)
