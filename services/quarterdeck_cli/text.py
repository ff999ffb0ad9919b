"""Text from outside with nothing hidden in it: whatever a reader could not see is written out, as `\\u202e`.

No character of it moves the cursor, changes a colour or turns the direction of writing, and no two texts look alike
for it: a backslash is written as two. The server has the same rule for approvals, in `quarterdeck_api.approvals.text`;
this package is installed without it, and `tests/vectors/visible.json` holds both to one rule.
"""

from __future__ import annotations

import json
import shlex
import unicodedata
from collections.abc import Collection
from typing import Final

MAX_MARKS: Final = 6
"""How many marks one letter may carry. No script in use needs more."""
_WRITTEN_OUT: Final = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"))
_INVISIBLE: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters and marks that look like nothing."""
_BACKSLASHES: Final = frozenset("\\\u2216\u27cd\u29f5\u29f9\u31d4\ufe68\uff3c\U0001d20f\U0001d23b")
"""What looks like the sign that something is written out."""


def visible(value: object) -> str:
    """Return text from outside with everything written out that cannot be seen, line ends too."""
    return _written(str(value), ())


def shown(value: object) -> str:
    """Return text that the server made visible already, as an approval's: its backslashes are what it wrote out."""
    return _written(str(value), ("\\",))


def lines(text: str) -> list[str]:
    """Return the server's visible prose as lines. Only a line feed ends a line."""
    return [shown(line) for line in text.split("\n")]


def pretty(value: object) -> list[str]:
    """Return a JSON value in which the server made all text visible as lines for people.

    What it wrote out stands as it wrote it, not escaped once more.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False).replace("\\\\", "\\")
    return [shown(line) for line in text.split("\n")]


def quoted(*words: object) -> str:
    """Return words from outside for a command line that is offered for copying: a shell takes each for one word.

    Where something of a word must be written out, it is in bash's and zsh's `$'…'`, which read it as it was. Another
    shell takes that for another word, and still for one.
    """
    return " ".join(map(_quoted, map(str, words)))


def _quoted(word: str) -> str:
    written = visible(word)
    return shlex.quote(word) if written == word else "$'" + written.replace("'", "\\u0027") + "'"


def _written(text: str, kept: Collection[str]) -> str:
    """Return text with everything written out that may not stay, but for what is `kept`."""
    out: list[str] = []
    letter = ""  # the last one that stayed, with its marks: what a further mark would be drawn on
    for char in text:
        mark = unicodedata.category(char)[0] == "M"
        if char in kept:
            out.append(char)
            letter = ""
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
