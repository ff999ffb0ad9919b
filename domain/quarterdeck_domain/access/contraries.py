"""What could have happened to tenants, principals and keys, and did not. See `contraries`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, get_args

from quarterdeck_domain.access.events import (
    ApiKeyRevoked,
    ApiKeyRotated,
    OwnershipTransferred,
    PrincipalDeactivated,
    PrincipalErased,
    PrincipalKind,
    PrincipalRegistered,
    Role,
    RoleGranted,
    RoleRevoked,
    TenantClosed,
)
from quarterdeck_domain.causes import NOBODY, NOTHING, SOME_DAY, SOMETHING, Known, Maker
from quarterdeck_domain.events import Event


def _registered(known: Known) -> Iterable[Event]:
    for kind in get_args(PrincipalKind):
        for roles in ((), *((role,) for role in get_args(Role))):
            yield PrincipalRegistered(principal_id=known["principal"], kind=kind, display_name=None, roles=roles)


def _granted(known: Known) -> Iterable[Event]:
    return (RoleGranted(principal_id=known["principal"], role=role) for role in get_args(Role))


def _taken(known: Known) -> Iterable[Event]:
    return (RoleRevoked(principal_id=known["principal"], role=role) for role in get_args(Role))


def _transferred(known: Known) -> Iterable[Event]:
    yield OwnershipTransferred(principal_id=known["principal"], owner=NOBODY, previous_owner=NOBODY)


def _deactivated(known: Known) -> Iterable[Event]:
    yield PrincipalDeactivated(principal_id=known["principal"], reason=None)


def _erased(known: Known) -> Iterable[Event]:
    yield PrincipalErased(principal_id=known["principal"], reason="requested")


def _closed(known: Known) -> Iterable[Event]:
    yield TenantClosed(tenant=known["tenant"], reason=SOMETHING)


def _key_rotated(known: Known) -> Iterable[Event]:
    yield ApiKeyRotated(key_id=known["key"], new_key_id="key_" + NOTHING, principal_id=NOBODY, overlap_until=SOME_DAY)


def _key_revoked(known: Known) -> Iterable[Event]:
    yield ApiKeyRevoked(key_id=known["key"], principal_id=NOBODY, reason=None)


MAKERS: Final[Mapping[str, Maker]] = {
    "principal.registered": _registered,
    "principal.role_granted": _granted,
    "principal.role_revoked": _taken,
    "principal.ownership_transferred": _transferred,
    "principal.deactivated": _deactivated,
    "principal.erased": _erased,
    "tenant.closed": _closed,
    "api_key.rotated": _key_rotated,
    "api_key.revoked": _key_revoked,
}
