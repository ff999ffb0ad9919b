"""What the absence of a part puts into the log: a line when it begins and one, with a count, when it is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

QUIET_S: Final = 5.0
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Outage:
    began: float
    last: float
    count: int = 1


class Outages:
    """The outages of one process, each under the code of the problem that callers are answered with."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._open: dict[str, _Outage] = {}

    def begins(self, code: str) -> bool:
        """Count a failure; tell whether it begins an outage, and so is worth a line."""
        now = self._monotonic()
        found = self._open.get(code)
        if found is None:
            self._open[code] = _Outage(now, now)
            return True
        found.last = now
        found.count += 1
        return False

    def answered(self) -> None:
        """Note that the database has answered somebody. What has not failed for `QUIET_S` is over, and is told.

        One answer is not enough: a part that comes and goes would fill the log, a line each time.
        """
        if not self._open:
            return
        now = self._monotonic()
        for code, found in list(self._open.items()):
            if now - found.last >= QUIET_S:
                del self._open[code]
                _log.warning(
                    "answered again", code=code, failed=found.count, after_s=round(found.last - found.began, 1)
                )
