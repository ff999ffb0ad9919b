"""`quarterdeck replay` on a terminal: the last events on a screen that keeps itself current, and keys."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from quarterdeck_cli.happened import event_line
from quarterdeck_cli.replay_player import KEYS, Player
from quarterdeck_cli.text import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

TICK_S: Final = 0.25
_ESCAPES: Final = {
    b"\x1b[A": "up",
    b"\x1b[B": "down",
    b"\x1b[C": "right",
    b"\x1b[D": "left",
    b"\x1bOA": "up",
    b"\x1bOB": "down",
    b"\x1bOC": "right",
    b"\x1bOD": "left",
    b"\x1b[H": "home",
    b"\x1b[F": "end",
    b"\x1b[1~": "home",
    b"\x1b[4~": "end",
    b"\x1b": "escape",
}


def play(player: Player, out: Console) -> None:
    """Play until the user ends it."""
    from rich.console import Group
    from rich.live import Live

    with keyboard() as keys, Live(console=out, auto_refresh=False, screen=True) as live:
        while True:
            live.update(Group(*screen(player, *out.size)), refresh=True)
            wait = player.wait_s(time.monotonic())
            if wait is not None and wait <= 0:
                player.advance()
                wait = 0.0
            for key in keys(TICK_S if wait is None else min(wait, TICK_S)):
                if not player.press(key):
                    return


def screen(player: Player, width: int, height: int) -> list[Text]:
    """Return the lines of a screen: fewer than `height`, the last event at the bottom, cut to the width."""
    from rich.text import Text

    room = max(1, height - 4)
    past = player.events[max(0, player.shown - room) : player.shown]
    lines = [event_line(event) for event in past] or [Text("Nothing has happened yet.", style="dim")]
    lines[-1].stylize("bold")
    for line in lines:
        line.truncate(width, overflow="ellipsis")
        line.no_wrap = True
    at = visible(past[-1]["recordedAt"])[:19] if past else "the beginning"
    known = "" if player.ended else "+"
    state = "the end" if player.over else "paused" if player.paused else f"{player.speed:g} times as fast"
    if (skipped := player.skipped()) is not None and not player.paused:
        state += f", a gap of {_words(skipped)} is skipped"
    head = f"{at}   event {player.shown} of {len(player.events)}{known}   {state}"
    return [Text(head[:width], style="reverse"), *lines, Text(KEYS[:width], style="dim")]


@contextmanager
def keyboard() -> Iterator[Any]:
    """Yield what returns the keys that were pressed, waiting for one at most so many seconds."""
    import termios
    import tty

    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    try:
        tty.setcbreak(number)
        yield lambda wait_s: _pressed(number, wait_s)
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)


def keys_of(data: bytes) -> Iterator[str]:
    """Yield the keys that some bytes of a terminal stand for; what is no key of ours is passed over."""
    while data:
        found = next((code for code in sorted(_ESCAPES, key=len, reverse=True) if data.startswith(code)), None)
        if found == b"\x1b" and len(data) > 1:
            return  # the beginning of a key that is not ours
        if found is not None:
            yield _ESCAPES[found]
            data = data[len(found) :]
        else:
            yield chr(data[0])
            data = data[1:]


def _pressed(number: int, wait_s: float) -> list[str]:
    ready, _, _ = select.select([number], [], [], max(0.0, wait_s))
    return list(keys_of(os.read(number, 64))) if ready else []


def _words(gap: timedelta) -> str:
    text = str(timedelta(seconds=round(gap.total_seconds())))
    return text.removesuffix(", 0:00:00")
