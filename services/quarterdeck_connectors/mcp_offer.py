"""What an MCP server offers, as a declaration: the server, one tool per tool, datasets for its resources, its prompts.

Everything here was written by the server. Names and descriptions are kept as data and made legible; what they say is
never acted upon. Annotations of tools are hints by the standard's own words: they are kept as `hints`, and the first
guess of privileges and side effect is made of them only where somebody has said that the server is trusted
(`estate.offers`); else a tool is taken to write. People correct a first guess, and no later import takes that back.

A tool's digest is over what a model is shown and what a reviewer has read: title, description, input and output schema,
annotations; not over icons and `_meta`. It does not depend on the version of the protocol that was spoken.

Source: Model Context Protocol 2026-07-28 and 2025-11-25, schema: Tool, ToolAnnotations (defaults of the hints),
Resource, ResourceTemplate, Prompt; RFC 8785 (canonical form).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from quarterdeck_connectors.digests import digest_of_json
from quarterdeck_connectors.draft import Draft, Imported, block, line
from quarterdeck_connectors.errors import UnreadableSource
from quarterdeck_connectors.mcp_text import Looking
from quarterdeck_domain.checks import legible
from quarterdeck_domain.estate.imports import CAUTIONS
from quarterdeck_domain.estate.naming import apart, name_of, place_of, resource_name
from quarterdeck_domain.estate.offers import CAREFUL

Item = Mapping[str, Any]
"""A tool, resource, template or prompt as it came: JSON."""

MAX_DEPTH: Final = 64
_SERVER: Final = re.compile(r"[!-.0-~]{1,60}")
_SHOWN: Final = ("title", "description")
_SCHEMAS: Final = ("inputSchema", "outputSchema")
_OFFERED: Final = ("name", "title", "description", "uri", "uriTemplate", "mimeType", "arguments")
_HINTS: Final = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a server said of itself, in one session."""

    protocol_version: str
    implementation: Item = {}
    instructions: str | None = None
    tools: tuple[Item, ...] = ()
    resources: tuple[Item, ...] = ()
    templates: tuple[Item, ...] = ()
    prompts: tuple[Item, ...] = ()


def to_declaration(
    offer: Offer,
    *,
    server: str,
    endpoint: str,
    transport: Literal["streamable_http", "stdio"],
    on_drift: Literal["note", "quarantine"] = "note",
) -> Imported:
    """Return what an offer declares. `server` is how the house calls it; its tools are called `server/tool`.

    Raises:
        UnreadableSource: something cannot be digested; says which.
        InvalidInput: `server` is no name.
    """
    if not _SERVER.fullmatch(server):
        raise UnreadableSource("a server is named by 1 to 60 visible ASCII characters without `/`, such as `crm`")
    reading = _Reading(offer, server)
    reading.read_server(endpoint, transport)
    for named in reading.named("tool", [(str(tool["name"]), tool) for tool in offer.tools]):
        reading.read_tool(named)
    places = [(str(item["uri"]), item) for item in offer.resources]
    places += [(str(item["uriTemplate"]), item) for item in offer.templates]
    for named in reading.named("dataset", places):
        reading.read_resource(named)
    for named in reading.named("prompt", [(str(item["name"]), item) for item in offer.prompts]):
        reading.read_prompt(named)
    return reading.imported(on_drift)


def tool_digests(tool: Item) -> tuple[str, dict[str, str]]:
    """Return the digest of a tool, and of its parts by name.

    Raises:
        UnreadableSource: it is nested too deeply, or is no JSON that others could read.
    """
    parts = {"description": _some(tool, _SHOWN), "schema": _some(tool, _SCHEMAS)}
    parts["annotations"] = _some(tool, ("annotations",))
    whole = {name: value for part in parts.values() for name, value in part.items()}
    return _digest(whole, tool), {name: _digest(value, tool) for name, value in sorted(parts.items())}


