"""Who is who: the tenant, its principals and their keys, as the record shows them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

import strawberry

from quarterdeck_graphql.at import At, Shown
from quarterdeck_graphql.declare import resolver
from quarterdeck_graphql.enums import ApiKeyPurpose, ApiKeyState, PrincipalKind, PrincipalState, Role, TenantState
from quarterdeck_graphql.limits import PART
from quarterdeck_graphql.node import Node
from quarterdeck_graphql.personal import Withheld
from quarterdeck_readmodels import access as rows


@strawberry.type(description="The tenant whose log this is.")
class Tenant(Shown, Node):
    name: str = strawberry.field(description="Its name.")
    display_name: str = strawberry.field(description="Its name for people.")
    state: TenantState = strawberry.field(description="Whether it takes commands.")

    @classmethod
    def instead(cls, row: rows.Tenant) -> dict[str, Any]:
        """Return the id as it is written everywhere."""
        return {"id": f"tenant:{row.id}", "name": row.id}


@strawberry.type(description="A human, service or agent.")
class Principal(Shown, Node):
    data_subject: ClassVar[str] = "id"
    personal: ClassVar[tuple[str, ...]] = ("display_name", "email")

    kind: PrincipalKind = strawberry.field(description="What it is.")
    display_name: str | None = strawberry.field(description="Its name for people; null where withheld.")
    email: str | None = strawberry.field(description="Its address; null where there is none, or withheld.")
    purpose: str = strawberry.field(description="What a service or an agent is for.")
    roles: list[Role] = strawberry.field(description="What it may do.")
    state: PrincipalState = strawberry.field(description="Whether it may act.")
    registered_at: datetime = strawberry.field(description="Since when it is known.")
    withheld: list[Withheld] = strawberry.field(
        metadata=PART, description="The personal fields that are not shown, and why."
    )

    @resolver("The human who answers for a service or an agent.")
    async def owner(self) -> Principal | None:
        return await load_principal(self._at, self._row.owner)

    if TYPE_CHECKING:
        _at: At
        _row: rows.Principal


@strawberry.type(description="A credential. Neither it nor its hash is here.")
class ApiKey(Shown, Node):
    purpose: ApiKeyPurpose = strawberry.field(description="What it is for.")
    prefix: str = strawberry.field(description="The part that people tell keys apart by.")
    acts_for: list[strawberry.ID] = strawberry.field(description="Principals its holder acts for, nearest first.")
    issued_at: datetime = strawberry.field(description="When it was made.")
    expires_at: datetime | None = strawberry.field(description="Until when it works; null: until it is revoked.")
    replaced_by: strawberry.ID | None = strawberry.field(description="The key that took its place.")
    issued_by_key: strawberry.ID | None = strawberry.field(
        description="The API key it was made with, or a session that came of one; null where a person was signed in."
    )
    principal_id: strawberry.ID = strawberry.field(description="Whose it is.")

    @resolver("Whether it opens anything; revoked is also what was made with a key that was.")
    async def state(self) -> ApiKeyState:
        maker: rows.ApiKey | None = self._row
        while maker is not None and maker.state != "revoked":
            maker = await self._at.fact(rows.ApiKey, maker.bound_to)
        return ApiKeyState(self._row.state if maker is None else "revoked")

    @resolver("Whose it is.")
    async def principal(self) -> Principal | None:
        return await load_principal(self._at, self._row.principal_id)

    if TYPE_CHECKING:
        _at: At
        _row: rows.ApiKey


async def load_principal(at: At, principal_id: str | None) -> Principal | None:
    """Return a principal as the caller may see it, its personal fields opened."""
    row = await at.get(rows.Principal, principal_id)
    if row is None:
        return None
    found = Principal.of(row, at)
    await at.open([found])
    return found


@strawberry.input(description="Which principals. A list is any of its values.")
class PrincipalFilter:
    kind: list[PrincipalKind] | None = strawberry.field(default=None, description="What they are.")
    state: list[PrincipalState] | None = strawberry.field(default=None, description="Whether they may act.")
    roles: list[Role] | None = strawberry.field(default=None, description="Any of the roles they hold.")
    owner: list[strawberry.ID] | None = strawberry.field(default=None, description="Who answers for them.")


@strawberry.input(description="Which keys. A list is any of its values.")
class ApiKeyFilter:
    principal_id: list[strawberry.ID] | None = strawberry.field(default=None, description="Whose they are.")
    state: list[ApiKeyState] | None = strawberry.field(default=None, description="Whether they open anything.")
