"""What earlier releases kept is read, folded and proven by this one; a schema is upgraded whole, never half, never back.

`tests/releases/<version>/` was recorded by each release (see `record_release`): a backup, which is restored here, and
the database itself, which is upgraded in place, as the next start of an installation does.

Serves C01, S0-12 (a recorded log of every released version stays readable), S0-20; DESIGN "What must always hold" 8.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

import asyncpg
import pytest
import record_release
from release_story import chapter

from quarterdeck import verifier
from quarterdeck_cli.installation import prepare
from quarterdeck_domain.access.events import PrincipalRegistered
from quarterdeck_domain.catalogue import REGISTRY
from quarterdeck_domain.events import NewEvent, RecordedEvent
from quarterdeck_ledger import backup, bundle, keyfile
from quarterdeck_ledger.checkpoints import Checkpointer, PostgresCheckpoints
from quarterdeck_ledger.errors import NewerSchema
from quarterdeck_ledger.followers import Followers
from quarterdeck_ledger.keys import FileKeyStore
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.migrate import migrate
from quarterdeck_ledger.postgres import PostgresStore
from quarterdeck_ledger.restore import restore
from quarterdeck_ledger.server import is_current
from quarterdeck_ledger.signing import FileSigningKeys
from quarterdeck_projector import invariants
from quarterdeck_projector.eraser import Eraser
from quarterdeck_projector.invariants_log import check_log
from quarterdeck_projector.projector import Projector
from quarterdeck_readmodels import schema
from quarterdeck_readmodels.schema import LIVE
from quarterdeck_runtime.settings import Settings

RELEASES = sorted(path for path in record_release.FOLDER.iterdir() if path.is_dir())
Databases = Callable[[], str]


def test_this_release_is_recorded(tmp_path: Path) -> None:
    """Recording again gives the same content. If not: a released one needs an upcaster and a new version;
    an unreleased one is recorded anew with `python tests/helpers/record_release.py` (PYTHONPATH=tests/helpers)."""
    asyncio.run(record_release.record(tmp_path / "again"))
    kept = record_release.FOLDER / version("quarterdeck")
    for name in ("backup.qd", "keys.qd"):
        again = gzip.decompress((tmp_path / "again" / name).read_bytes())
        assert again == gzip.decompress((kept / name).read_bytes()), name
    for name in ("checkpoint.txt", "vkey.txt", "schema.txt"):
        assert (tmp_path / "again" / name).read_bytes() == (kept / name).read_bytes(), name
    sizes = {path.name: path.stat().st_size for path in kept.iterdir()}
    assert sizes.pop("schema.graphql") < 200_000
    assert sum(sizes.values()) < 300_000


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
async def test_an_earlier_releases_data_is_brought_here(
    release: Path, fresh_database: Databases, tmp_path: Path
) -> None:
    """Restored into a database that this release migrates: read, folded and proven as if it had been recorded here."""
    url = fresh_database()
    await migrate(url)
    with (release / "backup.qd").open("rb") as file:
        header = backup.check(file)
        await restore(url, file)
    with (release / "keys.qd").open("rb") as file:
        keyfile.restore(keyfile.read(file), tmp_path / "keys")
    async with PostgresStore.open(url, size=3) as store:
        reached = await Projector(store, store.pool).rebuild()
        assert reached == {end.tenant: end.position for end in header.tenants}
        await _read_and_proven(store, release, reached, tmp_path)


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
async def test_an_earlier_releases_database_is_upgraded_in_place(
    release: Path, fresh_database: Databases, migrated_database: Databases, tmp_path: Path
) -> None:
    """As it lay in the data directory: migrated, it has the schema of a new one, reads the same, and the log goes on."""
    new = migrated_database()  # by then the roles are there, as they are in any cluster of an installation
    url = fresh_database()
    record_release.load(url, gzip.decompress((release / "database.sql.gz").read_bytes()).decode())
    with (release / "backup.qd").open("rb") as file:
        reached = {end.tenant: end.position for end in backup.check(file).tenants}
    with (release / "keys.qd").open("rb") as file:
        keyfile.restore(keyfile.read(file), tmp_path / "keys")
    await migrate(url)
    assert await prepare(Settings(data_dir=tmp_path, default_tenant="journey"), url, _as_application(url)) is None
    async with (
        PostgresStore.open(_as_application(url), size=3) as store,
        PostgresStore.open(_as_application(new), size=1) as other,
    ):
        await Projector(store, store.pool).prepare()
        await Projector(other, other.pool).prepare()
        assert _schema_of(url) == _schema_of(new), _CHANGED_IN_PLACE
        for tenant, position in reached.items():
            assert await Projector(store, store.pool).advance_to_end(tenant) == position
        await _read_and_proven(store, release, reached, tmp_path)
        await _goes_on(store, tmp_path)


_CHANGED_IN_PLACE = """a database of an earlier release, upgraded, has not the schema of a new one. The log: write a new
revision in quarterdeck_ledger/migrations. The read models: raise quarterdeck_readmodels.catalogue.VERSION. If the
release is not published yet, record it anew: PYTHONPATH=tests/helpers python tests/helpers/record_release.py"""


def _as_application(url: str) -> str:
    return url.replace("postgres@", "quarterdeck_app@", 1)


def _schema_of(url: str) -> list[str]:
    return record_release.dump(url, "--schema-only").splitlines()


async def _goes_on(store: PostgresStore, tmp_path: Path) -> None:
    """Everything happens once more, on the upgraded tables."""
    ledger = EventLedger(store, FileKeyStore(tmp_path / "keys" / "subjects"))
    more = chapter(record_release.ROUNDS, record_release.START)
    before = (await ledger.head("journey")).position
    await ledger.append(
        "journey", [NewEvent(id=uuid.uuid4(), payload=payload, actor=record_release.ACTOR) for payload in more]
    )
    assert await Projector(store, store.pool).advance_to_end("journey") == before + len(more)
    assert [found async for found in check_log(store, "journey")] == []
    assert await invariants.check_read_models(store) == []


async def _read_and_proven(store: PostgresStore, release: Path, reached: Mapping[str, int], tmp_path: Path) -> None:
    """The log reads, opens and proves whole; the read models, at its end, are those of a rebuild."""
    ledger = EventLedger(store, FileKeyStore(tmp_path / "keys" / "subjects"))
    types: set[str] = set()
    for tenant, position in reached.items():
        events = await ledger.read(tenant)
        assert len(events) == position
        assert [found async for found in check_log(store, tenant)] == []
        assert invariants.check_rules(tenant, events) == []
        _opened(events)
        types |= {event.type for event in events}
    if release.name == version("quarterdeck"):
        assert types == {kind.type for kind in REGISTRY.types()}
    assert await invariants.check_read_models(store) == []
    for tenant, position in reached.items():
        async with store.pool.acquire() as connection, connection.transaction():
            _, progress = await schema.enter(connection, LIVE, tenant)
        assert (progress.position, progress.stopped_at) == (position, None)
    await _proven(store, ledger, release, tmp_path)
    await _erased_again(store, ledger)


def _opened(events: list[RecordedEvent]) -> None:
    """Personal fields open with the release's keys."""
    people = [event.payload for event in events if isinstance(event.payload, PrincipalRegistered)]
    assert "ada0@example.test" in {person.email for person in people}


