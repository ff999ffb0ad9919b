"""The estate of a moment, as known at a position, in PostgreSQL: pages, narrowed in every way, single objects and reach
equal a naive look at everything that was said.

Serves S0-20, S0-43, C02.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec
import pytest
from merged_estate import graph_of, stands_for
from naive_estate import concerned
from naive_moments import SPAN, Key, differences, history, hour, recorded_by, run_of, truth

from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.estate.landscape import Clock
from quarterdeck_domain.events import RecordedEvent
from quarterdeck_ledger.postgres import PostgresStore
from quarterdeck_projector.projector import Projector
from quarterdeck_readmodels import ranges, schema
from quarterdeck_readmodels.estate import PROMPTLY, Asset, Drift, Relation
from quarterdeck_readmodels.held import Held, View, held_at
from quarterdeck_readmodels.living import Live, live_at
from quarterdeck_readmodels.mapping import read
from quarterdeck_readmodels.reached import reached
from quarterdeck_readmodels.reaching import around, is_live
from quarterdeck_readmodels.reader import Reader, Record
from quarterdeck_readmodels.tables import Row

TABLES: dict[str, type[Row]] = {"assets": Asset, "relations": Relation}
FILTERS: Sequence[tuple[type[Row], dict[str, list[object]]]] = (
    (Asset, {"kind": ["agent", "tool"]}),
    (Asset, {"owner": ["rota-a"]}),
    (Asset, {"team": ["a", "b"], "kind": ["dataset", "agent"]}),
    (Asset, {"lifecycle": ["live", "draft"], "environments": ["dev"]}),
    (Asset, {"classification": ["restricted"]}),
    (Asset, {"merged_into": ["agent:a0", "tool:a1", "dataset:a2"]}),
    (Relation, {"relation": ["calls", "reads"]}),
    (Relation, {"source_kind": ["agent"], "target_kind": ["agent", "tool"]}),
)


WALKED: dict[type[Row], Sequence[tuple[str, ...]]] = {
    Asset: [("id", "owner", "lifecycle", "environments", "attributes", "merged_into")],
    Relation: [
        ("id", "source", "declared", "environment", "evidence", "said_by", "confidence"),
        ("id", "declared", "observed", "seen", "first_seen", "last_seen"),
    ],
}


@pytest.fixture
async def store(migrated_database: Callable[[], str]) -> AsyncIterator[PostgresStore]:
    """A database with empty read models."""
    async with PostgresStore.open(migrated_database(), size=3) as opened:
        await Projector(opened, opened.pool).prepare()
        yield opened


async def fill(store: PostgresStore, events: Sequence[RecordedEvent]) -> Reader:
    """Let the read models hold a history whose events were recorded when they say."""
    async with store.pool.acquire() as connection, connection.transaction():
        assert await schema.take(connection, schema.LIVE, "acme") is not None
        await ranges.apply(connection, schema.LIVE, "acme", run_of(events))
    return Reader(store.pool)


def view(events: Sequence[RecordedEvent], moment: datetime, known: int) -> View:
    """Return a moment as known at a position."""
    recorded, promptly = recorded_by(events, moment), recorded_by(events, moment + PROMPTLY)
    return View(moment=moment, known=known, recorded=recorded, promptly=promptly)


def _plain(value: Any) -> Any:
    """Return a value as JSON says it, where it is a list or an object, or their text."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        return msgspec.json.decode(value)
    return list(value) if isinstance(value, tuple) else value


def fits(row: Row, where: dict[str, list[object]]) -> bool:
    """Tell whether a row has one of the values that are wanted, in every column."""
    for name, values in where.items():
        mine = getattr(row, name)
        if not ({*mine} & {*values} if isinstance(mine, list | tuple) else mine in values):
            return False
    return True


async def pages(record: Record, row: type[Row], where: dict[str, list[object]], first: int, newest: bool) -> list[Any]:
    """Return everything that there is, a page after another."""
    found: list[Any] = []
    after: int | None = None
    while True:
        page = await record.page(row, first=first, after=after, newest_first=newest, where=where)
        found += page.rows
        if not page.more:
            return found
        after = page.rows[-1].created_position


@pytest.mark.parametrize("seed", range(8))
async def test_every_question_of_any_moment(store: PostgresStore, seed: int) -> None:
    """Whole pages and small ones, in both orders, with every filter; many objects; and everything that leads somewhere."""
    chance = random.Random(seed)
    events = history(chance, chance.choice((40, 120)), chance.choice((0.2, 1.0)))
    reader = await fill(store, events)
    for _ in range(8):
        moment = hour(chance.randrange(-1, 2 * SPAN) / 2)
        known = chance.randint(1, len(events))
        expected = truth(events, moment, known)
        async with held_at(reader, "acme", view(events, moment, known)) as record:
            found: dict[Key, Any] = {}
            for table, row in TABLES.items():
                rows = await pages(record, row, {}, 1_000, newest=True)
                found |= {(table, item.id): item for item in rows}
                assert [item.created_position for item in rows] == sorted(
                    (item.created_position for item in rows), reverse=True
                )
                size = chance.choice((1, 3, 7))
                assert await pages(record, row, {}, size, newest=False) == rows[::-1]
                names = list({name: 0 for event in events for of, name in concerned(event) if of == table})
                assert list((await record.many(row, [*names, "agent:none"])).values()) == sorted(
                    rows, key=lambda item: names.index(item.id)
                )
                for names in WALKED[row]:
                    walked = [tuple(values) async for part in record.walk(row, names) for values in part]
                    assert [tuple(map(_plain, values)) for values in walked] == [
                        tuple(_plain(getattr(item, name)) for name in names) for item in rows[::-1]
                    ]
            assert differences(expected, found) == []
            for row, where in FILTERS:
                wanted = [item for item in found.values() if isinstance(item, row) and fits(item, where)]
                wanted.sort(key=lambda item: item.created_position)
                size, newest = chance.choice((1, 2, 100)), chance.random() < 0.5
                assert await pages(record, row, where, size, newest) == (wanted[::-1] if newest else wanted)
            await _related(record, found, chance)


