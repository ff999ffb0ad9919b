"""What is within reach of an object, as names and steps alone: a step is two questions, and no row leaves the database.

`reaching.around` answers the same with the rows and controls of all of it, for whoever shows ways.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import cache, partial
from typing import Final

from quarterdeck_domain.errors import InvalidInput, NotFound
from quarterdeck_domain.estate.relations import REACH
from quarterdeck_domain.estate.values import LIVE
from quarterdeck_readmodels.estate import DATED, Asset, Relation, stamp
from quarterdeck_readmodels.reaching import MAX_HOPS, MAX_OBJECTS, around, is_live
from quarterdeck_readmodels.reader import Record
from quarterdeck_readmodels.schema import hashed

_REACH: Final = sorted(REACH)
_LIVE: Final = sorted(LIVE)


async def reached(
    record: Record, start: str, moment: datetime, *, hops: int, backwards: bool = False
) -> dict[str, int]:
    """Return everything within so many steps of an object (or from which it is), and in how many steps at least.

    Raises:
        NotFound: there is no such object at that position.
        InvalidInput: too many steps, or more objects than can be answered at once.
    """
    if type(record) is not Record:
        # Of a moment as known at another, each row is worked out from two.
        part = await around(record, start, moment, hops=hops, backwards=backwards)
        return part.graph.within(start, backwards=backwards, hops=hops)
    if not 1 <= hops <= MAX_HOPS:
        raise InvalidInput(f"reach is asked for over 1 to {MAX_HOPS} steps, not {hops}", field="hops", limit=MAX_HOPS)
    first = await record.lean().get(Asset, start)
    if first is None:
        raise NotFound("there is no such object at that moment", asset=start)
    found = {start: 0}
    frontier = [start] if is_live(first) else []
    for step in range(1, hops + 1):
        if not frontier:
            break
        there = await _ends(record, frontier, moment, backwards=backwards)
        frontier = await _live(record, there - found.keys())
        found |= dict.fromkeys(frontier, step)
        if len(found) > MAX_OBJECTS:
            raise InvalidInput(f"more than {MAX_OBJECTS} objects are concerned: ask for fewer steps", hops=hops)
    del found[start]
    return found


async def _ends(record: Record, names: list[str], moment: datetime, *, backwards: bool) -> set[str]:
    query = partial(_ends_query, backwards=backwards, then=record.past)
    as_of = [record.position] if record.past else []
    return {row[0] for row in await record.ask(query, names, _REACH, moment, stamp(moment), *as_of)}


async def _live(record: Record, names: Iterable[str]) -> list[str]:
    query = partial(_live_query, then=record.past)
    as_of = [record.position] if record.past else []
    return [row[0] for row in await record.ask(query, list(names), _LIVE, *as_of)]


@cache
def _ends_query(schema: str, *, backwards: bool, then: bool) -> str:
    """Return the query of where relations lead that hold. Parameters: tenant, names, types, the moment, the same as
    text, the position as of which (only with `then`)."""
    here, there = ("target", "source") if backwards else ("source", "target")
    # What was declared and nobody dated holds from its recording on, until its withdrawal was recorded.
    walk = f"""SELECT t.{there} AS name FROM {schema}.{Relation.table} t
        WHERE t.tenant_id = $1 AND t.{hashed(here)} = u.hash AND t.{here} = u.value AND t.relation = ANY ($3)
            AND (t.observed AND coalesce(t.first_seen <= $4, true) OR CASE WHEN t.timed = '{DATED}'
                THEN EXISTS (SELECT FROM jsonb_array_elements(t.intervals) AS i(item) WHERE i.item ->> 0 <= $5
                    AND (i.item ->> 1 IS NULL OR i.item ->> 1 > $5)) ELSE t.declared END)"""  # noqa: S608
    versions = (
        f"""{walk} AND t.to_position IS NULL AND t.from_position <= $6
            UNION ALL {walk} AND t.from_position <= $6 AND t.to_position > $6"""
        if then
        else f"{walk} AND t.to_position IS NULL"
    )
    return f"""SELECT DISTINCT t.name FROM (
            SELECT value, hashtextextended(value, 0) AS hash FROM unnest($2::text[]) AS x(value) OFFSET 0
        ) AS u CROSS JOIN LATERAL ({versions}) t"""  # noqa: S608  names of ours only


@cache
def _live_query(schema: str, *, then: bool) -> str:
    """Return the query of which objects are in use. Parameters: tenant, names, lifecycles, position (with `then`)."""
    as_of = "AND v.from_position <= $4" if then else ""
    return f"""SELECT u.id FROM unnest($2::text[]) AS u(id) CROSS JOIN LATERAL (
            SELECT v.lifecycle, v.merged_into FROM {schema}.{Asset.table} v
            WHERE v.tenant_id = $1 AND v.id = u.id {as_of} ORDER BY v.from_position DESC LIMIT 1
        ) t WHERE t.lifecycle = ANY ($3) AND t.merged_into IS NULL"""  # noqa: S608  names of ours only
