"""Tokens of an OpenID Connect provider: found by discovery, verified by its published keys.

Refused is everything but a token that this issuer signed with an allowed algorithm for our audience, that is valid
now. The algorithm comes from our list and must fit the key; a token never names its own key, address or algorithm.

Source: OpenID Connect Core 1.0 section 3.1.3.7; OpenID Connect Discovery 1.0; RFC 7517; RFC 8725; RFC 9068.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import structlog
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey
from joserfc.util import urlsafe_b64decode

from quarterdeck_api.problems import CHALLENGE, Unauthenticated
from quarterdeck_ledger.errors import Unavailable
from quarterdeck_runtime.settings import Settings

LEEWAY: Final = timedelta(seconds=30)
REFETCH_MIN_S: Final = 10.0
"""Unknown key ids make the keys be fetched anew, but no more often than this, whoever invents them."""
STALE_MAX_S: Final = 3_600.0
"""When the provider does not answer, its last keys serve for this long after their age; then nobody signs in."""
TIMEOUT_S: Final = 5.0
MAX_DOCUMENT_BYTES: Final = 1_048_576
MAX_SUBJECT: Final = 255
TYPES: Final = frozenset((None, "jwt", "at+jwt", "application/at+jwt"))

_MIN_RSA_BITS: Final = 2_048
_FITS: Final[Mapping[str, tuple[type[RSAKey | ECKey | OKPKey], str | None]]] = {
    "RS256": (RSAKey, None),
    "ES256": (ECKey, "P-256"),
    "EdDSA": (OKPKey, "Ed25519"),
}
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """What a verified token says. `expires_at` is its end, with the leeway for clocks."""

    issuer: str
    subject: str
    expires_at: datetime
    claims: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Keys:
    by_id: Mapping[str | None, RSAKey | ECKey | OKPKey]
    fetched_at: float


class _Registry(jws.JWSRegistry):
    """The library's registry, without its warning at the name EdDSA, which providers use for Ed25519."""

    max_header_length = 4_096

    def get_alg(self, name: str) -> Any:
        if not self.allowed or name not in self.allowed:
            raise JoseError
        return self.algorithms[name]


_LIMITS: Final = _Registry(algorithms=[], strict_check_header=False)


