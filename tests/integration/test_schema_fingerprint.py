"""A revision of the schema is what it was when it was released: in the sources, and in every database that says so.

Serves DESIGN "What must always hold" 8: an upgrade is whole or refused.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
import record_release

from quarterdeck_cli.installation import prepare
from quarterdeck_ledger import migrations
from quarterdeck_ledger.errors import NewerSchema, UnreleasedSchema
from quarterdeck_ledger.migrate import migrate
from quarterdeck_ledger.server import FOUND, current_schema, is_current, mark, wait_for_schema
from quarterdeck_runtime.settings import Settings

Databases = Callable[[], str]
PINNED = [
    (release.name, *line.split())
    for release in sorted(record_release.FOLDER.iterdir())
    for line in (release / "schema.txt").read_text().splitlines()
]


@pytest.mark.parametrize(("release", "revision", "pinned"), PINNED, ids=[" ".join(item[:2]) for item in PINNED])
def test_what_a_released_revision_executes_never_changes(release: str, revision: str, pinned: str) -> None:
    """`tests/releases/<version>/schema.txt` says what each revision executed when that version was released."""
    assert migrations.fingerprint(revision) == pinned, (
        f"the SQL of revision {revision} is not what release {release} executed: databases that have run it would not "
        "get the change. Undo the edit and write a new revision: quarterdeck_ledger/migrations/versions/NNNN_name.py "
        "with the change in NNNN_name.sql beside it. Only while that release is not published: record it anew with "
        "`PYTHONPATH=tests/helpers python tests/helpers/record_release.py`"
    )


def test_every_revision_is_scripts() -> None:
    """What it executes is what is hashed; and it hands on to the one before it."""
    for revision in migrations.revisions():
        assert migrations.scripts(revision)
        (path,) = migrations.VERSIONS.glob(f"{revision}_*.py")
        assert f'revision = "{revision}"' in path.read_text()
        assert "run(revision, op.get_bind())" in path.read_text()
        assert ".execute(" not in path.read_text()


@pytest.mark.parametrize("left", [None, "quarterdeck 0001, sha256 00"], ids=["none", "another"])
async def test_the_database_of_an_unreleased_build_is_refused_and_left_alone(
    left: str | None, migrated_database: Databases, tmp_path: Path
) -> None:
    """At the newest revision, made of something else: by whoever asks, at once, with what to do."""
    url = migrated_database()
    assert await is_current(url)
    await _mark(url, left)
    for asked in (
        is_current(url),
        wait_for_schema(url, 60),
        migrate(url),
        prepare(Settings(data_dir=tmp_path), url, url),
    ):
        async with asyncio.timeout(30):
            with pytest.raises(UnreleasedSchema, match="quarterdeck restore"):
                await asked
    assert await _found(url) == (current_schema(), left)


@pytest.mark.parametrize("words", [("migrate",), ("serve", "projector"), ("doctor",)], ids=lambda words: words[0])
async def test_every_command_says_why_and_what_next(
    words: tuple[str, ...], migrated_database: Databases, tmp_path: Path
) -> None:
    """In words, not with a traceback; and it fails."""
    url = migrated_database()
    await _mark(url, None)
    done = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "quarterdeck_cli", *words),
        env={
            "QUARTERDECK_DATABASE_URL": url,
            "QUARTERDECK_DATA_DIR": str(tmp_path),
            "QUARTERDECK_TEMPORAL_ADDRESS": "127.0.0.1:1",
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "COLUMNS": "1000",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        said, _ = await done.communicate()
    assert done.returncode == 1
    assert "an unreleased build made it" in said.decode()
    assert "Traceback" not in said.decode()


async def test_an_older_revision_is_migrated_and_an_older_program_refuses_what_comes_of_it(
    migrated_database: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless the older revision is an unreleased build's: what comes after would be built on other ground."""
    released, unreleased = migrated_database(), migrated_database()
    await _mark(unreleased, None)
    with monkeypatch.context() as later:
        later.setattr(migrations, "VERSIONS", _later_release(tmp_path / "migrations"))
        assert current_schema() == "9998"
        assert not await is_current(released)
        with pytest.raises(UnreleasedSchema, match="another schema 0001"):
            await migrate(unreleased)
        await migrate(released)
        assert await is_current(released)
        assert await _found(released) == ("9998", mark("9998"))
        await migrate(released)
    assert await _found(unreleased) == ("0001", None)
    assert not await is_current(released)
    with pytest.raises(NewerSchema):
        await migrate(released)


def _later_release(folder: Path) -> Path:
    """Make the migrations of a release with one revision more; return their folder."""
    shutil.copytree(migrations.VERSIONS.parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    text = max((folder / "versions").glob("[0-9]*.py")).read_text()
    known = current_schema()
    text = text.replace('revision = "' + known, 'revision = "9998', 1)
    text = "\n".join(
        f'down_revision = "{known}"' if line.startswith("down_revision") else line for line in text.splitlines()
    )
    (folder / "versions" / "9998_more.py").write_text(text)
    (folder / "versions" / "9998_more.sql").write_text(
        "CREATE TABLE ledger.more (a int); CREATE INDEX ON ledger.more (a);"
    )
    return folder / "versions"


async def _mark(url: str, left: str | None) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"COMMENT ON SCHEMA ledger IS {'NULL' if left is None else repr(left)}")
    finally:
        await connection.close()


async def _found(url: str) -> tuple[str, str | None]:
    connection = await asyncpg.connect(url)
    try:
        found = await connection.fetchrow(FOUND)
    finally:
        await connection.close()
    return found["revision"], found["mark"]
