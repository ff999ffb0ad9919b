"""Which addresses may be called: only those that the operator lists, and a listed name only while it is what it seems.

| an entry | allows |
|---|---|
| `name` | https on port 443 of that host, while all its addresses are public ones |
| `name:port` | that port of that host, https or http, whatever its addresses are |
| an address, a network (CIDR) | https on any port of every host with all its addresses in it; http on this machine |

An empty list allows nothing. So whoever has the DNS of a listed name cannot turn a call inward: an internal address is
called only where the operator wrote it down, or wrote down host and port. Callbacks (`webhook_allow`) and imports
(`import_allow`) have a list each.

Whoever calls resolves a name once, has every address of it checked, and connects to one that was checked: a name that
changes its mind in between (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

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
    """This address may not be called: the message says why and what an operator can allow."""


@dataclass(frozen=True, slots=True)
class Target:
    """The parts of an address that decide whether it may be called. `host` is in lower case, without a final dot."""

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


@dataclass(frozen=True, slots=True)
class Wording:
    """How refusals call what is refused."""

    calls: str
    endpoint: str
    setting: str


CALLBACKS: Final = Wording("callbacks are not allowed to", "callback endpoint", "webhook_allow")
IMPORTS: Final = Wording("imports are not allowed from", "source's address", "import_allow")


class Allowed:
    """The addresses that may be called: those that the operator lists, and no others."""

    def __init__(self, entries: Iterable[str] = (), wording: Wording = IMPORTS) -> None:
        """`entries` are those of the setting that the wording names."""
        listed = list(entries)
        self._wording = wording
        self._networks = [ipaddress.ip_network(entry, strict=False) for entry in listed if _is_network(entry)]
        self._names = {entry.lower().rstrip(".") for entry in listed if not _is_network(entry)}

    def target(self, endpoint: str) -> Target:
        """Return the parts of an address that could be called if its host may be.

        Raises:
            RefusedDestination: it is malformed, or plain http where that is not allowed.
        """
        target = self._parse(endpoint)
        plain = target.scheme == "http" and (is_loopback(target.host) or self._is_exact(target))
        if target.scheme != "https" and not plain:
            raise RefusedDestination(
                f"a {self._wording.endpoint} is an https:// address (http only where {self._wording.setting} names "
                "host:port)"
            )
        return target

    def is_named(self, target: Target) -> bool:
        """Tell whether the operator lists this host by name, for this port. Its addresses must be right all the same,
        unless the entry names the port."""
        return self._is_exact(target) or (target.host in self._names and target.port == _HTTPS)

    def may(self, target: Target) -> bool:
        """Tell whether a host could be called, as far as that can be told without its addresses."""
        address = literal(target.host)
        return self.is_named(target) or bool(self._networks and (address is None or self._is_listed(address)))

    def require(self, target: Target, addresses: Iterable[Address]) -> None:
        """Refuse a host that has no address, or one that may not be called.

        Raises:
            RefusedDestination: it has; the message says what would allow it.
        """
        found = list(addresses)
        if found and (self._is_exact(target) or all(self._is_listed(address) for address in found)):
            return
        shown, setting = f"{self._wording.calls} {target.authority[:100]}", self._wording.setting
        if not self.is_named(target):
            raise RefusedDestination(
                f"{shown}; the operator lists every host, address and network that may be called in {setting}, a host "
                "with its port unless that is 443"
            )
        if not found or not all(self._is_listed(address) or is_public(address) for address in found):
            raise RefusedDestination(
                f"{shown}: not all its addresses are public; to call an internal one the operator lists it, its "
                f"network, or host:port in {setting}"
            )

    def _parse(self, endpoint: str) -> Target:
        name = self._wording.endpoint
        try:
            parts = urlsplit(endpoint)
            port = parts.port or (_HTTPS if parts.scheme == "https" else 80)
        except ValueError:
            raise RefusedDestination(f"the {name} is not a URL") from None
        if not endpoint.isascii() or any(char.isspace() or not char.isprintable() for char in endpoint):
            raise RefusedDestination(f"the {name} is not a URL")
        host = (parts.hostname or "").rstrip(".").lower()
        if not host or parts.username is not None or parts.password is not None or parts.fragment:
            raise RefusedDestination(f"a {name} has a host, and neither user nor fragment")
        return Target(parts.scheme, host, port)

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


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine by its name or address alone."""
    address = literal(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _unwrapped(address: Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _is_network(entry: str) -> bool:
    try:
        ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
    return True
