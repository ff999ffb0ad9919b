"""`quarterdeck up`: everything on this machine, in one go."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quarterdeck_cli.client import fail
from quarterdeck_cli.problems import give_up, need_server
from quarterdeck_cli.program import program
from quarterdeck_cli.text import quoted

if TYPE_CHECKING:
    from quarterdeck_cli.installation import Running
    from quarterdeck_embedded import EmbeddedError

DataDir = Annotated[Path | None, typer.Option(help="Where everything is kept [QUARTERDECK_DATA_DIR]")]
Port = Annotated[int | None, typer.Option(help="Port of the API [QUARTERDECK_PORT]")]
Host = Annotated[str | None, typer.Option(help="Address of the API [QUARTERDECK_HOST]")]


def up(data_dir: DataDir = None, host: Host = None, port: Port = None, json: bool = False) -> None:
    """Start PostgreSQL, Temporal, API, worker and projector on this machine, and keep them running.

    Everything lives in one directory and survives restarts. Ctrl-C stops it all, in order. Parts named by
    QUARTERDECK_DATABASE_URL and QUARTERDECK_TEMPORAL_ADDRESS are used instead of embedded ones.
    """
    need_server()
    from quarterdeck_cli.installation import installation
    from quarterdeck_domain.errors import QuarterdeckError
    from quarterdeck_embedded import EmbeddedError

    settings = settings_for(data_dir=data_dir, host=host, port=port)
    begun = time.monotonic()
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    if not json:
        typer.secho(f" ⚓ quarterdeck   data: {settings.data_dir.expanduser()}", bold=True)
    try:
        with installation(settings, _say if not json else lambda _what, _seconds: None) as running:
            (_show_json if json else _show)(running, time.monotonic() - begun, settings.data_dir.expanduser())
            while not stopping.wait(0.5):
                for name in running.restart_dead():
                    log = f"{name}.log" if name in ("postgres", "temporal") else f"logs/{name}.log"
                    typer.secho(f" ! {name} died and is started again; its log: {log}", err=True)
            if not json:
                typer.echo(" stopping …")
    except EmbeddedError as error:
        fail(str(error), after(error), json=json, kind="embedded")
    except QuarterdeckError as error:
        fail(error.message, "quarterdeck doctor", json=json, kind=error.code)


def after(error: EmbeddedError) -> str | None:
    """Return the next step after an embedded part failed, where the message does not name it already."""
    from quarterdeck_embedded import StartFailed

    return "quarterdeck doctor" if isinstance(error, StartFailed) else None


def settings_for(**given: Any) -> Any:
    """Return the settings, with what the command line gave on top; end with the reason if they do not hold."""
    from quarterdeck_runtime.settings import WrongSettings, load_settings

    try:
        return load_settings(**{name: value for name, value in given.items() if value is not None})
    except WrongSettings as error:
        give_up(str(error), "docs/configuration.md lists every setting", code=2)


def _say(what: str, seconds: float) -> None:
    typer.echo(f" {typer.style('✔', fg=typer.colors.GREEN)} {what:<28} {seconds:5.1f} s")


def _show(running: Running, seconds: float, data_dir: Path) -> None:
    url, name = running.base_url, program()
    typer.secho(f" ready in {seconds:.1f} s", fg=typer.colors.GREEN)
    typer.echo(f"   API        {url}   (AuthZEN {url}/access/v1 · GraphQL {url}/graphql · OpenAPI {url}/openapi.json)")
    typer.echo(f"   Temporal   {running.temporal_address}")
    if running.sign_in is not None:
        typer.echo("\n You are the administrator. This link works once, for a day:")
        typer.secho(f"   {url}/sign-in/{running.sign_in}", bold=True)
        typer.echo("\n A first request, in another terminal:")
        typer.echo(f"   {name} sign-in {url}/sign-in/{running.sign_in}")
        typer.echo(f"   {name} people add bot --kind agent")
        typer.echo(" which says how it gets its key; docs/agents.md goes on from there.")
    else:
        way = f"{name} recover-administrator --data-dir {quoted(data_dir)} --reason WHY"
        typer.echo(f"\n Lost the way in?  {way}")
    typer.echo(f"\n Next:  {name} demo   plays a whole story  ·  {name} approvals watch   decides\n Ctrl-C stops.")


def _show_json(running: Running, seconds: float, _data_dir: Path) -> None:
    import json

    shown = {
        "url": running.base_url,
        "temporal": running.temporal_address,
        "sign_in": None if running.sign_in is None else f"{running.base_url}/sign-in/{running.sign_in}",
        "pids": running.supervisor.pids(),
        "postgres_pid": running.postgres.pid if running.postgres else None,
        "temporal_pid": running.temporal.pid if running.temporal else None,
        "ready_s": round(seconds, 3),
    }
    print(json.dumps(shown), flush=True)
