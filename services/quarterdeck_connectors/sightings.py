"""What spans show: objects that took part, and how they were seen to be related. Pure: spans in, `Sightings` out.

A trace calls things by names of its own, and does not say of which kind a service is. So an object is several ids
that it may be known by; which of them it is, the estate says (see `observing`).

Who acts in a span is who it says, or the nearest above it that acts: an agent, a tool, a workflow, an MCP server; else
the service. Spans arrive when they end, children before their parents: a span whose parent is still to come is
returned as unsettled, and may be given again together with its parent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from quarterdeck_connectors import semconv as names
from quarterdeck_connectors.draft import address, line
from quarterdeck_connectors.otlp import Span
from quarterdeck_domain.estate.input_mix import size_of
from quarterdeck_domain.estate.naming import seen_name_of, without_addresses

Key = tuple[str, str]
"""Trace and span."""

MAX_SERVER_DEPTH: Final = 4
_DIGITS: Final = 12
_SERVICE_KINDS: Final = ("workflow", "application", "agent", "orchestration", "mcp_server")
_MODEL_KINDS: Final = ("model", "route", "model_version", "deployment")
_DATA_KINDS: Final = ("dataset", "retrieval_index", "feature_store", "context_store")


class Thing(NamedTuple):
    """An object: the ids by which it may be known, the likeliest first, and the one it gets if none of them stands."""

    names: tuple[str, ...]
    otherwise: str


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """An object that was seen: what its first span says of it, flat, and which span that is."""

    facts: Mapping[str, Any]
    span: Span


class Seen(msgspec.Struct, kw_only=True):
    """How often a relation was seen, from when to when (nanoseconds of the Unix time), and its latest span."""

    count: int
    first_ns: int
    last_ns: int
    span: Span

    def add(self, other: Seen) -> None:
        """Take in what was seen of the same relation elsewhere."""
        self.count += other.count
        self.first_ns = min(self.first_ns, other.first_ns)
        if other.last_ns >= self.last_ns:
            self.last_ns, self.span = other.last_ns, other.span


class Sightings(msgspec.Struct, frozen=True, kw_only=True):
    """What some spans show. A relation may be one of several types: which, depends on what its ends turn out to be."""

    things: dict[Thing, Sighting]
    links: dict[tuple[Thing, tuple[str, ...], Thing], Seen]
    mixes: dict[Thing, dict[str, int]] = {}
    """How often agents were asked something of which size."""
    unsettled: tuple[Span, ...] = ()
    """Spans below one that has not come yet, so that who acted in them is not known."""


@lru_cache(maxsize=10_000)
def named(text: str) -> str:
    """Return an object's name made of what a trace calls it, as importers make it; what looks like a person's address
    is not kept."""
    return seen_name_of(text)


def shown(text: str, limit: int = 200) -> str:
    """Return what a trace says as one bounded line that does not deceive and names nobody's address."""
    return line(without_addresses(text), limit=limit)


def gather(spans: Iterable[Span], overdue: frozenset[Key] = frozenset()) -> Sightings:
    """Return what spans show. Those in `overdue` have waited long enough for a parent: their service acted."""
    return _Gathering(spans, overdue).sightings()


