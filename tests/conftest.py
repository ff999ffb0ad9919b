"""What the whole suite shares: one embedded PostgreSQL a worker, and as many databases on it as tests ask for."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from quarterdeck_embedded import EmbeddedPostgres
from quarterdeck_ledger.migrate import migrate

settings.register_profile("suite", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """This worker's PostgreSQL. Durable settings stay on: tests must not pass for the wrong reason."""
    directory: Path = tmp_path_factory.mktemp("postgres")
    with EmbeddedPostgres(directory / "pg", settings={"shared_buffers": "64MB", "max_connections": "200"}) as server:
        yield server


@pytest.fixture(scope="session")
def _template(postgres: EmbeddedPostgres) -> str:
    asyncio.run(migrate(postgres.url("template_migrated")))
    return "template_migrated"


@pytest.fixture
def fresh_database(postgres: EmbeddedPostgres) -> Callable[[], str]:
    """Return a function that makes an empty database and returns its address (as superuser)."""
    return lambda: postgres.url(f"empty_{uuid.uuid4().hex[:12]}")


@pytest.fixture
def migrated_database(postgres: EmbeddedPostgres, _template: str) -> Callable[[], str]:
    """Return a function that makes a database at the current schema and returns its address (as superuser)."""
    return lambda: _copy(postgres, _template)


@pytest.fixture(scope="module")
def module_database(postgres: EmbeddedPostgres, _template: str) -> str:
    """The address of a database at the current schema, one a module."""
    return _copy(postgres, _template)


def _copy(postgres: EmbeddedPostgres, template: str) -> str:
    name = f"test_{uuid.uuid4().hex[:12]}"
    postgres.psql(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    postgres.psql(f"GRANT CREATE ON DATABASE {name} TO quarterdeck_app")  # no template carries this
    return postgres.url(name)
