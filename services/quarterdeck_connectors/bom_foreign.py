"""Objects and dependencies of bills that others made: which kinds they are here, and which relation an untyped
dependency between two kinds is.

What an estate has no kind for (libraries, containers, files) is left out; where it stands between two things that are
kept, the dependency is carried through it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from quarterdeck_connectors.draft import Draft, block, line
from quarterdeck_connectors.errors import UnreadableSource
from quarterdeck_domain.checks import legible
from quarterdeck_domain.estate.kinds import KINDS
from quarterdeck_domain.estate.naming import name_of
from quarterdeck_domain.estate.relations import RELATION_TYPES
from quarterdeck_domain.estate.values import split

MAX_STEPS: Final = 2_000_000
"""How many dependencies are followed through what is left out, in all."""
_CALLED: Final = frozenset({"tool", "mcp_server"}) | {kind for kind, found in KINDS.items() if found.acts}
_LEVELS: Final = frozenset({"public", "internal", "confidential", "restricted"})


class Found(msgspec.Struct, kw_only=True):
    """What somebody else's bill says of one thing, in our words; None or empty if it says nothing."""

    name: str
    version: str = ""
    title: str = ""
    description: str = ""
    purpose: str = ""
    classification: str = ""
    owner: str = ""
    attributes: dict[str, Any] = {}
    labels: dict[str, str] = {}
    """What we have no word for."""
    digest: str = ""


class Foreign:
    """The things of one bill by their references, and what depends on what."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.assets: dict[str, str | None] = {}
        """The object of each reference; None if it is left out."""
        self.own: set[str] = set()
        """References of objects that were written by us, whose relations are said elsewhere."""
        self.out: dict[str, list[str]] = {}
        self._names: dict[tuple[str, str], dict[str, str]] = {}
        self._left: dict[str, int] = {}

    def refer(self, ref: str, asset: str | None) -> None:
        """Say what a reference stands for.

        Raises:
            UnreadableSource: it stands for something already.
        """
        if ref in self.assets:
            raise UnreadableSource(f"two things are called {legible(ref, limit=120)!r}: a reference names one")
        self.assets[ref] = asset

    def leave_out(self, what: str) -> None:
        """Count something for which an estate has no kind."""
        what = line(what, limit=60) or "nothing"
        if what in self._left or len(self._left) < 50:
            self._left[what] = self._left.get(what, 0) + 1

    def depend(self, source: str, target: str) -> None:
        """Say that one reference depends on another."""
        self.out.setdefault(source, []).append(target)

    def model(self, found: Found) -> str:
        """Add a model, and the version of it if the bill says which; return what others depend on."""
        plain = msgspec.structs.replace(found, digest="", version="")
        model = self.draft.add("model", found.name, *self._facts("model", plain))
        if not found.version and not found.digest:
            return model
        called = f"{found.name}@{found.version or found.digest}"
        attributes = {"pin": line(found.version), "digest": found.digest}
        title = line(called) if called != name_of(called) else None
        version = self.draft.add("model_version", called, {"title": title}, attributes)
        self.draft.relate(version, "version_of", model)
        return version

    def add(self, kind: str, found: Found) -> str:
        """Add an object of another kind; another version of the same is another object."""
        named = self._names.setdefault((kind, found.name), {})
        called = named.get(found.version)
        if called is None:
            called = named[found.version] = f"{found.name}@{found.version}" if named else found.name
        return self.draft.add(kind, called, *self._facts(kind, found))

    def relate(self) -> None:
        """Relate everything as it depends on each other.

        Raises:
            UnreadableSource: it is too entangled to be followed.
        """
        dangling = {ref for targets in self.out.values() for ref in targets} | self.out.keys()
        for ref in sorted(dangling - self.assets.keys()):
            self.draft.note(f"{legible(ref, limit=120)!r} is depended on or depends, and is not in this file")
        steps = 0
        for ref, asset in self.assets.items():
            if asset is None or ref in self.own:
                continue
            seen, waiting = {ref}, list(self.out.get(ref, ()))
            while waiting:
                there = waiting.pop()
                steps += 1
                if steps > MAX_STEPS:
                    raise UnreadableSource("what depends on what in this file is too entangled", limit=MAX_STEPS)
                if there in seen:
                    continue
                seen.add(there)
                target = self.assets.get(there)
                if target is not None:
                    self._relate(asset, target)
                elif there in self.assets:
                    waiting += self.out.get(there, ())
        for what, count in sorted(self._left.items()):
            self.draft.note(f"{count} x {what}: an estate has no such kind, left out")

    def _relate(self, source: str, target: str) -> None:
        relation = relation_between(split(source).kind, split(target).kind)
        if relation is not None:
            self.draft.relate(source, relation, target)
        elif source != target:
            self.draft.note(f"{source} depends on {target}: there is no relation between such, left out")

    def _facts(self, kind: str, found: Found) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        known, labels = KINDS[kind].__struct_fields__, dict(found.labels)
        attributes = dict(found.attributes)
        for field, value in (("version", line(found.version)), ("digest", found.digest)):
            if value:
                (attributes if field in known else labels)[field] = value
        level = found.classification.strip().lower()
        if level not in _LEVELS and level:
            labels["classification"] = line(found.classification)
        owner = line(found.owner, limit=200)
        facts = {
            "title": line(title) if (title := found.title or found.name) != name_of(found.name) else None,
            "description": block(found.description),
            "purpose": line(found.purpose),
            "classification": level if level in _LEVELS else None,
            "owner": None if "@" in owner else owner,
        }
        kept = {field: value for field, value in attributes.items() if field in known and value}
        labels |= {field: line(value) for field, value in attributes.items() if field not in known and value}
        said = {_key(key): line(value) for key, value in sorted(labels.items())[:50]}
        said = {key: value for key, value in said.items() if key and value}
        return facts, kept | ({"labels": said} if said else {})


def relation_between(source: str, target: str) -> str | None:
    """Return what a dependency of one kind on another is called here, or None if there is nothing of the sort."""
    order: tuple[str, ...] = ("exposes",) if source == "mcp_server" else ("calls",) if target in _CALLED else ()
    for relation in (*order, "reads", "derived_from", "uses", "calls"):
        found = RELATION_TYPES[relation]
        if source in found.sources and target in found.targets:
            return relation
    return None


def _key(called: str) -> str:
    # The names of labels are ASCII; what is not gets a name of its own, as objects do.
    plain = line(called, limit=100).strip()
    return plain if plain and plain.isascii() else name_of(called)[:100]
