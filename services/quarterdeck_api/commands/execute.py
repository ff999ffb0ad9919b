"""One way to run a command, whoever sent it: REST and GraphQL both come through here.

Parse strictly, check the role, prepare the slice with injected ids and secrets, run it on the log, answer with what
was recorded. Secrets made on the way are shown only by the answer to the recording itself, never to a repetition.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from quarterdeck_api.auth.caller import Caller, require
from quarterdeck_api.commands.idempotency import command_id, fingerprint
from quarterdeck_api.problems import IdempotencyKeyReused
from quarterdeck_api.services import Services
from quarterdeck_domain import canonical
from quarterdeck_domain.access.values import Held
from quarterdeck_domain.commands import Command, CommandInput
from quarterdeck_domain.errors import InvalidInput, NotCanonical
from quarterdeck_domain.events import Actor
from quarterdeck_domain.ids import in_time_of, make_id
from quarterdeck_ledger.erasure import carry_out
from quarterdeck_ledger.errors import IdReused
from quarterdeck_ledger.interface import Context, Executed
from quarterdeck_policy.preflight import CHECKS
from quarterdeck_runtime.telemetry import current_traceparent

SECRET_BYTES: Final = 32
_ID_WANTED: Final = re.compile(r"Expected `str` matching regex '\^([a-z]{3})_\S+' - at `\$\.(\S+)`")
"""What msgspec says of a value that is no id."""


class EventRef(msgspec.Struct, frozen=True, kw_only=True):
    """An event that a command recorded."""

    position: int
    type: str


class CommandResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a command came to. `position` lets a reader ask for its own write; `reveal` has secrets, shown this once."""

    position: int
    recorded_at: datetime | None
    result: dict[str, str] = {}
    reveal: dict[str, str] | None = None
    events: tuple[EventRef, ...] = ()
    repeated: bool = False
    """Whether this was recorded before, by the same idempotency key."""


@dataclass
class CommandEnvironment:
    """What is injected into a command (see `commands.Environment`): ids derived from its command id, fresh secrets."""

    tenant: str
    actor: Actor
    held: Held
    command_id: uuid.UUID
    _made: int = 0

    def new_id(self, prefix: str) -> str:
        """Return the next id of this command."""
        self._made += 1
        return make_id(prefix, in_time_of(self.command_id, uuid.uuid5(self.command_id, f"{prefix}/{self._made}")))

    def new_secret(self) -> str:
        """Return 256 fresh random bits as URL-safe text."""
        return secrets.token_urlsafe(SECRET_BYTES)


def parse_body(body: bytes) -> Any:
    """Return the JSON value of a command's body.

    Raises:
        NotCanonical: not UTF-8 JSON inside our profile, or longer than an event could hold.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise NotCanonical("the body is not UTF-8") from None
    return canonical.parse(text)


def parse_input(command: Command, value: Any) -> CommandInput:
    """Return the input of a command from the JSON value of its body.

    Raises:
        InvalidInput: an unknown or missing field, or a value that does not fit; the message says where.
    """
    try:
        return msgspec.convert(value, command.input, strict=True)
    except msgspec.ValidationError as error:
        message = _ID_WANTED.sub(r"`\2` takes an id: \1_ and 26 letters and digits", str(error))
        raise InvalidInput(f"{command.name}: {message}", command=command.name) from None


async def execute(
    services: Services, caller: Caller, command: Command, value: Any, *, key: str | None = None
) -> CommandResult:
    """Run a command with the JSON value of its body.

    Raises:
        NotAllowed: the caller has none of the command's roles.
        InvalidInput: the body does not fit.
        Refused: the slice says no; nothing was recorded.
        IdempotencyKeyReused: the key was used with another request.
        Busy, Unavailable: the log does not take it; repeat with the same key.
    """
    if command.roles:
        require(caller, *sorted(command.roles))
    body = parse_input(command, value)
    if command.name in CHECKS:
        await asyncio.to_thread(CHECKS[command.name], body)
    environment = CommandEnvironment(caller.tenant, caller.actor, caller.held, command_id(caller, key))
    prepared = command.prepare(body, environment)
    context = Context(
        tenant=caller.tenant,
        actor=caller.actor,
        command_id=environment.command_id,
        fingerprint=None if key is None else fingerprint(caller, "POST", command.name, value),
        traceparent=current_traceparent(),
    )
    try:
        executed = await services.ledger.execute(prepared.slice, context)
    except IdReused as error:
        if key is None:
            raise
        executed = await _first_answer(services, context, error)
    for event in executed.events:
        await carry_out(services.ledger.keys, event)
    told = {} if prepared.told is None else prepared.told([event.payload for event in executed.events])
    return _result(executed, {**prepared.result, **told}, dict(prepared.reveal))


async def _first_answer(services: Services, context: Context, error: IdReused) -> Executed:
    """Return what this very request came to when it was first sent, though it would come to something else today."""
    try:
        repeated = await services.ledger.repeated(context)
    except IdReused:
        repeated = None
    if repeated is None:
        raise IdempotencyKeyReused("this idempotency key was used with another request", **error.details) from None
    return repeated


def _result(executed: Executed, result: dict[str, str], reveal: dict[str, str]) -> CommandResult:
    return CommandResult(
        position=executed.position,
        recorded_at=executed.recorded_at,
        result=result,
        reveal=reveal if reveal and executed.events and not executed.repeated else None,
        events=tuple(EventRef(position=event.position, type=event.type) for event in executed.events),
        repeated=executed.repeated,
    )
