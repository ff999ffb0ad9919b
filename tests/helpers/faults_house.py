"""A house of real processes that can be killed, one by one, at a named point or at any moment, and started again.

PostgreSQL, a Temporal server, two or more APIs on ports of their own, a worker and a projector (with its dispatcher),
and a tenant `acme` in which agents ask and people decide.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import psutil
from api_house import House
from faults_http import Connection, Lost, request

from quarterdeck_embedded import EmbeddedPostgres, EmbeddedTemporal, free_port
from quarterdeck_embedded.process import free_ports
from quarterdeck_ledger.faults import ALLOWED, CONSENT, FAULTS
from quarterdeck_ledger.keys import FileKeyStore
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.migrate import migrate
from quarterdeck_ledger.postgres import PostgresStore

TENANT: Final = "acme"
PEOPLE: Final = (
    ("iris", "human", "approver"),
    ("rita", "human", "approver"),
    ("bot", "agent", "agent"),
    ("worker-bot", "agent", "agent"),
)
READY_S: Final = 60.0
_POLL_S: Final = 0.01


class Process:
    """One forked role."""

    def __init__(self, pid: int, log: Path) -> None:
        self.pid = pid
        self.log = log
        self._fd = os.pidfd_open(pid)

    @property
    def dead(self) -> bool:
        """Whether it has ended."""
        return bool(select.select([self._fd], [], [], 0)[0])

    def kill(self) -> None:
        """Kill it, as `kill -9` does, and see it dead."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._fd, signal.SIGKILL)
        assert select.select([self._fd], [], [], READY_S)[0], f"process {self.pid} survives kill -9"

    async def died(self, within_s: float) -> bool:
        """Wait for its end; tell whether it came."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._fd, ended.set)
        try:
            async with asyncio.timeout(within_s):
                await ended.wait()
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(self._fd)
        return True

    def close(self) -> None:
        """Let go of a process that has ended."""
        os.close(self._fd)


class FaultHouse:
    """The house. `roles` are those that run, by name: `api-0`, `api-1`, …, `worker`, `projector`."""

    def __init__(
        self,
        directory: Path,
        *,
        apis: int = 2,
        data: Path | None = None,
        postgres: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
        temporal: bool = True,
    ) -> None:
        """`data` is where PostgreSQL keeps its own; `settings` are of every role."""
        self.directory = directory
        given = {"shared_buffers": "32MB", "max_wal_size": "256MB", **(postgres or {})}
        self.postgres = EmbeddedPostgres(data or directory / "pg", settings=given)
        self.temporal = EmbeddedTemporal(directory / "temporal.db", port=free_port()) if temporal else None
        self.ports = free_ports(apis)
        self.roles: dict[str, Process] = {}
        self.keys: dict[tuple[str, str], str] = {}
        self.ids: dict[tuple[str, str], str] = {}
        self._settings = dict(settings or {})
        self._zygote: subprocess.Popen[str] | None = None

    @property
    def names(self) -> list[str]:
        """The names of all roles."""
        return [
            *(f"api-{number}" for number in range(len(self.ports))),
            *(("worker", "projector") if self.temporal else ()),
        ]

    @property
    def url(self) -> str:
        """The database's address."""
        return self.postgres.address()

    def start(self) -> None:
        """Start everything, and wait until every API is ready."""
        self._zygote = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("faults_zygote.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        if self.temporal is not None:
            self.temporal.begin()
        self.postgres.start()
        asyncio.run(self._furnish())
        if self.temporal is not None:
            self.temporal.wait_until_ready()
        assert self._said() == "ready"
        for name in self.names:
            self.spawn(name)
        asyncio.run(self._ready())

    def stop(self) -> None:
        """Stop everything, the hard way."""
        for role in self.roles.values():
            role.kill()
            role.close()
        self.roles.clear()
        if self._zygote is not None and self._zygote.stdin is not None and self._zygote.stdout is not None:
            self._zygote.stdin.close()
            self._zygote.wait(READY_S)
            self._zygote.stdout.close()
        if self.temporal is not None:
            self.temporal.kill()
        self.postgres.kill()

    def spawn(self, name: str, faults: str | None = None, **settings: str) -> Process:
        """Start a role that does not run, with a schedule of faults or with none."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("QUARTERDECK_")}
        environment = kept | {
            "QUARTERDECK_DATA_DIR": str(self.directory / "data"),
            "QUARTERDECK_DATABASE_URL": self.url,
            "QUARTERDECK_DATABASE_POOL_SIZE": "6",
            "QUARTERDECK_PUBLIC_URL": f"http://127.0.0.1:{self.ports[0]}",
            "QUARTERDECK_WEBHOOK_ALLOW": "127.0.0.1",
            "QUARTERDECK_CHECKPOINT_INTERVAL_S": "0.3",
            "QUARTERDECK_RATE_PER_S": "1000000",
            "QUARTERDECK_RATE_BURST": "1000000",
            "QUARTERDECK_LOG_FORMAT": "json",
            "QUARTERDECK_LOG_LEVEL": "warning",
        }
        if self.temporal is not None:
            environment["QUARTERDECK_TEMPORAL_ADDRESS"] = self.temporal.address
        environment |= self._settings | {f"QUARTERDECK_{key.upper()}": value for key, value in settings.items()}
        role = name.partition("-")[0]
        if role == "api":
            environment["QUARTERDECK_PORT"] = str(self.ports[int(name.partition("-")[2])])
        if faults is not None:
            environment |= {FAULTS: faults, ALLOWED: CONSENT}
        log = self.directory / f"{name}.log"
        before = self.roles.pop(name, None)
        if before is not None:
            assert before.dead, f"{name} runs"
            before.close()
        assert self._zygote is not None
        assert self._zygote.stdin is not None
        self._zygote.stdin.write(json.dumps({"role": role, "log": str(log), "environment": environment}) + "\n")
        self._zygote.stdin.flush()
        self.roles[name] = Process(int(self._said()), log)
        return self.roles[name]

    def kill(self, name: str) -> None:
        """Kill a role."""
        self.roles[name].kill()

    def restart(self, name: str, faults: str | None = None, **settings: str) -> Process:
        """Kill a role if it lives, and start it."""
        self.kill(name)
        return self.spawn(name, faults, **settings)

    def revive(self) -> list[str]:
        """Start again, as a supervisor does, the roles that gave up because the database was away when they began."""
        dead = [name for name, role in self.roles.items() if role.dead]
        for name in dead:
            assert "PostgreSQL" in self.tail(name)[-500:], f"{name} ended for another reason:\n{self.tail(name)}"
            self.spawn(name)
        return dead

    async def ready(self, name: str) -> None:
        """Wait until an API answers that it is ready."""
        connection = Connection(self.ports[int(name.partition("-")[2])])
        message = request("GET", "/readyz", token="none")
        end = time.monotonic() + READY_S
        try:
            while time.monotonic() < end:
                assert not self.roles[name].dead, f"{name} ended:\n{self.tail(name)}"
                with contextlib.suppress(Lost):
                    if (await connection.send(message)).status == 200:
                        return
                await asyncio.sleep(_POLL_S)
        finally:
            connection.close()
        raise AssertionError(f"{name} is not ready in {READY_S:.0f} s:\n{self.tail(name)}")

    async def restart_postgres(self) -> None:
        """Kill every process of PostgreSQL at once, and start it again."""
        self.postgres.kill()
        await asyncio.to_thread(self.postgres.start)

    async def restart_temporal(self) -> None:
        """Kill the Temporal server, and start it again."""
        assert self.temporal is not None
        self.temporal.kill()
        await asyncio.to_thread(self.temporal.start)

    def backends(self) -> list[int]:
        """Return the process ids of PostgreSQL's own processes."""
        return children(self.postgres)

    def tail(self, name: str) -> str:
        """Return the end of a role's log."""
        log = self.directory / f"{name}.log"
        return log.read_text(errors="replace")[-3_000:] if log.exists() else ""

    @contextlib.asynccontextmanager
    async def store(self, size: int = 3) -> AsyncIterator[PostgresStore]:
        """Open the log from here, past every role."""
        async with PostgresStore.open(self.url, size=size) as store:
            yield store

    def ledger(self, store: PostgresStore) -> EventLedger:
        """Return the ledger over an open store, with the house's keys."""
        return EventLedger(store, FileKeyStore(self.directory / "data" / "keys" / "subjects"))

    def _said(self) -> str:
        assert self._zygote is not None
        assert self._zygote.stdout is not None
        said = self._zygote.stdout.readline().strip()
        assert said, "the zygote ended"
        return said

    async def _ready(self) -> None:
        for name in self.names:
            if name.startswith("api"):
                await self.ready(name)

    async def _furnish(self) -> None:
        await migrate(self.postgres.url())
        async with self.store() as store:
            furnished = House(cast(Any, SimpleNamespace(ledger=self.ledger(store))), cast(Any, None))
            await furnished.begin(TENANT)
            for name, kind, role in PEOPLE:
                await furnished.add(TENANT, name, role, kind=kind)  # type: ignore[arg-type]
            self.keys, self.ids = furnished.keys, furnished.ids


def children(postgres: EmbeddedPostgres) -> list[int]:
    """Return the process ids of a running server's own processes."""
    assert postgres.pid is not None
    return [child.pid for child in psutil.Process(postgres.pid).children()]


@contextlib.contextmanager
def fault_house(directory: Path, **options: Any) -> Iterator[FaultHouse]:
    """Run a house for as long as a block lasts."""
    house = FaultHouse(directory, **options)
    try:
        house.start()
        yield house
    finally:
        house.stop()
