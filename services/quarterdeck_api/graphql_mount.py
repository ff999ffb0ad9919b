"""GraphQL on the application: POST for questions and commands, WebSocket for streams, both at one address.

Who asks is decided here, as for every other route; what may be asked, and how much of it, in `quarterdeck_graphql`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, Request, Response, WebSocket
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect, WebSocketState

from quarterdeck_api.auth.authenticator import TENANT_HEADER
from quarterdeck_api.auth.caller import Caller, CallerDep
from quarterdeck_api.auth.cookies import session_cookie
from quarterdeck_api.commands.execute import CommandResult, execute
from quarterdeck_api.commands.idempotency import idempotency_key
from quarterdeck_api.problems import Unauthenticated, UnsupportedMediaType
from quarterdeck_api.services import Services, ServicesDep
from quarterdeck_domain.commands import Command
from quarterdeck_graphql.context import Context
from quarterdeck_graphql.listeners import Listeners
from quarterdeck_graphql.schema import build_schema
from quarterdeck_graphql.service import answer
from quarterdeck_graphql.socket import PROTOCOL, Connection
from quarterdeck_graphql.turns import Turns
from quarterdeck_ledger.errors import Unavailable

PATH: Final = "/graphql"


async def _now() -> float:
    return asyncio.get_running_loop().time()


def mount(app: FastAPI) -> None:
    """Serve GraphQL at `/graphql`."""
    app.state.listeners = Listeners()
    app.add_middleware(Asked, turns=app.state.listeners.turns)
    app.add_api_route(PATH, ask, methods=["POST"], include_in_schema=False)
    app.add_api_websocket_route(PATH, listen)


class Asked:
    """Lets streams give way to requests, whatever they ask for."""

    def __init__(self, app: ASGIApp, turns: Turns) -> None:
        self._app = app
        self._turns = turns

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note when a request comes and when it is answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._turns.asked()
        try:
            await self._app(scope, receive, send)
        finally:
            self._turns.asked()


async def ask(
    arrived: Annotated[float, Depends(_now)], request: Request, caller: CallerDep, services: ServicesDep
) -> Response:
    """Answer a question, or run a command. Its time runs from before it is known whose it is: dependencies in order."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType("send JSON: Content-Type: application/json", accepts=["application/json"])
    schema = build_schema(introspection=services.settings.introspection)
    accept = request.headers.get("accept", "")
    context = context_of(services, caller)
    found = await answer(schema, context, await request.body(), arrived=arrived, accept=accept)
    return Response(found.body, found.status, media_type=f"{found.media_type}; charset=utf-8")


async def listen(websocket: WebSocket, services: ServicesDep) -> None:
    """Serve the subscriptions of one connection."""
    if websocket.headers.get("origin") not in (None, services.settings.base_url):
        # Refused before it is accepted: the browser hears 403.
        await websocket.close(1008)
        return
    if PROTOCOL not in websocket.scope["subprotocols"]:
        await websocket.accept()
        await websocket.close(4406, "Subprotocol not acceptable")
        return
    await websocket.accept(PROTOCOL)

    listeners: Listeners = websocket.app.state.listeners

    async def authenticate(payload: Mapping[str, Any]) -> Context:
        context = context_of(services, await _caller(services, websocket, payload))
        context.turns = listeners.turns
        return context

    schema = build_schema(introspection=services.settings.introspection)
    await Connection(schema, _Socket(websocket), authenticate, listeners).handle()


def context_of(services: Services, caller: Caller) -> Context:
    """Return what a caller's questions are answered with.

    Raises:
        Unavailable: this process keeps no read models.
    """
    if services.reader is None:
        raise Unavailable("this process was started without read models")

    async def send(command: Command, value: Any, key: str | None) -> CommandResult:
        key = None if key is None else idempotency_key({"idempotency-key": key})
        return await execute(services, caller, command, value, key=key)

    async def still_valid() -> bool:
        return await services.authenticator.still_valid(caller)

    return Context(
        tenant=caller.tenant,
        actor=caller.actor,
        roles=caller.roles,
        log=services.ledger,
        reader=services.reader,
        checkpointer=services.checkpointer,
        decisions=services.decisions,
        send=send,
        still_valid=still_valid,
    )


async def _caller(services: Services, websocket: WebSocket, payload: Mapping[str, Any]) -> Caller:
    """Return the caller of a connection: by `authorization` in its first message, else by the session's cookie."""
    given = {str(name).lower(): value for name, value in payload.items()}
    authorization, tenant = given.get("authorization"), given.get(TENANT_HEADER)
    if authorization is None and websocket.headers.get("origin") == services.settings.base_url:
        # A browser sends the cookie by itself, so the page must be ours: a missing Origin is not enough.
        cookie = session_cookie(websocket)
        authorization = None if cookie is None else f"Bearer {cookie}"
    if not isinstance(authorization, str) or not isinstance(tenant, str | None):
        raise Unauthenticated("send `authorization`: `Bearer …` in the payload of connection_init")
    address = websocket.client.host if websocket.client else "unknown"
    caller = await services.authenticator.authenticate(authorization, tenant=tenant, address=address)
    services.authenticator.count(caller)
    return caller


class _Socket:
    """A WebSocket of Starlette's as the GraphQL connection uses it."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    async def receive(self) -> str | bytes | None:
        """Return the next message; None once the other side is gone."""
        if self._websocket.application_state is not WebSocketState.CONNECTED:
            return None
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            return None
        text: str | None = message.get("text")
        found: str | bytes = text if text is not None else message.get("bytes", b"")
        return found

    async def send(self, text: str) -> None:
        """Send a text message; does nothing once the connection is closed."""
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await self._websocket.send_text(text)

    async def close(self, code: int, reason: str) -> None:
        """Close the connection; does nothing once it is closed."""
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await self._websocket.close(code, reason)
