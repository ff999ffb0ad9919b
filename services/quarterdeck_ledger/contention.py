"""How long whoever lost a race waits before the next try."""

from __future__ import annotations

import asyncio
import random
from typing import Final

MAX_TRIES: Final = 12
"""How often one command meets a conflict before its caller is told to try again later."""
_FIRST_S: Final = 0.002
_DOUBLINGS: Final = 6


def longest_pause_s(attempt: int) -> float:
    """Return the bound of the pause after an attempt, counted from 0: 2 ms, doubling up to 128 ms."""
    return _FIRST_S * 2.0 ** min(attempt, _DOUBLINGS)


async def pause(attempt: int) -> None:
    """Let whoever won finish, and do not meet the same rivals again in step: a random time within the bound."""
    await asyncio.sleep(random.uniform(0, longest_pause_s(attempt)))  # noqa: S311  not a secret
