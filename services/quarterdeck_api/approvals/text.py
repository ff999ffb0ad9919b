"""Text from outside, shown as text: every character that a reader could not see or would be misled by is written out.

A right-to-left override becomes the six characters `\\u202e`, and a backslash becomes two: what is shown is the text
of one original alone, so nobody is shown one thing and asked about another. Nothing is trimmed or rendered, and what
is cut says so.

The command line has the same rule in `quarterdeck_cli.text`; `tests/vectors/visible.json` holds both to it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from typing import Any, Final

MAX_MARKS: Final = 6
"""How many marks one letter may carry. No script in use needs more."""
_WRITTEN_OUT: Final = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"))
_JOINERS: Final = frozenset("\u200c\u200d")
_PROSE: Final = _JOINERS | {"\n"}
_INVISIBLE: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters and marks that look like nothing."""
_BACKSLASHES: Final = frozenset("\\\u2216\u27cd\u29f5\u29f9\u31d4\ufe68\uff3c\U0001d20f\U0001d23b")
"""What looks like the sign that something is written out."""


def visible(text: str, *, limit: int | None = None, prose: bool = False) -> str:
    """Return text with everything written out that cannot be seen; `prose` keeps line ends and joiners as they are.

    Cut at `limit` characters of the original, and then it says how long it was.
    """
    kept = text if limit is None else text[:limit]
    shown = _written(kept, _PROSE if prose else ())
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


def _written(text: str, kept: Collection[str]) -> str:
    """Return text with everything written out that may not stay, but for what is `kept`."""
    out: list[str] = []
    letter = ""  # the last one that stayed, with its marks: what a further mark would be drawn on
    for char in text:
        mark = unicodedata.category(char)[0] == "M"
        if char in kept:
            out.append(char)
            letter = letter if char in _JOINERS else ""
        elif not _plain(char) or (mark and not _carries(letter, char)):
            out.append(_escape(char))
            letter = ""
        else:
            out.append(char)
            letter = letter + char if mark else char.strip(" ")
    return "".join(out)


def _plain(char: str) -> bool:
    if char in _BACKSLASHES:
        return False
    if " " <= char <= "~":
        return True
    return not (
        unicodedata.category(char) in _WRITTEN_OUT
        or char in _INVISIBLE
        or (_composed(char) != char and len(_composed(char)) == 1)  # another letter's twin: a unit's sign
        or "\ufe00" <= char <= "\ufe0f"
        or "\U000e0100" <= char <= "\U000e01ef"
    )


def _carries(letter: str, mark: str) -> bool:
    """Tell whether a mark can stay: there is a letter, it has room, and with the mark it is not another letter's twin.

    `e` and an acute look like the one letter `é`, and are another text.
    """
    return 0 < len(letter) <= MAX_MARKS and len(_composed(letter + mark)) > len(_composed(letter))


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _escape(char: str) -> str:
    code = ord(char)
    if char == "\\":
        return "\\\\"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
