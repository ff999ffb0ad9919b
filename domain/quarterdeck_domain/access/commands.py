"""The commands of access as the outside sends them. Opening and recovering a tenant are the machine's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Final

import msgspec

from quarterdeck_domain.access.credentials import credential_text, hash_secret, identity_digest, prefix_of
from quarterdeck_domain.access.events import ApiKeyIssued, ErasureReason, PrincipalKind, Role
from quarterdeck_domain.access.slices import (
    CloseTenant,
    DeactivatePrincipal,
    ErasePrincipal,
    GrantRole,
    IssueApiKey,
    IssueSignInLink,
    LinkIdentity,
    RegisterPrincipal,
    RevokeApiKey,
    RevokeRole,
    RotateApiKey,
    TransferOwnership,
)
from quarterdeck_domain.access.slices_credentials import MAX_CHAIN, MAX_KEY_LIFETIME_S, MAX_OVERLAP_S
from quarterdeck_domain.access.slices_principals import MAX_EMAIL
from quarterdeck_domain.access.slices_tenant import MAX_LINK_LIFETIME_S
from quarterdeck_domain.checks import MAX_ID, MAX_NAME, MAX_REASON
from quarterdeck_domain.commands import Command, CommandInput, Environment, Prepared
from quarterdeck_domain.events import Event

_SUFFIX: Final = "[0-7][0-9a-hjkmnp-tv-z]{25}$"

# The length is bounded too: `$` alone would let a line end through.
PrincipalId = Annotated[str, msgspec.Meta(pattern=f"^prn_{_SUFFIX}", max_length=30)]
KeyId = Annotated[str, msgspec.Meta(pattern=f"^key_{_SUFFIX}", max_length=30)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_REASON)]

ANYBODY: Final[frozenset[Role]] = frozenset()
ADMINISTRATORS: Final[frozenset[Role]] = frozenset({"administrator"})


class CloseTenantInput(CommandInput, frozen=True, kw_only=True):
    """The tenant's name, said again, and why it ends."""

    tenant: Annotated[str, msgspec.Meta(min_length=1, max_length=63)]
    reason: Reason


class RegisterPrincipalInput(CommandInput, frozen=True, kw_only=True):
    """A human, service or agent. A service or an agent names its owner; an agent's role is `agent`."""

    kind: PrincipalKind
    display_name: Name
    email: Annotated[str, msgspec.Meta(min_length=3, max_length=MAX_EMAIL)] | None = None
    owner: PrincipalId | None = None
    purpose: Annotated[str, msgspec.Meta(max_length=MAX_REASON)] = ""
    roles: Annotated[tuple[Role, ...], msgspec.Meta(max_length=5)] = ()


class RoleInput(CommandInput, frozen=True, kw_only=True):
    """A principal and a role."""

    principal_id: PrincipalId
    role: Role


class TransferOwnershipInput(CommandInput, frozen=True, kw_only=True):
    """A service or an agent, and the human who answers for it from now on."""

    principal_id: PrincipalId
    owner: PrincipalId


class LinkIdentityInput(CommandInput, frozen=True, kw_only=True):
    """A human, and the account that an identity provider (`issuer`) knows as `subject`. Only a digest is kept."""

    principal_id: PrincipalId
    issuer: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID)]
    subject: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID)]


class DeactivatePrincipalInput(CommandInput, frozen=True, kw_only=True):
    """A principal, why it may act no more, and who answers for its services and agents from now on."""

    principal_id: PrincipalId
    reason: Reason
    successor: PrincipalId | None = None


class ErasePrincipalInput(CommandInput, frozen=True, kw_only=True):
    """A deactivated principal, and why its personal data is erased: a word, as this alone stays for ever."""

    principal_id: PrincipalId
    reason: ErasureReason


class IssueApiKeyInput(CommandInput, frozen=True, kw_only=True):
    """Whose key it is (the caller's if left out), for whom it acts, and how many seconds it lives: at most as long as
    the credential this is sent with, except that whoever is signed in makes lasting keys for services and agents."""

    principal_id: PrincipalId | None = None
    acts_for: Annotated[tuple[PrincipalId, ...], msgspec.Meta(max_length=MAX_CHAIN)] = ()
    lifetime_s: Annotated[int, msgspec.Meta(ge=60, le=MAX_KEY_LIFETIME_S)] | None = None


