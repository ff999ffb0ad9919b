"""`append`: durable conditional appends beside `eventsourcing`'s DCB recorder on PostgreSQL and UmaDB.

Each append is one event of about 260 bytes with three tags, on the condition that its own new tag has no event (and, in
the conflict rows, 5 % that repeat a tag and must fail). All three are durable: fsync is on. Our event ids follow time
(UUID version 7), as those of our own commands do; peers assign positions only. Ours are asyncio tasks in one process
through the public `append`; the peers' interfaces are synchronous, so they get a thread a writer. Each store holds
`QUARTERDECK_BENCH_ROWS` events (1,000,000) before the first measurement.
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
Sample = tuple[float, list[float]]


def run(rounds: int) -> Result:
    """Measure all three in interleaved rounds."""
    cases = [(1, 0.0), (8, 0.0), (64, 0.0), (64, 0.05)]
    samples: dict[tuple[str, int, float], list[Sample]] = {}
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
            for writers, share in cases:
                for name, peer in peers.items():
                    samples.setdefault((name, writers, share), []).append(peer.measure(writers, share))
            print(f"round {number + 1} of {rounds}", flush=True)
    return _judge(cases, samples)


def _judge(cases: list[tuple[int, float]], samples: dict[tuple[str, int, float], list[Sample]]) -> Result:
    rows = []
    rate: dict[tuple[str, int, float], float] = {}
    tail: dict[tuple[str, int, float], float] = {}
    for key, found in samples.items():
        rate[key] = median([sample[0] for sample in found])
        tail[key] = median([percentile(sample[1], 0.99) * 1000 for sample in found])
    for writers, share in cases:
        for name in ("quarterdeck", "eventsourcing", "umadb"):
            key = (name, writers, share)
            latencies = [percentile(sample[1], 0.5) * 1000 for sample in samples[key]]
            mine = rate["quarterdeck", writers, share]
            rows.append(
                {
                    "writers": writers,
                    "conflicts": f"{share:.0%}",
                    "store": name,
                    "events/s": rate[key],
                    "p50 ms": median(latencies),
                    "p99 ms": tail[key],
                    "ours / this": mine / rate[key],
                }
            )
    value: dict[str, float] = {}
    for label, writers, share in (("64", 64, 0.0), ("64_conflicts", 64, 0.05), ("1", 1, 0.0)):
        mine = rate["quarterdeck", writers, share]
        value[f"x_eventsourcing_{label}"] = round(mine / rate["eventsourcing", writers, share], 2)
        value[f"x_umadb_{label}"] = round(mine / rate["umadb", writers, share], 2)
    value["p99_ms_64"] = round(tail["quarterdeck", 64, 0.0], 2)
    value["p99_ms_64_conflicts"] = round(tail["quarterdeck", 64, 0.05], 2)
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

    def measure(self, writers: int, conflict_share: float) -> Sample: ...


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
                await self._ledger.append("bench", [_event(uuid.uuid4().hex) for _ in range(200)])

        async def everyone() -> None:
            await asyncio.gather(*[writer(rows // 8) for _ in range(8)])

        self._runner.run(everyone())

    def measure(self, writers: int, conflict_share: float) -> Sample:
        return self._runner.run(self._measure(writers, conflict_share))

    async def _measure(self, writers: int, conflict_share: float) -> Sample:
        latencies: list[float] = []
        end = time.perf_counter() + SECONDS

        async def writer() -> None:
            used = uuid.uuid4().hex
            await self._append(used)
            while (started := time.perf_counter()) < end:
                repeat = random.random() < conflict_share
                key = used if repeat else uuid.uuid4().hex
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


def _event(key: str) -> NewEvent:
    payload = ApiKeyRevoked(key_id=key, principal_id=f"prn_{key[:8]}", reason=PADDING)
    return NewEvent(id=fresh_id(), payload=payload, actor=ACTOR)


class _Threads:
    """A peer with a synchronous interface: a thread a writer."""

    def client(self) -> Callable[[str], bool]:
        """Return a function that appends one event under a new key; False on conflict."""
        raise NotImplementedError

    def measure(self, writers: int, conflict_share: float) -> Sample:
        results: list[list[float]] = []
        gate = threading.Barrier(writers + 1)
        failures: list[BaseException] = []

        def writer() -> None:
            append = self.client()
            used = uuid.uuid4().hex
            append(used)
            latencies: list[float] = []
            gate.wait()
            end = time.perf_counter() + SECONDS
            try:
                while (started := time.perf_counter()) < end:
                    repeat = random.random() < conflict_share
                    if append(used if repeat else uuid.uuid4().hex) is repeat:
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
            self._recorder.append([DCBEvent("api_key.revoked", _body(), _tags(uuid.uuid4().hex)) for _ in range(5000)])

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
            client.append([self._event(uuid.uuid4().hex) for _ in range(5000)])

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
    return [f"key:{key}", f"principal:prn_{key[:8]}", "actor:prn_bench"]


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
