"""`quarterdeck effects`: what redeemed grants set off, and how it ended.

Exit codes: 0 done; 1 refused or failed; 2 wrong usage; 3 nobody answers.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from quarterdeck_cli.client import Api
from quarterdeck_cli.output import AsJson, nodes, print_json, show_rows, visible, when

OUTCOMES: Final = ("started", "committed", "failed", "unknown")
SETTLED: Final = ("committed", "failed")

app = typer.Typer(help="See what approved actions did; settle what nobody knows.", no_args_is_help=True)

_EFFECTS: Final = """
query Effects($first: Int!, $after: String, $filter: EffectFilter) {
  now {
    effects(first: $first, after: $after, filter: $filter) {
      edges { node {
        id effectClass outcome detail reconciled startedAt endedAt redeemerId grantId approvalId actionDigest
      } }
      pageInfo { hasNextPage endCursor }
    }
  }
}
"""


@app.command("list")
def list_(
    outcome: Annotated[list[str], typer.Option(help=f"Only these: {', '.join(OUTCOMES)}.")] = [],  # noqa: B006
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 50,
    json: AsJson = False,
) -> None:
    """List effects, newest first. `started` are those whose executor has not said how they ended."""
    with Api(json=json) as api:
        found = fetch(api, [_checked(item, OUTCOMES, "--outcome") for item in outcome], limit)
    if json:
        print_json({"effects": found})
        return
    show_rows(*as_rows(found), "No effects that you may see.")


@app.command()
def reconcile(
    effect_id: Annotated[str, typer.Argument(metavar="ID", help="The effect, eff_….", show_default=False)],
    outcome: Annotated[str, typer.Argument(metavar="OUTCOME", help="committed or failed: how it really ended.")],
    reason: Annotated[str, typer.Option("--reason", "-m", help="How you know; the record keeps it.")],
    json: AsJson = False,
) -> None:
    """Settle an effect whose outcome nobody reported or knows, after looking at the target."""
    _checked(outcome, SETTLED, "OUTCOME")
    with Api(json=json) as api:
        done = api.command("reconcile_effect", effect_id=effect_id, outcome=outcome, reason=reason)
    print_json(done) if json else typer.echo(f"{visible(effect_id)} is {outcome} (position {done['position']}).")


def fetch(api: Api, outcomes: list[str], limit: int) -> list[dict[str, Any]]:
    """Return effects of these outcomes, all if there are none, newest first."""
    wanted = {"outcome": [item.upper() for item in outcomes]} if outcomes else {}
    found: list[dict[str, Any]] = []
    after = None
    while len(found) < limit:
        page = api.query(_EFFECTS, first=min(100, limit - len(found)), after=after, filter=wanted)["now"]["effects"]
        found += nodes(page)
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    return found


def as_rows(found: list[dict[str, Any]]) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Return effects as the columns and rows of a table."""
    rows: list[tuple[object, ...]] = [
        (
            item["id"],
            item["outcome"].lower() + (" (settled)" if item["reconciled"] else ""),
            when(item["startedAt"]),
            item["redeemerId"],
            item["approvalId"],
            item["effectClass"].lower(),
            item["detail"],
        )
        for item in found
    ]
    return ("id", "outcome", "started", "by", "approval", "class", "detail"), rows


def _checked(value: str, known: tuple[str, ...], where: str) -> str:
    if value not in known:
        raise typer.BadParameter(f"{value!r} is not one of {', '.join(known)}", param_hint=where)
    return value
