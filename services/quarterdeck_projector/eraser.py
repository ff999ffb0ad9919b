"""The eraser: destroys the key of every person whom the log says to be erased.

The event comes first and is the order. Whoever ran the command carries it out before it answers; this does so where
that process died in between, until the key is gone. It needs neither Temporal nor the read models.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_ledger import faults
from quarterdeck_ledger.erasure import ORDERS, carry_out
from quarterdeck_ledger.followers import Followers
from quarterdeck_ledger.ledger import EventLedger

NAME: Final = "eraser"
_POLL_S: Final = 1.0
log = structlog.get_logger(__name__)


class Eraser:
    """Follows `principal.erased` of every tenant."""

    def __init__(self, ledger: EventLedger, followers: Followers) -> None:
        self._ledger = ledger
        self._followers = followers

    async def run(self) -> None:
        """Carry out what is ordered, for ever, until cancelled."""
        while True:
            try:
                for tenant in await self._ledger.tenants():
                    await self.advance(tenant)
            except (QuarterdeckError, OSError) as error:
                log.warning("erase.waiting", error=str(error))
            await asyncio.sleep(_POLL_S)

    async def advance(self, tenant: str) -> int:
        """Destroy the keys of whoever was erased since the last time; return how many keys there still were."""
        after = await self._followers.position(tenant, NAME)
        head = (await self._ledger.head(tenant)).position
        if head <= after:
            return 0
        destroyed = 0
        for event in await self._ledger.read(tenant, ORDERS, after=after, until=head):
            faults.point("erase.read")
            destroyed += await carry_out(self._ledger.keys, event)
            faults.point("erase.after_destroy")
        await self._followers.advance(tenant, NAME, head)
        return destroyed
