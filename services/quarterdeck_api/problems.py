"""Errors on the wire: RFC 9457 problem details with a stable `type`, made in one place.

`type` is `urn:quarterdeck:problem:<code>`, where the code is the error class's. What the house raises on purpose
is told in full; anything unexpected is told by its trace id alone, and its text stays in the logs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from quarterdeck_api.outages import Outages
from quarterdeck_connectors.errors import SourceAway
from quarterdeck_domain.errors import InvalidInput, NotAllowed, NotFound, QuarterdeckError, Refused
from quarterdeck_ledger.checkpoints import LogRewound
from quarterdeck_ledger.errors import Busy, Expired, Unavailable, UnsafeServer
from quarterdeck_readmodels.reader import NotYet
from quarterdeck_runtime.telemetry import current_trace_id

URN: Final = "urn:quarterdeck:problem:"
MEDIA_TYPE: Final = "application/problem+json"
CHALLENGE: Final = 'Bearer realm="quarterdeck"'
MAX_DETAIL: Final = 2_000

_log = structlog.get_logger(__name__)


class Unauthenticated(QuarterdeckError):
    """No credential, or one that opens nothing here. Present a valid one."""

    code = "unauthenticated"


class TooManyRequests(QuarterdeckError):
    """Too many requests in too short a time. Wait `retry_after_s`; nothing was done."""

    code = "too_many_requests"


class BodyTooLarge(InvalidInput):
    """The request body is longer than `limit` bytes."""

    code = "body_too_large"


class UnsupportedMediaType(InvalidInput):
    """The body is of a type this route does not read; the message names the ones it does."""

    code = "unsupported_media_type"


class TimedOut(QuarterdeckError):
    """The request took too long. Repeat it with the same idempotency key: what was recorded is not recorded twice."""

    code = "timed_out"


class IdempotencyKeyReused(Refused):
    """The idempotency key was used before with another request. Use a new key for a new request."""

    code = "idempotency_key_reused"


STATUS: Final[Mapping[type[QuarterdeckError], int]] = {
    BodyTooLarge: 413,
    UnsupportedMediaType: 415,
    InvalidInput: 400,
    Unauthenticated: 401,
    NotAllowed: 403,
    NotFound: 404,
    Expired: 410,
    IdempotencyKeyReused: 422,
    Refused: 409,
    TooManyRequests: 429,
    Busy: 503,
    Unavailable: 503,
    UnsafeServer: 503,
    NotYet: 503,
    SourceAway: 502,
    TimedOut: 504,
    LogRewound: 500,
}
"""The status of a class holds for the classes below it too, unless they have their own."""

_HIDDEN: Final = {
    Unavailable: "a part that is needed does not answer; repeat the request with the same idempotency key",
    UnsafeServer: "the database server is not set up safely; the operator's logs say how",
    LogRewound: "the log does not extend what was signed before; nothing is signed until the operators know why",
}
"""Messages of these name hosts, settings and files: they are for the operator."""


def problem(
    status: int,
    type: str,
    title: str,
    detail: str | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    **extensions: object,
) -> JSONResponse:
    """Return a problem response. `type` is a code of ours (`not_found`) or a whole URN; extensions become members."""
    body: dict[str, object] = {
        "type": type if type.startswith("urn:") else f"{URN}{type}",
        "title": title,
        "status": status,
    }
    if detail is not None:
        body["detail"] = detail
    body.update({name: _plain(value) for name, value in extensions.items()})
    return JSONResponse(body, status_code=status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def problem_of(error: QuarterdeckError) -> JSONResponse:
    """Return the response of an error that the house raised on purpose."""
    status = status_of(error)
    hidden = next((text for kind, text in _HIDDEN.items() if isinstance(error, kind)), None)
    if status == 500 and hidden is None:
        return unexpected()
    headers: dict[str, str] = {}
    if status == 401:
        headers["WWW-Authenticate"] = str(error.details.get("challenge", CHALLENGE))
    if status == 413:
        headers["Connection"] = "close"  # else the server would read the rest of the body, to the last byte
    if status in (429, 503):
        wait = error.details.get("retry_after_s", 1)
        headers["Retry-After"] = str(max(1, round(float(wait)))) if isinstance(wait, int | float) else "1"
    extensions: dict[str, object] = {}
    details = {name: value for name, value in error.details.items() if name not in ("challenge", "retry_after_s")}
    if details and hidden is None:
        extensions["details"] = details
    if status >= 500:
        extensions["trace_id"] = current_trace_id()
    detail = hidden or _shortened(error.message)
    return problem(status, error.code, title_of(error.code), detail, headers=headers, **extensions)


def status_of(error: QuarterdeckError) -> int:
    """Return the HTTP status of an error; 500 for one that no caller can do anything about."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def title_of(code: str) -> str:
    """Return the short text of a problem code."""
    return code.rpartition(":")[2].replace("_", " ").capitalize()


def unexpected() -> JSONResponse:
    """Return the response to what nobody foresaw: a trace id, and not a word of the exception."""
    return problem(
        500,
        "internal",
        "Internal error",
        "something failed here that should not have; nothing says whether the request took effect",
        trace_id=current_trace_id(),
    )


def install(app: FastAPI, outages: Outages) -> None:
    """Answer every error of the application with a problem. What waits for a part is logged once an outage."""

    @app.exception_handler(QuarterdeckError)
    async def known(_request: Request, error: QuarterdeckError) -> Response:
        status = status_of(error)
        if status == 500 or (status > 500 and outages.begins(error.code)):
            _log.error("request failed", code=error.code, error=error.message, exc_info=status == 500)
        return problem_of(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        return problem(
            400,
            InvalidInput.code,
            title_of(InvalidInput.code),
            "the request does not fit what this route takes",
            errors=[{"where": _where(item["loc"]), "what": _shortened(item["msg"])} for item in error.errors()[:20]],
        )

    @app.exception_handler(HTTPException)
    async def refused(_request: Request, error: HTTPException) -> Response:
        phrase = HTTPStatus(error.status_code).phrase
        code = phrase.lower().replace(" ", "_").replace("-", "_")
        return problem(error.status_code, code, phrase, headers=error.headers)


def _shortened(text: str) -> str:
    # Messages of parsers quote what they were given, however long it was.
    return text if len(text) <= MAX_DETAIL else f"{text[:MAX_DETAIL]}…"


def _where(location: Sequence[object]) -> str:
    return "/".join(str(part)[:60] for part in location[:8])


def _plain(value: object) -> object:
    """Return a value as JSON values, whatever it was: an error must never fail while it is told."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(str(item) for item in value)
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_plain(item) for item in value]
    return str(value)
