"""Who is who: small folds over the events of principals, shared by every room's slices.

`People` knows everything about a few named principals. `RoleHolders` knows who holds a few named roles.
Each says which events it needs (`needs`), so that a slice's boundary and its fold cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

import msgspec

from quarterdeck_domain.access.events import (
    OwnershipTransferred,
    PrincipalDeactivated,
    PrincipalKind,
    PrincipalRegistered,
    Role,
    RoleGranted,
    RoleRevoked,
    TenantClosed,
)
from quarterdeck_domain.errors import NotAllowed, WrongState
from quarterdeck_domain.events import Actor, Event, RecordedEvent
from quarterdeck_domain.slices import Slice

Item = tuple[tuple[type[Event], ...], tuple[str, ...]]
"""One item of a boundary: any of these types with all of these tags."""

PRINCIPAL_EVENTS: Final = (
    PrincipalRegistered,
    RoleGranted,
    RoleRevoked,
    OwnershipTransferred,
    PrincipalDeactivated,
)
ROLE_EVENTS: Final = (PrincipalRegistered, RoleGranted, RoleRevoked, PrincipalDeactivated)
ROLES_OF_KIND: Final[Mapping[PrincipalKind, frozenset[Role]]] = MappingProxyType(
    {
        "human": frozenset(("administrator", "operator", "approver", "auditor")),
        "service": frozenset(("operator", "auditor", "agent")),
        "agent": frozenset(("agent",)),
    }
)
SYSTEM: Final = Actor(principal="system", kind="service")
"""The house itself, where no principal asked: first start, recovery on the machine, timers. No credential
ever yields it: ids of principals begin with `prn_`."""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """The credential that a command came with. What is made with it ends no later, unless a rule says otherwise."""

    key_id: str | None = None
    """An API key's or a session's; None for a token of an identity provider."""
    ends_at: datetime | None = None
    """Its own end; None if it has none. Of a key its events say more."""


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A principal as it stands. `owner` is the human who answers for a service or an agent."""

    id: str
    kind: PrincipalKind
    roles: frozenset[Role] = frozenset()
    owner: str | None = None
    active: bool = True


class People:
    """What is known of a few principals, and of everything they own."""

    def __init__(self, *ids: str | None) -> None:
        self.ids = frozenset(name for name in ids if name is not None and name != SYSTEM.principal)
        self._known: dict[str, Principal] = {}
        self._owner_of: dict[str, str] = {}
        self._gone: set[str] = set()

    def needs(self) -> tuple[Item, ...]:
        """Return the boundary items of every event this fold must see."""
        return tuple((PRINCIPAL_EVENTS, (f"principal:{name}",)) for name in sorted(self.ids))

    def apply(self, event: RecordedEvent) -> None:
        """Fold one event; events of other kinds and of other principals pass by."""
        match event.payload:
            case PrincipalRegistered(principal_id=name) as registered:
                self._set(
                    Principal(id=name, kind=registered.kind, roles=frozenset(registered.roles), owner=registered.owner)
                )
                self._owns(name, registered.owner)
            case RoleGranted(principal_id=name, role=role):
                self._change(name, roles=self._roles(name) | {role})
            case RoleRevoked(principal_id=name, role=role):
                self._change(name, roles=self._roles(name) - {role})
            case OwnershipTransferred(principal_id=name, owner=owner):
                self._change(name, owner=owner)
                self._owns(name, owner)
            case PrincipalDeactivated(principal_id=name):
                self._change(name, active=False)
                self._gone.add(name)
            case _:
                pass

    def find(self, principal_id: str | None) -> Principal | None:
        """Return a principal, or None if it was never registered.

        Raises:
            LookupError: this fold was not asked to know it: its boundary is too narrow.
        """
        if principal_id is not None and principal_id not in self.ids and principal_id != SYSTEM.principal:
            raise LookupError(f"{principal_id!r} is outside what this fold was asked to know")
        return None if principal_id is None else self._known.get(principal_id)

    def active(self, principal_id: str | None) -> Principal | None:
        """Return a principal if it is registered and may act."""
        found = self.find(principal_id)
        return found if found is not None and found.active else None

    def answers_for(self, principal_id: str) -> frozenset[str]:
        """Return the services and agents that a principal answers for, those that were deactivated too."""
        self.find(principal_id)
        return frozenset(name for name, owner in self._owner_of.items() if owner == principal_id)

    def owned_by(self, principal_id: str) -> frozenset[str]:
        """Return the active services and agents that a principal answers for."""
        return self.answers_for(principal_id) - self._gone

    def roles(self, actor: Actor) -> frozenset[Role]:
        """Return the roles an actor may use now: none unless it and everyone it acts for are active; and
        acting for others it keeps, beside `agent`, only roles that all of them hold."""
        holder = self.active(actor.principal)
        if holder is None:
            return frozenset()
        roles = holder.roles
        for name in actor.on_behalf_of:
            principal = self.active(name)
            if principal is None:
                return frozenset()
            roles &= principal.roles | {"agent"}
        return roles

    def _set(self, principal: Principal) -> None:
        if principal.id in self.ids:
            self._known[principal.id] = principal

    def _change(self, name: str, **changes: object) -> None:
        if name in self._known:
            self._known[name] = msgspec.structs.replace(self._known[name], **changes)

    def _roles(self, name: str) -> frozenset[Role]:
        return self._known[name].roles if name in self._known else frozenset()

    def _owns(self, name: str, owner: str | None) -> None:
        if owner in self.ids and owner is not None:
            self._owner_of[name] = owner
        else:
            self._owner_of.pop(name, None)


