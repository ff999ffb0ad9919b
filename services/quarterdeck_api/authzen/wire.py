"""What the AuthZEN doors have in common on the wire: request ids, bodies, timestamps, the names we go by."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import Any, Final

from fastapi.routing import APIRoute
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from quarterdeck_api.auth.caller import Caller
from quarterdeck_api.commands.idempotency import fingerprint
from quarterdeck_domain.errors import InvalidInput
from quarterdeck_policy import jcs
from quarterdeck_policy.authzen import parse_json
from quarterdeck_runtime.settings import Settings

REQUEST_ID: Final = "X-Request-ID"
POSITION: Final = "X-Quarterdeck-Position"
REQUESTS_PATH: Final = "/access/v1/requests"
SCHEMA_PATH: Final = "/access/v1/schemas/access-request.json"

_RFC3339: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt](\d{2}:\d{2}:\d{2})(?:\.(\d{1,12}))?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)


class EchoRoute(APIRoute):
    """A route whose every answer, an error too, carries the request's `X-Request-ID`.

    Source: AuthZEN Authorization API 1.0, 'Request Identification'.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request_id = Headers(scope=scope).get(REQUEST_ID)
        if request_id is None:
            await super().handle(scope, receive, send)
            return

        async def echo(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        await super().handle(scope, receive, echo)


async def json_bytes(request: Request) -> bytes:
    """Return the body of a request that says it is JSON.

    Raises:
        InvalidInput: it says something else (400, as AuthZEN certification wants, not 415).
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise InvalidInput("send Content-Type: application/json", found=media[:80], expected="application/json")
    return await request.body()


async def json_object(request: Request) -> dict[str, Any]:
    """Return the JSON object that a request carries.

    Raises:
        InvalidInput: another content type, not I-JSON within the limits, or not an object.
    """
    value = parse_json(await json_bytes(request))
    if not isinstance(value, dict):
        raise InvalidInput("the body must be a JSON object", field="the body")
    return value


async def optional_json_object(request: Request) -> dict[str, Any]:
    """Return the JSON object that a request carries, `{}` if it has no body.

    Raises:
        InvalidInput: as `json_object`.
    """
    return await json_object(request) if await request.body() else {}


def request_fingerprint(caller: Caller, method: str, name: str, body: object) -> str:
    """Return the digest of what a request means, equal for any spelling of the same JSON (RFC 8785)."""
    return fingerprint(caller, method, name, hashlib.sha256(jcs.encode(body).encode()).hexdigest())


def issuer(settings: Settings, tenant: str) -> str:
    """Return the identifier of a tenant's decision point, which is also the issuer of what it signs."""
    base = settings.base_url
    return base if tenant == settings.default_tenant else f"{base}/{tenant}"


def stamp(moment: datetime) -> str:
    """Return a moment as RFC 3339 in UTC, whole seconds, never later than it was."""
    return moment.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def whole_seconds(moment: datetime) -> datetime:
    """Return a moment without its fraction of a second, as `stamp` writes it."""
    return moment.replace(microsecond=0)


def parse_stamp(value: object, field: str) -> datetime:
    """Return an RFC 3339 timestamp as a moment in UTC.

    Raises:
        InvalidInput: it is none.
    """
    match = _RFC3339.fullmatch(value) if isinstance(value, str) else None
    if match is not None:
        date, time, fraction, zone = match.groups()
        fraction = (fraction or "0")[:6].ljust(6, "0")
        zone = "+00:00" if zone in "Zz" else zone
        try:
            return datetime.fromisoformat(f"{date}T{time}.{fraction}{zone}").astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise InvalidInput(f"{field} must be an RFC 3339 timestamp, such as 2026-05-01T00:15:00Z", field=field)


def bounded_text(value: object, field: str, limit: int) -> str:
    """Return a string of 1 to `limit` characters.

    Raises:
        InvalidInput: it is none.
    """
    if not isinstance(value, str) or not 1 <= len(value) <= limit:
        raise InvalidInput(f"{field} must be a string of 1 to {limit} characters", field=field)
    return value


def bounded_object(value: object, field: str) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        InvalidInput: it is none.
    """
    if not isinstance(value, dict):
        raise InvalidInput(f"{field} must be a JSON object", field=field)
    return value
