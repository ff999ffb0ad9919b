"""The tables' DDL, made from the row types. Derived data is not migrated: another version is rebuilt from the log.

`progress` is the door: whoever reads or writes a schema's tables touches it first, so whoever locks it has them to
itself. That is how a rebuilt schema takes the place of the old one between two transactions, never within one.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from quarterdeck_readmodels.catalogue import ROWS, VERSION
from quarterdeck_readmodels.tables import Row, columns

LIVE: Final = "readmodels"
SHADOW: Final = "readmodels_shadow"
CURRENT: Final = "coalesce(to_position, -1) = -1"
"""That a row has no end, in words of which PostgreSQL does not know that they say `to_position IS NULL`.

The index of the page of now is made with these, those of narrowed pages are not. So a narrowed question never walks
the page's index instead of its own, as statistics would have it wherever nearly all rows have the same value.
"""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far one tenant's tables are. Stopped, they wait before event `stopped_at`; `problem` says why."""

    position: int = 0
    stopped_at: int | None = None
    problem: str | None = None


def ddl(schema: str) -> str:
    """Return the script that makes every table, in a schema that does not exist yet."""
    statements = [f"CREATE SCHEMA {schema}", _progress(schema), _doors(schema)]
    for row in ROWS:
        statements += _table(schema, row)
    return ";\n".join(statements)


async def create(connection: Any, schema: str = LIVE) -> None:
    """Make the tables. `connection` is asyncpg's, as the application's role, in a transaction."""
    await connection.execute(ddl(schema))


async def version(connection: Any, schema: str = LIVE) -> int | None:
    """Return the version of the tables that are there; None if there are none."""
    known = await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{schema}.version")
    if not known:
        return None
    found: int = await connection.fetchval(f"SELECT version FROM {schema}.version")  # noqa: S608  a constant of ours
    return found


async def enter(connection: Any, schema: str, tenant: str) -> tuple[int, Progress]:
    """Set the transaction's tenant for reading; return the version of the tables and how far they are.

    In a transaction, the tables found here are those of the whole of it. So this comes first, before the snapshot.
    """
    if connection.is_in_transaction():
        await _through_the_door(connection, schema, "ACCESS SHARE")
    # The door is named first, and so locked first, without another round trip where there is no transaction. Else a
    # swap could happen between finding the function and running it, or wait for what this holds and this for the swap.
    row = await connection.fetchrow(
        f"WITH door AS (SELECT FROM {schema}.progress) SELECT * FROM {schema}.enter($1)",  # noqa: S608  our constant
        tenant,
    )
    return row["version"], Progress(position=row["position"], stopped_at=row["stopped_at"], problem=row["problem"])


async def take(connection: Any, schema: str, tenant: str) -> tuple[int, int] | None:
    """Set the transaction's tenant and lock its progress; return version and position, None if another holds it."""
    await _through_the_door(connection, schema, "ROW EXCLUSIVE")
    row = await connection.fetchrow(f"SELECT * FROM {schema}.take($1)", tenant)  # noqa: S608
    return None if row is None else (row["version"], row["position"])


async def _through_the_door(connection: Any, schema: str, mode: str) -> None:
    # By name, and before anything that is bound to the tables is looked up: whoever waited here finds the new ones.
    await connection.execute(f"LOCK TABLE {schema}.progress IN {mode} MODE")


def _progress(schema: str) -> str:
    return f"""CREATE TABLE {schema}.version AS SELECT {VERSION}::int AS version;
CREATE TABLE {schema}.progress (
    tenant_id text COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL CHECK (position >= 0),
    stopped_at bigint,
    problem text
) WITH (fillfactor = 50);
{_walls(schema, "progress")}"""


