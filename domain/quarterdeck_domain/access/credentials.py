"""Credentials: the text that people and programs hold, and what it is worth now.

A key reads `qd_<tenant>_<26 characters of the key's id>_<secret>`, a sign-in link's token `qdl_<tenant>_<…>_<secret>`:
it names its tenant, so that looking it up never reads across tenants. The secret is 256 random bits, so one SHA-256
of the whole text is enough to keep; the text itself is shown once.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec
from eventsourcing.dcb.api import DCBQuery

from quarterdeck_domain.access.events import (
    ApiKeyIssued,
    ApiKeyRevoked,
    ApiKeyRotated,
    IdentityLinked,
    KeyPurpose,
    PrincipalKind,
    Role,
    TenantClosed,
)
from quarterdeck_domain.access.values import Item, People
from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.events import Actor, RecordedEvent
from quarterdeck_domain.slices import boundary

KEY_EVENTS: Final = (ApiKeyIssued, ApiKeyRotated, ApiKeyRevoked)

CredentialState = Literal[
    "active", "unknown", "revoked", "expired", "rotated", "principal_inactive", "delegator_inactive", "tenant_closed"
]

_TEXT: Final = re.compile(
    r"(qdl?)_([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)_([0-7][0-9a-hjkmnp-tv-z]{25})_([A-Za-z0-9_-]{43,128})"
)
_HASH: Final = re.compile(r"sha256:[0-9a-f]{64}")
_MARKS: Final = {"key": "qd", "lnk": "qdl"}


class Presented(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller showed: the tenant it names, the id of a key or link, and the hash of the whole text."""

    tenant: str
    id: str
    secret_hash: str


def prefix_of(tenant: str, credential_id: str) -> str:
    """Return the part of a credential's text that may be shown: it tells keys apart and opens nothing."""
    kind, _, suffix = credential_id.partition("_")
    return f"{_MARKS[kind]}_{tenant}_{suffix}"


def credential_text(tenant: str, credential_id: str, secret: str) -> str:
    """Return the text its holder keeps, for a `key_` or `lnk_` id. Show it once; never log or store it."""
    return f"{prefix_of(tenant, credential_id)}_{secret}"


def hash_secret(text: str) -> str:
    """Return `sha256:<hex>` of a credential's whole text: what is kept of it."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def present(text: str) -> Presented:
    """Read a credential's text.

    Raises:
        InvalidInput: it does not look like one; the text is not repeated in the message.
    """
    found = _TEXT.fullmatch(text) if text.isascii() else None
    if found is None:
        raise InvalidInput("this is not a Quarterdeck credential", expected="qd_<tenant>_<id>_<secret>")
    kind = "key" if found[1] == "qd" else "lnk"
    return Presented(tenant=found[2], id=f"{kind}_{found[3]}", secret_hash=hash_secret(text))


def check_hash(value: str) -> str:
    """Return a secret's hash unchanged; anything else, a secret given by mistake above all, is refused unseen.

    Raises:
        InvalidInput: it is not `sha256:` and 64 hexadecimal digits.
    """
    if not _HASH.fullmatch(value):
        raise InvalidInput("not a hash of a secret", expected="sha256: and 64 hexadecimal digits")
    return value


def identity_digest(tenant: str, issuer: str, subject: str) -> str:
    """Return `sha256:<hex>` by which an identity provider's account is recognised in one tenant."""
    message = json.dumps([issuer, tenant, subject], separators=(",", ":"))
    return f"sha256:{hashlib.sha256(message.encode()).hexdigest()}"


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """What a presented credential is worth now. Only `active` opens anything; the rest says why not. The one exception
    is reading a closed tenant's log: there its administrators and auditors are left with the role `auditor`.

    `roles` are already attenuated: acting for others, the holder keeps only what all of them may.
    """

    state: CredentialState
    principal: str = ""
    kind: PrincipalKind = "agent"
    roles: frozenset[Role] = frozenset()
    acts_for: tuple[str, ...] = ()
    key_id: str | None = None
    purpose: KeyPurpose | Literal["identity"] = "api"
    expires_at: datetime | None = None

    def actor(self) -> Actor:
        """Return the actor of commands sent with it.

        Raises:
            ValueError: it is not active, and opens nothing.
        """
        if self.state != "active":
            raise ValueError(f"a credential that is {self.state} acts for nobody")
        return Actor(principal=self.principal, kind=self.kind, on_behalf_of=self.acts_for)


class KeyFold:
    """One API or session key, from its own events."""

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        self.issued: ApiKeyIssued | None = None
        self.issued_at: datetime | None = None
        self.replaced_by: str | None = None
        self.overlap_until: datetime | None = None
        self.revoked = False

    def needs(self) -> tuple[Item, ...]:
        """Return the boundary items of every event this fold must see."""
        return ((KEY_EVENTS, (f"key:{self.key_id}",)),)

    def apply(self, event: RecordedEvent) -> None:
        """Fold one event; others pass by."""
        match event.payload:
            case ApiKeyIssued(key_id=self.key_id) as issued:
                self.issued, self.issued_at = issued, event.recorded_at
            case ApiKeyRotated(key_id=self.key_id, new_key_id=new, overlap_until=until):
                self.replaced_by, self.overlap_until = new, until
            case ApiKeyRevoked(key_id=self.key_id):
                self.revoked = True
            case _:
                pass

    def state(self, now: datetime) -> CredentialState:
        """Return what the key alone is worth, whoever holds it."""
        if self.issued is None:
            return "unknown"
        if self.revoked:
            return "revoked"
        if self.issued.expires_at is not None and now >= self.issued.expires_at:
            return "expired"
        if self.overlap_until is not None and now >= self.overlap_until:
            return "rotated"
        return "active"

    def end(self) -> datetime | None:
        """Return when the key ends by itself, or because it was replaced; None for one without an end."""
        ends = (None if self.issued is None else self.issued.expires_at, self.overlap_until)
        return min((moment for moment in ends if moment is not None), default=None)

    def lifetime(self) -> timedelta | None:
        """Return how long the key was issued for; None for one without an end."""
        if self.issued is None or self.issued.expires_at is None or self.issued_at is None:
            return None
        if self.issued.lifetime_s is not None:
            return timedelta(seconds=self.issued.lifetime_s)
        return self.issued.expires_at - self.issued_at