class _Gathering:
    def __init__(self, spans: Iterable[Span], overdue: frozenset[Key]) -> None:
        self.spans = {(span.trace, span.id): span for span in spans}
        self.overdue = overdue
        self.children: dict[Key, list[Span]] = {}
        for span in self.spans.values():
            if span.parent:
                self.children.setdefault((span.trace, span.parent), []).append(span)
        self.acting: dict[Key, Thing | None] = {}
        self.tools: dict[Key, Thing | None] = {}
        self.waits: dict[Key, None] = {}
        self.things: dict[Thing, Sighting] = {}
        self.links: dict[tuple[Thing, tuple[str, ...], Thing], Seen] = {}
        self.mixes: dict[Thing, dict[str, int]] = {}

    def sightings(self) -> Sightings:
        for span in self.spans.values():
            self._who_acts(span)
        for span in self.spans.values():
            self._look(span)
        unsettled = tuple(self.spans[key] for key in self.waits)
        return Sightings(things=self.things, links=self.links, mixes=self.mixes, unsettled=unsettled)

    # -- who acts

    def _who_acts(self, span: Span) -> None:
        """Note who acts in a span, and on the way in those above it. Not recursive: a trace may be deep."""
        path: dict[Key, Span] = {}
        above: Thing | None = None
        waits = False
        here: Span | None = span
        while here is not None:
            key = (here.trace, here.id)
            if key in self.acting:
                above, waits = self.acting[key], key in self.waits and not self._own(here)
                break
            if key in path:  # a forged circle
                above, waits = self._service(here), False
                break
            path[key] = here
            parent = (here.trace, here.parent)
            if not here.parent or (parent not in self.spans and (here.remote or key in self.overdue)):
                above, waits = self._service(here), False
                break
            if parent not in self.spans:
                above, waits = None, True
                break
            here = self.spans[parent]
        for key, passed in reversed(path.items()):
            said = None if _is_agent(passed) else self._said_agent(passed)
            if waits and said is None:
                self.waits[key] = None
            own = self._own(passed) or said
            if own is not None:
                above, waits = own, False
            self.acting[key] = above

    def _caller(self, span: Span) -> Thing | None:
        """Return who acted when a span began: whom it names, or who acts above it."""
        if (span.trace, span.id) in self.waits:
            return None
        if not _is_agent(span) and (agent := self._said_agent(span)) is not None:
            return agent
        parent = (span.trace, span.parent)
        if span.parent and parent in self.spans and parent != (span.trace, span.id):
            return self.acting[parent]
        # A server's own service does not call itself.
        return None if self._mcp_server(span) is not None and span.server else self._service(span)

    def _own(self, span: Span) -> Thing | None:
        """Return what a span itself is the work of, if it says."""
        if _is_agent(span):
            return self._agent(span)
        if (tool := self._tool(span)) is not None:
            return tool
        if span.server and (server := self._mcp_server(span)) is not None:
            return server
        workflow = span.said.get(names.WORKFLOW_NAME)
        if workflow and span.said.get(names.OPERATION) == names.INVOKE_WORKFLOW:
            return _things(("workflow", "orchestration", "application"), workflow)
        return None

    def _said_agent(self, span: Span) -> Thing | None:
        return _things(("agent",), _first(span.said, names.AGENT_NAME))

    def _agent(self, span: Span) -> Thing | None:
        found = _first(span.said, names.AGENT_NAME) or span.said.get(names.AGENT_ID)
        return _things(("agent",), found or span.name)

    def _service(self, span: Span) -> Thing | None:
        service = span.resource.get(names.SERVICE, "")
        if not service or service.partition(":")[0] == names.UNKNOWN_SERVICE:
            return None
        return _things(_SERVICE_KINDS, service)

    # -- tools and servers

    def _tool(self, span: Span) -> Thing | None:
        key = (span.trace, span.id)
        if key not in self.tools:
            self.tools[key] = self._find_tool(span)
        return self.tools[key]

    def _find_tool(self, span: Span) -> Thing | None:
        name = _tool_name(span)
        if name is None:
            return None
        server = self._server_name(span, name)
        if server is None:
            return _things(("tool",), name)
        within = (f"{server}/{name}", f"{server}.{name}", f"{server}:{name}", name)
        return _called("tool", within, otherwise=within[0])

    def _server_name(self, span: Span, tool: str | None, depth: int = 0) -> str | None:
        """Return by what name a span's MCP server is known: as it calls itself, if that is told, else its address."""
        method = span.said.get(names.MCP_METHOD)
        service = span.resource.get(names.SERVICE, "")
        if method and span.server and service and service.partition(":")[0] != names.UNKNOWN_SERVICE:
            return service
        if depth < MAX_SERVER_DEPTH:
            for child in self.children.get((span.trace, span.id), ()):
                if child.said.get(names.MCP_METHOD) and (tool is None or _tool_name(child) == tool):
                    found = self._server_name(child, tool, depth + 1)
                    if found is not None:
                        return found
        address, port = span.said.get(names.SERVER_ADDRESS), span.said.get(names.SERVER_PORT)
        if not method or not address:
            return None
        return f"{address}:{port}" if port and port not in ("80", "443") else address

    def _mcp_server(self, span: Span) -> Thing | None:
        tool = _tool_name(span)
        if tool is None and not span.said.get(names.MCP_METHOD):
            return None
        return _things(("mcp_server",), self._server_name(span, tool))

    # -- what a span shows

    def _look(self, span: Span) -> None:
        actor = self.acting[span.trace, span.id]
        if _is_agent(span):
            self._look_at_agent(span)
        elif (agent := self._said_agent(span)) is not None:
            self._see(agent, span, _title(_first(span.said, names.AGENT_NAME)))
        if (tool := self._tool(span)) is not None:
            self._look_at_tool(span, tool)
        elif span.said.get(names.MCP_METHOD):
            self._look_at_server(span)
        elif not _is_agent(span) and (own := self._own(span)) is not None:
            self._see(own, span, _title(span.said.get(names.WORKFLOW_NAME)))
            self._link(self._caller(span), ("calls",), own, span)
        self._look_at_model(span, actor)
        source = span.said.get(names.DATA_SOURCE)
        if source:
            self._reads(span, actor, _things(_DATA_KINDS, source), source)
        elif span.said.get(names.OPENINFERENCE_KIND) == names.OI_RETRIEVER and span.name:
            # It has no name of its own in these conventions: its span's, within its service.
            within = span.resource.get(names.SERVICE, "")
            where = f"{within}/{span.name}" if within else span.name
            self._reads(span, actor, _things(("retrieval_index", "dataset", "context_store"), where), where)
        prompt = _first(span.said, names.PROMPT_NAME)
        if prompt and not span.said.get(names.MCP_METHOD):
            self._look_at_prompt(span, actor, prompt)

    def _look_at_agent(self, span: Span) -> None:
        agent = self._agent(span)
        if agent is None:
            return
        self._see(agent, span, _title(_first(span.said, names.AGENT_NAME) or span.said.get(names.AGENT_ID)))
        caller = self._caller(span)
        if caller is None or agent.otherwise in caller.names:
            return  # nobody, itself, or a service that is the agent
        self._link(caller, ("chains_to",) if caller.otherwise.startswith("agent:") else ("calls",), agent, span)

    def _look_at_tool(self, span: Span, tool: Thing) -> None:
        self._see(tool, span, _title(_tool_name(span)))
        caller = self._caller(span)
        if caller == tool:
            # The same call, seen from the agent's side and from the protocol's: told of once.
            caller = self._outside(span, tool)
        else:
            self._link(caller, ("calls",), tool, span)
        server = self._mcp_server(span)
        if server is not None:
            self._see(server, span, _server_facts(span))
            self._link(server, ("exposes",), tool, span)
            if caller is not None and caller != server:
                self._link(caller, ("calls",), server, span)

    def _outside(self, span: Span, tool: Thing) -> Thing | None:
        """Return who called a tool, from a span within the call."""
        here, caller = span, self._caller(span)
        for _ in range(MAX_SERVER_DEPTH):
            above = self.spans.get((here.trace, here.parent))
            if caller != tool or above is None:
                break
            here, caller = above, self._caller(above)
        if (here.trace, here.id) in self.waits:
            # It knows the server that the outer one will be asked for when its turn comes.
            self.waits[span.trace, span.id] = None
        return None if caller == tool else caller

    def _look_at_server(self, span: Span) -> None:
        server = self._mcp_server(span)
        if server is None:
            return
        self._see(server, span, _server_facts(span))
        caller = self._caller(span)
        self._link(caller if caller != server else None, ("calls",), server, span)
        prompt = _first(span.said, names.PROMPT_NAME)
        if prompt:
            host = server.otherwise.partition(":")[2]
            found = _called("prompt", (f"{host}/{prompt}", prompt), otherwise=f"{host}/{prompt}")
            self._see(found, span, _title(prompt))
            self._link(server, ("exposes",), found, span)
            self._link(caller, ("uses",), found, span)
        uri = span.said.get(names.MCP_RESOURCE)
        if uri:
            resource = _resource(uri, server)
            self._see(resource, span, {})
            self._link(server, ("exposes",), resource, span)
            self._link(caller, ("reads",), resource, span)

    def _look_at_model(self, span: Span, actor: Thing | None) -> None:
        asked, answered = _first(span.said, names.REQUEST_MODEL), span.said.get(names.RESPONSE_MODEL)
        if asked or answered:
            self._count_input(span, actor)
        provider = _first(span.said, names.PROVIDER)
        offered = _things(("provider",), provider)
        self._see(offered, span, _title(provider))
        maker = {"attributes.provider": shown(provider)} if provider else {}
        for text in dict.fromkeys(filter(None, (asked or answered, answered))):
            version = asked is not None and text != asked and text.startswith(asked)
            model = _model(text, provider, ("model_version", "deployment") if version else _MODEL_KINDS)
            self._see(model, span, _title(text) | ({} if version else maker))
            self._link(actor, ("uses", "calls"), model, span)
            if version and asked is not None:
                self._link(model, ("version_of",), _model(asked, provider, _MODEL_KINDS), span)
            else:
                self._link(model, ("deployed_in",), offered, span)

    def _count_input(self, span: Span, actor: Thing | None) -> None:
        tokens = _first(span.said, names.INPUT_TOKENS)
        if actor is not None and actor.otherwise.startswith("agent:") and tokens is not None and tokens.isdecimal():
            sizes = self.mixes.setdefault(actor, {})
            size = size_of(int(tokens[:_DIGITS]))
            sizes[size] = sizes.get(size, 0) + 1

    def _look_at_prompt(self, span: Span, actor: Thing | None, prompt: str) -> None:
        found = _things(("prompt",), prompt)
        self._see(found, span, _title(prompt))
        self._link(actor, ("uses",), found, span)
        version = span.said.get(names.PROMPT_VERSION)
        if version:
            exact = _things(("prompt_version",), f"{prompt}/{version}")
            self._see(exact, span, {})
            self._link(exact, ("version_of",), found, span)
            self._link(actor, ("uses",), exact, span)

    def _reads(self, span: Span, actor: Thing | None, data: Thing | None, text: str) -> None:
        self._see(data, span, _title(text))
        self._link(actor, ("reads",), data, span)

    # -- notes

    def _see(self, thing: Thing | None, span: Span, facts: Mapping[str, Any]) -> None:
        if thing is None:
            return
        known = self.things.get(thing)
        if known is None:
            environment = environment_of(span)
            where = {} if environment is None else {"environments": [environment]}
            self.things[thing] = Sighting(facts={**facts, **where}, span=span)
        elif facts.keys() - known.facts.keys():
            self.things[thing] = Sighting(facts={**facts, **known.facts}, span=known.span)

    def _link(self, source: Thing | None, relations: tuple[str, ...], target: Thing | None, span: Span) -> None:
        if source is None or target is None or source == target:
            return
        self._see(source, span, {})
        self._see(target, span, {})
        seen = Seen(count=1, first_ns=span.begins_ns, last_ns=span.begins_ns, span=span)
        known = self.links.setdefault((source, relations, target), seen)
        if known is not seen:
            known.add(seen)


