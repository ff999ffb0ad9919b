"""What each revision of the schema executes, and the fingerprint of that. Imports nothing heavy.

A revision is SQL scripts and nothing else: `versions/NNNN_name.py` has `run` execute them. 0001 is `sql/`; a later one
brings scripts of its own beside it, `versions/NNNN_*.sql`, and changes none of what an earlier one executes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sqlalchemy import Connection

VERSIONS: Final = Path(__file__).parent / "versions"
_FIRST: Final = tuple(Path(__file__).parents[1] / "sql" / name for name in ("schema.sql", "append.sql", "read.sql"))


def revisions() -> list[str]:
    """Return the revisions that this release knows, oldest first."""
    return sorted(path.name[:4] for path in VERSIONS.glob("[0-9]*.py"))


def scripts(revision: str) -> list[str]:
    """Return the text of what a revision executes, in order."""
    paths = _FIRST if revision == "0001" else sorted(VERSIONS.glob(f"{revision}_*.sql"))
    return [path.read_text(encoding="utf-8") for path in paths]


def fingerprint(revision: str) -> str:
    """Return the SHA-256, in hex, of all that makes the schema of a revision: its scripts after those before it."""
    digest = hashlib.sha256()
    for known in revisions():
        if known <= revision:
            for text in scripts(known):
                digest.update(text.encode() + b"\x00")
    return digest.hexdigest()


def run(revision: str, connection: Connection) -> None:
    """Execute a revision's scripts. Whole scripts need the driver's simple protocol, below SQLAlchemy."""
    from sqlalchemy.util import await_only

    driver: Any = connection.connection.driver_connection
    for text in scripts(revision):
        await_only(driver.execute(text))
