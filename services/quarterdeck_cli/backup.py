"""`quarterdeck backup` and `quarterdeck backup-keys`: two files, for two places.

The first has the log and no key; the second has the keys. Nobody who finds one of them can read what was sealed, or
sign in the log's name. Exit codes: 0 done; 1 refused or failed; 2 wrong usage; 3 the database does not answer.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quarterdeck_cli.offline import bars, database, failures, size_of
from quarterdeck_cli.output import AsJson, print_json
from quarterdeck_cli.problems import need_server
from quarterdeck_cli.up import settings_for

if TYPE_CHECKING:
    from quarterdeck_ledger.backup import Header

Target = Annotated[Path, typer.Argument(metavar="TARGET", help="The file to make; it must not be there.")]
DataDir = Annotated[Path | None, typer.Option(help="The installation [QUARTERDECK_DATA_DIR]")]


def backup(target: Target, data_dir: DataDir = None, json: AsJson = False) -> None:
    """Write the log of every tenant into one file, as of one moment, running or not. No key is in it.

    The file checks itself; `quarterdeck restore` makes everything else from it. Keys: quarterdeck backup-keys.
    """
    need_server()
    with failures(json=json):
        header = _backup(settings_for(data_dir=data_dir), target, quiet=json)
        from quarterdeck_ledger.archive import sha256_of

        digest = sha256_of(target)
    positions = {end.tenant: end.position for end in header.tenants}
    if json:
        shown = {"file": str(target), "bytes": target.stat().st_size, "sha256": digest}
        print_json({**shown, "created_at": header.created_at, "schema": header.schema, "tenants": positions})
        return
    for tenant, position in positions.items():
        typer.echo(f" ✔ {tenant}: {position:,} events")
    typer.echo(f" {target}: {size_of(target)}, sha256 {digest}")
    typer.echo(" The keys are not in it:  quarterdeck backup-keys TARGET   for another place")


def backup_keys(target: Target, data_dir: DataDir = None, json: AsJson = False) -> None:
    """Write every key into one private file: those of data subjects, and those that sign. Keep it apart.

    Make a new copy after each erasure, and destroy the older ones: they still hold the erased person's key.
    """
    need_server()
    with failures(json=json):
        from quarterdeck_cli.client import fail
        from quarterdeck_ledger import archive, keyfile

        keys = settings_for(data_dir=data_dir).keys
        if not keys.is_dir():
            fail(f"there are no keys in {keys}", "name the installation's --data-dir", json=json, kind="not_found")
        with archive.writing(target) as writer:
            counts = keyfile.write(keys, writer)
    if json:
        print_json({"file": str(target), "subjects": counts.subjects, "signing": counts.signing})
        return
    typer.echo(f" ✔ {counts.subjects} keys of data subjects, {counts.signing} signing keys in {target} (mode 600)")
    typer.echo(" They are in clear: keep the file where secrets are kept, and never beside a backup of the log.")


def _backup(settings: Any, target: Path, *, quiet: bool) -> Header:
    with database(settings) as found:
        return asyncio.run(_write(found.url, target, quiet=quiet))


async def _write(url: str, target: Path, *, quiet: bool) -> Header:
    from importlib.metadata import version

    from quarterdeck_ledger import archive
    from quarterdeck_ledger import backup as backups
    from quarterdeck_ledger.postgres import PostgresStore

    async with (
        PostgresStore.open(url, size=1, reading=True) as store,
        backups.snapshot(store.pool, version("quarterdeck")) as snapshot,
    ):
        with archive.writing(target) as writer, bars("backup", quiet=quiet) as show:
            await backups.write(snapshot, writer, show)
        return snapshot.header
