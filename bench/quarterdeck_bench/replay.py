"""`replay`: the log through the real projector into the real tables, beside filling the same tables with `unnest`.

The log holds `QUARTERDECK_BENCH_ROWS` events (1,000,000) of stories (`stories.py`). Three rates, interleaved:

- replay: the projector reads, decodes and folds every event and writes rows and progress, a transaction a run.
- unnest: the rows that came of it, ready as arrays, written into tables of the same making (indexes, constraints and
  row-level security included) in as many transactions. Loading the arrays is not counted.
- raw read: pages of the log through the store, beside `select_notifications` of `eventsourcing`'s PostgreSQL
  application recorder over as many events with the same bytes, in pages of the same size.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import uuid
from collections.abc import Iterator
from typing import Any, Final

import uvloop
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore

from quarterdeck_bench.harness import Result, median, postgres
from quarterdeck_bench.stories import TENANT, fill
from quarterdeck_embedded import EmbeddedPostgres
from quarterdeck_ledger.keys import MemoryKeyStore
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.migrate import migrate
from quarterdeck_ledger.postgres import PostgresStore
from quarterdeck_projector.projector import RUN, Projector
from quarterdeck_readmodels import ranges, schema
from quarterdeck_readmodels.catalogue import ROWS as TABLES
from quarterdeck_readmodels.schema import LIVE
from quarterdeck_readmodels.tables import Row

ROWS: Final = int(os.environ.get("QUARTERDECK_BENCH_ROWS", "1000000"))
FILLED: Final = "readmodels_filled"
_PEER_INSERT: Final = 100
"""With a few thousand events in one insert, the peer's driver and the server wait for each other for ever."""
GOAL: Final = {"share_of_unnest": 0.4, "x_eventsourcing_read": 3}


def run(rounds: int) -> Result:
    """Measure in interleaved rounds."""
    found: dict[str, list[float]] = {}
    with postgres() as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_prepare(server.url()))
        with _eventsourcing(server) as peer:
            print(f"filling eventsourcing's recorder with {ROWS:,} events", flush=True)
            _copy(runner, server.url(), peer)
            for number in range(rounds):
                found.setdefault("read", []).append(runner.run(_read(server.url())))
                found.setdefault("eventsourcing", []).append(_select(peer))
                found.setdefault("replay", []).append(runner.run(_replay(server.url())))
                found.setdefault("unnest", []).append(runner.run(_fill_tables(server.url())))
                print(f"round {number + 1} of {rounds}", flush=True)
    return _judge({name: median(rates) for name, rates in found.items()}, found)


def _judge(rate: dict[str, float], found: dict[str, list[float]]) -> Result:
    beside = {"replay": "unnest", "read": "eventsourcing"}
    labels = {
        "replay": "projector, events",
        "unnest": "unnest of the same rows, events",
        "read": "raw read, events",
        "eventsourcing": "eventsourcing select_notifications, events",
    }
    rows = [
        {
            "what": label,
            "events/s": rate[name],
            "slowest round": min(found[name]),
            "fastest round": max(found[name]),
            "ours / peer": f"{rate[name] / rate[beside[name]]:.2f}" if name in beside else "",
        }
        for name, label in labels.items()
    ]
    value = {
        "share_of_unnest": round(rate["replay"] / rate["unnest"], 2),
        "x_eventsourcing_read": round(rate["read"] / rate["eventsourcing"], 2),
        "replay_events_per_s": round(rate["replay"]),
    }
    ok = all(value[key] >= limit for key, limit in GOAL.items())
    note = f"{ROWS:,} events; runs of {RUN:,} events, a transaction each, on both sides of the first ratio."
    return {"name": "replay", "value": value, "goal": GOAL, "ok": ok, "rows": rows, "note": note}


async def _prepare(url: str) -> None:
    await migrate(url)
    async with PostgresStore.open(url) as store:
        started = time.perf_counter()
        await fill(EventLedger(store, MemoryKeyStore()), ROWS)
        print(f"recorded {ROWS:,} events in {time.perf_counter() - started:.0f} s", flush=True)


async def _read(url: str) -> float:
    async with PostgresStore.open(url) as store:
        started, position = time.perf_counter(), 0
        while page := await store.read(TENANT, None, position, None, RUN, False):
            position = page[-1][0]
        assert position == ROWS
        return ROWS / (time.perf_counter() - started)


async def _replay(url: str) -> float:
    async with PostgresStore.open(url) as store:
        await store.pool.execute(f"DROP SCHEMA IF EXISTS {LIVE} CASCADE")
        projector = Projector(store, store.pool)
        await projector.prepare()
        started = time.perf_counter()
        assert await projector.advance_to_end(TENANT) == ROWS
        return ROWS / (time.perf_counter() - started)


async def _fill_tables(url: str) -> float:
    """Write what the replay wrote once more, as finished rows; return events a second."""
    async with PostgresStore.open(url) as store, store.pool.acquire() as connection:
        await connection.execute(f"DROP SCHEMA IF EXISTS {FILLED} CASCADE")
        await schema.create(connection, FILLED)
        spent = 0.0
        written = 0
        for start in range(0, ROWS, RUN):
            async with connection.transaction():
                await schema.enter(connection, LIVE, TENANT)
                chunk = [(row, await _rows(connection, row, start)) for row in TABLES]
            full = [(row, ranges.arrays(row, rows)) for row, rows in chunk if rows]
            started = time.perf_counter()
            async with connection.transaction():
                await schema.take(connection, FILLED, TENANT)
                for row, columns in full:
                    await connection.execute(ranges.insert(FILLED, row), TENANT, *columns)
            spent += time.perf_counter() - started
            written += sum(len(rows) for _, rows in chunk)
        assert written >= ROWS * 0.9
        return ROWS / spent


async def _rows(connection: Any, row: type[Row], start: int) -> list[Any]:
    found = await connection.fetch(
        f"SELECT * FROM {LIVE}.{row.table} WHERE tenant_id = $1 AND from_position > $2 AND from_position <= $3",
        TENANT,
        start,
        start + RUN,
    )
    return [ranges.loaded(row, record) for record in found]


@contextlib.contextmanager
def _eventsourcing(server: EmbeddedPostgres) -> Iterator[PostgresApplicationRecorder]:
    server.url("eventsourcing")  # makes the database
    datastore = PostgresDatastore("eventsourcing", str(server.socket_dir), 5432, "postgres", "")
    try:
        recorder = PostgresApplicationRecorder(datastore, events_table_name="stored_events")
        recorder.create_table()
        yield recorder
    finally:
        datastore.close()


def _copy(runner: asyncio.Runner, url: str, peer: PostgresApplicationRecorder) -> None:
    """Give the peer the same bytes, a stream of twenty events a story."""

    async def page(after: int) -> list[tuple[int, bytes]]:
        async with PostgresStore.open(url, size=1) as store:
            return await store.read(TENANT, None, after, None, RUN, False)

    position = 0
    while entries := runner.run(page(position)):
        for start in range(0, len(entries), _PEER_INSERT):
            peer.insert_events(
                [
                    StoredEvent(uuid.UUID(int=place // 20), place % 20 + 1, "bench:Event", entry)
                    for place, entry in entries[start : start + _PEER_INSERT]
                ]
            )
        position = entries[-1][0]


def _select(peer: PostgresApplicationRecorder) -> float:
    started, position = time.perf_counter(), None
    count = 0
    while page := peer.select_notifications(position, RUN, inclusive_of_start=False):
        position = page[-1].id
        count += len(page)
    assert count == ROWS
    return ROWS / (time.perf_counter() - started)
