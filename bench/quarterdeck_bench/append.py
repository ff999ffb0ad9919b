"""`append`: durable conditional appends beside `eventsourcing`'s DCB recorder on PostgreSQL and UmaDB.

Each append is one event of about 260 bytes with three tags, on the condition that its own new tag has no event (and, in
the conflict rows, 5 % that repeat a tag and must fail). All three are durable: fsync is on. What is new follows time
(UUID version 7), as what our own commands make does: the event's id, and the tag that the condition asks for, which all
three stores get alike. One more row has new tags in random order; it is not judged. Peers assign positions only. Ours
are asyncio tasks in one process through the public `append`; the peers' interfaces are synchronous, so they get a
thread a writer. Each store holds `QUARTERDECK_BENCH_ROWS` events (1,000,000) before the first measurement.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import subprocess
import sysconfig
import tempfile
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Protocol

import umadb
import uvloop
from eventsourcing.dcb.api import DCBAppendCondition, DCBEvent, DCBQuery, DCBQueryItem
from eventsourcing.dcb.postgres_tt import PostgresDCBRecorderTT
from eventsourcing.persistence import IntegrityError
from eventsourcing.postgres import PostgresDatastore

from quarterdeck_api.commands.idempotency import fresh_id
from quarterdeck_bench.harness import Result, median, percentile, postgres
from quarterdeck_domain.access.events import ApiKeyRevoked
from quarterdeck_domain.events import Actor, NewEvent
from quarterdeck_domain.ids import make_id
from quarterdeck_embedded import EmbeddedPostgres
from quarterdeck_ledger.errors import AppendConflict
from quarterdeck_ledger.keys import MemoryKeyStore
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.migrate import migrate
from quarterdeck_ledger.postgres import PostgresStore

ROWS: Final = int(os.environ.get("QUARTERDECK_BENCH_ROWS", "1000000"))
SECONDS: Final = float(os.environ.get("QUARTERDECK_BENCH_SECONDS", "3"))
PADDING: Final = "x" * 150
ACTOR: Final = Actor(principal="prn_bench", kind="service")
PRINCIPALS: Final = [make_id("prn", fresh_id()) for _ in range(1000)]
Sample = tuple[float, list[float]]
Case = tuple[int, float, str]
"""How many writers, what share of conflicts, and whether new tags follow time."""


def run(rounds: int) -> Result:
    """Measure all three in interleaved rounds."""
    cases: list[Case] = [
        (1, 0.0, "by time"),
        (8, 0.0, "by time"),
        (64, 0.0, "by time"),
        (64, 0.05, "by time"),
        (64, 0.0, "random"),
    ]
    samples: dict[tuple[str, Case], list[Sample]] = {}
    with (
        postgres() as server,
        _umadb() as umadb_url,
        _ours(server.url()) as ours,
        _eventsourcing(server) as theirs,
    ):
        peers: dict[str, _Peer] = {"quarterdeck": ours, "eventsourcing": theirs, "umadb": _Umadb(umadb_url)}
        for name, peer in peers.items():
            started = time.perf_counter()
            peer.fill(ROWS)
            print(f"filled {name} with {ROWS:,} events in {time.perf_counter() - started:.0f} s", flush=True)
        for number in range(rounds):
            for case in cases:
                for name, peer in peers.items():
                    samples.setdefault((name, case), []).append(peer.measure(*case))
            print(f"round {number + 1} of {rounds}", flush=True)
    return _judge(cases, samples)


def _judge(cases: list[Case], samples: dict[tuple[str, Case], list[Sample]]) -> Result:
    rows = []
    rate = {key: median([sample[0] for sample in found]) for key, found in samples.items()}
    tail = {key: median([percentile(sample[1], 0.99) * 1000 for sample in found]) for key, found in samples.items()}
    for case in cases:
        for name in ("quarterdeck", "eventsourcing", "umadb"):
            latencies = [percentile(sample[1], 0.5) * 1000 for sample in samples[name, case]]
            writers, share, order = case
            rows.append(
                {
                    "writers": writers,
                    "conflicts": f"{share:.0%}",
                    "tags": order,
                    "store": name,
                    "events/s": rate[name, case],
                    "p50 ms": median(latencies),
                    "p99 ms": tail[name, case],
                    "ours / this": rate["quarterdeck", case] / rate[name, case],
                }
            )
    value: dict[str, float] = {}
    one, _, many, conflicts, unordered = cases
    for label, case in (("64", many), ("64_conflicts", conflicts), ("1", one), ("64_random", unordered)):
        mine = rate["quarterdeck", case]
        value[f"x_eventsourcing_{label}"] = round(mine / rate["eventsourcing", case], 2)
        value[f"x_umadb_{label}"] = round(mine / rate["umadb", case], 2)
    value["p99_ms_64"] = round(tail["quarterdeck", many], 2)
    value["p99_ms_64_conflicts"] = round(tail["quarterdeck", conflicts], 2)
    goal = {
        "x_eventsourcing_64": 20,
        "x_umadb_64": 1.5,
        "x_eventsourcing_64_conflicts": 20,
        "x_umadb_64_conflicts": 1.5,
        "x_eventsourcing_1": 1,
        "x_umadb_1": 1,
        "p99_ms_64": 10,
        "p99_ms_64_conflicts": 10,
    }
    ok = all(value[key] <= limit if key.startswith("p99") else value[key] >= limit for key, limit in goal.items())
    return {"name": "append", "value": value, "goal": goal, "ok": ok, "rows": rows}


class _Peer(Protocol):
    def fill(self, rows: int) -> None: ...

    def measure(self, writers: int, conflict_share: float, order: str) -> Sample: ...


class _Ours:
    """Our ledger, on its own event loop."""

    def __init__(self, url: str, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._open = contextlib.AsyncExitStack()
        runner.run(migrate(url))
        self._store = runner.run(self._open.enter_async_context(PostgresStore.open(url)))
        self._ledger = EventLedger(self._store, MemoryKeyStore())

    def close(self) -> None:
        self._runner.run(self._open.aclose())

    def fill(self, rows: int) -> None:
        async def writer(count: int) -> None:
            for _ in range(0, count, 200):
                await self._ledger.append("bench", [_event(_key()) for _ in range(200)])

        async def everyone() -> None:
            await asyncio.gather(*[writer(rows // 8) for _ in range(8)])

        self._runner.run(everyone())

    def measure(self, writers: int, conflict_share: float, order: str) -> Sample:
        return self._runner.run(self._measure(writers, conflict_share, order))

    async def _measure(self, writers: int, conflict_share: float, order: str) -> Sample:
        latencies: list[float] = []
        end = time.perf_counter() + SECONDS

        async def writer() -> None:
            used = _key(order)
            await self._append(used)
            while (started := time.perf_counter()) < end:
                repeat = random.random() < conflict_share
                key = used if repeat else _key(order)
                try:
                    await self._append(key)
                except AppendConflict:
                    if not repeat:
                        raise
                latencies.append(time.perf_counter() - started)

        started = time.perf_counter()
        await asyncio.gather(*[writer() for _ in range(writers)])
        return len(latencies) / (time.perf_counter() - started), latencies

    async def _append(self, key: str) -> None:
        condition = DCBAppendCondition(DCBQuery([DCBQueryItem(tags=[f"key:{key}"])]), 0)
        await self._ledger.append("bench", [_event(key)], condition)


def _key(order: str = "by time") -> str:
    return make_id("key", fresh_id() if order == "by time" else uuid.uuid4())


def _principal(key: str) -> str:
    return PRINCIPALS[zlib.crc32(key.encode()) % len(PRINCIPALS)]


def _event(key: str) -> NewEvent:
    payload = ApiKeyRevoked(key_id=key, principal_id=_principal(key), reason=PADDING)
    return NewEvent(id=fresh_id(), payload=payload, actor=ACTOR)


class _Threads:
    """A peer with a synchronous interface: a thread a writer."""

    def client(self) -> Callable[[str], bool]:
        """Return a function that appends one event under a new key; False on conflict."""
        raise NotImplementedError

    def measure(self, writers: int, conflict_share: float, order: str) -> Sample:
        results: list[list[float]] = []
        gate = threading.Barrier(writers + 1)
        failures: list[BaseException] = []

        def writer() -> None:
            append = self.client()
            used = _key(order)
            append(used)
            latencies: list[float] = []
            gate.wait()
            end = time.perf_counter() + SECONDS
            try:
                while (started := time.perf_counter()) < end:
                    repeat = random.random() < conflict_share
                    if append(used if repeat else _key(order)) is repeat:
                        raise AssertionError("a conflict was not seen, or one was invented")
                    latencies.append(time.perf_counter() - started)
            except BaseException as error:
                failures.append(error)
            results.append(latencies)

        threads = [threading.Thread(target=writer) for _ in range(writers)]
        for thread in threads:
            thread.start()
        gate.wait()
        started = time.perf_counter()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        latencies = [latency for result in results for latency in result]
        return len(latencies) / (time.perf_counter() - started), latencies


class _Eventsourcing(_Threads):
    """`eventsourcing`'s DCB recorder on the same PostgreSQL server."""

    def __init__(self, datastore: PostgresDatastore) -> None:
        self._recorder = PostgresDCBRecorderTT(datastore=datastore, events_table_name="dcb_events")
        self._recorder.create_table()

    def fill(self, rows: int) -> None:
        for _ in range(0, rows, 5000):
            self._recorder.append([DCBEvent("api_key.revoked", _body(), _tags(_key())) for _ in range(5000)])

    def client(self) -> Callable[[str], bool]:
        def append(key: str) -> bool:
            condition = DCBAppendCondition(DCBQuery([DCBQueryItem(tags=[f"key:{key}"])]), 0)
            try:
                self._recorder.append([DCBEvent("api_key.revoked", _body(), _tags(key))], condition)
            except IntegrityError:
                return False
            return True

        return append


