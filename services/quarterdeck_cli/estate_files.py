"""`quarterdeck estate export` and `bill`: the whole estate as a file, of now or of any moment."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from quarterdeck_cli.client import Api, fail
from quarterdeck_cli.estate_yaml import as_yaml
from quarterdeck_cli.moments import Asked, At, KnownAt
from quarterdeck_cli.output import AsJson, print_json
from quarterdeck_cli.text import quoted

app = typer.Typer()

FORMS: Final = ("cyclonedx-1.7", "cyclonedx-1.6", "spdx-3.0.1")

Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Write to this file; by default to standard output.", show_default=False),
]


@app.command()
def export(
    output: Output = None,
    source: Annotated[str, typer.Option(help="The name under which the file says what it says.")] = "export",
    at: At = None,
    known_at: KnownAt = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON; also what a file called .json gets.")] = False,
) -> None:
    """Take the estate away as a declarative file, all that is in use: applied here, it changes nothing."""
    with Api(json=json) as api:
        found = api.get("/v1/estate/file", source=source, **_moment(api, at, known_at, json))
    as_json = json or (output is not None and output.suffix == ".json")
    _write(output, _indented(found) if as_json else as_yaml(found), json)
    if output is not None:
        typer.echo(
            f"{len(found['assets']):,} objects in {output}.  Back again:  quarterdeck apply {quoted(output)}", err=True
        )


@app.command()
def bill(
    form: Annotated[str, typer.Option(help=", ".join(FORMS))] = FORMS[0],
    root: Annotated[
        str | None, typer.Option(metavar="ID", help="One object, and all that it needs.", show_default=False)
    ] = None,
    output: Output = None,
    at: At = None,
    known_at: KnownAt = None,
    json: AsJson = False,
) -> None:
    """Take the estate away as a bill of materials: the same bytes for the same position.

    With --json, which needs --output: says what was written where; the bill itself is JSON in any case.
    """
    if form not in FORMS:
        raise typer.BadParameter(f"{form!r} is not one of {', '.join(FORMS)}", param_hint="--form")
    if json and output is None:
        raise typer.BadParameter("with --json, name a file: the bill is a document of its own", param_hint="--output")
    with Api(json=json) as api:
        moment = _moment(api, at, known_at, json)
        found = api.text("/v1/estate/bill", form=form, root=root, **moment)
    _write(output, found, json)
    if json:
        print_json({"file": str(output), "bytes": len(found.encode()), "form": form, **moment})
    elif output is not None:
        typer.echo(f"{len(found.encode()):,} bytes of {form} in {output}.", err=True)


def _moment(api: Api, at: dict[str, Any] | None, known_at: dict[str, Any] | None, json: bool) -> dict[str, Any]:
    """Return the position of a moment (None for now), and the time whose facts are asked for as known there."""
    if at is not None and known_at is None and "position" in at:
        return {"position": int(at["position"])}
    asked = Asked(api, at, known_at, json=json)
    if at is None:
        return {"position": None}
    if known_at is None:
        return {"position": asked.position()}
    found = asked.ask("{ position moment }")
    return {"position": found["position"], "time": found["moment"]}


def _indented(found: dict[str, Any]) -> str:
    import json as jsonlib

    return jsonlib.dumps(found, indent=2) + "\n"


def _write(output: Path | None, text: str, json: bool) -> None:
    try:
        if output is None:
            sys.stdout.write(text)
            sys.stdout.flush()
        else:
            output.write_text(text, encoding="utf-8")
    except OSError as error:
        name = output or "standard output"
        fail(f"{name} cannot be written: {error}", json=json, kind="unwritable")