class RotateApiKeyInput(CommandInput, frozen=True, kw_only=True):
    """A key, and how many seconds it keeps working beside the new one."""

    key_id: KeyId
    overlap_s: Annotated[int, msgspec.Meta(ge=0, le=MAX_OVERLAP_S)] = 86_400


class RevokeApiKeyInput(CommandInput, frozen=True, kw_only=True):
    """A key or session, and why it stops working; so does everything that was made with it."""

    key_id: KeyId
    reason: Reason


class IssueSignInLinkInput(CommandInput, frozen=True, kw_only=True):
    """A human, and how many seconds the link is good for."""

    principal_id: PrincipalId
    lifetime_s: Annotated[int, msgspec.Meta(ge=60, le=MAX_LINK_LIFETIME_S)] = 900


def _close_tenant(body: CloseTenantInput, env: Environment) -> Prepared:
    return Prepared(slice=CloseTenant(tenant=body.tenant, reason=body.reason, actor=env.actor))


def _register_principal(body: RegisterPrincipalInput, env: Environment) -> Prepared:
    principal_id = env.new_id("prn")
    command = RegisterPrincipal(
        principal_id=principal_id,
        kind=body.kind,
        display_name=body.display_name,
        email=body.email,
        owner=body.owner,
        purpose=body.purpose,
        roles=body.roles,
        actor=env.actor,
    )
    return Prepared(slice=command, result={"principal_id": principal_id})


def _grant_role(body: RoleInput, env: Environment) -> Prepared:
    command = GrantRole(principal_id=body.principal_id, role=body.role, actor=env.actor)
    return Prepared(slice=command, result={"principal_id": body.principal_id})


def _revoke_role(body: RoleInput, env: Environment) -> Prepared:
    command = RevokeRole(principal_id=body.principal_id, role=body.role, actor=env.actor)
    return Prepared(slice=command, result={"principal_id": body.principal_id})


def _transfer_ownership(body: TransferOwnershipInput, env: Environment) -> Prepared:
    command = TransferOwnership(principal_id=body.principal_id, owner=body.owner, actor=env.actor)
    return Prepared(slice=command, result={"principal_id": body.principal_id})


def _link_identity(body: LinkIdentityInput, env: Environment) -> Prepared:
    identity = identity_digest(env.tenant, body.issuer, body.subject)
    command = LinkIdentity(principal_id=body.principal_id, issuer=body.issuer, identity=identity, actor=env.actor)
    return Prepared(slice=command, result={"principal_id": body.principal_id, "identity": identity})


def _deactivate_principal(body: DeactivatePrincipalInput, env: Environment) -> Prepared:
    command = DeactivatePrincipal(
        principal_id=body.principal_id, reason=body.reason, successor=body.successor, actor=env.actor
    )
    return Prepared(slice=command, result={"principal_id": body.principal_id})


def _erase_principal(body: ErasePrincipalInput, env: Environment) -> Prepared:
    command = ErasePrincipal(principal_id=body.principal_id, reason=body.reason, actor=env.actor)
    return Prepared(slice=command, result={"principal_id": body.principal_id})


def _issue_api_key(body: IssueApiKeyInput, env: Environment) -> Prepared:
    key_id = env.new_id("key")
    text = credential_text(env.tenant, key_id, env.new_secret())
    command = IssueApiKey(
        tenant=env.tenant,
        key_id=key_id,
        principal_id=body.principal_id or env.actor.principal,
        secret_hash=hash_secret(text),
        acts_for=body.acts_for,
        lifetime_s=body.lifetime_s,
        actor=env.actor,
        held=env.held,
    )
    return _prepared_key(command, env.tenant, key_id, text)


def _rotate_api_key(body: RotateApiKeyInput, env: Environment) -> Prepared:
    new_key_id = env.new_id("key")
    text = credential_text(env.tenant, new_key_id, env.new_secret())
    command = RotateApiKey(
        tenant=env.tenant,
        key_id=body.key_id,
        new_key_id=new_key_id,
        secret_hash=hash_secret(text),
        overlap_s=body.overlap_s,
        actor=env.actor,
        held=env.held,
    )
    return _prepared_key(command, env.tenant, new_key_id, text)


