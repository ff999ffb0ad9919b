"""What an import said before and says no more: it is unset, so that the map does not go on saying it.

That is so for each object that an import is about, of each fact that is its own word or its own claim beside another's
(see `voices`). What anybody else said stays, and so does what is kept for commands: lifecycle and pins. Where things
run is said of a source by whoever registers it; an import that does not say where leaves that as it was.
"""

from __future__ import annotations

from typing import Final

import msgspec

from quarterdeck_domain.estate.declaration import Declaration, Entry, Link
from quarterdeck_domain.estate.drift import DIGEST, OFFER, PARTS, PINNED, PINNED_PARTS
from quarterdeck_domain.estate.imports import GONE
from quarterdeck_domain.estate.standing import Ends, Standing
from quarterdeck_domain.estate.voices import BASE, Voices

_KEPT: Final = frozenset({"lifecycle", DIGEST, OFFER, PARTS, PINNED, PINNED_PARTS, GONE})
_PLACE: Final = "environments"


def with_unsaid(wanted: Declaration, standing: Standing) -> Declaration:
    """Return an import with what it said before and says no more, unset."""
    if wanted.confidence != "imported":
        return wanted
    assets = {name: _with_unsaid(wanted, standing, name, entry) for name, entry in wanted.assets.items()}
    return msgspec.structs.replace(wanted, assets=assets)


def where_it_was(wanted: Declaration, standing: Standing, link: Link, ends: Ends) -> Link:
    """Return a relation of an import, with the environment that its source said before, unless it says where now."""
    before = standing.relations.get(ends)
    silent = wanted.confidence == "imported" and not wanted.placed and link.environment is None
    if before is None or not silent or not standing.mine(wanted, ends):
        return link
    return msgspec.structs.replace(link, environment=before.environment)


def _with_unsaid(wanted: Declaration, standing: Standing, name: str, entry: Entry) -> Entry:
    voices = standing.voices.get(name)
    if voices is None:
        return entry
    own = {field for field in standing.facts.get(name, ()) if _is_word_of(wanted, voices, field)}
    own |= {field for field, claims in voices.contested.items() if wanted.source in claims}
    own -= entry.facts.keys() | entry.first.keys() | _KEPT | (set() if wanted.placed else {_PLACE})
    return msgspec.structs.replace(entry, facts=dict.fromkeys(sorted(own)) | entry.facts) if own else entry


def _is_word_of(wanted: Declaration, voices: Voices, field: str) -> bool:
    word = voices.by.get(field) or voices.by.get(BASE) or ()
    return (*word,) == (wanted.source, wanted.confidence)