async def _related(record: Held, found: dict[Key, Any], chance: random.Random) -> None:
    assets = {name: row for (table, name), row in found.items() if table == "assets"}
    relations = [row for (table, _), row in found.items() if table == "relations"]
    for column in ("source", "target"):
        ends = chance.sample(sorted(assets), min(3, len(assets)))
        wanted = sorted((row for row in relations if getattr(row, column) in ends), key=lambda row: row.id)
        assert await record.matching(Relation, column, ends, most=1_000) == wanted
    teams = sorted((row for row in assets.values() if row.team == "a"), key=lambda row: row.id)
    assert await record.matching(Asset, "team", ["a"], most=1_000) == teams
    if not assets:
        return
    start = chance.choice(sorted(assets))
    graph = graph_of(assets, [row for row in relations if row.observed or row.declared], record.moment)
    here = stands_for(assets, start)
    part = await around(record, start, record.moment, hops=4)
    assert part.graph.within(here, hops=4) == graph.within(here, hops=4)
    assert await reached(record, start, record.moment) == graph.within(here)


@pytest.mark.parametrize("seed", range(8))
async def test_what_was_announced_holds_now(store: PostgresStore, seed: int) -> None:
    """Nothing is recorded any more and time passes: pages narrowed in every way, single objects, reach and the map tell
    what everything that was said tells of that moment. What holds not yet is known already."""
    chance = random.Random(seed)
    events = history(chance, chance.choice((40, 120)), chance.choice((0.2, 1.0)))
    reader, known = await fill(store, events), len(events)
    for _ in range(6):
        moment = max(events[-1].recorded_at, hour(chance.randrange(2 * SPAN)))
        expected = truth(events, moment, known)
        async with live_at(reader, "acme", known, moment) as record:
            found: dict[Key, Any] = {}
            for table, row in TABLES.items():
                rows = await pages(record, row, {}, chance.choice((1, 7, 1_000)), newest=False)
                recorded = await pages(record.recorded, row, {}, 1_000, newest=False)
                assert [item.id for item in rows] == [item.id for item in recorded]
                found |= {(table, item.id): item for item in rows}
                assert list((await record.many(row, [item.id for item in rows])).values()) == rows
            there = {key: item for key, item in found.items() if key in expected}
            assert differences(expected, there) == []
            waiting = [item for key, item in found.items() if key not in expected]
            assert all(item.lifecycle == "draft" if isinstance(item, Asset) else not item.declared for item in waiting)
            for row, where in FILTERS:
                wanted = [item for item in found.values() if isinstance(item, row) and fits(item, where)]
                size, newest = chance.choice((1, 2, 100)), chance.random() < 0.5
                assert await pages(record, row, where, size, newest) == (wanted[::-1] if newest else wanted)
                lean = await pages(record.lean(), row, where, size, newest)
                assert [_shown(item) for item in lean] == [
                    _shown(item) for item in (wanted[::-1] if newest else wanted)
                ]
            await _reached_now(record, found, chance)


def _shown(row: Row) -> dict[str, Any]:
    """Return a row without what only rows are worked out with."""
    return {name: value for name, value in msgspec.structs.asdict(row).items() if name not in row.working}


async def _reached_now(record: Live, found: dict[Key, Any], chance: random.Random) -> None:
    assets = {name: row for (table, name), row in found.items() if table == "assets"}
    teams = sorted((row for row in assets.values() if row.team == "a"), key=lambda row: row.id)
    assert await record.matching(Asset, "team", ["a"], most=1_000) == teams
    live = {name for name, row in assets.items() if is_live(row)}
    start = chance.choice(sorted(assets))
    relations = [row for (table, _), row in found.items() if table == "relations" and (row.observed or row.declared)]
    here = stands_for(assets, start)
    within = graph_of(assets, relations, record.moment).within(here, hops=4)
    assert await reached(record, start, record.moment, hops=4) == within
    part = await around(record, start, record.moment, hops=4)
    assert part.graph.within(here, hops=4) == within
    assert (await read(record, Clock(record.moment))).in_use == live


async def test_what_is_refused(store: PostgresStore) -> None:
    """Pages that are too large, columns that cannot be narrowed by, and more than can be answered at once."""
    events = history(random.Random(3), 60)
    reader = await fill(store, events)
    async with held_at(reader, "acme", view(events, hour(SPAN * 2), 60)) as record:
        with pytest.raises(InvalidInput, match="first must be"):
            await record.page(Asset, first=0)
        with pytest.raises(InvalidInput, match="cannot be narrowed"):
            await record.page(Asset, first=1, where={"purpose": ["to help"]})
        with pytest.raises(InvalidInput, match="more than 1 assets"):
            await record.matching(Asset, "kind", ["agent", "tool", "dataset"], most=1)
        assert (await record.page(Drift, first=10)).rows == []
