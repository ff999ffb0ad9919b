"""`quarterdeck migrate`: bring an external database to this release's schema, and open the first tenant."""

from __future__ import annotations

import asyncio
from typing import Any

import typer

from quarterdeck_cli.problems import give_up, need_server
from quarterdeck_cli.up import settings_for


def migrate() -> None:
    """Create or upgrade the schema of QUARTERDECK_MIGRATE_URL (or QUARTERDECK_DATABASE_URL); safe to run again.

    The first time it also opens the default tenant and prints its administrator's one-time sign-in link.
    """
    need_server()
    from quarterdeck_domain.errors import QuarterdeckError

    settings = settings_for()
    if settings.database_url is None:
        give_up("no database is named", "export QUARTERDECK_DATABASE_URL=postgresql://…", code=2)
    try:
        token = asyncio.run(_migrate(settings))
    except QuarterdeckError as error:
        give_up(error.message, "quarterdeck doctor")
    typer.echo(" ✔ the schema is current")
    if token is not None:
        typer.echo(f" The administrator's link works once, for a day:\n   {settings.base_url}/sign-in/{token}")


async def _migrate(settings: Any) -> str | None:
    from quarterdeck_cli.installation import prepare

    url = settings.database_url.get_secret_value()
    admin_url = settings.migrate_url.get_secret_value() if settings.migrate_url else url
    return await prepare(settings, admin_url, url)
