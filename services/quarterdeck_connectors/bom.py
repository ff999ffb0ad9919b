"""What every bill of materials of an estate has in common, whatever its format: which objects are in it, when it was
true, and how facts and relations are kept as properties in the namespace `quarterdeck:`.

A format's own fields are for those who do not know us and may lose something. What we write there we write from the
properties; when we read a bill of our own, the properties (and the description) say what is true.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, Literal, TypeVar
from uuid import UUID, uuid5

import msgspec
from msgspec import inspect

from quarterdeck_connectors.draft import Draft, Imported
from quarterdeck_connectors.errors import UnreadableSource
from quarterdeck_connectors.files import read_document
from quarterdeck_connectors.reading import Bounds
from quarterdeck_domain.checks import legible
from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.estate.declaration import MAX_ASSETS, Declaration, Entry, read_declaration
from quarterdeck_domain.estate.kinds import KINDS
from quarterdeck_domain.estate.relations import RELATION_TYPES
from quarterdeck_domain.estate.values import Facts, split

NAMESPACE: Final = "quarterdeck:"
RELATION: Final = "relation:"
MAX_BYTES: Final = 64 * 2**20
"""More is refused before it is looked at."""
BOUNDS: Final = Bounds(size=MAX_BYTES, values=5_000_000)
_SERIALS: Final = UUID("6f2d4a3e-5a0f-5d0c-9d5b-2f3f3b0a7c11")
_IRI: Final = re.compile(
    r"[a-z][a-z0-9+.-]*://[A-Za-z0-9.-]+(:[0-9]{1,5})?"
    r"(/(%[0-9A-Fa-f]{2}|[A-Za-z0-9._~!$&'()*+,;=:@/-])*)?"
    r"(\?(%[0-9A-Fa-f]{2}|[A-Za-z0-9._~!$&'()*+,;=:@/?-])*)?"
    r"(#(%[0-9A-Fa-f]{2}|[A-Za-z0-9._~!$&'()*+,;=:@/?-])*)?"
)
_BACKWARDS: Final = frozenset({"drives", "feeds", "exposes", "part_of"})
"""Relations whose target needs the source: what a prompt drives needs the prompt."""

T = TypeVar("T")
Property = tuple[str, str]
Shape = Literal["text", "number", "list", "map"]


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """Of whose estate a bill is made, and as of which moment: together they name the bill."""

    tenant: str
    position: int
    at: datetime
    """When what stands at the position was recorded; with a time zone."""
    moment: datetime | None = None
    """The moment whose facts are in it, as known at the position; None: as they were recorded."""

    def written(self) -> str:
        """Return the moment as bills have it: UTC, whole seconds."""
        return self.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def serial(self, form: str, subject: str | None) -> UUID:
        """Return the id of a bill in one form, of the whole estate or of one object: the same for the same (RFC 9562,
        5.5)."""
        of = f" {self.true_at()}" if self.moment else ""
        return uuid5(_SERIALS, f"{self.tenant} {self.position} {form} {subject or ''}{of}")

    def true_at(self) -> str:
        """Return the moment whose facts are in it, in UTC; empty where they are as they were recorded."""
        return "" if self.moment is None else self.moment.astimezone(UTC).isoformat()


def read_bill(data: bytes, form: type[T], what: str) -> T:
    """Return a bill as far as we read it.

    Raises:
        UnreadableSource: too large, no sound JSON, or a member is not of the type that the standard gives it.
    """
    said = read_document(data, what, form="json", bounds=BOUNDS)
    try:
        return msgspec.convert(said, form)
    except msgspec.ValidationError as error:
        raise UnreadableSource(f"{what}: {legible(str(error), limit=300)}") from None


def billed(document: Mapping[str, Any], root: str | None) -> Declaration:
    """Return the objects of a declarative file that go into a bill: all, or one with everything that it needs.

    Raises:
        InvalidInput: it is no such file, or the one is not in it.
    """
    whole = read_declaration(dict(document))
    if root is None:
        return whole
    split(root)
    if root not in whole.assets:
        raise InvalidInput(f"{root} is not in the estate at that moment", asset=root)
    kept = _needed(whole, root)
    return Declaration(
        source=whole.source, assets={name: entry for name, entry in whole.assets.items() if name in kept}
    )


def _needed(whole: Declaration, root: str) -> set[str]:
    # A tool needs the server that offers it, and who calls the server can call all of its tools: followed both ways.
    out: dict[str, list[str]] = {}
    for source, relation, target in edges(whole):
        if relation not in _BACKWARDS or relation == "exposes" or target.startswith("output_channel:"):
            out.setdefault(source, []).append(target)
        if relation in _BACKWARDS and not target.startswith("output_channel:"):
            out.setdefault(target, []).append(source)
    kept, waiting = {root}, [root]
    while waiting:
        for there in out.get(waiting.pop(), ()):
            if there in whole.assets and there not in kept:
                kept.add(there)
                waiting.append(there)
    return kept


def edges(said: Declaration) -> Iterable[tuple[str, str, str]]:
    """Yield every relation: source, type, target."""
    for source, entry in said.assets.items():
        for relation, links in entry.relations.items():
            for link in links:
                yield source, relation, link.to


def needs(said: Declaration) -> dict[str, list[str]]:
    """Return what each object depends on, among those that are there: where reach or a part leads to it. Controls and
    owners are no dependencies."""
    found: dict[str, set[str]] = {name: set() for name in said.assets}
    for source, relation, target in edges(said):
        if target not in said.assets or RELATION_TYPES[relation].role not in {"reach", "part"}:
            continue
        needing, needed = (target, source) if relation in _BACKWARDS else (source, target)
        found[needing].add(needed)
    return {name: sorted(targets) for name, targets in sorted(found.items())}


def properties(name: str, entry: Entry) -> list[Property]:
    """Return everything that is known of an object, but for its description, as properties. A name may come several
    times: such are lists."""
    found: list[Property] = [(f"{NAMESPACE}id", name)]
    for field, value in sorted(entry.facts.items()):
        if field == "description" or value is None:
            continue
        if isinstance(value, Mapping):
            found += [(f"{NAMESPACE}{field}.{key}", str(item)) for key, item in sorted(value.items())]
        else:
            items = value if isinstance(value, list | tuple) else (value,)
            found += [(f"{NAMESPACE}{field}", str(item)) for item in items]
    found += [(f"{NAMESPACE}{field}", value) for field, value in entry.ending.told().items()]
    for relation, links in sorted(entry.relations.items()):
        for link in sorted(links, key=lambda link: link.to):
            alone = link.environment is None and not link.evidence
            text = link.to if alone else msgspec.json.encode(link, order="deterministic").decode()
            found.append((f"{NAMESPACE}{RELATION}{relation}", text))
    return found


def own_id(given: Iterable[Property]) -> str | None:
    """Return the id of the object that was written with these properties, or None: somebody else wrote them.

    Raises:
        UnreadableSource: it names no object.
    """
    found = next((value for name, value in given if name == f"{NAMESPACE}id"), None)
    if found is not None:
        try:
            split(found)
        except InvalidInput as error:
            raise UnreadableSource(f"{NAMESPACE}id: {error.message}") from None
    return found


def own_entry(asset: str, given: Iterable[Property], description: str | None) -> dict[str, Any]:
    """Return what properties say of an object, as a declarative file has it; not yet checked.

    Raises:
        UnreadableSource: a number is none, or the end of a relation cannot be read.
    """
    shapes = _shapes(split(asset).kind)
    facts: dict[str, Any] = {} if description is None else {"description": prose(description)}
    relations: dict[str, list[Any]] = {}
    for name, value in given:
        field = name.removeprefix(NAMESPACE)
        if field == name or field == "id":
            continue
        if field.startswith(RELATION):
            relations.setdefault(field.removeprefix(RELATION), []).append(_link(asset, value))
            continue
        held, _, key = _mapped(shapes, field)
        shape = shapes.get(held, "text")
        if shape == "list":
            facts.setdefault(held, []).append(prose(value))
        elif shape == "map":
            facts.setdefault(held, {})[prose(key)] = prose(value)
        elif held in facts:
            raise UnreadableSource(f"{asset}: {name} is there twice; it can have one value", asset=asset)
        else:
            facts[held] = _number(asset, name, value) if shape == "number" else prose(value)
    attributes = {name.removeprefix("attributes."): facts.pop(name) for name in [*facts] if "." in name}
    return facts | ({"attributes": attributes} if attributes else {}) | ({"relations": relations} if relations else {})


def declared(own: dict[str, dict[str, Any]], draft: Draft) -> Imported:
    """Return what was read, objects of our own and a draft of those of others, as a declaration that can be planned.
    Relations of a type that leads out of the bill are left as they stand: the list would not be whole.

    Raises:
        UnreadableSource: something in it cannot be true of an estate; `problems` says what.
    """
    for name, said in own.items():
        relations: dict[str, list[Any]] = said.get("relations", {})
        for relation in [*relations]:
            if any(_end(link) not in own for link in relations[relation]):
                draft.note(f"{name} {relation}: leads to what is not in this file, and is left as it stands")
                del relations[relation]
    try:
        read = read_declaration({"version": 1, "source": draft.source, "assets": own})
        foreign = draft.imported()
    except InvalidInput as error:
        raise UnreadableSource(error.message, **error.details) from None
    others = foreign.declaration.assets
    if both := sorted(own.keys() & others.keys()):
        raise UnreadableSource(f"{both[0]} is in this file twice", asset=both[0])
    if len(own) + len(others) > MAX_ASSETS:
        raise UnreadableSource(f"there are more than {MAX_ASSETS} objects in it", limit=MAX_ASSETS)
    return Imported(
        declaration=Declaration(source=draft.source, assets=read.assets | others, confidence="imported"),
        notes=foreign.notes,
    )


def prose(text: str, limit: int = 2_000) -> str:
    """Return text of any number of lines, with every character written out that could deceive, and cut."""
    parts = re.split(r"([\n\r\t])", text[: limit + 1])
    made = "".join(part if part in "\n\r\t" else legible(part, limit=12 * limit) for part in parts)
    return made if len(made) <= limit else made[: limit - 1] + "…"


def iri(text: object) -> str | None:
    """Return an address that is an IRI (RFC 3987) in anybody's reading, or None."""
    return text if isinstance(text, str) and _IRI.fullmatch(text) else None


