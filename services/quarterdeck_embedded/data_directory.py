"""A PostgreSQL data directory on disk: is it ours to serve, and how it is made. No server runs yet."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from quarterdeck_embedded import process
from quarterdeck_embedded.errors import AlreadyRunning, StartFailed, WrongDirectory
from quarterdeck_embedded.locks import is_alive

MAJOR: Final = "18"


def prepare(directory: Path, superuser: str, binary: Callable[[str], Path], lock: int) -> None:
    """Make the directory if it is missing or empty, else check that it can be served.

    It appears whole or not at all: a crash in the middle leaves only a neighbour that the next start removes.
    `lock` is held by the one who calls, and by what it starts.

    Raises:
        WrongDirectory: it holds something else, another version, or belongs to another user.
        AlreadyRunning: a server that took no lock serves it.
        StartFailed: `initdb` failed.
    """
    check(directory)
    if _is_empty(directory):
        _make(directory, superuser, binary, lock)
    else:
        _drop_stale_pid(directory)


def check(directory: Path) -> None:
    """Tell whether this directory can be served by this version and this user, or made. Changes nothing.

    Raises:
        WrongDirectory: it cannot; the message says why.
    """
    try:
        if not _is_empty(directory):
            _check_contents(directory)
        elif os.path.ismount(directory):
            raise WrongDirectory(f"{directory} is a mount point: choose a directory below it")
    except PermissionError:
        raise WrongDirectory(
            f"user id {os.geteuid()} may not enter {directory}: run as the user who made it, or choose another path"
        ) from None


def _check_contents(directory: Path) -> None:
    version = directory / "PG_VERSION"
    if not version.is_file():
        raise WrongDirectory(f"{directory} is not empty and no PostgreSQL data directory: choose another path")
    found = version.read_text(errors="replace").strip()
    if not found.isdigit():
        raise WrongDirectory(
            f"{directory} is damaged, its PG_VERSION is no version: restore a backup into a new directory"
        )
    if found != MAJOR:
        raise WrongDirectory(
            f"{directory} is of PostgreSQL {found}, this is {MAJOR}: restore a backup into a new directory"
        )
    owner = directory.stat().st_uid
    if owner != _server_uid():
        raise WrongDirectory(
            f"{directory} belongs to user id {owner} and PostgreSQL would run as {_server_uid()}: "
            f"run as the user who made it, or choose another path"
        )


def private_directory(path: Path) -> None:
    """Make a directory that only we may enter, or make sure that it is one.

    Raises:
        WrongDirectory: somebody else made it, or others may enter.
    """
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()  # not stat: a link could lead to a place of somebody else's choosing
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise WrongDirectory(f"{path} is not a directory of ours alone (mode 0700): remove it, or choose another path")


def _make(directory: Path, superuser: str, binary: Callable[[str], Path], lock: int) -> None:
    fresh = directory.with_name(f"{directory.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(fresh, process.NOBODY, process.NOBODY)
    words = [str(binary("initdb")), "-D", str(fresh), "-U", superuser, "-E", "UTF8", "--no-locale"]
    # Access is controlled by the socket's directory: whoever may enter it is the superuser.
    words += ["--auth=trust", "--data-checksums"]
    if sys.platform == "linux":
        words.append("--sync-method=syncfs")  # one call for the file system instead of one for each of 1,000 files
    done = process.run(words, unprivileged=True, keep=(lock,))
    if done.returncode != 0:
        raise StartFailed(f"initdb failed: {(done.stderr or done.stdout).strip()}")
    fresh.rename(directory)
    _sync(directory.parent)


def _drop_stale_pid(directory: Path) -> None:
    # We hold the lock, so no server of ours lives; the file is from a crash. Its number may since have been given to
    # a process that has nothing to do with us, which PostgreSQL itself could not tell from a running server.
    file = directory / "postmaster.pid"
    if not file.exists():
        return
    first = file.read_text(errors="replace").partition("\n")[0].strip()
    if first.isdigit() and is_alive(int(first)) and _works_in(int(first), directory):
        raise AlreadyRunning(f"process {first} already serves {directory}: stop it, or choose another path")
    file.unlink()


def _works_in(pid: int, directory: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").samefile(directory)
    except PermissionError:
        return False  # another user's process; the server's would be ours
    except OSError:
        return not Path("/proc/self/cwd").exists()  # where nothing can be known, believe the file


def _server_uid() -> int:
    return os.geteuid() or process.NOBODY


def _is_empty(directory: Path) -> bool:
    try:
        return not any(directory.iterdir())
    except FileNotFoundError:
        return True
    except NotADirectoryError:
        raise WrongDirectory(f"{directory} is not a directory: choose another path") from None


def _sync(directory: Path) -> None:
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
