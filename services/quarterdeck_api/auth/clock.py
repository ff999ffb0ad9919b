"""The database's clock without asking it every time: read now and then, and carried on by this machine's monotonic one.

So credentials expire by the same clock as everything else, whatever somebody does to the wall clock of this machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from quarterdeck_ledger.ledger import EventLedger

RESYNC_S: Final = 30.0


class LedgerClock:
    """Tells the database's time, right to within the drift of half a minute."""

    def __init__(self, ledger: EventLedger, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._ledger = ledger
        self._monotonic = monotonic
        self._read: datetime | None = None
        self._at = 0.0

    async def now(self) -> datetime:
        """Return the time.

        Raises:
            Unavailable: it has to be read again, and the database does not answer.
        """
        elapsed = self._monotonic() - self._at
        if self._read is None or elapsed >= RESYNC_S:
            before = self._monotonic()
            self._read = await self._ledger.now()
            # The reading is at most as old as the question: never believe that it is earlier than it is.
            self._at = before
            elapsed = self._monotonic() - before
        return self._read + timedelta(seconds=elapsed)
