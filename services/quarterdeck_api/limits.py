"""Limits on what anyone may ask of a process: body size, time, rate; and the headers that every answer carries.

Plain ASGI, so that streams in both directions stay streams. Nothing here looks at the request's address or Host.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import structlog
from opentelemetry.context import attach, detach
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quarterdeck_api.problems import BodyTooLarge, TimedOut, TooManyRequests, problem_of, unexpected
from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_ledger import faults
from quarterdeck_runtime.telemetry import current_trace_id, request_context

MAX_KEYS: Final = 20_000
REQUEST_ID: Final = "x-request-id"
PROBES: Final = frozenset({"/healthz", "/readyz"})
SECURITY_HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""Set on every answer that does not set them itself. There is no CORS header: other origins read nothing."""

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_log = structlog.get_logger(__name__)


class TokenBuckets:
    """A token bucket for each key, the least recently used forgotten first (and so full again)."""

    def __init__(
        self,
        rate_per_s: float,
        *,
        burst: int,
        max_keys: int = MAX_KEYS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = rate_per_s
        self._burst = float(burst)
        self._max_keys = max_keys
        self._monotonic = monotonic
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> bool:
        """Take one token; tell whether there was one."""
        now = self._monotonic()
        tokens = self._tokens(key, now)
        taken = tokens >= 1.0
        self._buckets[key] = (tokens - 1.0 if taken else tokens, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._max_keys:
            self._buckets.popitem(last=False)
        return taken

    def check(self, key: str, why: str) -> None:
        """Refuse when there is no token, without taking one.

        Raises:
            TooManyRequests: the bucket is empty.
        """
        if self._tokens(key, self._monotonic()) < 1.0:
            raise TooManyRequests(why, retry_after_s=self.wait_s(key))

    def wait_s(self, key: str) -> float:
        """Return the seconds until there is a token again."""
        return max(0.0, (1.0 - self._tokens(key, self._monotonic())) / self._rate)

    def _tokens(self, key: str, now: float) -> float:
        tokens, then = self._buckets.get(key, (self._burst, now))
        return min(self._burst, tokens + (now - then) * self._rate)


class RequestTrace:
    """Puts every request into a trace, its caller's or a new one, and gives it an id: logs and problems name both.

    With `access_log`, a line tells of every request how it ended: by its route, never by its address, whose path may
    hold a sign-in link and whose query may hold anything.
    """

    def __init__(self, app: ASGIApp, *, access_log: bool = False) -> None:
        self._app = app
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        token = attach(request_context(headers)) if current_trace_id() is None else None
        given = headers.get(REQUEST_ID, "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
        bound = structlog.contextvars.bind_contextvars(request_id=request_id)
        status, began = 0, time.monotonic()

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                # A standard's doors echo the caller's own, whatever it looks like.
                MutableHeaders(scope=message).setdefault(REQUEST_ID, request_id)
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            if self._access_log and scope["type"] == "http":
                _tell(scope, status, time.monotonic() - began)
            structlog.contextvars.reset_contextvars(**bound)
            if token is not None:
                detach(token)


def _tell(scope: Scope, status: int, seconds: float) -> None:
    route = getattr(scope.get("route"), "path", None)
    if route not in PROBES:
        _log.info(
            "request", method=scope["method"], route=route, status=status or None, duration_ms=round(seconds * 1000, 1)
        )


class SecurityHeaders:
    """Sets `SECURITY_HEADERS` on every answer, errors included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers)


class BodyLimit:
    """Refuses a body longer than the limit: by its announced length at once, else when it has grown too long."""

    def __init__(
        self,
        app: ASGIApp,
        max_bytes: int,
        larger: Mapping[str, int] = MappingProxyType({}),
        told_by: frozenset[str] = frozenset(),
    ) -> None:
        """`larger` says for which paths more is read; the routes at `told_by` say themselves, in the words of their
        protocol, that it is too much: they hear of it when they read the body."""
        self._app = app
        self._max_bytes = max_bytes
        self._larger = larger
        self._told_by = told_by

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        max_bytes = self._larger.get(scope["path"], self._max_bytes)
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not announced.isdigit() or len(announced) > 18 or int(announced) > max_bytes:
            if scope["path"] not in self._told_by:
                await problem_of(_too_large(max_bytes))(scope, receive, send)
                return

            async def refused() -> Message:
                raise _too_large(max_bytes)

            await self._app(scope, refused, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > max_bytes:
                    raise _too_large(max_bytes)
            return message

        await self._app(scope, counted, send)


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"a body of at most {max_bytes} bytes is read", limit=max_bytes)


class Deadline:
    """Gives up a request that has not begun to answer in time. What has begun (a stream) is left alone.

    The work is cancelled; a command that was being recorded may still have been, and says so when repeated.
    """

    def __init__(self, app: ASGIApp, timeout_s: float, long_poll_s: float) -> None:
        self._app = app
        self._timeout_s = timeout_s + long_poll_s
        self._short_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = False
        limit_s = self._timeout_s if scope["method"] == "GET" else self._short_s

        async def noted(message: Message) -> None:
            nonlocal began
            if not began:
                began = True
                if not timeout.expired():
                    timeout.reschedule(None)
            await send(message)

        try:
            async with asyncio.timeout(limit_s) as timeout:
                await self._app(scope, receive, noted)
        except TimeoutError:
            if began or not timeout.expired():
                raise
            error = TimedOut("the request took too long; repeat it with the same idempotency key", limit_s=limit_s)
            await problem_of(error)(scope, receive, send)


class LastResort:
    """Turns what nobody caught into a problem without its text, and logs it. Outside everything but the headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = False

        async def noted(message: Message) -> None:
            nonlocal began
            if not began and scope["method"] == "POST":
                faults.point("reply.before")
            began = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except QuarterdeckError as error:
            if began:
                raise
            await problem_of(error)(scope, receive, send)
        except Exception:
            _log.exception("request failed unexpectedly")
            if began:
                raise
            await unexpected()(scope, receive, send)
