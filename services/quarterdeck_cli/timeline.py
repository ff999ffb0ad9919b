"""`quarterdeck timeline`: everything that touched an object, under every name it had.

Exit codes: 0 done; 1 refused or failed; 2 wrong usage; 3 nobody answers.
"""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Any

import typer

from quarterdeck_cli.client import Api
from quarterdeck_cli.happened import Span, event_line
from quarterdeck_cli.moments import read_known
from quarterdeck_cli.output import AsJson, console, print_json, visible

From = Annotated[
    Any,
    typer.Option("--from", metavar="MOMENT", help="Only after it: a position, a time, 7d.", parser=read_known),
]
To = Annotated[
    Any,
    typer.Option(
        "--to", "--at", metavar="MOMENT", help="Only up to it: a position, a time, 7d, now.", parser=read_known
    ),
]


def timeline(
    object_id: Annotated[
        str, typer.Argument(metavar="ID", help="An object: agent:support-bot, apr_…, prn_….", show_default=False)
    ],
    begin: From = None,
    end: To = None,
    type: Annotated[list[str], typer.Option(help="Only events of this type; several times.")] = [],  # noqa: B006
    newest: Annotated[bool, typer.Option("--newest", help="The newest first.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many at most.")] = 200,
    json: AsJson = False,
) -> None:
    """Show everything that touched an object: what was said of it, decided, asked, granted and seen; oldest first."""
    with Api(json=json) as api:
        span = Span(api, {"about": [object_id.removeprefix("asset:")], "types": type}, begin, end, json=json)
        found = list(islice(span.events(newest_first=newest), limit + 1))
    shown, more = found[:limit], len(found) > limit
    if json:
        print_json({"id": object_id, "events": shown, "more": more})
        return
    out = console()
    for event in shown:
        out.print(event_line(event), soft_wrap=True)
    if not shown:
        typer.echo(f"Nothing touched {visible(object_id)} in that time, or there is no such object.")
    if more:
        typer.echo(f"\n{limit} are shown; --limit shows more, --newest begins at the end.", err=True)
