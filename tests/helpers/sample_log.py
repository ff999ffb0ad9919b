"""A realistic log for the tests of proofs and exports, made from a seed, without the database."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from quarterdeck_domain import canonical, merkle
from quarterdeck_ledger.bundle import ProvenEntry, write_full, write_proof
from quarterdeck_ledger.notes import COSIGNATURE_V1, Ed25519Signer, sign_checkpoint

START = datetime(2026, 11, 21, 5, 35, 13, 123456, tzinfo=UTC)
REASONS = (
    "refund of order 4711",
    "naïve retry – 3rd attempt",
    'says "urgent"',
    "折り返し連絡\n二行目",
    "tab\there",
    "\x7f\u2028😀",
)


def signer(name: str, seed: int = 1, type: int = 1) -> Ed25519Signer:
    """Return a signer whose key depends on the seed alone."""
    return Ed25519Signer(name, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32), type)


def witness(name: str = "witness.example/w1", seed: int = 9) -> Ed25519Signer:
    """Return the signer of a witness."""
    return signer(name, seed, COSIGNATURE_V1)


def event(position: int, tenant: str = "acme", seed: object = 0) -> dict[str, Any]:
    """Return the event at a position; another seed gives another history."""
    rng = random.Random(f"{seed}/{tenant}/{position}")
    agent, approval = f"prn_{rng.randrange(5):026d}", f"apr_{rng.randrange(50):026d}"
    kind, data = rng.choice(
        (
            ("approval.requested", {"approval_id": approval, "arguments": {"amount": "500.00", "to": "x@y.example"}}),
            ("approval.decided", {"approval_id": approval, "outcome": "approved", "reason": rng.choice(REASONS)}),
            ("policy.decided", {"determining": [f"p{rng.randrange(9)}"], "outcome": "deny", "position": position - 1}),
            ("budget.reserved", {"amount": f"{rng.random():.4f}", "chunks": [[], {}, None, True, -rng.randrange(9)]}),
        )
    )
    return {
        "actor": {"kind": "agent", "on_behalf_of": ["prn_user"] * rng.randrange(2), "principal": agent},
        "cause": {"command_id": str(uuid.UUID(int=rng.getrandbits(128)))} if rng.random() < 0.9 else {},
        "data": data,
        "id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        "position": position,
        "recorded_at": moment(START + timedelta(milliseconds=(position // 2) * 1500)),
        "tags": sorted({f"agent:{agent}", f"approval:{approval}", f"tenant:{tenant}"}),
        "tenant": tenant,
        "type": kind,
        "version": 1,
    }


def moment(value: datetime) -> str:
    """Return a time as entries write it."""
    return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Log:
    """A log in memory that can sign checkpoints and write exports."""

    def __init__(self, size: int, tenant: str = "acme", seed: object = 0, key_seed: int = 1) -> None:
        self.tenant = tenant
        self.origin = f"log.example/{tenant}"
        self.signer = signer(self.origin, key_seed)
        self.vkey = str(self.signer.vkey)
        self.set_entries(canonical.encode(event(position, tenant, seed)) for position in range(1, size + 1))

    def set_entries(self, entries: Iterable[bytes]) -> None:
        """Replace the whole history."""
        self.entries = list(entries)
        self.leaves = [merkle.leaf_hash(entry) for entry in self.entries]

    @property
    def size(self) -> int:
        """How many entries there are."""
        return len(self.entries)

    def fetch(self, level: int, index: int) -> bytes:
        """Return the hash of a perfect subtree."""
        return merkle.subtree_root(self.leaves[index << level : (index + 1) << level])

    def root(self, size: int) -> bytes:
        """Return the root over the first entries."""
        return merkle.root(merkle.append_leaves(b"", 0, self.leaves[:size]), size)

    def checkpoint(self, size: int | None = None, signers: Sequence[Ed25519Signer] | None = None) -> bytes:
        """Return the signed checkpoint at a size."""
        at = self.size if size is None else size
        return sign_checkpoint(self.origin, at, self.root(at), signers or [self.signer])

    def full(
        self, size: int | None = None, note: bytes | None = None, keys: Sequence[Ed25519Signer] = (), batch: int = 7
    ) -> bytes:
        """Return a full export."""
        at = self.size if size is None else size
        vkeys = [key.vkey for key in keys or [self.signer]]
        batches = (self.entries[start : min(start + batch, at)] for start in range(0, at, batch))
        return collect(write_full(self.tenant, note or self.checkpoint(at), vkeys, stream(batches)))

    def proof(self, positions: Sequence[int], held: Sequence[int] = (), size: int | None = None) -> bytes:
        """Return a proof export of some positions, with consistency proofs from earlier sizes."""
        at = self.size if size is None else size
        proven = (
            ProvenEntry(
                position,
                self.entries[position - 1],
                tuple(merkle.inclusion_proof(position - 1, at, self.fetch)),
            )
            for position in positions
        )
        consistency = [(old, self.root(old), merkle.consistency_proof(old, at, self.fetch)) for old in held]
        note = self.checkpoint(at)
        return collect(write_proof(self.tenant, note, [self.signer.vkey], stream(proven), len(positions), consistency))


async def stream(items: Iterable[Any]) -> AsyncIterator[Any]:
    """Yield the items as an asynchronous source would."""
    for item in items:
        yield item


def collect(chunks: AsyncIterator[bytes]) -> bytes:
    """Return everything that a writer yields."""

    async def gather() -> bytes:
        return b"".join([chunk async for chunk in chunks])

    with asyncio.Runner() as runner:
        return runner.run(gather())
