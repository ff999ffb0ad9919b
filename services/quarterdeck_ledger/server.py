"""What a database server must be before anything is kept on it, and whether it is there. Imports nothing heavy."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import asyncpg

from quarterdeck_ledger.errors import Unavailable, UnsafeServer

MINIMUM_SERVER: Final = 180_000
APP_ROLE: Final = "quarterdeck_app"
_POLL_S: Final = 0.05


def current_schema() -> str:
    """Return the revision of this release's schema: that of the last migration."""
    return max(path.name[:4] for path in (Path(__file__).parent / "migrations" / "versions").glob("[0-9]*.py"))


async def is_current(url: str) -> bool:
    """Tell whether the database has this release's schema.

    Raises:
        OSError, asyncpg.PostgresError: it does not answer.
    """
    connection = await asyncpg.connect(url, timeout=5)
    try:
        found = await connection.fetchval("SELECT max(version_num) FROM schema_version")
    except asyncpg.UndefinedTableError:
        return False
    finally:
        await connection.close()
    return bool(found == current_schema())


async def wait_for_schema(url: str, patience_s: float = 60.0) -> None:
    """Return once the database answers and has the current schema: who starts first need not be ready first.

    Raises:
        Unavailable: not within the time.
    """
    end = asyncio.get_running_loop().time() + patience_s
    while True:
        try:
            if await is_current(url):
                return
            problem = "its schema is of another release: run `quarterdeck migrate`, or upgrade this program"
        except (
            OSError,
            TimeoutError,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            asyncpg.InternalClientError,
        ) as error:
            problem = str(error)
        if asyncio.get_running_loop().time() > end:
            raise Unavailable(f"PostgreSQL is not ready: {problem}")
        await asyncio.sleep(_POLL_S)


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
