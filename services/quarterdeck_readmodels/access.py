"""Read models of the access room: principals and their keys. No secret and no hash of one is here."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from quarterdeck_readmodels.tables import Change, Fold, Row, Seen, taking


class Tenant(Row, frozen=True, kw_only=True):
    """The tenant itself: `open` or `closed`."""

    table = "tenants"

    display_name: str
    state: str = "open"


class Principal(Row, frozen=True, kw_only=True):
    """A human, service or agent. `display_name` and `email` are sealed under event `sealed_by`."""

    table = "principals"
    filters = ("owner", "roles", "kind", "state")

    kind: str
    display_name: str | None = None
    email: str | None = None
    owner: str | None = None
    purpose: str = ""
    roles: tuple[str, ...] = ()
    state: str = "active"
    sealed_by: str
    registered_at: datetime


class ApiKey(Row, frozen=True, kw_only=True):
    """A credential: `active`, `rotated` (works until `expires_at`) or `revoked`."""

    table = "api_keys"
    filters = ("principal_id", "state")

    principal_id: str
    purpose: str
    prefix: str
    acts_for: tuple[str, ...] = ()
    state: str = "active"
    issued_at: datetime
    expires_at: datetime | None = None
    replaced_by: str | None = None
    issued_by_key: str | None = None
    """The API key that it was made with, or the session that came of one."""
    bound_to: str | None = None
    """The API key or session that it was made with; once that is revoked, so is this, whatever its own `state`."""


_PRINCIPAL: Final = taking("kind", "display_name", "email", "owner", "purpose", "roles")
_KEY: Final = taking("principal_id", "purpose", "prefix", "acts_for", "expires_at")


def _tenant_opened(event: Seen) -> Iterable[Change]:
    data = event.data
    yield Change(row=Tenant, id=data["tenant"], create=True, set={"display_name": data["display_name"]})


def _tenant_closed(event: Seen) -> Iterable[Change]:
    yield Change(row=Tenant, id=event.data["tenant"], set={"state": "closed"})


def _registered(event: Seen) -> Iterable[Change]:
    data = event.data
    values = _PRINCIPAL(data) | {"sealed_by": event.id, "registered_at": event.recorded_at}
    yield Change(row=Principal, id=data["principal_id"], create=True, set=values)


def _role_granted(event: Seen) -> Iterable[Change]:
    yield Change(row=Principal, id=event.data["principal_id"], add={"roles": event.data["role"]})


def _role_revoked(event: Seen) -> Iterable[Change]:
    yield Change(row=Principal, id=event.data["principal_id"], take={"roles": event.data["role"]})


def _owner_changed(event: Seen) -> Iterable[Change]:
    yield Change(row=Principal, id=event.data["principal_id"], set={"owner": event.data["owner"]})


def _deactivated(event: Seen) -> Iterable[Change]:
    yield Change(row=Principal, id=event.data["principal_id"], set={"state": "deactivated"})


def _erased(event: Seen) -> Iterable[Change]:
    yield Change(row=Principal, id=event.data["principal_id"], set={"state": "erased"})


def _key_issued(event: Seen) -> Iterable[Change]:
    data = event.data
    values = _KEY(data) | {"issued_at": event.recorded_at, "issued_by_key": data.get("issued_by_key")}
    values["bound_to"] = data.get("bound_to")
    yield Change(row=ApiKey, id=data["key_id"], create=True, set=values)


def _key_rotated(event: Seen) -> Iterable[Change]:
    data = event.data
    values = {"state": "rotated", "expires_at": data["overlap_until"], "replaced_by": data["new_key_id"]}
    yield Change(row=ApiKey, id=data["key_id"], set=values)


def _key_revoked(event: Seen) -> Iterable[Change]:
    yield Change(row=ApiKey, id=event.data["key_id"], set={"state": "revoked"})


ROWS: Final = (Tenant, Principal, ApiKey)
FOLDS: Final[dict[str, Fold]] = {
    "tenant.opened": _tenant_opened,
    "tenant.closed": _tenant_closed,
    "principal.registered": _registered,
    "principal.role_granted": _role_granted,
    "principal.role_revoked": _role_revoked,
    "principal.ownership_transferred": _owner_changed,
    "principal.deactivated": _deactivated,
    "principal.erased": _erased,
    "api_key.issued": _key_issued,
    "api_key.rotated": _key_rotated,
    "api_key.revoked": _key_revoked,
}
