"""What an importer read on another machine, as a document: written where it was read, read where it is applied.

An estate file says what should be; this says what was found, so it keeps what makes the difference: that it is
imported, what holds only where nobody has said anything (`first`: guesses and pins), and what becomes of what is not as
pinned.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from quarterdeck_connectors.draft import MAX_NOTES, Imported, line
from quarterdeck_connectors.errors import UnreadableSource
from quarterdeck_connectors.files import MAX_ESTATE_BYTES, read_document
from quarterdeck_connectors.reading import Bounds
from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.estate.declaration import Entry, read_declaration
from quarterdeck_domain.estate.values import check_facts, flat, nested, split

_MEMBERS: Final = frozenset({"version", "source", "assets", "first", "on_drift", "whole", "notes"})


def write_imported(found: Imported, *, whole: bool = False) -> bytes:
    """Return what was found as a document. `whole` says that it is all that its source has.

    Raises:
        InvalidInput: it was declared and not imported: that is an estate file.
    """
    said = found.declaration
    if said.confidence != "imported":
        raise InvalidInput("only what was imported is written so; what is declared is an estate file")
    document = {
        "version": 1,
        "source": said.source,
        "on_drift": said.on_drift,
        "whole": whole or said.whole,
        "assets": {name: _entry(entry) for name, entry in said.assets.items()},
        "first": {name: nested(entry.first) for name, entry in said.assets.items() if entry.first},
        "notes": list(found.notes),
    }
    return json.dumps(msgspec.to_builtins(document)).encode()


def read_imported(data: bytes, source: str) -> Imported:
    """Return what was found. The document names its source itself.

    Raises:
        UnreadableSource: it is no such document; says where.
        InvalidInput: what it says cannot be said of these objects; `problems` says where.
    """
    del source
    document = read_document(data, "the import", form="json", bounds=Bounds(size=MAX_ESTATE_BYTES))
    if not isinstance(document, dict) or set(document) - _MEMBERS:
        raise UnreadableSource(f"an import is a mapping, and has nothing else than {', '.join(sorted(_MEMBERS))}")
    first, notes, on_drift = document.get("first", {}), document.get("notes", []), document.get("on_drift", "note")
    whole = document.get("whole", False)
    if not isinstance(first, dict) or not isinstance(notes, list) or on_drift not in ("note", "quarantine"):
        raise UnreadableSource("`first` is a mapping, `notes` a list, and `on_drift` is note or quarantine")
    if not isinstance(whole, bool):
        raise UnreadableSource("`whole` is true or false")
    read = read_declaration({name: document.get(name) for name in ("version", "source", "assets")})
    if strange := sorted(first.keys() - read.assets.keys()):
        raise UnreadableSource(f"`first` speaks of {line(strange[0])}, which is not among `assets`")
    entries = {name: _with_first(name, entry, first.get(name)) for name, entry in read.assets.items()}
    declaration = msgspec.structs.replace(read, assets=entries, confidence="imported", on_drift=on_drift, whole=whole)
    return Imported(declaration=declaration, notes=tuple(line(note) for note in notes[:MAX_NOTES]))


def _with_first(name: str, entry: Entry, said: object) -> Entry:
    if said is None:
        return entry
    if not isinstance(said, dict):
        raise UnreadableSource(f"`first` of {name} is a mapping")
    return msgspec.structs.replace(entry, first=flat(said, check_facts(split(name).kind, said)))


def _entry(entry: Entry) -> Mapping[str, Any]:
    relations = {name: list(links) for name, links in entry.relations.items()}
    return nested(entry.facts) | entry.ending.told() | ({"relations": relations} if relations else {})
