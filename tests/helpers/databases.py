"""Databases on one embedded server, as many as tests ask for."""

from __future__ import annotations

import uuid
from collections import deque

from quarterdeck_embedded import EmbeddedPostgres
from quarterdeck_embedded.postgres import SUPERUSER

_KEPT = 60


class Databases:
    """Makes databases and, once they are let go, drops them.

    Dropping one costs a checkpoint, as much as making one. So the last ones let go stay until the server's whole
    directory is removed, and only what exceeds them is dropped: the disk a run takes is bounded, whatever its length.
    """

    def __init__(self, server: EmbeddedPostgres) -> None:
        """`server` runs."""
        self._server = server
        self._let_go: deque[str] = deque()

    def make(self, template: str | None = None, grant: str | None = None) -> str:
        """Make a database, empty or a copy, where the role `grant` may create schemas; return its name."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        copied = f" TEMPLATE {template} STRATEGY wal_log" if template else ""
        self._server.psql(f"CREATE DATABASE {name}{copied}")
        if grant:
            self._server.psql(f"GRANT CREATE ON DATABASE {name} TO {grant}")  # no template carries this
        return name

    def address(self, name: str) -> str:
        """Return a database's address, as superuser."""
        return self._server.address(SUPERUSER, name)

    def let_go(self, name: str) -> None:
        """Say that nobody needs a database any more."""
        self._let_go.append(name)
        while len(self._let_go) > _KEPT:
            self._server.drop_database(self._let_go.popleft())
