"""Health and readiness of the roles that serve no requests: `/healthz` and `/readyz`, as the API answers them.

Ready means that everything the role does is being done. A role says that it is unready, and which part is at fault,
while a part is away; it says nothing of any tenant, and what the part said stays in the logs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import structlog

TIMEOUT_S: Final = 2.0
_LONGEST: Final = 4_096
_REASONS: Final = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}
Check = Callable[[], Awaitable[None]]
"""Raises if its part is away."""
log = structlog.get_logger(__name__)


class NotReady(Exception):
    """A part is not at work; the message is a few words of ours and may be shown."""


class Probes:
    """What a role consists of. It is unready until `started`, and whenever a check raises."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}
        self._started = False

    def watch(self, part: str, check: Check) -> None:
        """Look at a part whenever somebody asks; takes the place of an earlier check of it."""
        self._checks[part] = check

    def started(self) -> None:
        """Say that everything has been set up."""
        self._started = True

    async def failing(self) -> list[dict[str, str]]:
        """Return the parts that are away, and why."""
        found = [] if self._started else [{"part": "start", "reason": "has not finished"}]
        for part, check in tuple(self._checks.items()):
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    await check()
            except NotReady as error:
                found.append({"part": part, "reason": str(error)})
            except Exception as error:
                # Whatever it is: what cannot be shown to work is not ready.
                log.warning("not ready", part=part, error=str(error))
                found.append({"part": part, "reason": "does not answer"})
        return found

    @contextlib.asynccontextmanager
    async def serving(self, host: str, port: int | None) -> AsyncIterator[None]:
        """Answer on a port while the block runs; nowhere without one. A port that is taken is logged, and not fatal."""
        if port is None:
            yield
            return
        try:
            server = await asyncio.start_server(self._answer, host, port, limit=_LONGEST)
        except OSError as error:
            log.error("probes.not_served", port=port, error=str(error))
            yield
            return
        async with server:
            yield

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
            async with asyncio.timeout(TIMEOUT_S):
                first = await reader.readuntil(b"\r\n")
            status, body = await self._result(first)
            writer.write(_response(status, body))
            async with asyncio.timeout(TIMEOUT_S):
                await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def _result(self, first: bytes) -> tuple[int, dict[str, Any]]:
        method, _, rest = first.decode("latin-1").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if path not in ("/healthz", "/readyz"):
            return 404, {"status": "unknown path"}
        if method not in ("GET", "HEAD"):
            return 405, {"status": "GET or HEAD"}
        if path == "/healthz":
            return 200, {"status": "live"}
        failing = await self.failing()
        return (503 if failing else 200), {"status": "unready" if failing else "ready", "failing": failing}


def _response(status: int, body: dict[str, Any]) -> bytes:
    payload = json.dumps(body, separators=(",", ":")).encode()
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-type: application/json\r\ncache-control: no-store\r\n"
        f"content-length: {len(payload)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + payload
