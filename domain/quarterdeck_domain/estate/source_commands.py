"""The commands on sources as the outside sends them. Importing itself has doors of its own: it reads a server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec

from quarterdeck_domain.access.events import Role
from quarterdeck_domain.checks import MAX_REASON
from quarterdeck_domain.commands import Command, CommandInput, Environment, Prepared
from quarterdeck_domain.estate.source_events import Clearable, Dialect, OnDrift, SourceKind
from quarterdeck_domain.estate.source_slices import ChangeSource, RegisterSource, RemoveSource
from quarterdeck_domain.estate.sources import DAILY_S, MAX_ADDRESS, MAX_EVERY_S, MIN_EVERY_S, NAME
from quarterdeck_domain.slices import Slice

SourceId = Annotated[str, msgspec.Meta(pattern=NAME, max_length=60)]
"""How the house calls a source: small letters, digits, dots, dashes, underlines."""
Address = Annotated[str, msgspec.Meta(min_length=8, max_length=MAX_ADDRESS)]
Every = Annotated[int, msgspec.Meta(ge=MIN_EVERY_S, le=MAX_EVERY_S)]
Where = Annotated[str, msgspec.Meta(min_length=1, max_length=60)]

_EDITORS: Final[frozenset[Role]] = frozenset({"operator", "administrator"})


class RegisterSourceInput(CommandInput, frozen=True, kw_only=True):
    """A server or address that the estate is imported from: of which kind, how often (null: only on request), and
    what becomes of an object that is not as it was pinned. `credential` is the name of a secret in `import_secrets`."""

    source_id: SourceId
    kind: SourceKind
    address: Address
    dialect: Dialect = "openai"
    every_s: Every | None = DAILY_S
    on_drift: OnDrift = "note"
    environment: Where | None = None
    credential: SourceId | None = None


class ChangeSourceInput(CommandInput, frozen=True, kw_only=True):
    """What is to be otherwise about a source; what is left out stays. `clear` names what it is to be without."""

    source_id: SourceId
    address: Address | None = None
    dialect: Dialect | None = None
    every_s: Every | None = None
    on_drift: OnDrift | None = None
    environment: Where | None = None
    credential: SourceId | None = None
    clear: Annotated[tuple[Clearable, ...], msgspec.Meta(max_length=3)] = ()
    reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON)] = ""


class RemoveSourceInput(CommandInput, frozen=True, kw_only=True):
    """A source that nothing is imported from any more."""

    source_id: SourceId
    reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON)] = ""


def _command(name: str, summary: str, input_: type[CommandInput], made: Callable[..., Slice]) -> Command:
    def prepare(body: Any, env: Environment) -> Prepared:
        given = {field: getattr(body, field) for field in body.__struct_fields__}
        return Prepared(slice=made(actor=env.actor, **given), result={"source_id": body.source_id})

    return Command(name=name, room="estate", summary=summary, input=input_, roles=_EDITORS, prepare=prepare)


COMMANDS: Final = (
    _command("register_source", "Let the estate be imported from somewhere.", RegisterSourceInput, RegisterSource),
    _command("change_source", "Read a source of the estate in another way.", ChangeSourceInput, ChangeSource),
    _command("remove_source", "Import no longer from a source.", RemoveSourceInput, RemoveSource),
)
