"""What agents are asked, counted until there is enough of it to compare. In memory, bounded, each tenant's apart.

What is lost with a process is a mix that was not full yet: the next calls make another.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from typing import Final

from quarterdeck_domain.estate.input_mix import ENOUGH

MOST: Final = 10_000


class Mixes:
    """Sizes of inputs by tenant and agent."""

    def __init__(self, *, enough: int = ENOUGH, most: int = MOST) -> None:
        self._enough = enough
        self._most = most
        self._counts: OrderedDict[tuple[str, str], Counter[str]] = OrderedDict()

    def full(self, tenant: str, more: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
        """Return the mixes that these calls make full, by agent; nothing is counted yet."""
        found: dict[str, dict[str, int]] = {}
        for asset, counts in more.items():
            together = self._counts.get((tenant, asset), Counter()) + Counter(counts)
            if together.total() >= self._enough:
                found[asset] = dict(together)
        return found

    def count(self, tenant: str, more: Mapping[str, Mapping[str, int]]) -> None:
        """Count calls; a mix that is full begins anew."""
        for asset, counts in more.items():
            key = (tenant, asset)
            here = self._counts.setdefault(key, Counter())
            here.update(counts)
            self._counts.move_to_end(key)
            if here.total() >= self._enough:
                del self._counts[key]
        while len(self._counts) > self._most:
            self._counts.popitem(last=False)
