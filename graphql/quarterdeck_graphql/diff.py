"""What is different between two moments: which objects began, changed or ended, and in which fields."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Final

import strawberry
from strawberry.scalars import JSON

from quarterdeck_graphql.access import ApiKey, Principal, Tenant
from quarterdeck_graphql.approvals import Approval, ApprovalPath, Callback, Effect, Grant, ParkedEvent, Vote
from quarterdeck_graphql.at import At, Shown
from quarterdeck_graphql.context import Context, Info
from quarterdeck_graphql.cursors import InvalidCursor
from quarterdeck_graphql.declare import resolver
from quarterdeck_graphql.diff_part import Between, is_part
from quarterdeck_graphql.diff_words import sentence
from quarterdeck_graphql.estate import Asset, Drift, Relation, moment_of
from quarterdeck_graphql.events import TimelineEntry, show_entry
from quarterdeck_graphql.limits import PART
from quarterdeck_graphql.moments import Moment
from quarterdeck_graphql.node import Connection, Node, check_first, page
from quarterdeck_graphql.policy import Decision, PolicyBundle
from quarterdeck_graphql.record import After, First, Record, record_at
from quarterdeck_graphql.spans import two_records
from quarterdeck_readmodels import access as access_rows
from quarterdeck_readmodels import approvals as approvals_rows
from quarterdeck_readmodels import estate as estate_rows
from quarterdeck_readmodels import policy as policy_rows
from quarterdeck_readmodels.changes import told
from quarterdeck_readmodels.held import Held, view_at
from quarterdeck_readmodels.living import Live
from quarterdeck_readmodels.reader import Record as Rows
from quarterdeck_readmodels.tables import Row

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


_AT_ONCE: Final = 500


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
    sentence: str = strawberry.field(description="What happened to it, in words.")
    before: Node | None = strawberry.field(description="The object at the first moment.")
    after: Node | None = strawberry.field(description="The object at the second moment.")
    at: strawberry.Private[At]
    position: strawberry.Private[int]

    @resolver("The last event that changed it, as far as the later moment knows; null where it is not there.")
    async def event(self) -> TimelineEntry | None:
        context = self.at.context
        if not self.position:
            return None
        (entry,) = await context.log.read_sealed(context.tenant, after=self.position - 1, until=self.position)
        return await show_entry(context, entry)


@strawberry.type(description="The difference between two moments.")
class Diff:
    from_: Record = strawberry.field(name="from", description="The one moment.")
    to: Record = strawberry.field(description="The other.")
    to_now: strawberry.Private[bool]

    @resolver("The objects that are not the same, by kind and id.")
    async def changes(
        self,
        info: Info,
        first: First,
        after: After = None,
        kinds: Annotated[
            list[ObjectKind] | None, strawberry.argument(description="Only objects of these kinds.")
        ] = None,
        assets: Annotated[
            list[str] | None,
            strawberry.argument(
                description="Only these objects of the estate, `kind:name`, with their relations and drifts. Nothing "
                "that is not of the estate is told of then."
            ),
        ] = None,
        teams: Annotated[
            list[str] | None,
            strawberry.argument(description="The same of every object that these teams answer for at either moment."),
        ] = None,
        needed_by: Annotated[
            strawberry.ID | None,
            strawberry.argument(
                description="The same of what this object needs at either moment: itself, what it reaches within six "
                "steps, and the controls of these."
            ),
        ] = None,
    ) -> Connection[Change]:
        context = info.context
        context.require_all("a difference")
        check_first(first)
        part = any(named is not None for named in (assets, teams, needed_by))
        only_estate = part or self.to.at.view is not None
        wanted = [
            name
            for name, (_, row) in KINDS.items()
            if (kinds is None or ObjectKind(name) in kinds) and (not only_estate or is_part(row))
        ]
        place: list[object] = [self.from_.position, wanted]
        if only_estate:
            view = self.from_.at.view
            begins = None if view is None else [view.moment, view.known]
            place += [begins, *(names and sorted(names) for names in (assets, teams)), needed_by]
        cursors = await context.cursors("diff", *place)
        key = cursors.read(after)
        to = self.to if key is None else await self._to(context, *key[2:])
        async with to.at.record() as record:
            if isinstance(record, Live):
                record = record.recorded  # it is told how what was recorded differs
            between = Between(_earlier(record, self.from_.at), record)
            await between.narrow(assets, teams, needed_by, (self.from_.at, to.at))
            found = await self._changes(to.at, record, between if only_estate else None, wanted, key, first + 1)
        nodes = found[:first]
        for change in nodes:
            await self.from_.at.open(_to_open(change.before))
            await to.at.open(_to_open(change.after))
        until = (to.position, (await moment_of(to.at)).isoformat())
        keys = [(change.object_kind.value, change.row_id, *until) for change in nodes]
        return page(nodes, keys, cursors, more=len(found) > first, after=after)

    async def _to(self, context: Context, position: int, moment: str) -> Record:
        """Return the later record of the page before: where it is of now, later pages are told up to the same.

        Raises:
            InvalidCursor: the question has another end.
        """
        view = self.to.at.view
        then = datetime.fromisoformat(moment)
        if not self.to_now:
            if position != self.to.position or (view is not None and then != view.moment):
                raise InvalidCursor("this cursor belongs to a difference up to another moment", position=position)
            return self.to
        if view is not None:
            view = await view_at(context.log, context.tenant, then, position)
        return await record_at(context, position=position, moment=then, view=view)

    async def _changes(
        self, to: At, record: Rows, between: Between | None, wanted: list[str], key: Any, limit: int
    ) -> list[Change]:
        """Return the changes that follow a place: the kind and id of the last one seen."""
        order = list(KINDS)
        found: list[Change] = []
        for name in wanted:
            if key is not None and order.index(name) < order.index(key[0]):
                continue
            last = key[1] if key is not None and name == key[0] else None
            row = KINDS[name][1]
            touched: dict[str, Any] = {"": None}
            while touched and len(found) < limit:
                if between is None:
                    touched = dict(await record.diff(row, self.from_.position, after=last, first=limit))
                else:
                    touched = dict(await between.differences(row, after=last, first=_AT_ONCE))
                # What neither moment has was there in between, or was said of another time.
                there = [
                    (of, item) for of, item in touched.items() if item.before is not None or item.after is not None
                ]
                changes = [self._change(to, name, object_id, item) for object_id, item in there]
                # What was changed and changed back is no difference.
                found += [change for change in changes if change.fields or change.kind is not ChangeKind.CHANGED]
                last = next(reversed(touched), None)
        return found[:limit]

    def _change(self, to: At, name: str, object_id: str, item: Any) -> Change:
        shown = KINDS[name][0]
        kind = (
            ChangeKind.ADDED
            if item.before is None
            else ChangeKind.REMOVED
            if item.after is None
            else ChangeKind.CHANGED
        )
        before, after = _shown(shown, item.before, self.from_.at), _shown(shown, item.after, to)
        fields = _fields(item.before, item.after, shown.personal)
        words = {field.name: (field.before, field.after) for field in fields}
        added, removed = item.before is None, item.after is None
        return Change(
            kind=kind,
            object_kind=ObjectKind(name),
            object_id=(before or after).id,
            row_id=object_id,
            fields=fields,
            sentence=sentence(name, object_id, words, added=added, removed=removed, after=item.after),
            before=before,
            after=after,
            at=to,
            position=0 if item.after is None else item.after.from_position,
        )


async def diff_between(context: Context, since: Moment, until: Moment | None, known: Moment | None) -> Diff:
    """Return the difference between two moments; until None: now. With `known`, of the estate as known then.

    Raises:
        NotAllowed: the caller reads only what concerns itself.
        InvalidInput: a moment has not come yet, or the second lies before the first.
    """
    context.require_all("a difference")
    before, after = await two_records(context, since, until, known)
    return Diff(from_=before, to=after, to_now=until is None)


def _earlier(record: Rows, at: At) -> Rows:
    """Return the record of an earlier moment, in the same snapshot."""
    if isinstance(record, Held) and at.view is not None:
        return record.of(at.view)
    return record.earlier(at.position)


def _to_open(node: object) -> list[Shown]:
    return [node] if isinstance(node, Shown) else []


def _shown(shown: type[Shown], row: Row | None, at: At) -> Any:
    return None if row is None else shown.of(row, at)


def _fields(before: Row | None, after: Row | None, personal: tuple[str, ...]) -> list[FieldChange]:
    old = {} if before is None else told(before)
    new = {} if after is None else told(after)
    names = sorted((old.keys() | new.keys()) - set(personal))
    return [
        FieldChange(name=name, before=old.get(name), after=new.get(name))
        for name in names
        if old.get(name) != new.get(name)
    ]
