"""A declaration in the making: what importers say of objects, made fit to be recorded.

Importers read what strangers wrote. Text is cut and made legible here, it loses what may be a secret, and so do
addresses; names are made in one way, what had to be called otherwise keeps its own name as title, and what could not be
taken over is noted, so that an importer cannot forget it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import msgspec

from quarterdeck_connectors.errors import UnreadableSource
from quarterdeck_domain.checks import legible
from quarterdeck_domain.estate.declaration import MAX_ASSETS, MAX_RELATIONS, Declaration, Entry, read_declaration
from quarterdeck_domain.estate.naming import name_of
from quarterdeck_domain.estate.secrets import without_secrets
from quarterdeck_domain.estate.values import MAX_TEXT, Confidence, check_facts, flat

MAX_NOTES: Final = 200
MAX_LINE: Final = 300
MAX_LISTED: Final = 200
MAX_ADDRESS: Final = 2_000
_SECRET_SHAPE: Final = re.compile(r"\b(sk|pk|rk|xox[abprs]|gh[pousr]|hf|AKIA|eyJ)[-_A-Za-z0-9.]{8,}")


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What a source declares, and what of it was not taken over, and why."""

    declaration: Declaration
    notes: tuple[str, ...] = ()


class Draft:
    """Objects and relations, collected."""

    def __init__(self, source: str) -> None:
        """`source` names who says this; see `Declaration`."""
        self.source = line(source, limit=120)
        self._assets: dict[str, dict[str, Any]] = {}
        self._first: dict[str, dict[str, Any]] = {}
        self._called: dict[str, str] = {}
        self._links: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
        self._notes: list[str] = []
        self._relations = 0

    def add(
        self,
        kind: str,
        called: str,
        facts: Mapping[str, Any] | None = None,
        attributes: Mapping[str, Any] | None = None,
        first: Mapping[str, Any] | None = None,
    ) -> str:
        """Say something of an object and return its id. Said twice, what was said first holds, and gaps are filled.
        What is None or empty text is not said. `first` are attributes that hold only where nobody has said them yet;
        so does the title that is made of what it is called, where its name cannot say that.

        Raises:
            UnreadableSource: something else has this name already, or there are too many objects.
        """
        asset = f"{kind}:{name_of(called)}"
        before = self._called.setdefault(asset, called)
        if before != called:
            raise UnreadableSource(
                f"{legible(before, limit=80)!r} and {legible(called, limit=80)!r} would both be called {asset}: "
                "rename one of them",
                asset=asset,
            )
        if len(self._called) > MAX_ASSETS:
            raise UnreadableSource(f"there are more than {MAX_ASSETS} objects in it", limit=MAX_ASSETS)
        said = self._assets.setdefault(asset, {})
        for field, value in (facts or {}).items():
            if value is not None and value != "":
                said.setdefault(field, value)
        for field, value in (attributes or {}).items():
            if value is not None and value != "":
                said.setdefault("attributes", {}).setdefault(field, value)
        for field, value in (first or {}).items():
            if value is not None and value != "":
                self._first.setdefault(asset, {}).setdefault(field, value)
        return asset

    def lists(self, source: str, *relations: str) -> None:
        """Say that everything an object is related to in these ways is in this source, even if that is nothing."""
        for relation in relations:
            self._links.setdefault((source, relation), {})

    def relate(self, source: str, relation: str, target: str, *, evidence: str = "") -> None:
        """Say that two objects are related. Said twice, what was said first holds.

        Raises:
            UnreadableSource: there are too many relations.
        """
        links = self._links.setdefault((source, relation), {})
        if target in links or target == source:
            return
        self._relations += 1
        if self._relations > MAX_RELATIONS:
            raise UnreadableSource(f"there are more than {MAX_RELATIONS} relations in it", limit=MAX_RELATIONS)
        links[target] = {"to": target} | ({"evidence": block(evidence, limit=500)} if evidence else {})

    def note(self, text: str) -> None:
        """Say what was not taken over, and why."""
        if len(self._notes) < MAX_NOTES:
            self._notes.append(line(text, limit=400))
        elif len(self._notes) == MAX_NOTES:
            self._notes.append("there is more than is noted here")

    def imported(self, confidence: Confidence = "imported") -> Imported:
        """Return all of it, checked as a file of ours would be.

        Raises:
            InvalidInput: it cannot be said of these objects.
        """
        assets: dict[str, dict[str, Any]] = {name: dict(said) for name, said in self._assets.items()}
        for (source, relation), links in self._links.items():
            listed = assets[source].setdefault("relations", {})
            listed[relation] = [link if len(link) > 1 else link["to"] for link in links.values()]
        read = read_declaration({"version": 1, "source": self.source, "assets": assets})
        entries = {name: self._with_first(name, entry) for name, entry in read.assets.items()}
        return Imported(
            declaration=msgspec.structs.replace(read, assets=entries, confidence=confidence), notes=tuple(self._notes)
        )

    def _with_first(self, name: str, entry: Entry) -> Entry:
        said: dict[str, Any] = {"attributes": self._first[name]} if name in self._first else {}
        called = line(self._called[name])
        if not entry.facts.get("title") and called and called != name.partition(":")[2]:
            said["title"] = called
        if not said:
            return entry
        return msgspec.structs.replace(entry, first=flat(said, check_facts(name.partition(":")[0], said)))


def line(value: object, *, limit: int = MAX_LINE) -> str:
    """Return what somebody wrote as one legible line; empty if it is no text."""
    return legible(without_secrets(" ".join(value[: 4 * limit].split())), limit=limit) if isinstance(value, str) else ""


def block(value: object, *, limit: int = MAX_TEXT) -> str:
    """Return what somebody wrote as legible lines; empty if it is no text."""
    if not isinstance(value, str):
        return ""
    kept = without_secrets(value[: 2 * limit].strip())[:limit]
    text = "\n".join(legible(part, limit=limit) for part in kept.splitlines())
    return text if len(text) <= limit and len(value) <= limit else f"{text[: limit - 1]}…"


def lines(values: object, *, limit: int = MAX_LINE) -> list[str]:
    """Return those members of a list that are text, as legible lines, without repetition and not too many."""
    found = (line(value, limit=limit) for value in values) if isinstance(values, list | tuple) else iter(())
    return list(dict.fromkeys(text for text in found if text))[:MAX_LISTED]


def address(value: object) -> str:
    """Return a URL without what may be a secret: user, password, query, fragment. Empty if it is none, or if a part of
    its path looks like a key."""
    if not isinstance(value, str) or len(value) > MAX_ADDRESS or not value.isascii() or not value.isprintable():
        return ""
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:
        return ""
    if not parts.scheme or not host or " " in value or _SECRET_SHAPE.search(parts.path):
        return ""
    place = f"[{host}]" if ":" in host else host
    return urlunsplit((parts.scheme, f"{place}:{port}" if port else place, parts.path, "", ""))


def mappings(value: object) -> Iterable[tuple[int, Mapping[str, Any]]]:
    """Return the mappings in a list, each with its place counted from 1; nothing if it is no list."""
    for place, item in enumerate(value if isinstance(value, list) else (), 1):
        if isinstance(item, dict):
            yield place, item


def mapping(value: object) -> Mapping[str, Any]:
    """Return a mapping as it is, and anything else as an empty one."""
    return value if isinstance(value, dict) else {}
