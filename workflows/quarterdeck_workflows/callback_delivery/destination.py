"""Where callbacks may go. A name is resolved once, every address it has is checked, and the connection goes to an
address that was checked: a name that changes its mind in between (DNS rebinding) gains nothing. No redirects.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

import httpx

_TIMEOUT: Final = httpx.Timeout(10)
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class RefusedDestination(Exception):
    """This endpoint may not be called: the message says why and what an operator can allow."""


class Destinations:
    """The endpoints that may be called: public ones over https, and what the operator allows by name or network."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        """`allowed` holds host names, `host:port`s, addresses and networks that may be called although internal."""
        entries = list(allowed)
        self._networks = [ipaddress.ip_network(entry, strict=False) for entry in entries if _is_network(entry)]
        self._hosts = {entry.lower() for entry in entries if not _is_network(entry)}

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
        try:
            parts = urlsplit(endpoint)
            port = parts.port
        except ValueError:
            raise RefusedDestination("the callback endpoint is not a URL") from None
        host = (parts.hostname or "").lower()
        if parts.scheme not in {"https", "http"} or not host or parts.username or parts.password or parts.fragment:
            raise RefusedDestination("a callback endpoint is an https:// URL without user and fragment")
        port = port or (443 if parts.scheme == "https" else 80)
        named = host in self._hosts or f"{host}:{port}" in self._hosts
        addresses = _resolve(host, port)
        inside = [address for address in addresses if not (named or self._is_allowed(address))]
        if any(not _is_public(address) for address in inside):
            raise RefusedDestination(
                f"the callback endpoint {host} is an internal address; an operator may allow it in webhook_allow"
            )
        if parts.scheme == "http" and inside:
            raise RefusedDestination("a callback endpoint is an https:// URL (http only where webhook_allow names it)")
        return addresses, port, parts.scheme

    def _is_allowed(self, address: Address) -> bool:
        return any(address in network for network in self._networks if network.version == address.version)


def _resolve(host: str, port: int) -> list[Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise RefusedDestination(f"the callback endpoint {host[:100]} cannot be resolved") from None
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


def _is_public(address: Address) -> bool:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    subject = mapped or address
    return subject.is_global and not subject.is_multicast


def _is_network(entry: str) -> bool:
    try:
        ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
    return True
