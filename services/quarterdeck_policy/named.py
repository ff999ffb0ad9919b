"""Which names a request has for objects of the estate; `estate` finds out which of them are registered. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from quarterdeck_domain.estate.events import ACTS_AS
from quarterdeck_domain.estate.kinds import KINDS
from quarterdeck_domain.estate.naming import names_for, tagged
from quarterdeck_domain.intent import Intent
from quarterdeck_policy.chain import Member
from quarterdeck_policy.estate import SERVED, Name, Names, Served

MAX_LISTED: Final = 8
"""How many tools, servers or links of a claimed chain a request may name at a time."""
MANY: Final = f"this names more than {MAX_LISTED} tools, servers or actors at a time: ask about fewer of them at once"
"""Whoever asks chooses their order: of too many, none is judged, for what is left out could be what is shut."""
UNREADABLE: Final = "a `tool` or an `mcp_server` is a name, an entity of a type and an id, or a list of these"
_LISTS: Final = ("tool", "mcp_server")


def names_of(intent: Intent, judged: Sequence[Member]) -> Names:
    """Return the names in a request: of everyone who is judged, of the resource, and of what else it says it uses."""
    if problem := _problem(intent):
        return Names(entities={}, problem=problem)
    servers = tuple(_servers(intent))
    entities: dict[tuple[str, str], tuple[Name, ...]] = {}
    for member in judged:
        one = member.entity
        entities[one.type, one.id] = (*_asset(one.type, one.id), *_acting(one.id))
    resource = intent.resource
    mine = dict.fromkeys((*_asset(resource.type, resource.id), *_served(resource.type, resource.id, servers)))
    if kind_of(resource.type) == "agent":
        mine |= dict.fromkeys(_acting(resource.id))
    entities[resource.type, resource.id] = tuple(
        dict.fromkeys((*entities.get((resource.type, resource.id), ()), *mine))
    )
    others: list[Name] = [*_called("tool", intent.action.name, servers)]
    context = intent.context or {}
    for said in (context, resource.properties or {}):
        for tool in _listed(said.get("tool")):
            others += _called("tool", tool, servers)
    for server in servers:
        others += _asset("mcp_server", server)
    for actor in _claimed(intent):
        others += (*_asset("agent", actor), *_acting(actor))
    return Names(entities=entities, others=tuple(dict.fromkeys(others)))


def kind_of(entity_type: str) -> str | None:
    """Return the kind of object that a type of AuthZEN is, if it is one: `mcp-server` is `mcp_server`."""
    kind = entity_type.lower().replace("-", "_")
    return kind if kind in KINDS else None


def _asset(entity_type: str, called: str) -> Iterator[Name]:
    kind = kind_of(entity_type)
    if kind is None:
        return
    for read in _readings(kind, called):
        for name in names_for(kind, read):
            yield f"asset:{kind}:{name}"
        server, slash, own = read.partition("/")
        if kind in SERVED and server and slash and own:
            for owner in _readings("mcp_server", server):
                yield Served(kind, owner, own)


def _readings(kind: str, called: str) -> Iterator[str]:
    """Yield a name as it is spelt, for a server may call things as it likes; and as an id of ours, if it reads so."""
    yield called
    named, colon, rest = called.partition(":")
    if colon and kind_of(named) == kind:
        yield rest


def _acting(principal: str) -> Iterator[Name]:
    yield f"{ACTS_AS}:{tagged(principal)}"


def _called(kind: str, name: str, servers: Sequence[str]) -> Iterator[Name]:
    """Yield what a text names: `kind:name`, or the name of something of a kind, alone or with its server."""
    yield from _asset(kind, name)
    yield from _served(kind, name, servers)
    named, colon, rest = name.partition(":")
    if colon and kind_of(named) not in (None, kind):
        yield from _asset(named, rest)
        yield from _served(named, rest, servers)


def _served(entity_type: str, name: str, servers: Sequence[str]) -> Iterator[Name]:
    kind = kind_of(entity_type)
    if kind in SERVED:
        for read in _readings(kind, name):
            for server in servers:
                yield Served(kind, server, read)


def _servers(intent: Intent) -> Iterator[str]:
    """Yield the servers that a request names. Where one of them is the resource, what is called is a tool of it."""
    if kind_of(intent.resource.type) == "mcp_server":
        yield from _readings("mcp_server", intent.resource.id)
    for said in (intent.context, intent.resource.properties):
        for name in _listed((said or {}).get("mcp_server")):
            yield from _readings("mcp_server", name)


def _listed(value: Any) -> Iterator[str]:
    """Yield the names in a claim: a text, an entity, or a list of them."""
    for item in value if isinstance(value, list) else (value,):
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict) and isinstance(item.get("id"), str):
            named = item.get("type")
            yield f"{named}:{item['id']}" if isinstance(named, str) and kind_of(named) else item["id"]


def _claimed(intent: Intent) -> Iterator[str]:
    """Yield whom the subject says it is acted for by (RFC 8693 section 4.1); an enforcement point may know."""
    return (actor["sub"] for actor in _links(intent) if isinstance(actor.get("sub"), str))


def _links(intent: Intent) -> Iterator[dict[str, Any]]:
    actor: Any = (intent.subject.properties or {}).get("act")
    while isinstance(actor, dict):
        yield actor
        actor = actor.get("act")


def _problem(intent: Intent) -> str:
    """Return why what a request names cannot be judged; nothing where it can."""
    lists = [
        value if isinstance(value, list) else [value]
        for said in (intent.context, intent.resource.properties)
        for name in _LISTS
        if (value := (said or {}).get(name)) is not None
    ]
    if max((*map(len, lists), sum(1 for _ in _links(intent)))) > MAX_LISTED:
        return MANY
    # A resource may have properties of these names that mean something else; what the context says is said to us.
    claims = [value for name in _LISTS if (value := (intent.context or {}).get(name)) is not None]
    return "" if all(_is_claim(value) for value in claims) else UNREADABLE


def _is_claim(value: Any) -> bool:
    items = value if isinstance(value, list) else [value]
    return all(isinstance(item, str) or (isinstance(item, dict) and isinstance(item.get("id"), str)) for item in items)
