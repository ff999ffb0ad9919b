"""From a credential to a caller: API keys, sessions and OpenID Connect tokens, checked against the log on every use.

Recognised credentials are remembered by the SHA-256 of their whole text; what they are worth is asked of the log each
time (see `watched`). Refused ones are never remembered, and from an address with too many of them they have to wait
(see `refusals`).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from datetime import datetime
from typing import Final, Protocol

import msgspec
from starlette.requests import HTTPConnection

from quarterdeck_api.auth.caller import Caller
from quarterdeck_api.auth.clock import LedgerClock
from quarterdeck_api.auth.cookies import check_origin, session_cookie
from quarterdeck_api.auth.oidc import OidcProvider, VerifiedToken
from quarterdeck_api.auth.refusals import Refusals
from quarterdeck_api.auth.watched import Watched
from quarterdeck_api.limits import TokenBuckets
from quarterdeck_api.problems import CHALLENGE, TooManyRequests, Unauthenticated
from quarterdeck_domain.access.credentials import (
    Credential,
    CredentialFold,
    IdentityFold,
    Presented,
    identity_digest,
    present,
)
from quarterdeck_domain.access.values import Held
from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.events import Actor
from quarterdeck_domain.ids import check_tenant
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_runtime.settings import Settings

MAX_REMEMBERED: Final = 10_000
TENANT_HEADER: Final = "quarterdeck-tenant"

_WHY: Final = {
    "unknown": "this credential opens nothing here",
    "revoked": "this credential was revoked",
    "expired": "this credential has expired; get a new one",
    "rotated": "this key was replaced by another, and the time both worked is over",
    "principal_inactive": "the principal that holds this credential is no longer active",
    "delegator_inactive": "a principal that this key acts for is no longer active",
    "tenant_closed": "this tenant is closed",
}


class Recognised(Protocol):
    """A credential that was recognised once, and what it is worth whenever it is asked."""

    tenant: str

    async def worth(self, now: datetime) -> Credential:
        """Return what it is worth, with everything recorded before this call."""
        ...


class RecognisedKey:
    """An API or session key whose text was presented."""

    def __init__(self, ledger: EventLedger, presented: Presented) -> None:
        self.tenant = presented.tenant
        self._hash = presented.secret_hash
        self._fold = Watched(ledger, presented.tenant, lambda: CredentialFold(presented.id))

    async def worth(self, now: datetime) -> Credential:
        """Return what the key is worth now."""
        return (await self._fold.current()).credential(self._hash, now)


class RecognisedToken:
    """An identity provider's token that was verified; it lives until its own end, and as its principal does."""

    def __init__(self, ledger: EventLedger, tenant: str, token: VerifiedToken) -> None:
        self.tenant = tenant
        self._expires_at = token.expires_at
        identity = identity_digest(tenant, token.issuer, token.subject)
        self._fold = Watched(ledger, tenant, lambda: IdentityFold(identity))

    async def worth(self, now: datetime) -> Credential:
        """Return what the account is worth now."""
        if now >= self._expires_at:
            return Credential(state="expired", purpose="identity")
        return msgspec.structs.replace((await self._fold.current()).credential(), expires_at=self._expires_at)


