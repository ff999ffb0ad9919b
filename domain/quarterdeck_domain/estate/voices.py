"""Whose word each fact of an object is, and what others say of it instead: the last writer does not win.

What a person says, by command or in a file, holds until a person says otherwise or takes it back by unsetting it; and
what an import says holds beside other imports, until it says otherwise itself. Whoever says something else is heard
once: that is a claim, it changes nothing, and the fact is contested. What a person says by command settles that; what
was settled is not raised again. What is measured (a digest) is not a matter of words: it is held against a pin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

COMMAND: Final = "command"
"""The source of what people say by command."""
BASE: Final = ""
"""The key of the word that all facts are which have none of their own: that of whoever registered the object."""
DECLARED: Final = "declared"
"""The confidence of what people say."""
WEIGHT: Final[Mapping[str, int]] = {"observed": 0, "imported": 1, DECLARED: 2}
"""How much a word counts beside another, by its confidence."""
_DRIFT: Final = "drift drf_"
_UNHEARD: Final = frozenset(
    {"lifecycle", "attributes.pinned", "attributes.pinned_parts", "attributes.parts", "attributes.cautions"}
)
"""Facts that commands and importers keep for themselves: nobody disagrees about them."""
_EMPTY: Final[tuple[Any, ...]] = (None, [], (), {}, "")
_SETTLED: Final = "/settled"
_RELEASED: Final = "/released"
_REMEMBERED: Final = frozenset({_SETTLED, _RELEASED})


class Voices(NamedTuple):
    """By fact: whose word it is (source and confidence), what other sources say of it instead, and what of that a
    person has heard and settled. `released` is the digest that it had when somebody released it last."""

    by: Mapping[str, list[str]] = {}
    contested: Mapping[str, Mapping[str, Any]] = {}
    settled: Mapping[str, Mapping[str, Any]] = {}
    released: str | None = None

    def others(self, fact: str, held: Any, source: str, confidence: str) -> bool:
        """Tell whether a fact is the word of somebody else, beside which a source says nothing new. `held` is what
        holds: where nobody has said anything, anybody may."""
        word = self.by.get(fact)
        if word is None:
            word = self.by.get(BASE) if held not in _EMPTY else None
        if word is None or (word[0] == source and word[1] != DECLARED):
            return False
        return WEIGHT[word[1]] >= WEIGHT[confidence]

    def of_source(self, fact: str, source: Any) -> bool:
        """Tell whether a fact is the word of an import, or of a trace."""
        word = self.by.get(fact) or self.by.get(BASE) or ("", "")
        return word[0] == source and word[1] != DECLARED

    def of_people(self, fact: str) -> bool:
        """Tell whether a fact is a person's word, or nobody's that could be another's."""
        return fact in _UNHEARD or (self.by.get(fact) or self.by.get(BASE) or ("", ""))[1] == DECLARED

    def heard_before(self, fact: str, source: str) -> Any:
        """Return what a source is known to say of a fact than what holds; None: nothing."""
        for known in (self.contested, self.settled):
            if source in known.get(fact, {}):
                return known[fact][source]
        return None


def kept(voices: Voices) -> dict[str, Any]:
    """Return all but what is contested as one mapping, as it is kept."""
    found: dict[str, Any] = dict(voices.by)
    if voices.settled:
        found[_SETTLED] = voices.settled
    if voices.released is not None:
        found[_RELEASED] = voices.released
    return found


def read(found: Mapping[str, Any], contested: Mapping[str, Mapping[str, Any]]) -> Voices:
    """Return what was kept, with what is contested."""
    return Voices(words(found), contested, found.get(_SETTLED, {}), found.get(_RELEASED))


def words(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return whose word each fact is, of what was kept: without what is remembered for later imports, and says nothing
    of the object."""
    return {fact: word for fact, word in found.items() if fact not in _REMEMBERED}


def heard(
    before: Voices,
    source: str,
    confidence: str,
    facts: Mapping[str, Any],
    standing: Mapping[str, Any],
    claims: Mapping[str, Any] = {},
    *,
    dated: bool = False,
) -> Voices:
    """Return whose word everything is once a source has said some facts. `standing` is what held before, flat; `claims`
    are what it says otherwise than others and what does not hold, None where it does so no longer. What is `dated` may
    not hold yet, and is its word from now on."""
    by, contested, settled = dict(before.by), dict(before.contested), dict(before.settled)
    word = [source, confidence]
    base = by.setdefault(BASE, word)
    settles = confidence == DECLARED and (source == COMMAND or source.startswith(_DRIFT))
    for fact, value in facts.items():
        if fact in _UNHEARD:
            continue
        was, held, told = by.get(fact, base), standing.get(fact), contested.get(fact, {})
        said = {} if settles else {name: item for name, item in told.items() if name != source}
        if not settles and held not in _EMPTY and was[0] != source and WEIGHT[was[1]] >= WEIGHT[confidence]:
            said[was[0]] = held
        _put(contested, fact, {} if value in _EMPTY else {n: item for n, item in said.items() if item != value})
        known = {**settled.get(fact, {}), **told} if settles else settled.get(fact, {})
        _put(settled, fact, {} if value in _EMPTY else {n: item for n, item in known.items() if item != value})
        if value in _EMPTY or (word == base and not dated):
            by.pop(fact, None)
        else:
            by[fact] = word
    for fact, value in claims.items():
        others = {name: item for name, item in contested.get(fact, {}).items() if name != source}
        _put(contested, fact, others if value is None else others | {source: value})
    by[BASE] = base
    return Voices(by, contested, settled, before.released)


def _put(found: dict[str, Mapping[str, Any]], fact: str, said: Mapping[str, Any]) -> None:
    if said:
        found[fact] = said
    else:
        found.pop(fact, None)
