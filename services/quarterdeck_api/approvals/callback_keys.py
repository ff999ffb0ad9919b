"""`/v1/callbacks`: what a receiver of callbacks verifies them with.

The public keys are for everybody in the tenant, and in the JWK Set for everybody else. The secret of an origin is for
an administrator alone, who gives it to whoever receives there; each time is recorded before it is shown.

Source: Standard Webhooks 1.0, 'Signature scheme'; ARAP draft, 'Callback Completion'.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from quarterdeck_api.arap.errors import CallbackRefused
from quarterdeck_api.auth.caller import CallerDep
from quarterdeck_api.authzen.schemas import json_body
from quarterdeck_api.authzen.wire import POSITION, EchoRoute
from quarterdeck_api.commands.execute import CommandResult, execute, parse_body
from quarterdeck_api.commands.idempotency import idempotency_key
from quarterdeck_api.commands.router import require_json
from quarterdeck_api.openapi import ref, responses
from quarterdeck_api.services import Services, ServicesDep
from quarterdeck_domain.access.commands import ADMINISTRATORS
from quarterdeck_domain.approvals.slices import RevealCallbackSecret
from quarterdeck_domain.approvals.slices_request import MAX_ENDPOINT
from quarterdeck_domain.commands import Command, CommandInput, Environment, Prepared
from quarterdeck_ledger.signing import verifying
from quarterdeck_workflows.callback_delivery.destination import Destinations, RefusedDestination
from quarterdeck_workflows.callback_delivery.signature import public_key, shared_secret

Schema = dict[str, Any]

_KEYS: Final[Schema] = {
    "type": "object",
    "required": ["keys"],
    "properties": {
        "keys": {
            "type": "array",
            "description": "Newest first. While one takes another's place, messages are signed with both.",
            "items": {
                "type": "object",
                "required": ["key_id", "public_key"],
                "properties": {
                    "key_id": {"type": "string", "description": "Its `kid` in the JWK Set."},
                    "public_key": {"type": "string", "description": "`whpk_…`: verifies `v1a` signatures."},
                },
            },
        }
    },
}
_ENDPOINT: Final[Schema] = {
    "type": "object",
    "required": ["endpoint"],
    "additionalProperties": False,
    "properties": {
        "endpoint": {
            "type": "string",
            "maxLength": MAX_ENDPOINT,
            "description": "A callback endpoint. All endpoints of one scheme, host and port have the same secret.",
        }
    },
}

router: Final = APIRouter(prefix="/v1/callbacks", tags=["approvals"], route_class=EchoRoute)


class RevealInput(CommandInput, frozen=True, kw_only=True):
    """A callback endpoint whose receiver is to verify `v1` signatures."""

    endpoint: str


@router.get("/keys", summary="Keys that verify callbacks", responses=responses(ok=_KEYS))
async def keys(caller: CallerDep, services: ServicesDep) -> Response:
    """Return the public keys of the tenant's callbacks. The first is made if nothing was ever called back."""
    services.signing.current(caller.tenant, "webhook")
    now = await services.ledger.now()
    found = await verifying(services.ledger, services.signing, caller.tenant, ("webhook",), now)
    shown = [{"key_id": key.id, "public_key": public_key(key)} for key in reversed(found)]
    return Response(msgspec.json.encode({"keys": shown}), media_type="application/json")


@router.post(
    "/secret",
    summary="Reveal the secret of an endpoint",
    openapi_extra=json_body(_ENDPOINT),
    responses=responses(403, 409, 413, 415, 422, ok=ref(CommandResult)),
)
async def secret(request: Request, caller: CallerDep, services: ServicesDep) -> Response:
    """Reveal the `whsec_…` secret that verifies `v1` signatures at an endpoint. Roles: administrator."""
    require_json(request)
    body = parse_body(await request.body())
    done = await execute(services, caller, _revealing(services), body, key=idempotency_key(request.headers))
    headers = {POSITION: str(done.position)}
    return Response(msgspec.json.encode(done), media_type="application/json", headers=headers)


def _revealing(services: Services) -> Command:
    """Return the command, which is in no catalogue: the secret is made of a key that only this process holds."""

    def prepare(body: RevealInput, env: Environment) -> Prepared:
        try:
            origin = Destinations(services.settings.webhook_allow).target(body.endpoint).origin
        except RefusedDestination as error:
            raise CallbackRefused(str(error), field="endpoint") from None
        key = services.signing.current(env.tenant, "webhook")
        return Prepared(
            slice=RevealCallbackSecret(origin=origin, key_id=key.id, actor=env.actor),
            result={"origin": origin, "key_id": key.id},
            reveal={"secret": shared_secret(key, origin)},
        )

    return Command(
        name="reveal_callback_secret",
        room="approvals",
        summary="Reveal the secret of an endpoint.",
        input=RevealInput,
        roles=ADMINISTRATORS,
        prepare=prepare,
    )
