"""Bring a database to the current schema."""

from __future__ import annotations

from typing import Any, Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from quarterdeck_ledger import migrations
from quarterdeck_ledger.errors import NewerSchema
from quarterdeck_ledger.server import FOUND, check_mark, check_server, current_schema, mark

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

    Each migration is one transaction, so one that was interrupted is run again from its beginning.

    Raises:
        NewerSchema: a newer release has been here; nothing was changed.
        UnreleasedSchema: an unreleased build has been here; nothing was changed.
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
            # a database is not part of a dump of it, so it is given every time. And the application asks which schema
            # it stands on before it says that it is ready.
            await connection.exec_driver_sql(_GRANT)
    finally:
        await engine.dispose()


def sqlalchemy_url(url: str) -> str:
    """Return the same address for SQLAlchemy's asyncpg dialect."""
    return url.replace("postgresql://", "postgresql+asyncpg://", 1)


def _upgrade(connection: Connection) -> None:
    _refuse_others(connection)
    config = _config()
    attributes: dict[str, Any] = config.attributes
    attributes["connection"] = connection
    command.upgrade(config, "head")
    if _found(connection) != (current_schema(), mark(current_schema())):
        connection.exec_driver_sql(f"COMMENT ON SCHEMA ledger IS '{mark(current_schema())}'")


def _refuse_others(connection: Connection) -> None:
    if connection.exec_driver_sql("SELECT to_regclass('schema_version')").scalar() is None:
        return
    revision, left = _found(connection)
    if revision is not None and revision > current_schema():
        raise NewerSchema(
            f"the database has schema {revision}, this release knows up to {current_schema()}: install the release "
            "that made it, or a later one",
            found=revision,
            known=current_schema(),
        )
    check_mark(revision, left)


def _found(connection: Connection) -> tuple[str | None, str | None]:
    revision, left = connection.exec_driver_sql(FOUND).one()
    return revision, left


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations.VERSIONS.parent))
    return config
