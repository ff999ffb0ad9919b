"""Where callbacks may go: only to what the operator lists in `webhook_allow`, at submission and at delivery alike.

| an entry | allows |
|---|---|
| `name` | https on port 443 of that host, while all its addresses are public ones |
| `name:port` | that port of that host, https or http, whatever its addresses are |
| an address, a network (CIDR) | https on any port of every host with all its addresses in it; http on this machine |

An empty list allows nothing. So whoever has the DNS of a listed name cannot turn callbacks inward: an internal address
is called only where the operator wrote it down, or wrote down host and port.

At delivery a name is resolved once, every address it has is checked, and the connection goes to an address that was
checked: a name that changes its mind in between (DNS rebinding) gains nothing. No redirects.

Source: ARAP draft, 'Callback Completion' and 'Callback Security'.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import httpx

_TIMEOUT: Final = httpx.Timeout(10)
_HTTPS: Final = 443
_UNICAST_6: Final = ipaddress.ip_network("2000::/3")
"""All that is given out of IPv6 to the public; what translates IPv4 (64:ff9b::/96) lies outside."""
_SPECIAL: Final = tuple(
    ipaddress.ip_network(network)
    for network in ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2002::/16", "2001:db8::/32", "3fff::/20")
)
"""Of the registries of special purpose addresses (RFC 6890), what not every release of `ipaddress` knows."""
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class RefusedDestination(Exception):
    """This endpoint may not be called: the message says why and what an operator can allow."""


@dataclass(frozen=True, slots=True)
class Target:
    """The parts of an endpoint that decide whether it may be called. `host` is in lower case, without a final dot."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """`host:port`, as the operator lists it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port as one text, the same for every spelling: the party that is called."""
        return f"{self.scheme}://{self.authority}"


class Destinations:
    """The endpoints that may be called: those that the operator lists, and no others."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        """`allowed` is the setting `webhook_allow`."""
        entries = list(allowed)
        self._networks = [ipaddress.ip_network(entry, strict=False) for entry in entries if _is_network(entry)]
        self._names = {entry.lower().rstrip(".") for entry in entries if not _is_network(entry)}

    async def post(self, endpoint: str, body: bytes, headers: dict[str, str]) -> int:
        """Send a POST and return the answer's status.

        Raises:
            RefusedDestination: the endpoint may not be called.
            httpx.HTTPError: nobody answered.
        """
        host, port, scheme = await asyncio.to_thread(self.check, endpoint)
        parts = urlsplit(endpoint)
        literal = f"[{host[0]}]" if host[0].version == 6 else str(host[0])
        target = f"{scheme}://{literal}:{port}{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        async with httpx.AsyncClient(timeout=_TIMEOUT, follow_redirects=False, trust_env=False) as client:
            request = client.build_request("POST", target, content=body, headers={**headers, "host": parts.netloc})
            request.extensions["sni_hostname"] = parts.hostname
            response = await client.send(request, stream=True)
            try:
                return response.status_code
            finally:
                await response.aclose()

    def check(self, endpoint: str) -> tuple[list[Address], int, str]:
        """Return the addresses, port and scheme of an endpoint that may be called. Resolves the name: blocks.

        Raises:
            RefusedDestination: it may not.
        """
        target = self.target(endpoint)
        addresses = _resolve(target.host, target.port)
        self.require(target, addresses)
        return addresses, target.port, target.scheme

    def target(self, endpoint: str) -> Target:
        """Return the parts of an endpoint that could be called if its host may be.

        Raises:
            RefusedDestination: it is malformed, or plain http where that is not allowed.
        """
        target = _parse(endpoint)
        plain = target.scheme == "http" and (_is_loopback(target.host) or self._is_exact(target))
        if target.scheme != "https" and not plain:
            raise RefusedDestination(
                "a callback endpoint is an https:// address (http only where webhook_allow names host:port)"
            )
        return target

    def is_named(self, target: Target) -> bool:
        """Tell whether the operator lists this host by name, for this port. Its addresses must be right all the same,
        unless the entry names the port."""
        return self._is_exact(target) or (target.host in self._names and target.port == _HTTPS)

    def require(self, target: Target, addresses: Iterable[Address]) -> None:
        """Refuse a host that has no address, or one to which callbacks are not allowed.

        Raises:
            RefusedDestination: it has; the message says what would allow it.
        """
        found = list(addresses)
        if found and (self._is_exact(target) or all(self._is_listed(address) for address in found)):
            return
        if not self.is_named(target):
            raise RefusedDestination(
                f"callbacks are not allowed to {target.authority[:100]}; the operator lists every host, address and "
                "network that may be called in webhook_allow, a host with its port unless that is 443"
            )
        if not found or not all(self._is_listed(address) or is_public(address) for address in found):
            raise RefusedDestination(
                f"callbacks are not allowed to {target.authority[:100]}: not all its addresses are public; to call an "
                "internal one the operator lists it, its network, or host:port in webhook_allow"
            )

    def _is_exact(self, target: Target) -> bool:
        return target.authority in self._names

    def _is_listed(self, address: Address) -> bool:
        plain = _unwrapped(address)
        return any(plain in network for network in self._networks if network.version == plain.version)


def is_public(address: Address) -> bool:
    """Tell whether an address is one of the public internet: neither internal nor a way to carry an internal one."""
    plain = _unwrapped(address)
    if plain.version == 6 and plain not in _UNICAST_6:
        return False
    special = any(plain in network for network in _SPECIAL if network.version == plain.version)
    return plain.is_global and not (special or plain.is_multicast or plain.is_reserved)


def literal(text: str) -> Address | None:
    """Return the address that a text is, without its zone; None for a name."""
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _unwrapped(address: Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _parse(endpoint: str) -> Target:
    try:
        parts = urlsplit(endpoint)
        port = parts.port or (_HTTPS if parts.scheme == "https" else 80)
    except ValueError:
        raise RefusedDestination("the callback endpoint is not a URL") from None
    if not endpoint.isascii() or any(char.isspace() or not char.isprintable() for char in endpoint):
        raise RefusedDestination("the callback endpoint is not a URL")
    host = (parts.hostname or "").rstrip(".").lower()
    if not host or parts.username is not None or parts.password is not None or parts.fragment:
        raise RefusedDestination("a callback endpoint has a host, and neither user nor fragment")
    return Target(parts.scheme, host, port)


def _resolve(host: str, port: int) -> list[Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise RefusedDestination(f"the callback endpoint {host[:100]} cannot be resolved") from None
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


def _is_loopback(host: str) -> bool:
    address = literal(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _is_network(entry: str) -> bool:
    try:
        ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
    return True
