"""The read models equal a naive fold of the log, at every position. Serves C01, C08, DC-06, S0-120."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import pytest
from event_stream import Stream
from naive_fold import State, states

from quarterdeck_domain.access.events import RoleGranted
from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.estate.events import AssetChanged, AssetRegistered, RelationDeclared
from quarterdeck_domain.estate.values import check_validity
from quarterdeck_domain.events import Actor, Event, NewEvent
from quarterdeck_ledger.keys import MemoryKeyStore
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.postgres import PostgresStore
from quarterdeck_projector.projector import Projector
from quarterdeck_readmodels import folding, schema
from quarterdeck_readmodels import reader as reading
from quarterdeck_readmodels.catalogue import ROWS, VERSION
from quarterdeck_readmodels.estate import Asset
from quarterdeck_readmodels.folding import Unfoldable
from quarterdeck_readmodels.reader import NotYet, Reader, Record
from quarterdeck_readmodels.schema import LIVE, SHADOW
from quarterdeck_readmodels.tables import Change, columns

ACTOR = Actor(principal="prn_test", kind="service")


@dataclass
class World:
    """A log, its read models and what keeps them."""

    ledger: EventLedger
    store: PostgresStore
    projector: Projector
    reader: Reader

    async def append(self, events: list[Event], tenant: str = "acme") -> None:
        """Record payloads as they are."""
        for start in range(0, len(events), 50):
            part = [NewEvent(id=uuid.uuid4(), payload=event, actor=ACTOR) for event in events[start : start + 50]]
            await self.ledger.append(tenant, part)

    async def project(self, tenant: str = "acme", limit: int = 5_000) -> None:
        """Apply everything there is."""
        while (await self.projector.advance(tenant, limit=limit))[1]:
            pass


@pytest.fixture
async def world(migrated_database: Callable[[], str]) -> AsyncIterator[World]:
    """A fresh world."""
    async with PostgresStore.open(migrated_database(), size=6) as store:
        projector = Projector(store, store.pool)
        await projector.prepare()
        yield World(EventLedger(store, MemoryKeyStore()), store, projector, Reader(store.pool))


async def everything(record: Record, wanted: State) -> State:
    """Return a record's rows in the naive fold's form, with the columns it knows."""
    found: State = {}
    for row in ROWS:
        page = await record.page(row, first=1000)
        assert not page.more
        for item in page.rows:
            expected = wanted.get(row.table, {}).get(item.id, {})
            values = {name: _plain(getattr(item, name)) for name in expected}
            if "roles" in values:
                values["roles"] = sorted(values["roles"])
            if "intervals" in values:
                values["intervals"] = _lasting(item.intervals)
            found.setdefault(row.table, {})[item.id] = values
    return found


def _lasting(intervals: Iterable[tuple[Any, ...]]) -> list[list[str | None]]:
    """Return from when until when, without what was said then, and without what ended before it began."""
    return [list(item[:2]) for item in intervals if item[1] is None or item[0] < item[1]]


def _plain(value: object) -> object:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


@pytest.mark.parametrize("seed", range(4))
async def test_every_position_equals_the_naive_fold(world: World, seed: int) -> None:
    """Whatever the boundaries of the runs, every table is right as of every position, and now."""
    await world.append(Stream(seed).take(160))
    events = await world.ledger.read("acme")
    expected = states(events)
    chooser = random.Random(seed)
    while (await world.projector.advance("acme", limit=chooser.randint(1, 40)))[1]:
        pass
    for position in range(len(events) + 1):
        async with world.reader.at("acme", position) as record:
            assert await everything(record, expected[position]) == expected[position]
    async with world.reader.at("acme") as record:
        assert record.position == len(events)
        assert await everything(record, expected[-1]) == expected[-1]


async def test_a_rebuild_is_the_same_and_readers_go_on(world: World) -> None:
    """Made anew from zero into a shadow and swapped, the tables say what they said."""
    await world.append(Stream(7).take(200))
    await world.project()
    expected = states(await world.ledger.read("acme"))[-1]
    seen: list[tuple[str, int, int]] = []
    async with world.reader.at("acme") as before:
        old = await everything(before, expected)
    await world.projector.rebuild(lambda tenant, position, aim: seen.append((tenant, position, aim)))
    async with world.reader.at("acme") as after:
        assert await everything(after, expected) == old == expected
    assert seen[-1] == ("acme", 200, 200)


async def test_who_comes_during_a_swap_finds_the_new_tables(world: World) -> None:
    """Readers of progress and of rows, and the projector, all wait at the door until the old tables are gone."""
    await world.append(Stream(7).take(200))
    await world.project()
    async with world.store.pool.acquire() as keeper:
        async with keeper.transaction():
            await schema.create(keeper, SHADOW)
        await world.projector.advance_to_end("acme", SHADOW)
        async with keeper.transaction():
            await keeper.execute(f"LOCK TABLE {LIVE}.progress IN ACCESS EXCLUSIVE MODE")
            coming = [
                asyncio.create_task(world.reader.projected("acme")),
                asyncio.create_task(_position(world)),
                asyncio.create_task(world.projector.advance("acme")),
            ]
            waiting = f"SELECT count(*) FROM pg_locks WHERE relation = '{LIVE}.progress'::regclass AND NOT granted"
            while await keeper.fetchval(waiting) < len(coming):
                pass
            await world.projector.advance_to_end("acme", SHADOW)
            await keeper.execute(f"DROP SCHEMA {LIVE} CASCADE; ALTER SCHEMA {SHADOW} RENAME TO {LIVE}")
        assert await asyncio.gather(*coming) == [200, 200, (200, False)]


async def test_a_run_that_is_written_during_a_swap_goes_to_the_new_tables(world: World) -> None:
    """The projector, when it has read and would write."""
    await world.append(Stream(7).take(200))
    await world.project()
    async with world.store.pool.acquire() as keeper, world.store.pool.acquire() as writer:

        async def take() -> object:
            async with writer.transaction():
                return await schema.take(writer, LIVE, "acme")

        async with keeper.transaction():
            await schema.create(keeper, SHADOW)
        await world.projector.advance_to_end("acme", SHADOW)
        async with keeper.transaction():
            await keeper.execute(f"LOCK TABLE {LIVE}.progress IN ACCESS EXCLUSIVE MODE")
            taking = asyncio.create_task(take())
            waiting = f"SELECT count(*) FROM pg_locks WHERE relation = '{LIVE}.progress'::regclass AND NOT granted"
            while not await keeper.fetchval(waiting):
                pass
            await keeper.execute(f"DROP SCHEMA {LIVE} CASCADE; ALTER SCHEMA {SHADOW} RENAME TO {LIVE}")
        assert await taking == (VERSION, 200)


async def _position(world: World) -> int:
    async with world.reader.at("acme") as record:
        return record.position


async def test_a_crash_between_runs_loses_and_repeats_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose transaction fails leaves rows and progress as they were."""
    await world.append(Stream(3).take(100))
    await world.projector.advance("acme", limit=60)

    async def fail(*_: object) -> None:
        raise asyncpg.InterfaceError("planted: the connection is gone")

    with monkeypatch.context() as patched:
        patched.setattr("quarterdeck_readmodels.ranges.insert", lambda *_: "SELECT 1/0 FROM nowhere")
        with pytest.raises(asyncpg.PostgresError):
            await world.projector.advance("acme")
    assert await world.reader.projected("acme") == 60
    await world.project()
    expected = states(await world.ledger.read("acme"))[-1]
    async with world.reader.at("acme") as record:
        assert await everything(record, expected) == expected