class OidcProvider:
    """One provider. Its keys are kept for a while and fetched anew when a token names one that is not among them."""

    def __init__(
        self, settings: Settings, http: httpx.AsyncClient, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Set up for `settings.oidc_issuer`; nothing is fetched yet.

        Raises:
            ValueError: no issuer, or no audience, is configured.
        """
        if settings.oidc_issuer is None or not settings.oidc_audience:
            raise ValueError("an issuer and the audience that its tokens must carry are needed")
        self.issuer = settings.oidc_issuer
        self._audience = settings.oidc_audience
        self._client_id = settings.oidc_client_id
        self._algorithms = settings.oidc_algorithms
        self._max_age_s = settings.oidc_jwks_max_age_s
        self._http = http
        self._monotonic = monotonic
        self._registry = _Registry(algorithms=list(self._algorithms), strict_check_header=False)
        self._keys: _Keys | None = None
        self._tried_at = -REFETCH_MIN_S
        self._lock = asyncio.Lock()

    async def verify(self, text: str, now: datetime) -> VerifiedToken:
        """Return what a token says, once its signature, issuer, audience and times are verified.

        Raises:
            Unauthenticated: it is refused; the reason is told.
            Unavailable: the provider's keys cannot be had.
        """
        header = _header(text)
        algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ")
        if algorithm not in self._algorithms:
            raise _refused("it is signed with an algorithm that is not accepted here")
        if not isinstance(kid, str | None) or not isinstance(kind, str | None):
            raise _refused("its header is malformed")
        if (kind.lower() if kind is not None else None) not in TYPES:
            raise _refused("it is not an identity or access token")
        key = await self._key(kid, algorithm)
        try:
            payload = jws.deserialize_compact(text, key, registry=self._registry).payload
        except (JoseError, ValueError):
            raise _refused("its signature is not right") from None
        try:
            claims = _object(payload)
        except ValueError:
            raise _refused("its claims are not a JSON object with each name once") from None
        return self._check(claims, now)

    def _check(self, claims: Mapping[str, Any], now: datetime) -> VerifiedToken:
        if claims.get("iss") != self.issuer:
            raise _refused("another issuer made it")
        audience = claims.get("aud")
        if self._audience not in (audience if isinstance(audience, list) else [audience]):
            raise _refused("it is meant for another audience")
        party = claims.get("azp", claims.get("client_id"))
        if self._client_id is not None and party not in (None, self._client_id):
            raise _refused("it was issued to another client")
        expires_at = _moment(claims, "exp")
        if expires_at is None or now >= expires_at + LEEWAY:
            raise _refused("it has expired")
        for name in ("nbf", "iat"):
            begins = _moment(claims, name)
            if begins is not None and begins > now + LEEWAY:
                raise _refused("it is not valid yet")
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 1 <= len(subject) <= MAX_SUBJECT:
            raise _refused("it names no subject")
        return VerifiedToken(self.issuer, subject, expires_at + LEEWAY, claims)

    async def _key(self, kid: str | None, algorithm: str) -> RSAKey | ECKey | OKPKey:
        keys = self._keys
        if keys is None or self._monotonic() - keys.fetched_at >= self._max_age_s:
            keys = await self._refreshed()
        if kid is not None and kid not in keys.by_id:
            keys = await self._refreshed()
        kind, curve = _FITS[algorithm]
        fitting = [
            key
            for name, key in keys.by_id.items()
            if kid in (None, name)
            and isinstance(key, kind)
            and (curve is None or getattr(key, "curve_name", None) == curve)
            and key.get("alg", algorithm) == algorithm
        ]
        if len(fitting) != 1:
            raise _refused("the issuer publishes no one key that it could be signed with")
        return fitting[0]

    async def _refreshed(self) -> _Keys:
        asked = self._monotonic()
        async with self._lock:
            if self._keys is not None and self._keys.fetched_at >= asked:
                return self._keys
            if self._monotonic() - self._tried_at >= REFETCH_MIN_S:
                self._tried_at = self._monotonic()
                try:
                    self._keys = await self._fetch()
                except (httpx.HTTPError, ValueError, KeyError, TypeError, JoseError) as error:
                    _log.warning("identity provider's keys cannot be fetched", issuer=self.issuer, error=str(error))
            keys = self._keys
            if keys is None or self._monotonic() - keys.fetched_at > self._max_age_s + STALE_MAX_S:
                raise Unavailable("the identity provider's keys cannot be had", retry_after_s=REFETCH_MIN_S)
            return keys

    async def _fetch(self) -> _Keys:
        document = await self._get(self.issuer.rstrip("/") + "/.well-known/openid-configuration")
        if document.get("issuer") != self.issuer:
            raise ValueError("the discovery document is of another issuer")
        address = document["jwks_uri"]
        if not isinstance(address, str) or urlsplit(address).scheme not in {"https", urlsplit(self.issuer).scheme}:
            raise ValueError("jwks_uri is not an address as safe as the issuer's")
        fetched_at = self._monotonic()
        published = (await self._get(address))["keys"]
        found = {item.get("kid"): key for item in published if (key := _import(item)) is not None}
        return _Keys(found, fetched_at)

    async def _get(self, address: str) -> dict[str, Any]:
        async with self._http.stream("GET", address, timeout=TIMEOUT_S, follow_redirects=False) as response:
            if response.status_code != 200:
                raise ValueError(f"{address} answered {response.status_code}")
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_DOCUMENT_BYTES:
                    raise ValueError(f"{address} answered with more than {MAX_DOCUMENT_BYTES} bytes")
        return _object(bytes(body))


def _import(item: Any) -> RSAKey | ECKey | OKPKey | None:
    """Return a published key that may sign tokens, or None for one that is not for that."""
    if not isinstance(item, dict) or item.get("use", "sig") != "sig" or "d" in item:
        return None
    try:
        found = KeySet.import_key_set({"keys": [item]}).keys[0]
    except (JoseError, ValueError, KeyError, TypeError):
        return None
    if isinstance(found, RSAKey) and found.public_key.key_size >= _MIN_RSA_BITS:
        return found
    return found if isinstance(found, ECKey | OKPKey) else None


def _header(text: str) -> dict[str, Any]:
    if text.count(".") != 2:
        raise _refused("it is not a signed token")
    try:
        segments = jws.extract_compact(text.encode(), registry=_LIMITS).segments
        # The library takes the last of a name that is there twice; another reader might take the first.
        return _object(urlsafe_b64decode(segments["header"]))
    except (JoseError, ValueError, TypeError, RecursionError):
        raise _refused("it is not a signed token") from None


def _object(data: bytes) -> dict[str, Any]:
    """Return the JSON object that UTF-8 text is.

    Raises:
        ValueError: it is none, it is nested too deep to be read, or it has a name twice (RFC 7515 section 4, RFC 7519
            section 4: of which is meant, two readers need not think the same).
    """
    try:
        value = json.loads(data.decode(), object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _moment(claims: Mapping[str, Any], name: str) -> datetime | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**40:
        raise _refused(f"its {name} is not a time")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        raise _refused(f"its {name} is not a time") from None


def _refused(why: str) -> Unauthenticated:
    return Unauthenticated(f"this token is refused: {why}", challenge=f'{CHALLENGE}, error="invalid_token"')