def environment_of(span: Span) -> str | None:
    """Return in which environment a span was made, as its resource says."""
    found = _first(span.resource, names.ENVIRONMENT)
    return None if found is None else shown(found, 60)


def _things(kinds: tuple[str, ...], text: str | None) -> Thing | None:
    """Return what is called so, as one of some kinds; None without a name."""
    if not text or not text.strip():
        return None
    found = tuple(f"{kind}:{named(text)}" for kind in kinds)
    return Thing(found, found[0])


def _called(kind: str, texts: Iterable[str], *, otherwise: str) -> Thing:
    """Return what may be called in several ways."""
    return Thing(tuple(f"{kind}:{named(text)}" for text in texts), f"{kind}:{named(otherwise)}")


def _model(text: str, provider: str | None, kinds: tuple[str, ...]) -> Thing:
    """Return a model: some call it by its name alone, some within its provider."""
    texts = (text, f"{provider}/{text}") if provider else (text,)
    return Thing(tuple(f"{kind}:{named(way)}" for kind in kinds for way in texts), f"{kinds[0]}:{named(text)}")


def _first(said: Mapping[str, str], keys: Iterable[str]) -> str | None:
    return next((said[key] for key in keys if said.get(key, "").strip()), None)


def _is_agent(span: Span) -> bool:
    return (
        span.said.get(names.OPERATION) in names.INVOKE_AGENT
        or span.said.get(names.OPENINFERENCE_KIND) == names.OI_AGENT
    )