async def _proven(store: PostgresStore, ledger: EventLedger, release: Path, tmp_path: Path) -> None:
    """An export made here verifies against the checkpoint and the key that an auditor kept of that release."""
    signer = Checkpointer(
        store,
        FileSigningKeys(tmp_path / "keys" / "signing"),
        PostgresCheckpoints(store.pool),
        origin=lambda tenant: f"quarterdeck/{tenant}",
    )
    signed = await signer.checkpoint("journey")

    async def pages():  # type: ignore[no-untyped-def]
        yield [entry for _, entry in await store.read("journey", None, 0, None, None, False)]

    text = b"".join(
        [chunk async for chunk in bundle.write_full("journey", signed.note, signer.vkeys("journey"), pages())]
    )
    held = (release / "checkpoint.txt").read_bytes()
    verdict = verifier.verify(io.BytesIO(text), checkpoints=[held], vkeys=[(release / "vkey.txt").read_text().strip()])
    assert verdict.events == signed.size
    assert verdict.held == [record_release.FIRST_CHECKPOINT]


async def _erased_again(store: PostgresStore, ledger: EventLedger) -> None:
    """A copy of the keys from before an erasure brings the key back for no longer than until the first start."""

    async def of(name: str) -> str | None:
        found = [event.payload for event in await ledger.read("journey")]
        people = [
            item for item in found if isinstance(item, PrincipalRegistered) and item.principal_id.startswith(name)
        ]
        return people[0].email

    assert await of("prn_gone") == "gone@example.test"
    assert await Eraser(ledger, Followers(store.pool)).advance("journey") == record_release.ROUNDS
    assert await of("prn_gone") is None
    assert await of("prn_owner") == "ada0@example.test"


async def test_a_newer_schema_is_refused_and_left_alone(migrated_database: Databases, tmp_path: Path) -> None:
    """By `migrate` and by `up`; nothing is changed. The command says it in one line and ends with 1."""
    url = migrated_database()
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("UPDATE schema_version SET version_num = '9999'")
        with pytest.raises(NewerSchema, match="9999"):
            await migrate(url)
        with pytest.raises(NewerSchema):
            await prepare(Settings(data_dir=tmp_path), url, url)
        done = await _run_migrate(url)
        _, err = await done.communicate()
        assert done.returncode == 1
        assert "9999" in err.decode()
        assert "Traceback" not in err.decode()
        assert await connection.fetchval("SELECT version_num FROM schema_version") == "9999"
    finally:
        await connection.close()


async def test_an_interrupted_migration_is_run_again_from_its_beginning(fresh_database: Databases) -> None:
    """Killed in the middle of its statements, it leaves nothing; the next run does it all, and a third one nothing."""
    url = fresh_database()
    blocker = await asyncpg.connect(url)
    watcher = await asyncpg.connect(url)
    try:
        block = blocker.transaction()
        await block.start()
        await blocker.execute(
            "CREATE SCHEMA ledger"
        )  # whoever makes it too waits for us: half of the migration is done
        process = await _run_migrate(url)
        async with asyncio.timeout(30):
            while not await watcher.fetchval(_WAITING):
                await watcher.execute("SELECT pg_sleep(0.02)")
        process.send_signal(signal.SIGKILL)
        await process.communicate()
        await block.rollback()
        async with asyncio.timeout(30):
            while await watcher.fetchval(_BUSY):
                await watcher.execute("SELECT pg_sleep(0.02)")
        assert await watcher.fetchval("SELECT to_regclass('ledger.events')") is None
        assert not await is_current(url)
        await migrate(url)
        assert await is_current(url)
        before = await watcher.fetchval("SELECT 'ledger.events'::regclass::oid")
        await migrate(url)
        assert await watcher.fetchval("SELECT 'ledger.events'::regclass::oid") == before
    finally:
        await blocker.close()
        await watcher.close()


_BUSY = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND state LIKE '%transaction%'"
_WAITING = """
SELECT count(*) > 0 FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query ILIKE '%CREATE SCHEMA ledger%'
"""


async def _run_migrate(url: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "quarterdeck_cli", "migrate"),
        env={"QUARTERDECK_DATABASE_URL": url, "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
