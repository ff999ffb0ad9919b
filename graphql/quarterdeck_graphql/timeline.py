"""The timeline: what happened, filtered by what it concerns, what it is, who did it and when; oldest or newest first.

It is answered by the log's own index, so it is never behind. What a timeline is `about` is looked for under every name
that it has in the log, see `touching`. A caller that reads only what concerns itself sees the events that name it,
those it recorded, and those of a thing of its own when it asks for that thing by its tag.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import product
from math import prod
from typing import Final

import msgspec
import strawberry
from eventsourcing.dcb.api import DCBQuery, DCBQueryItem

from quarterdeck_domain.errors import InvalidInput, NotAllowed
from quarterdeck_graphql import touching
from quarterdeck_graphql.context import Context, Info
from quarterdeck_graphql.enums import Order
from quarterdeck_graphql.estate import full_id
from quarterdeck_graphql.events import DATA, NAMES_ITS_OWNER, TimelineEntry, show_entries
from quarterdeck_graphql.moments import check_past
from quarterdeck_graphql.node import Connection, check_first, page
from quarterdeck_graphql.selection import selects
from quarterdeck_ledger.entry import MAX_TAG_LENGTH, Entry
from quarterdeck_readmodels.tables import storable

MAX_TAGS: Final = 8
MAX_TYPES: Final = 40
MAX_ACTORS: Final = 8
MAX_ITEMS: Final = 1_000
TAG_OF: Final = {
    "apr_": "approval",
    "bnd_": "bundle",
    "dec_": "decision",
    "drf_": "drift",
    "eff_": "effect",
    "grt_": "grant",
    "key_": "key",
    "prn_": "principal",
    "run_": "estate-run",
}
"""By what an id begins with: the kind under which the log tags its object."""
_APPLIED: Final = "estate.applied"
_TICK: Final = timedelta(microseconds=1)
_FIRST: Final = datetime.min.replace(tzinfo=UTC)


@strawberry.input(description="Which events a timeline has. What is left out asks for nothing.")
class TimelineFilter:
    about: list[strawberry.ID] | None = strawberry.field(
        default=None,
        description="Events that concern all of these objects, by their ids. Of an object of the estate (`kind:name`): "
        "everything that touched it, under every name it had.",
    )
    tags: list[str] | None = strawberry.field(
        default=None, description="Events that concern all of these, as `kind:id`: `approval:apr_…`, `role:approver`."
    )
    types: list[str] | None = strawberry.field(
        default=None, description="Events of any of these types, such as `approval.requested`."
    )
    actors: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Events that any of these principals recorded."
    )
    from_: datetime | None = strawberry.field(
        name="from", default=None, description="Events recorded at this moment or later."
    )
    to: datetime | None = strawberry.field(default=None, description="Events recorded at this moment or before.")


class Selected(msgspec.Struct, frozen=True, kw_only=True):
    """A filter made ready: the log's query and the span of positions, `after < position <= until`."""

    query: DCBQuery
    after: int = 0
    until: int | None = None
    runs: bool = False
    """Whether what applied the runs that the events are of belongs to them: it is about objects of the estate."""
    types: frozenset[str] | None = None
    """With `runs`: the types that are left of what the query finds."""

    async def read(
        self, context: Context, *, after: int, until: int | None, limit: int, backwards: bool = False
    ) -> list[Entry]:
        """Return the next events, `after < position <= until`."""
        if self.runs:
            return await touching.read(
                context, self.query, self.types, after=after, until=until, limit=limit, backwards=backwards
            )
        return await context.log.read_sealed(
            context.tenant, self.query, after=after, until=until, limit=limit, backwards=backwards
        )


