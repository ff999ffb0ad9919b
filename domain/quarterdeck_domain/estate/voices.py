"""Whose word each fact of an object is, and what others say of it instead: the last writer does not win silently.

A fact is contested while a source stands by another value than the one that holds. What a person says by command
settles it. What somebody declares outweighs what was imported or seen before; an import that overwrites it does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

COMMAND: Final = "command"
"""The source of what people say by command."""
BASE: Final = ""
"""The key of the word that all facts are which have none of their own: that of whoever registered the object."""
WEIGHT: Final[Mapping[str, int]] = {"observed": 0, "imported": 1, "declared": 2}
"""How much a word counts beside another, by its confidence."""
_DRIFT: Final = "drift drf_"
_UNHEARD: Final = frozenset(
    {"lifecycle", "attributes.pinned", "attributes.pinned_parts", "attributes.parts", "attributes.cautions"}
)
"""Facts that commands and importers keep for themselves: nobody disagrees about them."""
_EMPTY: Final[tuple[Any, ...]] = (None, [], (), {}, "")


class Voices(NamedTuple):
    """By fact: whose word it is (source and confidence), and what other sources say of it instead."""

    by: dict[str, list[str]]
    contested: dict[str, dict[str, Any]]


def heard(
    before: Voices, source: str, confidence: str, facts: Mapping[str, Any], standing: Mapping[str, Any]
) -> Voices:
    """Return whose word everything is once a source has said some facts. `standing` is what held before, flat."""
    by, contested = dict(before.by), dict(before.contested)
    word = [source, confidence]
    base = by.setdefault(BASE, word)
    settles = source == COMMAND or source.startswith(_DRIFT)
    for fact, value in facts.items():
        if fact in _UNHEARD:
            continue
        was, held = by.get(fact, base), standing.get(fact)
        claims = {} if settles else {name: said for name, said in contested.get(fact, {}).items() if name != source}
        if not settles and held not in _EMPTY and was[0] != source and _outweighs(was, confidence):
            claims[was[0]] = held
        claims = {name: said for name, said in claims.items() if said != value}
        if claims and value not in _EMPTY:
            contested[fact] = claims
        else:
            contested.pop(fact, None)
        if word == base:
            by.pop(fact, None)
        else:
            by[fact] = word
    by[BASE] = base
    return Voices(by, contested)


def _outweighs(was: list[str], confidence: str) -> bool:
    """Tell whether a word still counts beside a later one: what somebody declares is right against what was found."""
    return WEIGHT[was[1]] >= WEIGHT[confidence]
