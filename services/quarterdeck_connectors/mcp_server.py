"""Reading an MCP server over streamable HTTP: all it offers, or an error, within bounds of time, bytes and count.

The SDK negotiates the version: 2026-07-28 where the server speaks it, else the handshake of 2025-11-25 and before. We
ask for lists only: no tool is called, no resource read, no prompt filled in, and what the server asks of us (sampling,
elicitation, roots) is refused by the SDK, because nothing here answers it.

Programs on the user's own machine are read by `mcp_stdio`, which nothing that answers requests may import.

Source: Model Context Protocol 2026-07-28 and 2025-11-25: lifecycle, transports, pagination.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final, Literal

import anyio
import httpx2
import mcp_types as types
import msgspec
from mcp.client import Client, Transport
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel, ValidationError

from quarterdeck_connectors.bounded_http import BoundedTransport, Budget, address_of
from quarterdeck_connectors.destinations import Allowed
from quarterdeck_connectors.draft import Imported, address
from quarterdeck_connectors.errors import SourceAway, UnreadableSource
from quarterdeck_connectors.mcp_offer import Item, Offer, to_declaration
from quarterdeck_domain.checks import legible
from quarterdeck_domain.errors import QuarterdeckError

for _name in ("mcp", "client"):
    # What the SDK logs of a server, with tracebacks and in the server's words, is in our errors, legible and once.
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)

_CLIENT: Final = types.Implementation(name="quarterdeck", version="1")
_UNPARSED: Final = re.compile(r"Failed to parse (?:JSON response|SSE message): .*?(?:Invalid JSON: (?P<why>.*?) \[|$)")
"""How the SDK says, in an error that it makes up as if the server had sent it, that an answer was no message."""
_GONE: Final = frozenset({types.CONNECTION_CLOSED, types.REQUEST_TIMEOUT})

_AWAY: Final = (
    MCPError,
    httpx2.HTTPError,
    httpx2.StreamError,
    OSError,
    anyio.ClosedResourceError,
    anyio.BrokenResourceError,
)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much one server may take of us, over a whole reading."""

    seconds: float = 60.0
    size: int = 32 * 2**20
    """In bytes, over all answers."""
    pages: int = 1_000
    items: int = 10_000
    """Tools, resources, templates and prompts together."""


LIMITS: Final = Limits()


async def import_mcp_server(
    url: str,
    server: str,
    *,
    headers: Mapping[str, str] | None = None,
    internal: bool = False,
    allowed: Allowed | None = None,
    on_drift: Literal["note", "quarantine"] = "note",
    limits: Limits = LIMITS,
) -> Imported:
    """Return what a server declares. `server` is how the house calls it; see `read_offer` for the rest.

    Raises:
        UnreadableSource, SourceAway: as `read_offer`; or what it offers cannot be named or digested.
    """
    offer = await read_offer(url, headers=headers, internal=internal, allowed=allowed, limits=limits)
    return await anyio.to_thread.run_sync(
        lambda: to_declaration(
            offer, server=server, endpoint=address(url), transport="streamable_http", on_drift=on_drift
        )
    )


async def read_offer(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    internal: bool = False,
    allowed: Allowed | None = None,
    limits: Limits = LIMITS,
) -> Offer:
    """Return everything that a server offers. `headers` go to it alone, and are never recorded. `internal` lets the
    address be one that the internet does not lead to: only for people on their own machine, never for a request.
    With `allowed`, it is one that the operator allows.

    Raises:
        SourceAway: it does not answer, or answers too slowly.
        UnreadableSource: the address or what it answers is not what it should be, is too much or has no end; says what
            would be right.
        AddressNotAllowed: the operator does not allow it.
    """
    with anyio.CancelScope(deadline=anyio.current_time() + limits.seconds) as scope:
        budget = Budget(limits.size, scope.cancel)
        async with errors_of_sdk(budget):
            parsed, place = await address_of(url, internal=internal, allowed=allowed)
            client = httpx2.AsyncClient(
                transport=BoundedTransport(parsed, place, budget),
                headers={**(headers or {}), "accept-encoding": "identity"},
                timeout=httpx2.Timeout(limits.seconds),
                trust_env=False,
            )
            async with client:
                transport = streamable_http_client(str(parsed), http_client=client, max_sse_event_size=limits.size)
                return await read_session(transport, limits)
    raise budget.problem or SourceAway(
        f"it was not read to its end within {limits.seconds:g} seconds", seconds=limits.seconds
    )


