"""HTTP to a server that nobody trusts: one address, looked at before it is connected to, and so many bytes, not more.

A name is resolved once and every connection goes to the address that was looked at, so a name that answers otherwise
the second time (DNS rebinding) leads nowhere else. Redirects to other origins are the caller's to refuse; here no
request leaves for another host. What is compressed is refused: its size is not known before it is unpacked.

Source: RFC 6890 and the IANA special-purpose address registries (by `ipaddress`); RFC 6052, section 2.1 (64:ff9b::/96).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import AsyncIterator, Callable
from typing import Final, cast

import anyio
import httpx2

from quarterdeck_connectors.destinations import Allowed, RefusedDestination
from quarterdeck_connectors.errors import AddressNotAllowed, SourceAway, UnreadableSource
from quarterdeck_domain.checks import legible
from quarterdeck_domain.errors import QuarterdeckError

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


class Budget:
    """How many bytes may still come, over all answers. Whatever is refused below the HTTP client is kept in `problem`,
    because what lies between may swallow it, and `stop` is called at once."""

    def __init__(self, limit: int, stop: Callable[[], None]) -> None:
        self.limit = limit
        self.left = limit
        self.problem: QuarterdeckError | None = None
        self._stop = stop

    def take(self, count: int) -> None:
        """Count what came.

        Raises:
            UnreadableSource: it is too much.
        """
        self.left -= count
        if self.left < 0:
            raise self.refuse(UnreadableSource(f"it sends more than {self.limit} bytes", limit=self.limit))

    def refuse(self, problem: QuarterdeckError) -> QuarterdeckError:
        """Keep the first problem, stop everything, and return the problem."""
        self.problem = self.problem or problem
        self._stop()
        return problem


class BoundedTransport(httpx2.AsyncBaseTransport):
    """Sends requests to one origin at one address, and counts what comes back."""

    def __init__(self, url: httpx2.URL, address: str, budget: Budget) -> None:
        self._origin = _origin(url)
        self._host = url.host
        self._address = address
        self._budget = budget
        self._inner = httpx2.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request and return its answer, of which the body is counted as it is read."""
        if _origin(request.url) != self._origin:
            elsewhere = legible(f"{request.url.scheme}://{request.url.netloc.decode('ascii', 'replace')}", limit=200)
            raise self._budget.refuse(UnreadableSource(f"it leads elsewhere, to {elsewhere}: name that one"))
        pinned = httpx2.Request(
            request.method,
            request.url.copy_with(host=self._address),
            headers=request.headers,
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": self._host},
        )
        answer = await self._inner.handle_async_request(pinned)
        stream = cast(httpx2.AsyncByteStream, answer.stream)
        if answer.headers.get("content-encoding", "identity").strip().lower() != "identity":
            await stream.aclose()
            raise self._budget.refuse(UnreadableSource("its answer is compressed, which was not asked for"))
        if answer.status_code in {401, 403}:
            await stream.aclose()
            raise self._budget.refuse(
                UnreadableSource(
                    f"it wants to know who asks (it answered {answer.status_code}): give an Authorization header",
                    status=answer.status_code,
                )
            )
        return httpx2.Response(
            answer.status_code,
            headers=answer.headers,
            stream=_Counted(stream, self._budget),
            extensions=answer.extensions,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._inner.aclose()


class _Counted(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream, budget: Budget) -> None:
        self._inner = inner
        self._budget = budget

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._inner:
            self._budget.take(len(piece))
            yield piece

    async def aclose(self) -> None:
        await self._inner.aclose()


async def address_of(url: str, *, internal: bool = False, allowed: Allowed | None = None) -> tuple[httpx2.URL, str]:
    """Return a URL and the address that its host has now. With `internal`, addresses that the internet does not lead
    to (this machine, private networks, link-local metadata services) may be read too: for people on their own machine.
    With `allowed`, only what it allows: for whoever asks from elsewhere.

    Raises:
        UnreadableSource: it is no HTTP address, has a user and password in it, or leads to an internal address.
        AddressNotAllowed: the operator does not allow it.
        SourceAway: its name is not known.
    """
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError, TypeError) as error:
        raise UnreadableSource(f"this is no address: {legible(str(error), limit=200)}") from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise UnreadableSource("an address begins with https:// or http:// and names a host")
    if parsed.userinfo:
        raise UnreadableSource("an address has no user and password in it: give them as a header")
    host = parsed.host
    target = None
    if allowed is not None:
        try:
            target = allowed.target(url)
            if not allowed.may(target):
                allowed.require(target, ())  # says what would allow it; nobody's name is asked for
        except RefusedDestination as error:
            raise AddressNotAllowed(str(error)) from None
    try:
        found = await anyio.getaddrinfo(host, parsed.port or 0, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise SourceAway(f"{legible(host, limit=200)} is not known here", host=legible(host, limit=200)) from None
    addresses = list(dict.fromkeys(str(item[4][0]) for item in found))
    if allowed is not None and target is not None:
        try:
            allowed.require(target, [ipaddress.ip_address(item.partition("%")[0]) for item in addresses])
        except RefusedDestination as error:
            raise AddressNotAllowed(str(error), host=legible(host, limit=200)) from None
    elif not internal and (inside := next((item for item in addresses if is_internal(item)), None)):
        raise UnreadableSource(
            f"{legible(host, limit=200)} leads to {inside}, an internal address: such servers are read from the "
            "command line, on a machine of that network",
            address=inside,
        )
    if not addresses:
        raise SourceAway(f"{legible(host, limit=200)} has no address", host=legible(host, limit=200))
    return parsed, addresses[0]


def is_internal(address: str) -> bool:
    """Tell whether an address is one that the internet does not lead to, also where it is wrapped in another."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return True
    if isinstance(found, ipaddress.IPv6Address):
        if found in _NAT64:
            return is_internal(str(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)))
        if (inner := found.ipv4_mapped or found.sixtofour) is not None:
            return is_internal(str(inner))
        if found.teredo is not None:
            return True
    return not found.is_global or found.is_multicast


def _origin(url: httpx2.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)
