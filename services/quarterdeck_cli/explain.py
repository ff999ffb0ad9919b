"""`quarterdeck explain`: why something is so: the fewest events that force it, and what did not happen.

Exit codes: 0 done; 1 refused or failed; 2 wrong usage; 3 nobody answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from quarterdeck_cli.client import Api, fail
from quarterdeck_cli.moments import At
from quarterdeck_cli.output import AsJson, console, print_json
from quarterdeck_cli.text import visible

if TYPE_CHECKING:
    from rich.text import Text

_WHY: Final = """
query Why($id: ID!, $at: Moment, $fields: [String!]) {
  explain(id: $id, at: $at, fields: $fields) {
    id
    slice {
      outcome value candidates size replays withheld settled notReplayable
      events { position recordedAt type actor why without }
      absences { words types tags after until besides instead holds }
      checked { whole sufficient irreducible absent settled }
    }
  }
}
"""
_CHECKS: Final = (
    ("whole", "all that has a bearing on it comes to this"),
    ("sufficient", "these events alone come to this"),
    ("irreducible", "without any one of them it would be otherwise"),
    ("absent", "the log has nothing of what is said to be absent"),
    ("settled", "with what else there was of that kind it comes to this, too"),
)


def explain(
    object_id: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="A decision, dec_…; any object, agent:bot; or an event, a UUID.",
            show_default=False,
        ),
    ],
    field: Annotated[list[str], typer.Option(help="Only why this field of it is so; several times.")] = [],  # noqa: B006
    at: At = None,
    json: AsJson = False,
) -> None:
    """Show why a decision was made, or why an object is as it is: the fewest past events that force it, checked."""
    with Api(json=json) as api:
        found = api.query(_WHY, id=object_id, at=at, fields=field or None)["explain"]
    if found is None:
        fail(
            f"there is nothing called {object_id}, or it is not yours to read",
            "quarterdeck estate list · approvals list · log tail   show ids",
            json=json,
            kind="not_found",
        )
    if json:
        print_json(found)
        return
    out = console()
    for line in explained(found["slice"]):
        out.print(line, soft_wrap=True)


def explained(found: dict[str, Any]) -> Iterator[Text]:
    """Yield a causal slice line by line."""
    from rich.text import Text

    yield Text(visible(found["outcome"]), style="bold")
    if found["notReplayable"]:
        yield Text(f"it cannot be worked out again: {visible(found['notReplayable'])}", style="yellow")
    yield Text(f"because of ({found['size']} of {found['candidates']} events that have a bearing on it)", style="bold")
    for event in found["events"]:
        if event["type"] is None:
            yield Text(f"  {visible(event['position']):>7}  an event that is not yours to read", style="dim")
            continue
        who = f"  by {visible(event['actor'])}" if event["actor"] else ""
        yield Text(f"  {visible(event['position']):>7}  {visible(event['recordedAt'])}  {visible(event['type'])}{who}")
        if event["why"]:
            yield Text(f"           {visible(event['why'])}")
        if event["without"]:
            yield Text(f"           without it: {visible(event['without'])}", style="dim")
    if found["absences"] or found["withheld"]:
        yield Text("and because nothing of this happened", style="bold")
    for absence in found["absences"]:
        yield Text(f"  {visible(absence['words'])}")
        yield Text(f"           otherwise: {visible(absence['instead'])}", style="dim")
    if found["withheld"]:
        yield Text(f"  and {found['withheld']} more that are not yours to read", style="dim")
    if found["settled"]:
        yield Text(f"and {len(found['settled'])} more of that kind came to nothing (--json names them)", style="dim")
    yield Text("checked by replaying", style="bold")
    for name, words in _CHECKS:
        known = found["checked"][name]
        mark, style = ("✔", "green") if known else ("✘", "bold red") if known is False else ("?", "dim")
        yield Text(f"  {mark} {words}{'' if known is not None else ': not checked'}", style=style)
