"""Whose word alone it is that an object did something. Pure.

A trace proves what its authenticated sender does itself, and what those say whose work it is to speak for others (their
word is kept under ""). All else is a claim of its sender. Source: S0-52, S3-09.
"""

from __future__ import annotations

from collections.abc import Iterable


def alleged_by(senders: Iterable[str], principal: object) -> tuple[str, ...]:
    """Return who said that a relation was seen, where none of them is known to know: neither as the `principal` that
    its source acts as, nor as somebody who speaks for others. Nobody, where it is known to be so."""
    said = set(senders)
    return () if "" in said or principal in said else tuple(sorted(said))
