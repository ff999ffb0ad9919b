"""The record as of one position: pages, single objects and what belongs to them, fetched together and seen as allowed.

Asked of a moment as known at that position (`View`), the estate in it is as it was true then, and everything else as it
was recorded by the position. Whoever needs the read models themselves takes them from `At.record`, never from the
reader: so it is told of the same moment.

Rows are ranges of positions, so the same question of the same position has the same answer whenever it is asked. So
each query opens the read models for itself, briefly: nothing is held while a request is answered.
"""

from __future__ import annotations

import contextlib
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, Self, TypeVar

import msgspec
from strawberry.dataloader import DataLoader

from quarterdeck_graphql.context import Context
from quarterdeck_graphql.moments import recorded_at
from quarterdeck_graphql.personal import Remembered, shown
from quarterdeck_readmodels.access import ApiKey, Principal, Tenant
from quarterdeck_readmodels.approvals import Approval, Effect, Grant, VoteRecord
from quarterdeck_readmodels.calling import CallableTool, callable_tools
from quarterdeck_readmodels.held import View, held_at
from quarterdeck_readmodels.living import live_at
from quarterdeck_readmodels.policy import DecisionRecord
from quarterdeck_readmodels.reader import Page
from quarterdeck_readmodels.reader import Record as Rows
from quarterdeck_readmodels.tables import Row

R = TypeVar("R", bound=Row)
OWNER: Final[Mapping[type[Row], str]] = {
    Principal: "id",
    ApiKey: "principal_id",
    DecisionRecord: "requester",
    Approval: "requester",
    Grant: "redeemer",
    Effect: "redeemer",
}
"""The column that says whose a thing is. What is not here is nobody's: whoever reads only its own never sees it."""
_WHOSE: Final[Mapping[type[Row], str]] = {**OWNER, VoteRecord: "approver"}
_PAGE: Final = 1_000


class Shown:
    """Base of the types that show a row: its columns are attributes; personal ones are None until they are opened."""

    data_subject: ClassVar[str] = "subject"
    """The column that holds the data subject of the personal fields."""
    personal: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def of(cls, row: Row, at: At) -> Self:
        """Return the object that shows a row as of a moment."""
        made = object.__new__(cls)
        made.__dict__.update(msgspec.structs.asdict(row))
        if cls.personal:
            made.__dict__.update(dict.fromkeys(cls.personal), withheld=[])
        made.__dict__.update(cls.instead(row), _row=row, _at=at)
        return made

    @classmethod
    def instead(cls, row: Any) -> dict[str, Any]:
        """Return attributes that differ from the row's columns."""
        return {}


