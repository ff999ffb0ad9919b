"""`quarterdeck recover-administrator`: the way back in, for whoever has this machine's own rights."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from quarterdeck_cli.address import base_url
from quarterdeck_cli.offline import database, failures
from quarterdeck_cli.problems import need_server
from quarterdeck_cli.up import settings_for


def recover_administrator(
    reason: Annotated[str, typer.Option(help="Why: everybody who reads the log will see it.")],
    name: Annotated[str, typer.Option(help="Name of the new administrator.")] = "Administrator",
    tenant: Annotated[str | None, typer.Option(help="Tenant [QUARTERDECK_DEFAULT_TENANT]")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="The installation [QUARTERDECK_DATA_DIR]")] = None,
) -> None:
    """Make a new administrator and print a one-time sign-in link. The log records that it happened, and why.

    Works on the database itself, whether `quarterdeck up` runs or not.
    """
    need_server()
    settings = settings_for(data_dir=data_dir)
    with failures(json=False), database(settings) as found:
        token = asyncio.run(_recover(settings, found.url, tenant or settings.default_tenant, name, reason))
    typer.echo("This link works once, for a day:")
    typer.secho(f"  {base_url(settings)}/sign-in/{token}", bold=True)


async def _recover(settings: Any, url: str, tenant: str, name: str, reason: str) -> str:
    from quarterdeck_cli.first_start import recover
    from quarterdeck_ledger.keys import FileKeyStore
    from quarterdeck_ledger.ledger import EventLedger
    from quarterdeck_ledger.postgres import PostgresStore

    async with PostgresStore.open(url, size=1) as store:
        return await recover(EventLedger(store, FileKeyStore(settings.keys / "subjects")), tenant, name, reason)
