"""Every command of the house by name. A new command is added to its room's COMMANDS and lands here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from quarterdeck_domain.access import commands as access
from quarterdeck_domain.approvals import commands as approvals
from quarterdeck_domain.commands import Command
from quarterdeck_domain.estate import commands as estate
from quarterdeck_domain.estate import source_commands
from quarterdeck_domain.policy import commands as policy


def catalogue(commands: Iterable[Command]) -> Mapping[str, Command]:
    """Return commands by name, sorted.

    Raises:
        ValueError: two have the same name.
    """
    by_name: dict[str, Command] = {}
    for command in commands:
        if command.name in by_name:
            raise ValueError(f"command {command.name!r} is declared twice")
        by_name[command.name] = command
    return MappingProxyType(dict(sorted(by_name.items())))


COMMANDS: Final = catalogue(
    (*access.COMMANDS, *policy.COMMANDS, *approvals.COMMANDS, *estate.COMMANDS, *source_commands.COMMANDS)
)
