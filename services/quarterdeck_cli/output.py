"""What commands print: JSON for programs, tables for people, and text from outside with nothing hidden in it.

Nothing that came from outside is ever read as markup, and what a reader could not see of it is written out.
"""

from __future__ import annotations

import json as jsonlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from quarterdeck_cli.text import visible as visible

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

_ENDLESS: Final = 1_000_000
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_STEPS: Final = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def print_json(value: object) -> None:
    """Print one line of JSON, in ASCII: what is not is escaped, so that it does nothing to a terminal either."""
    print(jsonlib.dumps(value), flush=True)


def console(*, stderr: bool = False) -> Console:
    """Return a console that renders no markup, no emoji codes and no guesses about what is a number.

    Where nobody's window is, in a file or a pipe, no line is too long for it: what reads it reads lines.
    """
    from rich.console import Console

    made = Console(markup=False, emoji=False, highlight=False, stderr=stderr)
    if not made.is_terminal:
        made.width = _ENDLESS
    return made


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    width: int | None = None,
    write: Callable[[object], str] = visible,
) -> RenderableType:
    """Return cells from outside as a table; where the terminal is too narrow for one, as a paragraph for each row.

    `write` makes a cell visible: `shown`, where the server did so already.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    cells = [["" if cell is None else write(cell) for cell in row] for row in rows]
    needed = sum(max(map(cell_len, (name, *(row[place] for row in cells)))) + 1 for place, name in enumerate(columns))
    if needed > (console().width if width is None else width):
        return Group(*(Text(line, style=style) for row in cells for line, style in _paragraph(columns, row)))
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for name in columns:
        made.add_column(Text(name), no_wrap=True)
    for row in cells:
        made.add_row(*(Text(cell) for cell in row))
    return made


def show_rows(columns: Sequence[str], rows: Sequence[Sequence[object]], nothing: str) -> None:
    """Print rows as a table, or say that there are none."""
    if rows:
        console().print(table(columns, rows))
    else:
        typer.echo(nothing)


def moment(text: object) -> datetime | None:
    """Return a timestamp of the API's; None for anything else."""
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None


def when(text: object, now: datetime | None = None) -> str:
    """Return how long ago or ahead a timestamp is, in words."""
    at = moment(text)
    if at is None:
        return "" if text is None else visible(text)
    away = at - (now or datetime.now(UTC))
    words = _words(abs(away))
    return words if words == "now" else f"in {words}" if away > timedelta(0) else f"{words} ago"


def seconds_of(text: str) -> int:
    """Return a duration such as `90d`, `12h`, `30m` or `45s` in seconds; a bare number is seconds.

    Raises:
        typer.BadParameter: it is none.
    """
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "s")
    if not number.isascii() or not number.isdigit() or len(number) > 9:
        raise typer.BadParameter(f"{text!r} is not a duration; write 45s, 30m, 12h or 90d")
    return int(number) * _UNITS[unit]


def short(identifier: object, length: int = 24) -> str:
    """Return the beginning of a digest, enough to tell two apart."""
    text = str(identifier)
    return text if len(text) <= length else f"{text[:length]}…"


def nodes(connection: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the nodes of a GraphQL connection."""
    return [edge["node"] for edge in connection["edges"]]


def _words(away: timedelta) -> str:
    total = int(away.total_seconds())
    for size, name in _STEPS:
        if total >= size:
            count = total // size
            return f"{count} {name}{'s' if count > 1 else ''}"
    return "now"


def cell_len(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    from rich.cells import cell_len as columns_of

    return columns_of(text)


def _paragraph(columns: Sequence[str], row: Sequence[str]) -> Iterator[tuple[str, str]]:
    yield row[0], "bold"
    named = (f"{name} {cell}" for name, cell in zip(columns[1:], row[1:], strict=True) if cell)
    yield f"  {' · '.join(named)}", ""
