"""A backup of the log: every tenant's entries and signed checkpoints as of one moment, in one file.

It holds what cannot be made again, and that as bytes: entries exactly as they were hashed, checkpoints exactly as they
were signed. Tags, hashes, read models, workflows and how far followers have come are made from these. No key is in it,
so personal fields stay sealed: `keyfile` keeps keys, apart. `docs/operations/backup.md` describes the format.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, BinaryIO, Final, Literal, Protocol

import asyncpg
import msgspec

from quarterdeck_domain import canonical, merkle
from quarterdeck_domain.errors import InvalidInput, NotCanonical, QuarterdeckError
from quarterdeck_domain.ids import check_tenant
from quarterdeck_ledger.archive import ArchiveReader, ArchiveWriter, InvalidArchive, decode_line
from quarterdeck_ledger.checkpoints import SignedCheckpoint
from quarterdeck_ledger.entry import Entry, parse_entry
from quarterdeck_ledger.notes import encode_base64, parse_checkpoint, parse_note
from quarterdeck_ledger.postgres import read_on, translated
from quarterdeck_ledger.server import current_schema

PAGE: Final = 1_000
Progress = Callable[[str, int, int], None]
"""Called with tenant, position reached and position aimed at."""


class NewerRelease(InvalidArchive):
    """A newer release made this. Install that release, or a later one; nothing was changed."""

    code = "newer_release"


class TenantEnd(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far a tenant's log goes in a backup, and the root over it (base64)."""

    tenant: str
    position: int
    root: str
    checkpoints: int


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first line of a backup. `schema` is the revision of the database it was read from."""

    format: Literal["quarterdeck-backup"]
    version: Literal[1]
    created_at: str
    schema: str
    release: str
    tenants: tuple[TenantEnd, ...]


class KeptCheckpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A signed checkpoint in a backup: the note, and when it was signed by the database's clock."""

    note: str
    signed_at: str


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """One tenant's part of a backup: its end and its checkpoints. Its entries are read through `Backup.entries`."""

    end: TenantEnd
    checkpoints: tuple[SignedCheckpoint, ...]


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some consecutive entries, checked, with what is derived from them."""

    first: int
    raw: tuple[bytes, ...]
    entries: tuple[Entry, ...]
    leaves: tuple[bytes, ...]
    nodes: tuple[merkle.Completed, ...]


class Source(Protocol):
    """What is backed up: the logs as of one moment."""

    header: Header

    def checkpoints(self, tenant: str) -> AsyncIterator[KeptCheckpoint]:
        """Yield a tenant's checkpoints, smallest first."""
        ...

    def entries(self, tenant: str) -> AsyncIterator[Sequence[bytes]]:
        """Yield a tenant's entries in pages, oldest first."""
        ...


async def write(source: Source, writer: ArchiveWriter, progress: Progress | None = None) -> None:
    """Write a backup."""
    writer.header(source.header)
    for end in source.header.tenants:
        async for checkpoint in source.checkpoints(end.tenant):
            writer.struct(checkpoint)
        reached = 0
        async for page in source.entries(end.tenant):
            for entry in page:
                writer.line(entry)
            reached += len(page)
            if progress is not None:
                progress(end.tenant, reached, end.position)


