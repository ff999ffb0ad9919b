"""One server a data directory: a lock that lives exactly as long as the server's last process.

The lock (flock) belongs to an open file. The server inherits that file and we close ours, so the kernel drops the
lock when the last process of the server is gone, however it ended, and never before. No process list is read, no
stale file has to be told from a live one, and it holds between containers that share a directory.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path
from typing import Final

from quarterdeck_embedded.errors import AlreadyRunning

PATIENCE_S: Final = 20.0
_DYING_S: Final = 0.3  # a process that was just killed may look alive for a moment
_POLL_S: Final = 0.01


def take(path: Path, what: str, patience_s: float = PATIENCE_S) -> int:
    """Take the lock and return its file, for the server to inherit and the caller to close.

    A server that was killed or whose owner is gone is on its way down: that is waited for. Beside one that lives
    with its owner, the start is refused without delay.

    Raises:
        AlreadyRunning: somebody serves `what`.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    begun = time.monotonic()
    try:
        while not _try(file):
            owner, server = _holder(file)
            lives = owner and is_alive(owner) and (not server or is_alive(server))
            if time.monotonic() - begun > (_DYING_S if lives else patience_s):
                raise AlreadyRunning(
                    f"process {server or owner or 'unknown'} already serves {what}: stop it, or choose another path"
                )
            time.sleep(_POLL_S)
        sign(file)
    except BaseException:
        os.close(file)
        raise
    return file


def sign(file: int, server: int | None = None) -> None:
    """Write into the lock who holds it: our process and, once it runs, the server's."""
    words = f"{os.getpid()} {server or ''}\n".encode()
    os.ftruncate(file, 0)
    os.pwrite(file, words, 0)


def wait_released(path: Path, patience_s: float = PATIENCE_S) -> bool:
    """Return whether the server's last process was gone in time."""
    end = time.monotonic() + patience_s
    with path.open("rb") as file:
        while not _try(file.fileno()):
            if time.monotonic() > end:
                return False
            time.sleep(_POLL_S)
    return True


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that ended and was not yet waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with contextlib.suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in {"Z", "X"}
    return True


def _try(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(file: int) -> tuple[int, int]:
    words = os.pread(file, 64, 0).decode("ascii", "replace").split()
    numbers = [int(word) for word in words if word.isdigit()]
    return (numbers[0] if numbers else 0, numbers[1] if len(numbers) > 1 else 0)
