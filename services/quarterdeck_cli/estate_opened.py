"""`quarterdeck estate opened`: what changed between two moments that opened the way from one object to another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from quarterdeck_cli.client import Api
from quarterdeck_cli.estate_reach import From, Hops, To
from quarterdeck_cli.estate_ways_view import path_line
from quarterdeck_cli.estate_words import plain, plainly
from quarterdeck_cli.moments import NOW, Asked, absent, read_known, settled
from quarterdeck_cli.not_known import doubts, say_doubts
from quarterdeck_cli.output import AsJson, console, print_json
from quarterdeck_cli.text import visible

if TYPE_CHECKING:
    from rich.text import Text

app = typer.Typer()

_EVENTS: Final = "events { position type recordedAt actor { principal kind onBehalfOf } tags data }"
_CHANGE: Final = f"{{ subject sentence before {_EVENTS} }}"
_LOST: Final = f"{{ on relation control sentence {_EVENTS} }}"
_OPENED: Final = f"""
query Opened($from: ID!, $to: ID!, $since: Moment!, $until: Moment, $knownAt: Moment, $hops: Int, $first: Int!) {{
  opened(from: $from, to: $to, since: $since, until: $until, knownAt: $knownAt, hops: $hops, first: $first) {{
    since {{ position recordedAt }} until {{ position recordedAt }}
    verdict summary more beyond undoExact
    paths {{
      relations {{ relation source target declared }}
      changes {_CHANGE} lostControls {_LOST} lostWatchers {_LOST}
      exceptions {{ on exception expiresAt sentence {_EVENTS} }}
    }}
    fewest {_CHANGE} undo {_CHANGE} ended {{ grant expiredAt sentence }}
  }}
}}
"""
_HEADLINES: Final = {
    "OPENED": "There was no way {}, and now there is one.",
    "OPEN_BEFORE": "There was a way {} already, and there is one now.",
    "CLOSED": "There was a way {}, and there is none any more.",
    "SHUT": "There was no way {}, and there is none now.",
}


@app.command()
def opened(
    from_: From,
    to: To,
    since: Annotated[
        Any,
        typer.Option(metavar="MOMENT", help="The moment before: a position, a time, 7d.", parser=read_known),
    ],
    until: Annotated[
        Any,
        typer.Option("--until", "--at", metavar="MOMENT", help="The moment after; now.", parser=read_known),
    ] = None,
    known_at: Annotated[
        Any,
        typer.Option("--known-at", metavar="MOMENT", help="Both as they were known then; or now.", parser=read_known),
    ] = None,
    hops: Hops = None,
    limit: Annotated[int, typer.Option(min=1, max=50, help="How many ways, shortest first.")] = 10,
    json: AsJson = False,
) -> None:
    """Show what changed between then and now that opened a way: by whom, when, and what would undo it."""
    start, end = plain(from_), plain(to)
    with Api(json=json) as api:
        since, until = settled(api, since), None if until is None or NOW in until else until
        variables = {"from": start, "to": end, "since": since, "until": until, "knownAt": settled(api, known_at)}
        api.no_object = lambda asset: absent(api, asset, since, known_at)
        found = plainly(api.query(_OPENED, **variables, hops=hops, first=limit)["opened"])
        moments = [] if json or known_at is None else [at for at in (since, until) if at is not None]
        unknown = {line for at in moments for line in doubts(Asked(api, at, known_at, json=json), start, end)}
    found = {"from": start, "to": end, **found}
    if json:
        print_json(found)
        return
    out = console()
    for line in opened_lines(found):
        out.print(line, soft_wrap=True)
    say_doubts(sorted(unknown))


def opened_lines(found: Mapping[str, Any]) -> Iterator[Text]:
    """Yield what opened a way line by line: the answer first, then the fewest changes, then each way."""
    from rich.text import Text

    way = f"from {visible(found['from'])} to {visible(found['to'])}"
    headline = _HEADLINES.get(found["verdict"])
    yield Text(
        headline.format(way) if headline else visible(found["summary"]),
        style="bold red" if found["verdict"] == "OPENED" else "bold",
    )
    yield from (Text(f"  its time is over: {visible(item['sentence'])}") for item in found["ended"])
    if found["fewest"]:
        yield Text("the fewest changes that opened it", style="bold")
        yield from (Text(f"  {visible(item['sentence'])}") for item in found["fewest"])
    said = {item["subject"] for item in found["fewest"]}
    for number, path in enumerate(found["paths"], 1):
        yield Text(f"way {number}: {path_line(path)}")
        if not path["changes"]:
            yield Text("    it was open then", style="dim")
        others = [item for item in path["changes"] if item["subject"] not in said]
        yield from (Text(f"    {visible(item['sentence'])}") for item in others)
        yield from (Text(f"    no more: {visible(item['sentence'])}", style="yellow") for item in path["lostControls"])
        yield from (Text(f"    excepted: {visible(item['sentence'])}", style="yellow") for item in path["exceptions"])
        watched = (visible(item["sentence"]) for item in path["lostWatchers"])
        yield from (Text(f"    not watched: {words}", style="dim") for words in watched)
    if found["more"]:
        yield Text("  … and there may be other ways; --limit shows more", style="dim")
    if found["beyond"]:
        yield Text("  … and there may be longer ways than --hops lets show; leave it out", style="dim")
    if found["undo"]:
        exact = "no smaller set would do" if found["undoExact"] else "none of these can be left out"
        yield Text(f"undone, there would be none ({exact})", style="bold")
        yield from (Text(f"  - {visible(item['subject'])}  ({visible(item['sentence'])})") for item in found["undo"])