def _prepared_key(command: IssueApiKey | RotateApiKey, tenant: str, key_id: str, text: str) -> Prepared:
    result = {"key_id": key_id, "prefix": prefix_of(tenant, key_id)}
    return Prepared(slice=command, result=result, reveal={"api_key": text}, told=_ends)


def _ends(events: Sequence[Event]) -> Mapping[str, str]:
    """Return when the key that was made ends; nothing, if it does not."""
    ends = next((item.expires_at for item in events if isinstance(item, ApiKeyIssued)), None)
    return {} if ends is None else {"expires_at": ends.isoformat().replace("+00:00", "Z")}


def _revoke_api_key(body: RevokeApiKeyInput, env: Environment) -> Prepared:
    command = RevokeApiKey(key_id=body.key_id, reason=body.reason, actor=env.actor)
    return Prepared(slice=command, result={"key_id": body.key_id})


def _issue_sign_in_link(body: IssueSignInLinkInput, env: Environment) -> Prepared:
    link_id = env.new_id("lnk")
    text = credential_text(env.tenant, link_id, env.new_secret())
    command = IssueSignInLink(
        link_id=link_id,
        principal_id=body.principal_id,
        secret_hash=hash_secret(text),
        lifetime_s=body.lifetime_s,
        actor=env.actor,
        held=env.held,
    )
    return Prepared(slice=command, result={"link_id": link_id}, reveal={"sign_in_token": text})


COMMANDS: Final = (
    Command(
        name="close_tenant",
        room="access",
        summary="End the tenant for good: its log takes no further commands and stays readable.",
        input=CloseTenantInput,
        roles=ADMINISTRATORS,
        prepare=_close_tenant,
    ),
    Command(
        name="register_principal",
        room="access",
        summary="Let a human, service or agent be known here.",
        input=RegisterPrincipalInput,
        roles=ADMINISTRATORS,
        prepare=_register_principal,
    ),
    Command(
        name="grant_role",
        room="access",
        summary="Give a principal one more role.",
        input=RoleInput,
        roles=ADMINISTRATORS,
        prepare=_grant_role,
    ),
    Command(
        name="revoke_role",
        room="access",
        summary="Take a role from a principal; never the last administrator's.",
        input=RoleInput,
        roles=ADMINISTRATORS,
        prepare=_revoke_role,
    ),
    Command(
        name="transfer_ownership",
        room="access",
        summary="Let another human answer for a service or an agent.",
        input=TransferOwnershipInput,
        roles=ANYBODY,
        prepare=_transfer_ownership,
    ),
    Command(
        name="link_identity",
        room="access",
        summary="Tie an account of an identity provider to a human.",
        input=LinkIdentityInput,
        roles=ADMINISTRATORS,
        prepare=_link_identity,
    ),
    Command(
        name="deactivate_principal",
        room="access",
        summary="Let a principal act no more; its keys die with it.",
        input=DeactivatePrincipalInput,
        roles=ANYBODY,
        prepare=_deactivate_principal,
    ),
    Command(
        name="erase_principal",
        room="access",
        summary="Erase a deactivated principal's personal data by destroying its key.",
        input=ErasePrincipalInput,
        roles=ADMINISTRATORS,
        prepare=_erase_principal,
    ),
    Command(
        name="issue_api_key",
        room="access",
        summary="Make an API key; its text is shown once.",
        input=IssueApiKeyInput,
        roles=ANYBODY,
        prepare=_issue_api_key,
    ),
    Command(
        name="rotate_api_key",
        room="access",
        summary="Replace an API key; the old one keeps working for a while.",
        input=RotateApiKeyInput,
        roles=ANYBODY,
        prepare=_rotate_api_key,
    ),
    Command(
        name="revoke_api_key",
        room="access",
        summary="Stop an API key or a session at once, and every key that was made with it.",
        input=RevokeApiKeyInput,
        roles=ANYBODY,
        prepare=_revoke_api_key,
    ),
    Command(
        name="issue_sign_in_link",
        room="access",
        summary="Make a one-time sign-in link for a human; it is shown once.",
        input=IssueSignInLinkInput,
        roles=ADMINISTRATORS,
        prepare=_issue_sign_in_link,
    ),
)
