"""What reading YAML and JSON of somebody else has in common: how much may be in a file, and how one is refused."""

from __future__ import annotations

from typing import Final, NoReturn

import msgspec

from quarterdeck_connectors.errors import UnreadableSource

MAX_BYTES: Final = 16 * 2**20
MAX_DEPTH: Final = 64
MAX_VALUES: Final = 2_000_000
MAX_COPIED: Final = 100_000
MAX_DIGITS: Final = 40


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How much a file may hold."""

    size: int = MAX_BYTES
    """In bytes."""
    depth: int = MAX_DEPTH
    values: int = MAX_VALUES
    copied: int = MAX_COPIED
    """Values that references to others stand for."""


BOUNDS: Final = Bounds()


class Unsound(Exception):
    """Something that the parser lets pass and we do not; where it is, is looked for afterwards."""


def refuse(name: str, line: int, column: int, what: str) -> NoReturn:
    """Refuse a file for what is at a line and column, counted from 0 and shown from 1."""
    raise UnreadableSource(
        f"{name}, line {line + 1}, column {column + 1}: {what}", name=name, line=line + 1, column=column + 1
    )


def place_of(text: str, at: int) -> tuple[int, int]:
    """Return the line and column of a place in a text, counted from 0."""
    return text.count("\n", 0, at), at - (text.rfind("\n", 0, at) + 1)


def is_sound(text: str) -> bool:
    """Tell whether a text is Unicode without lone halves of a character."""
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


def integer_of(digits: str) -> int:
    """Return a whole number.

    Raises:
        Unsound: it has more digits than anybody needs.
    """
    if len(digits) > MAX_DIGITS:
        raise Unsound(f"the number {digits[:12]}… has {len(digits)} digits; at most {MAX_DIGITS} are read")
    return int(digits, 0) if digits[:2] in ("0x", "0o") else int(digits)


def float_of(digits: str) -> float:
    """Return a number.

    Raises:
        Unsound: there is none so large.
    """
    found = float(digits)
    if found in (float("inf"), float("-inf")):
        raise Unsound(f"the number {digits[:20]} is too large")
    return found
