"""`quarterdeck recover-administrator`: the way back in, for whoever has this machine's own rights."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from quarterdeck_cli.problems import give_up, need_server
from quarterdeck_cli.up import settings_for


def recover_administrator(
    reason: Annotated[str, typer.Option(help="Why: everybody who reads the log will see it.")],
    name: Annotated[str, typer.Option(help="Name of the new administrator.")] = "Administrator",
    tenant: Annotated[str | None, typer.Option(help="Tenant [QUARTERDECK_DEFAULT_TENANT]")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="The installation [QUARTERDECK_DATA_DIR]")] = None,
) -> None:
    """Make a new administrator and print a one-time sign-in link. The log records that it happened, and why.

    Works on the database itself, while `quarterdeck up` runs or with QUARTERDECK_DATABASE_URL set.
    """
    need_server()
    from quarterdeck_domain.errors import QuarterdeckError

    settings = settings_for(data_dir=data_dir)
    try:
        token = asyncio.run(_recover(settings, tenant or settings.default_tenant, name, reason))
    except QuarterdeckError as error:
        give_up(error.message, "quarterdeck doctor")
    typer.echo("This link works once, for a day:")
    typer.secho(f"  {settings.base_url}/sign-in/{token}", bold=True)


async def _recover(settings: Any, tenant: str, name: str, reason: str) -> str:
    from quarterdeck_cli.first_start import recover
    from quarterdeck_ledger.keys import FileKeyStore
    from quarterdeck_ledger.ledger import EventLedger
    from quarterdeck_ledger.postgres import PostgresStore

    async with PostgresStore.open(database_url(settings), size=1) as store:
        return await recover(EventLedger(store, FileKeyStore(settings.keys / "subjects")), tenant, name, reason)


def database_url(settings: Any) -> str:
    """Return the address of the installation's database, embedded or external."""
    from quarterdeck_embedded import EmbeddedPostgres

    if settings.database_url is not None:
        return str(settings.database_url.get_secret_value())
    return EmbeddedPostgres(settings.data_dir.expanduser().absolute() / "postgres").address("quarterdeck_app")
