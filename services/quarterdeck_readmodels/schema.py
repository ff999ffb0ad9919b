"""The tables' DDL, made from the row types. Derived data is not migrated: another version is rebuilt from the log."""

from __future__ import annotations

from typing import Any, Final

from quarterdeck_readmodels.catalogue import ROWS, VERSION
from quarterdeck_readmodels.tables import Row, columns

LIVE: Final = "readmodels"
SHADOW: Final = "readmodels_shadow"


def ddl(schema: str) -> str:
    """Return the script that makes every table, in a schema that does not exist yet."""
    statements = [f"CREATE SCHEMA {schema}", _progress(schema)]
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


def _progress(schema: str) -> str:
    return f"""CREATE TABLE {schema}.version AS SELECT {VERSION}::int AS version;
CREATE TABLE {schema}.progress (
    tenant_id text COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL,
    stopped_at bigint,
    problem text
) WITH (fillfactor = 50);
{_walls(schema, "progress")}"""


def _table(schema: str, row: type[Row]) -> list[str]:
    name = f"{schema}.{row.table}"
    fields = "".join(f"    {column} {kind},\n" for column, kind in columns(row).items())
    statements = [
        f"""CREATE TABLE {name} (
    tenant_id text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    created_position bigint NOT NULL,
    from_position bigint NOT NULL,
    to_position bigint,
{fields}    PRIMARY KEY (tenant_id, id, from_position)
) WITH (fillfactor = 80)""",
        # The page of now, and the page of then: both walk objects in the order in which they began.
        f"CREATE INDEX ON {name} (tenant_id, created_position) WHERE to_position IS NULL",
        f"CREATE INDEX ON {name} (tenant_id, created_position, from_position)",
        _walls(schema, row.table),
    ]
    kinds = columns(row)
    statements += [
        # Lists are searched among the rows that hold: those tables are small.
        f"CREATE INDEX ON {name} (tenant_id, {column}, created_position)"
        for column in row.filters
        if kinds[column] != "jsonb"
    ]
    return statements


def _walls(schema: str, table: str) -> str:
    return f"""ALTER TABLE {schema}.{table} ENABLE ROW LEVEL SECURITY;
ALTER TABLE {schema}.{table} FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON {schema}.{table} USING (tenant_id = (SELECT ledger.current_tenant()))"""
