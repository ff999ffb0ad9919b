"""`quarterdeck stuck`: what waits for an operator, and the ways to move it. Each of them is a command, and so an event.

Three things get stuck, and nothing else waits for them: events that could not be acted on (parked), callbacks that
could not be delivered (dead letters), and effects of which nobody knows how they ended.

Exit codes: 0 done; 1 refused or failed; 2 wrong usage; 3 nobody answers.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from quarterdeck_cli import effects
from quarterdeck_cli.client import Api, fail
from quarterdeck_cli.output import AsJson, console, moment, nodes, print_json, seconds_of, table, visible, when
from quarterdeck_cli.problems import need_server

LIMIT: Final = 100

app = typer.Typer(help="See what is stuck, and get it going again.", no_args_is_help=True)

DataDir = Annotated[
    Path | None, typer.Option(help="The installation on this machine, instead of the server you signed in to last.")
]

_STUCK: Final = """
query Stuck($first: Int!) {
  now {
    parkedEvents(first: $first, filter: {state: [PARKED]}) {
      edges { node { position workflowId reason parkedAt } }
    }
    callbacks(first: $first, filter: {state: [ABANDONED]}) {
      edges { node { id approvalId status reason } }
    }
  }
}
"""


@app.command("list")
def list_(
    older: Annotated[str, typer.Option(help="Unreported effects count as stuck after this long.")] = "15m",
    data_dir: DataDir = None,
    json: AsJson = False,
) -> None:
    """List everything that waits for an operator, up to 100 of each kind."""
    age_s = seconds_of(older)
    with _api(data_dir, json) as api:
        record = api.query(_STUCK, first=LIMIT)["now"]
        unsettled = effects.fetch(api, ["unknown", "started"], LIMIT)
    found = {
        "parked": nodes(record["parkedEvents"]),
        "dead_letters": nodes(record["callbacks"]),
        "effects": [item for item in unsettled if item["outcome"] == "UNKNOWN" or _older(item["startedAt"], age_s)],
    }
    print_json(found) if json else _print(found)


@app.command()
def release(
    position: Annotated[int, typer.Argument(min=1, help="The position of the event that was set aside.")],
    data_dir: DataDir = None,
    json: AsJson = False,
) -> None:
    """Send a parked event round again."""
    with _api(data_dir, json) as api:
        done = api.command("release_dispatch", position=position)
    print_json(done) if json else typer.echo(f"The event at {position} goes round again.")


@app.command()
def resend(
    approval_id: Annotated[str, typer.Argument(metavar="APPROVAL", help="The approval, apr_….", show_default=False)],
    message_id: Annotated[str, typer.Argument(metavar="MESSAGE", help="The message's id.", show_default=False)],
    data_dir: DataDir = None,
    json: AsJson = False,
) -> None:
    """Try a dead letter again."""
    with _api(data_dir, json) as api:
        done = api.command("resend_callback", approval_id=approval_id, message_id=message_id)
    print_json(done) if json else typer.echo(f"{visible(message_id)} is sent again.")


def _api(data_dir: Path | None, json: bool) -> Api:
    if data_dir is None:
        return Api(json=json)
    need_server()
    from quarterdeck_cli import address
    from quarterdeck_cli.up import settings_for

    settings = settings_for(data_dir=data_dir)
    if address.read(settings) is None:
        fail(f"no installation ever ran in {data_dir}", "name its --data-dir", json=json, kind="not_found")
    return Api(json=json, url=address.base_url(settings))


def _older(started_at: object, age_s: int) -> bool:
    at = moment(started_at)
    return at is None or (datetime.now(UTC) - at).total_seconds() >= age_s


def _print(found: dict[str, list[dict[str, Any]]]) -> None:
    if not any(found.values()):
        typer.echo("Nothing is stuck.")
        return
    out = console()
    if found["parked"]:
        out.print("Events that could not be acted on:")
        rows = [
            (item["position"], when(item["parkedAt"]), item["workflowId"], item["reason"]) for item in found["parked"]
        ]
        out.print(table(("position", "parked", "workflow", "reason"), rows))
        out.print("  quarterdeck stuck release POSITION\n")
    if found["dead_letters"]:
        out.print("Callbacks that could not be delivered:")
        letters = [(item["id"], item["approvalId"], item["status"], item["reason"]) for item in found["dead_letters"]]
        out.print(table(("message", "approval", "status", "reason"), letters))
        out.print("  quarterdeck stuck resend APPROVAL MESSAGE\n")
    if found["effects"]:
        out.print("Effects of which nobody knows how they ended:")
        out.print(table(*effects.as_rows(found["effects"])))
        out.print("  quarterdeck effects reconcile ID committed|failed --reason …")
