"""What follows from a command outside the log: today, destroying the key of an erased person.

The fact is recorded first, then the key is destroyed, then the caller is answered. Should the process die in between,
a repetition of the command does it, and so does the next start. Destroying a key twice is destroying it once.
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from quarterdeck_domain.access.events import PrincipalErased
from quarterdeck_domain.events import RecordedEvent
from quarterdeck_domain.slices import boundary
from quarterdeck_ledger.ledger import EventLedger

_log = structlog.get_logger(__name__)


async def settle(ledger: EventLedger, tenant: str, events: Iterable[RecordedEvent]) -> None:
    """Do what follows from these events; doing it again changes nothing."""
    for event in events:
        if isinstance(event.payload, PrincipalErased) and await ledger.keys.destroy(tenant, event.payload.principal_id):
            _log.info("personal data erased", tenant=tenant, principal=event.payload.principal_id)


async def settle_everything(ledger: EventLedger) -> None:
    """Do what follows from every log, where a process died before it could."""
    for tenant in await ledger.tenants():
        await settle(ledger, tenant, await ledger.read(tenant, boundary(((PrincipalErased,), ()))))
