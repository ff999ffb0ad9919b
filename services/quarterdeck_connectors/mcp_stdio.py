"""Reading an MCP server that is a program on the user's own machine. For the command line, and nothing else.

Who names a command runs it: so only the person at the keyboard does, and no module that answers requests or acts for
them may import this one (a test holds that). Time, pages and things are bounded as over HTTP;
memory is not, because a program of the user's own needs no server to take the machine's.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import IO, Final, Literal

import anyio
from mcp.client.stdio import StdioServerParameters, stdio_client

from quarterdeck_connectors.draft import Imported, line
from quarterdeck_connectors.errors import SourceAway
from quarterdeck_connectors.mcp_offer import to_declaration
from quarterdeck_connectors.mcp_server import LIMITS, Limits, errors_of_sdk, read_session
from quarterdeck_domain.checks import legible
from quarterdeck_domain.errors import QuarterdeckError

_TAIL: Final = 500
_SHELL: Final = "/bin/sh"
_THEN_ALL: Final = '"$@"; kill -s KILL -- "-$$"'
"""Runs a program, and ends its group of processes when it has ended: the SDK ends that only where the program does not
end by itself. The SDK begins a session for it; did it not, there would be no group of that number."""


async def import_mcp_program(
    command: Sequence[str],
    server: str,
    *,
    environment: Mapping[str, str] | None = None,
    on_drift: Literal["note", "quarantine"] = "note",
    limits: Limits = LIMITS,
) -> Imported:
    """Run a command, ask it over its standard input and output what it offers, and return what it declares.

    Of the command only the program's name is recorded: arguments may hold secrets. Of our environment it gets the few
    variables that the SDK hands on, and `environment`.

    Raises:
        SourceAway: it cannot be started, ends, or takes too long; with the end of what it wrote to standard error, and
            how many lines it wrote to standard output that were no messages.
        UnreadableSource: as `mcp_server.import_mcp_server`.
    """
    program = command[0]
    first, *arguments = _leaving_nothing(command, (environment or {}).get("PATH"))
    parameters = StdioServerParameters(command=first, args=arguments, env=dict(environment or {}))
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as complaints, _strays() as strays:
        try:
            with anyio.CancelScope(deadline=anyio.current_time() + limits.seconds) as scope:
                async with errors_of_sdk():
                    offer = await read_session(stdio_client(parameters, errlog=complaints), limits)
            if scope.cancelled_caught:
                raise SourceAway(
                    f"it was not read to its end within {limits.seconds:g} seconds", seconds=limits.seconds
                )
        except QuarterdeckError as error:
            if wrote := _end_of(complaints):
                error.details["stderr"] = wrote
            if isinstance(error, SourceAway) and strays.lines:
                raise SourceAway(
                    f"{error.message}; {strays.lines} of the lines that it wrote were no messages of MCP",
                    **error.details,
                ) from None
            raise
    return to_declaration(
        offer,
        server=server,
        endpoint=line(PurePath(program).name),
        transport="stdio",
        on_drift=on_drift,
    )


def _leaving_nothing(command: Sequence[str], path: str | None) -> Sequence[str]:
    """Return a command whose processes end with it. What cannot be run is left as it is: the system says why."""
    if os.name != "posix" or shutil.which(command[0], path=path) is None or not os.access(_SHELL, os.X_OK):
        return command
    return (_SHELL, "-c", _THEN_ALL, _SHELL, *command)


class _Strays(logging.Handler):
    """Counts the lines of standard output that the SDK could not read, each of which it would log with a traceback."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count one."""
        self.lines += record.exc_info is not None


@contextlib.contextmanager
def _strays() -> Iterator[_Strays]:
    logger, counting = logging.getLogger("mcp.client.stdio"), _Strays()
    passed, logger.propagate = logger.propagate, False
    level = logger.level
    logger.setLevel(logging.ERROR)
    logger.addHandler(counting)
    try:
        yield counting
    finally:
        logger.removeHandler(counting)
        logger.setLevel(level)
        logger.propagate = passed


def _end_of(file: IO[str]) -> str:
    end = file.seek(0, 2)
    file.seek(max(0, end - _TAIL))
    return legible(" ".join(file.read(_TAIL).split()), limit=_TAIL)
