"""A2A agent cards: what an agent says of itself, in the shape of 1.0 (`supportedInterfaces`) and of 0.3 (`url`).

A card is a claim. Its agent is named after the host it answers on, so that a card cannot take the name of an agent that
is known here; signatures are not checked, and said to be there.

Source: A2A 1.0.1, sections 4.4 (AgentCard) and 8 (discovery); A2A 0.3.0, section 5.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from quarterdeck_connectors.digests import digest_of_json
from quarterdeck_connectors.draft import Draft, Imported, address, block, line, lines, mapping, mappings
from quarterdeck_connectors.errors import UnreadableSource
from quarterdeck_connectors.files import read_document
from quarterdeck_connectors.reading import Bounds

MAX_CARD: Final = 2**20


def read_card(data: bytes, *, source: str = "a2a", name: str = "the agent card", agent: str | None = None) -> Imported:
    """Return the agent that a card describes. `agent` is what it is called here; without it, its host and its own name.

    Raises:
        UnreadableSource: it is not an agent card; says where and what would be right.
    """
    card = read_document(data, name, form="json", bounds=Bounds(size=MAX_CARD))
    shown = line(name)
    if not isinstance(card, dict) or not line(card.get("name")):
        raise UnreadableSource(f"{shown} is an object with `name`, `version`, `skills` and where it answers", name=name)
    endpoint, protocol = _interface(card, shown)
    draft, digest = Draft(source), _digest(card)
    made = draft.add(
        "agent",
        agent or f"{urlsplit(endpoint).netloc}/{line(card['name'])}",
        {"title": line(card["name"]), "description": block(card.get("description"))},
        {"endpoint": endpoint, "protocol": protocol, "skills": _skills(card, draft, shown), "digest": digest},
        {"pinned": digest},
    )
    organization = line(mapping(card.get("provider")).get("organization"))
    draft.lists(made, "deployed_in")
    if organization:
        draft.relate(made, "deployed_in", draft.add("provider", organization))
    _note_what_is_missing(card, draft)
    return draft.imported()


def _interface(card: Mapping[str, Any], shown: str) -> tuple[str, str]:
    """Return where an agent prefers to be called, and how."""
    interfaces = [found for _, found in mappings(card.get("supportedInterfaces"))]
    if interfaces:
        first = interfaces[0]
        endpoint = address(first.get("url"))
        version, binding = first.get("protocolVersion"), first.get("protocolBinding")
    else:
        endpoint = address(card.get("url"))
        version, binding = card.get("protocolVersion"), card.get("preferredTransport", "JSONRPC")
    if not endpoint:
        raise UnreadableSource(
            f"{shown} does not say where the agent answers: `supportedInterfaces` with a `url` (A2A 1.0), or `url` "
            "(A2A 0.3), an absolute address without user or password",
            name=shown,
        )
    return endpoint, " ".join(filter(None, ("A2A", line(version, limit=20), line(binding, limit=60))))


def _skills(card: Mapping[str, Any], draft: Draft, shown: str) -> list[str]:
    said = card.get("skills", [])
    if not isinstance(said, list):
        raise UnreadableSource(f"{shown}: `skills` is a list", name=shown)
    found = [line(skill.get("id")) or line(skill.get("name")) for _, skill in mappings(said)]
    kept = lines(found)
    if len(kept) < len(said):
        draft.note(
            f"of {len(said)} skills, {len(kept)} were taken over: the rest have no id, or one that is there already"
        )
    return kept


def _digest(card: Mapping[str, Any]) -> str:
    """Return the digest of all that a card says, but for who signed it."""
    return digest_of_json({key: value for key, value in card.items() if key != "signatures"})


def _note_what_is_missing(card: Mapping[str, Any], draft: Draft) -> None:
    if card.get("signatures"):
        draft.note("the card is signed; its signatures were not checked")
    if not card.get("securityRequirements") and not card.get("security"):
        draft.note("the card asks callers for no authentication")
