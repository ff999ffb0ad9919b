"""How much that is new one sender, and one tenant, may show by traces in an hour. In memory, bounded, by process.

A trace costs its sender nothing, and each name in it becomes an object that people have to look at.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

HOUR_S: Final = 3_600.0
OF_AGENT: Final = 500
"""New objects and relations of one sender that speaks for itself."""
OF_COLLECTOR: Final = 10_000
OF_TENANT: Final = 20_000
MOST: Final = 50_000
"""Senders that are remembered, over all tenants."""

Sender = tuple[str, str]
"""Tenant and principal; no principal: all of the tenant."""


class Quota:
    """What was new, by sender. Times are seconds of any clock that only goes forward."""

    def __init__(self, *, hour_s: float = HOUR_S, most: int = MOST) -> None:
        self._hour_s = hour_s
        self._most = most
        self._counts: OrderedDict[Sender, tuple[float, int]] = OrderedDict()

    def left(self, tenant: str, principal: str, now: float, *, collects: bool) -> int:
        """Return how much more a sender may show now."""
        of_one = (OF_COLLECTOR if collects else OF_AGENT) - self._count((tenant, principal), now)
        return max(0, min(of_one, OF_TENANT - self._count((tenant, ""), now)))

    def spend(self, tenant: str, principal: str, news: int, now: float) -> None:
        """Count what was recorded. The hour of a sender begins with the first that it shows."""
        for sender in ((tenant, principal), (tenant, "")) if news else ():
            count = self._count(sender, now)
            since = self._counts[sender][0] if count else now
            self._counts[sender] = (since, count + news)
            self._counts.move_to_end(sender)
        while len(self._counts) > self._most:
            self._counts.popitem(last=False)

    def _count(self, sender: Sender, now: float) -> int:
        since, count = self._counts.get(sender, (now, 0))
        return count if since + self._hour_s > now else 0
