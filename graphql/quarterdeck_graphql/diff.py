"""What is different between two moments: which objects began, changed or ended, and in which fields."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Final

import msgspec
import strawberry
from strawberry.scalars import JSON

from quarterdeck_domain.errors import InvalidInput
from quarterdeck_graphql.access import ApiKey, Principal, Tenant
from quarterdeck_graphql.approvals import Approval, ApprovalPath, Callback, Effect, Grant, ParkedEvent, Vote
from quarterdeck_graphql.at import At, Shown
from quarterdeck_graphql.context import Context, Info
from quarterdeck_graphql.declare import resolver
from quarterdeck_graphql.estate import Asset, Drift, Relation
from quarterdeck_graphql.limits import PART
from quarterdeck_graphql.node import Connection, Node, check_first, page
from quarterdeck_graphql.policy import Decision, PolicyBundle
from quarterdeck_graphql.record import After, First, Record, record_at
from quarterdeck_readmodels import access as access_rows
from quarterdeck_readmodels import approvals as approvals_rows
from quarterdeck_readmodels import estate as estate_rows
from quarterdeck_readmodels import policy as policy_rows
from quarterdeck_readmodels.tables import COMMON, Row

KINDS: Final[dict[str, tuple[type[Shown], type[Row]]]] = {
    "tenant": (Tenant, access_rows.Tenant),
    "principal": (Principal, access_rows.Principal),
    "api_key": (ApiKey, access_rows.ApiKey),
    "policy_bundle": (PolicyBundle, policy_rows.PolicyBundle),
    "decision": (Decision, policy_rows.DecisionRecord),
    "approval_path": (ApprovalPath, approvals_rows.ApprovalPath),
    "approval": (Approval, approvals_rows.Approval),
    "vote": (Vote, approvals_rows.VoteRecord),
    "grant": (Grant, approvals_rows.Grant),
    "effect": (Effect, approvals_rows.Effect),
    "callback": (Callback, approvals_rows.CallbackRecord),
    "parked_event": (ParkedEvent, approvals_rows.Parked),
    "asset": (Asset, estate_rows.Asset),
    "relation": (Relation, estate_rows.Relation),
    "drift": (Drift, estate_rows.Drift),
}


@strawberry.enum(description="What kind of object changed; in this order.")
class ObjectKind(Enum):
    TENANT = "tenant"
    PRINCIPAL = "principal"
    API_KEY = "api_key"
    POLICY_BUNDLE = "policy_bundle"
    DECISION = "decision"
    APPROVAL_PATH = "approval_path"
    APPROVAL = "approval"
    VOTE = "vote"
    GRANT = "grant"
    EFFECT = "effect"
    CALLBACK = "callback"
    PARKED_EVENT = "parked_event"
    ASSET = "asset"
    RELATION = "relation"
    DRIFT = "drift"


_KEPT: Final = frozenset({"sealed_by", "since", "plain", "dated", "intervals", "changed_at"})
"""Columns with which rows are worked out and opened; they say nothing by themselves."""


@strawberry.enum(description="What became of an object.")
class ChangeKind(Enum):
    ADDED = strawberry.enum_value("added", description="It is there at the later moment alone.")
    CHANGED = strawberry.enum_value("changed", description="It is there at both, and not the same.")
    REMOVED = strawberry.enum_value("removed", description="It is there at the earlier moment alone.")


@strawberry.type(
    description="A field that is not the same. Personal fields are not compared: `withheld` is their place."
)
class FieldChange:
    name: str = strawberry.field(description="Its name.")
    before: JSON | None = strawberry.field(description="What it was.")
    after: JSON | None = strawberry.field(description="What it is.")


@strawberry.type(description="An object that is not the same at both moments.")
class Change:
    kind: ChangeKind = strawberry.field(description="What became of it.")
    object_kind: ObjectKind = strawberry.field(description="What it is.")
    object_id: strawberry.ID = strawberry.field(description="Its id.")
    row_id: strawberry.Private[str]
    fields: list[FieldChange] = strawberry.field(
        metadata=PART, description="The fields that are not the same, by name."
    )
    before: Node | None = strawberry.field(description="The object at the first moment.")
    after: Node | None = strawberry.field(description="The object at the second moment.")


@strawberry.type(description="The difference between two moments.")
class Diff:
    from_: Record = strawberry.field(name="from", description="The one moment.")
    to: Record = strawberry.field(description="The other.")

    @resolver("The objects that are not the same, by kind and id.")
    async def changes(
        self,
        info: Info,
        first: First,
        after: After = None,
        kinds: Annotated[
            list[ObjectKind] | None, strawberry.argument(description="Only objects of these kinds.")
        ] = None,
    ) -> Connection[Change]:
        context = info.context
        context.require_all("a difference")
        check_first(first)
        wanted = [name for name in KINDS if kinds is None or ObjectKind(name) in kinds]
        cursors = await context.cursors("diff", self.from_.position, self.to.position, wanted)
        key = cursors.read(after)
        found = await self._changes(context, wanted, key, first + 1)
        nodes = found[:first]
        for change in nodes:
            await self.from_.at.open(_to_open(change.before))
            await self.to.at.open(_to_open(change.after))
        keys = [(change.object_kind.value, change.row_id) for change in nodes]
        return page(nodes, keys, cursors, more=len(found) > first, after=after)

    async def _changes(self, context: Context, wanted: list[str], key: Any, limit: int) -> list[Change]:
        """Return the changes that follow a place: the kind and id of the last one seen."""
        order = list(KINDS)
        found: list[Change] = []
        async with context.reader.at(context.tenant, self.to.position) as record:
            for name in wanted:
                if key is not None and order.index(name) < order.index(key[0]):
                    continue
                last = key[1] if key is not None and name == key[0] else None
                touched: dict[str, Any] = {"": None}
                while touched and len(found) < limit:
                    touched = await record.diff(KINDS[name][1], self.from_.position, after=last, first=limit)
                    changes = [self._change(name, object_id, item) for object_id, item in touched.items()]
                    # What was changed and changed back is no difference.
                    found += [change for change in changes if change.fields or change.kind is not ChangeKind.CHANGED]
                    last = next(reversed(touched), None)
        return found[:limit]

    def _change(self, name: str, object_id: str, item: Any) -> Change:
        shown = KINDS[name][0]
        kind = (
            ChangeKind.ADDED
            if item.before is None
            else ChangeKind.REMOVED
            if item.after is None
            else ChangeKind.CHANGED
        )
        before, after = _shown(shown, item.before, self.from_.at), _shown(shown, item.after, self.to.at)
        return Change(
            kind=kind,
            object_kind=ObjectKind(name),
            object_id=(before or after).id,
            row_id=object_id,
            fields=_fields(item.before, item.after, shown.personal),
            before=before,
            after=after,
        )


async def diff_between(context: Context, since: int, until: int | None) -> Diff:
    """Return the difference between two positions; until None: now.

    Raises:
        NotAllowed: the caller reads only what concerns itself.
        InvalidInput: the second lies before the first.
    """
    context.require_all("a difference")
    later = await record_at(context, position=until)
    if later.position < since:
        raise InvalidInput(f"`to` is {later.position}, before `from`, {since}: swap them", **{"from": since})
    return Diff(from_=await record_at(context, position=since), to=later)


def _to_open(node: object) -> list[Shown]:
    return [node] if isinstance(node, Shown) else []


def _shown(shown: type[Shown], row: Row | None, at: At) -> Any:
    return None if row is None else shown.of(row, at)


def _fields(before: Row | None, after: Row | None, personal: tuple[str, ...]) -> list[FieldChange]:
    old = {} if before is None else msgspec.to_builtins(before)
    new = {} if after is None else msgspec.to_builtins(after)
    hidden = {*COMMON, *_KEPT, *personal}
    names = sorted((old.keys() | new.keys()) - hidden)
    return [
        FieldChange(name=name, before=old.get(name), after=new.get(name))
        for name in names
        if old.get(name) != new.get(name)
    ]