class Backup:
    """A backup that is being read. Everything is checked as it is read; believe it once `finish` has returned."""

    def __init__(self, file: BinaryIO) -> None:
        """Read the header; `file` stands at its beginning.

        Raises:
            InvalidArchive: it is not the header of a backup.
            NewerRelease: of a schema that this release does not know.
        """
        self._reader = ArchiveReader(file)
        self.header = self._reader.header(Header)
        if self.header.schema > current_schema():
            raise NewerRelease(
                f"this backup was made by release {self.header.release}, schema {self.header.schema}; "
                f"this release knows schemas up to {current_schema()}: restore it with that release",
                found=self.header.schema,
                known=current_schema(),
            )
        names = [end.tenant for end in self.header.tenants]
        for end in self.header.tenants:
            if end.position < 0 or end.checkpoints < 0:
                raise InvalidArchive(f"the header gives {end.tenant!r} a negative size")
            _tenant(end.tenant)
        if sorted(set(names)) != names:
            raise InvalidArchive("the header's tenants are not in order, each once")

    def sections(self) -> Iterator[Section]:
        """Yield each tenant's section; take all `entries` of one before the next."""
        for end in self.header.tenants:
            kept = [
                decode_line(self._reader.line("checkpoint"), KeptCheckpoint, "checkpoint")
                for _ in range(end.checkpoints)
            ]
            yield Section(end=end, checkpoints=tuple(_signed(end, item) for item in kept))

    def entries(self, section: Section) -> Iterator[Page]:
        """Yield a section's entries in pages, each checked against the ones before it and, at the end, the root.

        Raises:
            InvalidArchive: the file is damaged, or does not lead to its own roots.
        """
        end, frontier, size = section.end, b"", 0
        roots: dict[int, set[bytes]] = {}
        for kept in section.checkpoints:
            roots.setdefault(kept.size, set()).add(kept.root)
        before: datetime | None = None
        while size < end.position:
            raw = tuple(self._reader.line(f"entry {size + 1}") for _ in range(min(PAGE, end.position - size)))
            entries = []
            for position, line in enumerate(raw, size + 1):
                entries.append(_entry(line, end.tenant, position, before))
                before = entries[-1].recorded_at
            leaves = tuple(merkle.leaf_hash(line) for line in raw)
            nodes: list[merkle.Completed] = []
            for count, leaf in enumerate(leaves, size + 1):
                frontier, completed = merkle.append_leaves_and_nodes(frontier, count - 1, [leaf])
                nodes += completed
                if any(root != merkle.root(frontier, count) for root in roots.pop(count, ())):
                    raise InvalidArchive(f"a checkpoint of {end.tenant} of size {count} is over other entries")
            yield Page(first=size + 1, raw=raw, entries=tuple(entries), leaves=leaves, nodes=tuple(nodes))
            size += len(raw)
        if encode_base64(merkle.root(frontier, size)) != end.root:
            raise InvalidArchive(f"the entries of {end.tenant} do not lead to the root in the header")

    def finish(self) -> str:
        """Check the digest and that nothing follows; return the digest.

        Raises:
            InvalidArchive: it was damaged, cut off or added to.
        """
        return self._reader.finish()


def check(file: BinaryIO, progress: Progress | None = None) -> Header:
    """Read a whole backup and return its header, if all of it holds. Touches nothing.

    Raises:
        InvalidArchive, NewerRelease: as `Backup`.
    """
    file.seek(0)
    backup = Backup(file)
    for section in backup.sections():
        for page in backup.entries(section):
            if progress is not None:
                progress(section.end.tenant, page.first + len(page.raw) - 1, section.end.position)
    backup.finish()
    return backup.header


class Snapshot:
    """The logs of a database as of one moment, whatever is appended meanwhile. Made by `snapshot`."""

    def __init__(self, connection: Any, header: Header) -> None:
        self._connection = connection
        self.header = header

    async def checkpoints(self, tenant: str) -> AsyncIterator[KeptCheckpoint]:
        """Yield a tenant's checkpoints, smallest first."""
        statement = (
            "SELECT note, signed_at FROM ledger.checkpoints WHERE tenant_id = $1 AND size > 0 ORDER BY size, signed_at"
        )
        async with translated():
            tenant_id = await self._connection.fetchval("SELECT ledger.enter($1)", tenant)
            cursor = await self._connection.cursor(statement, tenant_id)
        while True:
            async with translated():
                rows = await cursor.fetch(PAGE)
            for row in rows:
                yield KeptCheckpoint(note=row["note"], signed_at=row["signed_at"].isoformat())
            if not rows:
                return

    async def entries(self, tenant: str) -> AsyncIterator[Sequence[bytes]]:
        """Yield a tenant's entries in pages, oldest first."""
        after = 0
        while True:
            async with translated():
                found = await read_on(self._connection, tenant, None, after, None, PAGE, False)
            if not found:
                return
            yield [entry for _, entry in found]
            after = found[-1][0]


