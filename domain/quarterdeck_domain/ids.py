"""Ids: opaque, prefixed by kind, made from UUIDs that callers inject.

`apr_…` approval request, `bnd_…` policy bundle, `dec_…` decision, `grt_…` grant, `key_…` API key,
`prn_…` principal. The suffix is Crockford base32 of the UUID's 128 bits: sortable for version 7.
"""

from __future__ import annotations

import re
import uuid
from typing import Final

from quarterdeck_domain.errors import InvalidInput

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_PATTERN: Final = re.compile(r"[a-z]{3}_[0-7][0-9a-hjkmnp-tv-z]{25}")
TENANT_PATTERN: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def make_id(prefix: str, value: uuid.UUID) -> str:
    """Return `<prefix>_<26 characters>` for a UUID."""
    number = value.int
    return f"{prefix}_" + "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


def uuid_of(value: str) -> uuid.UUID:
    """Return the UUID of an id that `make_id` made."""
    number = 0
    for char in value.rpartition("_")[2]:
        number = number << 5 | _ALPHABET.index(char)
    return uuid.UUID(int=number)


def check_id(value: str, prefix: str) -> str:
    """Return the id unchanged.

    Raises:
        InvalidInput: it is not an id of that kind.
    """
    if not value.startswith(f"{prefix}_") or not _PATTERN.fullmatch(value):
        raise InvalidInput(f"{value[:60]!r} is not a {prefix}_ id", expected=f"{prefix}_ and 26 characters")
    return value


def check_tenant(value: str) -> str:
    """Return the tenant name unchanged: a DNS label of at most 63 lower-case characters.

    Raises:
        InvalidInput: it is not one.
    """
    if not TENANT_PATTERN.fullmatch(value):
        raise InvalidInput(
            f"{value[:70]!r} is not a tenant name",
            expected="lower-case letters, digits and inner hyphens, at most 63",
        )
    return value
