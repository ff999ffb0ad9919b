"""Cursors: places in a connection, sealed so that they mean nothing anywhere else.

A cursor is base64url of a 16-byte HMAC and the place's key. The HMAC is bound to the tenant (each has its own key), to
the connection and to the arguments that gave it its order and content: a cursor from elsewhere, or from another
question, is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Any, Final

import msgspec

from quarterdeck_domain.errors import InvalidInput
from quarterdeck_ledger.keys import KeyStore

KEY_NAME: Final = "cursors"
"""Under this name each tenant's secret lies in the key store. Data subjects are `prn_…` or `type:id`, never this."""
MAX_LENGTH: Final = 1_024
_MAC_BYTES: Final = 16


class InvalidCursor(InvalidInput):
    """The cursor is damaged, or belongs to another question. Take cursors from `pageInfo` of the same question."""

    code = "invalid_cursor"


class Cursors:
    """Makes and reads the cursors of one connection of one tenant."""

    __slots__ = ("_key",)

    def __init__(self, secret: bytes, connection: str, *arguments: object) -> None:
        """`arguments` are those that decide which nodes there are, and in which order; not `first` and `after`."""
        place = msgspec.json.encode(["quarterdeck cursor v1", connection, arguments], order="sorted")
        self._key = hmac.digest(secret, place, hashlib.sha256)

    def make(self, *key: str | int) -> str:
        """Return the cursor of the node with that key."""
        plain = msgspec.msgpack.encode(key)
        mac = hmac.digest(self._key, plain, hashlib.sha256)[:_MAC_BYTES]
        return _text(mac + plain)

    def read(self, cursor: str | None) -> tuple[Any, ...] | None:
        """Return the key in a cursor; None for no cursor.

        Raises:
            InvalidCursor: not made by this connection with these arguments in this tenant.
        """
        if cursor is None:
            return None
        try:
            if len(cursor) > MAX_LENGTH:
                raise ValueError
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            if _text(raw) != cursor:
                raise ValueError
        except (ValueError, binascii.Error):
            raise _invalid() from None
        mac, plain = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, hmac.digest(self._key, plain, hashlib.sha256)[:_MAC_BYTES]):
            raise _invalid()
        key: tuple[Any, ...] = tuple(msgspec.msgpack.decode(plain))
        return key


async def cursor_secret(keys: KeyStore, tenant: str) -> bytes:
    """Return the secret that a tenant's cursors are sealed with, made at its first use."""
    return (await keys.get_or_create(tenant, KEY_NAME)).secret


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _invalid() -> InvalidCursor:
    return InvalidCursor(
        "this cursor does not belong to this question; take one from `pageInfo` or `edges` of the same"
    )