class _Umadb(_Threads):
    """UmaDB's server, over its own client."""

    def __init__(self, url: str) -> None:
        self._url = url

    def fill(self, rows: int) -> None:
        client = umadb.Client(self._url)
        for _ in range(0, rows, 5000):
            client.append([self._event(_key()) for _ in range(5000)])

    def client(self) -> Callable[[str], bool]:
        client = umadb.Client(self._url)

        def append(key: str) -> bool:
            query = umadb.Query(items=[umadb.QueryItem(tags=[f"key:{key}"])])
            try:
                client.append([self._event(key)], condition=umadb.AppendCondition(fail_if_events_match=query))
            except umadb.IntegrityError:
                return False
            return True

        return append

    def _event(self, key: str) -> Any:
        return umadb.Event(event_type="api_key.revoked", data=_body(), tags=_tags(key))


def _body() -> bytes:
    return (PADDING + "x" * 110).encode()


def _tags(key: str) -> list[str]:
    return [f"key:{key}", f"principal:{_principal(key)}", "actor:prn_bench"]


@contextlib.contextmanager
def _ours(url: str) -> Iterator[_Ours]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        ours = _Ours(url, runner)
        try:
            yield ours
        finally:
            ours.close()


@contextlib.contextmanager
def _eventsourcing(server: EmbeddedPostgres) -> Iterator[_Eventsourcing]:
    server.url("eventsourcing")  # makes the database
    datastore = PostgresDatastore(
        "eventsourcing", str(server.socket_dir), 5432, "postgres", "", pool_size=64, max_overflow=8
    )
    try:
        yield _Eventsourcing(datastore)
    finally:
        datastore.close()


@contextlib.contextmanager
def _umadb() -> Iterator[str]:
    binary = Path(sysconfig.get_path("scripts")) / "umadb"
    if not binary.exists():
        raise RuntimeError("umadb is not installed: run `python3 dev.py setup`")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="qd-umadb-") as directory:
        command = [str(binary), "--listen", f"127.0.0.1:{port}", "--db-path", str(Path(directory) / "uma.db")]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait_for(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


def _wait_for(port: int) -> None:
    for _ in range(500):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.1):
            return
        time.sleep(0.01)
    raise RuntimeError("umadb did not start")
