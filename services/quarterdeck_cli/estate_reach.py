"""`quarterdeck estate reach` and `ways`: what reaches what, what must hold on the way, and what would close it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer

from quarterdeck_cli.client import Api
from quarterdeck_cli.estate_ways_view import access_lines, over, ways_lines
from quarterdeck_cli.estate_words import AssetId, plain, plainly
from quarterdeck_cli.moments import Asked, At, KnownAt
from quarterdeck_cli.not_known import doubts, say_doubts
from quarterdeck_cli.output import AsJson, console, print_json, show_rows, visible
from quarterdeck_cli.text import quoted

app = typer.Typer()

MAX_HOPS: Final = 12
_CONTROL: Final = "{ on relation expiresAt control { id title lifecycle } }"
PATH: Final = f"""{{ declared alleged
  relations {{ id relation source target sentence declared observed allegedBy environment }}
  controls {_CONTROL} watchers {_CONTROL} exceptions {_CONTROL} }}"""
_CUT: Final = "{ exact over considered steps { action subject relation seen closes } }"
WAYS: Final = f"{{ more beyond paths {PATH} cut {_CUT} smallerCut {_CUT} }}"

Hops = Annotated[
    int | None, typer.Option(min=1, max=MAX_HOPS, help="Over how many steps at most; any number.", show_default=False)
]
Limit = Annotated[int | None, typer.Option(min=1, help="How many at most; all.", show_default=False)]
SIZES: Final = (100, 20, 4, 1)
"""Of pages: the next where an answer would be too long."""
From = Annotated[str, typer.Argument(metavar="FROM", help="Where the way begins, kind:name.", show_default=False)]
To = Annotated[str, typer.Argument(metavar="TO", help="Where it leads, kind:name.", show_default=False)]


@app.command()
def reach(
    asset: AssetId,
    backward: Annotated[bool, typer.Option("--backward", "-b", help="What reaches it, instead.")] = False,
    kind: Annotated[list[str], typer.Option(help="Only objects of this kind; several times.")] = [],  # noqa: B006
    hops: Hops = None,
    limit: Limit = None,
    at: At = None,
    known_at: KnownAt = None,
    json: AsJson = False,
) -> None:
    """Show what an object can reach, nearest first; with --backward, what can reach it."""
    name = plain(asset)
    selection = """{ position moment
      reach(of: $of, first: $first, after: $after, direction: $direction, hops: $hops, kinds: $kinds) {
      total reached { steps alleged asset { id kind title owner team classification lifecycle } }
      pageInfo { hasNextPage endCursor } } }"""
    types = {"of": "ID!", "direction": "Direction!", "hops": "Int", "kinds": "[String!]"}
    way = "BACKWARD" if backward else "FORWARD"
    with Api(json=json) as api:
        asked = Asked(api, at, known_at, json=json)
        position, found = all_of(
            asked, "reach", "reached", selection, types, limit, of=name, direction=way, hops=hops, kinds=kind or None
        )
        unknown = [] if json else doubts(asked, name)
    if json:
        print_json({"of": name, "direction": way.lower(), "position": position, **found})
        return
    rows = [
        (
            item["asset"]["id"],
            item["steps"],
            item["asset"]["title"],
            item["asset"]["owner"] or item["asset"]["team"],
            item["asset"]["classification"],
            _state(item),
        )
        for item in found["reached"]
    ]
    nothing = f"Nothing {'reaches' if backward else 'is within reach of'} {visible(name)}{over(hops)}."
    show_rows(("object", "steps", "title", "who answers", "data", "state"), rows, nothing)
    say_doubts(unknown)
    if found["total"] > len(rows):
        typer.echo(f"\nThe nearest {len(rows)} of {found['total']}; without --limit, all of them.", err=True)
    if rows:
        ends = (rows[0][0], name) if backward else (name, rows[0][0])
        typer.echo(f"\nHow:  quarterdeck estate ways {quoted(*ends)}", err=True)


def _state(item: Mapping[str, Any]) -> str:
    state = str(item["asset"]["lifecycle"]).lower()
    return ", ".join([*([] if state == "live" else [state]), *(["alleged"] if item["alleged"] else [])])


@app.command("reached-by")
def reached_by(
    asset: AssetId,
    kind: Annotated[list[str], typer.Option(help="Of this kind; several times.")] = ["agent"],  # noqa: B006
    hops: Hops = None,
    limit: Limit = None,
    at: At = None,
    known_at: KnownAt = None,
    json: AsJson = False,
) -> None:
    """Show which agents can reach an object, through which tools, under which controls, and where nobody is asked."""
    name = plain(asset)
    selection = f"""{{ position moment reachedBy(of: $of, first: $first, after: $after, kinds: $kinds, hops: $hops) {{
      total beyond accesses {{
      steps ungated alleged asset {{ id title owner team lifecycle }} tools {{ id }}
      controls {_CONTROL} watchers {_CONTROL} exceptions {_CONTROL} path {PATH} }}
      pageInfo {{ hasNextPage endCursor }} }} }}"""
    types = {"of": "ID!", "kinds": "[String!]", "hops": "Int"}
    with Api(json=json) as api:
        asked = Asked(api, at, known_at, json=json)
        position, found = all_of(
            asked, "reachedBy", "accesses", selection, types, limit, of=name, kinds=kind, hops=hops
        )
        unknown = [] if json else doubts(asked, name)
    if json:
        print_json({"of": name, "position": position, **found})
        return
    if not found["accesses"] and not found["beyond"]:
        typer.echo(f"No {visible(' or '.join(kind))} reaches {visible(name)}.")
    out = console()
    for line in access_lines(found, hops):
        out.print(line, soft_wrap=True)
    say_doubts(unknown)


@app.command()
def ways(
    from_: From,
    to: To,
    hops: Hops = None,
    limit: Annotated[int, typer.Option(min=1, max=50, help="How many paths, shortest first.")] = 10,
    at: At = None,
    known_at: KnownAt = None,
    json: AsJson = False,
) -> None:
    """Show the ways from an object to another, what must hold on each, and the least that would close them all."""
    start, end = plain(from_), plain(to)
    selection = f"{{ position ways(from: $from, to: $to, first: $first, hops: $hops) {WAYS} }}"
    types = {"from": "ID!", "to": "ID!", "first": "Int!", "hops": "Int"}
    with Api(json=json) as api:
        asked = Asked(api, at, known_at, json=json)
        answer = asked.ask(selection, types, **{"from": start, "to": end}, first=limit, hops=hops)
        unknown = [] if json else doubts(asked, start, end)
    found: dict[str, Any] = plainly(answer["ways"])
    if json:
        print_json({"from": start, "to": end, "position": answer["position"], **found})
        return
    out = console()
    for line in ways_lines(start, end, found, hops):
        out.print(line, soft_wrap=True)
    say_doubts(unknown)


def all_of(
    asked: Asked,
    field: str,
    items: str,
    selection: str,
    types: Mapping[str, str],
    limit: int | None,
    **variables: Any,
) -> tuple[int, dict[str, Any]]:
    """Return everything that a field with pages answers, or the first of it, of one moment; and its position.

    A page whose answer would be too long is asked for in smaller ones.
    """
    types = {"first": "Int!", "after": "String", **types}
    after: str | None = None
    sizes = list(SIZES)
    found: dict[str, Any] = {}
    position = 0
    while True:
        first = sizes[0] if limit is None else min(sizes[0], limit - len(found.get(items, ())))
        ask = asked.try_ask if len(sizes) > 1 else asked.ask
        answer = ask(selection, types, first=first, after=after, **variables)
        if answer is None:
            sizes.pop(0)
            continue
        position = answer["position"]
        asked = asked.pinned(position, answer["moment"])
        page = plainly(answer[field])
        info = page.pop("pageInfo")
        found = page if after is None else {**found, items: [*found[items], *page[items]]}
        after = info["endCursor"]
        if not info["hasNextPage"] or (limit is not None and len(found[items]) >= limit):
            return position, found
