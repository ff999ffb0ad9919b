"""What is within reach of an object, as names and steps alone: a step is two questions, and no row leaves the database.

`reaching.around` answers the same with the rows and controls of all of it, for whoever shows ways.
"""

from __future__ import annotations

from collections.abc import Set
from datetime import datetime
from functools import cache, partial
from typing import Final, NamedTuple

import msgspec

from quarterdeck_domain.estate.alleging import alleged_by
from quarterdeck_domain.estate.lasting import LASTING, until
from quarterdeck_domain.estate.relations import REACH
from quarterdeck_domain.estate.values import LIVE
from quarterdeck_readmodels.bitemporal import declares, holds
from quarterdeck_readmodels.estate import DATED, Asset, Relation, stamp
from quarterdeck_readmodels.living import Live
from quarterdeck_readmodels.naming import Names
from quarterdeck_readmodels.reaching import MAX_RELATIONS, Part, around, check_hops, check_size, end_of_time, present
from quarterdeck_readmodels.reader import Record
from quarterdeck_readmodels.schema import hashed

_REACH: Final = sorted(REACH)
_CHUNK: Final = 1_000
_ASKED: Final = (Record, Live)
"""The records whose tables can be asked as they are."""
MAX_NAMES: Final = 200_000
"""Of so many objects it is told that they are within reach: of names alone, more than of rows."""


class _Row(msgspec.Struct, frozen=True):
    """What has to be known of an object on the way."""

    lifecycle: str
    merged_into: str | None
    aliases: tuple[str, ...]
    until: datetime | None
    """When its time is over."""
    principal: str | None
    """The principal that it acts as."""


class _Doubt(NamedTuple):
    """A relation that nobody declares, and that nobody who speaks for others has seen."""

    source: str
    target: str
    senders: tuple[str, ...]