async def test_a_poisoned_event_stops_its_tenant_before_it(world: World) -> None:
    """What precedes it is applied, it is not skipped, and another tenant goes on."""
    stranger = RoleGranted(principal_id="prn_nobody", role="operator")
    await world.append([*Stream(5).take(10), stranger, *Stream(6).take(5)])
    await world.append(Stream(6).take(5), tenant="globex")
    await world.project("globex")
    assert await world.projector.advance("acme") == (10, True)
    with pytest.raises(Unfoldable) as stopped:
        await world.projector.advance("acme")
    assert stopped.value.position == 11
    assert await world.reader.projected("acme") == 10
    assert await world.reader.projected("globex") == 5


async def test_a_fold_that_fails_stops_its_tenant_visibly(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it raises: what precedes it is applied, and how far the tables are says why they stop there."""
    await world.append(Stream(5).take(20))
    original = folding._change

    def failing(values: dict[str, Any], change: Change) -> None:
        if values["from_position"] >= 8:
            raise OverflowError("date value out of range")
        original(values, change)

    monkeypatch.setattr(folding, "_change", failing)
    with pytest.raises(Unfoldable) as stopped:
        await world.projector.advance_to_end("acme")
    assert "date value out of range" in stopped.value.reason
    progress = await world.reader.progress("acme")
    assert progress.stopped_at == stopped.value.position == progress.position + 1


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
async def test_moments_at_the_ends_of_time_do_not_stop_the_tables(world: World, moment: str) -> None:
    """No command lets one pass that there is not in UTC; one that a log holds already is told as the end of time."""
    said = datetime.fromisoformat(moment)
    await world.append(
        [
            AssetRegistered(asset="agent:a", facts={"lifecycle": "live"}, source="x", confidence="declared"),
            AssetRegistered(
                asset="tool:a", facts={"lifecycle": "live"}, source="x", confidence="declared", valid_from=said
            ),
            AssetChanged(asset="agent:a", facts={"owner": "b"}, source="x", confidence="declared", valid_from=said),
            RelationDeclared(source="agent:a", relation="calls", target="tool:a", valid_from=said, said_by="x"),
        ]
    )
    await world.project()
    async with world.reader.at("acme") as record:
        assert {row.id for row in (await record.page(Asset, first=10)).rows} == {"agent:a", "tool:a"}
    for begins, ends in ((said, None), (None, said)):
        with pytest.raises(InvalidInput, match="years 1 and 9999"):
            check_validity(begins, ends)
    with pytest.raises(InvalidInput, match="years 1 and 9999"):
        await world.ledger.position_at("acme", said)


async def test_readers_wait_for_their_own_writes(world: World) -> None:
    """`wait_for` answers once the position is there, and says so when it is not."""
    await world.append(Stream(1).take(20))
    with pytest.raises(NotYet):
        await world.reader.wait_for("acme", 20, timeout_s=0.05)
    await world.project()
    await world.reader.wait_for("acme", 20)
    with pytest.raises(NotYet):
        async with world.reader.at("acme", 21):
            pass


async def test_pages_neither_skip_nor_repeat_while_the_log_grows(world: World) -> None:
    """A walk through pages sees every object that was there at its start exactly once."""
    stream = Stream(11)
    await world.append(stream.take(150))
    await world.project()
    for row in ROWS:
        async with world.reader.at("acme", 150) as record:
            whole = [item.id for item in (await record.page(row, first=1000)).rows]
        walked: list[str] = []
        after = None
        while True:
            async with world.reader.at("acme", 150) as record:
                page = await record.page(row, first=3, after=after)
            walked += [item.id for item in page.rows]
            if not page.more:
                break
            after = page.rows[-1].created_position
            await world.append(stream.take(2))
            await world.project()
        assert walked == whole


@pytest.mark.parametrize("seed", range(3))
async def test_narrowed_pages_hold_what_the_whole_page_holds(
    world: World, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of any moment, in both orders, in however many parts, whatever has ended since: narrowing is leaving out."""
    monkeypatch.setattr(reading, "_PLACES", (1, 3, 160)[seed])
    monkeypatch.setattr(reading, "_WIDER", (2, 4, 16)[seed])
    await world.append(Stream(seed).take(400))
    await world.project()
    chooser = random.Random(seed)
    for row, name in [(table, name) for table in ROWS for name in table.filters if columns(table)[name] == "text"]:
        for position in (*chooser.sample(range(1, 400), 6), 400):
            newest_first = chooser.random() < 0.5
            async with world.reader.at("acme", position) as record:
                whole = (await record.page(row, first=1000, newest_first=newest_first)).rows
                for value in {getattr(item, name) for item in whole} - {None}:
                    fitting = [item for item in whole if getattr(item, name) == value]
                    for first in (1, 2, 7):
                        page = await record.page(row, first=first, newest_first=newest_first, where={name: [value]})
                        assert page.rows == fitting[:first], (row.table, name, value, position, newest_first)
                        assert page.more == (len(fitting) > first)


async def test_difference_of_two_moments(world: World) -> None:
    """`diff` names exactly the objects whose state differs."""
    await world.append(Stream(2).take(120))
    await world.project()
    expected = states(await world.ledger.read("acme"))
    async with world.reader.at("acme", 120) as record:
        for row in ROWS:
            found = await record.diff(row, 60)
            then, now = expected[60].get(row.table, {}), expected[120].get(row.table, {})
            changed = {key for key in then.keys() | now.keys() if then.get(key) != now.get(key)}
            assert changed <= set(found)
            assert all((found[key].before is None) == (key not in then) for key in found)


async def test_tenants_are_walls(world: World) -> None:
    """No tenant sees another's rows; without a tenant the database refuses to answer."""
    await world.append(Stream(1).take(30))
    await world.append(Stream(2).take(30), tenant="globex")
    await world.project()
    await world.project("globex")
    async with world.reader.at("globex") as record:
        for row in ROWS:
            visible = await record._connection.fetch(f"SELECT tenant_id FROM readmodels.{row.table}")
            assert {item["tenant_id"] for item in visible} <= {"globex"}
    async with world.store.pool.acquire() as connection:
        with pytest.raises(asyncpg.PostgresError, match="no tenant is set"):
            await connection.fetch("SELECT * FROM readmodels.principals")
