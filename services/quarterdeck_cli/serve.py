"""`quarterdeck serve api|worker|projector`: one role as one process. The same code everywhere; they need no order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine
from typing import Annotated, Any

import typer

from quarterdeck_cli.problems import give_up, need_server
from quarterdeck_cli.up import settings_for

app = typer.Typer(help="Run one role in the foreground (api, worker, projector).", no_args_is_help=True)
Host = Annotated[str | None, typer.Option(help="Address to listen on [QUARTERDECK_HOST]")]
Port = Annotated[int | None, typer.Option(help="Port to listen on [QUARTERDECK_PORT]")]


@app.command()
def api(host: Host = None, port: Port = None) -> None:
    """Serve REST, AuthZEN, GraphQL and the log over HTTP."""
    need_server()
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    _run("api", given)


@app.command()
def worker() -> None:
    """Run the workflows: gates, reminders, expiries, callbacks."""
    need_server()
    _run("worker", {})


@app.command()
def projector() -> None:
    """Keep the read models current, and drive Temporal by the log."""
    need_server()
    _run("projector", {})


def _run(role: str, given: dict[str, Any]) -> None:
    import uvloop

    from quarterdeck_cli import roles
    from quarterdeck_domain.errors import QuarterdeckError

    settings = settings_for(**given)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_until_told(roles.ROLES[role](settings), own_signals=role == "api"))
    except QuarterdeckError as error:
        give_up(error.message, "quarterdeck doctor")
    except (ValueError, RuntimeError) as error:
        give_up(str(error), "quarterdeck doctor")


async def _until_told(work: Coroutine[Any, Any, None], *, own_signals: bool) -> None:
    task = asyncio.ensure_future(work)
    if not own_signals:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
