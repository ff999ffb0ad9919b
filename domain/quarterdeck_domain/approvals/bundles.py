"""The ids of a bundled access request: its task's id and those of its approvals are made from one UUID.

So the task finds its approvals, and an approval its task, without a record of their own.
"""

from __future__ import annotations

import uuid
from typing import Final

from quarterdeck_domain.ids import make_id

BUNDLE: Final = "blk"
APPROVAL: Final = "apr"
MAX_ITEMS: Final = 20


def as_bundle(value: uuid.UUID) -> uuid.UUID:
    """Return a UUID marked (version 8) as a bundle's, so that no single request can be taken for a bundle of one."""
    return uuid.UUID(int=value.int & ~(0xF << 76) | 0x8 << 76)


def is_bundle(value: uuid.UUID) -> bool:
    """Tell whether a UUID is a bundle's."""
    return value.version == 8


def bundle_id(value: uuid.UUID) -> str:
    """Return the id of a bundle's task."""
    return make_id(BUNDLE, value)


def item_ids(value: uuid.UUID, count: int) -> tuple[str, ...]:
    """Return the approval ids of a bundle's items, in order. The first has the bundle's own suffix."""
    rest = (uuid.uuid5(value, str(place)) for place in range(1, count))
    return tuple(make_id(APPROVAL, each) for each in (value, *rest))
