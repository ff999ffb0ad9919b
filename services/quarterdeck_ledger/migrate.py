"""Bring a database to the current schema, and refuse one that could lose or reorder events."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from quarterdeck_ledger.errors import Unavailable, UnsafeServer

MINIMUM_SERVER: Final = 180_000
APP_ROLE: Final = "quarterdeck_app"

_ROLES: Final = """
DO $$
BEGIN
    -- Roles are the cluster's, so another database may have made them, perhaps at this very moment.
    PERFORM pg_advisory_xact_lock(7420001);
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'quarterdeck_owner') THEN
        CREATE ROLE quarterdeck_owner NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE;
    END IF;
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'quarterdeck_app') THEN
        CREATE ROLE quarterdeck_app LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE;
    END IF;
END $$
"""

_GRANT: Final = """
DO $$
BEGIN
    EXECUTE format('GRANT CREATE ON DATABASE %I TO quarterdeck_app', current_database());
    GRANT SELECT ON schema_version TO quarterdeck_app;
END $$
"""


async def migrate(url: str) -> None:
    """Create or upgrade the schema, as a role that may create roles and schemas (`url`).

    Raises:
        UnsafeServer: older than PostgreSQL 18, or a setting that risks acknowledged events.
        Unavailable: no connection.
    """
    await check_server(url)
    engine = create_async_engine(sqlalchemy_url(url))
    try:
        async with engine.begin() as connection:
            await connection.exec_driver_sql(_ROLES)
        async with engine.begin() as connection:
            # One migration at a time, whoever starts first.
            await connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7420002)")
            await connection.run_sync(_upgrade)
            # The read models are derived: the application makes, rebuilds and swaps their schema itself. A grant on
            # a database is not part of a dump of it, so it is given every time.
            await connection.exec_driver_sql(_GRANT)
            # The application asks which schema it stands on before it says that it is ready.
            await connection.exec_driver_sql(f"GRANT SELECT ON schema_version TO {APP_ROLE}")
    finally:
        await engine.dispose()


async def wait_for_schema(url: str, patience_s: float = 60.0) -> None:
    """Return once the database answers and has the current schema: who starts first need not be ready first.

    Raises:
        Unavailable: not within the time.
    """
    end = asyncio.get_running_loop().time() + patience_s
    wanted = ScriptDirectory.from_config(_config()).get_current_head()
    while True:
        try:
            connection = await asyncpg.connect(url, timeout=5)
            try:
                found = await connection.fetchval("SELECT max(version_num) FROM schema_version")
            finally:
                await connection.close()
            problem = f"its schema is {found}, not {wanted}: run `quarterdeck migrate`, or upgrade this program"
        except (OSError, TimeoutError, asyncpg.PostgresError) as error:
            found, problem = None, str(error)
        if found == wanted:
            return
        if asyncio.get_running_loop().time() > end:
            raise Unavailable(f"PostgreSQL is not ready: {problem}")
        await asyncio.sleep(0.05)


async def check_server(url: str) -> None:
    """Refuse a server on which an acknowledged event could be lost.

    Raises:
        UnsafeServer: the message names the setting and the value it needs.
        Unavailable: no connection.
    """
    try:
        connection = await asyncpg.connect(url)
    except (OSError, asyncpg.PostgresError) as error:
        raise Unavailable(f"PostgreSQL does not answer: {error}") from error
    try:
        version = int(await connection.fetchval("SELECT current_setting('server_version_num')"))
        if version < MINIMUM_SERVER:
            shown = await connection.fetchval("SELECT current_setting('server_version')")
            raise UnsafeServer(f"PostgreSQL {shown} is too old: version 18 or newer is needed", found=shown)
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            value = await connection.fetchval("SELECT current_setting($1)", setting)
            if value == "off":
                raise UnsafeServer(f"{setting} is off: acknowledged events could be lost; set it on", setting=setting)
        encoding = await connection.fetchval("SELECT current_setting('server_encoding')")
        if encoding != "UTF8":
            raise UnsafeServer(f"the database's encoding is {encoding}: create it with UTF8", setting="server_encoding")
    finally:
        await connection.close()


def sqlalchemy_url(url: str) -> str:
    """Return the same address for SQLAlchemy's asyncpg dialect."""
    return url.replace("postgresql://", "postgresql+asyncpg://", 1)


def _upgrade(connection: Connection) -> None:
    # The driver prepares single statements only; migrations are scripts, so they go through its simple protocol.
    config = _config()
    attributes: dict[str, Any] = config.attributes
    attributes["connection"] = connection
    command.upgrade(config, "head")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
