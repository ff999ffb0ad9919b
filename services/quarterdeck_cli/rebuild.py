"""`quarterdeck rebuild`: make the read models anew from the log, beside the old ones, and swap."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from quarterdeck_cli.problems import give_up, need_server
from quarterdeck_cli.recover import database_url
from quarterdeck_cli.up import settings_for


def rebuild(
    data_dir: Annotated[Path | None, typer.Option(help="The installation [QUARTERDECK_DATA_DIR]")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the positions reached as JSON.")] = False,
) -> None:
    """Recompute every answer from the log. Readers go on with the old tables until the swap."""
    need_server()
    from quarterdeck_domain.errors import QuarterdeckError

    try:
        reached = asyncio.run(_rebuild(settings_for(data_dir=data_dir), quiet=json))
    except QuarterdeckError as error:
        give_up(error.message, "quarterdeck doctor")
    if json:
        import json as jsonlib

        print(jsonlib.dumps(reached))
    else:
        for tenant, position in reached.items():
            typer.echo(f" ✔ {tenant}: up to position {position:,}")


async def _rebuild(settings: Any, *, quiet: bool) -> dict[str, int]:
    from rich.progress import Progress

    from quarterdeck_ledger.postgres import PostgresStore
    from quarterdeck_projector.projector import Projector

    async with PostgresStore.open(database_url(settings), size=3) as store:
        with Progress(disable=quiet) as bar:
            tasks: dict[str, Any] = {}

            def show(tenant: str, position: int, aim: int) -> None:
                if tenant not in tasks:
                    tasks[tenant] = bar.add_task(tenant, total=aim)
                bar.update(tasks[tenant], completed=position, total=aim)

            return await Projector(store, store.pool).rebuild(show)
