"""GraphQL over HTTP: a request's bytes in, a response's bytes out. What serves HTTP is another's business.

Only POST with a JSON object. Not: GET, batches, forms, uploads, a page.

Source: GraphQL over HTTP, stage 2 draft; persisted documents by `documentId` as in its appendix.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

import msgspec
from graphql import GraphQLError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types.graphql import OperationType

from quarterdeck_domain.errors import InvalidInput, QuarterdeckError
from quarterdeck_graphql.context import Context
from quarterdeck_graphql.extensions import discreet
from quarterdeck_graphql.limits import DEADLINE_S, MAX_BODY_BYTES, Due
from quarterdeck_graphql.persisted import document
from quarterdeck_graphql.problems import late, problem_of
from quarterdeck_graphql.schema import RecordSchema

GRAPHQL: Final = "application/graphql-response+json"
JSON: Final = "application/json"
_OPERATIONS: Final = frozenset({OperationType.QUERY, OperationType.MUTATION})
_encoder: Final = msgspec.json.Encoder()


class Request(msgspec.Struct, frozen=True, rename="camel"):
    """What a client sends. `document_id` stands for the text of a saved operation."""

    query: str | None = None
    document_id: str | None = None
    operation_name: str | None = None
    variables: dict[str, Any] | None = None
    extensions: dict[str, Any] | None = None

    def text(self) -> str:
        """Return the document's text.

        Raises:
            InvalidInput: there is none, or there are two.
            UnknownDocument: no operation is saved under that id.
        """
        if (self.query is None) == (self.document_id is None):
            raise InvalidInput("give `query` or `documentId`, one of them", fields=["query", "documentId"])
        if self.document_id is not None:
            return document(self.document_id)
        if not self.query:
            raise InvalidInput("the document is empty", fields=["query"])
        return self.query


class Response(msgspec.Struct, frozen=True):
    """What a client gets."""

    status: int
    media_type: str
    body: bytes


def parse_request(body: bytes) -> Request:
    """Return the request in a body.

    Raises:
        InvalidInput: too long, no JSON object, or a field of the wrong type.
    """
    if len(body) > MAX_BODY_BYTES:
        raise InvalidInput(f"a request has at most {MAX_BODY_BYTES} bytes", limit=MAX_BODY_BYTES)
    try:
        request = msgspec.json.decode(body, type=Request)
        # Of two equal keys one reader takes the first, another the last: none is right.
        json.loads(body, object_pairs_hook=_unique)
        return request
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise InvalidInput(
            "the body is a JSON object with `query` or `documentId`, and `variables` and `operationName` if need be, "
            "no key twice; batches are not answered"
        ) from None


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("an object has the same key twice")


async def answer(
    schema: RecordSchema,
    context: Context,
    body: bytes,
    *,
    arrived: float,
    accept: str = "",
    deadline_s: float = DEADLINE_S,
) -> Response:
    """Return the response to a request that arrived at a moment of the loop's clock, in time from then on."""
    media_type = GRAPHQL if GRAPHQL in accept else JSON
    context.due = Due(arrived, deadline_s)
    try:
        request = parse_request(body)
        text = request.text()
        if asyncio.get_running_loop().time() >= context.due.at():
            raise TimeoutError
        async with asyncio.timeout_at(context.due.at()):
            result = await schema.execute(
                text,
                variable_values=request.variables,
                context_value=context,
                operation_name=request.operation_name,
                allowed_operation_types=_OPERATIONS,
            )
    except QuarterdeckError as error:
        return _refusal(error, media_type)
    except (CannotGetOperationTypeError, InvalidOperationTypeError) as error:
        message = "send subscriptions over a WebSocket with the subprotocol graphql-transport-ws"
        if isinstance(error, CannotGetOperationTypeError):
            message = "the document has no such operation; name one of its own with `operationName`"
        return _refusal(InvalidInput(message), media_type)
    except TimeoutError:
        return Response(504, media_type, _encoder.encode({"errors": [late(context.due).formatted]}))
    payload: dict[str, Any] = {"data": result.data}
    if result.errors:
        errors = [discreet(error) for error in result.errors]
        payload["errors"] = [error.formatted for error in errors]
        if result.data is None and all(error.path is None for error in errors):
            del payload["data"]
    refused = "data" not in payload
    return Response(400 if refused and media_type == GRAPHQL else 200, media_type, _encoder.encode(payload))


def _refusal(error: QuarterdeckError, media_type: str) -> Response:
    problem = problem_of(error)
    told = GraphQLError(
        "something failed here that should not have" if problem is None else problem.message,
        extensions={"code": "internal" if problem is None else problem.code}
        | ({"details": problem.details} if problem is not None and problem.details else {}),
    )
    return Response(400, media_type, _encoder.encode({"errors": [told.formatted]}))
