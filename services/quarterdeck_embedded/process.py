"""Child processes that do not outlive us, and, for root, a way down to somebody PostgreSQL accepts.

Each child has a guard: a shell that waits on a pipe of ours and signals the child when the pipe closes, that is,
when we are gone, kill -9 included. The kernel's own parent-death signal is not used for them: it exists on Linux
alone, and it fires when the *thread* that made the child ends, so a server started from a pool's thread would be
stopped under its users.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from quarterdeck_embedded.errors import MissingPart

NOBODY: Final = 65534
_CAPABILITIES: Final = "+dac_override,+chown,+fowner"
# First line: whom to watch. A second line lets it go; the end of the pipe instead of one means that we are gone.
_GUARD: Final = 'read -r pid || exit 0; read -r word || kill -s "$1" "$pid"'
_LARGEST_LOG: Final = 16 * 2**20


class Child:
    """A running child and its guard."""

    def __init__(self, process: subprocess.Popen[bytes], guard: subprocess.Popen[bytes]) -> None:
        """Made by `spawn`; `guard` already watches `process`."""
        self._process = process
        self._guard: subprocess.Popen[bytes] | None = guard

    @property
    def pid(self) -> int:
        """The child's process id, also after its end."""
        return self._process.pid

    def poll(self) -> int | None:
        """Return the exit status if the child has ended."""
        status = self._process.poll()
        if status is not None:
            self._dismiss()
        return status

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for the end and return the exit status.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        status = self._process.wait(timeout_s)
        self._dismiss()
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the child has ended."""
        self._process.send_signal(number)

    def stop(self, *signals: tuple[int, float]) -> int:
        """Send each signal and give it its seconds, until the child ends; then kill it."""
        for number, patience_s in signals:
            self.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.wait(patience_s)
        self.send_signal(signal.SIGKILL)
        return self.wait()

    def _dismiss(self) -> None:
        guard, self._guard = self._guard, None
        if guard is not None:
            with contextlib.suppress(BrokenPipeError):
                guard.communicate(b"gone\n")


def spawn(
    command: Sequence[str],
    log: Path,
    *,
    unprivileged: bool = False,
    stop: str = "TERM",
    environment: Mapping[str, str] | None = None,
    keep: Sequence[int] = (),
) -> Child:
    """Start a command with its output in a log file; it receives the signal `stop` when we are gone.

    `environment` replaces ours; `keep` are open files that the child inherits; what it writes is private to the user.
    Any thread may call this.
    """
    guard = subprocess.Popen(
        ["/bin/sh", "-c", _GUARD, "guard", stop],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        bufsize=0,
    )
    assert guard.stdin is not None  # noqa: S101
    try:
        with _opened(log) as output:
            child = subprocess.Popen(
                [*prefix(unprivileged=unprivileged), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C in the terminal is for us; we stop the children in order
                env=_clean(os.environ) if environment is None else environment,
                pass_fds=keep,
                umask=0o077,
            )
    except BaseException:
        guard.communicate()
        raise
    with contextlib.suppress(BrokenPipeError):
        guard.stdin.write(f"{child.pid}\n".encode())
    return Child(child, guard)


def run(
    command: Sequence[str], *, unprivileged: bool = False, keep: Sequence[int] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return what it said."""
    return subprocess.run(
        [*prefix(unprivileged=unprivileged), *command],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        stdin=subprocess.DEVNULL,
        env=_clean(os.environ),
        pass_fds=keep,
    )


def prefix(*, unprivileged: bool, stop: str | None = None) -> list[str]:
    """Return the words before a command that drop root's privileges and, with `stop`, tie it to our thread's life.

    As root and `unprivileged`, the command runs as nobody who may still enter private directories.

    Raises:
        MissingPart: we are root, the command may not be, and `setpriv` is not there to drop to somebody else.
    """
    setpriv = shutil.which("setpriv")
    as_root = unprivileged and os.geteuid() == 0
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
        # Or access(2), by which PostgreSQL looks for its own programs, would not know of the capabilities.
        words += ["--securebits=+no_setuid_fixup"]
    if stop is not None:
        words += ["--pdeathsig", stop]
    return [*words, "--"] if len(words) > 1 else []


def check_privileges() -> None:
    """Make sure that an unprivileged command can be run at all.

    Raises:
        MissingPart: we are root without the right to become somebody else, as in a container without capabilities.
    """
    if os.geteuid() != 0:
        return
    tried = run(["true"], unprivileged=True)
    if tried.returncode != 0:
        raise MissingPart(
            f"PostgreSQL refuses to run as root and this root may not become another user ({tried.stderr.strip()}): "
            "run as another user, allow the capabilities setuid, setgid, setpcap, chown, dac_override and fowner, "
            "or give --database-url"
        )


def stop(process: subprocess.Popen[bytes], first: int = signal.SIGTERM, patience_s: float = 10) -> None:
    """Ask a process to end, then make it."""
    process.send_signal(first)
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody uses at this moment."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return different TCP ports of the loopback interface that nobody uses at this moment."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def tail(log: Path, lines: int = 15) -> str:
    """Return the end of a log file."""
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 65_536))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])


@contextlib.contextmanager
def _opened(log: Path) -> Iterator[int]:
    # Private: a server's log may quote statements. One older log is kept, so that no disk is filled over the years.
    if log.is_file() and log.stat().st_size > _LARGEST_LOG:
        log.replace(log.with_name(f"{log.name}.1"))
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        yield file
    finally:
        os.close(file)


def _clean(environment: Mapping[str, str]) -> Mapping[str, str]:
    # Nothing of the caller's database settings may reach the embedded server, and its messages have one language.
    return {name: value for name, value in environment.items() if not name.startswith("PG")} | {"LC_ALL": "C"}
