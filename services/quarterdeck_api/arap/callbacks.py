"""Whether an endpoint may be called back, asked when a request is submitted: the rule is that of the delivery.

A listed host that has no address just now is accepted: delivery resolves it again, and checks again.

Source: ARAP draft, 'Callback Completion' and 'Callback Security'.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from quarterdeck_api.arap.errors import CallbackRefused
from quarterdeck_workflows.callback_delivery.destination import Destinations, RefusedDestination, literal

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
    destinations = Destinations(allow)
    try:
        target = destinations.target(endpoint)
        texts = (target.host,) if literal(target.host) is not None else await resolve(target.host)
        addresses = [address for text in texts if (address := literal(text)) is not None]
        if addresses or not destinations.is_named(target):
            destinations.require(target, addresses)
    except RefusedDestination as error:
        raise CallbackRefused(str(error), field="callback.endpoint") from None
