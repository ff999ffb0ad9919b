"""Subscriptions over WebSocket: `graphql-transport-ws`, strictly read, for as long as the caller may listen.

Strawberry speaks the protocol. What is ours: messages are checked before it sees them, the caller is recognised from
`connection_init`, only subscriptions run, and a connection whose caller lost its credential is closed within seconds.

Source: github.com/enisdenjo/graphql-ws PROTOCOL.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final, Protocol, cast

import msgspec
import structlog
from graphql import GraphQLError
from strawberry.exceptions import ConnectionRejectionError
from strawberry.http.exceptions import NonJsonMessageReceived, WebSocketDisconnected
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import (
    BaseGraphQLTransportWSHandler,
    Operation,
    _OperationStreamClosed,
)
from strawberry.types.graphql import OperationType
from strawberry.types.unset import UNSET, UnsetType
from strawberry.utils.aio import aclosing

from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_graphql.context import Context
from quarterdeck_graphql.extensions import discreet
from quarterdeck_graphql.limits import MAX_BODY_BYTES, MAX_SUBSCRIPTIONS
from quarterdeck_graphql.listeners import Listeners, TooManySubscriptions
from quarterdeck_graphql.problems import passes
from quarterdeck_graphql.schema import RecordSchema
from quarterdeck_graphql.service import Request

PROTOCOL: Final = "graphql-transport-ws"
INIT_TIMEOUT: Final = timedelta(seconds=10)
REAUTHORISE_S: Final = 2.0
MAX_ID: Final = 100

Authenticate = Callable[[Mapping[str, Any]], Awaitable[Context]]
"""From the payload of `connection_init` to the context of its caller; raises a QuarterdeckError to refuse it."""

_log = structlog.get_logger(__name__)


class TextSocket(Protocol):
    """An accepted WebSocket of whatever serves it."""

    async def receive(self) -> str | bytes | None:
        """Return the next message; None once the other side is gone."""
        ...

    async def send(self, text: str) -> None:
        """Send a text message; does nothing once the connection is closed."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """Close the connection; does nothing once it is closed."""
        ...


class _Adapter:
    """What Strawberry's handler wants of a WebSocket."""

    def __init__(self, socket: TextSocket) -> None:
        self._socket = socket
        self._closed = False

    async def iter_json(self, *, ignore_parsing_errors: bool = False) -> AsyncGenerator[object, None]:
        while not self._closed and (message := await self._socket.receive()) is not None:
            if len(message) > MAX_BODY_BYTES:
                await self.close(1009, f"a message has at most {MAX_BODY_BYTES} bytes")
                return
            try:
                yield msgspec.json.decode(message)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise NonJsonMessageReceived from error

    async def send_json(self, message: Mapping[str, object]) -> None:
        if self._closed:
            raise WebSocketDisconnected
        await self._socket.send(msgspec.json.encode(message).decode())

    async def close(self, code: int, reason: str) -> None:
        if not self._closed:
            self._closed = True
            await self._socket.close(code, reason[:120])


