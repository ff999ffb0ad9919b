"""What changed between two moments that opened the way from one object to another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import Enum
from functools import partial
from typing import Any, Final

import msgspec
import strawberry

from quarterdeck_domain.errors import InvalidInput, NotFound
from quarterdeck_domain.estate.cuts import Cut
from quarterdeck_domain.estate.opening import changes, fewest, undo
from quarterdeck_domain.estate.reach import Closed, Edge
from quarterdeck_domain.estate.relations import REFUSING, WATCHING
from quarterdeck_graphql.at import At
from quarterdeck_graphql.context import Context
from quarterdeck_graphql.estate import MAX_PATHS, Relation, moment_of, plain
from quarterdeck_graphql.events import TimelineEntry, show_entries
from quarterdeck_graphql.joining import Asked, Ends, joined, names_of
from quarterdeck_graphql.limits import PART
from quarterdeck_graphql.loosened import EndedGrant, GrantedException, Loosened, LostControl, ended
from quarterdeck_graphql.moments import Moment
from quarterdeck_graphql.opening import Histories, phrase, recorded_as, told, valid_until, was
from quarterdeck_graphql.record import Record
from quarterdeck_graphql.spans import two_records
from quarterdeck_ledger.entry import Entry
from quarterdeck_readmodels import estate as rows
from quarterdeck_readmodels.bitemporal import declares, holds
from quarterdeck_readmodels.naming import Names
from quarterdeck_readmodels.reached import between
from quarterdeck_readmodels.reaching import Controls, Part, check_hops, controls_of, is_live, stands
from quarterdeck_readmodels.reader import Record as Rows

MAX_SAID: Final = 5
"""So many grants are named in a sentence."""


@strawberry.enum(description="What became of the ways from one object to another.")
class Opening(Enum):
    OPENED = strawberry.enum_value("opened", description="There was none, and there is one.")
    OPEN_BEFORE = strawberry.enum_value("open_before", description="There was one already, and there is one.")
    CLOSED = strawberry.enum_value("closed", description="There was one, and there is none any more.")
    SHUT = strawberry.enum_value("shut", description="There was none, and there is none.")


@strawberry.type(description="An object or a relation that is on a way now and took no part then.")
class OpeningChange:
    subject: strawberry.ID = strawberry.field(description="The object, `asset:…`, or the relation, `relation:…`.")
    sentence: str = strawberry.field(description="How it was, what happened, by whom and when, in words.")
    before: str = strawberry.field(description="How it stood then: `was not there`, `was in quarantine`, …")
    events: list[TimelineEntry] = strawberry.field(
        metadata=PART, description="What made it so; none, if nothing recorded of late did."
    )


@strawberry.type(description="A way that there is now.")
class OpenedPath:
    relations: list[Relation] = strawberry.field(metadata=PART, description="Its relations, in order.")
    changes: list[OpeningChange] = strawberry.field(
        metadata=PART, description="What of it took no part then, in order; none, if it was open then."
    )
    lost_controls: list[LostControl] = strawberry.field(
        metadata=PART,
        description="The controls on it, each of which can refuse, that were in force then and are not now.",
    )
    lost_watchers: list[LostControl] = strawberry.field(
        metadata=PART, description="What monitored or evaluated what it passes then and does not now."
    )
    exceptions: list[GrantedException] = strawberry.field(
        metadata=PART, description="The exceptions for what it passes that hold now and did not then."
    )


@strawberry.type(description="What changed between two moments that opened the way from one object to another.")
class Opened:
    since: Record = strawberry.field(description="The one moment.")
    until: Record = strawberry.field(description="The other.")
    verdict: Opening = strawberry.field(description="Whether there was a way then, and is one now.")
    summary: str = strawberry.field(description="The answer in words.")
    paths: list[OpenedPath] = strawberry.field(metadata=PART, description="The shortest ways of now.")
    more: bool = strawberry.field(description="Whether there are, or may be, others of at most `hops` steps.")
    beyond: bool = strawberry.field(
        description="Whether there are, or may be, ways of more than `hops` steps: none of these is shown. Everything "
        "else is told of all ways."
    )
    fewest: list[OpeningChange] = strawberry.field(
        metadata=PART,
        description="The fewest changes that opened a way: with these alone there would be one, and without any one "
        "of them none. Empty unless one was opened.",
    )
    undo: list[OpeningChange] | None = strawberry.field(
        metadata=PART,
        description="The fewest of all changes that every way of now needs: undone, there would be none. Null where a "
        "way needs none of them.",
    )
    ended: list[EndedGrant] = strawberry.field(
        metadata=PART, description="Where a way was closed: the grants on the ways of then whose time is over since."
    )
    undo_exact: bool | None = strawberry.field(
        description="Whether no smaller set would do; otherwise none of these can be left out."
    )


class _Then(msgspec.Struct, frozen=True):
    """What of the ways of now was there then."""

    rows: Mapping[str, Any]
    fresh: Closed
    joined: Mapping[str, tuple[str, ...]]
    """By id, relations that held then and are part of a way only since something was merged, and what."""
    controls: Controls
    over: frozenset[str]
    """Grants whose time was over."""


class _Finder:
    """Tells of changes and lost controls, each once."""

    def __init__(self, at: At, then: _Then, now: Part, histories: Histories, moment: datetime) -> None:
        self._at, self._then, self._now, self._histories, self._moment = at, then, now, histories, moment
        self._told: dict[str | Edge, OpeningChange] = {}
        self._loosened = Loosened(at, then.controls, now, histories)

    async def path(self, path: tuple[Edge, ...]) -> OpenedPath:
        """Return a way with what changed on it."""
        passed = [path[0].source, *(edge.target for edge in path)]
        return OpenedPath(
            relations=[Relation.of(self._now.relation(edge), self._at) for edge in path],
            changes=await self.changes(changes(path, self._then.fresh)),
            lost_controls=await self._loosened.lost(passed, REFUSING),
            lost_watchers=await self._loosened.lost(passed, WATCHING),
            exceptions=await self._loosened.excepted(passed),
        )

    async def changes(self, found: Iterable[str | Edge]) -> list[OpeningChange]:
        """Return what happened to objects and relations."""
        return [await self._change(item) for item in found]

    async def _change(self, item: str | Edge) -> OpeningChange:
        if item not in self._told:
            if isinstance(item, Edge):
                name = self._now.relation(item).id
                if name in self._then.joined:
                    self._told[item] = await self._join(item)
                    return self._told[item]
                entry = await self._histories.relation(name, holds_now=True)
                subject, words = f"relation:{name}", phrase(name)
            else:
                name = words = item
                entry = await self._histories.asset(name, live_now=True)
                subject = f"asset:{name}"
            before = was(self._then.rows.get(name))
            after = "" if item not in self._then.over else f", and is {valid_until(self._now.assets[name])}"
            after += self._only_seen(item)
            self._told[item] = OpeningChange(
                subject=strawberry.ID(subject),
                sentence=f"{words}: {before}; {told(entry)}{after}",
                before=before,
                events=await self._events(entry),
            )
        return self._told[item]

    async def _join(self, item: Edge) -> OpeningChange:
        """Return the change by which a relation that had held became part of a way: what was merged."""
        row = self._now.relation(item)
        words, before = recorded_as(row), "was not part of it"
        merges = [(name, await self._histories.merge(name)) for name in self._then.joined[row.id]]
        return OpeningChange(
            subject=strawberry.ID(f"relation:{row.id}"),
            sentence=f"{words}: {before}; {'; '.join(f'{name} was {told(entry)}' for name, entry in merges)}"
            + self._only_seen(item),
            before=before,
            events=await self._events(*(entry for _, entry in merges)),
        )

    def _only_seen(self, item: str | Edge) -> str:
        """Return how to undo what was only seen, in words: nobody can withdraw it."""
        if not isinstance(item, Edge) or declares(self._now.relation(item), self._moment):
            return ""
        return "; it was only seen: to undo it, stop it where it happens"

    async def _events(self, *entries: Entry | None) -> list[TimelineEntry]:
        found = {entry.position: entry for entry in entries if entry is not None}
        return await show_entries(self._at.context, [found[position] for position in sorted(found)])


async def opened_between(
    context: Context,
    start: str,
    end: str,
    *,
    since: Moment,
    until: Moment | None,
    known: Moment | None,
    hops: int | None,
    first: int,
) -> Opened:
    """Return what changed between two moments that opened a way. `hops` bounds which ways are shown, and nothing else.

    Raises:
        NotAllowed: the caller reads only what concerns itself.
        NotFound: neither moment knows one of the objects.
        InvalidInput: the second moment is before the first, one has not come yet, too many steps or paths, or too much
            is concerned.
    """
    context.require_all("reach")
    if not 1 <= first <= MAX_PATHS:
        raise InvalidInput(f"1 to {MAX_PATHS} paths are shown, not {first}", field="first", limit=MAX_PATHS)
    check_hops(hops)
    source, target = plain(start), plain(end)
    earlier, later = await two_records(context, since, until, known, names=("since", "until"))
    then, now = await moment_of(earlier.at), await moment_of(later.at)
    async with earlier.at.record() as record:
        there = await record.many(rows.Asset, [source, target])
        ways = await between(record, source, target, then) if len(there) == len({source, target}) else None
        was_open = ways is not None
    async with later.at.record() as record:
        known_now = await record.many(rows.Asset, [source, target])
        for name in (source, target):
            if name not in there and name not in known_now:
                raise NotFound("there is no such object at either moment", asset=name)
        complete = len(known_now) == len({source, target})
        found = await between(record, source, target, now) if complete else None
        over = [] if ways is None or found is not None else await ended(record, ways[0].graph, now)
    if found is None:
        verdict = Opening.CLOSED if was_open else Opening.SHUT
        return _answer(earlier, later, verdict, source, target, over=over)
    part, end = found
    start, graph = part.start, part.graph
    verdict = Opening.OPEN_BEFORE if was_open else Opening.OPENED
    passed = {start, *(edge.target for out in graph.out.values() for edge in out)}
    edges = [edge for out in graph.out.values() for edge in out]
    async with earlier.at.record() as record:
        stood = await _then(record, part, (source, target), end, passed, edges, then)
    paths, more = await asyncio.to_thread(graph.paths, start, end, most=first, hops=hops)
    beyond = hops is not None and await asyncio.to_thread(graph.beyond, start, end, hops)
    best = await asyncio.to_thread(lambda: undo(part.apart(), start, end, stood.fresh))
    async with later.at.record() as record:
        finder = _Finder(later.at, stood, part, Histories(later.at, record, now), now)
        shown = [await finder.path(path) for path in paths]
        fresh = changes(fewest(graph, start, end, stood.fresh), stood.fresh)
        few = await finder.changes(() if was_open else fresh)
        back = None if best is None else await finder.changes(_items(best))
    answer = _answer(earlier, later, verdict, source, target, shown, few)
    answer.more, answer.beyond = more, beyond
    answer.undo, answer.undo_exact = back, None if best is None else best.exact
    return answer


async def _then(
    record: Rows,
    part: Part,
    asked: tuple[str, str],
    end: str,
    passed: set[str],
    edges: Iterable[Edge],
    moment: datetime,
) -> _Then:
    """Return what was there of what is on ways now. `asked` are both ends as they were asked for, `end` is what the
    second one is called now."""
    recorded = {edge: part.rows(edge) for edge in edges}
    names = Names(partial(record.many, rows.Asset))
    of = (name for found in recorded.values() for row in found for name in row.id.split(" ")[::2])
    await names.see({*passed, *asked, *of})
    ends = Ends(Asked(part.start, names.now(asked[0])), Asked(end, names.now(asked[1])))
    relations = await record.many(rows.Relation, names_of(recorded, ends))
    held = {name: row for name, row in relations.items() if holds(row, moment)}
    found = joined(recorded, held, names, ends, lambda name: stands(names.known[name], moment))
    controls = await controls_of(record, sorted(passed - found.nodes), moment)
    known = {name: item for name, item in names.known.items() if item is not None}
    over = frozenset(name for name in found.nodes if is_live(names.known[name]))
    return _Then({**known, **relations}, Closed(nodes=found.nodes, edges=found.edges), found.merged, controls, over)


def _items(best: Cut) -> list[str | Edge]:
    found: list[str | Edge] = []
    for one in best.candidates:
        found += [*sorted(one.nodes), *sorted(one.edges)]
    return found


def _answer(
    earlier: Record,
    later: Record,
    verdict: Opening,
    source: str,
    target: str,
    paths: list[OpenedPath] | None = None,
    few: list[OpeningChange] | None = None,
    over: list[EndedGrant] | None = None,
) -> Opened:
    return Opened(
        since=earlier,
        until=later,
        verdict=verdict,
        summary=_summary(verdict, source, target, paths or [], few or [], over or []),
        paths=paths or [],
        more=False,
        beyond=False,
        fewest=few or [],
        ended=over or [],
        undo=None,
        undo_exact=None,
    )


def _summary(
    verdict: Opening,
    source: str,
    target: str,
    paths: list[OpenedPath],
    few: list[OpeningChange],
    over: list[EndedGrant],
) -> str:
    ends = f"from {source} to {target}"
    if verdict is Opening.SHUT:
        return f"There was no way {ends}, and there is none."
    if verdict is Opening.CLOSED:
        gone = f" Its time is over: {'; '.join(item.sentence for item in over[:MAX_SAID])}." if over else ""
        return f"There was a way {ends}, and there is none any more.{gone}"
    lost = {item.sentence for path in paths for item in path.lost_controls}
    gone = f" Controls that were lost on the way: {'; '.join(sorted(lost))}." if lost else ""
    excepted = {item.sentence for path in paths for item in path.exceptions}
    gone += f" Exceptions that were granted on the way: {'; '.join(sorted(excepted))}." if excepted else ""
    if verdict is Opening.OPENED:
        return f"There was no way {ends}. This opened one: {'; '.join(item.sentence for item in few)}.{gone}"
    new = sum(1 for path in paths if path.changes)
    return f"There was a way {ends} already. Of the {len(paths)} ways shown, {new} were not open then.{gone}"
