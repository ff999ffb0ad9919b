"""What an agent is asked, as shares of sizes: the fifth input of behaviour. Pure.

Contents of messages never arrive here. What can be told without them is how long they are, in tokens: a support agent
that answered short questions and is now given whole documents is used for something else than was reviewed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

FIELD: Final = "input_mix"
ENOUGH: Final = 200
"""So many calls make a mix that can be compared."""
TOLERANCE: Final = 25
"""Of a hundred calls, so many may be of another size than before."""
SIZES: Final[tuple[tuple[str, int], ...]] = (
    ("under 256", 256),
    ("under 1k", 1_024),
    ("under 4k", 4_096),
    ("under 16k", 16_384),
    ("under 64k", 65_536),
)
_REST: Final = "64k and more"
_NAMES: Final = (*(name for name, _ in SIZES), _REST)


def size_of(tokens: int) -> str:
    """Return the class of sizes that an input belongs to."""
    return next((name for name, limit in SIZES if tokens < limit), _REST)


def told(counts: Mapping[str, int]) -> str:
    """Return a mix in words, such as `under 256: 10%, under 1k: 90%`."""
    total = sum(counts.values()) or 1
    shares = {name: round(100 * counts.get(name, 0) / total) for name in _NAMES}
    return ", ".join(f"{name}: {share}%" for name, share in shares.items() if share) or "nothing"


def differs(pinned: str, found: str) -> bool:
    """Tell whether more calls than may be are of another size; what cannot be read differs from everything."""
    one, other = _shares(pinned), _shares(found)
    if one is None or other is None:
        return pinned != found
    return sum(abs(one.get(name, 0) - other.get(name, 0)) for name in _NAMES) > 2 * TOLERANCE


def _shares(text: str) -> dict[str, int] | None:
    found: dict[str, int] = {}
    for part in text.split(", "):
        name, colon, share = part.rpartition(": ")
        if not colon or name not in _NAMES or not share.endswith("%") or not share[:-1].isdecimal():
            return None
        found[name] = int(share[:-1])
    return found