@contextlib.asynccontextmanager
async def snapshot(pool: asyncpg.Pool, release: str) -> AsyncIterator[Snapshot]:
    """Look at every log as of one moment, for as long as the block lasts. Nobody waits for it.

    Raises:
        InvalidInput: the database's schema is of another release.
        Unavailable: the database does not answer.
    """
    async with contextlib.AsyncExitStack() as stack:
        # Only what speaks to the database: what goes wrong inside the block is not the database's.
        async with translated():
            connection = await stack.enter_async_context(pool.acquire())
            await stack.enter_async_context(connection.transaction(isolation="repeatable_read", readonly=True))
            header = await _header(connection, release)
        yield Snapshot(connection, header)


async def _header(connection: Any, release: str) -> Header:
    now = await connection.fetchval("SELECT clock_timestamp()")
    schema = await connection.fetchval("SELECT max(version_num) FROM schema_version")
    if schema != current_schema():
        raise InvalidInput(
            f"the database has schema {schema}, this release {current_schema()}: back up with the release that "
            "serves it, or run `quarterdeck migrate`",
            found=schema,
        )
    names = [row["name"] for row in await connection.fetch("SELECT name FROM ledger.tenants")]
    ends = [await _end(connection, name) for name in sorted(names)]
    return Header(
        format="quarterdeck-backup",
        version=1,
        created_at=now.isoformat(),
        schema=schema,
        release=release,
        tenants=tuple(ends),
    )


async def _end(connection: Any, tenant: str) -> TenantEnd:
    head = await connection.fetchrow("SELECT * FROM ledger.head($1)", tenant)
    tenant_id = await connection.fetchval("SELECT ledger.enter($1)", tenant)
    count = await connection.fetchval(
        "SELECT count(*) FROM ledger.checkpoints WHERE tenant_id = $1 AND size > 0", tenant_id
    )
    position = head["position"] if head is not None else 0
    root = merkle.root_of(tuple(head["frontier"])) if position else merkle.EMPTY_ROOT
    return TenantEnd(tenant=tenant, position=position, root=encode_base64(root), checkpoints=count)


def _tenant(name: str) -> None:
    try:
        check_tenant(name)
    except InvalidInput as error:
        raise InvalidArchive(f"the header names a tenant that cannot be: {error.message}") from None


def _signed(end: TenantEnd, kept: KeptCheckpoint) -> SignedCheckpoint:
    try:
        checkpoint = parse_checkpoint(parse_note(kept.note.encode()).text)
        signed_at = datetime.fromisoformat(kept.signed_at)
    except (QuarterdeckError, ValueError) as error:
        raise InvalidArchive(f"a checkpoint of {end.tenant} is malformed: {error}") from None
    if signed_at.tzinfo is None or end.tenant not in checkpoint.origin.split("/"):
        raise InvalidArchive(f"a checkpoint of {end.tenant} is of another log, or without a time zone")
    if not 0 < checkpoint.size <= end.position:
        raise InvalidArchive(f"a checkpoint of {end.tenant} is of size {checkpoint.size}, its log of {end.position}")
    return SignedCheckpoint(size=checkpoint.size, root=checkpoint.root, signed_at=signed_at, note=kept.note.encode())


def _entry(line: bytes, tenant: str, position: int, before: datetime | None) -> Entry:
    try:
        canonical.decode(line)
        entry = parse_entry(line)
    except (NotCanonical, ValueError) as error:
        raise InvalidArchive(f"entry {position} of {tenant} is malformed: {error}", position=position) from None
    if (entry.tenant, entry.position) != (tenant, position):
        raise InvalidArchive(f"entry {position} of {tenant} says that it is elsewhere", position=position)
    if entry.recorded_at.tzinfo is None or (before is not None and entry.recorded_at < before):
        raise InvalidArchive(f"entry {position} of {tenant} goes back in time", position=position)
    return entry
