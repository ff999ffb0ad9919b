"""Idempotency keys: from a header to a command id that lasts as long as the log.

The command id decides the ids of the events, so the key lives in the same transaction as what it guards and is never
forgotten. It belongs to one principal of one tenant. The fingerprint says which request it was used with.

Source: draft-ietf-httpapi-idempotency-key-header-06.
"""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Mapping
from typing import Final

from quarterdeck_api.auth.caller import Caller
from quarterdeck_domain import canonical
from quarterdeck_domain.errors import InvalidInput

HEADER: Final = "idempotency-key"
MAX_KEY: Final = 255
NAMESPACE: Final = uuid.UUID("0f3b7a52-54a4-5d6f-8f5e-9f2d6c1b7e30")

_VISIBLE: Final = re.compile(r"[!-~](?:[ -~]{0,253}[!-~])?")


def idempotency_key(headers: Mapping[str, str]) -> str | None:
    """Return the key of a request, or None if it has none. The draft's quoted form and a bare one are the same key.

    Raises:
        InvalidInput: empty, longer than 255 characters, or not visible ASCII.
    """
    text = headers.get(HEADER)
    if text is None:
        return None
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = re.sub(r'\\(["\\])', r"\1", text[1:-1])
    if not _VISIBLE.fullmatch(text):
        raise InvalidInput(
            "an Idempotency-Key is 1 to 255 visible ASCII characters", header="Idempotency-Key", limit=MAX_KEY
        )
    return text


def command_id(caller: Caller, key: str | None) -> uuid.UUID:
    """Return the command id that a key stands for, the same for ever; a fresh one without a key."""
    if key is None:
        return fresh_id()
    return uuid.uuid5(NAMESPACE, f"{caller.tenant}|{caller.actor.principal}|{key}")


def fingerprint(caller: Caller, method: str, name: str, body: object) -> str:
    """Return the digest of a request's meaning: what is done, with which (parsed) body, and for whom.

    Raises:
        NotCanonical: the body is outside the profile (see `canonical`).
    """
    return canonical.digest(
        {"body": body, "for": list(caller.actor.on_behalf_of), "method": method, "name": name},
    )


def fresh_id() -> uuid.UUID:
    """Return a new UUID of version 7: this machine's milliseconds, then 74 random bits.

    Source: RFC 9562 section 5.7.
    """
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return uuid.UUID(int=value)
