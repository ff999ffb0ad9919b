"""What MCP servers offer and say of it, against what was reviewed: hints count where the server is trusted, and a tool
that it did not offer before is drift of the server's tools.

A server's `offer` is the digest of the names of its tools as they were reviewed. A tool that comes later was reviewed
by nobody, however little each of the others has changed.

Source: Model Context Protocol 2026-07-28, schema: ToolAnnotations ("all properties are hints … Clients should never
make tool use decisions based on ToolAnnotations received from untrusted servers"), `notifications/tools/list_changed`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from quarterdeck_domain.checks import legible
from quarterdeck_domain.estate.declaration import Declaration
from quarterdeck_domain.estate.drift import DIGEST, OFFER, PINNED
from quarterdeck_domain.estate.events import AssetQuarantined, DriftDetected
from quarterdeck_domain.estate.standing import Standing
from quarterdeck_domain.estate.voices import BASE, Voices
from quarterdeck_domain.ids import make_id

CAREFUL: Final[Mapping[str, Any]] = {"privileges": ("write",), "side_effect": "at_most_once"}
"""What is taken of a tool of which nobody has said more."""
_HINTS: Final = "attributes.hints"
_TRUST: Final = "attributes.trust"
_PRIVILEGES: Final = "attributes.privileges"
_SIDE_EFFECT: Final = "attributes.side_effect"
_NAMES: Final = uuid.UUID("8c0c4c3b-1d9c-5f0e-9d5a-2f6a4f0f7a31")
_SHOWN: Final = 5
_MOST: Final = 500


def _servers(wanted: Declaration) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the servers of an import, and the tools that each of them offers."""
    if wanted.confidence == "declared":
        return
    for name, entry in wanted.assets.items():
        if name.startswith("mcp_server:"):
            links = entry.relations.get("exposes", ())
            yield name, tuple(link.to for link in links if link.to.startswith("tool:") and link.to in wanted.assets)


def hinted(wanted: Declaration, standing: Standing) -> Declaration:
    """Return an import whose first guesses are made of the hints of servers that somebody has said to trust."""
    assets = dict(wanted.assets)
    for server, tools in _servers(wanted):
        if standing.facts.get(server, {}).get(_TRUST) != "trusted":
            continue
        for tool in tools:
            entry = assets[tool]
            if _PRIVILEGES in entry.first and _SIDE_EFFECT in entry.first:
                assets[tool] = msgspec.structs.replace(entry, first=entry.first | _guess(entry.facts.get(_HINTS) or ()))
    return msgspec.structs.replace(wanted, assets=assets)


def _guess(hints: Any) -> dict[str, Any]:
    if "readOnlyHint=true" in hints:
        return {_PRIVILEGES: ["read"], _SIDE_EFFECT: "none"}
    return {_SIDE_EFFECT: "idempotent"} if "idempotentHint=true" in hints else {}


class Added(msgspec.Struct, frozen=True, kw_only=True):
    """What a server offers beyond what was reviewed: the drift, where some of the tools were never told of, and the
    tools."""

    server: str
    drift: DriftDetected | None
    tools: tuple[str, ...]


def added(wanted: Declaration, standing: Standing, run: str) -> Iterator[Added]:
    """Yield which servers offer tools that they did not when what they offer was pinned. Each tool is told once."""
    for server, tools in _servers(wanted):
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


def shut(tool: str, server: str, standing: Standing) -> AssetQuarantined | None:
    """Return what keeps a tool from being used until somebody has read it; None where it is out of use already, or
    somebody has, and released it."""
    before = standing.facts.get(tool, {})
    lifecycle = before.get("lifecycle") or "live"
    if lifecycle in {"quarantined", "retired"} or released(standing, tool, before.get(DIGEST)):
        return None
    reason = legible(f"{server} did not offer it when it was reviewed", limit=500)
    return AssetQuarantined(asset=tool, reason=reason, previous_lifecycle=lifecycle)


def released(standing: Standing, asset: str, digest: Any) -> bool:
    """Tell whether somebody has released an object with this very digest: that is their word."""
    return standing.voices.get(asset, Voices()).released == (digest or "")
