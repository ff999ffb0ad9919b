"""`quarterdeck estate sources`: where the estate is imported from, on request and by a schedule.

The server reads them, from where its operator allows (`import_allow`); a secret is named here, never given.
"""

from __future__ import annotations

import json as jsonlib
import sys
import uuid
from typing import Annotated, Any, Final, Literal

import typer

from quarterdeck_cli.client import PAUSES_S, USAGE, Api, fail, kind_of
from quarterdeck_cli.estate_plan_view import counted, plan_lines
from quarterdeck_cli.output import AsJson, console, print_json, seconds_of, show_rows, when
from quarterdeck_cli.text import quoted, visible

SOURCES: Final = "/v1/estate/sources"
TRIES: Final = 5
NEVER: Final = "never"
CLEARED: Final = ("environment", "credential")
Kind = Literal["mcp", "models", "litellm", "openapi", "a2a", "cyclonedx", "spdx", "estate"]
Drift = Literal["note", "quarantine"]
Dialect = Literal["openai", "anthropic"]

Name = Annotated[str, typer.Argument(metavar="NAME", help="How the house calls it.", show_default=False)]
Every = Annotated[
    str | None,
    typer.Option(help="How often it is imported: 1d, 6h, 30m; `never`: only on request.", show_default=False),
]
Environment = Annotated[
    str | None, typer.Option(help="Where what it declares runs, unless it says so itself.", show_default=False)
]
Credential = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="A secret of the server's setting import_secrets.", show_default=False),
]
Why = Annotated[str, typer.Option("--reason", "-m", help="Why; the record keeps it.")]

app = typer.Typer(
    help="Where the estate is imported from: register servers, import them now, or let a schedule do it.",
    no_args_is_help=True,
)


@app.command("list")
def list_(
    removed: Annotated[bool, typer.Option("--removed", help="Those that were removed, too.")] = False,
    json: AsJson = False,
) -> None:
    """Show every source: how its last import ended, and when the next is due."""
    with Api(json=json) as api:
        found = api.get(SOURCES, removed=True if removed else None)
    if json:
        print_json(found["sources"])
        return
    rows = [
        (
            item["source_id"],
            item["kind"],
            item["address"],
            _ended(item),
            "removed" if item["state"] == "removed" else when(item["next_at"]) if item["next_at"] else "on request",
        )
        for item in found["sources"]
    ]
    show_rows(("source", "kind", "address", "last import", "next"), rows, "The estate is imported from nowhere.")


@app.command()
def show(name: Name, json: AsJson = False) -> None:
    """Show one source: how it is read, and what its last import came to."""
    with Api(json=json) as api:
        found: dict[str, Any] = api.get(f"{SOURCES}/{_path(name)}")
    if json:
        print_json(found)
        return
    for field, value in found.items():
        if value not in (None, [], {}, ""):
            told = jsonlib.dumps(value) if isinstance(value, dict | list) else str(value)
            typer.echo(f"{field:<14} {visible(told)}")


@app.command()
def add(
    name: Name,
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="What it is.", show_default=False)],
    address: Annotated[str, typer.Argument(metavar="URL", help="Where the server reads it.", show_default=False)],
    every: Every = "1d",
    on_drift: Annotated[Drift, typer.Option(help="What becomes of an object that is not as it was pinned.")] = "note",
    environment: Environment = None,
    credential: Credential = None,
    dialect: Annotated[Dialect, typer.Option(help="Of a list of models: whose.")] = "openai",
    json: AsJson = False,
) -> None:
    """Let the estate be imported from somewhere: at once and then by its schedule, or only on request."""
    body = {
        "source_id": name,
        "kind": kind,
        "address": address,
        "dialect": dialect,
        "every_s": _seconds(every),
        "on_drift": on_drift,
        "environment": environment,
        "credential": credential,
    }
    with Api(json=json) as api:
        done = api.send(SOURCES, jsonlib.dumps(body).encode(), "application/json")
        api.settle(int(done["position"]))
    _said(done, json, f"{name} is registered", f"quarterdeck estate sources run {quoted(name)}")


@app.command()
def change(
    name: Name,
    address: Annotated[str | None, typer.Option("--url", help="Where it is read.", show_default=False)] = None,
    every: Every = None,
    on_drift: Annotated[
        Drift | None,
        typer.Option(help="What becomes of an object that is not as it was pinned.", show_default=False),
    ] = None,
    environment: Environment = None,
    credential: Credential = None,
    dialect: Annotated[Dialect | None, typer.Option(help="Of a list of models: whose.", show_default=False)] = None,
    clear: Annotated[
        list[str],
        typer.Option(metavar="NAME", help=f"What it is to be without: {', '.join(CLEARED)}.", show_default=False),
    ] = [],  # noqa: B006
    reason: Why = "",
    json: AsJson = False,
) -> None:
    """Read a source in another way. What is not named stays."""
    if unknown := sorted(set(clear) - set(CLEARED)):
        raise typer.BadParameter(f"{unknown[0]!r} is not one of {', '.join(CLEARED)}", param_hint="--clear")
    cleared: list[str] = [*clear, *(("every_s",) if every == NEVER else ())]
    body: dict[str, Any] = {
        "source_id": name,
        "address": address,
        "dialect": dialect,
        "every_s": None if every is None else _seconds(every),
        "on_drift": on_drift,
        "environment": environment,
        "credential": credential,
    }
    if not cleared and all(value is None for key, value in body.items() if key != "source_id"):
        raise typer.BadParameter("say what changes, such as --every 6h", param_hint="--every")
    with Api(json=json) as api:
        done = api.command("change_source", **body, clear=cleared, reason=reason)
        api.settle(int(done["position"]))
    _said(done, json, f"{name} is changed", f"quarterdeck estate sources show {quoted(name)}")


