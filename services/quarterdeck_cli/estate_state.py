"""`quarterdeck estate findings`, `coverage`, `blast`: what is wrong, how much is known and held, whom it concerns."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from quarterdeck_cli.client import USAGE, Api, fail
from quarterdeck_cli.estate_state_view import blast_lines, finding_lines, groups_table
from quarterdeck_cli.estate_words import AssetId, plain, plainly, word
from quarterdeck_cli.moments import Asked, At, KnownAt
from quarterdeck_cli.output import AsJson, console, print_json, visible

app = typer.Typer()

SEVERITIES: Final = ("critical", "high", "moderate", "low")
TYPES: Final = (
    "out-of-scope",
    "forbidden-use",
    "drifted",
    "suspicious",
    "unregistered",
    "unowned",
    "ungated",
    "over-permissioned",
    "expired",
    "ungoverned",
    "forged",
    "unread",
    "contested",
    "alleged-use",
    "undeclared-relation",
    "retired-relation",
    "gone",
    "sunset",
    "unpromoted",
    "unmonitored",
    "unfunded",
    "duplicate",
    "unseen-relation",
    "incomplete",
    "isolated",
)
"""Of findings; a test holds them to the API's."""
MAX_HOPS: Final = 12
_GROUP: Final = """{ name objects completeness missing { facet objects }
  controls { control required covered outlier } }"""
_BLAST: Final = """{ position blastRadius(of: $of, hops: $hops, first: $first) {
  of { id title owner team } total dataTotal
  groups { group total nearest { steps alleged audience asset { id title owner team }
    relation { source relation target allegedBy } } }
  data { steps writes alleged asset { id classification } }
  people { owner team onCall channel steps nearest objects }
} }"""


@app.command()
def findings(
    type: Annotated[list[str], typer.Option(help="Only these: unowned, ungated, drifted, …; several times.")] = [],  # noqa: B006
    severity: Annotated[list[str], typer.Option(help=f"Only these: {', '.join(SEVERITIES)}.")] = [],  # noqa: B006
    team: Annotated[list[str], typer.Option(help="Only what this team answers for.")] = [],  # noqa: B006
    kind: Annotated[list[str], typer.Option(help="Only objects of this kind.")] = [],  # noqa: B006
    asset: Annotated[list[str], typer.Option(metavar="ID", help="Only this object.")] = [],  # noqa: B006
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many at most.")] = 50,
    at: At = None,
    known_at: KnownAt = None,
    json: AsJson = False,
) -> None:
    """List what is missing or wrong on the map, the worst first, each with the command that mends it."""
    for option, given_, known in (("--type", type, TYPES), ("--severity", severity, SEVERITIES)):
        if wrong := [item for item in given_ if _word(item) not in map(_word, known)]:
            fail(f"{option}: {wrong[0]!r} is none", f"one of {', '.join(known)}", code=USAGE, json=json, kind="usage")
    given = {
        "type": [_word(item) for item in type],
        "severity": [_word(item) for item in severity],
        "team": team,
        "kind": kind,
        "asset": [plain(item) for item in asset],
    }
    wanted = {name: values for name, values in given.items() if values}
    node = "{ type severity assetId subject team message fix }"
    with Api(json=json) as api:
        asked = Asked(api, at, known_at, json=json)
        total = asked.ask(
            "{ position findings(first: 1, filter: $filter) { total unknownTeams } }",
            {"filter": "FindingFilter"},
            filter=wanted,
        )
        pages = asked.pages("findings", node, {"filter": "FindingFilter"}, limit=limit, pin=False, filter=wanted)
        found = plainly(list(pages))
        nothing = None if found or json else asked.unrecorded()
    count, unknown = total["findings"]["total"], total["findings"]["unknownTeams"]
    if json:
        print_json({"position": total["position"], "total": count, "unknownTeams": unknown, "findings": found})
        return
    out = console()
    for item in found:
        for line in finding_lines(item):
            out.print(line, soft_wrap=True)
    for name in unknown:
        typer.echo(f"Nothing belongs to a team {visible(name)}.  quarterdeck estate list --kind team   shows teams.")
    if not found and (not unknown or len(unknown) < len(set(team))):
        typer.echo(nothing or "Nothing is missing or wrong.")
        if asked.hint:
            typer.echo(f"  ({asked.hint})", err=True)
    elif count > len(found):
        typer.echo(f"\n{len(found)} of {count:,} are shown; --limit shows more.", err=True)


@app.command()
def coverage(
    by: Annotated[str, typer.Option(help="team or kind.")] = "team",
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many groups, the largest first.")] = 100,
    at: At = None,
    known_at: KnownAt = None,
    json: AsJson = False,
) -> None:
    """Show how much of the estate is known and under control, by team or by kind."""
    if by not in ("team", "kind"):
        raise typer.BadParameter(f"{by!r} is not one of team, kind", param_hint="--by")
    selection = f"{{ position coverage(by: $by, first: $first) {{ total whole {_GROUP} groups {_GROUP} }} }}"
    with Api(json=json) as api:
        asked = Asked(api, at, known_at, json=json)
        answer = asked.ask(selection, {"by": "CoverageBy!", "first": "Int!"}, by=by.upper(), first=limit)
        found: dict[str, Any] = answer["coverage"]
        nothing = None if found["whole"]["objects"] or json else asked.unrecorded()
    if json:
        print_json({"position": answer["position"], "by": by, **found})
        return
    if not found["whole"]["objects"]:
        typer.echo(nothing or "Nothing is in use: there is nothing to be known or controlled.")
        return
    console().print(groups_table(by, found))
    if any(item["outlier"] for group in found["groups"] for item in group["controls"]):
        typer.echo(
            "\n! far below the whole estate's share:  quarterdeck estate findings --team TEAM   says what is missing"
        )


@app.command()
def blast(
    asset: AssetId,
    hops: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_HOPS, help="Over how many steps at most; any number.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many of each sort, the nearest.")] = 20,
    at: At = None,
    known_at: KnownAt = None,
    json: AsJson = False,
) -> None:
    """Show whom it concerns if something is wrong with an object: what depends on it, its data, the people to call."""
    types = {"of": "ID!", "hops": "Int", "first": "Int!"}
    with Api(json=json) as api:
        asked = Asked(api, at, known_at, json=json)
        answer = asked.ask(_BLAST, types, of=plain(asset), hops=hops, first=limit)
    found = plainly(answer["blastRadius"])
    if json:
        print_json({"position": answer["position"], **found})
        return
    out = console()
    for line in blast_lines(found):
        out.print(line, soft_wrap=True)


def _word(text: str) -> str:
    """Return a word of the API's from what people write: `over-permissioned`."""
    return word(text).replace(" ", "_").replace("-", "_").upper()
