"""What of an import's words holds, and what is noted as said otherwise: see `voices`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from quarterdeck_domain.estate.declaration import Declaration
from quarterdeck_domain.estate.drift import DIGEST, PINNED, PINNED_PARTS
from quarterdeck_domain.estate.imports import COMPARED, GONE
from quarterdeck_domain.estate.standing import Standing, same
from quarterdeck_domain.estate.voices import Voices

_MEASURED: Final = COMPARED | {PINNED, PINNED_PARTS}


def holding_of(
    wanted: Declaration, standing: Standing, name: str, facts: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return which facts hold that a declaration says of an object; and which of an import's are another's word, and
    so are claims that are news: None where it says so no longer."""
    before = standing.facts.get(name)
    if wanted.confidence == "declared" or before is None:
        return dict(facts), {}
    voices = standing.voices.get(name, Voices())
    told = _told_before(wanted, standing, name, facts)
    holds: dict[str, Any] = {}
    claims: dict[str, Any] = {}
    for field, value in facts.items():
        held = before.get(field)
        if field in _MEASURED or not _others(voices, before, field, wanted):
            if field not in told:
                holds[field] = value
        elif same(held, value) or same(None, value):
            if wanted.source in voices.contested.get(field, {}):
                claims[field] = None
        elif not same(voices.heard_before(field, wanted.source), value):
            claims[field] = value
    return holds, claims


def _others(voices: Voices, before: Mapping[str, Any], field: str, wanted: Declaration) -> bool:
    """Tell whether a fact is the word of somebody else. A source that offers the object no longer has none."""
    if voices.of_source(field, before.get(GONE)):
        return False
    return voices.others(field, before.get(field), wanted.source, wanted.confidence)


def _told_before(wanted: Declaration, standing: Standing, name: str, facts: Mapping[str, Any]) -> frozenset[str]:
    """Return what of the digest is known to be this import's. Where two find different things, each is heard once, and
    then what the one finds that the object came from first: else they would undo each other's for ever."""
    before, contested = standing.facts[name], standing.voices.get(name, Voices()).contested
    if standing.offered_by.get(name) == wanted.source or same(before.get(DIGEST), facts.get(DIGEST)):
        return frozenset()
    said = contested.get(DIGEST, {})
    known = wanted.source in said and same(said[wanted.source], facts.get(DIGEST))
    return COMPARED if known else frozenset()
