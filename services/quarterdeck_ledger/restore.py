"""Writes a backup into an empty database: the log's rows, and everything that is derived from its bytes beside them.

The one module that writes the log's tables without `ledger.append`: what was recorded keeps its time and its place.
It acts as the tables' owner under row-level security, one tenant at a time, all tenants in one transaction: after any
error nothing is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, BinaryIO, Final

import asyncpg

from quarterdeck_domain import merkle
from quarterdeck_domain.errors import WrongState
from quarterdeck_ledger.archive import InvalidArchive
from quarterdeck_ledger.backup import Backup, Header, Page, Progress, Section
from quarterdeck_ledger.entry import tag_key
from quarterdeck_ledger.postgres import translated

_OWNER: Final = "SET LOCAL ROLE quarterdeck_owner"
_TENANT: Final = "INSERT INTO ledger.tenants (name) VALUES ($1)"
_ENTER: Final = "SELECT ledger.enter($1)"
_HEAD: Final = """
INSERT INTO ledger.heads (tenant_id, position, recorded_at, frontier)
VALUES ($1, $2, coalesce($3::timestamptz, '-infinity'), $4)
"""
_EVENTS: Final = """
INSERT INTO ledger.events (tenant_id, position, id, type, recorded_at, entry, leaf_hash)
SELECT $1, * FROM unnest($2::bigint[], $3::uuid[], $4::text[], $5::timestamptz[], $6::bytea[], $7::bytea[])
"""
_TAGS: Final = """
INSERT INTO ledger.tags (tenant_id, tag, position) SELECT $1, * FROM unnest($2::uuid[], $3::bigint[])
"""
_NODES: Final = """
INSERT INTO ledger.tree_nodes (tenant_id, level, index, hash)
SELECT $1, * FROM unnest($2::int[], $3::bigint[], $4::bytea[])
"""
_CHECKPOINTS: Final = """
INSERT INTO ledger.checkpoints (tenant_id, size, signed_at, root, note)
SELECT $1, * FROM unnest($2::bigint[], $3::timestamptz[], $4::bytea[], $5::text[])
"""


class NotEmpty(WrongState):
    """There is a log in this database already. Restore into an empty installation; nothing was changed."""

    code = "not_empty"


async def require_empty(url: str) -> None:
    """Refuse a database in which there is a log, of whatever schema. Changes nothing.

    Raises:
        NotEmpty: there is one.
        Unavailable: the database does not answer.
    """
    async with translated():
        connection = await asyncpg.connect(url)
        try:
            if await connection.fetchval("SELECT to_regclass('ledger.tenants')") is not None:
                await _require_empty(connection)
        finally:
            await connection.close()


async def restore(url: str, file: BinaryIO, progress: Progress | None = None) -> Header:
    """Write a backup into the database at `url`, whose schema is current, as a role that may act as its owner.

    Raises:
        NotEmpty: there is a log already.
        InvalidArchive, NewerRelease: the file does not hold; nothing was written.
        Unavailable: the database does not answer, or went away; nothing was written.
    """
    async with translated():
        connection = await asyncpg.connect(url)
        try:
            async with connection.transaction():
                # Nobody opens a tenant meanwhile, and no other restore begins.
                await connection.execute("LOCK TABLE ledger.tenants IN EXCLUSIVE MODE")
                await _require_empty(connection)
                await connection.execute(_OWNER)
                file.seek(0)
                backup = Backup(file)
                for section in backup.sections():
                    await _write(connection, backup, section, progress)
                backup.finish()
            return backup.header
        except (asyncpg.UniqueViolationError, asyncpg.DataError) as error:
            raise InvalidArchive(f"the backup has what no log can have: {error}") from None
        finally:
            await connection.close()


async def _require_empty(connection: Any) -> None:
    tenants = [row["name"] for row in await connection.fetch("SELECT name FROM ledger.tenants LIMIT 5")]
    if tenants:
        raise NotEmpty(
            f"there is a log here already ({', '.join(tenants)}): restore into an empty installation", tenants=tenants
        )


async def _write(connection: Any, backup: Backup, section: Section, progress: Progress | None) -> None:
    end, frontier, last = section.end, b"", None
    await connection.execute(_TENANT, end.tenant)
    tenant_id = await connection.fetchval(_ENTER, end.tenant)
    for page in backup.entries(section):
        frontier = merkle.append_leaves(frontier, page.first - 1, page.leaves)
        await _write_page(connection, tenant_id, page)
        last = page.entries[-1].recorded_at
        if progress is not None:
            progress(end.tenant, page.first + len(page.raw) - 1, end.position)
    # A tenant whose first append was refused has a head and no event.
    await connection.execute(_HEAD, tenant_id, end.position, last, merkle.split_frontier(frontier, end.position))
    kept = [(item.size, item.signed_at, item.root, item.note.decode()) for item in section.checkpoints]
    await connection.execute(_CHECKPOINTS, tenant_id, *_columns(kept, 4))


async def _write_page(connection: Any, tenant_id: int, page: Page) -> None:
    places = range(page.first, page.first + len(page.raw))
    rows = [
        (place, entry.id, entry.type, entry.recorded_at, raw, leaf)
        for place, entry, raw, leaf in zip(places, page.entries, page.raw, page.leaves, strict=True)
    ]
    tags = [
        (tag, place)
        for place, entry in zip(places, page.entries, strict=True)
        for tag in dict.fromkeys(map(tag_key, entry.tags))
    ]
    nodes = [(node[0] // merkle.TILE_HEIGHT, node[1], found) for node, found in page.nodes]
    await connection.execute(_EVENTS, tenant_id, *_columns(rows, 6))
    await connection.execute(_TAGS, tenant_id, *_columns(tags, 2))
    await connection.execute(_NODES, tenant_id, *_columns(nodes, 3))


def _columns(rows: Iterable[tuple[Any, ...]], count: int) -> list[list[Any]]:
    columns: list[list[Any]] = [[] for _ in range(count)]
    for row in rows:
        for column, value in zip(columns, row, strict=True):
            column.append(value)
    return columns
