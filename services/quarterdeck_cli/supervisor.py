"""Keeps the roles running as child processes: starts them, starts again what dies, stops them in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from quarterdeck_embedded import process

ROLES: Final = ("api", "worker", "projector")
_BACKOFF_S: Final = (0.0, 0.2, 1.0, 5.0)
_STEADY_S: Final = 30.0


class Supervisor:
    """The roles of one machine. `check` must be called now and then; it restarts what has died."""

    def __init__(self, environment: Mapping[str, str], logs: Path) -> None:
        """`environment` configures the roles; each logs to `<logs>/<role>.log`."""
        self._environment = {**os.environ, **environment}
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._deaths: dict[str, list[float]] = {role: [] for role in ROLES}
        self._due: dict[str, float] = {}

    def start(self) -> None:
        """Start every role."""
        self._logs.mkdir(parents=True, exist_ok=True)
        for role in ROLES:
            self._start(role)

    def check(self) -> list[str]:
        """Start again the roles that died, sooner or later as they die seldom or often; return those found dead."""
        now = time.monotonic()
        dead = [role for role, child in self._running.items() if child.poll() is not None]
        for role in dead:
            del self._running[role]
            self._deaths[role] = [moment for moment in self._deaths[role] if now - moment < _STEADY_S] + [now]
            self._due[role] = now + _BACKOFF_S[min(len(self._deaths[role]), len(_BACKOFF_S)) - 1]
        for role, moment in list(self._due.items()):
            if moment <= now:
                del self._due[role]
                self._start(role)
        return dead

    def stop(self) -> None:
        """Ask every role to end, then make it: first what takes requests, last what follows the log."""
        for role in ROLES:
            if role in self._running:
                self._running[role].send_signal(signal.SIGTERM)
        for role in ROLES:
            if role in self._running:
                process.stop(self._running.pop(role))

    def pids(self) -> dict[str, int]:
        """Return the process id of each running role."""
        return {role: child.pid for role, child in self._running.items()}

    def tail(self, role: str) -> str:
        """Return the end of a role's log."""
        return process.tail(self._logs / f"{role}.log")

    def _start(self, role: str) -> None:
        with (self._logs / f"{role}.log").open("ab") as output:
            self._running[role] = subprocess.Popen(
                [
                    *process.prefix(unprivileged=False, stop="TERM"),
                    sys.executable,
                    "-P",  # what lies in the directory where somebody typed `up` is not what is imported
                    "-m",
                    "quarterdeck_cli",
                    "serve",
                    role,
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
