"""A child process that lives and dies with us.

`setpriv --pdeathsig` (util-linux) has the kernel end the child when its parent is gone, even after kill -9, and,
for root, drops to an unprivileged user that may still read our private directories: PostgreSQL refuses to be root.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from quarterdeck_embedded.errors import MissingPart

NOBODY: Final = 65534
_CAPABILITIES: Final = "+dac_override,+chown,+fowner"


def spawn(
    command: Sequence[str], log: Path, *, unprivileged: bool = False, stop: str = "TERM"
) -> subprocess.Popen[bytes]:
    """Start a command, its output in a log file; it receives the signal `stop` when we die.

    Call it on a thread that lives as long as the child should: the kernel's signal is for the thread's end.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            [*prefix(unprivileged=unprivileged, stop=stop), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C in the terminal is for us; we stop the children in order
            env=_environment(),
        )


def run(command: Sequence[str], *, unprivileged: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return what it said."""
    return subprocess.run(
        [*prefix(unprivileged=unprivileged), *command],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env=_environment(),
    )


def prefix(*, unprivileged: bool, stop: str | None = None) -> list[str]:
    """Return the words before a command that drop privileges and tie it to our life, as far as this system can.

    Raises:
        MissingPart: we are root, the command may not be, and `setpriv` is not there to drop to somebody else.
    """
    setpriv = shutil.which("setpriv")
    as_root = unprivileged and os.name == "posix" and os.geteuid() == 0
    if setpriv is None:
        if as_root:
            raise MissingPart(
                "PostgreSQL refuses to run as root and `setpriv` (util-linux) is not installed: run as another user, "
                "or give --database-url"
            )
        return []
    words = [setpriv]
    if as_root:
        words += [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        words += [f"--inh-caps={_CAPABILITIES}", f"--ambient-caps={_CAPABILITIES}"]
    if stop is not None:
        words += ["--pdeathsig", stop]
    return [*words, "--"] if len(words) > 1 else []


def stop(process: subprocess.Popen[bytes], first: int = signal.SIGTERM, patience_s: float = 10) -> None:
    """Ask a process to end, then make it."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(first)
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def tail(log: Path, lines: int = 15) -> str:
    """Return the end of a log file."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""


def _environment() -> Mapping[str, str]:
    # Nothing of the caller's database settings may reach the embedded server.
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}
