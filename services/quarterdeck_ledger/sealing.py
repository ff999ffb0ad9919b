"""Personal fields in entries: AES-256-GCM under the data subject's key.

A sealed value is the text `sealed:v1:<key id>:<base64url of nonce and ciphertext>`. The nonce is an HMAC
of place and plaintext under a key derived from the subject's: secret (so it salts), and the same for a repeated
event (so a retry makes the same bytes), never the same for two plaintexts.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from quarterdeck_domain.events import Event, EventRegistry
from quarterdeck_ledger.keys import KeyStore, SubjectKey

PREFIX: Final = "sealed:v1:"
_NONCE_BYTES: Final = 12


def data_subject(subject: str) -> str:
    """Return whose key seals what is said of a subject: a principal of ours has one, however it is referred to.

    `agent:prn_…` and `prn_…` are the same one; anybody else is known by the whole reference.
    """
    principal = subject.rpartition(":")[2]
    return principal if principal.startswith("prn_") else subject


async def seal(
    keys: KeyStore, registry: EventRegistry, tenant: str, event_id: uuid.UUID, payload: Event, data: dict[str, Any]
) -> dict[str, Any]:
    """Return the event's data with every personal field that holds a value sealed."""
    fields = [name for name in registry.personal(payload.type) if data[name] is not None]
    if not fields:
        return data
    subject = str(data[registry.subject_field(payload.type)])
    key = await keys.get_or_create(tenant, data_subject(subject))
    return data | {name: _seal(key, _place(tenant, event_id, name), data[name]) for name in fields}


async def unseal(
    keys: KeyStore, registry: EventRegistry, tenant: str, event_id: uuid.UUID, event_type: str, data: dict[str, Any]
) -> dict[str, Any]:
    """Return the event's data with personal fields in clear, or None where the key was destroyed."""
    opened = dict(data)
    for name in registry.personal(event_type):
        text = data.get(name)
        if isinstance(text, str) and text.startswith(PREFIX):
            subject = str(data[registry.subject_field(event_type)])
            opened[name] = await open_sealed(keys, tenant, subject, event_id, name, text)
    return opened


async def open_sealed(
    keys: KeyStore, tenant: str, subject: str, event_id: uuid.UUID, field: str, sealed: str
) -> str | None:
    """Return the plaintext of one sealed value; None if its key was destroyed.

    Raises:
        ValueError: the value was not sealed for this place: it was moved or altered.
    """
    key_id, _, encoded = sealed.removeprefix(PREFIX).partition(":")
    key = await keys.get(tenant, data_subject(subject))
    if key is None or key.id != key_id:
        return None
    raw = base64.urlsafe_b64decode(encoded)
    try:
        plain = AESGCM(key.secret).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _place(tenant, event_id, field))
    except InvalidTag:
        raise ValueError(f"sealed field {field!r} of event {event_id} does not open with its subject's key") from None
    return plain.decode()


def _seal(key: SubjectKey, place: bytes, text: str) -> str:
    plain = text.encode()
    nonce_key = hmac.digest(key.secret, b"quarterdeck nonce v1", hashlib.sha256)
    nonce = hmac.digest(nonce_key, place + b"\x00" + plain, hashlib.sha256)[:_NONCE_BYTES]
    raw = nonce + AESGCM(key.secret).encrypt(nonce, plain, place)
    return f"{PREFIX}{key.id}:{base64.urlsafe_b64encode(raw).decode()}"


def _place(tenant: str, event_id: uuid.UUID, field: str) -> bytes:
    return f"{tenant}\x00{event_id}\x00{field}".encode()
