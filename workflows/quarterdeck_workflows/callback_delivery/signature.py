"""Standard Webhooks signatures: `v1` (HMAC with a shared secret) and `v1a` (Ed25519), both in every message.

Source: Standard Webhooks 1.0, 'Signature scheme'.
"""

from __future__ import annotations

import base64
from datetime import datetime

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from standardwebhooks import Webhook

from quarterdeck_ledger.signing import SigningKey


def shared_secret(key: SigningKey) -> str:
    """Return the `whsec_` secret that goes with a webhook key: derived, so that one file keeps both."""
    raw = key.private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    secret = HKDF(SHA256(), 32, salt=None, info=b"quarterdeck standard-webhooks v1").derive(raw)
    return f"whsec_{base64.b64encode(secret).decode()}"


def public_key(key: SigningKey) -> str:
    """Return the `whpk_` key that verifies `v1a` signatures."""
    return f"whpk_{base64.b64encode(key.public).decode()}"


def signed_headers(key: SigningKey, message_id: str, moment: datetime, body: bytes) -> dict[str, str]:
    """Return the headers of a signed message. `moment` becomes `webhook-timestamp`, whole seconds."""
    shared = Webhook(shared_secret(key)).sign(message_id, moment, body.decode())
    content = f"{message_id}.{int(moment.timestamp())}.".encode() + body
    signature = base64.b64encode(key.private.sign(content)).decode()
    return {
        "content-type": "application/json",
        "user-agent": "quarterdeck",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": f"{shared} v1a,{signature}",
    }
