"""`quarterdeck estate reach` and `ways`: what reaches what, what must hold on the way, and what would close it."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from quarterdeck_cli.client import Api
from quarterdeck_cli.estate_ways_view import access_lines, ways_lines
from quarterdeck_cli.estate_words import AssetId, plain, plainly
from quarterdeck_cli.moments import Asked, At, KnownAt
from quarterdeck_cli.output import AsJson, console, print_json, show_rows, visible

app = typer.Typer()

MAX_HOPS: Final = 12
PATH: Final = """{ declared
  relations { relation source target sentence declared observed environment }
  controls { on relation control { id title lifecycle } } }"""
WAYS: Final = f"{{ more paths {PATH} cut {{ exact considered steps {{ action subject closes }} }} }}"

Hops = Annotated[int, typer.Option(min=1, max=MAX_HOPS, help="Over how many steps at most.")]
From = Annotated[str, typer.Argument(metavar="FROM", help="Where the way begins, kind:name.", show_default=False)]
To = Annotated[str, typer.Argument(metavar="TO", help="Where it leads, kind:name.", show_default=False)]


@app.command()
def reach(
    asset: AssetId,
    backward: Annotated[bool, typer.Option("--backward", "-b", help="What reaches it, instead.")] = False,
    kind: Annotated[list[str], typer.Option(help="Only objects of this kind; several times.")] = [],  # noqa: B006
    hops: Hops = 6,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many of the nearest.")] = 100,
    at: At = None,
    known_at: KnownAt = None,
    json: AsJson = False,
) -> None:
    """Show what an object can reach, nearest first; with --backward, what can reach it."""
    name = plain(asset)
    selection = """{ position reach(of: $of, first: $first, direction: $direction, hops: $hops, kinds: $kinds) {
      total reached { steps asset { id kind title owner team classification lifecycle } } } }"""
    types = {"of": "ID!", "first": "Int!", "direction": "Direction!", "hops": "Int!", "kinds": "[String!]"}
    way = "BACKWARD" if backward else "FORWARD"
    with Api(json=json) as api:
        asked = Asked(api, at, known_at, json=json)
        answer = asked.ask(selection, types, of=name, first=limit, direction=way, hops=hops, kinds=kind or None)
    found = plainly(answer["reach"])
    if json:
        print_json({"of": name, "direction": way.lower(), "position": answer["position"], **found})
        return
    rows = [
        (
            item["asset"]["id"],
            item["steps"],
            item["asset"]["title"],
            item["asset"]["owner"] or item["asset"]["team"],
            item["asset"]["classification"],
            "" if item["asset"]["lifecycle"] == "LIVE" else item["asset"]["lifecycle"].lower(),
        )
        for item in found["reached"]
    ]
    nothing = f"Nothing {'reaches' if backward else 'is within reach of'} {visible(name)} over {hops} steps."
    show_rows(("object", "steps", "title", "who answers", "data", "state"), rows, nothing)
    if found["total"] > len(rows):
        typer.echo(f"\nThe nearest {len(rows)} of {found['total']}.", err=True)
    if rows:
        nearest = visible(rows[0][0])
        ends = f"{nearest} {visible(name)}" if backward else f"{visible(name)} {nearest}"
        typer.echo(f"\nHow:  quarterdeck estate ways {ends}", err=True)


@app.command("reached-by")
def reached_by(
    asset: AssetId,
    kind: Annotated[list[str], typer.Option(help="Of this kind; several times.")] = ["agent"],  # noqa: B006
    hops: Hops = 6,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many at most.")] = 100,
    at: At = None,
    known_at: KnownAt = None,
    json: AsJson = False,
) -> None:
    """Show which agents can reach an object, through which tools, under which controls, and where nobody is asked."""
    name = plain(asset)
    selection = f"""{{ position reachedBy(of: $of, first: $first, kinds: $kinds, hops: $hops) {{ total accesses {{
      steps ungated asset {{ id title owner team lifecycle }} tools {{ id }}
      controls {{ on relation control {{ id lifecycle }} }} path {PATH} }} }} }}"""
    types = {"of": "ID!", "first": "Int!", "kinds": "[String!]", "hops": "Int!"}
    with Api(json=json) as api:
        asked = Asked(api, at, known_at, json=json)
        answer = asked.ask(selection, types, of=name, first=limit, kinds=kind, hops=hops)
    found = plainly(answer["reachedBy"])
    if json:
        print_json({"of": name, "position": answer["position"], **found})
        return
    if not found["accesses"]:
        typer.echo(f"No {visible(' or '.join(kind))} reaches {visible(name)} over {hops} steps.")
    out = console()
    for line in access_lines(found):
        out.print(line, soft_wrap=True)


@app.command()
def ways(
    from_: From,
    to: To,
    hops: Hops = 6,
    limit: Annotated[int, typer.Option(min=1, max=50, help="How many paths, shortest first.")] = 10,
    at: At = None,
    known_at: KnownAt = None,
    json: AsJson = False,
) -> None:
    """Show the ways from an object to another, what must hold on each, and the least that would close them all."""
    start, end = plain(from_), plain(to)
    selection = f"{{ position ways(from: $from, to: $to, first: $first, hops: $hops) {WAYS} }}"
    types = {"from": "ID!", "to": "ID!", "first": "Int!", "hops": "Int!"}
    with Api(json=json) as api:
        asked = Asked(api, at, known_at, json=json)
        answer = asked.ask(selection, types, **{"from": start, "to": end}, first=limit, hops=hops)
    found: dict[str, Any] = plainly(answer["ways"])
    if json:
        print_json({"from": start, "to": end, "position": answer["position"], **found})
        return
    out = console()
    for line in ways_lines(start, end, found, hops):
        out.print(line, soft_wrap=True)
