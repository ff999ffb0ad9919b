"""Commands on principals: humans, services and agents; their roles, owners and identities."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from eventsourcing.dcb.api import DCBQuery

from quarterdeck_domain.access.events import (
    ErasureReason,
    IdentityLinked,
    OwnershipTransferred,
    PrincipalDeactivated,
    PrincipalErased,
    PrincipalKind,
    PrincipalRegistered,
    Role,
    RoleGranted,
    RoleRevoked,
)
from quarterdeck_domain.access.values import ROLES_OF_KIND, CommandSlice, Principal, RoleHolders
from quarterdeck_domain.checks import MAX_ID, MAX_NAME, line, optional_line
from quarterdeck_domain.errors import InvalidInput, NotAllowed, NotFound, WrongState
from quarterdeck_domain.events import Actor, RecordedEvent
from quarterdeck_domain.slices import Decision, boundary

MAX_EMAIL: Final = 254
MAX_HANDED_OVER: Final = 200
"""How many services and agents one deactivation hands to a successor; an append has its bounds."""


def check_roles(kind: PrincipalKind, roles: Iterable[Role]) -> tuple[Role, ...]:
    """Return the roles, sorted, each once.

    Raises:
        InvalidInput: a role that this kind of principal may not hold.
    """
    wrong = sorted(set(roles) - ROLES_OF_KIND[kind])
    if wrong:
        allowed = sorted(ROLES_OF_KIND[kind])
        raise InvalidInput(f"a principal of kind {kind} may not be {', '.join(wrong)}", allowed=allowed, kind=kind)
    return tuple(sorted(set(roles)))


class _OnPrincipal(CommandSlice):
    """A command on one principal that exists."""

    def __init__(self, actor: Actor, principal_id: str, *concerned: str | None):
        super().__init__(actor, principal_id, *concerned)
        self.principal_id = principal_id

    def consistency_boundary(self) -> DCBQuery:
        return boundary(*self.house())

    def target(self) -> Principal:
        """Return the principal as it stands.

        Raises:
            NotFound: there is none.
        """
        found = self.people.find(self.principal_id)
        if found is None:
            raise NotFound("no such principal", principal=self.principal_id)
        return found

    def active_target(self) -> Principal:
        """Return the principal as it stands, if it may act.

        Raises:
            NotFound: there is none.
            WrongState: it was deactivated.
        """
        found = self.target()
        if not found.active:
            raise WrongState("this principal was deactivated", principal=self.principal_id)
        return found

    def require_owner(self, owner: str | None) -> str:
        """Return the id of somebody who may answer for a service or an agent.

        Raises:
            WrongState: it is not an active human.
        """
        found = self.people.active(owner)
        if found is None or found.kind != "human":
            raise WrongState("a service or an agent needs an owner who is an active human", owner=owner)
        return found.id


class RegisterPrincipal(_OnPrincipal):
    """Let a human, service or agent be known here. A service or an agent needs a human who answers for it."""

    def __init__(
        self,
        *,
        principal_id: str,
        kind: PrincipalKind,
        display_name: str,
        actor: Actor,
        email: str | None = None,
        owner: str | None = None,
        purpose: str = "",
        roles: Iterable[Role] = (),
    ):
        super().__init__(actor, principal_id, owner)
        if (kind == "human") != (owner is None):
            raise InvalidInput("a service or an agent needs an owner, and a human has none", kind=kind, owner=owner)
        if email is not None and "@" not in line(email, "email", limit=MAX_EMAIL):
            raise InvalidInput("this is not an e-mail address", field="email")
        self.kind: PrincipalKind = kind
        self.owner = owner
        self.roles = check_roles(kind, tuple(roles) or (("agent",) if kind == "agent" else ()))
        self.display_name = line(display_name, "display_name", limit=MAX_NAME)
        self.email = email
        self.purpose = optional_line(purpose, "purpose")

    def decide(self, now: datetime) -> Decision:
        self.require_role("administrator")
        if self.people.find(self.principal_id) is not None:
            raise WrongState("that principal exists already", principal=self.principal_id)
        registered = PrincipalRegistered(
            principal_id=self.principal_id,
            kind=self.kind,
            display_name=self.display_name,
            email=self.email,
            owner=None if self.owner is None else self.require_owner(self.owner),
            purpose=self.purpose,
            roles=self.roles,
        )
        return Decision(events=(registered,))


class GrantRole(_OnPrincipal):
    """Give a principal one more role, if its kind may hold it."""

    def __init__(self, *, principal_id: str, role: Role, actor: Actor):
        super().__init__(actor, principal_id)
        self.role: Role = role

    def decide(self, now: datetime) -> Decision:
        self.require_role("administrator")
        target = self.active_target()
        check_roles(target.kind, (self.role,))
        if self.role in target.roles:
            raise WrongState(f"it is {self.role} already", principal=self.principal_id, role=self.role)
        return Decision(events=(RoleGranted(principal_id=self.principal_id, role=self.role),))


class _NeverTheLastAdministrator(_OnPrincipal):
    """A command that may take an administrator away, and so must know all of them."""

    def __init__(self, actor: Actor, principal_id: str, *concerned: str | None):
        super().__init__(actor, principal_id, *concerned)
        self._administrators = RoleHolders(("administrator",))

    def consistency_boundary(self) -> DCBQuery:
        return boundary(*self._administrators.needs(), *self.house())

    def apply(self, event: RecordedEvent) -> None:
        super().apply(event)
        self._administrators.apply(event)

    def require_another_administrator(self) -> None:
        """Refuse if the target is the only administrator left.

        Raises:
            WrongState: it is.
        """
        if self._administrators.holders("administrator") == {self.principal_id}:
            raise WrongState("this is the last administrator; make another one first", principal=self.principal_id)


class RevokeRole(_NeverTheLastAdministrator):
    """Take a role from a principal; never the last administrator's."""

    def __init__(self, *, principal_id: str, role: Role, actor: Actor):
        super().__init__(actor, principal_id)
        self.role: Role = role

    def decide(self, now: datetime) -> Decision:
        self.require_role("administrator")
        target = self.active_target()
        if self.role not in target.roles:
            raise WrongState(f"it is not {self.role}", principal=self.principal_id, role=self.role)
        if self.role == "administrator":
            self.require_another_administrator()
        return Decision(events=(RoleRevoked(principal_id=self.principal_id, role=self.role),))


