"""Text from outside, shown as text: every character that a reader could not see or would be misled by is written out.

A right-to-left override becomes the six characters `\\u202e`. Nothing is trimmed or rendered, so what is shown
differs wherever what was sent differs, and what is cut says so.
"""

from __future__ import annotations

import unicodedata
from typing import Any, Final

_WRITTEN_OUT: Final = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"))
_JOINERS: Final = frozenset("\u200c\u200d")
_INVISIBLE: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters and marks that look like nothing."""


def visible(text: str, *, limit: int | None = None, prose: bool = False) -> str:
    """Return text with everything written out that cannot be seen; `prose` keeps line ends and joiners as they are.

    Cut at `limit` characters of the original, and then it says how long it was.
    """
    kept = text if limit is None else text[:limit]
    shown = "".join(char if _plain(char, prose) else _escape(char) for char in kept)
    return shown if len(kept) == len(text) else f"{shown}… [cut: {len(text)} characters]"


def visible_json(value: Any) -> Any:
    """Return a JSON value with every string and key in it made visible. Nothing is cut: it is bounded as it came in."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(key): visible_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [visible_json(item) for item in value]
    return value


def _plain(char: str, prose: bool) -> bool:
    if " " <= char <= "~":
        return True
    if prose and (char == "\n" or char in _JOINERS):
        return True
    return not (
        unicodedata.category(char) in _WRITTEN_OUT
        or char in _INVISIBLE
        or "\ufe00" <= char <= "\ufe0f"
        or "\U000e0100" <= char <= "\U000e01ef"
    )


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
