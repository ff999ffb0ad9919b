"""`quarterdeck apply`: make the estate what a file says: the plan first, then all of it or nothing.

Exit codes: 0 done, or nothing to do; 1 refused or failed; 2 wrong usage; 3 nobody answers; 4 something would change,
with --dry-run --exit-code.
"""

from __future__ import annotations

from typing import Annotated

import typer

from quarterdeck_cli.client import Api
from quarterdeck_cli.estate_door import STDIN, read_file
from quarterdeck_cli.estate_flow import Choices, agreeing, carry_out

_FILES = typer.Argument(metavar="FILE", help="Estate files, YAML or JSON; - reads standard input.", show_default=False)


@agreeing
def apply(files: Annotated[list[str], _FILES], choices: Choices) -> bool:
    """Make the estate what a file says: show the plan, ask, apply all of it or nothing.

    What the file does not mention is left alone; null unsets a fact; a list of relations is all of that type.

    Applied again, it changes nothing and says so. Several files go one after the other, each whole or not at all.

    A file has three members, and maybe valid_from, since when there is what it registers:

      version: 1

      source: platform

      assets: {"agent:bot": {owner: support-rota}, "team:support": null}

    With --json: a line for each file, {"file": …, "plan": …, "result": …}.
    """
    if len(files) > 1 and (choices.digest is not None or files.count(STDIN) > 1):
        raise typer.BadParameter("--digest goes with one file, and standard input is read once", param_hint="FILE")
    documents = [read_file(name, json=choices.json) for name in files]
    with Api(json=choices.json) as api:
        changes = [carry_out(api, document, choices) for document in documents]
    return any(changes)
