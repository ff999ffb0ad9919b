"""Signed tokens: compact JWS with EdDSA, one type and one key purpose for each use, and the keys that verify them.

Three uses: what binds an access request to its denial, what proves an approval, and grants. A token of one use is
never accepted for another: its header's `typ`, its audience and its key all differ. Nothing of a token is trusted
before its signature is verified, and its header chooses nothing but one of our own keys.

Source: RFC 7515; RFC 7519; RFC 8037; RFC 8725; ARAP draft, 'Binding Token Integrity' and 'Completion Semantics'.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.signing import Purpose, SigningKey, SigningKeys, retirements, verifying

MAX_TOKEN: Final = 8_192
PUBLISHED: Final[tuple[Purpose, ...]] = ("binding", "grant", "webhook")


class InvalidToken(ValueError):
    """The text is no token of ours for this use. The message says why, without quoting it."""


@dataclass(frozen=True, slots=True)
class Use:
    """What a token is for: its media type in the header, and the purpose of the key that signs it."""

    typ: str
    purpose: Purpose


DENIAL: Final = Use("access-denial+jwt", "binding")
APPROVAL: Final = Use("access-approval+jwt", "binding")
GRANT: Final = Use("grant+jwt", "grant")


def sign(signing: SigningKeys, tenant: str, use: Use, claims: Mapping[str, Any]) -> str:
    """Return the token of these claims. The same claims and key give the same text."""
    key = signing.current(tenant, use.purpose)
    header = {"alg": "EdDSA", "kid": key.id, "typ": use.typ}
    signed = f"{_encode(header)}.{_encode(claims)}"
    return f"{signed}.{_base64(key.private.sign(signed.encode()))}"


async def verify(
    ledger: EventLedger,
    signing: SigningKeys,
    tenant: str,
    use: Use,
    text: str,
    *,
    issuer: str,
    audience: str,
    now: datetime,
) -> dict[str, Any]:
    """Return the claims of a token that we signed for this use and audience. Its expiry is the caller's to judge.

    Raises:
        InvalidToken: anything about it is not as we would have made it.
    """
    parts = text.split(".") if len(text) <= MAX_TOKEN and text.isascii() else []
    if len(parts) != 3:
        raise InvalidToken("it is not a signed token")
    header = _decode_object(parts[0])
    if header.keys() != {"alg", "kid", "typ"} or header["alg"] != "EdDSA" or header["typ"] != use.typ:
        raise InvalidToken("it is not a token for this use")
    key = await _key(ledger, signing, tenant, use.purpose, header["kid"], now)
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(_bytes(parts[2]), f"{parts[0]}.{parts[1]}".encode())
    except InvalidSignature:
        raise InvalidToken("its signature is not right") from None
    claims = _decode_object(parts[1])
    if claims.get("iss") != issuer:
        raise InvalidToken("another issuer made it")
    intended = claims.get("aud")
    if audience not in (intended if isinstance(intended, list) else [intended]):
        raise InvalidToken("it is meant for another audience")
    begins = claims.get("nbf", claims.get("iat"))
    if isinstance(begins, int) and begins > now.timestamp():
        raise InvalidToken("it is not valid yet")
    return claims


def expiry(claims: Mapping[str, Any]) -> datetime:
    """Return the moment from which on a token is over.

    Raises:
        InvalidToken: it has none.
    """
    value = claims.get("exp")
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidToken("it has no expiry")
    return datetime.fromtimestamp(value, UTC)


def seconds(moment: datetime) -> int:
    """Return a moment as a NumericDate, rounded down."""
    return int(moment.timestamp())


async def jwks(ledger: EventLedger, signing: SigningKeys, tenant: str, now: datetime) -> dict[str, Any]:
    """Return the public keys that verify a tenant's tokens and callbacks now, as a JWK Set. It never makes a key."""
    found = [
        {"kty": "OKP", "crv": "Ed25519", "x": _base64(key.public), "kid": key.id, "use": "sig", "alg": "EdDSA"}
        for key in await verifying(ledger, signing, tenant, PUBLISHED, now)
    ]
    return {"keys": found}


async def _key(
    ledger: EventLedger, signing: SigningKeys, tenant: str, purpose: Purpose, kid: object, now: datetime
) -> SigningKey:
    keys = signing.all(tenant, purpose)
    key = next((key for key in keys if key.id == kid), None)
    if key is None:
        raise InvalidToken("no key of ours for this use has that id")
    # The newest key cannot be retired: a key is retired by being replaced.
    if key.id != keys[-1].id:
        retired_at = (await retirements(ledger, tenant)).get(key.id)
        if retired_at is not None and now >= retired_at:
            raise InvalidToken("the key that signed it is retired")
    return key


def _encode(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return _base64(text.encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise InvalidToken("it is not base64url") from None
    if _base64(data) != text:
        raise InvalidToken("it is not base64url in its one form")
    return data


def _decode_object(part: str) -> dict[str, Any]:
    try:
        value = json.loads(_bytes(part), object_pairs_hook=_unique)
    except InvalidToken:
        raise
    except (ValueError, RecursionError):
        raise InvalidToken("it does not hold JSON") from None
    if not isinstance(value, dict):
        raise InvalidToken("it does not hold a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidToken("a member occurs twice")
    return found
