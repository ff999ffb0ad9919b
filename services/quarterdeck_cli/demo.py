"""`quarterdeck demo`: the whole journey with a scripted agent, on real parts. Leaves a story worth replaying."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from quarterdeck_cli.client import fail
from quarterdeck_cli.output import print_json
from quarterdeck_cli.problems import need_server
from quarterdeck_cli.program import program
from quarterdeck_cli.text import quoted
from quarterdeck_cli.up import after, settings_for

_FRESH: Final = "demo --data-dir DIR   with a directory that is not there yet keeps it and its logs"


def demo(
    data_dir: Annotated[
        Path | None, typer.Option(help="Keep the story here, to look at with `quarterdeck up --data-dir`.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port of the API; a free one by default.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what happened as one JSON document.")] = False,
) -> None:
    """Play one whole story: an agent asks, a human decides, the agent acts once, an auditor looks back and proves it.

    Everything is real: PostgreSQL, Temporal, HTTP, signatures. Without --data-dir nothing is left behind.
    """
    need_server()
    from quarterdeck_domain.errors import QuarterdeckError
    from quarterdeck_embedded import EmbeddedError, free_port

    with tempfile.TemporaryDirectory(prefix="quarterdeck-demo-") as scratch:
        where = data_dir or Path(scratch) / "data"
        settings = settings_for(data_dir=where, port=port or free_port())
        try:
            told = _play(settings, Path(scratch), keep=data_dir is not None, json=json)
        except EmbeddedError as error:
            fail(str(error), after(error), json=json, kind="embedded")
        except QuarterdeckError as error:
            fail(error.message, "quarterdeck doctor", json=json, kind=error.code)
    token = told.pop("sign_in_token", None)
    link = None if token is None else f"{settings_for(data_dir=data_dir).base_url}/sign-in/{token}"
    if json:
        print_json(told | {"data_dir": None if data_dir is None else str(data_dir), "sign_in": link})
    else:
        show_way_back(data_dir, link)


def show_way_back(data_dir: Path | None, link: str | None) -> None:
    """Print how to keep a story, or how to come back to the one that was kept; `link` signs in to that."""
    name = program()
    if data_dir is None:
        typer.secho("\n Nothing of it is kept. To keep the story, and to come back to it:", bold=True)
        typer.echo(f"   {name} demo --data-dir story\n   {name} up --data-dir story")
        return
    typer.secho(f"\n The story is kept in {data_dir}. To come back to it:", bold=True)
    typer.echo(f"   {name} up --data-dir {quoted(data_dir)}")
    typer.echo(" In another terminal, as its administrator (the link works once, for 8 hours):")
    typer.echo(f"   {name} sign-in \\\n   {link}\n   {name} log tail")


def _play(settings: Any, scratch: Path, *, keep: bool, json: bool) -> dict[str, Any]:
    from quarterdeck_cli.installation import installation
    from quarterdeck_cli.story import Story
    from quarterdeck_cli.story_door import StoryFailed

    def say(text: str = "", *, strong: bool = False) -> None:
        if not json:
            typer.secho(text, bold=strong)

    say(" ⚓ quarterdeck demo", strong=True)
    with installation(settings, lambda what, seconds: say(f"   ✔ {what:<28} {seconds:5.1f} s")) as running:
        if running.sign_in is None:
            fail(f"{settings.data_dir} holds a story already", f"{program()} {_FRESH}", json=json, kind="wrong_state")
        try:
            return Story(running.base_url, running.sign_in, say, scratch, keep=keep).play()
        except StoryFailed as error:
            hint = f"look into {settings.data_dir}/logs" if keep else f"{program()} {_FRESH}"
            fail(str(error), hint, json=json, kind="story_failed")
