"""Reading a source on the user's own machine. The connectors do it, which come with the server's extra; the rest of the
command line does without, and says what to install where they are missing."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import typer

from quarterdeck_cli.client import fail
from quarterdeck_cli.estate_door import Document

if TYPE_CHECKING:
    from quarterdeck_connectors.draft import Imported

T = TypeVar("T")

FORM: Final = "imported"
"""The format in which what was read here is sent: it is no file that people write."""


def found_here(
    name: str, read: Callable[[], Imported], *, json: bool, whole: bool = False, secrets: Sequence[str] = ()
) -> Document:
    """Return what a source on this machine declares, ready to be sent. What cannot be read ends the command.

    `whole` says that it is all there is in that source. `secrets` are what it is sent: nothing that repeats one is sent
    on, and none is in what is said, whatever a source answers.
    """
    try:
        from quarterdeck_connectors.hiding import refuse_repeated, without
        from quarterdeck_connectors.imported import write_imported
        from quarterdeck_domain.errors import QuarterdeckError
    except ImportError as error:
        _missing(error, json)
    try:
        found = read()
        for secret in secrets:
            refuse_repeated(found, secret)
        return Document(name, write_imported(found, whole=whole), {"form": FORM})
    except ImportError as error:
        _missing(error, json)
    except QuarterdeckError as error:
        told = functools.reduce(without, secrets, error)
        problems, wrote = told.details.get("problems"), told.details.get("stderr")
        said = list(problems) if isinstance(problems, list | tuple) else []
        return fail(
            f"{name} was not read: {told.message}",
            "mend what the message names; nothing was sent",
            json=json,
            kind=told.code,
            problems=[*said, f"it wrote: {wrote}"] if wrote else said,
        )


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Return what asynchronous work comes to."""
    import asyncio

    return asyncio.run(work())


def variable(name: str, option: str) -> str:
    """Return what an environment variable holds. Secrets come so: a command line is seen by others on the machine.

    Raises:
        typer.BadParameter: it is not set.
    """
    value = os.environ.get(name)
    if not value:
        raise typer.BadParameter(f"the environment variable {name!r} is not set", param_hint=option)
    return value


def _missing(error: ImportError, json: bool) -> NoReturn:
    fail(
        f"this is read on your machine, and what reads it is not installed ({error.name})",
        "pip install 'quarterdeck[server]'   here; the rest of the command line does without",
        json=json,
        kind="not_installed",
    )
