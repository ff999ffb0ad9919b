"""`quarterdeck demo`: the whole journey with a scripted agent, on real parts. Leaves a story worth replaying."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from quarterdeck_cli.problems import give_up, need_server
from quarterdeck_cli.up import settings_for


def demo(
    data_dir: Annotated[
        Path | None, typer.Option(help="Keep the story here, to look at with `quarterdeck up --data-dir`.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port of the API; a free one by default.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what happened as one JSON document.")] = False,
) -> None:
    """Play one whole story: an agent asks, a human decides, the agent acts once, an auditor proves it.

    Everything is real: PostgreSQL, Temporal, HTTP, signatures. Without --data-dir nothing is left behind.
    """
    need_server()
    from quarterdeck_domain.errors import QuarterdeckError
    from quarterdeck_embedded import EmbeddedError, free_port

    with tempfile.TemporaryDirectory(prefix="quarterdeck-demo-") as scratch:
        where = data_dir or Path(scratch) / "data"
        settings = settings_for(data_dir=where, port=port or free_port())
        try:
            story = _play(settings, quiet=json)
        except EmbeddedError as error:
            give_up(str(error), "quarterdeck doctor")
        except QuarterdeckError as error:
            give_up(error.message, "quarterdeck doctor")
    if json:
        import json as jsonlib

        print(jsonlib.dumps(story))
    elif data_dir is not None:
        typer.echo(f"\n The story is kept. Look around in it:  quarterdeck up --data-dir {data_dir}")


def _play(settings: Any, *, quiet: bool) -> dict[str, Any]:
    from quarterdeck_cli.installation import installation
    from quarterdeck_cli.story import Story, StoryFailed

    def say(text: str = "", *, strong: bool = False) -> None:
        if not quiet:
            typer.secho(text, bold=strong)

    say(" ⚓ quarterdeck demo", strong=True)
    with installation(settings, lambda what, seconds: say(f"   ✔ {what:<28} {seconds:5.1f} s")) as running:
        if running.sign_in is None:
            give_up(
                f"{settings.data_dir} holds a story already", "choose an empty --data-dir, or `quarterdeck up` on it"
            )
        try:
            return Story(running.base_url, running.sign_in, say).play()
        except StoryFailed as error:
            give_up(str(error), f"look into {settings.data_dir}/logs")
