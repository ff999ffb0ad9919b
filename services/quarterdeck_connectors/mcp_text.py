"""Hints that a text may be meant to deceive: letters that nobody sees, and words that speak to a model, not to people.

A hint is for a person who reads the text afterwards. Nothing is decided by it: whoever knows these words writes others.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final

MOST: Final = 2_000_000
"""Characters that are looked at of everything that one server says."""
MOST_OF_ONE: Final = 50_000
"""Of these, of all texts of one thing."""
MAX_DESCRIPTION: Final = 4_000

# Without nested repetition: each runs in time proportional to the text.
_WORDS: Final = (
    (
        "it tells its reader to disregard something",
        r"\b(ignore|disregard|forget|override)\b[^.\n]{0,40}\b(previous|prior|above|earlier|other|all|system)\b",
    ),
    (
        "it asks to keep something from the user",
        r"\b(do not|don't|never|without)\b[^.\n]{0,30}\b(tell|telling|mention|inform|notify|show|reveal|asking)\b"
        r"[^.\n]{0,30}\b(user|human|anyone|them)\b",
    ),
    ("it has tags such as prompts have", r"</?(important|system|instructions?|secret|admin|assistant)\b[^>\n]{0,40}>"),
    ("it speaks of the system prompt", r"\bsystem prompt\b"),
    ("it names secrets or where they lie", r"~/\.|\bid_(rsa|ed25519)\b|\.env\b|/etc/(passwd|shadow)\b|\bmcp\.json\b"),
    (
        "it says what to do before or instead of other tools",
        r"\b(before|instead of|prior to)\b[^.\n]{0,30}\b(using|calling|invoking|any)\b[^.\n]{0,30}\btools?\b",
    ),
)
_PATTERNS: Final = tuple((said, re.compile(pattern, re.IGNORECASE)) for said, pattern in _WORDS)
_BLOB: Final = re.compile(r"[A-Za-z0-9+/_-]{300}")


class Looking:
    """Looks at texts, at so many characters altogether and so many of each thing, and not at more."""

    def __init__(self, most: int = MOST) -> None:
        self._left = most

    def cautions(self, texts: Iterable[str | None]) -> tuple[str, ...]:
        """Return what about the texts of one thing somebody should look at, in words; nothing of the texts."""
        found: dict[str, None] = {}
        left = min(self._left, MOST_OF_ONE)
        for text in texts:
            if not text:
                continue
            if len(text) > MAX_DESCRIPTION:
                found[f"a text is longer than {MAX_DESCRIPTION} characters"] = None
            if len(text) > left:
                found["there is more text than was looked at"] = None
            found |= dict.fromkeys(_cautions(text[:left]))
            self._left -= len(text[:left])
            left -= len(text[:left])
        return tuple(found)


def _cautions(text: str) -> Iterator[str]:
    plain = text
    if not text.isascii():
        visible = "".join(char for char in text if not _is_hidden(char))
        if visible != text:
            yield "it has characters that are not seen, or that turn the reading direction"
        # Full-width, mathematical and other dressed-up letters are read as the plain ones they stand for. Some letters
        # stand for whole sentences: no more is looked at than was written.
        plain = unicodedata.normalize("NFKC", visible)[: len(text)]
    elif any(_is_hidden(char) for char in set(text)):
        yield "it has characters that are not seen, or that turn the reading direction"
    for said, pattern in _PATTERNS:
        if pattern.search(plain):
            yield said
    if _BLOB.search(text):
        yield "it has a long run of letters that nobody can read"


def _is_hidden(char: str) -> bool:
    if char in "\n\r\t" or " " <= char <= "~":
        return False
    code = ord(char)
    # Tags and the second range of variation selectors carry hidden text; zero-width joiners are part of real words.
    if 0xE0000 <= code <= 0xE01EF:
        return True
    return unicodedata.category(char) in {"Cc", "Cf", "Co", "Cs"} and char not in "\u200c\u200d"