async def select(context: Context, wanted: TimelineFilter | None) -> Selected:
    """Return a filter made ready, narrowed to what the caller may see.

    Raises:
        InvalidInput: an unknown type, too many or too long values, or a beginning that has not come yet.
        NotAllowed: it asks for somebody else's.
    """
    wanted = wanted or TimelineFilter()
    about = [tag_of(name) for name in _checked("about", wanted.about, MAX_TAGS)]
    tags = _checked("tags", wanted.tags, MAX_TAGS)
    types = _checked("types", wanted.types, MAX_TYPES)
    actors = _checked("actors", wanted.actors, MAX_ACTORS)
    known = {found.type for found in context.log.registry.types()}
    if unknown := sorted(set(types) - known):
        raise InvalidInput(f"no event has the type {unknown[0]!r}", field="types", unknown=unknown)
    scopes: list[tuple[str, ...]] = [()]
    if context.own is not None and not await _asks_for_its_own(context, (*about, *tags)):
        scopes = [(f"principal:{context.own}",), (f"actor:{context.own}",)]
    by: list[tuple[str, ...]] = [(f"actor:{actor}",) for actor in actors] or [()]
    # Whoever reads only its own is told nothing of an object's other names.
    whole = context.own is None
    names = [await touching.concerning(context, tag, stories=len(about) == 1) if whole else [tag] for tag in about]
    runs = whole and touching.is_of_the_map(about) and not tags and (not types or _APPLIED in types)
    kept: tuple[str, ...] = () if runs else types
    if prod(map(len, names)) * len(scopes) * len(by) > MAX_ITEMS:
        raise InvalidInput("these objects have too many names together: ask about fewer at once", field="about")
    items = [
        DCBQueryItem(types=list(kept), tags=sorted({*tags, *scope, *actor, *these}))
        for scope, actor, these in product(scopes, by, product(*names))
    ]
    if whole and len(about) == 1 and (not types or touching.MERGED in types):
        # What it was merged into may have been merged on: that decides what it is, too.
        items += [
            DCBQueryItem(types=[touching.MERGED], tags=sorted({*tags, *actor, *merge}))
            for actor, merge in product(by, await touching.later_merges(context, about[0]))
        ]
    if items == [DCBQueryItem(types=[], tags=[])]:
        items = []
    after = 0
    if wanted.from_ is not None and wanted.from_ > _FIRST:
        # Its position would be the log's end, and what is recorded before it comes would be taken for what is meant.
        await check_past(context, wanted.from_)
        after = await context.log.position_at(context.tenant, wanted.from_ - _TICK)
    until = None if wanted.to is None else await context.log.position_at(context.tenant, wanted.to)
    return Selected(
        query=DCBQuery(items=items),
        after=after,
        until=until,
        runs=runs,
        types=frozenset(types) if runs and types else None,
    )


def tag_of(object_id: str) -> str:
    """Return the tag of an object from its id. Those of paths, tenants, objects of the estate and relations are tags.

    Raises:
        InvalidInput: it is no object's id.
    """
    kind = TAG_OF.get(object_id[:4])
    if kind is not None:
        return f"{kind}:{object_id}"
    object_id = full_id(object_id)
    if object_id.startswith(("path:", "tenant:", "parked:", "relation:", "asset:", "source:")):
        return object_id
    raise InvalidInput(f"{object_id[:60]!r} is not the id of an object", field="about", known=sorted(TAG_OF))


async def _asks_for_its_own(context: Context, tags: Sequence[str]) -> bool:
    """Tell whether one of the tags names a thing that the caller asked for or holds."""
    things = [tag for tag in tags if tag.partition(":")[0] in ("approval", "decision", "grant", "effect")]
    if not things:
        return False
    items = [
        DCBQueryItem(types=list(NAMES_ITS_OWNER), tags=[tag, mine])
        for tag in things
        for mine in (f"principal:{context.own}", f"actor:{context.own}")
    ]
    if await context.log.read_sealed(context.tenant, DCBQuery(items=items), limit=1):
        return True
    raise NotAllowed(f"{things[0]} is not yours to read", tag=things[0])


def _checked(name: str, values: Sequence[str] | None, limit: int) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(values or ()))
    if len(found) > limit or any(not 1 <= len(value) <= MAX_TAG_LENGTH for value in found):
        raise InvalidInput(
            f"`{name}` takes at most {limit} values of 1 to {MAX_TAG_LENGTH} characters", field=name, limit=limit
        )
    if any(storable(value) != value for value in found):
        raise InvalidInput(f"`{name}` takes values without NUL and lone surrogates", field=name)
    return found


async def timeline_page(
    info: Info, first: int, filter: TimelineFilter | None, order: Order, after: str | None
) -> Connection[TimelineEntry]:
    """Return a page of events. New events never move those of another page."""
    context = info.context
    check_first(first)
    selected = await select(context, filter)
    cursors = await context.cursors("timeline", order.value, filter and strawberry.asdict(filter))
    key = cursors.read(after)
    low, high = selected.after, selected.until
    backwards = order is Order.NEWEST_FIRST
    if key is not None and backwards:
        high = key[0] - 1
    elif key is not None:
        low = key[0]
    found: list[Entry] = []
    if high is None or low < high:
        found = await selected.read(context, after=low, until=high, limit=first + 1, backwards=backwards)
    nodes = await show_entries(context, found[:first], with_data=selects(info, *DATA))
    keys = [(entry.position,) for entry in found[:first]]
    return page(nodes, keys, cursors, more=len(found) > first, after=after)
