"""Whether an endpoint may be called back: only hosts that the operator allows, and none that is internal otherwise.

The allowlist is `webhook_allow`: host names, `host:port`s, addresses and networks. A name on it is allowed as it is;
any other name is allowed if every address it resolves to is on it. An empty list allows no callback. Addresses are
https; http only on this machine, or where the list names `host:port`. Delivery checks again, against the address it
really connects to.

Source: ARAP draft, 'Callback Completion' and 'Callback Security'.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from urllib.parse import SplitResult, urlsplit

from quarterdeck_api.arap.errors import CallbackRefused

RESOLVE_TIMEOUT_S: Final = 3.0

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""From a host name to its addresses."""


async def resolve_host(host: str) -> Sequence[str]:
    """Return the addresses of a host name; none if it has none or nobody answers in time."""
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT_S):
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):
        return ()
    return sorted({str(entry[4][0]) for entry in found})


async def check_callback(endpoint: str, allow: Sequence[str], resolve: Resolve = resolve_host) -> None:
    """Refuse an endpoint that callbacks may not be sent to.

    Raises:
        CallbackRefused: not https, malformed, or not allowed by the operator.
    """
    parts, port = _split(endpoint)
    host = (parts.hostname or "").rstrip(".").lower()
    if not host or parts.username is not None or parts.password is not None or parts.fragment:
        raise CallbackRefused(
            "callback.endpoint must have a host, and neither user nor fragment", field="callback.endpoint"
        )
    names = {item.lower().rstrip(".") for item in allow}
    exactly = f"{host}:{port}" in names
    if parts.scheme != "https" and not (parts.scheme == "http" and (exactly or _is_loopback(host))):
        raise CallbackRefused("callback.endpoint must be an https:// address", field="callback.endpoint")
    if exactly or host in names:
        return
    addresses = (host,) if _address(host) is not None else await resolve(host)
    networks = [network for item in allow if (network := _network(item)) is not None]
    if not addresses or not all(_within(address, networks) for address in addresses):
        raise CallbackRefused(
            "callbacks are not allowed to this host; the operator allows hosts and networks in webhook_allow",
            host=host,
        )


def _split(endpoint: str) -> tuple[SplitResult, int]:
    try:
        parts = urlsplit(endpoint)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise CallbackRefused("callback.endpoint is not an address", field="callback.endpoint") from None
    if not endpoint.isascii() or any(char.isspace() or not char.isprintable() for char in endpoint):
        raise CallbackRefused("callback.endpoint is not an address", field="callback.endpoint")
    return parts, port


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _network(item: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(item, strict=False)
    except ValueError:
        return None


def _within(text: str, networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    address = _address(text)
    return address is not None and any(address.version == net.version and address in net for net in networks)


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)
