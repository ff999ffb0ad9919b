"""Plan, look, agree, apply: the one way by which whole files get into the estate, for `apply` and for `estate import`.

What is agreed to is what is applied, or nothing is: the plan's digest goes with the file.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Final, NoReturn

import typer

from quarterdeck_cli.client import USAGE, Api, fail
from quarterdeck_cli.estate_door import STDIN, Applying, Changed, Document, Progress, plan
from quarterdeck_cli.estate_plan_view import counted, plan_lines
from quarterdeck_cli.output import AsJson, console, print_json
from quarterdeck_cli.text import visible

WOULD_CHANGE: Final = 4
"""The exit code of `--dry-run --exit-code` where something would change: 1 to 3 keep their meaning."""
TRIES: Final = 5
SETTLING: Final = 10
"""How often is asked whether questions are answered with what was applied already."""

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask: apply whatever the plan is.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show the plan.")]
ExitCode = Annotated[
    bool, typer.Option("--exit-code", help=f"With --dry-run: end with {WOULD_CHANGE} if something would change.")
]
Digest = Annotated[
    str | None,
    typer.Option("--digest", help="Apply only if this is the plan's digest, and do not ask.", show_default=False),
]
Everything = Annotated[bool, typer.Option("--all", help="Show every step and value of the plan, however long.")]


@dataclass(frozen=True)
class Choices:
    """What was said on the command line about how to go about it."""

    yes: bool = False
    dry_run: bool = False
    exit_code: bool = False
    digest: str | None = None
    everything: bool = False
    json: bool = False


def _options(
    yes: Yes = False,
    dry_run: DryRun = False,
    exit_code: ExitCode = False,
    digest: Digest = None,
    everything: Everything = False,
    json: AsJson = False,
) -> None:
    """Stand for the options that `agreeing` adds."""


def agreeing(verb: Callable[..., bool]) -> Callable[..., None]:
    """Give a verb the options by which a plan is agreed to, as `choices`; it says whether anything would change."""
    own = inspect.signature(verb, eval_str=True).parameters
    added = inspect.signature(_options, eval_str=True).parameters

    @functools.wraps(verb)
    def run(**given: Any) -> None:
        choices = Choices(**{name: given.pop(name) for name in added})
        if choices.exit_code and not choices.dry_run:
            raise typer.BadParameter("it says how --dry-run ends", param_hint="--exit-code")
        if verb(**given, choices=choices) and choices.exit_code:
            raise typer.Exit(WOULD_CHANGE)

    kept = [found for name, found in own.items() if name != "choices"]
    shown: Any = run
    shown.__signature__ = inspect.Signature([*kept, *added.values()])
    shown.__annotations__ = {found.name: found.annotation for found in (*kept, *added.values())}
    del shown.__wrapped__
    return run


def carry_out(api: Api, document: Document, choices: Choices) -> bool:
    """Plan a file and, once it is agreed to, apply it. Return whether anything would change, or did."""
    if choices.json and not (choices.yes or choices.dry_run or choices.digest):
        hint = "add --yes, or --dry-run to look first"
        fail("with --json nothing is asked", hint, code=USAGE, json=True, kind="usage")
    found = plan(api, document)
    for _ in range(TRIES):
        if not choices.json:
            _show(document, found, choices)
        if choices.digest is not None and found["steps"] and found["plan_digest"] != choices.digest:
            fail(
                f"the plan has the digest {found['plan_digest']}, not {choices.digest}: nothing was applied",
                "look at it, and apply it with its own digest",
                json=choices.json,
                kind="plan_changed",
            )
        if choices.dry_run or not found["steps"]:
            _said(document, found, None, choices)
            return bool(found["steps"])
        if not (choices.yes or choices.digest):
            _agree(document)
        done = _apply(api, document, found, choices)
        if not isinstance(done, Changed):
            api.settle(int(done["position"]), SETTLING)
            _said(document, found, done, choices)
            return done.get("run") is not None
        if not choices.json:
            typer.secho(f"{visible(done.message)}; this is the plan now:", fg=typer.colors.YELLOW, err=True)
        found = plan(api, document)
    return _moving(choices.json)


def _apply(api: Api, document: Document, found: dict[str, Any], choices: Choices) -> dict[str, Any] | Changed:
    with _progress(quiet=choices.json) as progress:
        return Applying(api, document, found["plan_digest"], choices.json).run(progress)


def _moving(json: bool) -> NoReturn:
    fail(
        f"the estate changed {TRIES} times between plan and apply; nothing was applied",
        "apply it again in a moment",
        json=json,
        kind="plan_changed",
    )


def _show(document: Document, found: dict[str, Any], choices: Choices) -> None:
    out = console()
    name = "standard input" if document.name == STDIN else document.name
    for line in plan_lines(found, everything=choices.everything):
        out.print(line, soft_wrap=True)
    if found["steps"]:
        typer.echo(f"Plan for {visible(name)} at position {found['position']}: {counted(found['counts'])}.")
        typer.echo(f"Digest {visible(found['plan_digest'])}")


def _said(document: Document, found: dict[str, Any], done: dict[str, Any] | None, choices: Choices) -> None:
    if choices.json:
        print_json({"file": document.name, "plan": found, "result": done})
        return
    if not found["steps"]:
        name = "what was read" if document.name == STDIN else document.name
        typer.echo(f"Nothing to change: all that {visible(name)} says is so already (position {found['position']}).")
    elif done is not None and done.get("run") is None:
        typer.echo(f"Nothing to change any more: it is so already (position {done['position']}).")
    elif done is not None:
        what, run = counted(done["counts"], done=True), visible(done["run"])
        typer.secho(f"Applied: {what}; up to position {done['position']}, {run}.", fg=typer.colors.GREEN)


def _agree(document: Document) -> None:
    if document.name == STDIN or not sys.stdin.isatty():
        fail(
            "nobody is here who could be asked: nothing was applied",
            "add --yes, or --digest with the digest of the plan above",
            code=USAGE,
            kind="usage",
        )
    if not typer.confirm("\nApply this?", default=False):
        fail("nothing was applied", kind="not_decided")


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Progress]:
    """Yield what shows progress on standard error: a bar on a terminal, lines elsewhere, nothing for programs."""
    err = console(stderr=True)
    if quiet:
        yield lambda stage, done, of: None
    elif not err.is_terminal:
        yield _Lines()
    else:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Bar(*columns, console=err, transient=True) as bar:
            task = bar.add_task("sending", total=None)

            def show(stage: str, done: int, of: int) -> None:
                bar.update(task, description=_STAGES.get(stage, visible(stage)), completed=done, total=of or None)

            yield show


_STAGES: Final = {"plan": "planning", "record": "recording"}


class _Lines:
    """Progress as lines: one for each stage, and one for each tenth of it."""

    def __init__(self) -> None:
        self._last: tuple[str, int] | None = None

    def __call__(self, stage: str, done: int, of: int) -> None:
        tenth = (stage, 10 * done // of if of else 0)
        if tenth != self._last:
            self._last = tenth
            typer.echo(f"{_STAGES.get(stage, visible(stage))}: {done:,} of {of:,}", err=True)
