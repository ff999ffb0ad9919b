"""One mutation per command, made from the catalogue of commands: its input, its payload, and every way it may end.

Nothing here knows a command by name: a command that lands in the catalogue is a mutation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Union

import strawberry
from strawberry.scalars import JSON
from strawberry.tools import create_type

from quarterdeck_domain.commands import Command
from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_graphql.context import Info
from quarterdeck_graphql.declare import resolver
from quarterdeck_graphql.generated import Inputs, value_of
from quarterdeck_graphql.limits import DUE
from quarterdeck_graphql.problems import PROBLEMS, problem_of
from quarterdeck_graphql.record import Record, record_at
from quarterdeck_graphql.scalars import Position

KEY: Final = (
    "Your name for this request, 1 to 255 visible characters. The same key with the same input records nothing new and "
    "gives the first answer; it is never forgotten."
)


_BEGIN_BY: Final = 0.8
_RECORD_BY: Final = 0.9
_END_BY: Final = 0.96
"""Shares of a request's time. What is late gives up alone: an answer with a secret in it is given once."""


class NotBegun(QuarterdeckError):
    """The commands before it in the request left no time for this one. Nothing was done; send it by itself."""

    code = "not_begun"


@strawberry.type(description="An event that a command recorded.")
class EventRef:
    position: Position = strawberry.field(description="Its place in the log.")
    type: str = strawberry.field(description="Its stable name.")


@strawberry.interface(description="What a command came to.")
class Payload:
    position: Position = strawberry.field(
        description="The last position it stands on: pass it as `atLeast` to read your own write."
    )
    recorded_at: datetime | None = strawberry.field(description="When it was recorded; null where nothing had to be.")
    repeated: bool = strawberry.field(description="Whether it was recorded before, by the same idempotency key.")
    result: JSON = strawberry.field(description="The ids of what it made or was about, by name.")
    reveal: JSON | None = strawberry.field(description="Secrets it made, by name. Shown this once, and never again.")
    events: list[EventRef] = strawberry.field(description="What it recorded.")

    @resolver(
        "The record with this command in it. Null, with an error beside the rest, where the record is late.",
        metadata={DUE: _RECORD_BY},
    )
    async def record(self, info: Info) -> Record | None:
        return await record_at(info.context, at_least=self.position)


def mutation_type(commands: Mapping[str, Command]) -> Any:
    """Return the type `Mutation` of a catalogue of commands."""
    inputs = Inputs()
    fields = [_field(command, inputs) for command in commands.values()]
    return create_type("Mutation", fields, description="Every command of the house.")


def _field(command: Command, inputs: Inputs) -> Any:
    name = "".join(part.capitalize() for part in command.name.split("_"))
    payload = strawberry.type(type(f"{name}Payload", (Payload,), {}), description=f"`{command.name}` was done.")
    members: Any = Union[(payload, *PROBLEMS)]
    result: Any = Annotated[members, strawberry.union(f"{name}Result", description="How it ended.")]

    async def resolve(info: Info, input: Any, idempotency_key: str | None = None) -> Any:
        due = info.context.due
        if due is not None and asyncio.get_running_loop().time() > due.at(_BEGIN_BY):
            return problem_of(NotBegun("those before it took the request's time; nothing was done: send it by itself"))
        try:
            done = await info.context.send(command, value_of(input), idempotency_key)
        except QuarterdeckError as error:
            problem = problem_of(error)
            if problem is None:
                raise
            return problem
        return payload(
            position=Position(done.position),
            recorded_at=done.recorded_at,
            repeated=done.repeated,
            result=dict(done.result),
            reveal=None if done.reveal is None else dict(done.reveal),
            events=[EventRef(position=Position(event.position), type=event.type) for event in done.events],
        )

    resolve.__annotations__ = {
        "info": Info,
        "input": inputs.of(command.input, f"{name}Input"),
        "idempotency_key": Annotated[str | None, strawberry.argument(description=KEY)],
        "return": result | None,
    }
    resolve.__name__ = command.name
    return strawberry.field(resolver=resolve, name=_lower(name), description=command.summary, metadata={DUE: _END_BY})


def _lower(name: str) -> str:
    return name[0].lower() + name[1:]
