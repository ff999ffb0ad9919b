"""What a declarative file says, and how it is read. An importer makes the same of what it found.

A file says what should be true of the objects it names. A fact that it does not mention is left alone, `null` unsets
one. For each type of relation that an object lists, the list is the whole of its declared relations of that type. Of
what is deprecated it may say `successor` and `sunset`, the last day.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from quarterdeck_domain import canonical
from quarterdeck_domain.checks import legible, line, optional_line, prose
from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.estate.relations import RELATION_TYPES, check_relation
from quarterdeck_domain.estate.secrets import refuse_secrets
from quarterdeck_domain.estate.values import Confidence, check_facts, check_validity, flat, split

MAX_ASSETS: Final = 50_000
MAX_RELATIONS: Final = 200_000
MAX_PROBLEMS: Final = 20
MAX_DIGESTED: Final = 256 * 2**20

_MEMBERS: Final = frozenset({"version", "source", "assets", "valid_from"})


class Link(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The other end of a relation, as a file gives it where the name alone does not say enough."""

    to: str
    environment: str | None = None
    evidence: str = ""


class Ending(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What takes the place of something deprecated, and its last day, as far as that is said."""

    successor: str | None = None
    sunset: datetime | None = None

    def told(self) -> dict[str, str]:
        """Return it as files and bills have it."""
        said = {} if self.successor is None else {"successor": self.successor}
        return said if self.sunset is None else said | {"sunset": self.sunset.astimezone(UTC).isoformat()}


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says of one object: its facts, flat (None unsets), and its relations by type. `first` are facts that
    an importer says only where nobody has said them yet: first guesses that people correct, and pins. `ending` goes
    with the lifecycle `deprecated`."""

    facts: dict[str, Any]
    relations: dict[str, tuple[Link, ...]] = {}
    first: dict[str, Any] = {}
    ending: Ending = Ending()


class Declaration(msgspec.Struct, frozen=True, kw_only=True):
    """A whole file, or what an importer found. `on_drift` says what becomes of an object that is not as pinned.
    `valid_from` says since when there is what it registers and relates, where that is not from now on."""

    source: str
    assets: dict[str, Entry]
    valid_from: datetime | None = None
    confidence: Confidence = "declared"
    on_drift: Literal["note", "quarantine"] = "note"
    whole: bool = False
    """Whether it is all that its source says: what came from there and is not in it is gone from there."""
    placed: bool = False
    """Whether an import says where everything runs, nowhere in particular too; else that stays as it said before."""


def read_declaration(document: Any) -> Declaration:
    """Return a file's contents, checked. Everything wrong with it is said at once, up to `MAX_PROBLEMS`.

    Raises:
        InvalidInput: it is not what a file may say; `problems` says where and what would be right.
    """
    if not isinstance(document, dict):
        raise InvalidInput("an estate file is a mapping with `version`, `source` and `assets`")
    unknown = sorted(legible(str(name), limit=80) for name in set(document) - _MEMBERS)
    if unknown or type(document.get("version")) is not int or document["version"] != 1:
        raise InvalidInput(
            "an estate file has `version: 1`, `source` and `assets`, maybe `valid_from`, and nothing else",
            unknown=unknown,
        )
    source, assets = document.get("source"), document.get("assets")
    if not isinstance(source, str) or not isinstance(assets, dict):
        raise InvalidInput("`source` names who says this, and `assets` is a mapping from kind:name to what is true")
    line(source, "source", limit=120)
    if len(assets) > MAX_ASSETS:
        raise InvalidInput(f"a file has at most {MAX_ASSETS} objects, not {len(assets)}", limit=MAX_ASSETS)
    entries: dict[str, Entry] = {}
    problems: list[str] = []
    for name, said in assets.items():
        try:
            entries[name] = _entry(name, said)
        except InvalidInput as error:
            problems.append(f"{legible(str(name), limit=80)}: {error.message}")
            if len(problems) == MAX_PROBLEMS:
                break
    if problems:
        raise InvalidInput(f"{problems[0]}" if len(problems) == 1 else f"{len(problems)} problems", problems=problems)
    if sum(len(links) for entry in entries.values() for links in entry.relations.values()) > MAX_RELATIONS:
        raise InvalidInput(f"a file has at most {MAX_RELATIONS} relations", limit=MAX_RELATIONS)
    return Declaration(source=source, assets=entries, valid_from=_since(document.get("valid_from")))


def _since(said: Any) -> datetime | None:
    begins = _moment(said, "valid_from")
    check_validity(begins, None)
    return begins


def _moment(said: Any, field: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(said) if isinstance(said, str) else said
    except ValueError:
        found = said
    if found is not None and not isinstance(found, datetime):
        raise InvalidInput(f"`{field}` is a moment: write it like 2026-01-31T12:00:00Z", field=field)
    if found is not None and found.tzinfo is None:
        raise InvalidInput(f"{field} has no time zone: write it like 2026-01-31T12:00:00Z", field=field)
    return found


def _entry(name: Any, said: Any) -> Entry:
    if not isinstance(name, str):
        raise InvalidInput("an object is named by text, kind:name")
    kind = split(name).kind
    refuse_secrets(name, "the name")
    if said is None:
        said = {}
    if not isinstance(said, dict) or not all(isinstance(key, str) for key in said):
        raise InvalidInput("what is said of an object is a mapping")
    ending = _ending(name, said)
    given = {key: value for key, value in said.items() if key not in {"relations", "successor", "sunset"}}
    attributes = given.get("attributes")
    unset: dict[str, None] = {key: None for key, value in given.items() if value is None}
    given = {key: value for key, value in given.items() if value is not None}
    if isinstance(attributes, dict):
        unset |= {f"attributes.{key}": None for key, value in attributes.items() if value is None}
        given["attributes"] = {key: value for key, value in attributes.items() if value is not None}
    checked = check_facts(kind, given)
    if unset.keys() & {"lifecycle"}:
        raise InvalidInput("lifecycle has always a value")
    if ending != Ending() and checked.lifecycle != "deprecated":
        raise InvalidInput("what has a `successor` or a `sunset` is on its way out: say `lifecycle: deprecated`")
    facts = unset | flat(given, checked)
    return Entry(facts=facts, relations=_links(kind, said.get("relations")), ending=ending)


def _ending(name: str, said: Mapping[str, Any]) -> Ending:
    successor, sunset = said.get("successor"), _moment(said.get("sunset"), "sunset")
    if successor is not None:
        if not isinstance(successor, str) or successor == name:
            raise InvalidInput("`successor` names what takes its place, kind:name: another object")
        split(successor)
    check_validity(sunset, None)
    return Ending(successor=successor, sunset=sunset)


def _links(kind: str, said: Any) -> dict[str, tuple[Link, ...]]:
    if said is None:
        return {}
    if not isinstance(said, dict):
        raise InvalidInput("`relations` is a mapping from a type of relation to a list of objects")
    found: dict[str, tuple[Link, ...]] = {}
    for relation, targets in said.items():
        if not isinstance(relation, str) or not isinstance(targets, list):
            raise InvalidInput(f"what {legible(str(relation), limit=60)} leads to is a list")
        if relation not in RELATION_TYPES:
            raise InvalidInput(
                f"there is no relation {relation[:60]!r}", relation=relation, known=sorted(RELATION_TYPES)
            )
        links: dict[str, Link] = {}
        for target in targets:
            link = _link(target)
            check_relation(kind, relation, split(link.to).kind)
            if link.to in links:
                raise InvalidInput(f"{relation} leads to {link.to} twice")
            links[link.to] = link
        found[relation] = tuple(links.values())
    return found


def _link(target: Any) -> Link:
    if isinstance(target, str):
        return Link(to=target)
    try:
        link = msgspec.convert(target, Link)
    except msgspec.ValidationError as error:
        raise InvalidInput(
            f"an end of a relation is kind:name, or a mapping with `to`: {legible(str(error))}"
        ) from None
    optional_line(link.environment or "", "environment", limit=60)
    refuse_secrets(prose(link.evidence, "evidence", limit=500) or "", "evidence")
    return link


def digest_of(said: object) -> str:
    """Return the digest of a declaration or of a plan's steps, however long."""
    return canonical.digest(msgspec.to_builtins(said), max_bytes=MAX_DIGESTED)
