"""One machine's installation: PostgreSQL, Temporal and the roles over one data directory, run as one."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import http.client
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from quarterdeck_cli import address as addresses
from quarterdeck_cli.supervisor import ROLES, Supervisor
from quarterdeck_embedded import (
    AlreadyRunning,
    EmbeddedError,
    EmbeddedPostgres,
    EmbeddedTemporal,
    StartFailed,
    WrongDirectory,
    free_port,
)

if TYPE_CHECKING:
    from quarterdeck_runtime.settings import Settings

T = TypeVar("T")
READY_S: Final = 60.0
_POLL_S: Final = 0.02
Said = Callable[[str, float], None]
"""Called with what is ready and the seconds it took."""


@dataclass
class Running:
    """What runs, and where. `sign_in` is the administrator's one-time token, at the first start only."""

    base_url: str
    temporal_address: str
    supervisor: Supervisor
    postgres: EmbeddedPostgres | None
    temporal: EmbeddedTemporal | None
    sign_in: str | None

    def restart_dead(self) -> list[str]:
        """Start again what has died; return the names of those found dead.

        Raises:
            StartFailed: PostgreSQL or Temporal does not start any more.
        """
        dead = []
        for name, part in (("postgres", self.postgres), ("temporal", self.temporal)):
            if part is not None and part.pid is None:
                part.start()
                dead.append(name)
        return [*dead, *self.supervisor.check()]


@contextlib.contextmanager
def installation(settings: Settings, said: Said = lambda _what, _seconds: None) -> Iterator[Running]:
    """Run every part that the settings do not name as external; stop all at the end, in order.

    Raises:
        AlreadyRunning: another process has this data directory, or something has the port.
        WrongDirectory: the data directory cannot be used, or made.
        StartFailed: a part did not start; the message has the end of its log.
        EmbeddedError: there is no listening at the host and port.
    """
    data_dir = settings.data_dir.expanduser().absolute()
    check_data_dir(data_dir)
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise WrongDirectory(f"{data_dir} cannot be made ({error.strerror}): choose another --data-dir") from None
    with contextlib.ExitStack() as stack:
        stack.enter_context(alone(data_dir))
        _check_port(settings.host, settings.port)
        postgres = None if settings.database_url else EmbeddedPostgres(data_dir / "postgres")
        temporal = None if settings.temporal_address else EmbeddedTemporal(data_dir / "temporal.db", port=free_port())
        url = _address(settings.database_url) or _of(postgres).address("quarterdeck_app")
        address = settings.temporal_address or _of(temporal).address
        # The roles start first: they spend a while importing, and wait for what the others make meanwhile.
        supervisor = Supervisor(_environment(settings, data_dir, url, address), data_dir / "logs")
        for part in (temporal, postgres):
            if part is not None:
                stack.callback(part.stop)
        stack.callback(supervisor.stop)
        begun = time.monotonic()
        supervisor.start()
        _start_parts(postgres, temporal, said)
        admin_url = _address(settings.migrate_url) or _address(settings.database_url) or _of(postgres).url()
        sign_in = asyncio.run(prepare(settings, admin_url, url))
        said("schema and first tenant" if sign_in else "schema", time.monotonic() - begun)
        _wait_until_ready(settings.host, settings.port, supervisor)
        said(", ".join(ROLES), time.monotonic() - begun)
        addresses.write(data_dir, addresses.Address(settings.base_url, address))
        yield Running(settings.base_url, address, supervisor, postgres, temporal, sign_in)


def _start_parts(postgres: EmbeddedPostgres | None, temporal: EmbeddedTemporal | None, said: Said) -> None:
    # On this thread, which lives as long as they should: a child's death signal is tied to the thread that made it.
    begun = time.monotonic()
    if temporal is not None:
        temporal.begin()
    if postgres is not None:
        postgres.start()
        said("postgres (embedded)", time.monotonic() - begun)
    if temporal is not None:
        temporal.wait_until_ready()
        said("temporal (embedded)", time.monotonic() - begun)


async def prepare(settings: Settings, admin_url: str, url: str) -> str | None:
    """Bring the database to the current schema and open the default tenant; return its sign-in token if it is new."""
    from quarterdeck_ledger.keys import FileKeyStore
    from quarterdeck_ledger.ledger import EventLedger
    from quarterdeck_ledger.postgres import PostgresStore
    from quarterdeck_ledger.server import check_server, is_current

    await check_server(admin_url)
    if not await is_current(admin_url):
        from quarterdeck_ledger.migrate import migrate

        await migrate(admin_url)
    async with PostgresStore.open(url, size=1) as store:
        if (await store.head(settings.default_tenant)).position > 0:
            return None
        from quarterdeck_cli.first_start import open_tenant

        ledger = EventLedger(store, FileKeyStore(settings.keys / "subjects"))
        return await open_tenant(ledger, settings.default_tenant)


def _environment(settings: Settings, data_dir: Path, url: str, temporal_address: str) -> dict[str, str]:
    return {
        "QUARTERDECK_DATA_DIR": str(data_dir),
        "QUARTERDECK_DATABASE_URL": url,
        "QUARTERDECK_TEMPORAL_ADDRESS": temporal_address,
        "QUARTERDECK_HOST": settings.host,
        "QUARTERDECK_PORT": str(settings.port),
        # The roles are given an address of the embedded database: they cannot tell that it is embedded.
        "QUARTERDECK_GRAPHQL_INTROSPECTION": str(settings.introspection).lower(),
    }


def check_data_dir(data_dir: Path) -> None:
    """Tell whether a data directory can be written in, or made where there is none. Changes nothing.

    Raises:
        WrongDirectory: it cannot; the message says why, and what to do.
    """
    place = next(path for path in (data_dir, *data_dir.parents) if os.path.lexists(path))
    if not place.is_dir():
        raise WrongDirectory(f"{data_dir} cannot be made, a file is in the way: name a directory with --data-dir")
    if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
        raise WrongDirectory(
            f"user id {os.geteuid()} may not write in {place}: run as its owner, or choose another --data-dir"
        )


@contextlib.contextmanager
def alone(data_dir: Path) -> Iterator[None]:
    """Keep every other `quarterdeck` off a data directory while the block runs.

    Raises:
        AlreadyRunning: one runs there.
    """
    with (data_dir / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(
                f"another `quarterdeck` runs on {data_dir}: stop it, or choose another directory with --data-dir"
            ) from None
        yield


def _check_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            where = f"cannot listen on {host}:{port} ({error.strerror})"
            if error.errno == errno.EADDRINUSE:
                raise AlreadyRunning(f"{where}: choose another --port") from None
            if error.errno in (errno.EACCES, errno.EPERM):
                raise EmbeddedError(f"{where}: choose a --port from 1024 on") from None
            raise EmbeddedError(f"{where}: choose a --host that is an address of this machine") from None


def _wait_until_ready(host: str, port: int, supervisor: Supervisor) -> None:
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        dead = supervisor.check()
        if "api" in dead:
            raise StartFailed(f"the API ended while starting; its log ends:\n{supervisor.tail('api')}")
        if _answers(host, port):
            return
        time.sleep(_POLL_S)
    raise StartFailed(f"the API was not ready in {READY_S:.0f} s; its log ends:\n{supervisor.tail('api')}")


def _answers(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _address(secret: Any) -> str | None:
    return None if secret is None else str(secret.get_secret_value())


def _of(part: T | None) -> T:
    assert part is not None  # noqa: S101  external or embedded, one of the two is there
    return part
