"""The keys of data subjects, kept apart from the log: destroying one erases a person.

`FileKeyStore` serves one machine. A key management service is another class with the same four methods.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from pathlib import Path
from typing import Protocol

import msgspec

from quarterdeck_domain.ids import check_tenant


class SubjectKey(msgspec.Struct, frozen=True):
    """A data subject's key. `id` tells it from an earlier one that was destroyed."""

    id: str
    secret: bytes

    def __repr__(self) -> str:
        return f"SubjectKey(id={self.id!r})"


class KeyStore(Protocol):
    """Where the keys of data subjects live."""

    async def get(self, tenant: str, subject: str) -> SubjectKey | None:
        """Return the key of a data subject, if there is one."""
        ...

    async def get_or_create(self, tenant: str, subject: str) -> SubjectKey:
        """Return the key of a data subject, durably made if there was none."""
        ...

    async def destroy(self, tenant: str, subject: str) -> bool:
        """Destroy the key of a data subject; tell whether there was one."""
        ...

    async def destroy_all(self, tenant: str) -> int:
        """Destroy the keys of all data subjects of a tenant; return how many there were."""
        ...


class MemoryKeyStore:
    """Keys in this process's memory, for tests and the simulator."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str, str], SubjectKey] = {}

    async def get(self, tenant: str, subject: str) -> SubjectKey | None:
        """Return the key of a data subject."""
        return self._keys.get((tenant, subject))

    async def get_or_create(self, tenant: str, subject: str) -> SubjectKey:
        """Return the key of a data subject, made if there was none."""
        return self._keys.setdefault((tenant, subject), _new_key())

    async def destroy(self, tenant: str, subject: str) -> bool:
        """Destroy the key of a data subject."""
        return self._keys.pop((tenant, subject), None) is not None

    async def destroy_all(self, tenant: str) -> int:
        """Destroy the keys of all data subjects of a tenant."""
        subjects = [subject for owner, subject in self._keys if owner == tenant]
        return sum([await self.destroy(tenant, subject) for subject in subjects])


class FileKeyStore:
    """A file per data subject under one private directory, named by the hash of the subject.

    The file itself is looked at on every use, so that a key destroyed by another process is gone here too.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._cache: dict[Path, tuple[int, SubjectKey]] = {}

    async def get(self, tenant: str, subject: str) -> SubjectKey | None:
        """Return the key of a data subject."""
        return self._load(self._path(tenant, subject))

    async def get_or_create(self, tenant: str, subject: str) -> SubjectKey:
        """Return the key of a data subject, written and synced if there was none."""
        path = self._path(tenant, subject)
        found = self._load(path)
        return found if found is not None else await asyncio.to_thread(self._create, path)

    async def destroy(self, tenant: str, subject: str) -> bool:
        """Overwrite and remove the key of a data subject."""
        path = self._path(tenant, subject)
        self._cache.pop(path, None)
        return await asyncio.to_thread(_shred, path)

    async def destroy_all(self, tenant: str) -> int:
        """Overwrite and remove the keys of all data subjects of a tenant."""
        directory = self._directory / check_tenant(tenant)
        self._cache.clear()
        paths = [path for path in directory.iterdir() if path.is_file()] if directory.is_dir() else []
        return sum([await asyncio.to_thread(_shred, path) for path in paths])

    def _path(self, tenant: str, subject: str) -> Path:
        return self._directory / check_tenant(tenant) / hashlib.sha256(subject.encode()).hexdigest()

    def _load(self, path: Path) -> SubjectKey | None:
        try:
            inode = path.stat().st_ino
        except FileNotFoundError:
            self._cache.pop(path, None)
            return None
        cached = self._cache.get(path)
        if cached is not None and cached[0] == inode:
            return cached[1]
        name, _, secret = path.read_text().partition(" ")
        key = SubjectKey(name, bytes.fromhex(secret))
        self._cache[path] = (inode, key)
        return key

    def _create(self, path: Path) -> SubjectKey:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = _new_key()
        draft = path.with_suffix(f".{secrets.token_hex(8)}")
        with open(draft, "x", opener=_private) as file:
            file.write(f"{key.id} {key.secret.hex()}")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # fails if another process was first: then its key is the one
        except FileExistsError:
            found = self._load(path)
            return found or self._create(path)
        finally:
            draft.unlink()
            _sync_directory(path.parent)
        return key


def _new_key() -> SubjectKey:
    return SubjectKey(secrets.token_hex(4), secrets.token_bytes(32))


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


def _shred(path: Path) -> bool:
    try:
        with open(path, "r+b") as file:
            file.write(b"0" * path.stat().st_size)
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
    except FileNotFoundError:
        return False
    _sync_directory(path.parent)
    return True


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
