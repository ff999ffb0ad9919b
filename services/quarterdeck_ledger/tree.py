"""The root of a log from its frontier."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def root_of(frontier: Sequence[bytes]) -> bytes:
    """Return the RFC 6962 root from the roots of the perfect subtrees, largest first."""
    if not frontier:
        return hashlib.sha256(b"").digest()
    root = frontier[-1]
    for left in reversed(frontier[:-1]):
        root = hashlib.sha256(b"\x01" + left + root).digest()
    return root
