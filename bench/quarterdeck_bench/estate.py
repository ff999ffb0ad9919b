"""`estate`: 50,000 objects, 200,000 relations, 1,000,000 events of half a year: each question, now and of any moment.

The log comes of `estate_log.py`: recorded through the real append and folded by the real projector, in one tenant of
the embedded PostgreSQL. Asked are:

- pages of 100 of objects, relations and drifts, whole and narrowed by each column, of now and of positions spread over
  the log, in turns: through the reader, then through the whole GraphQL API;
- what is within three steps, forwards of what acts and backwards of data and tools, those with the most neighbours too;
- everything as of a position: every row of objects and relations, and the whole estate as a file, beside reading the
  rows of now raw;
- everything that differs between two moments a month apart, over HTTP;
- what is missing or wrong in the whole estate;
- and whether all rows as of 200 random positions are, byte for byte, what an independent naive fold of the log says
  (`tests/helpers/naive_estate.py`).

`QUARTERDECK_BENCH_ESTATE` says how many objects, relations, events and compared moments there are.
`QUARTERDECK_BENCH_DATABASE` names a database that holds such a log already, as its `postgres`.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import uvloop
from pydantic import SecretStr

from quarterdeck_api.app import create_app
from quarterdeck_api.bootstrap import wire
from quarterdeck_api.services import Services
from quarterdeck_bench.asof import administrator
from quarterdeck_bench.estate_equal import compare
from quarterdeck_bench.estate_log import TENANT, fill_estate
from quarterdeck_bench.estate_pages import Found, narrowings, pages, reach
from quarterdeck_bench.harness import Result, percentile, postgres
from quarterdeck_bench.page import Client
from quarterdeck_ledger.migrate import migrate
from quarterdeck_ledger.postgres import PostgresStore
from quarterdeck_projector.projector import Projector
from quarterdeck_readmodels.assessing import Assessor
from quarterdeck_readmodels.estate import Asset, Relation
from quarterdeck_readmodels.reader import Reader
from quarterdeck_readmodels.standing import as_file
from quarterdeck_readmodels.tables import Row
from quarterdeck_runtime import memory
from quarterdeck_runtime.settings import load_settings

SIZE: Final = os.environ.get("QUARTERDECK_BENCH_ESTATE", "50000 200000 1000000 200")
SMALL: Final = "1000 4000 20000 20"
MOMENTS: Final = 20
MONTH: Final = 30 / 180
GOAL: Final = {
    "page_p95_then_by_now": 1.5,
    "reach_p95_ms": 300,
    "snapshot_s": 5,
    "file_s": 5,
    "diff_s": 2,
    "moments_wrong": 0,
}
_EVERY: Final = "every row of objects and relations"
_SERVED: Final = "the estate as a file, over HTTP"


def run(rounds: int, *, small: bool = False) -> Result:
    """Measure in interleaved rounds."""
    assets, relations, events, moments = map(int, (SMALL if small else SIZE).split())
    with tempfile.TemporaryDirectory(prefix="qd-estate-") as directory, _database() as url:
        found = uvloop.run(_run(url, Path(directory), (assets, relations, events), moments, rounds))
    value: dict[str, Any] = {name: found.value[name] for name in GOAL}
    ok = all(value[name] <= limit for name, limit in GOAL.items())
    note = (
        f"{assets:,} objects, {relations:,} relations, {events:,} events; {MOMENTS} positions over the whole log, "
        f"{rounds} rounds. The worst page counts, of those of which now holds as many rows as then: finding nothing "
        f"and finding something are two questions. {found.note}"
    )
    return {"name": "estate", "value": value, "goal": GOAL, "ok": ok, "rows": found.rows, "note": note}


async def _run(url: str, directory: Path, sizes: tuple[int, int, int], moments: int, rounds: int) -> Found:
    found = Found()
    async with _house(url, directory, sizes) as (services, token):
        reader = services.reader
        assert reader is not None
        head = await reader.projected(TENANT)
        positions = [max(1, round(head * (place + 0.5) / MOMENTS)) for place in range(MOMENTS)]
        client = Client(create_app(services), "/graphql", token)
        memory.settle()  # as whoever serves does
        async with reader.at(TENANT, head // 2) as record:
            questions = await narrowings(record)
        await pages(found, reader, client, questions, positions, rounds)
        await reach(found, reader, client, positions, rounds)
        await _whole(found, reader, Client(create_app(services), "/v1/estate/file", token), positions, rounds)
        await _differences(found, Client(create_app(services), "/v1/estate/diff", token), head, rounds)
        await _findings(found, services, reader, head, rounds)
        chosen = sorted(random.Random(0).sample(range(1, sizes[2] + 1), moments))
        wrong, note = await compare(services.ledger, reader, chosen)
        found.value["moments_wrong"] = wrong
        found.note += note
    return found


async def _whole(found: Found, reader: Reader, file: Client, positions: list[int], rounds: int) -> None:
    times: dict[str, tuple[list[float], list[float]]] = {}
    sizes: dict[str, int] = {}
    for _ in range(rounds):
        for position in (None, *positions[4::5]):

            async def rows(position: int | None = position) -> int:
                async with reader.at(TENANT, position) as record:
                    return sum([len(page) for row in (Asset, Relation) for page in await _pages_of(record, row)])

            async def document(position: int | None = position) -> int:
                async with reader.at(TENANT, position) as record:
                    return len((await as_file(record, "bench"))["assets"])

            async def served(position: int | None = position) -> int:
                return len(await file.get("" if position is None else f"position={position}"))

            ways: dict[str, Callable[[], Awaitable[int]]] = {
                _EVERY: rows,
                "the estate as a file": document,
                _SERVED: served,
            }
            if position is None:
                ways["peer: every row of now, as the driver has it"] = lambda: _raw(reader)
            for name, ask in ways.items():
                gc.collect()
                began = time.perf_counter()
                sizes[name] = await ask()
                now, then = times.setdefault(name, ([], []))
                (now if position is None else then).append(time.perf_counter() - began)
    for name, (now, then) in times.items():
        found.add(f"snapshot: {name}", now, then, sizes[name])
    for key, name in (
        ("snapshot_s", "every row of objects and relations"),
        ("file_s", "the estate as a file, over HTTP"),
    ):
        found.value[key] = round(max(percentile(samples, 0.95) for samples in times[name]), 2)


async def _pages_of(record: Any, row: type[Row]) -> list[list[Any]]:
    pages: list[list[Any]] = []
    after, more = None, True
    while more:
        page = await record.lean().page(row, first=1000, after=after, newest_first=False)
        pages.append(page.rows)
        after, more = (page.rows[-1].created_position if page.rows else None), page.more
    return pages


async def _raw(reader: Reader) -> int:
    async with reader.at(TENANT) as record:
        connection, count = record._connection, 0
        for row in (Asset, Relation):
            count += len(await connection.fetch(f"SELECT * FROM readmodels.{row.table} WHERE to_position IS NULL"))
    return count


async def _differences(found: Found, door: Client, head: int, rounds: int) -> None:
    month = round(head * MONTH)
    spent: list[float] = []
    count = 0
    for turn in range(rounds):
        for since in (head - month, head // 2 - month * (turn % 2)):
            gc.collect()
            began = time.perf_counter()
            answer = await door.get(f"from={since}&to={since + month}")
            spent.append(time.perf_counter() - began)
            count = answer.count(b"\n") - 1
    found.add("everything that differs after a month, over HTTP", [], spent, count)
    found.value["diff_s"] = round(percentile(spent, 0.95), 2)


async def _findings(found: Found, services: Services, reader: Reader, head: int, rounds: int) -> None:
    times: dict[int, list[float]] = {}
    count = 0
    for position in (head, head // 2) * rounds:
        (entry,) = await services.ledger.read_sealed(TENANT, after=position - 1, until=position)
        gc.collect()
        began = time.perf_counter()
        # One that has assessed nothing yet: what was found once is kept for as long as it is true.
        assessment = await Assessor().assess(TENANT, position, entry.recorded_at, partial(reader.at, TENANT, position))
        times.setdefault(position, []).append(time.perf_counter() - began)
        count = max(count, len(assessment.findings))
    found.add("findings of the whole estate, for the first time", times[head], times[head // 2], count)


@contextlib.contextmanager
def _database() -> Iterator[str]:
    if given := os.environ.get("QUARTERDECK_BENCH_DATABASE"):
        yield given
    else:
        with postgres() as server:
            yield server.url()


@contextlib.asynccontextmanager
async def _house(url: str, directory: Path, sizes: tuple[int, int, int]) -> AsyncIterator[tuple[Services, str]]:
    """Run the API over the estate and its read models; yield it and an administrator's key."""
    await migrate(url)
    settings = load_settings(database_url=SecretStr(url), data_dir=directory, rate_per_s=1e6, rate_burst=1_000_000)
    async with PostgresStore.open(url) as store, contextlib.AsyncExitStack() as stack:
        services = await wire(settings, store, stack)
        if not (await services.ledger.head(TENANT)).position:
            assets, relations, events = sizes
            await fill_estate(url, services.ledger, assets=assets, relations=relations, events=events)
        token = await administrator(services, TENANT)
        projector = Projector(store, store.pool)
        await projector.prepare()
        began = time.perf_counter()
        reached = await projector.advance_to_end(TENANT)
        spent = time.perf_counter() - began
        print(f"projected up to {reached:,} in {spent:.0f} s", flush=True)
        await store.pool.execute("VACUUM ANALYZE")
        yield services, token