@cache
def _shapes(kind: str) -> dict[str, Shape]:
    found = {field: shape for field, shape in _fields(Facts) if field != "attributes"}
    return found | {f"attributes.{field}": shape for field, shape in _fields(KINDS[kind])}


def _fields(of: type[msgspec.Struct]) -> Iterable[tuple[str, Shape]]:
    described = inspect.type_info(of)
    assert isinstance(described, inspect.StructType)  # noqa: S101  every struct is
    for field in described.fields:
        yield field.name, _shape(field.type)


def _shape(found: inspect.Type) -> Shape:
    if isinstance(found, inspect.Metadata):
        return _shape(found.type)
    if isinstance(found, inspect.UnionType):
        return next((shape for part in found.types if (shape := _shape(part)) != "text"), "text")
    if isinstance(found, inspect.VarTupleType | inspect.ListType):
        return "list"
    if isinstance(found, inspect.DictType):
        return "map"
    return "number" if isinstance(found, inspect.IntType) else "text"


def _mapped(shapes: Mapping[str, Shape], field: str) -> tuple[str, str, str]:
    for held, shape in shapes.items():
        if shape == "map" and field.startswith(f"{held}."):
            return held, ".", field[len(held) + 1 :]
    return field, "", ""


def _number(asset: str, name: str, value: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,18}", value):
        raise UnreadableSource(f"{asset}: {legible(name, limit=80)} is a whole number", asset=asset)
    return int(value)


def _link(asset: str, value: str) -> Any:
    if not value.startswith("{"):
        return value
    try:
        return msgspec.json.decode(value, type=dict[str, str])
    except (msgspec.DecodeError, RecursionError):
        raise UnreadableSource(f"{asset}: the end of a relation is kind:name, or JSON with `to`", asset=asset) from None


def _end(link: Any) -> str | None:
    return link if isinstance(link, str) else link.get("to")
