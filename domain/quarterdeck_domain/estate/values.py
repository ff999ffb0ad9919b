"""Values of the estate: how an object is named, what is said of it, and which of several dated facts holds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec

from quarterdeck_domain.canonical import MAX_INTEGER
from quarterdeck_domain.checks import in_utc, legible, optional_line, prose
from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.estate.kinds import KINDS, Kind
from quarterdeck_domain.estate.secrets import refuse_secrets

Lifecycle = Literal["draft", "live", "deprecated", "quarantined", "retired"]
Confidence = Literal["declared", "imported", "observed"]
Classification = Literal["public", "internal", "confidential", "restricted"]
Level = Literal["low", "moderate", "high", "critical"]
Evidence = Annotated[str, msgspec.Meta(max_length=500)]

MAX_NAME: Final = 200
MAX_TEXT: Final = 2_000
LIVE: Final[frozenset[str]] = frozenset({"live", "deprecated"})
"""The states in which an object takes part in what the estate does."""
_NAME: Final = re.compile(r"[!-~]{1,200}")
_PERSON: Final = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+")


class Facts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What every object carries, whatever its kind. None or empty: nobody has said."""

    title: str | None = None
    """How people call it, where that differs from its name."""
    description: str | None = None
    owner: str | None = None
    """Who answers for it: the id of a principal, or a role or rota. Never a person's name or address."""
    team: str | None = None
    purpose: str | None = None
    environments: Annotated[tuple[str, ...], msgspec.Meta(max_length=20)] = ()
    classification: Classification | None = None
    risk: Level | None = None
    policy_class: str | None = None
    tier: Annotated[int, msgspec.Meta(ge=1, le=4)] | None = None
    """Criticality: tier 1 is what the business does not run without."""
    lifecycle: Lifecycle = "live"
    attributes: dict[str, Any] = {}
    """What its kind alone has; see `kinds`."""


FIELDS: Final = tuple(field for field in Facts.__struct_fields__ if field != "attributes")


class Name(NamedTuple):
    """What `kind:name` says."""

    kind: str
    name: str


def split(asset: str) -> Name:
    """Return the kind and the name of an object's id, such as `agent:support-bot`.

    Raises:
        InvalidInput: it is not one, or its kind is not known.
    """
    kind, colon, name = asset.partition(":")
    if not colon or kind not in KINDS:
        raise InvalidInput(
            f"{asset[:80]!r} does not name an object of the estate", expected="kind:name", kinds=sorted(KINDS)
        )
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"the name in {asset[:80]!r} is not 1 to {MAX_NAME} visible ASCII characters without spaces",
            expected="kind:name; what people call it goes into `title`",
        )
    return Name(kind, name)


def check_facts(kind: str, given: Mapping[str, Any]) -> Facts:
    """Return what is said of an object, checked against what its kind can have.

    Raises:
        InvalidInput: an unknown field or attribute, a value that does not fit, a character that deceives, or something
            that looks like a person's address or a secret; the message says where.
    """
    try:
        facts = msgspec.convert(dict(given), Facts)
        msgspec.convert(facts.attributes, KINDS[kind])
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{kind}: {legible(str(error))}", kind=kind, attributes=_attributes(kind)) from None
    for field in ("title", "owner", "team", "purpose", "policy_class"):
        value = getattr(facts, field)
        if value is not None:
            optional_line(value, field)
            refuse_secrets(value, field)
    refuse_secrets(prose(facts.description, "description", limit=MAX_TEXT) or "", "description")
    for name in facts.environments:
        optional_line(name, "environments", limit=60)
    for field in ("owner", "team"):
        if _PERSON.search(getattr(facts, field) or ""):
            raise InvalidInput(
                f"{field} looks like somebody's address, and what is recorded here stays: name a principal (prn_…), a "
                "role or a team",
                field=field,
            )
    for value in _texts(facts.attributes):
        prose(value, "attributes", limit=MAX_TEXT)
        refuse_secrets(value, "attributes")
    return facts


