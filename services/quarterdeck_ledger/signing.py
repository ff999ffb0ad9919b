"""Signing keys: Ed25519, one per tenant and purpose, each with an id; kept as private files apart from the log.

A new key is made durable before it signs anything. That one took another's place is recorded in the log as
`signing_key.rotated`, and so is until when the other one still verifies.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, Protocol

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from quarterdeck_domain.access.events import SigningKeyRotated
from quarterdeck_domain.ids import check_tenant
from quarterdeck_domain.slices import boundary
from quarterdeck_ledger.interface import Ledger

Purpose = Literal["checkpoint", "binding", "grant", "webhook"]
_SUFFIX: Final = ".ed25519"


class SigningKey(msgspec.Struct, frozen=True):
    """A private key and the id under which its public half is published."""

    id: str
    private: Ed25519PrivateKey

    @property
    def public(self) -> bytes:
        """The raw 32-byte public key."""
        return self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def __repr__(self) -> str:
        return f"SigningKey(id={self.id!r})"


class SigningKeys(Protocol):
    """Where signing keys live. A key management service is another class with these methods."""

    def current(self, tenant: str, purpose: Purpose) -> SigningKey:
        """Return the newest key for a purpose, durably made if there was none."""
        ...

    def all(self, tenant: str, purpose: Purpose) -> list[SigningKey]:
        """Return every key for a purpose, oldest first: those that still verify."""
        ...

    def rotate(self, tenant: str, purpose: Purpose) -> SigningKey:
        """Make a new current key for a purpose."""
        ...


class FileSigningKeys:
    """Keys as files `<directory>/<tenant>/<purpose>/<sequence>.ed25519`, readable by their owner only."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._cache: dict[Path, SigningKey] = {}

    def current(self, tenant: str, purpose: Purpose) -> SigningKey:
        """Return the newest key for a purpose, durably made if there was none."""
        found = self.all(tenant, purpose)
        return found[-1] if found else self._make(tenant, purpose, 1)

    def all(self, tenant: str, purpose: Purpose) -> list[SigningKey]:
        """Return every key for a purpose, oldest first."""
        folder = self._folder(tenant, purpose)
        return [self._load(path) for path in sorted(folder.glob(f"*{_SUFFIX}"))] if folder.is_dir() else []

    def rotate(self, tenant: str, purpose: Purpose) -> SigningKey:
        """Make a new current key for a purpose."""
        return self._make(tenant, purpose, len(self.all(tenant, purpose)) + 1)

    def _folder(self, tenant: str, purpose: Purpose) -> Path:
        return self._directory / check_tenant(tenant) / purpose

    def _load(self, path: Path) -> SigningKey:
        if path not in self._cache:
            private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(path.read_text()))
            self._cache[path] = SigningKey(_key_id(private), private)
        return self._cache[path]

    def _make(self, tenant: str, purpose: Purpose, sequence: int) -> SigningKey:
        folder = self._folder(tenant, purpose)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        private = Ed25519PrivateKey.generate()
        raw = private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        draft = folder / f".{secrets.token_hex(8)}"
        with open(draft, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(raw.hex())
            file.flush()
            os.fsync(file.fileno())
        # The name is the sequence alone, so that of two processes that make the first key one wins.
        path = folder / f"{sequence:06d}{_SUFFIX}"
        try:
            os.link(draft, path)
        except FileExistsError:
            return self._load(path)
        finally:
            draft.unlink()
        return self._load(path)


async def retirements(ledger: Ledger, tenant: str) -> dict[str, datetime]:
    """Return from when on which of a tenant's keys, by id, no longer verify. A key retires by being replaced."""
    events = await ledger.read(tenant, boundary(((SigningKeyRotated,), ())))
    rotated = [event.payload for event in events if isinstance(event.payload, SigningKeyRotated)]
    return {
        fact.previous_key_id: fact.retired_at
        for fact in rotated
        if fact.previous_key_id is not None and fact.retired_at is not None
    }


async def verifying(
    ledger: Ledger, signing: SigningKeys, tenant: str, purposes: Iterable[Purpose], now: datetime
) -> list[SigningKey]:
    """Return a tenant's keys for these purposes that verify now, each purpose's oldest first. It never makes one."""
    retired = await retirements(ledger, tenant)
    return [
        key
        for purpose in purposes
        for key in signing.all(tenant, purpose)
        if now < retired.get(key.id, datetime.max.replace(tzinfo=UTC))
    ]


def _key_id(private: Ed25519PrivateKey) -> str:
    raw = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]
