"""Policy as the record shows it: bundles and decisions."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, ClassVar

import strawberry

from quarterdeck_graphql.access import Principal, load_principal
from quarterdeck_graphql.at import At, Shown
from quarterdeck_graphql.context import Info
from quarterdeck_graphql.declare import resolver
from quarterdeck_graphql.enums import DecisionOutcome, PolicyBundleMode
from quarterdeck_graphql.limits import PART, WEIGHT
from quarterdeck_graphql.node import Node
from quarterdeck_graphql.personal import Withheld
from quarterdeck_graphql.scalars import Position
from quarterdeck_policy.basis import read_bundle
from quarterdeck_readmodels import policy as rows

if TYPE_CHECKING:
    from quarterdeck_graphql.approvals import Approval

LazyApproval = Annotated["Approval", strawberry.lazy("quarterdeck_graphql.approvals")]


@strawberry.type(description="The whole text of a policy bundle.")
class PolicyBundleText:
    policies: str = strawberry.field(description="Cedar policies; each has an `@id`.")
    cedar_schema: str | None = strawberry.field(description="The Cedar schema, if there is one.")
    entities: str = strawberry.field(description="Cedar entities, as JSON text.")


@strawberry.type(description="A version of a policy bundle.")
class PolicyBundle(Shown, Node):
    name: str = strawberry.field(description="The name that its versions share.")
    bundle_version: int = strawberry.field(description="Which version of that name it is.")
    digest: str = strawberry.field(description="The digest of its text.")
    mode: PolicyBundleMode = strawberry.field(description="What it does.")
    published_at: datetime = strawberry.field(description="When it was published.")

    @resolver("What it says.", metadata={WEIGHT: 50})
    async def text(self, info: Info) -> PolicyBundleText:
        found = await read_bundle(info.context.log, info.context.tenant, self._row.id)
        return PolicyBundleText(policies=found.policies, cedar_schema=found.cedar_schema, entities=found.entities)

    if TYPE_CHECKING:
        _at: At
        _row: rows.PolicyBundle


@strawberry.type(description="A decision of policy, with all it takes to make it again.")
class Decision(Shown, Node):
    personal: ClassVar[tuple[str, ...]] = ("request",)

    subject: str = strawberry.field(description="Who would act, `type:id` as AuthZEN has it.")
    action: str = strawberry.field(description="What it would do.")
    resource: str = strawberry.field(description="To what, `type:id`.")
    request: str | None = strawberry.field(description="The AuthZEN request, RFC 8785 text; null where withheld.")
    action_digest: str = strawberry.field(description="The digest of the action: another argument, another digest.")
    outcome: DecisionOutcome = strawberry.field(description="What policy said.")
    determining: list[str] = strawberry.field(description="The `@id` of each policy that decided.")
    reason: str = strawberry.field(description="What those policies say of why.")
    approval_path: str | None = strawberry.field(description="The approval path that policy named.")
    bundle_digest: str | None = strawberry.field(description="The digest of the bundle that decided.")
    estate_position: Position = strawberry.field(description="The last position the decision had seen.")
    errors: list[str] = strawberry.field(description="Errors of evaluation; any means `DENY`.")
    decided_at: datetime = strawberry.field(description="When it was recorded.")
    requester_id: strawberry.ID = strawberry.field(description="The principal that asked.")
    bundle_id: strawberry.ID | None = strawberry.field(
        description="The bundle that decided; null where there was none."
    )
    approval_id: strawberry.ID | None = strawberry.field(description="The approval that was presented and applied.")
    withheld: list[Withheld] = strawberry.field(
        metadata=PART, description="The personal fields that are not shown, and why."
    )

    @classmethod
    def instead(cls, row: rows.DecisionRecord) -> dict[str, str]:
        """Return the requester under its own name."""
        return {"requester_id": row.requester}

    @resolver("The principal that asked.")
    async def requester(self) -> Principal | None:
        return await load_principal(self._at, self._row.requester)

    @resolver("The bundle that decided.")
    async def bundle(self) -> PolicyBundle | None:
        row = await self._at.get(rows.PolicyBundle, self._row.bundle_id)
        return None if row is None else PolicyBundle.of(row, self._at)

    @resolver("The approval that was presented and applied.")
    async def approval(self) -> LazyApproval | None:
        from quarterdeck_graphql.approvals import load_approval

        return await load_approval(self._at, self._row.approval_id)

    if TYPE_CHECKING:
        _at: At
        _row: rows.DecisionRecord


async def load_decision(at: At, decision_id: str | None) -> Decision | None:
    """Return a decision as the caller may see it, its personal fields opened."""
    row = await at.get(rows.DecisionRecord, decision_id)
    if row is None:
        return None
    found = Decision.of(row, at)
    await at.open([found])
    return found


@strawberry.input(description="Which bundles. A list is any of its values.")
class PolicyBundleFilter:
    name: list[str] | None = strawberry.field(default=None, description="Their names.")
    mode: list[PolicyBundleMode] | None = strawberry.field(default=None, description="What they do.")


@strawberry.input(description="Which decisions. A list is any of its values.")
class DecisionFilter:
    outcome: list[DecisionOutcome] | None = strawberry.field(default=None, description="What policy said.")
    requester: list[strawberry.ID] | None = strawberry.field(default=None, description="Who asked.")
    subject: list[str] | None = strawberry.field(default=None, description="Who would act, `type:id`.")
    resource: list[str] | None = strawberry.field(default=None, description="To what, `type:id`.")
    approval_id: list[strawberry.ID] | None = strawberry.field(default=None, description="What was presented.")
