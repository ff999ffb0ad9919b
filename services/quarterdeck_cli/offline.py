"""An installation's database, whether the installation runs or not: for the verbs that look after what is kept."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from quarterdeck_cli.client import fail

if TYPE_CHECKING:
    from collections.abc import Callable

    from quarterdeck_embedded import EmbeddedPostgres


@dataclass(frozen=True)
class Database:
    """Where a database is, for the application's role and for the one that owns the schema."""

    url: str
    admin_url: str


@contextlib.contextmanager
def database(settings: Any, *, new: bool = False) -> Iterator[Database]:
    """Reach the installation's database: external, embedded and running, or started for as long as the block lasts.

    With `new` the embedded installation must not run, and is made if there is none.

    Raises:
        AlreadyRunning: `quarterdeck up` runs there and `new` was said, or it is just starting.
        WrongDirectory: there is no installation there.
        StartFailed: the database did not start.
    """
    from quarterdeck_cli.installation import alone
    from quarterdeck_embedded import EmbeddedPostgres, WrongDirectory

    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        yield Database(url, settings.migrate_url.get_secret_value() if settings.migrate_url else url)
        return
    data_dir = settings.data_dir.expanduser().absolute()
    postgres = EmbeddedPostgres(data_dir / "postgres")
    if not new and not (postgres.data_dir / "PG_VERSION").is_file():
        raise WrongDirectory(f"there is no installation in {data_dir}: name its --data-dir")
    if not new and postgres.is_ready():
        yield _of(postgres)
        return
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with alone(data_dir), postgres:
        postgres.url()  # makes the database where there is none yet
        yield _of(postgres)


@contextlib.contextmanager
def failures(*, json: bool) -> Iterator[None]:
    """End the command, with the reason and the next step, where anything that can go wrong does."""
    import asyncpg
    import structlog

    from quarterdeck_domain.errors import QuarterdeckError
    from quarterdeck_embedded import EmbeddedError
    from quarterdeck_ledger.errors import Unavailable

    # Standard output is the answer's alone: with --json somebody parses it.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        yield
    except Unavailable as error:
        fail(error.message, "quarterdeck doctor", code=3, json=json, kind=error.code)
    except QuarterdeckError as error:
        fail(error.message, json=json, kind=error.code)
    except EmbeddedError as error:
        fail(str(error), "quarterdeck doctor", json=json, kind="embedded")
    except asyncpg.PostgresError as error:
        fail(f"PostgreSQL refused: {error}", "quarterdeck doctor", json=json, kind="database")
    except OSError as error:
        _unreadable(error, json=json)


@contextlib.contextmanager
def bars(what: str, *, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Show how far each tenant is with what is done; yields what is to be called with tenant, position and aim."""
    from rich.progress import Progress

    with Progress(disable=quiet) as bar:
        tasks: dict[str, Any] = {}

        def show(tenant: str, position: int, aim: int) -> None:
            if tenant not in tasks:
                tasks[tenant] = bar.add_task(f"{tenant}: {what}", total=aim)
            bar.update(tasks[tenant], completed=position, total=aim)

        yield show


def size_of(path: Path) -> str:
    """Return a file's size in words."""
    size = path.stat().st_size
    return (
        f"{size:,} bytes" if size < 10_000 else f"{size / 1_000:,.0f} kB" if size < 10**7 else f"{size / 10**6:,.0f} MB"
    )


def _of(postgres: EmbeddedPostgres) -> Database:
    return Database(postgres.address("quarterdeck_app"), postgres.address())


def _unreadable(error: OSError, *, json: bool) -> NoReturn:
    where = f"{error.filename}: " if error.filename else ""
    fail(f"{where}{error.strerror or error}", json=json, kind="unreadable")