def check_changes(kind: str, set_: Mapping[str, Any], unset: Iterable[str]) -> dict[str, Any]:
    """Return changed facts by name, attributes as `attributes.<name>`; what is unset is None.

    Raises:
        InvalidInput: as `check_facts`; or a name both set and unset, or nothing at all.
    """
    facts = check_facts(kind, set_)
    changes = flat(set_, facts)
    known = {*FIELDS, *(f"attributes.{name}" for name in _attributes(kind))}
    for name in unset:
        if name not in known:
            raise InvalidInput(f"there is nothing called {name[:80]!r} to unset", known=sorted(known))
        if name in changes or name == "lifecycle":
            raise InvalidInput(
                f"{name} is set and unset at once" if name in changes else "lifecycle has always a value"
            )
        changes[name] = None
    if not changes:
        raise InvalidInput("nothing is changed: give `set` or `unset`")
    return changes


def flat(given: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    """Return facts as a flat mapping, as they are recorded: only what was given, attributes by their own names."""
    named = {name: _as_json(getattr(facts, name)) for name in given if name != "attributes"}
    return named | {f"attributes.{name}": value for name, value in facts.attributes.items()}


def _as_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def nested(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `flat` made flat, nested again."""
    attributes = {
        name.removeprefix("attributes."): value for name, value in changes.items() if name.startswith("attributes.")
    }
    fields = {name: value for name, value in changes.items() if not name.startswith("attributes.")}
    return fields | ({"attributes": attributes} if attributes else {})


class Dated(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Some facts and when they hold: from a moment on, until another or for ever; recorded at a position."""

    position: int
    begins: datetime
    ends: datetime | None = None
    facts: dict[str, Any]

    def covers(self, moment: datetime) -> bool:
        """Tell whether it holds at a moment."""
        return self.begins <= moment and (self.ends is None or moment < self.ends)


def holding(dated: Iterable[Dated], moment: datetime) -> dict[str, Any]:
    """Return which facts hold at a moment: of several that cover it, the one that took effect last, and of those the
    one recorded last."""
    best: dict[str, tuple[tuple[datetime, int], Any]] = {}
    for item in dated:
        if item.covers(moment):
            rank = (item.begins, item.position)
            for name, value in item.facts.items():
                if name not in best or best[name][0] < rank:
                    best[name] = (rank, value)
    return {name: value for name, (_, value) in best.items()}


def check_validity(begins: datetime | None, ends: datetime | None) -> None:
    """Let pass a time from which and a time until which something holds.

    Raises:
        InvalidInput: without a time zone, outside of the years that there are, or the second is not after the first.
    """
    for name, moment in (("valid_from", begins), ("valid_to", ends)):
        if moment is not None and moment.tzinfo is None:
            raise InvalidInput(f"{name} has no time zone: write it like 2026-01-31T12:00:00Z", field=name)
        if moment is not None:
            in_utc(moment, name)
    if begins is not None and ends is not None and ends <= begins:
        raise InvalidInput("valid_to is not after valid_from", field="valid_to")


def check_not_over(begins: datetime | None, ends: datetime | None, now: datetime) -> None:
    """Let pass what holds at some time: what is said to hold from now on ends later than now.

    Raises:
        InvalidInput: its end is past, and nothing says since when it held.
    """
    if begins is None and ends is not None and ends <= now:
        raise InvalidInput("valid_to is past: give valid_from as well, since when it held", field="valid_from")


def relation_id(source: str, relation: str, target: str) -> str:
    """Return the id of a relation: how it reads. No name has a space in it."""
    return f"{source} {relation} {target}"


def _attributes(kind: str) -> list[str]:
    return [field for field in KINDS[kind].__struct_fields__ if KINDS[kind] is not Kind]


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise InvalidInput("a number is beyond what JSON holds exactly")