class Connection(BaseGraphQLTransportWSHandler[Any, None]):
    """One WebSocket connection, from its first message to its end."""

    def __init__(
        self, schema: RecordSchema, socket: TextSocket, authenticate: Authenticate, listeners: Listeners
    ) -> None:
        super().__init__(
            view=cast(Any, self),  # the handler asks its view one thing: `on_ws_connect`
            websocket=cast(Any, _Adapter(socket)),  # the same methods, without a view of Strawberry's
            context={},
            root_value=None,
            schema=schema,
            connection_init_wait_timeout=INIT_TIMEOUT,
            max_subscriptions_per_connection=MAX_SUBSCRIPTIONS,
        )
        self._authenticate = authenticate
        self._listeners = listeners
        self._listener: Context | None = None
        self._watchdog: asyncio.Task[None] | None = None

    async def on_ws_connect(self, context: Any) -> UnsetType:
        """Recognise the caller by what `connection_init` brought.

        Raises:
            ConnectionRejectionError: it opens nothing (4403), or cannot now (1013); the connection is closed.
        """
        try:
            listener = await self._authenticate(context["connection_params"])
            self._listeners.connections.take(listener)
        except QuarterdeckError as error:
            await self._refuse(error)
            raise ConnectionRejectionError from None
        self.context = self._listener = listener
        self._watchdog = asyncio.create_task(self._watch(listener))
        return cast(UnsetType, UNSET)  # an acknowledgement without a payload

    async def _refuse(self, error: QuarterdeckError | None) -> None:
        """Close the connection: for good, or so that clients try again later where it is about the moment."""
        if error is None or not passes(error):
            await self.websocket.close(4403, "Forbidden")
            return
        await self.websocket.close(1013, f"{error.code}: {discreet(GraphQLError('', original_error=error)).message}")

    async def shutdown(self) -> None:
        """End every operation and the watch over the caller."""
        try:
            if self._watchdog is not None:
                self._watchdog.cancel()
                with suppress(asyncio.CancelledError):
                    await self._watchdog
        finally:
            await self._end()

    async def _end(self) -> None:
        try:
            await super().shutdown()
        finally:
            if self._listener is not None:
                self._listeners.connections.leave(self._listener)
                self._listener = None

    async def handle_message(self, message: Any) -> None:
        """Handle a message of the protocol; close the connection on anything else."""
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            await self.handle_invalid_message("a message is an object with a type")
        elif message["type"] in ("subscribe", "complete") and not _is_id(message.get("id")):
            await self.handle_invalid_message(f"an id is text of 1 to {MAX_ID} characters")
        elif message["type"] == "subscribe":
            await self._subscribe(message)
        else:
            await super().handle_message(cast(Any, message))

    async def _subscribe(self, message: dict[str, Any]) -> None:
        try:
            request = msgspec.convert(message.get("payload"), Request)
        except msgspec.ValidationError:
            await self.handle_invalid_message("the payload of subscribe has a query, or a documentId")
            return
        try:
            text = request.text()
        except QuarterdeckError as error:
            await self._say(message["id"], error)
            return
        if (
            self.connection_acknowledged
            and message["id"] not in self.operations
            and len(self.operations) >= MAX_SUBSCRIPTIONS
        ):
            refused = TooManySubscriptions(f"a connection holds at most {MAX_SUBSCRIPTIONS}", limit=MAX_SUBSCRIPTIONS)
            await self._say(message["id"], refused)
            return
        payload = {"query": text, "variables": request.variables, "operationName": request.operation_name}
        await super().handle_message(cast(Any, {"id": message["id"], "type": "subscribe", "payload": payload}))

    async def _say(self, operation_id: str, error: QuarterdeckError) -> None:
        """Refuse an operation that was not begun."""
        told = discreet(GraphQLError("", original_error=error))
        await self.send_message(cast(Any, {"id": operation_id, "type": "error", "payload": [told.formatted]}))

    async def run_operation(self, operation: Operation[Any, None]) -> None:
        """Run one subscription to its end. Queries and commands are for POST: they have a deadline there."""
        try:
            self._listeners.streams.take(self.context)
        except QuarterdeckError as error:
            await self._fail(operation, GraphQLError("", original_error=error))
            return
        try:
            await self._stream(operation)
        finally:
            self._listeners.streams.leave(self.context)

    async def _stream(self, operation: Operation[Any, None]) -> None:
        # A document is read and checked in a turn too: who begins and ends streams all day gets no more than others.
        await self.context.turns.take(self.context.tenant)
        stream = await self.schema.stream(
            operation.query,
            variable_values=operation.variables,
            context_value=self.context,
            operation_name=operation.operation_name,
            allowed_operation_types=(OperationType.SUBSCRIPTION,),
        )
        try:
            async with aclosing(stream):
                await self._send_result_stream(operation, stream)
            await operation.send_operation_message({"id": operation.id, "type": "complete"})
        except (WebSocketDisconnected, _OperationStreamClosed):
            self.operations.pop(operation.id, None)
        except GraphQLError as error:
            # A document that does not parse is raised through the stream, as parsing is cached by an extension.
            await self._fail(operation, error)
        except Exception as error:
            _log.exception("subscription failed")
            await self._fail(operation, GraphQLError("", original_error=error))

    async def _send_result_stream(self, operation: Operation[Any, None], result_source: Any) -> None:
        """Send what comes. What fails before the first event is an error of the operation, which ends it."""
        begun = False
        async for result in result_source:
            if not begun and result.data is None and result.errors:
                await operation.send_initial_errors(result.errors)
                return
            await operation.send_next(result)
            begun = True

    async def _fail(self, operation: Operation[Any, None], error: GraphQLError) -> None:
        """Say why a subscription ended, if it has not ended otherwise meanwhile."""
        with suppress(WebSocketDisconnected, KeyError):
            await operation.send_initial_errors([discreet(error)])

    async def _watch(self, context: Context) -> None:
        while True:
            await asyncio.sleep(REAUTHORISE_S)
            error: QuarterdeckError | None = None
            try:
                if await context.still_valid():
                    continue
            except QuarterdeckError as unknown:
                # Nobody can say whether it may still listen: then it may not.
                error = unknown
            # First: a listener that takes nothing would keep the close waiting.
            for operation_id in list(self.operations):
                await self.cleanup_operation(operation_id)
            await self._refuse(error)
            return


def _is_id(value: object) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= MAX_ID
