"""Where callbacks may go: only to what the operator lists in `webhook_allow`, at submission and at delivery alike. What
an entry allows: `quarterdeck_connectors.destinations`.

At delivery a name is resolved once, every address it has is checked, and the connection goes to an address that was
checked: a name that changes its mind in between (DNS rebinding) gains nothing. No redirects.

Source: ARAP draft, 'Callback Completion' and 'Callback Security'.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

import httpx

from quarterdeck_connectors.destinations import (
    CALLBACKS,
    Address,
    Allowed,
    RefusedDestination,
    Target,
    is_public,
    literal,
)

__all__ = ["Address", "Destinations", "RefusedDestination", "Target", "is_public", "literal"]

_TIMEOUT: Final = httpx.Timeout(10)


class Destinations(Allowed):
    """The endpoints that may be called: those that the operator lists, and no others."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        """`allowed` is the setting `webhook_allow`."""
        super().__init__(allowed, CALLBACKS)

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


def _resolve(host: str, port: int) -> list[Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise RefusedDestination(f"the callback endpoint {host[:100]} cannot be resolved") from None
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
