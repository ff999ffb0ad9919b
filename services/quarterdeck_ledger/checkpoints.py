"""Signed checkpoints of each tenant's log, and proofs from what the store keeps of the tree.

A checkpoint is signed when somebody asks for one that covers the log's end, and now and then for an idle log. Before
it signs, the log is checked to extend what was signed last, in the database and in a file kept apart from it: whoever
restores an older database, or alters this one, finds that the log signs nothing more.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

import asyncpg
import msgspec
import structlog

from quarterdeck_domain import merkle
from quarterdeck_domain.errors import InvalidInput, NotFound, QuarterdeckError
from quarterdeck_domain.ids import check_tenant
from quarterdeck_ledger import faults
from quarterdeck_ledger.errors import Unavailable
from quarterdeck_ledger.notes import (
    Checkpoint,
    Ed25519Signer,
    VerifierKey,
    parse_checkpoint,
    parse_note,
    sign_checkpoint,
    verify_checkpoint,
)
from quarterdeck_ledger.postgres import translated
from quarterdeck_ledger.signing import SigningKeys
from quarterdeck_ledger.store import Store, StoredHead
from quarterdeck_ledger.tiles import TILE_WIDTH

_ENTER: Final = "SELECT ledger.enter($1)"
_KEEP: Final = (
    "INSERT INTO ledger.checkpoints (tenant_id, size, root, note) VALUES ($1, $2, $3, $4) RETURNING signed_at"
)
_LATEST: Final = (
    "SELECT size, signed_at, root, note FROM ledger.checkpoints WHERE tenant_id = $1 "
    "ORDER BY size DESC, signed_at DESC LIMIT 1"
)

_log = structlog.get_logger(__name__)


class LogRewound(QuarterdeckError):
    """The log does not extend what it signed before: an older copy was restored, or it was altered. Nothing is signed.

    Keep everything and find out why. If it was meant (a restore), tell those who hold checkpoints, and move the
    file named in `held` away.
    """

    code = "log_rewound"


class SignedCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint that was signed. `note` is the whole C2SP signed note."""

    size: int
    root: bytes
    signed_at: datetime
    note: bytes


class CheckpointStore(Protocol):
    """Where signed checkpoints are kept."""

    async def keep(self, tenant: str, size: int, root: bytes, note: bytes) -> datetime:
        """Keep a checkpoint; return the moment by the database's clock."""
        ...

    async def latest(self, tenant: str) -> SignedCheckpoint | None:
        """Return the largest checkpoint, the last signed of those."""
        ...


class PostgresCheckpoints:
    """Checkpoints in `ledger.checkpoints`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def keep(self, tenant: str, size: int, root: bytes, note: bytes) -> datetime:
        """Keep a checkpoint; return the moment by the database's clock."""
        async with translated(), self._pool.acquire() as connection, connection.transaction():
            tenant_id = await connection.fetchval(_ENTER, tenant)
            signed_at: datetime = await connection.fetchval(_KEEP, tenant_id, size, root, note.decode())
        return signed_at

    async def latest(self, tenant: str) -> SignedCheckpoint | None:
        """Return the largest checkpoint, the last signed of those."""
        async with translated(), self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(_LATEST, await connection.fetchval(_ENTER, tenant))
        if row is None:
            return None
        size, signed_at, note = row["size"], row["signed_at"], row["note"].encode()
        return SignedCheckpoint(size=size, root=row["root"], signed_at=signed_at, note=note)


