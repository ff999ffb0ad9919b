"""What a database server must be before anything is kept on it, and whether it is there. Imports nothing heavy."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import asyncpg

from quarterdeck_domain.errors import InvalidInput
from quarterdeck_ledger.errors import Unavailable, UnreleasedSchema, UnsafeServer
from quarterdeck_ledger.migrations import fingerprint, revisions

MINIMUM_SERVER: Final = 180_000
APP_ROLE: Final = "quarterdeck_app"
_POLL_S: Final = 0.05
_SETTINGS: Final = """
SELECT current_setting('server_version_num')::int AS number, current_setting('server_version') AS version,
    current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes,
    current_setting('synchronous_commit') AS synchronous_commit, current_setting('data_checksums') AS data_checksums,
    current_setting('server_encoding') AS encoding
"""

FOUND: Final = """
SELECT max(version_num) AS revision, obj_description(to_regnamespace('ledger')::oid, 'pg_namespace') AS mark
FROM schema_version
"""
"""Which revision a database has, and the mark that was left on it: see `mark`."""


def current_schema() -> str:
    """Return the revision of this release's schema: that of the last migration."""
    return revisions()[-1]


def mark(revision: str) -> str:
    """Return what `migrate` leaves as the comment on the schema `ledger`: a revision, and of what it is made."""
    return f"quarterdeck {revision}, sha256 {fingerprint(revision)}"


def check_mark(revision: str | None, found: str | None) -> None:
    """Refuse a database whose revision says that we know its schema, while it was made of something else.

    What has no revision, or a newer one, passes: whether that will do is not for its mark to say.

    Raises:
        UnreleasedSchema: the message has the next step.
    """
    if revision is None or revision > current_schema():
        return
    if revision not in revisions() or found != mark(revision):
        raise UnreleasedSchema(
            f"the database has another schema {revision} than this release makes: an unreleased build made it. "
            "Run `quarterdeck backup` with that build, then `quarterdeck restore` with this one into an empty "
            "installation; or restore a backup that you have",
            revision=revision,
            found=found,
            expected=mark(revision),
        )


async def schema_of(connection: Any) -> str | None:
    """Return the revision of a database's schema, if it has any. `connection` is asyncpg's, or a pool of such.

    Raises:
        UnreleasedSchema: an unreleased build made it.
        OSError, asyncpg.PostgresError: it does not answer.
    """
    try:
        found = await connection.fetchrow(FOUND)
    except asyncpg.UndefinedTableError:
        return None
    check_mark(found["revision"], found["mark"])
    revision: str | None = found["revision"]
    return revision


async def is_current(url: str) -> bool:
    """Tell whether the database at `url` has this release's schema.

    Raises:
        UnsafeServer: whatever schema it has, nothing may be kept there.
        and as `schema_of`.
    """
    connection = await asyncpg.connect(url, timeout=5)
    try:
        await check_safe(connection)
        return await schema_of(connection) == current_schema()
    finally:
        await connection.close()


async def wait_for_schema(url: str, patience_s: float = 60.0) -> None:
    """Return once the database answers and has the current schema: who starts first need not be ready first.

    Raises:
        UnreleasedSchema: at once; nobody will make that schema current.
        UnsafeServer: at once; it could lose what it acknowledges.
        Unavailable: not within the time.
    """
    end = asyncio.get_running_loop().time() + patience_s
    while True:
        try:
            if await is_current(url):
                return
            problem = (
                "it has no schema yet, or one of another release: run `quarterdeck migrate`, or upgrade this program"
            )
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
        InvalidInput: it is no address.
        Unavailable: no connection.
    """
    try:
        connection = await asyncpg.connect(url)
    except (OSError, asyncpg.PostgresError) as error:
        raise Unavailable(f"PostgreSQL does not answer: {error}") from error
    except (asyncpg.InterfaceError, ValueError, OverflowError) as error:
        raise InvalidInput(
            f"this is no address of a PostgreSQL database: {error}",
            expected="postgresql://user:password@host:port/name",
        ) from None
    try:
        await check_safe(connection)
    finally:
        await connection.close()


async def check_safe(connection: Any) -> None:
    """Refuse a server on which an acknowledged event could be lost. `connection` is asyncpg's, or a pool of such.

    Raises:
        UnsafeServer: the message names the setting and the value it needs.
        OSError, asyncpg.PostgresError: it does not answer.
    """
    found = await connection.fetchrow(_SETTINGS)
    if found["number"] < MINIMUM_SERVER:
        shown = found["version"]
        raise UnsafeServer(f"PostgreSQL {shown} is too old: version 18 or newer is needed", found=shown)
    for setting in ("fsync", "full_page_writes", "synchronous_commit"):
        if found[setting] == "off":
            raise UnsafeServer(f"{setting} is off: acknowledged events could be lost; set it on", setting=setting)
    if found["data_checksums"] != "on":
        raise UnsafeServer(
            "data_checksums is off: damage on the disk would be read as if it had been written; stop PostgreSQL and "
            "run `pg_checksums --enable -D DIRECTORY` on its data directory",
            setting="data_checksums",
        )
    if found["encoding"] != "UTF8":
        raise UnsafeServer(
            f"the database's encoding is {found['encoding']}: create it with UTF8", setting="server_encoding"
        )