@app.command()
def remove(name: Name, reason: Why = "", json: AsJson = False) -> None:
    """Import no longer from a source. What came from there stays as it is."""
    with Api(json=json) as api:
        done = api.command("remove_source", source_id=name, reason=reason)
        api.settle(int(done["position"]))
    _said(done, json, f"{name} is removed; what came from there stays", "quarterdeck estate sources list --removed")


@app.command()
def run(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask: import whatever the plan is.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the plan.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Show every step of the plan, however long.")] = False,
    json: AsJson = False,
) -> None:
    """Read a source now, show what importing it would do, and do it once that is agreed to."""
    if json and not (yes or dry_run):
        fail(
            "with --json nothing is asked", "add --yes, or --dry-run to look first", code=USAGE, json=True, kind="usage"
        )
    with Api(json=json) as api:
        for _ in range(TRIES):
            looked = api.send(f"{SOURCES}/{_path(name)}/plan", b"", "application/json")
            found = looked["plan"]
            if not json:
                for line in plan_lines(found, everything=everything):
                    console().print(line, soft_wrap=True)
                for note in found["notes"]:
                    typer.echo(f"note: {visible(note)}")
                typer.echo(f"{visible(name)} declares {looked['objects']} objects: {counted(found['counts'])}.")
            if dry_run:
                _end(json, found, None)
                return
            if found["steps"] and not yes:
                _agree(name)
            done = _import(api, name, found["plan_digest"])
            if done is not None:
                api.settle(int(done["position"]), 10)
                _end(json, found, done)
                return
            typer.secho("the estate or the source has changed; this is the plan now:", err=True)
    fail("the estate or the source changes faster than this can be agreed to", "try again in a moment", json=json)


def _import(api: Api, name: str, digest: str) -> dict[str, Any] | None:
    """Return what importing did, or None if the plan is another one by now. Anything else ends the command."""
    import time

    import httpx

    key, why = str(uuid.uuid4()), "the answer ended before it said what was done"
    for pause_s in (0.0, *PAUSES_S):
        time.sleep(pause_s)
        try:
            path = f"{SOURCES}/{_path(name)}/import"
            with api.sending(path, b"", "application/json", key, plan_digest=digest) as answer:
                for line in answer.iter_lines():
                    said = jsonlib.loads(line)
                    if isinstance(problem := said.get("problem"), dict):
                        if kind_of(problem) == "plan_changed":
                            return None
                        api.refuse(problem, int(problem.get("status") or 500))
                    if isinstance(result := said.get("result"), dict):
                        return result
        except (httpx.HTTPError, ValueError) as error:
            why = str(error) or type(error).__name__
    return api.away(why)


def _agree(name: str) -> None:
    if not sys.stdin.isatty():
        fail("nobody is here who could be asked: nothing was imported", "add --yes", code=USAGE, kind="usage")
    if not typer.confirm(f"\nImport {visible(name)}?", default=False):
        fail("nothing was imported", kind="not_decided")


def _end(json: bool, plan: dict[str, Any], done: dict[str, Any] | None) -> None:
    if json:
        print_json({"plan": plan, "result": done})
    elif done is not None and done["changed"]:
        what = counted(done["counts"], done=True)
        typer.secho(f"Imported: {what}; up to position {done['position']}, {done['run']}.", fg=typer.colors.GREEN)
    elif done is not None:
        typer.echo(f"Nothing to change: all that it says is so already (position {done['position']}).")


def _ended(item: dict[str, Any]) -> str:
    if item["last_outcome"] is None:
        return "never"
    if item["last_outcome"] == "failed":
        return f"failed {when(item['last_at'])}: {item['last_error']}"
    gone = f", {item['gone']} gone" if item["gone"] else ""
    return f"{when(item['last_at'])}, {item['objects']} objects{gone}"


def _seconds(every: str | None) -> int | None:
    if every is None or every == NEVER:
        return None
    return seconds_of(every)


def _said(done: dict[str, Any], json: bool, what: str, then: str) -> None:
    if json:
        print_json(done)
        return
    typer.secho(visible(what), fg=typer.colors.GREEN)
    typer.echo(f"  next: {visible(then)}")


def _path(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")
