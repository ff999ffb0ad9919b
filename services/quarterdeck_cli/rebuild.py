"""`quarterdeck rebuild`: make the read models anew from the log, beside the old ones, and swap."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from quarterdeck_cli.offline import bars, database, failures
from quarterdeck_cli.problems import need_server
from quarterdeck_cli.up import settings_for


def rebuild(
    data_dir: Annotated[Path | None, typer.Option(help="The installation [QUARTERDECK_DATA_DIR]")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the positions reached as JSON.")] = False,
) -> None:
    """Recompute every answer from the log. Readers go on with the old tables until the swap."""
    need_server()
    with failures(json=json), database(settings_for(data_dir=data_dir)) as found:
        reached = asyncio.run(_rebuild(found.url, quiet=json))
    if json:
        import json as jsonlib

        print(jsonlib.dumps(reached))
    else:
        for tenant, position in reached.items():
            typer.echo(f" ✔ {tenant}: up to position {position:,}")


async def _rebuild(url: str, *, quiet: bool) -> dict[str, int]:
    from quarterdeck_ledger.postgres import PostgresStore
    from quarterdeck_projector.projector import Projector

    async with PostgresStore.open(url, size=3) as store:
        with bars("read models", quiet=quiet) as show:
            return await Projector(store, store.pool).rebuild(show)