def _tool_name(span: Span) -> str | None:
    """Return which tool a span is a call of."""
    calls = (
        span.said.get(names.OPERATION) == names.EXECUTE_TOOL
        or span.said.get(names.OPENINFERENCE_KIND) == names.OI_TOOL
        or span.said.get(names.MCP_METHOD) == names.MCP_CALL_TOOL
    )
    if not calls:
        return None
    found = _first(span.said, names.TOOL_NAME)
    if found is None and span.said.get(names.OPENINFERENCE_KIND) == names.OI_TOOL:
        found = span.name
    return found or None


def _title(text: str | None) -> dict[str, Any]:
    """Return how a thing is called, where its name does not say it as it is."""
    if not text or named(text) == text or without_addresses(text) != text:
        return {}
    return {"title": shown(text)}


def _server_facts(span: Span) -> dict[str, Any]:
    transport = span.said.get(names.TRANSPORT)
    facts: dict[str, Any] = {}
    if transport:
        facts["attributes.transport"] = "stdio" if transport == names.STDIO else "streamable_http"
    if version := span.said.get(names.MCP_PROTOCOL):
        facts["attributes.protocol_version"] = shown(version, 60)
    return facts


def _resource(uri: str, server: Thing) -> Thing:
    """Return what a resource of an MCP server is part of: itself, if that is known, else all under its authority.

    An address may name every single document, and may hold credentials and what was asked: none of it becomes a name.
    """
    host = server.otherwise.partition(":")[2]
    place = address(uri) or uri.partition("?")[0]
    try:
        parts = urlsplit(place)
        coarse = f"{host}/{parts.scheme or 'resource'}:" + (f"//{parts.hostname}" if parts.hostname else "")
    except ValueError:
        coarse = f"{host}/resource:"
    return _called("dataset", (f"{host}/{place}", place, coarse), otherwise=coarse)