def _doors(schema: str) -> str:
    # These bodies are bound to the tables, not to their names, so they go with the schema when it is renamed.
    # Plans must not depend on statistics, which a fresh table has none of: every page is read in the order of an
    # index, never sorted out of everything there is.
    tenant = """SELECT set_config('quarterdeck.tenant', p_tenant, true), set_config('enable_seqscan', 'off', true),
        set_config('enable_bitmapscan', 'off', true), set_config('enable_sort', 'off', true),
        set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true);"""
    return f"""CREATE FUNCTION {schema}.enter(p_tenant text)
RETURNS TABLE (version int, "position" bigint, stopped_at bigint, problem text) BEGIN ATOMIC
    {tenant}
    SELECT v.version, coalesce(p.position, 0), p.stopped_at, p.problem
        FROM {schema}.version v LEFT JOIN {schema}.progress p ON p.tenant_id = p_tenant;
END;
CREATE FUNCTION {schema}.take(p_tenant text) RETURNS TABLE (version int, "position" bigint) BEGIN ATOMIC
    {tenant}
    INSERT INTO {schema}.progress SELECT p_tenant, 0
        WHERE NOT EXISTS (SELECT FROM {schema}.progress p WHERE p.tenant_id = p_tenant) ON CONFLICT DO NOTHING;
    SELECT v.version, p.position
        FROM {schema}.progress p, {schema}.version v WHERE p.tenant_id = p_tenant FOR NO KEY UPDATE OF p SKIP LOCKED;
END"""  # noqa: S608  names of ours only


def _table(schema: str, row: type[Row]) -> list[str]:
    name = f"{schema}.{row.table}"
    kinds = columns(row)
    narrowing = [column for column in row.filters if kinds[column] != "jsonb"]
    fields = "".join(
        f"    {column} {kind}{' COLLATE ' + chr(34) + 'C' + chr(34) if kind == 'text' else ''},\n"
        for column, kind in kinds.items()
    ) + "".join(
        f"    {hashed(column)} bigint GENERATED ALWAYS AS (hashtextextended({column}, 0)) STORED,\n"
        for column in narrowing
    )
    statements = [
        f"""CREATE TABLE {name} (
    tenant_id text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    created_position bigint NOT NULL,
    from_position bigint NOT NULL,
    to_position bigint,
{fields}    PRIMARY KEY (tenant_id, id, from_position),
    CHECK (created_position <= from_position AND from_position < to_position)
) WITH (fillfactor = 90)""",
        # The page of now. Unique: no object has two current versions, and no event begins two objects of a kind.
        f"CREATE UNIQUE INDEX {row.table}_now ON {name} (tenant_id, created_position) WHERE {CURRENT}",
        # The page of then: objects in the order in which they began, each one's version found by the primary key.
        f"CREATE UNIQUE INDEX {row.table}_born ON {name} (tenant_id, created_position) "
        "WHERE from_position = created_position",
        # What changed between two moments, beside what began between them.
        f"CREATE INDEX {row.table}_changed ON {name} (tenant_id, from_position) WHERE from_position > created_position",
        _walls(schema, row.table),
    ]
    for column in narrowing:
        statements += _narrowing(name, row.table, column)
    return statements


def hashed(column: str) -> str:
    """Return the name of the column that holds the hash of a column, by which questions are narrowed."""
    return f"{column}_hash"


def _narrowing(name: str, table: str, column: str) -> list[str]:
    # By hash: what people and programs write may be longer than an index entry can be, and most of it is long. The hash
    # is a column: under row-level security an index is searched only with functions that can leak nothing of other
    # tenants' rows, and the one that hashes is not among them, while the comparison of two numbers is.
    key = f"tenant_id, {hashed(column)}, created_position"
    return [
        f"CREATE INDEX {table}_{column}_now ON {name} ({key}, from_position) "
        f"WHERE to_position IS NULL AND {column} IS NOT NULL",
        f"CREATE INDEX {table}_{column}_then ON {name} ({key}, from_position, to_position) "
        f"WHERE to_position IS NOT NULL AND {column} IS NOT NULL",
    ]


def _walls(schema: str, table: str) -> str:
    return f"""ALTER TABLE {schema}.{table} ENABLE ROW LEVEL SECURITY;
ALTER TABLE {schema}.{table} FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON {schema}.{table} USING (tenant_id = (SELECT ledger.current_tenant()))"""