class TransferOwnership(_OnPrincipal):
    """Let another human answer for a service or an agent. The owner or an administrator may do so.

    Owners are humans and humans have no owner, so chains of ownership cannot close.
    """

    def __init__(self, *, principal_id: str, owner: str, actor: Actor):
        super().__init__(actor, principal_id, owner)
        self.owner = owner

    def decide(self, now: datetime) -> Decision:
        roles = self.require_commander()
        target = self.active_target()
        if target.kind == "human" or target.owner is None:
            raise WrongState("a human has no owner", principal=self.principal_id)
        if "administrator" not in roles and not _in_person(self.actor, target.owner):
            raise NotAllowed("only its owner or an administrator may hand it over", owner=target.owner)
        if target.owner == self.owner:
            raise WrongState("that human answers for it already", owner=self.owner)
        transferred = OwnershipTransferred(
            principal_id=self.principal_id, owner=self.require_owner(self.owner), previous_owner=target.owner
        )
        return Decision(events=(transferred,))


class LinkIdentity(_OnPrincipal):
    """Tie an account of an identity provider to a human. An account belongs to one principal for ever."""

    def __init__(self, *, principal_id: str, issuer: str, identity: str, actor: Actor):
        super().__init__(actor, principal_id)
        self.issuer = line(issuer, "issuer", limit=MAX_ID)
        self.identity = line(identity, "identity", limit=MAX_ID)
        self._holder: str | None = None

    def consistency_boundary(self) -> DCBQuery:
        return boundary(((IdentityLinked,), (f"identity:{self.identity}",)), *self.house())

    def apply(self, event: RecordedEvent) -> None:
        super().apply(event)
        match event.payload:
            case IdentityLinked(identity=self.identity, principal_id=holder):
                self._holder = holder
            case _:
                pass

    def decide(self, now: datetime) -> Decision:
        self.require_role("administrator")
        if self.active_target().kind != "human":
            raise WrongState("only humans sign in with an identity provider", principal=self.principal_id)
        if self._holder is not None:
            raise WrongState("this account is linked already", principal=self._holder)
        linked = IdentityLinked(principal_id=self.principal_id, issuer=self.issuer, identity=self.identity)
        return Decision(events=(linked,))


class DeactivatePrincipal(_NeverTheLastAdministrator):
    """Let a principal act no more; its keys die with it. Never the last administrator.

    A human who answers for services or agents needs a `successor`, so that none is ever without an owner; in a
    hurry that is whoever deactivates. The owner of a service or an agent may deactivate it too.
    """

    def __init__(self, *, principal_id: str, reason: str, actor: Actor, successor: str | None = None):
        super().__init__(actor, principal_id, successor)
        self.reason = line(reason, "reason")
        self.successor = successor

    def decide(self, now: datetime) -> Decision:
        roles = self.require_commander()
        target = self.active_target()
        if "administrator" not in roles and not _in_person(self.actor, target.owner):
            raise NotAllowed("only an administrator, or the owner of a service or an agent, may do this")
        self.require_another_administrator()
        deactivated = PrincipalDeactivated(
            principal_id=self.principal_id,
            reason=self.reason,
            roles=tuple(sorted(target.roles)),
            owner=target.owner,
        )
        return Decision(events=(*self._handed_over(), deactivated))

    def _handed_over(self) -> tuple[OwnershipTransferred, ...]:
        owned = sorted(self.people.owned_by(self.principal_id))
        if not owned:
            return ()
        if self.successor is None or self.successor == self.principal_id:
            raise WrongState(
                "it answers for services or agents; name the human who answers for them from now on as successor",
                owned=tuple(owned[:20]),
                count=len(owned),
            )
        if len(owned) > MAX_HANDED_OVER:
            raise WrongState(
                f"it answers for more than {MAX_HANDED_OVER} services and agents; transfer some of them first",
                count=len(owned),
            )
        successor = self.require_owner(self.successor)
        return tuple(
            OwnershipTransferred(principal_id=name, owner=successor, previous_owner=self.principal_id) for name in owned
        )


class ErasePrincipal(_OnPrincipal):
    """Record that a person's data is erased. Whoever runs this destroys the key after the fact is recorded.

    It may be done again: what was recorded of them since, of a key that was revoked late, has a key of its own.
    """

    def __init__(self, *, principal_id: str, reason: ErasureReason, actor: Actor):
        super().__init__(actor, principal_id)
        self.reason: ErasureReason = reason

    def decide(self, now: datetime) -> Decision:
        self.require_role("administrator")
        if self.target().active:
            raise WrongState("deactivate the principal first; erasure is for ever", principal=self.principal_id)
        return Decision(events=(PrincipalErased(principal_id=self.principal_id, reason=self.reason),))


def _in_person(actor: Actor, principal_id: str | None) -> bool:
    """Tell whether the actor is that principal itself, acting for nobody else."""
    return actor.principal == principal_id and not actor.on_behalf_of
