"""OpenAPI documents: each operation is a tool that agents can call, with privileges by its method.

A tool's digest is over the operation, everything in the document that it refers to, and what holds for it where it does
not say otherwise: who is called (servers) and with which rights (security requirements and their schemes). So a change
of a shared schema, or of where tokens come from, is a change of every tool that it is about. References to elsewhere
are not followed. What a method says of privileges and effects is a first guess, which people correct and no later
import takes back.

Source: OpenAPI Specification 3.0.4 and 3.1.1, sections 4.7/4.8 (Server, Paths, Operation, Reference, Security Scheme,
Security Requirement);
RFC 9110, section 9.2 (safe and idempotent methods); RFC 6901 (JSON Pointer).
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote

from quarterdeck_connectors.digests import digest_of_bytes, digest_of_json
from quarterdeck_connectors.draft import Draft, Imported, address, block, line, lines, mapping, mappings
from quarterdeck_connectors.errors import UnreadableSource
from quarterdeck_connectors.files import read_document
from quarterdeck_domain.estate.naming import apart, name_of
from quarterdeck_domain.estate.values import MAX_NAME

MAX_OPERATIONS: Final = 5_000
MAX_REFERENCES: Final = 5_000
MAX_WORK: Final = 5_000_000
"""How many values may be looked at in all: references make much out of little."""

_EFFECTS: Final[Mapping[str, tuple[str, str]]] = {
    "get": ("read", "none"),
    "head": ("read", "none"),
    "options": ("read", "none"),
    "trace": ("read", "none"),
    "query": ("read", "none"),
    "put": ("write", "idempotent"),
    "delete": ("write", "idempotent"),
    "post": ("write", "at_most_once"),
    "patch": ("write", "at_most_once"),
}
"""What a method means: the privilege it needs, and what becomes of a call that is made twice."""


def read_openapi(
    data: bytes, *, source: str = "openapi", name: str = "the OpenAPI document", api: str | None = None
) -> Imported:
    """Return the tools that an OpenAPI document describes, and the application that exposes them. `api` is what it is
    called here; without it, what it calls itself.

    Raises:
        UnreadableSource: it is not such a document, or too large; says where.
    """
    document = read_document(data, name)
    shown = line(name)
    if not isinstance(document, dict):
        raise UnreadableSource(f"{shown} is a mapping with `openapi`, `info` and `paths`", name=name)
    version = document.get("openapi")
    if not isinstance(version, str) or not version.startswith(("3.0", "3.1", "3.2")):
        raise UnreadableSource(
            f"{shown} has no `openapi: 3.0.x` or `3.1.x`: convert Swagger 2.0 to OpenAPI 3 first", name=name
        )
    if not isinstance(document.get("paths", {}), dict):
        raise UnreadableSource(f"{shown}: `paths` is a mapping from paths to operations", name=name)
    title = api or line(mapping(document.get("info")).get("title"))
    if not title.strip():
        raise UnreadableSource(f"{shown} has no `info.title`, so say what to call it", name=name)
    return _Reading(document, Draft(source), title).imported()


class _Part(NamedTuple):
    """What a reference leads to: its digest, and the references in it."""

    digest: str
    references: tuple[str, ...]


class _Operation(NamedTuple):
    """One operation: where it is, and what is said of it and of its path item."""

    path: str
    method: str
    said: Mapping[str, Any]
    item: Mapping[str, Any]

    @property
    def shown(self) -> str:
        """Return its method and path."""
        return f"{self.method.upper()} {self.path}"

    def called(self) -> str:
        """Return what the document calls it."""
        given = self.said.get("operationId")
        return given if isinstance(given, str) and given.strip() else self.shown


class _Reading:
    """One document on its way into a draft."""

    def __init__(self, document: Mapping[str, Any], draft: Draft, title: str) -> None:
        self._document = document
        self._draft = draft
        self._title = title
        self._work = 0
        self._parts: dict[str, _Part] = {}

    def imported(self) -> Imported:
        """Return all tools of the document."""
        info = mapping(self._document.get("info"))
        application = self._draft.add(
            "application",
            self._title,
            {"title": line(info.get("title")), "description": block(info.get("description") or info.get("summary"))},
            {"surface": "HTTP API"},
        )
        self._draft.lists(application, "exposes")
        found = list(itertools.islice(self._operations(), MAX_OPERATIONS + 1))
        if len(found) > MAX_OPERATIONS:
            raise UnreadableSource(f"there are more than {MAX_OPERATIONS} operations", limit=MAX_OPERATIONS)
        for operation, called, name in self._named(found):
            self._draft.relate(application, "exposes", self._tool(operation, called, name))
        if not found:
            self._draft.note("there is no operation under `paths`")
        return self._draft.imported()

    def _operations(self) -> Iterator[_Operation]:
        """Yield each operation, and the path item that it is in."""
        for path, item in mapping(self._document.get("paths")).items():
            held = mapping(item)
            reference = held.get("$ref")
            if isinstance(reference, str):
                held = {**mapping(self._follow(reference)), **held}
            for method in _EFFECTS:
                operation = held.get(method)
                if isinstance(operation, dict):
                    yield _Operation(path, method, operation, held)

    def _named(self, found: Iterable[_Operation]) -> Iterator[tuple[_Operation, str, str]]:
        """Yield each operation with what it is called, and with its name here. Of those whose names would become the
        same, the one that is called so keeps the name, and the others have one of their own."""
        by_name: dict[str, _Operation] = {}
        for one in found:
            called = one.called()
            if called in by_name:
                # Path items that are referred to share what they are called: cut, so that much is not made of little.
                called = f"{called[:MAX_NAME]} {one.shown}"
                called += "~" * next(count for count in itertools.count() if called + "~" * count not in by_name)
                self._draft.note(f"several operations have one operationId: this one is called {line(called)}")
            by_name[called] = one
        whole = {called: f"{self._title}/{called}" for called in by_name}
        shared = Counter(name_of(text) for text in whole.values())
        taken = {name_of(text) for text in whole.values()}
        for called, one in by_name.items():
            name = name_of(whole[called])
            if shared[name] > 1 and name != whole[called]:
                name = apart(whole[called])
                while name in taken:
                    name = apart(name)
                taken.add(name)
                self._draft.note(
                    f"another operation has the name that {line(called, limit=80)!r} would have: it is {name}"
                )
            yield one, called, name

    def _tool(self, one: _Operation, called: str, name: str) -> str:
        operation, item, shown = one.said, one.item, one.shown
        privilege, effect = _EFFECTS[one.method]
        summary, description = line(operation.get("summary")), block(operation.get("description"))
        if operation.get("deprecated") is True:
            self._draft.note(f"{called} is deprecated")
        digest, whole = self._digest(shown, operation, item), f"{self._title}/{called}"
        return self._draft.add(
            "tool",
            whole if name_of(whole) == name else name,
            {"title": summary or ("" if name_of(whole) == name else line(called)), "description": description},
            {
                "operations": [line(shown)],
                "scope": self._scope(operation),
                "target_system": self._target(operation, item),
                "digest": digest,
            },
            {"privileges": [privilege], "side_effect": effect, "pinned": digest},
        )

    def _scope(self, operation: Mapping[str, Any]) -> str:
        """Return the scopes that a caller must have, by the alternatives that are allowed."""
        ways = []
        for _, way in mappings(operation.get("security", self._document.get("security"))):
            schemes = [": ".join(filter(None, (line(name), " ".join(lines(said))))) for name, said in way.items()]
            ways.append(" and ".join(schemes) or "no authentication")
        return line(" or ".join(ways))

    def _target(self, operation: Mapping[str, Any], item: Mapping[str, Any]) -> str:
        for servers in (operation.get("servers"), item.get("servers"), self._document.get("servers")):
            for _, server in mappings(servers):
                return address(server.get("url"))[:300] or line(self._title)
        return line(self._title)

    # --- what an operation is made of ---------------------------------------------------------------------------------

    def _digest(self, shown: str, operation: Mapping[str, Any], item: Mapping[str, Any]) -> str:
        parts: dict[str, str] = {}
        shared = item.get("parameters", [])
        servers = item.get("servers") if not operation.get("servers") else None
        waiting = [*self._references(operation), *self._references(shared), *self._held(operation, item)]
        while waiting:
            reference = waiting.pop()
            if reference in parts:
                continue
            part = self._part(reference)
            parts[reference] = part.digest
            waiting += part.references
            self._count(1 + len(part.references))
            if len(parts) > MAX_REFERENCES:
                raise UnreadableSource(f"{line(shown)} refers to more than {MAX_REFERENCES} parts of the document")
        # Of the parts as one text: large documents have some thousand of them under each of some hundred operations.
        made_of = digest_of_bytes(json.dumps(parts, sort_keys=True).encode())
        own = {"operation": operation, "parameters": shared, "parts": made_of}
        return digest_of_json(own | ({"servers": servers} if servers else {}))

    def _held(self, operation: Mapping[str, Any], item: Mapping[str, Any]) -> Iterator[str]:
        """Yield references to what holds for an operation where it does not say otherwise, and to the schemes by which
        callers are known."""
        if not operation.get("servers") and not item.get("servers") and self._document.get("servers"):
            yield "#/servers"
        if "security" not in operation and self._document.get("security"):
            yield "#/security"
        for _, way in mappings(operation.get("security", self._document.get("security"))):
            self._count(1 + len(way))
            for scheme in way:
                yield "#/components/securitySchemes/" + quote(scheme.replace("~", "~0").replace("/", "~1"), safe="")

    def _part(self, reference: str) -> _Part:
        if reference not in self._parts:
            value = self._follow(reference)
            self._parts[reference] = _Part(digest_of_json(value), self._references(value))
        return self._parts[reference]

    def _references(self, value: object) -> tuple[str, ...]:
        """Return the references inside a value, each once."""
        found: dict[str, None] = {}
        waiting: list[Any] = [value]
        while waiting:
            item = waiting.pop()
            self._count(1)
            if isinstance(item, dict):
                reference = item.get("$ref")
                if isinstance(reference, str):
                    found[reference] = None
                waiting.extend(item.values())
            elif isinstance(item, list):
                waiting.extend(item)
        return tuple(found)

    def _count(self, more: int) -> None:
        self._work += more
        if self._work > MAX_WORK:
            raise UnreadableSource("the operations refer to more than can be digested", limit=MAX_WORK)

    def _follow(self, reference: str) -> Any:
        """Return what a reference inside the document leads to; None, with a note, for any other."""
        if not reference.startswith("#/") and reference != "#":
            self._draft.note(f"the reference {reference!r} leads out of the document and was not followed")
            return None
        here: Any = self._document
        for step in unquote(reference[2:]).split("/") if reference != "#" else ():
            key = step.replace("~1", "/").replace("~0", "~")
            if isinstance(here, dict) and key in here:
                here = here[key]
            elif isinstance(here, list) and key.isascii() and key.isdigit() and int(key[:9]) < len(here):
                here = here[int(key[:9])]
            else:
                self._draft.note(f"the reference {reference!r} leads to nothing")
                return None
        return here
