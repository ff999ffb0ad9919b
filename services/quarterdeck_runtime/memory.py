"""Garbage collection of a process that serves."""

from __future__ import annotations

import gc
from typing import Final

YOUNG: Final = 50_000
"""So many objects more than before are there when the young ones are looked through. Next to nothing that is made to
answer a question holds itself, and a page of a table is more than Python's 700."""


def settle() -> None:
    """Take what there is now out of garbage collection, and look through the rest less often.

    What a server is made of lives as long as it does. Called once everything is imported and wired. Without it, looking
    through all of that takes a fifth of a second every now and then, in the middle of somebody's request; and reading
    everything in the tables takes half as long again, most of it spent looking through rows already read.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
