"""A disk that can be full: a small one of its own where we may mount, else a quota on what PostgreSQL writes."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

import pytest
from faults_house import children

from quarterdeck_embedded import EmbeddedPostgres, process

_SIZE: Final = "220m"
_CHUNKS: Final = (1 << 20, 1 << 12)
_QUOTA: Final = 1 << 16


class Disk(Protocol):
    """Where PostgreSQL keeps its data."""

    data: Path

    def fill(self, postgres: EmbeddedPostgres) -> None:
        """Leave no room."""
        ...

    def free(self, postgres: EmbeddedPostgres) -> None:
        """Give the room back."""
        ...


class SmallDisk:
    """A file system of a few megabytes, filled by a file of ours."""

    def __init__(self, mount: Path) -> None:
        self.data = mount / "pg"
        self._ballast = mount / "ballast"

    def fill(self, _postgres: EmbeddedPostgres) -> None:
        """Leave no room."""
        with self._ballast.open("ab", buffering=0) as ballast:
            for size in _CHUNKS:
                chunk = bytes(size)
                with pytest.raises(OSError, match="No space left"):
                    all(ballast.write(chunk) for _ in itertools.count())

    def free(self, _postgres: EmbeddedPostgres) -> None:
        """Give the room back."""
        self._ballast.unlink()


class Quota:
    """No file of the server's may be written beyond its first pages: what a full disk is, seen by the server."""

    def __init__(self, directory: Path) -> None:
        self.data = directory / "pg"

    def fill(self, postgres: EmbeddedPostgres) -> None:
        """Leave no room."""
        self._limit(postgres, str(_QUOTA))

    def free(self, postgres: EmbeddedPostgres) -> None:
        """Give the room back."""
        self._limit(postgres, "unlimited")

    def _limit(self, postgres: EmbeddedPostgres, size: str) -> None:
        server = postgres.pid
        if server is None:
            return  # it ended; the next one has no quota
        # As whoever the server runs as: no other privilege is needed then.
        alike = process.prefix(unprivileged=True)
        for pid in (server, *children(postgres)):
            words = [*alike, "prlimit", "--pid", str(pid), f"--fsize={size}:"]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            assert done.returncode == 0 or "No such process" in done.stderr, done.stderr


@contextlib.contextmanager
def small_disk(directory: Path) -> Iterator[Disk]:
    """Return a small disk of its own if it can be mounted, else a quota."""
    mount = directory / "disk"
    mount.mkdir(mode=0o700)
    words = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=0700", "none", str(mount)]
    try:
        mounted = os.geteuid() == 0 and subprocess.run(words, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        yield Quota(directory)
        return
    try:
        yield SmallDisk(mount)
    finally:
        subprocess.run(["umount", "--lazy", str(mount)], check=True)