def _digests_of(named: Named) -> tuple[str, dict[str, str]]:
    """Return the digests of a tool: of all that are offered by its name, where they are not one."""
    every = [tool_digests(tool) for tool in named.items]
    if len({digest for digest, _ in every}) == 1:
        return every[0]
    parts = {name: digest_of_json(sorted({part[name] for _, part in every})) for name in every[0][1]}
    return digest_of_json(sorted({digest for digest, _ in every})), parts


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """What a server offers by one name: one thing, or several, of which nobody can tell which one would be used."""

    called: str
    """What the server calls it."""
    name: str
    """What it is called here."""
    items: tuple[Item, ...]

    def alike(self) -> bool:
        """Tell whether what is offered by the name is always the same."""
        return len({_digest(_some(item, (*_OFFERED, *_SCHEMAS, "annotations")), item) for item in self.items}) == 1


class _Reading:
    """One offer on its way to a declaration. Unset facts and first guesses are added where all else is checked."""

    def __init__(self, offer: Offer, server: str) -> None:
        self.offer = offer
        self.server = server
        self.draft = Draft(f"mcp {server}")
        self.root = ""
        self.looking = Looking()

    def named(self, kind: str, offered: Sequence[tuple[str, Item]]) -> Iterable[Named]:
        """Yield what is offered of a kind, by name. Of things whose names would become the same here, the one that is
        called so keeps the name, and the others have one of their own; what is offered by one name is one thing."""
        by_name: dict[str, list[Item]] = {}
        for called, item in offered:
            by_name.setdefault(called, []).append(item)
        names = {called: name_of(self._called(kind, called)) for called in by_name}
        shared = Counter(names.values())
        one: dict[str, str] = {}
        found: dict[str, list[Item]] = {}
        for called, items in by_name.items():
            name, whole = names[called], f"{self.server}/{called}"
            own = name if shared[name] == 1 or name == whole else apart(whole)
            one.setdefault(own, called)
            found.setdefault(own, []).extend(items)
        for name, items in found.items():
            if len(items) > 1:
                self.draft.note(f"it offers the {kind} {one[name]!r} {len(items)} times: it is taken for one")
            yield Named(called=one[name], name=name, items=tuple(items))

    def _called(self, kind: str, called: str) -> str:
        return f"{self.server}/{resource_name(called) if kind == 'dataset' else called}"

    def read_server(self, endpoint: str, transport: str) -> None:
        """Say what the server is, and what digest everything has that it offers."""
        offer = self.offer
        # The order of lists means nothing, and what changes by itself (`_meta`, sizes, dates) is no change.
        whole = {
            "instructions": offer.instructions,
            "tools": sorted([tool.get("name"), tool_digests(tool)[0]] for tool in offer.tools),
            **{
                name: sorted(_digest(_some(item, _OFFERED), item) for item in getattr(offer, name))
                for name in ("resources", "templates", "prompts")
            },
        }
        digest = _digest(whole, {"name": self.server})
        said = offer.implementation
        implementation = " ".join(filter(None, (line(said.get("name")), line(said.get("version"), limit=80))))
        self.root = self.draft.add(
            "mcp_server",
            self.server,
            {"title": line(said.get("title")), "description": block(offer.instructions)},
            {
                "endpoint": endpoint,
                "transport": transport,
                "protocol_version": line(offer.protocol_version),
                "implementation": implementation[:300],
                "digest": digest,
                "cautions": list(self.looking.cautions((offer.instructions, *_texts(said)))) or None,
            },
            {"trust": "unreviewed", "offer": _digest(sorted(str(tool.get("name")) for tool in offer.tools), said)},
        )
        self.draft.lists(self.root, "exposes")

    def read_tool(self, named: Named) -> None:
        """Say what a tool is: its digests, its hints, and the careful first guess of what it may do."""
        tool = named.items[0]
        digest, parts = _digests_of(named)
        annotations = (tool.get("annotations") or {}) if named.alike() else {}
        title = line(tool.get("title")) or line(annotations.get("title")) or self._own_name(tool)
        facts = {"title": title, "description": block(tool.get("description"))}
        attributes = {
            "hints": [f"{name}={str(annotations[name]).lower()}" for name in _HINTS if _is_said(annotations, name)]
            or None,
            "digest": digest,
            "parts": parts,
            "cautions": self._cautions(named),
        }
        first = {
            "pinned": digest,
            "pinned_parts": parts,
            "privileges": list(CAREFUL["privileges"]),
            "side_effect": CAREFUL["side_effect"],
        }
        self._add("tool", named, facts, attributes, first)

    def read_resource(self, named: Named) -> None:
        """Say what a resource, or a template of resources, is. Where it lies loses what may be a secret."""
        item = named.items[0]
        title = line(item.get("title")) or line(item.get("name"))
        facts = {"title": title, "description": block(item.get("description"))}
        attributes = {"location": line(place_of(named.called)), "cautions": self._cautions(named)}
        self._add("dataset", named, facts, attributes)

    def read_prompt(self, named: Named) -> None:
        """Say what a prompt is. Its text is not asked for: it may depend on what is filled in."""
        item = named.items[0]
        title = line(item.get("title")) or self._own_name(item)
        facts = {"title": title, "description": block(item.get("description"))}
        self._add("prompt", named, facts, {"cautions": self._cautions(named)})

    def _cautions(self, named: Named) -> list[str] | None:
        """Return what looks wrong: first of all, that other things are offered by the name as well."""
        texts = [text for item in named.items for text in _texts(item)]
        unlike = [] if named.alike() else [f"{len(named.items)} that are not alike are offered by this name"]
        return [*unlike, *self.looking.cautions(texts)] or None

    def _own_name(self, item: Item) -> str:
        """Return what the server calls a thing, where its name here cannot say that."""
        called = f"{self.server}/{item['name']}"
        return line(item["name"]) if name_of(called) != called else ""

    def _add(self, kind: str, named: Named, facts: Item, attributes: Item, first: Item | None = None) -> None:
        called = self._called(kind, named.called)
        asset = self.draft.add(kind, called if name_of(called) == named.name else named.name, facts, attributes, first)
        self.draft.relate(self.root, "exposes", asset, evidence=f"listed by {self.server}")

    def imported(self, on_drift: Literal["note", "quarantine"]) -> Imported:
        """Return all of it; where there is nothing to warn of any more, that is said."""
        made = self.draft.imported()
        entries = {
            name: msgspec.structs.replace(entry, facts={CAUTIONS: None} | entry.facts)
            for name, entry in made.declaration.assets.items()
        }
        declaration = msgspec.structs.replace(made.declaration, assets=entries, on_drift=on_drift)
        return msgspec.structs.replace(made, declaration=declaration)


def _is_said(annotations: Item, name: str) -> bool:
    return isinstance(annotations.get(name), bool)


def _some(item: Item, names: Iterable[str]) -> dict[str, Any]:
    return {name: item[name] for name in names if item.get(name) is not None}


def _texts(value: Item) -> Sequence[str]:
    """Return every text of a thing, keys too: parameters are described to models as tools are. Not icons."""
    found: list[str] = []
    waiting: list[Any] = [{key: item for key, item in value.items() if key not in {"icons", "_meta"}}]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            found.append(item)
        elif isinstance(item, Mapping):
            found.extend(item)
            waiting.extend(item.values())
        elif isinstance(item, list | tuple):
            waiting.extend(item)
    return found


def _digest(value: Any, of: Item) -> str:
    name = legible(str(of.get("name")), limit=80)
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for item in level
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            break
    else:
        raise UnreadableSource(f"{name!r} is nested deeper than {MAX_DEPTH} levels", limit=MAX_DEPTH)
    try:
        return digest_of_json(value)
    except (TypeError, UnicodeEncodeError, ValueError) as error:
        why = legible(str(error), limit=200)
        raise UnreadableSource(f"{name!r} cannot be digested: {why}", name=name) from None
