"""What MCP servers offer and say of it, against what was reviewed: hints count where the server is trusted, and a tool
that it did not offer before is drift of the server's tools. And a server that is reached where one in quarantine is, is
that one by another name, as far as anybody can tell.

A server's `offer` is the digest of the names of its tools as they were reviewed. A tool that comes later was reviewed
by nobody, however little each of the others has changed.

Source: Model Context Protocol 2026-07-28, schema: ToolAnnotations ("all properties are hints … Clients should never
make tool use decisions based on ToolAnnotations received from untrusted servers"), `notifications/tools/list_changed`.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from quarterdeck_domain.checks import legible
from quarterdeck_domain.estate.declaration import Declaration
from quarterdeck_domain.estate.drift import OFFER, PINNED
from quarterdeck_domain.estate.events import AssetQuarantined, DriftDetected
from quarterdeck_domain.estate.standing import Standing
from quarterdeck_domain.estate.voices import BASE, Voices
from quarterdeck_domain.ids import make_id

CAREFUL: Final[Mapping[str, Any]] = {"privileges": ("write",), "side_effect": "at_most_once"}
"""What is taken of a tool of which nobody has said more."""
_HINTS: Final = "attributes.hints"
ENDPOINT: Final = "attributes.endpoint"
_SERVER: Final = "mcp_server:"
_PORTS: Final = {"http": "80", "https": "443"}
_ADDRESS: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?:[^/?#@]*@)?(?P<host>\[[^\]/?#]*\]|[^/?#:]+)(?::(?P<port>[0-9]*))?"
    r"(?P<path>(?:/[^?#]*)?)(?P<query>(?:\?[^#]*)?)(?:#.*)?",
    re.DOTALL,
)
_ESCAPED: Final = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_TRUST: Final = "attributes.trust"
_PRIVILEGES: Final = "attributes.privileges"
_SIDE_EFFECT: Final = "attributes.side_effect"
_NAMES: Final = uuid.UUID("8c0c4c3b-1d9c-5f0e-9d5a-2f6a4f0f7a31")
_SHOWN: Final = 5
_MOST: Final = 500


def _servers(wanted: Declaration) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the servers of an import, and what each of them offers of it."""
    if wanted.confidence == "declared":
        return
    for name, entry in wanted.assets.items():
        if name.startswith(_SERVER):
            links = entry.relations.get("exposes", ())
            yield name, tuple(link.to for link in links if link.to in wanted.assets)


def hinted(wanted: Declaration, standing: Standing) -> Declaration:
    """Return an import whose first guesses are made of the hints of servers that somebody has said to trust."""
    assets = dict(wanted.assets)
    for server, offers in _servers(wanted):
        if standing.facts.get(server, {}).get(_TRUST) != "trusted":
            continue
        for tool in _tools(offers):
            entry = assets[tool]
            if _PRIVILEGES in entry.first and _SIDE_EFFECT in entry.first:
                assets[tool] = msgspec.structs.replace(entry, first=entry.first | _guess(entry.facts.get(_HINTS) or ()))
    return msgspec.structs.replace(wanted, assets=assets)


def _guess(hints: Any) -> dict[str, Any]:
    if "readOnlyHint=true" in hints:
        return {_PRIVILEGES: ["read"], _SIDE_EFFECT: "none"}
    return {_SIDE_EFFECT: "idempotent"} if "idempotentHint=true" in hints else {}


def _tools(offers: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in offers if name.startswith("tool:"))


class Added(msgspec.Struct, frozen=True, kw_only=True):
    """What a server offers beyond what was reviewed: the drift, where some of the tools were never told of, and the
    tools."""

    server: str
    drift: DriftDetected | None
    tools: tuple[str, ...]


def added(wanted: Declaration, standing: Standing, run: str) -> Iterator[Added]:
    """Yield which servers offer tools that they did not when what they offer was pinned. Each tool is told once."""
    for server, offers in _servers(wanted):
        tools = _tools(offers)
        pinned, found = standing.facts.get(server, {}).get(OFFER), wanted.assets[server].first.get(OFFER)
        if not pinned or not found or pinned == found:
            continue
        fresh = tuple(
            tool
            for tool in tools
            if not standing.facts.get(tool, {}).get(PINNED) and (server, "exposes", tool) not in standing.relations
        )
        since = tuple(tool for tool in tools if tool not in fresh and _later(standing, server, tool))
        if since and not fresh:
            yield Added(server=server, drift=None, tools=since)
        elif fresh:
            told = ", ".join(fresh[:_SHOWN]) + (f" and {len(fresh) - _SHOWN} others" if len(fresh) > _SHOWN else "")
            yield Added(
                server=server,
                drift=DriftDetected(
                    drift_id=make_id("drf", uuid.uuid5(_NAMES, f"{run} {server} {found}")),
                    asset=server,
                    input="tools",
                    field="offer",
                    expected=pinned,
                    found=found,
                    evidence=legible(f"offered now and not when it was reviewed: {told}", limit=_MOST),
                    run=run or None,
                ),
                tools=(*fresh, *since),
            )


