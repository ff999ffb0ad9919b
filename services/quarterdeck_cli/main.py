"""`quarterdeck`: every verb of the command line, in the order in which a newcomer meets them."""

from __future__ import annotations

import importlib
import sys
from typing import Annotated, Final

import typer

EPILOG: Final = (
    "First time here?  quarterdeck demo  plays one whole story;  quarterdeck up  starts the real thing here. "
    "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 nobody answers."
)
app = typer.Typer(
    name="quarterdeck",
    help="The control plane for AI estates: one tamper-evident log, human approval gates, a time machine over both.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_GROUPS: Final = (
    ("Run it", ("demo:demo", "up:up", "serve:app serve", "doctor:doctor")),
    ("Decide", ("people:sign_in", "people:sign_out", "people:whoami", "approvals:app approvals")),
    (
        "Look after it",
        ("people:app people", "keys:app keys", "tenants:app tenants", "effects:app effects", "stuck:app stuck"),
    ),
    (
        "Know the estate",
        ("apply:apply", "estate:app estate", "diff:diff", "timeline:timeline", "replay:replay", "explain:explain"),
    ),
    ("Prove it", ("log:app log", "verify:verify")),
    (
        "Keep it",
        (
            "backup:backup",
            "backup:backup_keys",
            "restore:restore",
            "restore:restore_keys",
            "migrate:migrate",
            "rebuild:rebuild",
            "recover:recover_administrator",
        ),
    ),
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"quarterdeck {version('quarterdeck')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and end.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Take the options that stand before a verb."""


def _mount(first: str = "") -> None:
    """Add the verb that is called. None is needed for the version; all of them, for help and for what is none."""
    verbs = {_name(entry): (entry.partition(" ")[0], panel) for panel, entries in _GROUPS for entry in entries}
    for name in (first,) if first in verbs else () if first == "--version" else verbs:
        target, panel = verbs[name]
        module, _, attribute = target.partition(":")
        found = getattr(importlib.import_module(f"quarterdeck_cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name, rich_help_panel=panel)
        else:
            app.command(name=name, rich_help_panel=panel)(found)


def _name(entry: str) -> str:
    target, _, name = entry.partition(" ")
    return name or target.partition(":")[2].replace("_", "-")


def run() -> None:
    """Entry point of the `quarterdeck` command."""
    _mount(sys.argv[1] if len(sys.argv) > 1 else "")
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
