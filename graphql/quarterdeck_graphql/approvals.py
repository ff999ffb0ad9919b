"""Approvals as the record shows them: paths, requests, votes, grants, effects, and what got stuck."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

import strawberry

from quarterdeck_graphql.access import Principal, load_principal
from quarterdeck_graphql.at import At, Shown
from quarterdeck_graphql.declare import resolver
from quarterdeck_graphql.enums import (
    ApprovalStatus,
    CallbackState,
    EffectClass,
    EffectState,
    GrantState,
    ParkedState,
    Role,
    Verdict,
)
from quarterdeck_graphql.limits import PART
from quarterdeck_graphql.node import Node
from quarterdeck_graphql.personal import Withheld
from quarterdeck_graphql.policy import Decision, load_decision
from quarterdeck_graphql.scalars import Position
from quarterdeck_readmodels import approvals as rows


@strawberry.type(description="One step of an approval path.")
class Stage:
    name: str = strawberry.field(description="Its name.")
    roles: list[Role] = strawberry.field(description="Who may vote.")
    quorum: int = strawberry.field(description="How many must approve.")


@strawberry.type(description="A path that approvals take, in its version at that moment.")
class ApprovalPath(Shown, Node):
    name: str = strawberry.field(description="Its name.")
    path_version: int = strawberry.field(description="Which version it is.")
    stages: list[Stage] = strawberry.field(metadata=PART, description="Its stages, in order.")
    remind_after_s: int = strawberry.field(description="Seconds until eligible people are told again.")
    expires_after_s: int = strawberry.field(description="Seconds until a request expires.")
    grant_lifetime_s: int = strawberry.field(description="Seconds that a grant is good for.")

    @classmethod
    def instead(cls, row: rows.ApprovalPath) -> dict[str, Any]:
        """Return the id as it is written everywhere, and the stages as objects."""
        return {"id": f"path:{row.id}", "name": row.id, "stages": _stages(row.stages)}


@strawberry.type(description="A vote on an approval.")
class Vote(Shown, Node):
    data_subject: ClassVar[str] = "approver"
    personal: ClassVar[tuple[str, ...]] = ("comment",)

    verdict: Verdict = strawberry.field(description="What was said.")
    stage: str = strawberry.field(description="The stage it counts for.")
    comment: str | None = strawberry.field(description="Why; null where nothing was said, or withheld.")
    cast_at: datetime = strawberry.field(description="When.")
    approver_id: strawberry.ID = strawberry.field(description="Who voted.")
    withheld: list[Withheld] = strawberry.field(
        metadata=PART, description="The personal fields that are not shown, and why."
    )

    @classmethod
    def instead(cls, row: rows.VoteRecord) -> dict[str, Any]:
        """Return the approver under its own name."""
        return {"approver_id": row.approver}

    @resolver("Who voted.")
    async def approver(self) -> Principal | None:
        return await load_principal(self._at, self._row.approver)

    if TYPE_CHECKING:
        _at: At
        _row: rows.VoteRecord


@strawberry.type(description="What a redeemed grant set off.")
class Effect(Shown, Node):
    effect_class: EffectClass = strawberry.field(description="How it may be repeated.")
    outcome: EffectState = strawberry.field(description="How it stands.")
    detail: str = strawberry.field(description="What its executor, or whoever settled it, says.")
    reconciled: bool = strawberry.field(description="Whether a human settled it.")
    action_digest: str = strawberry.field(description="The digest of the action.")
    started_at: datetime = strawberry.field(description="When its grant was redeemed.")
    ended_at: datetime | None = strawberry.field(description="When it was said how it ended.")
    redeemer_id: strawberry.ID = strawberry.field(description="Who set it off.")
    grant_id: strawberry.ID = strawberry.field(description="The grant that allowed it.")
    approval_id: strawberry.ID = strawberry.field(description="The approval that allowed it.")

    @classmethod
    def instead(cls, row: rows.Effect) -> dict[str, Any]:
        """Return the redeemer under its own name."""
        return {"redeemer_id": row.redeemer}

    @resolver("The grant that allowed it.")
    async def grant(self) -> Grant | None:
        return await load_grant(self._at, self._row.grant_id)

    @resolver("Who set it off.")
    async def redeemer(self) -> Principal | None:
        return await load_principal(self._at, self._row.redeemer)

    if TYPE_CHECKING:
        _at: At
        _row: rows.Effect


@strawberry.type(description="A permission to do one action once.")
class Grant(Shown, Node):
    state: GrantState = strawberry.field(description="How it stands.")
    subject: str = strawberry.field(description="Who may act, `type:id`.")
    action_digest: str = strawberry.field(description="The digest of the action it is bound to.")
    minted_at: datetime = strawberry.field(description="When it was made.")
    expires_at: datetime = strawberry.field(description="Until when it may be redeemed.")
    redeemed_at: datetime | None = strawberry.field(description="When it was redeemed.")
    redeemer_id: strawberry.ID = strawberry.field(description="The principal that may redeem it.")
    approval_id: strawberry.ID = strawberry.field(description="The approval it comes from.")

    @classmethod
    def instead(cls, row: rows.Grant) -> dict[str, Any]:
        """Return the redeemer under its own name."""
        return {"redeemer_id": row.redeemer}

    @resolver("The principal that may redeem it.")
    async def redeemer(self) -> Principal | None:
        return await load_principal(self._at, self._row.redeemer)

    @resolver("The approval it comes from.")
    async def approval(self) -> Approval | None:
        return await load_approval(self._at, self._row.approval_id)

    @resolver("What it set off.")
    async def effect(self) -> Effect | None:
        row = await self._at.get(rows.Effect, self._row.effect_id)
        return None if row is None else Effect.of(row, self._at)

    if TYPE_CHECKING:
        _at: At
        _row: rows.Grant


@strawberry.type(description="A request for people's consent to exactly one action.")
class Approval(Shown, Node):
    personal: ClassVar[tuple[str, ...]] = ("request", "justification", "client")

    status: ApprovalStatus = strawberry.field(description="How it stands.")
    subject: str = strawberry.field(description="Who would act, `type:id`.")
    action: str = strawberry.field(description="What it would do.")
    resource: str = strawberry.field(description="To what, `type:id`.")
    request: str | None = strawberry.field(description="What policy verified: the AuthZEN request, RFC 8785 text.")
    justification: str | None = strawberry.field(description="What the requester claims. Text to be shown as text.")
    client: str | None = strawberry.field(description="What the requester says of itself: ARAP `client`, JSON text.")
    action_digest: str = strawberry.field(description="The digest of the action that consent is asked for.")
    stages: list[Stage] = strawberry.field(metadata=PART, description="The path's stages as they stood.")
    path_id: str = strawberry.field(description="Name of the path it takes.")
    path_version: int = strawberry.field(description="The path's version when it was asked for.")
    emergency: bool = strawberry.field(description="Whether the requester says that it is urgent.")
    requested_at: datetime = strawberry.field(description="When it was asked for.")
    expires_at: datetime = strawberry.field(description="Until when people may decide.")
    approved_until: datetime | None = strawberry.field(description="Until when the action may be done.")
    settled_at: datetime | None = strawberry.field(description="When it was approved, denied, cancelled or expired.")
    decision_id: strawberry.ID = strawberry.field(description="The decision that asked for a human.")
    requester_id: strawberry.ID = strawberry.field(description="The principal that asked.")
    excluded: list[strawberry.ID] = strawberry.field(
        description="Who may not vote: the requester, whom it acts for, and their owners."
    )
    reminders: int = strawberry.field(description="How often eligible people were told again.")
    withheld: list[Withheld] = strawberry.field(
        metadata=PART, description="The personal fields that are not shown, and why."
    )

    @classmethod
    def instead(cls, row: rows.Approval) -> dict[str, Any]:
        """Return what has a name of its own, and the stages as objects."""
        return {
            "requester_id": row.requester,
            "excluded": row.requesters,
            "stages": _stages(row.stages),
        }

    @resolver("The principal that asked.")
    async def requester(self) -> Principal | None:
        return await load_principal(self._at, self._row.requester)

    @resolver("The decision that asked for a human.")
    async def decision(self) -> Decision | None:
        return await load_decision(self._at, self._row.decision_id)

    @resolver("Who said what, oldest first.")
    async def votes(self) -> list[Vote]:
        found = [Vote.of(row, self._at) for row in await self._at.votes(self._row.id)]
        await self._at.open(found)
        return found

    @resolver("The grant it led to.")
    async def grant(self) -> Grant | None:
        return await load_grant(self._at, self._row.grant_id)

    if TYPE_CHECKING:
        _at: At
        _row: rows.Approval


@strawberry.type(description="A message to a requester's endpoint.")
class Callback(Shown, Node):
    state: CallbackState = strawberry.field(description="How its delivery stands.")
    status: int | None = strawberry.field(description="The HTTP status that ended it.")
    reason: str = strawberry.field(description="Why it could not be delivered.")
    approval_id: strawberry.ID = strawberry.field(description="The approval it is about.")

    @classmethod
    def instead(cls, row: rows.CallbackRecord) -> dict[str, Any]:
        """Return the id as it is written everywhere."""
        return {"id": f"callback:{row.id}"}


@strawberry.type(description="An event that could not be acted on and was set aside.")
class ParkedEvent(Shown, Node):
    position: Position = strawberry.field(description="The event's place in the log.")
    workflow_id: str = strawberry.field(description="The workflow it was for.")
    reason: str = strawberry.field(description="Why it could not be acted on.")
    state: ParkedState = strawberry.field(description="How it stands.")
    parked_at: datetime = strawberry.field(description="When it was set aside.")

    @classmethod
    def instead(cls, row: rows.Parked) -> dict[str, Any]:
        """Return the id as it is written everywhere, and the position that it is."""
        return {"id": f"parked:{row.id}", "position": int(row.id)}


def _stages(stages: tuple[dict[str, Any], ...]) -> list[Stage]:
    return [Stage(name=item["name"], roles=item["roles"], quorum=item["quorum"]) for item in stages]


async def load_approval(at: At, approval_id: str | None) -> Approval | None:
    """Return an approval as the caller may see it, its personal fields opened."""
    row = await at.get(rows.Approval, approval_id)
    if row is None:
        return None
    found = Approval.of(row, at)
    await at.open([found])
    return found


async def load_grant(at: At, grant_id: str | None) -> Grant | None:
    """Return a grant as the caller may see it."""
    row = await at.get(rows.Grant, grant_id)
    return None if row is None else Grant.of(row, at)


@strawberry.input(description="Which approvals. A list is any of its values.")
class ApprovalFilter:
    status: list[ApprovalStatus] | None = strawberry.field(default=None, description="How they stand.")
    requester: list[strawberry.ID] | None = strawberry.field(default=None, description="Who asked.")
    subject: list[str] | None = strawberry.field(default=None, description="Who would act, `type:id`.")
    decision_id: list[strawberry.ID] | None = strawberry.field(default=None, description="The decision behind them.")


@strawberry.input(description="Which grants. A list is any of its values.")
class GrantFilter:
    state: list[GrantState] | None = strawberry.field(default=None, description="How they stand.")
    redeemer: list[strawberry.ID] | None = strawberry.field(default=None, description="Who may redeem them.")
    subject: list[str] | None = strawberry.field(default=None, description="Who may act, `type:id`.")
    approval_id: list[strawberry.ID] | None = strawberry.field(default=None, description="What they come from.")


@strawberry.input(description="Which effects. A list is any of its values.")
class EffectFilter:
    outcome: list[EffectState] | None = strawberry.field(default=None, description="How they stand.")
    redeemer: list[strawberry.ID] | None = strawberry.field(default=None, description="Who set them off.")
    grant_id: list[strawberry.ID] | None = strawberry.field(default=None, description="What allowed them.")
    approval_id: list[strawberry.ID] | None = strawberry.field(default=None, description="What allowed them.")


@strawberry.input(description="Which callbacks. A list is any of its values.")
class CallbackFilter:
    state: list[CallbackState] | None = strawberry.field(default=None, description="How their delivery stands.")
    approval_id: list[strawberry.ID] | None = strawberry.field(default=None, description="What they are about.")


@strawberry.input(description="Which events that were set aside. A list is any of its values.")
class ParkedEventFilter:
    state: list[ParkedState] | None = strawberry.field(default=None, description="How they stand.")
