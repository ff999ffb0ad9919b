"""`quarterdeck approvals watch` in a window: a line for each approval, the first to end first, as many as fit.

It is an overview. What is too long for its column is cut in the middle, and says so; `approvals show` shows it whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from quarterdeck_cli.output import cell_len, moment
from quarterdeck_cli.text import quoted, shown

if TYPE_CHECKING:
    from rich.text import Text

ENDING: Final = 8
"""How many characters of an id's end are shown in a narrow window. They are random: enough to name one that waits."""
MAX_LISTED: Final = 1_000
_COLUMNS: Final = ("ends", "you", "id", "who", "wants to", "on")
_OUTSIDE: Final = 3
"""From here on the columns hold text from outside, and give way to the others."""
_NARROWEST: Final = 8
_GAP: Final = "  "
_HINT: Final = "In full:  quarterdeck approvals show ID · approve ID · deny ID   Ctrl-C ends"
_FAR: Final = datetime.max.replace(tzinfo=UTC)
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def draw(
    approvals: Sequence[dict[str, Any]], width: int, height: int, now: datetime, *, older: bool, nothing: str
) -> list[Text]:
    """Return the lines of a screen: fewer than `height`, and none is wider than `width`.

    `older` tells whether there may be approvals older than those given; `nothing` is said where there are none.
    """
    from rich.text import Text

    waiting = sorted(approvals, key=_deadline)
    room = max(1, height - 3)  # but for the heading, the hint, and the line on which the cursor stands
    if len(waiting) > room or older:
        room = max(1, room - 1)
    rows = [_cells(item, now) for item in waiting[:room]]
    lines = [(line, "") for line in _aligned([_COLUMNS, *rows], width)] if rows else [(nothing, "")]
    if rows:
        lines[0] = (lines[0][0], "bold")
    if hidden := len(waiting) - len(rows):
        all_of_them = f"quarterdeck approvals list --limit {quoted(min(len(waiting), MAX_LISTED))}"
        lines.append((f"{hidden}{'+' if older else ''} more end later; all:  {all_of_them}", ""))
    elif older:
        lines.append(("Older requests were not looked at.", ""))
    return [Text(line, style, no_wrap=True, overflow="ellipsis") for line, style in (*lines, (_HINT, "dim"))]


def elide(text: str, width: int) -> str:
    """Return text in at most that many columns; where it was longer, its two ends with `…` between them."""
    if cell_len(text) <= width:
        return text
    tail = ""
    for char in reversed(text):
        if cell_len(char + tail) > (width - 1) // 2:
            break
        tail = char + tail
    while tail and cell_len(tail[0]) == 0:  # a mark without its letter
        tail = tail[1:]
    head = ""
    for char in text:
        if cell_len(head + char) > width - 1 - cell_len(tail):
            break
        head += char
    return f"{head}…{tail}"


def _deadline(item: dict[str, Any]) -> tuple[bool, datetime]:
    return item.get("status") != "pending", moment(item.get("expires_at")) or _FAR


def _cells(item: dict[str, Any], now: datetime) -> tuple[str, ...]:
    ends = moment(item.get("expires_at"))
    waits = item.get("status") == "pending"
    urgent = " EMERGENCY" if item.get("emergency") else ""
    return (
        (_left((ends - now).total_seconds()) if waits and ends else shown(item.get("status"))) + urgent,
        "yes" if item.get("can_decide") else "",
        shown(item.get("id")),
        shown(item.get("subject")),
        shown(item.get("action")),
        shown(item.get("resource")),
    )


def _left(seconds: float) -> str:
    return next((f"{int(seconds) // size}{unit}" for size, unit in _UNITS if seconds >= size), "now")


def _aligned(rows: Sequence[tuple[str, ...]], width: int) -> list[str]:
    widths = _natural(rows)
    if _needed(widths) > width:
        rows = [rows[0], *((*row[:2], row[2][-ENDING:], *row[3:]) for row in rows[1:])]
        widths = _natural(rows)
    while _needed(widths) > width and max(widths[_OUTSIDE:]) > _NARROWEST:
        widths[widths.index(max(widths[_OUTSIDE:]), _OUTSIDE)] -= 1
    return [_GAP.join(_padded(cell, size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in rows]


def _natural(rows: Sequence[tuple[str, ...]]) -> list[int]:
    return [max(map(cell_len, column)) for column in zip(*rows, strict=True)]


def _needed(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _padded(text: str, width: int) -> str:
    cut = elide(text, width)
    return cut + " " * (width - cell_len(cut))