def _later(standing: Standing, server: str, tool: str) -> bool:
    """Tell whether a tool that no person has registered is known since after its server was reviewed: by an import that
    only noted it, say."""
    known, reviewed = standing.registered.get(tool), standing.reviewed.get(server)
    if known is None or reviewed is None or known <= reviewed:
        return False
    return not standing.voices.get(tool, Voices()).of_people(BASE)


class Beside(msgspec.Struct, frozen=True, kw_only=True):
    """What comes with a server that is reached where another is, which is in quarantine; and the reason to shut it."""

    assets: tuple[str, ...]
    reason: str


def beside(wanted: Declaration, standing: Standing) -> Iterator[Beside]:
    """Yield which servers are new where one in quarantine is reached, or were said to be elsewhere before, with what
    else is new of what they offer."""
    for server, offers in _servers(wanted):
        place, known = reached_at(wanted.assets[server].facts.get(ENDPOINT)), standing.facts.get(server, {})
        other = None if place is None else standing.shut.get(place)
        heard = standing.voices.get(server, Voices()).heard_before(ENDPOINT, wanted.source)
        if other is None or place in {reached_at(known.get(ENDPOINT)), reached_at(heard)}:
            continue
        fresh = tuple(asset for asset in offers if asset not in standing.facts)
        yield Beside(assets=(server, *fresh), reason=f"{server} is reached where {other} is, which is in quarantine")


def asks_where(wanted: Declaration) -> bool:
    """Tell whether it matters to a declaration where servers in quarantine are reached."""
    return any(reached_at(wanted.assets[server].facts.get(ENDPOINT)) is not None for server, _ in _servers(wanted))


def shut_places(servers: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, str]:
    """Return which of some servers, given with their facts, is in quarantine, by where it is reached."""
    return {
        place: server
        for server, facts in servers
        if facts.get("lifecycle") == "quarantined" and (place := reached_at(facts.get(ENDPOINT))) is not None
    }


def reached_at(endpoint: Any) -> str | None:
    """Return an address as addresses are compared; None where it says of nothing where it is: a program's name, say.

    Source: RFC 3986, sections 6.2.2 and 6.2.3. Servers unescape more than must be, and take two slashes for one: so
    that an address cannot be written otherwise and lead to the same place, both are done here.
    """
    found = _ADDRESS.fullmatch(endpoint.strip()) if isinstance(endpoint, str) else None
    if found is None:
        return None
    scheme, host = found["scheme"].lower(), _unescaped(found["host"]).lower().rstrip(".")
    path, query = _path(_unescaped(found["path"]), web=scheme in _PORTS), _unescaped(found["query"])
    port = (found["port"] or "").lstrip("0") or _PORTS.get(scheme, "")
    return f"{scheme}://{host}:{port}{path}{'' if query == '?' else query}"


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: bytes.fromhex(found[0].replace("%", "")).decode("utf-8", "replace"), text)


def _path(path: str, *, web: bool) -> str:
    """Return a path without dot segments and without a slash at the end; of the web, also without doubled slashes."""
    kept: list[str] = []
    for part in path.split("/")[1:]:
        if part == "..":
            del kept[-1:]
        elif part != ".":
            kept.append(part)
    return "".join(f"/{part}" for part in kept if part or not web).rstrip("/")


def shut(asset: str, reason: str, wanted: Declaration, standing: Standing) -> AssetQuarantined | None:
    """Return what keeps something from being used until somebody has looked at it; None: it is out of use already."""
    before = standing.facts.get(asset)
    lifecycle = (wanted.assets[asset].facts if before is None else before).get("lifecycle") or "live"
    if lifecycle in {"quarantined", "retired"}:
        return None
    return AssetQuarantined(asset=asset, reason=legible(reason, limit=500), previous_lifecycle=lifecycle)


def released(standing: Standing, asset: str, digest: Any) -> bool:
    """Tell whether somebody has released an object with this very digest: that is their word."""
    return standing.voices.get(asset, Voices()).released == (digest or "")
