"""Standard Webhooks signatures: `v1` (HMAC with a shared secret) and `v1a` (Ed25519), both in every message.

`v1a` is verified with the tenant's public key, which is published. Whoever holds a secret of `v1` can sign with it, so
each origin that is called has its own, and none of them helps to forge a message to another. While a key is being
replaced, a message is signed with both.

Source: Standard Webhooks 1.0, 'Signature scheme' and 'Webhook headers'; ARAP draft, 'Callback Completion'.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from standardwebhooks import Webhook

from quarterdeck_ledger.signing import SigningKey


def shared_secret(key: SigningKey, origin: str) -> str:
    """Return the `whsec_` secret that a tenant's key and an origin (`Target.origin`) have in common.

    It is derived, so that one file keeps all of them, and no secret leads back to the key or to another's secret.
    """
    raw = key.private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    info = b"quarterdeck standard-webhooks v1 " + origin.encode()
    secret = HKDF(SHA256(), 32, salt=None, info=info).derive(raw)
    return f"whsec_{base64.b64encode(secret).decode()}"


def public_key(key: SigningKey) -> str:
    """Return the `whpk_` key that verifies `v1a` signatures."""
    return f"whpk_{base64.b64encode(key.public).decode()}"


def signed_headers(
    keys: Sequence[SigningKey], origin: str, message_id: str, moment: datetime, body: bytes
) -> dict[str, str]:
    """Return the headers of a message to an origin, signed with each key, the newest first.

    `moment` becomes `webhook-timestamp`, whole seconds.
    """
    content = f"{message_id}.{int(moment.timestamp())}.".encode() + body
    signatures: list[str] = []
    for key in reversed(keys):
        signatures.append(Webhook(shared_secret(key, origin)).sign(message_id, moment, body.decode()))
        signatures.append(f"v1a,{base64.b64encode(key.private.sign(content)).decode()}")
    return {
        "content-type": "application/json",
        "user-agent": "quarterdeck",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
