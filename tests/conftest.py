"""What the whole suite shares: one embedded PostgreSQL a worker, and as many databases on it as tests ask for.

Fixtures that one kind of test needs live in the `conftest.py` of its folder; worlds and helpers in `tests/helpers`.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from databases import Databases
from hypothesis import HealthCheck, settings

from quarterdeck_embedded import EmbeddedPostgres
from quarterdeck_ledger.migrate import migrate

settings.register_profile("ci", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci")


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """This worker's PostgreSQL. Durable settings stay on: tests must not pass for the wrong reason."""
    # Not pytest's own directory: that keeps the last three runs, here some hundreds of megabytes each.
    with tempfile.TemporaryDirectory(prefix="quarterdeck-tests-") as directory:
        server = EmbeddedPostgres(Path(directory) / "pg", settings={"shared_buffers": "64MB", "max_connections": "200"})
        with server:
            yield server


@pytest.fixture(scope="session")
def _databases(postgres: EmbeddedPostgres) -> Databases:
    return Databases(postgres)


@pytest.fixture(scope="session")
def _template(postgres: EmbeddedPostgres) -> str:
    asyncio.run(migrate(postgres.url("template_migrated")))
    return "template_migrated"


@pytest.fixture
def fresh_database(_databases: Databases) -> Iterator[Callable[[], str]]:
    """Return a function that makes an empty database and returns its address (as superuser)."""
    names: list[str] = []

    def make() -> str:
        names.append(_databases.make())
        return _databases.address(names[-1])

    yield make
    for name in names:
        _databases.let_go(name)


@pytest.fixture
def migrated_database(_databases: Databases, _template: str) -> Iterator[Callable[[], str]]:
    """Return a function that makes a database at the current schema and returns its address (as superuser)."""
    names: list[str] = []

    def make() -> str:
        names.append(_databases.make(_template, "quarterdeck_app"))
        return _databases.address(names[-1])

    yield make
    for name in names:
        _databases.let_go(name)


@pytest.fixture(scope="module")
def module_database(_databases: Databases, _template: str) -> Iterator[str]:
    """The address of a database at the current schema, one a module."""
    name = _databases.make(_template, "quarterdeck_app")
    yield _databases.address(name)
    _databases.let_go(name)