class Authenticator:
    """Turns what a connection presents into its caller."""

    def __init__(
        self,
        ledger: EventLedger,
        settings: Settings,
        *,
        oidc: OidcProvider | None = None,
        clock: LedgerClock | None = None,
    ) -> None:
        self._ledger = ledger
        self._settings = settings
        self._oidc = oidc
        self._clock = clock or LedgerClock(ledger)
        self._known: OrderedDict[bytes, Recognised] = OrderedDict()
        self.refusals = Refusals(settings.failed_sign_ins_per_minute)
        self._requests = TokenBuckets(settings.rate_per_s, burst=settings.rate_burst)

    async def of_connection(self, connection: HTTPConnection) -> Caller:
        """Return the caller of a request or WebSocket handshake, and count the request against its rate.

        Raises:
            Unauthenticated: no credential, or one that opens nothing.
            TooManyRequests: too many refusals from this address, or too many requests by this principal.
        """
        authorization = connection.headers.get("authorization")
        if authorization is None:
            cookie = session_cookie(connection)
            if cookie is None:
                raise Unauthenticated("present a credential: Authorization: Bearer …")
            check_origin(connection, self._settings.base_url)
            authorization = f"Bearer {cookie}"
        address = connection.client.host if connection.client else "unknown"
        reading = connection.scope["type"] == "http" and connection.scope["method"] in ("GET", "HEAD")
        tenant = connection.headers.get(TENANT_HEADER)
        caller = await self.authenticate(authorization, tenant=tenant, address=address, reading=reading)
        self.count(caller)
        return caller

    async def authenticate(
        self,
        authorization: str | None,
        *,
        tenant: str | None = None,
        address: str = "unknown",
        reading: bool = False,
    ) -> Caller:
        """Return the caller that an `Authorization` value speaks for, in the tenant the request asks for if it does.

        A closed tenant's log stays readable: with `reading`, its auditors and administrators are let in as auditors.

        Raises:
            Unauthenticated: it opens nothing; which of several reasons is told only to who holds the secret.
            TooManyRequests: too many refusals from this address.
            Unavailable: the log, or the identity provider's keys, cannot be read.
        """
        text = _bearer(authorization)
        remembered = hashlib.sha256(f"{tenant or ''}\x00{text}".encode()).digest()
        recognised = self._known.get(remembered)
        if recognised is None:
            self.refusals.check(address)
        try:
            if recognised is None:
                recognised = await self._recognise(text, tenant)
                recognised = self._known.setdefault(remembered, recognised)
            self._known.move_to_end(remembered)
            return await self._caller(recognised, reading)
        except Unauthenticated:
            self._known.pop(remembered, None)
            self.refusals.count(address)
            raise
        finally:
            while len(self._known) > MAX_REMEMBERED:
                self._known.popitem(last=False)

    async def still_valid(self, caller: Caller) -> bool:
        """Tell whether a caller may still do what it could when it came: its credential is active, with every role.

        For streams that outlive their first request; a caller without a credential is never valid.
        """
        if caller.credential is None:
            return False
        worth = await caller.credential.worth(await self._clock.now())
        return worth.state == "active" and caller.roles <= worth.roles

    async def worth(self, caller: Caller) -> Credential:
        """Return what a caller's credential is worth now.

        Raises:
            Unauthenticated: it has none.
        """
        if caller.credential is None:
            raise _refused("unknown")
        return await caller.credential.worth(await self._clock.now())

    def count(self, caller: Caller) -> None:
        """Count a request against its principal's rate.

        Raises:
            TooManyRequests: it sends more than its rate allows.
        """
        key = f"{caller.tenant}/{caller.actor.principal}"
        if not self._requests.take(key):
            raise TooManyRequests(
                "this principal sends more requests than its rate allows", retry_after_s=self._requests.wait_s(key)
            )

    async def _recognise(self, text: str, tenant: str | None) -> Recognised:
        if text.startswith("qd"):
            try:
                presented = present(text)
            except InvalidInput:
                raise _refused("unknown") from None
            if not presented.id.startswith("key_") or tenant not in (None, presented.tenant):
                raise _refused("unknown")
            return RecognisedKey(self._ledger, presented)
        if self._oidc is None:
            raise _refused("unknown")
        token = await self._oidc.verify(text, await self._clock.now())
        return RecognisedToken(self._ledger, self._tenant_of(token, tenant), token)

    def _tenant_of(self, token: VerifiedToken, asked: str | None) -> str:
        claim = self._settings.oidc_tenant_claim
        named = token.claims.get(claim) if claim is not None else asked or self._settings.default_tenant
        if not isinstance(named, str) or (asked is not None and asked != named):
            raise _refused("unknown")
        try:
            return check_tenant(named)
        except InvalidInput:
            raise _refused("unknown") from None

    async def _caller(self, recognised: Recognised, reading: bool) -> Caller:
        worth = await recognised.worth(await self._clock.now())
        reads_on = reading and worth.state == "tenant_closed" and bool(worth.roles)
        if worth.state != "active" and not reads_on:
            raise _refused(worth.state)
        actor = Actor(principal=worth.principal, kind=worth.kind, on_behalf_of=worth.acts_for)
        return Caller(
            tenant=recognised.tenant,
            actor=actor,
            roles=frozenset(worth.roles),
            credential=recognised,
            held=Held(key_id=worth.key_id, ends_at=worth.expires_at),
        )


def _bearer(authorization: str | None) -> str:
    scheme, _, text = (authorization or "").partition(" ")
    text = text.strip()
    if scheme.lower() != "bearer" or not text:
        raise Unauthenticated("present a credential: Authorization: Bearer …")
    if len(text) > 8_192 or not text.isascii():
        raise _refused("unknown")
    return text


def _refused(state: str) -> Unauthenticated:
    why = _WHY.get(state, _WHY["unknown"])
    return Unauthenticated(why, challenge=f'{CHALLENGE}, error="invalid_token"')
