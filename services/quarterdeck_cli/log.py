"""`quarterdeck log`: keep a checkpoint, take the log away, follow what happens.

Exit codes: 0 done; 1 refused or failed; 2 wrong usage; 3 nobody answers.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from quarterdeck_cli.client import UNREACHABLE, Api, fail
from quarterdeck_cli.output import AsJson, nodes, print_json, short, visible
from quarterdeck_cli.text import quoted

app = typer.Typer(help="Keep checkpoints of the log, export it, follow it.", no_args_is_help=True)

Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Write to this file; by default to standard output.", show_default=False),
]

_TOLD: Final = ("actor:", "principal:", "action:")
"""Tags that say who, which is shown already, and digests, which nobody reads: `--json` has them."""
_TIMELINE: Final = """
query Tail($first: Int!, $after: String, $order: Order!, $filter: TimelineFilter) {
  timeline(first: $first, after: $after, order: $order, filter: $filter) {
    edges { node { position type recordedAt actor { principal kind onBehalfOf } tags data } }
    pageInfo { hasNextPage endCursor }
  }
}
"""


@app.command()
def checkpoint(output: Output = None, json: AsJson = False) -> None:
    """Fetch a signed checkpoint of the log as it is. Keep it where the log's operator cannot reach it."""
    with Api(json=json) as api:
        note = api.text("/v1/log/checkpoint")
        vkeys = api.text("/v1/log/vkeys").split()
    if output is not None:
        _write(output, note.encode(), json)
    if json:
        origin, size, root = note.split("\n")[:3]
        shown = {"note": note, "origin": origin, "size": int(size), "root": root, "vkeys": vkeys}
        print_json(shown | ({} if output is None else {"file": str(output)}))
    elif output is None:
        sys.stdout.write(note)
    else:
        later = f"quarterdeck verify EXPORT --checkpoint {quoted(output)} --vkey {quoted(vkeys[-1])}"
        typer.echo(f"Kept in {output}. Later:  {later}")


@app.command()
def export(
    output: Output = None,
    position: Annotated[
        list[int], typer.Option("--position", "-p", min=1, help="Only this event, with its proof; several times.")
    ] = [],  # noqa: B006
    held: Annotated[list[int], typer.Option(min=0, help="Prove growth from a checkpoint of this size.")] = [],  # noqa: B006
    json: AsJson = False,
) -> None:
    """Take the log away as one file that proves itself: all of it, or chosen events."""
    if json and output is None:
        raise typer.BadParameter(
            "with --json, name a file: the export itself is no JSON document", param_hint="--output"
        )
    if held and not position:
        raise typer.BadParameter("a whole export proves every earlier size by itself", param_hint="--held")
    path = "/v1/log/export/proof" if position else "/v1/log/export"
    params: dict[str, Any] = {"position": position, "held": held} if position else {}
    with Api(json=json) as api, api.stream(path, **params) as response:
        written = _copy(response.iter_bytes(), output, json)
        size = response.headers.get("X-Quarterdeck-Position", "")
    if json:
        print_json({"file": str(output), "bytes": written, "size": int(size) if size.isdigit() else None})
    elif output is not None:
        typer.echo(f"{written} bytes in {output}, up to position {visible(size)}.")
        typer.echo(f"Next:  quarterdeck verify {quoted(output)} --vkey KEY --checkpoint KEPT   (docs/verify.md)")


@app.command()
def tail(
    count: Annotated[int, typer.Option("--count", "-n", min=0, max=1000, help="How many of the last events.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as events come. Ctrl-C ends it.")] = False,
    type: Annotated[list[str], typer.Option(help="Only events of this type; several times.")] = [],  # noqa: B006
    tag: Annotated[list[str], typer.Option(help="Only events that concern this, kind:id; several times.")] = [],  # noqa: B006
    every: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds between two looks.")] = 1.0,
    json: AsJson = False,
) -> None:
    """Show the last events, oldest first, one a line."""
    wanted: dict[str, Any] = {"types": type or None, "tags": tag or None}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    with Api(json=json) as api:
        last = _Last()
        for event in reversed(list(_newest(api, wanted, max(count, 1)))):
            last.note(event)
            if count:
                _show(event, json)
        try:
            while follow:
                for event in _after(api, wanted, last):
                    _show(event, json)
                time.sleep(every)
        except KeyboardInterrupt:
            return


class _Last:
    """Where a follower is: the last event it has shown."""

    def __init__(self) -> None:
        self.position = 0
        self.recorded_at: str | None = None

    def note(self, event: dict[str, Any]) -> None:
        self.position, self.recorded_at = int(event["position"]), event["recordedAt"]


def _newest(api: Api, wanted: dict[str, Any], count: int) -> Iterator[dict[str, Any]]:
    after = None
    while count > 0:
        page = api.query(_TIMELINE, first=min(100, count), after=after, order="NEWEST_FIRST", filter=wanted)["timeline"]
        yield from nodes(page)
        count -= len(page["edges"])
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            return


def _after(api: Api, wanted: dict[str, Any], last: _Last) -> Iterator[dict[str, Any]]:
    """Yield what was recorded since. Time says where to look, positions what is new: several share a microsecond."""
    since = {} if last.recorded_at is None else {"from": last.recorded_at}
    after = None
    while True:
        page = api.query(_TIMELINE, first=100, after=after, order="OLDEST_FIRST", filter=wanted | since)["timeline"]
        for event in nodes(page):
            if int(event["position"]) > last.position:
                last.note(event)
                yield event
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            return


def _show(event: dict[str, Any], json: bool) -> None:
    if json:
        print_json(event)
        return
    actor = event["actor"]
    chain = " for ".join((actor["principal"], *actor["onBehalfOf"]))
    about = " ".join(tag for tag in event["tags"] if not tag.startswith(_TOLD))
    parts = (f"{event['position']:>6}", event["recordedAt"], f"{event['type']:<26}", chain, short(about, 120))
    typer.echo("  ".join(visible(part) for part in parts))


def _copy(chunks: Iterator[bytes], output: Path | None, json: bool) -> int:
    written = 0
    try:
        with sys.stdout.buffer if output is None else output.open("wb") as target:
            for chunk in chunks:
                written += len(chunk)
                target.write(chunk)
            target.flush()
    except OSError as error:
        fail(f"{output or 'standard output'} cannot be written: {error}", json=json, kind="unwritable")
    if not written:
        fail("nothing came", "repeat the command", code=UNREACHABLE, json=json, kind="bad_answer")
    return written


def _write(output: Path, content: bytes, json: bool) -> None:
    try:
        output.write_bytes(content)
    except OSError as error:
        fail(f"{output} cannot be written: {error}", json=json, kind="unwritable")