class At:
    """One caller's view of the record as of one position.

    `moment` is the moment whose relations hold in it: left out, that at which the position was recorded, or, if this is
    the record as it is (`live`), now. With a `view`, the estate is as it was true at the view's moment, as known at
    the position.
    """

    def __init__(
        self,
        context: Context,
        position: int,
        *,
        live: bool = False,
        moment: datetime | None = None,
        view: View | None = None,
    ) -> None:
        self.context = context
        self.position = position
        self.live = live
        self.view = view
        self._moment = moment if view is None else view.moment
        self._loaders: dict[type[Row], DataLoader[str, Any]] = {}
        self._votes: DataLoader[str, list[VoteRecord]] = DataLoader(self._load_votes)
        self.tools: DataLoader[str, tuple[CallableTool, ...]] = DataLoader(self._load_tools)

    @contextlib.asynccontextmanager
    async def record(self) -> AsyncIterator[Rows]:
        """Open the read models: every question of them is answered as of this view's moment.

        Raises:
            NotYet: the tables do not hold the position yet.
            Unavailable: the database does not answer.
        """
        reader, tenant = self.context.reader, self.context.tenant
        opened: AbstractAsyncContextManager[Rows]
        if self.view is not None:
            opened = held_at(reader, tenant, self.view)
        elif self.live and (moment := await self.moment()) is not None:
            opened = live_at(reader, tenant, self.position, moment)
        else:
            opened = reader.at(tenant, self.position)
        async with opened as record:
            yield record

    async def moment(self) -> datetime | None:
        """Return the moment of which this tells; None before the first event, unless a time was asked for."""
        if self._moment is None:
            live = self.live
            found = await (self.context.log.now() if live else recorded_at(self.context, self.position))
            self._moment = self._moment or found  # of several that ask at once, the first says it
        return self._moment

    async def page(
        self,
        row: type[R],
        what: str,
        *,
        first: int,
        after: int | None,
        newest_first: bool,
        where: Mapping[str, Sequence[object]],
    ) -> Page[R]:
        """Return a page of rows, narrowed to what the caller may see. `what` names them to it.

        Raises:
            NotAllowed: rows of this kind belong to nobody, and the caller reads only its own.
        """
        if row is not Tenant and row not in OWNER:
            self.context.require_all(f"`{what}`")
        own = self.context.own
        narrowed = dict(where)
        if own is not None and row in OWNER:
            column = OWNER[row]
            if column == "id":
                found = await self.get(row, own)
                return Page([found] if found is not None and after is None else [], False)
            if own not in narrowed.get(column, (own,)):
                return Page([], False)
            narrowed[column] = (own,)
        async with self.record() as record:
            return await record.lean().page(row, first=first, after=after, newest_first=newest_first, where=narrowed)

    async def get(self, row: type[R], object_id: str | None) -> R | None:
        """Return one row, or None where there was none or the caller may not see it. Gathers what is asked at once."""
        if object_id is None:
            return None
        found = await self.fact(row, object_id)
        return found if found is not None and self.may_see(found) else None

    async def fact(self, row: type[R], object_id: str | None) -> R | None:
        """Return one row whoever may see it: for what it says of another that the caller sees. Gathers, too."""
        if object_id is None:
            return None
        if row not in self._loaders:
            self._loaders[row] = DataLoader(self._loader(row))
        found: R | None = await self._loaders[row].load(object_id)
        return found

    async def votes(self, approval_id: str) -> list[VoteRecord]:
        """Return the votes on an approval, oldest first."""
        return await self._votes.load(approval_id)

    def may_see(self, row: Row) -> bool:
        """Tell whether the caller may see a row at all."""
        own = self.context.own
        if own is None or isinstance(row, Tenant):
            return True
        column = OWNER.get(type(row))
        return column is not None and getattr(row, column) == own

    async def open(self, objects: Iterable[Shown]) -> None:
        """Open the personal fields of objects, as far as the caller may see them."""
        keys = Remembered(self.context.log.keys)
        for item in objects:
            if not item.personal:
                continue
            row: Any = item.__dict__["_row"]
            mine = self.context.sees_all or getattr(row, _WHOSE[type(row)]) == self.context.own
            clear, withheld = await shown(
                keys,
                self.context.tenant,
                str(getattr(row, item.data_subject)),
                uuid.UUID(row.sealed_by),
                [(name, getattr(row, name)) for name in item.personal],
                visible=mine,
            )
            item.__dict__.update(clear, withheld=withheld)

    def _loader(self, row: type[R]) -> Callable[[list[str]], Any]:
        async def load(ids: list[str]) -> list[R | None]:
            async with self.record() as record:
                found = await record.lean().many(row, ids)
            return [found.get(name) for name in ids]

        return load

    async def _load_tools(self, assets: list[str]) -> list[tuple[CallableTool, ...]]:
        moment = await self.moment()
        async with self.record() as record:
            return await callable_tools(record, assets, moment or datetime.min.replace(tzinfo=UTC))

    async def _load_votes(self, approvals: list[str]) -> list[list[VoteRecord]]:
        votes: dict[str, list[VoteRecord]] = defaultdict(list)
        after, more = None, True
        async with self.record() as record:
            while more:
                page = await record.page(
                    VoteRecord, first=_PAGE, after=after, newest_first=False, where={"approval_id": approvals}
                )
                for vote in page.rows:
                    votes[vote.approval_id].append(vote)
                after, more = (page.rows[-1].created_position if page.rows else None), page.more
        return [votes[name] for name in approvals]
