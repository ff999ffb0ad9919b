"""`quarterdeck replay`: a span of the past again, as fast or as slowly as one likes.

Exit codes: 0 done; 1 refused or failed; 2 wrong usage; 3 nobody answers.
"""

from __future__ import annotations

import sys
import time
from itertools import islice
from typing import Annotated, Any, Final

import typer

from quarterdeck_cli.client import Api
from quarterdeck_cli.happened import Span, event_line
from quarterdeck_cli.output import AsJson, console, print_json
from quarterdeck_cli.replay_player import Player
from quarterdeck_cli.timeline import From, To

MAX_SPEED: Final = 1_000_000.0
SHOWN_AT: Final = 60.0
"""How fast it is shown on a terminal, where nobody says: an hour in a minute."""


def replay(
    begin: From = None,
    end: To = None,
    speed: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=MAX_SPEED,
            help="How much faster than it was; 0: without gaps. 60 on a terminal, else 0.",
            show_default=False,
        ),
    ] = None,
    about: Annotated[list[str], typer.Option(metavar="ID", help="Only what touched this; several times: all.")] = [],  # noqa: B006
    type: Annotated[list[str], typer.Option(help="Only events of this type; several times.")] = [],  # noqa: B006
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many events at most.")] = 100_000,
    json: AsJson = False,
) -> None:
    """Play what happened again. On a terminal: space pauses, + and - change the speed, arrows seek, q ends.

    Without a terminal, or with --json, a line for each event, after the gap that it had, divided by the speed.
    """
    out = console()
    interactive = not json and out.is_terminal and sys.stdin.isatty() and not out.is_dumb_terminal
    with Api(json=json) as api:
        span = Span(
            api, {"about": [item.removeprefix("asset:") for item in about], "types": type}, begin, end, json=json
        )
        rate = speed if speed is not None else SHOWN_AT if interactive else 0.0
        player = Player(islice(span.events(), limit), rate)
        try:
            if interactive:
                from quarterdeck_cli.replay_screen import play

                play(player, out)
            else:
                _lines(player, out, json)
        except KeyboardInterrupt:
            return


def _lines(player: Player, out: Any, json: bool) -> None:
    while True:
        wait = player.wait_s(time.monotonic())
        if wait is None:
            return
        if wait > 0:
            time.sleep(wait)
        event = player.advance()
        if event is None:
            return
        if json:
            print_json(event)
        else:
            out.print(event_line(event), soft_wrap=True)