async def read_session(transport: Transport, limits: Limits) -> Offer:
    """Return everything that the server behind a transport offers.

    Raises:
        UnreadableSource: its lists do not end, or are too long.
        MCPError, ValidationError, …: as the SDK does; see `errors_of_sdk`.
    """
    async with Client(transport, cache=None, client_info=_CLIENT) as client:
        listing = _Listing(client, limits)
        has = client.server_capabilities
        tools = await listing.read("tools/list", "tools") if has.tools else ()
        resources = await listing.read("resources/list", "resources") if has.resources else ()
        templates = await listing.read("resources/templates/list", "resourceTemplates") if has.resources else ()
        prompts = await listing.read("prompts/list", "prompts") if has.prompts else ()
        said = client.server_info
        return Offer(
            protocol_version=client.protocol_version,
            implementation={} if said is None else said.model_dump(by_alias=True, mode="json", exclude_none=True),
            instructions=client.instructions,
            tools=tools,
            resources=resources,
            templates=templates,
            prompts=prompts,
        )


class _Page(BaseModel, extra="allow"):
    """A page as it came: what is digested is what was sent, not what a model of ours kept of it."""

    nextCursor: str | None = None  # noqa: N815 - the standard's name


_REQUESTS: Final[Mapping[str, Callable[..., types.Request[Any, Any]]]] = {
    "tools/list": types.ListToolsRequest,
    "resources/list": types.ListResourcesRequest,
    "resources/templates/list": types.ListResourceTemplatesRequest,
    "prompts/list": types.ListPromptsRequest,
}


class _Listing:
    """Reads lists page by page, and counts over all of them."""

    def __init__(self, client: Client, limits: Limits) -> None:
        self._client = client
        self._limits = limits
        self._pages = 0
        self._items = 0

    async def read(self, method: str, member: str) -> tuple[Item, ...]:
        found: list[Item] = []
        seen: set[str] = set()
        cursor: str | None = None
        while True:
            page = await self._page(method, cursor)
            items: Sequence[Item] = (page.model_extra or {}).get(member) or ()
            found.extend(items)
            self._pages += 1
            self._items += len(items)
            if self._items > self._limits.items:
                raise UnreadableSource(f"it offers more than {self._limits.items} things", limit=self._limits.items)
            cursor = page.nextCursor
            if cursor is None:
                return tuple(found)
            if cursor in seen:
                raise UnreadableSource(f"its answers to {method} lead round in a circle: a cursor came twice")
            if self._pages >= self._limits.pages:
                raise UnreadableSource(f"its lists have more than {self._limits.pages} pages", limit=self._limits.pages)
            seen.add(cursor)

    async def _page(self, method: str, cursor: str | None) -> _Page:
        request = _REQUESTS[method](params=types.PaginatedRequestParams(cursor=cursor))
        try:
            return await self._client.session.send_request(request, _Page)
        except MCPError as error:
            # Servers that have resources and no templates often do not know the question.
            if error.error.code == types.METHOD_NOT_FOUND and method == "resources/templates/list":
                return _Page()
            raise


@contextlib.asynccontextmanager
async def errors_of_sdk(budget: Budget | None = None) -> AsyncIterator[None]:
    """Turn what the SDK and its HTTP client raise over a server into errors of ours. What `budget` refused comes first:
    the rest only follows from it.

    Raises:
        SourceAway, UnreadableSource: as `read_offer`.
    """
    try:
        yield
    except (
        BaseExceptionGroup,
        *_AWAY,
        ValidationError,
        httpx2.InvalidURL,
        RuntimeError,
        ValueError,
    ) as error:
        if budget is not None and budget.problem is not None:
            raise budget.problem from None
        found = _first(error)
        if found is None:
            raise
        raise found from None


def _first(error: BaseException) -> QuarterdeckError | None:
    """Return what an error of the SDK means, or None if it is not about the server: a cancellation, a bug."""
    if isinstance(error, BaseExceptionGroup):
        meant = [_first(inner) for inner in error.exceptions]
        return None if None in meant else meant[0]
    if isinstance(error, QuarterdeckError):
        return error
    said = legible(" ".join(str(error).split()), limit=300) or type(error).__name__
    if isinstance(error, MCPError) and error.error.code == types.PARSE_ERROR and (no := _UNPARSED.match(said)):
        right = "a message of JSON-RPC 2.0 has `jsonrpc`, `id`, and an object as `result` or `error`"
        problem = f"what it answers is no JSON: {no['why']}" if no["why"] else f"what it answers is no message: {right}"
        return UnreadableSource(problem, code=error.error.code)
    if isinstance(error, MCPError) and error.error.code not in _GONE:
        return UnreadableSource(f"it does not answer as an MCP server does: {said}", code=error.error.code)
    if isinstance(error, ValidationError):
        return UnreadableSource(f"what it answers is not what the protocol says: {_where(error)}")
    if isinstance(error, _AWAY):
        return SourceAway(f"it does not answer: {said}")
    if isinstance(error, RuntimeError | ValueError | httpx2.InvalidURL):
        return UnreadableSource(f"it does not answer as an MCP server does: {said}")
    return None


def _where(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"]))
    return legible(f"{place}: {first['msg']}", limit=300)
