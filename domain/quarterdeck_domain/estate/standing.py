"""What of the estate stands already, as far as a declaration is about it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from quarterdeck_domain.estate.declaration import Declaration, Ending, Link
from quarterdeck_domain.estate.voices import DECLARED, Voices

Ends = tuple[str, str, str]
"""A relation: where it begins, its type, where it leads."""


class Word(NamedTuple):
    """Who said something, and how: people's files and imports may have one name."""

    source: str
    confidence: str

    def of(self, wanted: Declaration) -> bool:
        """Tell whether it is the word of whoever says a declaration."""
        people = self.confidence == DECLARED
        return self.source == wanted.source and people == (wanted.confidence == DECLARED)


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What is: facts of the objects that a file names or leads to (flat; those that exist), aliases of merged ones, and
    the declared relations that begin at objects which the file names."""

    facts: Mapping[str, Mapping[str, Any]]
    relations: Mapping[Ends, Link]
    aliases: Mapping[str, str] = {}
    said_by: Mapping[Ends, Word] = {}
    """Who declared each relation, where that is known."""
    offered: frozenset[str] = frozenset()
    """What came from a source first that is read whole; also those that it does not name now."""
    offered_by: Mapping[str, str] = {}
    """The import that an object came from first."""
    voices: Mapping[str, Voices] = {}
    """Whose word the facts of an object are, and what others say of them."""
    noted: Mapping[str, frozenset[str]] = {}
    """What objects that are not as pinned were found to be, as far as it is noted and nobody has accepted it."""
    registered: Mapping[str, datetime] = {}
    """Since when objects are known."""
    reviewed: Mapping[str, datetime] = {}
    """Since when servers offered what was reviewed of them; see `offers`."""
    shut: Mapping[str, str] = {}
    """Where MCP servers in quarantine are reached, and which is; see `offers`."""
    endings: Mapping[str, Ending] = {}
    """What is said of the end of those that have one."""

    def mine(self, wanted: Declaration, ends: Ends) -> bool:
        """Tell whether a declaration may change a relation: a file that people write may change any, an import only
        what it said itself."""
        return wanted.confidence == DECLARED or self.own(wanted, ends)

    def own(self, wanted: Declaration, ends: Ends) -> bool:
        """Tell whether a relation is what the source of a declaration said: a file of people's, or an import."""
        word = self.said_by.get(ends)
        return word is not None and word.of(wanted)


def same(before: Any, after: Any) -> bool:
    """Tell whether two facts say the same: nothing, and no members, is what nobody has said."""
    empty: tuple[Any, ...] = (None, [], (), {})
    if before in empty and after in empty:
        return True
    return bool(before == after)
