"""Erasing a person: the event is the order, destroying the key carries it out. To do so twice is to do it once."""

from __future__ import annotations

from typing import Final

import structlog
from eventsourcing.dcb.api import DCBQuery

from quarterdeck_domain.access.events import PrincipalErased
from quarterdeck_domain.events import RecordedEvent
from quarterdeck_domain.slices import boundary
from quarterdeck_ledger.keys import KeyStore

ORDERS: Final[DCBQuery] = boundary(((PrincipalErased,), ()))
_log = structlog.get_logger(__name__)


async def carry_out(keys: KeyStore, event: RecordedEvent) -> bool:
    """Destroy the key that an event orders to be destroyed; tell whether there still was one. Others pass by."""
    if not isinstance(event.payload, PrincipalErased):
        return False
    destroyed = await keys.destroy(event.tenant, event.payload.principal_id)
    _log.info("erase.done", tenant=event.tenant, position=event.position, destroyed=destroyed)
    return destroyed