class Walk:
    """What is within reach, a step further at a time; objects by what they are called now, with their steps."""

    def __init__(self, record: Record, moment: datetime, *, backwards: bool = False, known: bool = False) -> None:
        """With `known`, what is only alleged (see `reaching.alleging`) takes no part."""
        self._record, self._moment, self._backwards, self._known = record, moment, backwards, known
        self.doubted = False
        """Whether something that is only alleged took part."""
        self._names: Names[_Row] = Names(self._look)
        self.start = ""
        self.steps = 0
        self.found: dict[str, int] = {}
        self.frontier: list[str] = []

    async def begin(self, start: str) -> Walk:
        """Begin at an object.

        Raises:
            NotFound: there is no such object at that position.
        """
        self.start, first = await present(self._names, start)
        self.found = {self.start: 0}
        self.frontier = [self.start] if self._stands(first) else []
        return self

    async def all(self, start: str, hops: int | None) -> Walk:
        """Begin at an object and go on in so many steps at most, or to the end.

        Raises:
            NotFound, InvalidInput: as `begin` and `step`.
        """
        await self.begin(start)
        while self.frontier and (hops is None or self.steps < hops):
            await self.step()
        return self

    def others(self) -> dict[str, int]:
        """Return what was found besides the beginning, and in how many steps."""
        return {name: steps for name, steps in self.found.items() if name != self.start}

    async def step(self) -> None:
        """Go one step further.

        Raises:
            InvalidInput: more objects than can be answered at once.
        """
        self.steps += 1
        called = await self._names.called(self.frontier)
        ends, doubts = await self._ends(called)
        await self._names.see({*ends, *(name for doubt in doubts for name in (doubt.source, doubt.target))})
        for doubt in doubts:
            source = self._names.known[self._names.now(doubt.source)]
            alleged = bool(alleged_by(doubt.senders, None if source is None else source.principal))
            self.doubted = self.doubted or alleged
            if not (alleged and self._known):
                ends.add(doubt.source if self._backwards else doubt.target)
        there = {self._names.now(name) for name in ends} - self.found.keys()
        self.frontier = sorted(name for name in there if self._stands(self._names.known[name]))
        self.found |= dict.fromkeys(self.frontier, self.steps)
        check_size(len(self.found), MAX_NAMES, "objects")

    def _stands(self, row: _Row | None) -> bool:
        """Tell whether an object takes part; as `reaching.stands` does."""
        return (
            row is not None
            and row.lifecycle in LIVE
            and row.merged_into is None
            and (row.until is None or self._moment < row.until)
        )

    async def _look(self, names: list[str]) -> dict[str, _Row]:
        record = self._record
        anew, found = names, dict[str, _Row]()
        if type(record) in _ASKED:
            as_of = [record.position] if record.past else []
            rows = await record.ask(partial(_stands_query, then=record.past), names, *as_of)
            # As it is, a lifecycle or an end of which something is announced is told anew by the record.
            anew = [row[0] for row in rows if row[5] and isinstance(record, Live)]
            for name, lifecycle, into, aliases, expires_at, _, principal in rows:
                called = () if aliases == "[]" else tuple(msgspec.json.decode(aliases))
                found[name] = _Row(lifecycle, into, called, until(name.partition(":")[0], expires_at), principal)
        told = await record.many(Asset, anew) if anew else {}
        return found | {
            name: _Row(row.lifecycle, row.merged_into, row.aliases, end_of_time(row), row.attributes.get("principal"))
            for name, row in told.items()
        }

    async def _ends(self, called: list[str]) -> tuple[set[str], list[_Doubt]]:
        """Return where relations lead that hold, and of those that may be only alleged, whose word it is."""
        record = self._record
        if type(record) not in _ASKED:
            # Of a moment as known at another, each row is worked out from two.
            column = "target" if self._backwards else "source"
            rows = [
                row
                for start in range(0, len(called), _CHUNK)
                for row in await record.matching(Relation, column, called[start : start + _CHUNK], most=MAX_RELATIONS)
                if row.relation in REACH and holds(row, self._moment)
            ]
            doubted = [row for row in rows if row.senders and not declares(row, self._moment)]
            sure = {row.id for row in rows} - {row.id for row in doubted}
            return (
                {row.source if self._backwards else row.target for row in rows if row.id in sure},
                [_Doubt(row.source, row.target, tuple(row.senders)) for row in doubted],
            )
        query = partial(_ends_query, backwards=self._backwards, then=record.past)
        as_of = [record.position] if record.past else []
        found = await record.ask(query, called, _REACH, self._moment, stamp(self._moment), *as_of)
        doubts = [_Doubt(source, target, tuple(senders)) for _, source, target, senders in found if senders is not None]
        return {row[0] for row in found if row[3] is None}, doubts


async def reached(
    record: Record, start: str, moment: datetime, *, hops: int | None = None, backwards: bool = False
) -> dict[str, int]:
    """Return everything within so many steps of an object (or from which it is; None: within any), and in how many
    steps at least.

    Raises:
        NotFound: there is no such object at that position.
        InvalidInput: too many steps, or more objects than can be answered at once.
    """
    check_hops(hops)
    walk = await Walk(record, moment, backwards=backwards).all(start, hops)
    return walk.others()


async def reached_or_alleged(
    record: Record, start: str, moment: datetime, *, hops: int | None = None, backwards: bool = False
) -> tuple[dict[str, int], Set[str]]:
    """Return the same; of what is known to be within so many steps, how many these are; and what is there as far as
    others claim alone.

    Raises:
        NotFound, InvalidInput: as `reached`.
    """
    check_hops(hops)
    walk = await Walk(record, moment, backwards=backwards).all(start, hops)
    if not walk.doubted:
        return walk.others(), frozenset()
    known = await Walk(record, moment, backwards=backwards, known=True).all(start, hops)
    return walk.others() | known.others(), walk.others().keys() - known.others().keys()