class Checkpointer:
    """Signs the logs of a store, and proves what is in them."""

    def __init__(
        self,
        store: Store,
        signing: SigningKeys,
        kept: CheckpointStore,
        *,
        origin: Callable[[str], str],
        held: Path | None = None,
    ) -> None:
        """`origin` names a tenant's log; `held` is a directory, apart from the database, for what was signed last."""
        self._store = store
        self._signing = signing
        self._kept = kept
        self._origin = origin
        self._held = held
        self._locks: dict[str, asyncio.Lock] = {}

    def vkeys(self, tenant: str) -> list[VerifierKey]:
        """Return the public keys of a log's checkpoints, oldest first."""
        self._signing.current(tenant, "checkpoint")
        origin = self._origin(tenant)
        return [VerifierKey(origin, key.public) for key in self._signing.all(tenant, "checkpoint")]

    async def latest(self, tenant: str) -> SignedCheckpoint | None:
        """Return the last checkpoint that was signed, if there is one; it may be behind the log's end."""
        return await self._kept.latest(check_tenant(tenant))

    async def checkpoint(self, tenant: str, *, idle: timedelta | None = None) -> SignedCheckpoint:
        """Return a checkpoint of the whole log as it is now, signed unless it was already.

        With `idle`, one that was signed longer ago than that is signed again, though the log has not grown.

        Raises:
            NotFound: the log is empty.
            LogRewound: the log does not extend what was signed last.
            Unavailable: the database does not answer.
        """
        async with self._locks.setdefault(check_tenant(tenant), asyncio.Lock()):
            # What was signed is read before the head: another process may sign more in between, but never less.
            latest = await self._kept.latest(tenant)
            held = await asyncio.to_thread(self._read_held, tenant)
            head = await self._store.head(tenant)
            if head.position == 0 and latest is None and held is None:
                raise NotFound("this log is empty")
            root = merkle.root_of(head.frontier)
            if latest is not None:
                await self._require_extension(tenant, latest.size, latest.root, head, root)
                fresh = idle is None or await self._store.now() - latest.signed_at < idle
                if latest.size == head.position and fresh and self._signed(tenant, latest):
                    return latest
            if held is not None:
                await self._require_extension(tenant, held.size, held.root, head, root)
            note = self._sign(tenant, head.position, root)
            faults.point("checkpoint.before_record")
            signed_at = await self._kept.keep(tenant, head.position, root, note)
            if self._held is not None:
                await asyncio.to_thread(hold, self._held, tenant, note)
            faults.point("checkpoint.after_record")
            return SignedCheckpoint(size=head.position, root=root, signed_at=signed_at, note=note)

    async def run(self, *, every: timedelta, idle: timedelta) -> None:
        """Sign every tenant's log for ever: one that has grown each `every`, an idle one each `idle`."""
        while True:
            await self.round(idle=idle)
            await asyncio.sleep(every.total_seconds())

    async def round(self, *, idle: timedelta) -> None:
        """Sign what is due of every tenant once. One log's trouble does not keep the others from being signed."""
        try:
            tenants = await self._store.tenants()
        except QuarterdeckError as error:
            _log.warning("no checkpoints signed", code=error.code, error=error.message)
            return
        for tenant in tenants:
            try:
                await self.checkpoint(tenant, idle=idle)
            except QuarterdeckError as error:
                _log.error("checkpoint not signed", tenant=tenant, code=error.code, error=error.message)

    async def inclusion(self, tenant: str, position: int, size: int) -> list[bytes]:
        """Return the proof that the event at `position` is in the first `size` of a log.

        Raises:
            InvalidInput: there is no such event in a log of that size, or the log is not that long.
        """
        await self._require_size(tenant, size)
        plan = merkle.inclusion_nodes(position - 1, size)
        return merkle.assemble(plan, await self._hashes(tenant, merkle.needed(plan)))

    async def consistency(self, tenant: str, old: int, new: int) -> list[bytes]:
        """Return the proof that the first `old` events are the beginning of the first `new`.

        Raises:
            InvalidInput: old is larger than new, or the log is not that long.
        """
        await self._require_size(tenant, new)
        plan = merkle.consistency_nodes(old, new)
        return merkle.assemble(plan, await self._hashes(tenant, merkle.needed(plan)))

    async def root(self, tenant: str, size: int) -> bytes:
        """Return the root over the first `size` events.

        Raises:
            InvalidInput: the log is not that long.
        """
        await self._require_size(tenant, size)
        nodes = merkle.root_nodes(size)
        hashes = await self._hashes(tenant, nodes)
        return merkle.compose([hashes[node] for node in nodes]) if nodes else merkle.EMPTY_ROOT

    def _sign(self, tenant: str, size: int, root: bytes) -> bytes:
        self._signing.current(tenant, "checkpoint")
        origin = self._origin(tenant)
        # The key before the current one signs too, so that whoever holds only that one can move on to the next.
        keys = self._signing.all(tenant, "checkpoint")[-2:]
        return sign_checkpoint(origin, size, root, [Ed25519Signer(origin, key.private) for key in reversed(keys)])

    def _signed(self, tenant: str, latest: SignedCheckpoint) -> bool:
        """Tell whether what the database gave back as signed is so: else it is signed again."""
        try:
            said = verify_checkpoint(latest.note, self.vkeys(tenant), origin=self._origin(tenant))
        except QuarterdeckError as error:
            _log.error("checkpoint altered", tenant=tenant, size=latest.size, error=error.message)
            return False
        return (said.size, said.root) == (latest.size, latest.root)

    def _read_held(self, tenant: str) -> Checkpoint | None:
        path = None if self._held is None else held_path(self._held, tenant)
        if path is None or not path.exists():
            return None
        try:
            return parse_checkpoint(parse_note(path.read_bytes()).text)
        except QuarterdeckError as error:
            raise Unavailable(f"{path} is no checkpoint: {error.message}; move it away if you know why") from None

    async def _require_extension(self, tenant: str, old: int, old_root: bytes, head: StoredHead, root: bytes) -> None:
        if old <= head.position:
            plan = merkle.consistency_nodes(old, head.position)
            proof = merkle.assemble(plan, await self._hashes(tenant, merkle.needed(plan)))
            if merkle.verify_consistency(old, head.position, old_root, root, proof):
                return
        raise LogRewound(
            f"the log of {tenant} with {head.position} events does not extend the {old} that were signed",
            signed=old,
            found=head.position,
            held=None if self._held is None else str(held_path(self._held, tenant)),
        )

    async def _require_size(self, tenant: str, size: int) -> None:
        head = await self._store.head(check_tenant(tenant))
        if not 0 <= size <= head.position:
            raise InvalidInput(f"this log has {head.position} events, not {size}", size=size, position=head.position)

    async def _hashes(self, tenant: str, nodes: Iterable[merkle.Node]) -> dict[merkle.Node, bytes]:
        """Return the hashes of nodes, from a tile of the store each time one is needed that was not read yet."""
        tiles: dict[tuple[int, int], list[bytes]] = {}
        found: dict[merkle.Node, bytes] = {}
        for node in nodes:
            level, start, stop = merkle.stored_range(node)
            tile = (level, start // TILE_WIDTH)
            if tile not in tiles:
                tiles[tile] = await self._tile(tenant, *tile)
            base = tile[1] * TILE_WIDTH
            found[node] = merkle.subtree_root(tiles[tile][start - base : stop - base])
        return found

    async def _tile(self, tenant: str, level: int, index: int) -> list[bytes]:
        first, last = index * TILE_WIDTH, (index + 1) * TILE_WIDTH
        if level == 0:
            return await self._store.leaves(tenant, first, last)
        return await self._store.nodes(tenant, level // merkle.TILE_HEIGHT, first, last)


def held_path(directory: Path, tenant: str) -> Path:
    """Return the file that keeps a tenant's last signed checkpoint apart from the database."""
    return directory / f"{check_tenant(tenant)}.checkpoint"


def hold(directory: Path, tenant: str, note: bytes) -> None:
    """Keep a checkpoint in its file, durably, unless a larger one is there already."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = held_path(directory, tenant)
    with open(path.with_suffix(".lock"), "a", opener=_private) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists() and _size(path.read_bytes()) > _size(note):
            return
        draft = path.with_suffix(".draft")
        with open(draft, "wb", opener=_private) as file:
            file.write(note)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _size(note: bytes) -> int:
    return parse_checkpoint(parse_note(note).text).size
