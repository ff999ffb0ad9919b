"""Looking at approvals again and again: on a terminal as a screen that keeps itself current, elsewhere as lines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from quarterdeck_cli.approval_screen import draw
from quarterdeck_cli.approval_view import one_line
from quarterdeck_cli.client import Api

if TYPE_CHECKING:
    from rich.console import Console

MAX_PAGES: Final = 20
"""How far back is looked for what is pending. A page of the API's stands for up to a thousand requests."""


def follow(api: Api, out: Console, status: str, every: float, nothing: str) -> None:
    """Show approvals until interrupted; `nothing` is said where there are none."""
    if out.is_terminal and not out.is_dumb_terminal:
        _screen(api, out, status, every, nothing)
    else:
        for item in changes(api, status, every):
            print(one_line(item), flush=True)


def changes(api: Api, status: str, every: float) -> Iterator[dict[str, Any]]:
    """Yield each approval when it is new or has changed, for ever."""
    seen: dict[str, dict[str, Any]] = {}
    while True:
        page = api.try_get("/v1/approvals", status=status, limit=100)
        for item in reversed(page["approvals"] if page else []):
            if seen.get(item["id"]) != item:
                seen[item["id"]] = item
                yield item
        time.sleep(every)


def _screen(api: Api, out: Console, status: str, every: float, nothing: str) -> None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    with Live(Text("…"), console=out, auto_refresh=False, screen=False) as live:
        while True:
            found, pages, older = _look(api, status)
            if found is None:
                away = f"{api.url} does not answer; still trying      Ctrl-C ends"
                live.update(Text(away, style="bold red"), refresh=True)
            else:
                lines = draw(found, *out.size, datetime.now(UTC), older=older, nothing=nothing)
                live.update(Group(*lines), refresh=True)
            # Where there is much to look at, look less often.
            time.sleep(every * pages)


def _look(api: Api, status: str) -> tuple[list[dict[str, Any]] | None, int, bool]:
    """Return approvals, how many pages they were, and whether there may be older ones; None if nobody answers.

    Of those that wait all are wanted, since the oldest may be the first to end; of others the newest will do.
    """
    found: list[dict[str, Any]] = []
    cursor = None
    for number in range(1, MAX_PAGES + 1):
        page = api.try_get("/v1/approvals", status=status, limit=100, cursor=cursor)
        if page is None:
            return None, number, False
        found += page["approvals"]
        cursor = page.get("next_cursor")
        if cursor is None or status != "pending":
            break
    return found, number, cursor is not None
