"""Commands on a tenant as a whole: its beginning, its end, the way back in, and its signing keys."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec
from eventsourcing.dcb.api import DCBQuery

from quarterdeck_domain.access.credentials import check_hash
from quarterdeck_domain.access.events import (
    AdministratorRecovered,
    PrincipalRegistered,
    SigningKeyRotated,
    SignInLinkIssued,
    TenantClosed,
    TenantOpened,
)
from quarterdeck_domain.access.values import SYSTEM, CommandSlice
from quarterdeck_domain.checks import MAX_ID, MAX_NAME, line, seconds
from quarterdeck_domain.errors import InvalidInput, NotAllowed, NotFound, WrongState
from quarterdeck_domain.events import Actor, RecordedEvent
from quarterdeck_domain.ids import check_tenant
from quarterdeck_domain.slices import Decision, boundary

MAX_LINK_LIFETIME_S: Final = 7 * 86_400
MAX_SIGNING_OVERLAP_S: Final = 400 * 86_400

SigningPurpose = Literal["checkpoint", "binding", "grant", "webhook"]


class NewAdministrator(msgspec.Struct, frozen=True, kw_only=True):
    """A human to be made administrator, and the one-time link that lets them in."""

    principal_id: str
    display_name: str
    link_id: str
    link_hash: str
    email: str | None = None
    link_lifetime_s: int = 86_400

    def check(self) -> None:
        """Refuse what could not be recorded.

        Raises:
            InvalidInput: blank or long texts, a lifetime out of bounds, or a secret in place of its hash.
        """
        line(self.display_name, "display_name", limit=MAX_NAME)
        check_hash(self.link_hash)
        seconds(self.link_lifetime_s, "link_lifetime_s", at_most=MAX_LINK_LIFETIME_S)

    def events(self, now: datetime) -> tuple[PrincipalRegistered, SignInLinkIssued]:
        """Return the facts that make this person an administrator with a way in."""
        registered = PrincipalRegistered(
            principal_id=self.principal_id,
            kind="human",
            display_name=self.display_name,
            email=self.email,
            roles=("administrator",),
        )
        link = SignInLinkIssued(
            link_id=self.link_id,
            principal_id=self.principal_id,
            secret_hash=self.link_hash,
            expires_at=now + timedelta(seconds=self.link_lifetime_s),
        )
        return registered, link


class OpenTenant(CommandSlice):
    """Begin a tenant with its first administrator. Only the house itself does this, at first start."""

    def __init__(self, *, tenant: str, display_name: str, administrator: NewAdministrator, actor: Actor = SYSTEM):
        super().__init__(actor, administrator.principal_id)
        self.tenant = check_tenant(tenant)
        self.display_name = line(display_name, "display_name", limit=MAX_NAME)
        administrator.check()
        self.administrator = administrator
        self._opened = False

    def consistency_boundary(self) -> DCBQuery:
        return boundary(((TenantOpened,), ()), *self.house())

    def apply(self, event: RecordedEvent) -> None:
        super().apply(event)
        self._opened = self._opened or isinstance(event.payload, TenantOpened)

    def decide(self, now: datetime) -> Decision:
        self.require_open()
        if self.actor != SYSTEM:
            raise NotAllowed("only the machine's own command line opens a tenant", principal=self.actor.principal)
        if self._opened:
            raise WrongState("this tenant is open already", tenant=self.tenant)
        opened = TenantOpened(tenant=self.tenant, display_name=self.display_name)
        return Decision(events=(opened, *self.administrator.events(now)))


class CloseTenant(CommandSlice):
    """End a tenant for good: its log takes no further commands and stays readable.

    `tenant` is its name, said again so that nobody closes another one by mistake.
    """

    def __init__(self, *, tenant: str, reason: str, actor: Actor):
        super().__init__(actor)
        self.tenant = tenant
        self.reason = line(reason, "reason")
        self._opened: str | None = None

    def consistency_boundary(self) -> DCBQuery:
        return boundary(((TenantOpened,), ()), *self.house())

    def apply(self, event: RecordedEvent) -> None:
        super().apply(event)
        if isinstance(event.payload, TenantOpened):
            self._opened = event.payload.tenant

    def decide(self, now: datetime) -> Decision:
        self.require_role("administrator")
        if self._opened is None:
            raise NotFound("this tenant was never opened")
        if self.tenant != self._opened:
            raise InvalidInput("say the name of the tenant you are in, to close it for good", tenant=self._opened)
        return Decision(events=(TenantClosed(tenant=self.tenant, reason=self.reason),))


class RecoverAdministrator(CommandSlice):
    """Make a new administrator with the machine's own rights, because the last one was lost."""

    def __init__(self, *, administrator: NewAdministrator, reason: str, actor: Actor = SYSTEM):
        super().__init__(actor, administrator.principal_id)
        administrator.check()
        self.administrator = administrator
        self.reason = line(reason, "reason")
        self._opened = False

    def consistency_boundary(self) -> DCBQuery:
        return boundary(((TenantOpened,), ()), *self.house())

    def apply(self, event: RecordedEvent) -> None:
        super().apply(event)
        self._opened = self._opened or isinstance(event.payload, TenantOpened)

    def decide(self, now: datetime) -> Decision:
        self.require_open()
        if self.actor != SYSTEM:
            raise NotAllowed(
                "only the machine's own command line recovers an administrator", principal=self.actor.principal
            )
        if not self._opened:
            raise WrongState("this tenant was never opened; open it instead")
        if self.people.find(self.administrator.principal_id) is not None:
            raise WrongState("that principal exists already", principal=self.administrator.principal_id)
        registered, link = self.administrator.events(now)
        recovered = AdministratorRecovered(principal_id=registered.principal_id, reason=self.reason)
        return Decision(events=(recovered, registered, link))


class RotateSigningKey(CommandSlice):
    """Put a new signing key in use for one purpose. The old one keeps verifying for `overlap_s` seconds."""

    def __init__(self, *, purpose: SigningPurpose, key_id: str, public_key: str, overlap_s: int, actor: Actor):
        super().__init__(actor)
        self.purpose = purpose
        self.key_id = line(key_id, "key_id", limit=MAX_ID)
        self.public_key = line(public_key, "public_key", limit=2_000)
        self.overlap_s = seconds(overlap_s, "overlap_s", at_least=0, at_most=MAX_SIGNING_OVERLAP_S)
        self._current: str | None = None
        self._used: set[str] = set()

    def consistency_boundary(self) -> DCBQuery:
        return boundary(((SigningKeyRotated,), ()), *self.house())

    def apply(self, event: RecordedEvent) -> None:
        super().apply(event)
        match event.payload:
            case SigningKeyRotated(key_id=key_id, public_key=public_key, purpose=purpose):
                self._used |= {key_id, public_key}
                if purpose == self.purpose:
                    self._current = key_id
            case _:
                pass

    def decide(self, now: datetime) -> Decision:
        self.require_role("administrator")
        if {self.key_id, self.public_key} & self._used:
            raise WrongState("this key was in use before; a new key has a new id and serves one purpose only")
        retired_at = None if self._current is None else now + timedelta(seconds=self.overlap_s)
        rotated = SigningKeyRotated(
            key_id=self.key_id,
            purpose=self.purpose,
            public_key=self.public_key,
            previous_key_id=self._current,
            retired_at=retired_at,
        )
        return Decision(events=(rotated,))
