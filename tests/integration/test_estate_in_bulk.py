"""Questions asked in bulk, of columns alone, answer as the rows do: differences, reach, everything. Serves C08, S0-120."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from estate_stream import EstateStream
from merged_estate import graph_of, stands_for

from quarterdeck_domain.errors import InvalidInput, NotFound
from quarterdeck_domain.estate.cuts import on_paths
from quarterdeck_domain.estate.reach import Graph
from quarterdeck_domain.events import Actor, Event, NewEvent
from quarterdeck_ledger.keys import MemoryKeyStore
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.postgres import PostgresStore
from quarterdeck_projector.projector import Projector
from quarterdeck_readmodels import reader as reading
from quarterdeck_readmodels.bitemporal import holds
from quarterdeck_readmodels.changes import changes, told
from quarterdeck_readmodels.estate import Asset, Drift, Relation
from quarterdeck_readmodels.reached import between, reached
from quarterdeck_readmodels.reaching import around
from quarterdeck_readmodels.reader import NotYet, Reader
from quarterdeck_readmodels.tables import Row, defaults

TABLES: tuple[type[Row], ...] = (Asset, Relation, Drift)
LENGTH = 300


@pytest.fixture
async def reader(migrated_database: Callable[[], str]) -> AsyncIterator[Reader]:
    """The tables of a log of random events."""
    async with PostgresStore.open(migrated_database(), size=6) as store:
        ledger, projector = EventLedger(store, MemoryKeyStore()), Projector(store, store.pool)
        await projector.prepare()
        actor = Actor(principal="prn_test", kind="service")
        for tenant, seed in (("acme", 7), ("globex", 2)):
            stream, payloads = EstateStream(random.Random(seed)), list[Event]()
            while len(payloads) < LENGTH:
                payloads += stream.take()
            events = [NewEvent(id=uuid.uuid4(), payload=event, actor=actor) for event in payloads[:LENGTH]]
            for start in range(0, LENGTH, 50):
                await ledger.append(tenant, events[start : start + 50])
            await projector.advance_to_end(tenant)
        yield Reader(store.pool)


async def slowly(reader: Reader, row: type[Row], since: int, until: int) -> list[tuple[str, bool, Any]]:
    """Return what differs by comparing every row of both moments."""
    sides = []
    for position in (since, until):
        async with reader.at("acme", position) as record:
            sides.append({item.id: item for item in (await record.page(row, first=1000)).rows})
    before, after = sides
    assert before.keys() <= after.keys(), "nothing is ever removed"
    found = []
    for name, item in sorted(after.items()):
        old, new = told(before[name]) if name in before else {}, told(item)
        fields = [
            {"name": said, "before": old.get(said), "after": value}
            for said, value in new.items()
            if value != old.get(said)
        ]
        if fields:
            found.append((name, not old, fields))
    return found


async def test_changes_are_what_the_rows_differ_in(reader: Reader) -> None:
    """Whatever the two moments, the same one and the very first included; nothing of another tenant."""
    chance = random.Random(3)
    spans = [sorted((chance.randint(0, LENGTH), chance.randint(0, LENGTH))) for _ in range(25)]
    for since, until in (*spans, (0, LENGTH), (LENGTH, LENGTH), (0, 0), (LENGTH - 1, LENGTH)):
        found = await changes(reader, "acme", since, until, TABLES)
        assert list(found) == list(TABLES)
        for row in TABLES:
            expected = await slowly(reader, row, since, until)
            told_of = [[item.id, item.added, json.loads(f"[{item.fields}]")] for item in found[row]]
            assert told_of == json.loads(msgspec.json.encode(expected))


async def test_what_is_beyond_the_log_cannot_be_compared(reader: Reader) -> None:
    """It would be another answer later."""
    with pytest.raises(NotYet):
        await changes(reader, "acme", 1, LENGTH + 1, TABLES)


async def test_a_little_of_everything(reader: Reader) -> None:
    """Walking some columns tells what pages tell, of any moment; lean pages leave out the working columns alone."""
    for position in (None, LENGTH // 2, 1):
        async with reader.at("acme", position) as record:
            for row in TABLES:
                page = await record.page(row, first=1000, newest_first=False)
                walked = [tuple(item) async for part in record.walk(row, ("id", "from_position")) for item in part]
                assert walked == [(item.id, item.from_position) for item in page.rows]
                lean = await record.lean().page(row, first=1000, newest_first=False)
                empty = {name: defaults(row)[name] for name in row.working}
                assert lean.rows == [msgspec.structs.replace(item, **empty) for item in page.rows]


async def test_whoever_walks_may_stop(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through many pages it is the same; and left in the middle, the record answers again."""
    monkeypatch.setattr(reading, "MAX_PAGE", 7)
    for position in (None, LENGTH // 2):
        async with reader.at("acme", position) as record:
            expected = [item.id for item in (await record.page(Relation, first=7, newest_first=False)).rows]
            walked = [item[0] async for part in record.walk(Relation, ("id",)) for item in part]
            assert walked[:7] == expected
            assert len(walked) == len(set(walked)) > 21
            async with aclosing(record.walk(Relation, ("id",))) as parts:
                assert [item[0] for item in await anext(parts)] == expected
            assert await record.many(Relation, expected)


async def test_what_is_reached_is_what_the_graph_says(reader: Reader) -> None:
    """From every object, both ways, of any moment: the same as of the graph that is made of rows."""
    async with reader.at("acme", LENGTH) as record:
        assets = [item.id for item in (await record.page(Asset, first=1000)).rows]
        changed = sorted({item.changed_at for item in (await record.page(Relation, first=1000)).rows})
    compared = 0
    for position in (None, LENGTH // 2, LENGTH - 20):
        # Of its moment, and of one at which what is planned has begun.
        for moment in (changed[-1], changed[-1].replace(year=2125)):
            async with reader.at("acme", position) as record:
                there = await record.many(Asset, assets)
                for name in assets:
                    if name not in there:
                        with pytest.raises(NotFound):
                            await reached(record, name, moment, hops=2)
                        continue
                    for backwards in (False, True):
                        part = await around(record, name, moment, hops=3, backwards=backwards)
                        found = await reached(record, name, moment, hops=3, backwards=backwards)
                        assert found == part.graph.within(part.start, backwards=backwards, hops=3)
                        compared += len(found)
    assert compared > 10


def recorded(
    assets: dict[str, Asset], rows: list[Relation], graph: Graph, moment: datetime
) -> list[tuple[str, str, str]]:
    """Return every recorded relation that is one of a graph by now: between which objects, and its id."""
    edges = {(edge.source, edge.relation, edge.target) for out in graph.out.values() for edge in out}
    ends = ((stands_for(assets, row.source), stands_for(assets, row.target), row) for row in rows if holds(row, moment))
    return sorted((source, target, row.id) for source, target, row in ends if (source, row.relation, target) in edges)


async def test_what_is_between_is_all_of_every_way(reader: Reader) -> None:
    """Between any two objects, whatever was merged: the part that is read has every way that all rows make, however
    long, and nothing that is on none; merged names are asked about as what they are now."""
    chance, merged, ways = random.Random(5), 0, 0
    for position in (None, LENGTH - 20, LENGTH // 2):
        async with reader.at("acme", position) as record:
            assets = {row.id: row for row in (await record.page(Asset, first=1000)).rows}
            relations = (await record.page(Relation, first=1000)).rows
            moment = datetime(2027, 1, 1, tzinfo=UTC)
            whole = graph_of(assets, [row for row in relations if holds(row, moment)], moment)
            merged += sum(row.merged_into is not None for row in assets.values())
            for _ in range(250):
                start, end = chance.choice(sorted(assets)), chance.choice(sorted(assets))
                source, target = stands_for(assets, start), stands_for(assets, end)
                found = await between(record, start, end, moment)
                nodes = on_paths(whole, source, target) if source != target else frozenset()
                assert (found is None) == (not nodes)
                assert await reached(record, start, moment) == whole.within(source)
                if found is not None:
                    part, there = found
                    assert (part.start, there) == (source, target)
                    assert part.graph.out == whole.part(nodes).out
                    apart = [edge for out in part.apart().out.values() for edge in out]
                    assert sorted((edge.source, edge.target, edge.name) for edge in apart) == recorded(
                        assets, relations, part.graph, moment
                    )
                    ways += 1
    assert merged > 0
    assert ways > 10


async def test_reach_is_bounded(reader: Reader) -> None:
    """Neither no steps nor very many."""
    async with reader.at("acme") as record:
        name = (await record.page(Asset, first=1)).rows[0].id
        for hops in (0, -1, 13, 10**9):
            with pytest.raises(InvalidInput):
                await reached(record, name, datetime.now(UTC), hops=hops)
