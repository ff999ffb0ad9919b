"""What happened to tenants, principals and their credentials."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from quarterdeck_domain.events import Event, Personal

PrincipalKind = Literal["human", "service", "agent"]
Role = Literal["administrator", "operator", "approver", "auditor", "agent"]
KeyPurpose = Literal["api", "session"]
ErasureReason = Literal["requested", "no_longer_needed", "unlawful", "obligation"]


class TenantOpened(Event, frozen=True, kw_only=True):
    """A tenant began: the first event of its log."""

    type = "tenant.opened"
    tag_fields = {"tenant": "tenant"}

    tenant: str
    display_name: str


class TenantClosed(Event, frozen=True, kw_only=True):
    """A tenant ended: its log takes no further commands and stays readable."""

    type = "tenant.closed"
    tag_fields = {"tenant": "tenant"}

    tenant: str
    reason: str


class PrincipalRegistered(Event, frozen=True, kw_only=True):
    """A human, service or agent may from now on be known here."""

    type = "principal.registered"
    data_subject = "principal_id"
    tag_fields = {"principal_id": "principal", "owner": "principal", "roles": "role"}

    principal_id: str
    kind: PrincipalKind
    display_name: Personal
    email: Personal = None
    owner: str | None = None
    """The human who answers for a service or an agent."""
    purpose: str = ""
    roles: tuple[Role, ...] = ()


class RoleGranted(Event, frozen=True, kw_only=True):
    """A principal received a role."""

    type = "principal.role_granted"
    tag_fields = {"principal_id": "principal", "role": "role"}

    principal_id: str
    role: Role


class RoleRevoked(Event, frozen=True, kw_only=True):
    """A principal lost a role."""

    type = "principal.role_revoked"
    tag_fields = {"principal_id": "principal", "role": "role"}

    principal_id: str
    role: Role


class OwnershipTransferred(Event, frozen=True, kw_only=True):
    """Another human answers for a service or an agent."""

    type = "principal.ownership_transferred"
    tag_fields = {"principal_id": "principal", "owner": "principal", "previous_owner": "principal"}

    principal_id: str
    owner: str
    previous_owner: str


class IdentityLinked(Event, frozen=True, kw_only=True):
    """An account of an identity provider was tied to a principal.

    `identity` is the SHA-256 of issuer, tenant and subject: enough to recognise, not to name.
    """

    type = "principal.identity_linked"
    tag_fields = {"principal_id": "principal", "identity": "identity"}

    principal_id: str
    issuer: str
    identity: str


class PrincipalDeactivated(Event, frozen=True, kw_only=True):
    """A principal may no longer act; its history stays."""

    type = "principal.deactivated"
    data_subject = "principal_id"
    tag_fields = {"principal_id": "principal", "owner": "principal", "roles": "role"}

    principal_id: str
    reason: Personal
    roles: tuple[Role, ...] = ()
    """The roles it held and loses: whoever watches a role hears of it."""
    owner: str | None = None
    """The human who answered for it."""


class PrincipalErased(Event, frozen=True, kw_only=True):
    """The key of a person's data was destroyed: their personal fields read as erased for ever."""

    type = "principal.erased"
    tag_fields = {"principal_id": "principal"}

    principal_id: str
    reason: str
    """An `ErasureReason`: a word from a list, since nothing that is written here is ever erased."""


class ApiKeyIssued(Event, frozen=True, kw_only=True):
    """A credential was made; only its hash is kept. `prefix` is shown so that people can tell keys apart."""

    type = "api_key.issued"
    tag_fields = {"key_id": "key", "principal_id": "principal", "acts_for": "principal"}

    key_id: str
    principal_id: str
    purpose: KeyPurpose
    prefix: str
    secret_hash: str
    expires_at: datetime | None = None
    acts_for: tuple[str, ...] = ()
    """Principals that the holder acts for: the delegation chain, nearest first."""
    issued_by_key: str | None = None
    """The API key that it was issued or rotated with, or the session that came of one; None where a person was signed
    in, by a session or a provider's token, and for the house itself."""
    bound_to: str | None = None
    """The API key or session that it was made with: once that is revoked, this is worth nothing either."""
    depth: int = 0
    """How many it is bound to, one through the other."""
    lifetime_s: int | None = None
    """How long its line of keys lives at a time, where this one was rotated with a key and so lives shorter."""


class ApiKeyRotated(Event, frozen=True, kw_only=True):
    """A credential was replaced; the old one keeps working until `overlap_until`."""

    type = "api_key.rotated"
    tag_fields = {"key_id": "key", "new_key_id": "key", "principal_id": "principal"}

    key_id: str
    new_key_id: str
    principal_id: str
    overlap_until: datetime


class ApiKeyRevoked(Event, frozen=True, kw_only=True):
    """A credential stopped working, and with it everything that was made with it, to any depth."""

    type = "api_key.revoked"
    data_subject = "principal_id"
    tag_fields = {"key_id": "key", "principal_id": "principal"}

    key_id: str
    principal_id: str
    reason: Personal


class SignInLinkIssued(Event, frozen=True, kw_only=True):
    """A one-time sign-in link was made; only its hash is kept."""

    type = "sign_in_link.issued"
    tag_fields = {"link_id": "link", "principal_id": "principal"}

    link_id: str
    principal_id: str
    secret_hash: str
    expires_at: datetime
    bound_to: str | None = None
    """The API key or session that it was made with, where it ends with it, and its session too."""
    session_until: datetime | None = None
    """The last moment of the session, where the credential that made the link ends."""


class SignInLinkUsed(Event, frozen=True, kw_only=True):
    """A one-time sign-in link was exchanged for a session."""

    type = "sign_in_link.used"
    tag_fields = {"link_id": "link", "principal_id": "principal", "key_id": "key"}

    link_id: str
    principal_id: str
    key_id: str


class AdministratorRecovered(Event, frozen=True, kw_only=True):
    """Somebody with the machine's own rights made a new administrator, because the last one was lost."""

    type = "administrator.recovered"
    data_subject = "principal_id"
    tag_fields = {"principal_id": "principal"}

    principal_id: str
    reason: Personal


class SigningKeyRotated(Event, frozen=True, kw_only=True):
    """A new signing key serves one purpose from now on; the old one keeps verifying until `retired_at`."""

    type = "signing_key.rotated"
    tag_fields = {"key_id": "signing-key", "previous_key_id": "signing-key"}

    key_id: str
    purpose: Literal["checkpoint", "binding", "grant", "webhook"]
    public_key: str
    previous_key_id: str | None = None
    retired_at: datetime | None = None


EVENTS = (
    TenantOpened,
    TenantClosed,
    PrincipalRegistered,
    RoleGranted,
    RoleRevoked,
    OwnershipTransferred,
    IdentityLinked,
    PrincipalDeactivated,
    PrincipalErased,
    ApiKeyIssued,
    ApiKeyRotated,
    ApiKeyRevoked,
    SignInLinkIssued,
    SignInLinkUsed,
    AdministratorRecovered,
    SigningKeyRotated,
)
