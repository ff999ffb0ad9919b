"""`POST /v1/commands/<name>` for every command of the catalogue, and the catalogue itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from quarterdeck_api.auth.caller import CallerDep
from quarterdeck_api.commands.execute import CommandResult, execute, parse_body
from quarterdeck_api.commands.idempotency import MAX_KEY, idempotency_key
from quarterdeck_api.openapi import json_body, ref, responses
from quarterdeck_api.problems import UnsupportedMediaType
from quarterdeck_api.services import ServicesDep
from quarterdeck_domain.command_catalogue import COMMANDS
from quarterdeck_domain.commands import Command

POSITION_HEADER: Final = "X-Quarterdeck-Position"
STRUCTS: Final[tuple[type[msgspec.Struct], ...]] = (CommandResult, *(item.input for item in COMMANDS.values()))

_KEY_PARAMETER: Final[dict[str, Any]] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Repeat a request with the same key and it is done once: the first answer is given again, without "
    "its secrets.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY},
}

router: Final = APIRouter(prefix="/v1/commands", tags=["commands"])


@router.get(
    "", summary="The commands there are", responses=responses(ok={"type": "array", "items": {"type": "object"}})
)
async def catalogue(_caller: CallerDep) -> Response:
    """Return every command with its room, summary, roles (none: any signed-in principal) and the schema of its body."""
    found = [
        {
            "name": command.name,
            "room": command.room,
            "summary": command.summary,
            "roles": sorted(command.roles),
            "input": msgspec.json.schema(command.input),
        }
        for command in COMMANDS.values()
    ]
    return Response(msgspec.json.encode(found), media_type="application/json")


def _endpoint(command: Command) -> Callable[..., Awaitable[Response]]:
    async def send(request: Request, caller: CallerDep, services: ServicesDep) -> Response:
        require_json(request)
        key = idempotency_key(request.headers)
        done = await execute(services, caller, command, parse_body(await request.body()), key=key)
        return Response(
            msgspec.json.encode(done),
            media_type="application/json",
            headers={POSITION_HEADER: str(done.position)},
        )

    send.__name__ = command.name
    send.__doc__ = (command.input.__doc__ or "").strip()
    return send


def require_json(request: Request) -> None:
    """Refuse a body that does not say it is JSON.

    Raises:
        UnsupportedMediaType: another media type, or none.
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise UnsupportedMediaType("send application/json", found=media[:80], expected="application/json")


for _command in COMMANDS.values():
    _roles = ", ".join(sorted(_command.roles)) or "any signed-in principal"
    router.add_api_route(
        f"/{_command.name}",
        _endpoint(_command),
        methods=["POST"],
        name=_command.name,
        operation_id=_command.name,
        summary=_command.summary,
        description=f"{_command.input.__doc__ or ''}\n\nRoles: {_roles}.".strip(),
        tags=[_command.room],
        openapi_extra={**json_body(_command.input), "parameters": [_KEY_PARAMETER]},
        responses=responses(403, 404, 409, 410, 413, 415, 422, ok=ref(CommandResult)),
    )
