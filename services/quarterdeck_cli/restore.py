"""`quarterdeck restore` and `quarterdeck restore-keys`: an installation from what was kept of another.

Exit codes: 0 done; 1 refused or failed, and nothing was changed; 2 wrong usage; 3 the database does not answer.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from quarterdeck_cli.client import fail
from quarterdeck_cli.offline import Database, bars, database, failures
from quarterdeck_cli.output import AsJson, print_json
from quarterdeck_cli.problems import need_server
from quarterdeck_cli.up import settings_for

if TYPE_CHECKING:
    from quarterdeck_ledger.backup import Header
    from quarterdeck_ledger.postgres import PostgresStore

Source = Annotated[Path, typer.Argument(metavar="SOURCE", help="The file that was kept.")]
DataDir = Annotated[Path | None, typer.Option(help="The new installation [QUARTERDECK_DATA_DIR]")]


def restore(
    source: Source,
    data_dir: DataDir = None,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Restore although the log was signed further than this backup goes.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Make an empty installation what the backup's was, all or nothing, and rebuild every answer from its log.

    Restore keys first (quarterdeck restore-keys), or what was sealed stays sealed.
    """
    need_server()
    settings = settings_for(data_dir=data_dir)
    with failures(json=json), _opened(source) as file:
        from quarterdeck_ledger import backup as backups

        with bars("check", quiet=json) as show:
            header = backups.check(file, show)
        rewound = _rewound(settings.keys / "checkpoints", header)
        if rewound and not accept_loss:
            fail(
                "; ".join(
                    f"{tenant} was signed up to position {signed}, this backup ends at {found}"
                    for tenant, (signed, found) in rewound.items()
                ),
                "find a newer backup; or, if what came after is lost, say --accept-loss and tell your auditors",
                json=json,
                kind="log_rewound",
            )
        with database(settings, new=True) as found:
            reached = asyncio.run(_restore(found, file, settings, quiet=json))
        aside = _set_aside(settings.keys / "checkpoints", rewound)
    keyless = not (settings.keys / "signing").is_dir()
    _tell(source, header, reached, aside, keyless=keyless, json=json)


def restore_keys(source: Source, data_dir: DataDir = None, json: AsJson = False) -> None:
    """Make the keys' directory from a copy. It must be empty: keys are never mixed, or destroyed ones would return."""
    need_server()
    settings = settings_for(data_dir=data_dir)
    with failures(json=json), _opened(source) as file:
        from quarterdeck_ledger import keyfile

        counts = keyfile.restore(keyfile.read(file), settings.keys.absolute())
    if json:
        print_json({"directory": str(settings.keys), "subjects": counts.subjects, "signing": counts.signing})
        return
    typer.echo(f" ✔ {counts.subjects} keys of data subjects, {counts.signing} signing keys in {settings.keys}")
    typer.echo(" Erasures that the log knows of are carried out again at the next start.")


def _opened(source: Path) -> BinaryIO:
    if not source.is_file():
        raise FileNotFoundError(2, "there is no such file", str(source))
    return source.open("rb")


async def _restore(found: Database, file: BinaryIO, settings: Any, *, quiet: bool) -> dict[str, int]:
    from quarterdeck_ledger import restore as restoring
    from quarterdeck_ledger.migrate import migrate
    from quarterdeck_ledger.postgres import PostgresStore
    from quarterdeck_ledger.server import check_server, is_current
    from quarterdeck_projector.projector import Projector

    await check_server(found.admin_url)
    await restoring.require_empty(found.admin_url)
    if not await is_current(found.admin_url):
        await migrate(found.admin_url)
    with bars("log", quiet=quiet) as show:
        await restoring.restore(found.admin_url, file, show)
    async with PostgresStore.open(found.url, size=3) as store:
        await _add_held(store, settings)
        with bars("read models", quiet=quiet) as show:
            return await Projector(store, store.pool).rebuild(show)


async def _add_held(store: PostgresStore, settings: Any) -> None:
    """Put what was signed last, and is kept beside the keys, among the checkpoints: the backup may be from before."""
    from quarterdeck_ledger.checkpoints import Checkpointer, PostgresCheckpoints
    from quarterdeck_ledger.notes import parse_checkpoint, parse_note
    from quarterdeck_ledger.signing import FileSigningKeys

    kept = PostgresCheckpoints(store.pool)
    checkpointer = Checkpointer(store, FileSigningKeys(settings.keys / "signing"), kept, origin=settings.origin)
    for path in sorted((settings.keys / "checkpoints").glob("*.checkpoint")):
        tenant, note = path.stem, path.read_bytes()
        said, latest = parse_checkpoint(parse_note(note).text), await kept.latest(path.stem)
        if said.size > (await store.head(tenant)).position or (latest is not None and latest.size >= said.size):
            continue
        if await checkpointer.root(tenant, said.size) == said.root:
            await kept.keep(tenant, said.size, said.root, note)


def _rewound(directory: Path, header: Header) -> dict[str, tuple[int, int]]:
    """Return, of each tenant that was signed further than the backup goes, how far, and how far the backup goes."""
    from quarterdeck_ledger.notes import parse_checkpoint, parse_note

    ends = {end.tenant: end.position for end in header.tenants}
    found = {}
    for path in sorted(directory.glob("*.checkpoint")):
        signed = parse_checkpoint(parse_note(path.read_bytes()).text).size
        if signed > ends.get(path.stem, 0):
            found[path.stem] = (signed, ends.get(path.stem, 0))
    return found


def _set_aside(directory: Path, rewound: dict[str, tuple[int, int]]) -> list[str]:
    # The log signs again only once nothing here says that it was longer. The evidence stays, under another name.
    moved = []
    for tenant, (signed, _) in rewound.items():
        target = directory / f"{tenant}.before-restore-{signed}"
        (directory / f"{tenant}.checkpoint").rename(target)
        moved.append(str(target))
    return moved


def _tell(
    source: Path, header: Header, reached: dict[str, int], aside: list[str], *, keyless: bool, json: bool
) -> None:
    positions = {end.tenant: end.position for end in header.tenants}
    behind = {tenant: at for tenant, at in reached.items() if at < positions[tenant]}
    if json:
        shown = {"file": str(source), "created_at": header.created_at, "tenants": positions}
        print_json({**shown, "read_models": reached, "set_aside": aside, "keys": not keyless})
    else:
        for tenant, position in positions.items():
            typer.echo(f" ✔ {tenant}: {position:,} events, as of {header.created_at}")
        for path in aside:
            typer.echo(f" ! what was signed beyond this backup is kept in {path}: tell those who hold checkpoints")
        if keyless:
            typer.echo(
                " ! there are no keys here: what was sealed stays sealed, and new keys would sign. Bring them back"
            )
            typer.echo("   before the first start:  quarterdeck restore-keys SOURCE")
        typer.echo(" Next:  quarterdeck verify --live --checkpoint KEPT   then  quarterdeck up")
    for tenant, position in behind.items():
        typer.secho(f" ! {tenant}: the read models stand at {position}; this release cannot read on", err=True)
    if behind:
        raise typer.Exit(1)