class _Found(msgspec.Struct, frozen=True):
    principal: str
    acts_for: tuple[str, ...] = ()


class CredentialFold:
    """What a key is worth: from its own events, then those of its holder and everyone it acts for.

    A key is revoked with each of those that it is bound to, one through the other.

    Use: `while (query := fold.missing()) is not None:` read it and `apply` every event; then `credential(…)`.
    """

    def __init__(self, key_id: str) -> None:
        self.key = KeyFold(key_id)
        self._people: People | None = None
        self._closed = False
        self._asked = 0
        self._makers: list[KeyFold] = []

    def missing(self) -> DCBQuery | None:
        """Return the next query to read and fold: the key, its people and maker, then its maker's; None at the end."""
        self._asked += 1
        if self._asked == 1:
            return boundary(*self.key.needs(), ((TenantClosed,), ()))
        issued = self.key.issued
        if self._asked == 2 and issued is not None:
            self._people = People(issued.principal_id, *issued.acts_for)
            return boundary(*self._people.needs(), *self._next_maker(issued))
        above = self._makers[-1].issued if self._makers else None
        needs = () if above is None else self._next_maker(above)
        return boundary(*needs) if needs else None

    def _next_maker(self, issued: ApiKeyIssued) -> tuple[Item, ...]:
        if issued.bound_to is None or any(maker.key_id == issued.bound_to for maker in self._makers):
            return ()
        self._makers.append(KeyFold(issued.bound_to))
        return self._makers[-1].needs()

    def apply(self, event: RecordedEvent) -> None:
        """Fold one event; others pass by."""
        self._closed = self._closed or isinstance(event.payload, TenantClosed)
        self.key.apply(event)
        for maker in self._makers:
            maker.apply(event)
        if self._people is not None:
            self._people.apply(event)

    def credential(self, secret_hash: str, now: datetime) -> Credential:
        """Return what the key is worth to whoever presented a secret with this hash."""
        issued = self.key.issued
        if issued is None or not hmac.compare_digest(issued.secret_hash, secret_hash):
            return Credential(state="unknown")
        worth = _worth(self._people, _Found(issued.principal_id, issued.acts_for), self._closed)
        own: CredentialState = "revoked" if any(maker.revoked for maker in self._makers) else self.key.state(now)
        return msgspec.structs.replace(
            worth,
            state=own if own != "active" else worth.state,
            roles=worth.roles if own == "active" else frozenset(),
            key_id=issued.key_id,
            purpose=issued.purpose,
            expires_at=issued.expires_at,
        )


class IdentityFold:
    """What an identity provider's account is worth here. Used like `CredentialFold`; the caller has verified
    the provider's token, and with it the digest."""

    def __init__(self, identity: str) -> None:
        self._identity = identity
        self._principal: str | None = None
        self._people: People | None = None
        self._closed = False
        self._asked = 0

    def missing(self) -> DCBQuery | None:
        """Return the next query to read and fold; None when all is known."""
        self._asked += 1
        if self._asked == 1:
            return boundary(((IdentityLinked,), (f"identity:{self._identity}",)), ((TenantClosed,), ()))
        if self._asked == 2 and self._principal is not None:
            self._people = People(self._principal)
            return boundary(*self._people.needs())
        return None

    def apply(self, event: RecordedEvent) -> None:
        """Fold one event; others pass by."""
        match event.payload:
            case TenantClosed():
                self._closed = True
            case IdentityLinked(identity=self._identity, principal_id=principal_id):
                self._principal = principal_id
            case _ if self._people is not None:
                self._people.apply(event)

    def credential(self) -> Credential:
        """Return what the account is worth now."""
        if self._principal is None:
            return Credential(state="unknown", purpose="identity")
        worth = _worth(self._people, _Found(self._principal), self._closed)
        return msgspec.structs.replace(worth, purpose="identity")


def _worth(people: People | None, found: _Found, closed: bool) -> Credential:
    holder = None if people is None else people.find(found.principal)
    if people is None or holder is None:
        return Credential(state="unknown")
    state: CredentialState = "active"
    if not holder.active:
        state = "principal_inactive"
    elif any(people.active(name) is None for name in found.acts_for):
        state = "delegator_inactive"
    elif closed:
        state = "tenant_closed"
    roles: frozenset[Role] = frozenset()
    if state in ("active", "tenant_closed"):
        roles = people.roles(Actor(principal=holder.id, kind=holder.kind, on_behalf_of=found.acts_for))
    if state == "tenant_closed":
        roles = frozenset(("auditor",)) if roles & {"auditor", "administrator"} else frozenset()
    return Credential(state=state, principal=holder.id, kind=holder.kind, acts_for=found.acts_for, roles=roles)