class RoleHolders:
    """Which active principals hold each of a few roles, whoever they are."""

    def __init__(self, roles: Iterable[Role]) -> None:
        self.watched = frozenset(roles)
        self._roles: dict[str, frozenset[Role]] = {}

    def needs(self) -> tuple[Item, ...]:
        """Return the boundary items of every event this fold must see."""
        return tuple((ROLE_EVENTS, (f"role:{role}",)) for role in sorted(self.watched))

    def apply(self, event: RecordedEvent) -> None:
        """Fold one event; others pass by."""
        match event.payload:
            case PrincipalRegistered(principal_id=name, roles=roles):
                self._roles[name] = frozenset(roles) & self.watched
            case RoleGranted(principal_id=name, role=role) if role in self.watched:
                self._roles[name] = self.roles_of(name) | {role}
            case RoleRevoked(principal_id=name, role=role):
                self._roles[name] = self.roles_of(name) - {role}
            case PrincipalDeactivated(principal_id=name):
                self._roles[name] = frozenset()
            case _:
                pass

    def roles_of(self, principal_id: str) -> frozenset[Role]:
        """Return which of the watched roles an active principal holds."""
        return self._roles.get(principal_id, frozenset())

    def holders(self, role: Role) -> frozenset[str]:
        """Return every active principal that holds a watched role."""
        return frozenset(name for name, roles in self._roles.items() if role in roles)


class CommandSlice(Slice):
    """Base of every command: it knows who acts and whom it concerns, and a closed tenant takes none."""

    def __init__(self, actor: Actor, *concerned: str | None) -> None:
        self.actor = actor
        self.people = People(*actor.everyone(), *concerned)
        self._closed_at: datetime | None = None

    def house(self) -> tuple[Item, ...]:
        """Return the boundary items that every command has: the tenant's end, and the people."""
        return (((TenantClosed,), ()), *self.people.needs())

    def apply(self, event: RecordedEvent) -> None:
        """Fold what every command knows. A subclass that knows more calls this too."""
        if isinstance(event.payload, TenantClosed):
            self._closed_at = event.recorded_at
        self.people.apply(event)

    def require_open(self) -> None:
        """Refuse in a closed tenant.

        Raises:
            WrongState: it is closed.
        """
        if self._closed_at is not None:
            raise WrongState("this tenant is closed; its log can only be read", closed_at=self._closed_at)

    def require_commander(self) -> frozenset[Role]:
        """Return the actor's roles; refuse whoever may not command anything at all.

        Raises:
            WrongState: the tenant is closed.
            NotAllowed: the actor, or somebody it acts for, is unknown or inactive; or it is only an auditor.
        """
        self.require_open()
        if self.actor == SYSTEM:
            return frozenset()
        for name in (self.actor.principal, *self.actor.on_behalf_of):
            if self.people.active(name) is None:
                raise NotAllowed("the acting principal, or one it acts for, is not active here", principal=name)
        holder = self.people.active(self.actor.principal)
        if holder is not None and holder.roles == {"auditor"}:
            raise NotAllowed("an auditor reads everything and commands nothing", principal=self.actor.principal)
        return self.people.roles(self.actor)

    def require_role(self, *needed: Role) -> None:
        """Refuse unless the actor holds one of these roles, or is the house itself.

        Raises:
            WrongState: the tenant is closed.
            NotAllowed: it holds none of them.
        """
        roles = self.require_commander()
        if self.actor != SYSTEM and not roles & set(needed):
            raise NotAllowed(
                f"only {' or '.join(needed)} may do this", needs=tuple(needed), principal=self.actor.principal
            )
