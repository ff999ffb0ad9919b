"""Commands, declared once: REST, GraphQL and the command line are derived from this.

A room's `commands.py` lists its `Command`s. A command names its input (a frozen msgspec struct: the wire
body, unknown fields refused), who may send it, and how it becomes a slice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from quarterdeck_domain.access.events import Role
from quarterdeck_domain.access.values import Held
from quarterdeck_domain.events import Actor, Event
from quarterdeck_domain.slices import Slice


class CommandInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every command's wire body."""


class Environment(Protocol):
    """What is injected into a command where it enters the house: no command makes its own randomness."""

    tenant: str
    actor: Actor
    held: Held

    def new_id(self, prefix: str) -> str:
        """Return a fresh id (see `ids`); the same command id gives the same ids, so retries agree."""
        ...

    def new_secret(self) -> str:
        """Return 256 fresh random bits as URL-safe text. Never logged, never stored."""
        ...


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A command ready to run. `reveal` is shown to the caller once, when the command is first recorded,
    and never again; `result` names the things it made, and `told` what its events name besides."""

    slice: Slice
    result: Mapping[str, str] = {}
    reveal: Mapping[str, str] = {}
    told: Callable[[Sequence[Event]], Mapping[str, str]] | None = None


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """One command as the outside sees it. `name` is `snake_case`, a verb first."""

    name: str
    room: str
    summary: str
    input: type[CommandInput]
    roles: frozenset[Role]
    """Any of these may send it; an empty set means any signed-in principal (the slice decides)."""
    prepare: Callable[[Any, Environment], Prepared]
