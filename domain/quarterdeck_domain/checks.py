"""Checks on what comes from outside: numbers and moments in bounds; text bounded, and free of what deceives readers.

Names and reasons are one line; comments and justifications may have several. Both are shown as text
and never rendered, but a control character, an invisible character or one that turns the reading direction
around would deceive even then.
"""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from typing import Final

from quarterdeck_domain.errors import InvalidInput

MAX_NAME: Final = 120
MAX_REASON: Final = 500
MAX_COMMENT: Final = 2_000
MAX_ID: Final = 300

_REFUSED: Final = frozenset(("Cc", "Cs", "Zl", "Zp", "Cf"))
_JOINERS: Final = frozenset("\u200c\u200d")
"""Zero-width joiners: several scripts and emoji cannot be written without them."""


def in_utc(moment: datetime, field: str) -> datetime:
    """Return a moment with a time zone in UTC.

    Raises:
        InvalidInput: its offset puts it before the first year or after the last.
    """
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise InvalidInput(
            f"{field} is not between the years 1 and 9999 in UTC: write it like 2026-01-31T12:00:00Z", field=field
        ) from None


def line(value: str, field: str, *, limit: int = MAX_REASON) -> str:
    """Return one line of text unchanged.

    Raises:
        InvalidInput: blank, too long, or with control, format or direction characters.
    """
    if not value.strip():
        raise InvalidInput(f"{field} is blank", field=field)
    return optional_line(value, field, limit=limit)


def optional_line(value: str, field: str, *, limit: int = MAX_REASON) -> str:
    """Return one line of text unchanged; it may be empty.

    Raises:
        InvalidInput: as `line`.
    """
    return _checked(value, field, limit, allowed=_JOINERS)


def prose(value: str | None, field: str, *, limit: int = MAX_COMMENT) -> str | None:
    """Return text of any number of lines unchanged, or None.

    Raises:
        InvalidInput: too long, or with control, format or direction characters other than line ends and tabs.
    """
    return None if value is None else _checked(value, field, limit, allowed=_JOINERS | frozenset("\n\r\t"))


def legible(value: str, *, limit: int = MAX_REASON) -> str:
    """Return what a program wrote (an error, a traceback) as one bounded line: cut, and with every character
    that could not be shown written out. A report is never lost over its wording."""
    written = (char if _plain(char, _JOINERS) else f"\\u{{{ord(char):04x}}}" for char in value[:limit])
    text = "".join(written)
    return text if len(text) <= limit and len(value) <= limit else text[: limit - 1] + "…"


def opaque(value: str | None, field: str, *, limit: int) -> str | None:
    """Return text that is kept for others and never shown, or None: bounded, and valid Unicode.

    Raises:
        InvalidInput: too long, or with a lone surrogate or NUL.
    """
    if value is None:
        return None
    _bounded(value, field, limit)
    if any(char == "\0" or unicodedata.category(char) == "Cs" for char in value):
        raise InvalidInput(f"{field} has a NUL or a lone surrogate", field=field)
    return value


def seconds(value: int, field: str, *, at_least: int = 1, at_most: int) -> int:
    """Return a number of seconds unchanged.

    Raises:
        InvalidInput: out of bounds.
    """
    if not at_least <= value <= at_most:
        raise InvalidInput(
            f"{field} is {value}; it must be from {at_least} to {at_most} seconds",
            field=field,
            at_least=at_least,
            at_most=at_most,
        )
    return value


def _bounded(value: str, field: str, limit: int) -> None:
    if len(value) > limit:
        raise InvalidInput(
            f"{field} has {len(value)} characters; at most {limit} are allowed", field=field, limit=limit
        )


def _checked(value: str, field: str, limit: int, *, allowed: frozenset[str]) -> str:
    _bounded(value, field, limit)
    for place, char in enumerate(value):
        if not _plain(char, allowed):
            raise InvalidInput(
                f"{field} has the character U+{ord(char):04X} at {place}, which cannot be shown as it is",
                field=field,
                place=place,
            )
    return value


def _plain(char: str, allowed: frozenset[str]) -> bool:
    return " " <= char <= "~" or char in allowed or unicodedata.category(char) not in _REFUSED