async def between(record: Record, start: str, end: str, moment: datetime) -> tuple[Part, str] | None:
    """Return all that is on ways from one object to another, however long, and what the other is called now; None where
    there is no way.

    From both ends it is looked as far as the nearer of them goes; of all that, rows are read of what is between alone.

    Raises:
        NotFound: there is no such object at that position.
        InvalidInput: more objects or relations than can be answered at once.
    """
    ahead = await Walk(record, moment).begin(start)
    behind = await Walk(record, moment, backwards=True).begin(end)
    while ahead.frontier and behind.frontier:
        await min(ahead, behind, key=lambda walk: len(walk.frontier)).step()
    whole, other = (ahead, behind) if not ahead.frontier else (behind, ahead)
    if ahead.start == behind.start or other.start not in whole.found:
        return None
    part = await around(record, other.start, moment, backwards=other is behind, within=whole.found)
    return msgspec.structs.replace(part, start=ahead.start), behind.start


@cache
def _ends_query(schema: str, *, backwards: bool, then: bool) -> str:
    """Return the query of where relations lead that hold. Parameters: tenant, names, types, the moment, the same as
    text, the position as of which (only with `then`)."""
    here, there = ("target", "source") if backwards else ("source", "target")
    # What was declared and nobody dated holds from its recording on, until its withdrawal was recorded.
    # What was seen by nobody who speaks for others may be alleged: that depends on whom what it begins at acts as.
    declared = f"""CASE WHEN t.timed = '{DATED}'
                THEN EXISTS (SELECT FROM jsonb_array_elements(t.intervals) AS i(item) WHERE i.item ->> 0 <= $5
                    AND (i.item ->> 1 IS NULL OR i.item ->> 1 > $5)) ELSE t.declared END"""
    doubted = f"NOT (t.senders = '{{}}' OR t.senders ? '' OR {declared})"
    walk = f"""SELECT t.{there} AS name, t.source, t.target,
            CASE WHEN {doubted} THEN ARRAY(SELECT jsonb_object_keys(t.senders)) END AS senders
        FROM {schema}.{Relation.table} t
        WHERE t.tenant_id = $1 AND t.{hashed(here)} = u.hash AND t.{here} = u.value AND t.relation = ANY ($3)
            AND (t.observed AND coalesce(t.first_seen <= $4, true) OR {declared})"""  # noqa: S608
    versions = (
        f"""{walk} AND t.to_position IS NULL AND t.from_position <= $6
            UNION ALL {walk} AND t.from_position <= $6 AND t.to_position > $6"""
        if then
        else f"{walk} AND t.to_position IS NULL"
    )
    return f"""SELECT DISTINCT t.name, CASE WHEN t.senders IS NOT NULL THEN t.source END,
            CASE WHEN t.senders IS NOT NULL THEN t.target END, t.senders FROM (
            SELECT value, hashtextextended(value, 0) AS hash FROM unnest($2::text[]) AS x(value) OFFSET 0
        ) AS u CROSS JOIN LATERAL ({versions}) t"""  # noqa: S608  names of ours only


@cache
def _stands_query(schema: str, *, then: bool) -> str:
    """Return the query of how objects stand. Parameters: tenant, names, position (with `then`)."""
    as_of = "AND v.from_position <= $3" if then else ""
    lasting = ", ".join(f"'{kind}'" for kind in sorted(LASTING))
    # The attributes, which may be long, are read of the few that have an end.
    return f"""SELECT u.id, t.lifecycle, t.merged_into, t.aliases,
                CASE WHEN split_part(u.id, ':', 1) IN ({lasting}) THEN t.attributes ->> 'expires_at' END,
                t.announced IS NOT NULL AND EXISTS (SELECT FROM jsonb_array_elements(t.dated) AS d(item)
                    WHERE d.item -> 'facts' ?| ARRAY['lifecycle', 'attributes.expires_at', 'attributes.principal']),
                CASE WHEN split_part(u.id, ':', 1) = 'agent' THEN t.attributes ->> 'principal' END
            FROM unnest($2::text[]) AS u(id)
            CROSS JOIN LATERAL (
            SELECT v.lifecycle, v.merged_into, v.aliases, v.attributes, v.announced, v.dated
            FROM {schema}.{Asset.table} v
            WHERE v.tenant_id = $1 AND v.id = u.id {as_of} ORDER BY v.from_position DESC LIMIT 1
        ) t"""  # noqa: S608  names of ours only
