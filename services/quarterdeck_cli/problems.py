"""How a command says that it could not: one line, and the next step."""

from __future__ import annotations

from typing import NoReturn

import typer


def give_up(message: str, hint: str | None = None, *, code: int = 1) -> NoReturn:
    """End with a message on standard error and an exit code."""
    typer.secho(f"error: {message}", fg=typer.colors.RED, err=True)
    if hint:
        typer.secho(f"  try: {hint}", err=True)
    raise typer.Exit(code)


def need_server() -> None:
    """End with the next step where only the light install is there."""
    try:
        import asyncpg  # noqa: F401
        import temporalio  # noqa: F401
    except ImportError:
        give_up("this needs the server, and only the client is installed", "pip install 'quarterdeck[embedded]'")
