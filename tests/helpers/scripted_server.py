"""A small HTTP server on a real socket that speaks the protocol and fails as it is told: drops, 503, silence, nonsense.

Each route has a script: what to do for the first request, the second, …; the last step repeats.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Reply:
    """An answer. `body` is JSON, or bytes sent as they are."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


DROP = Reply(status=0)
"""Read the request, then close the connection."""
SILENCE = Reply(status=-1)
"""Read the request, and never answer."""


@dataclass(frozen=True)
class Seen:
    """A request that came in."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


class Scripted:
    """The server. `seen` are all requests in order."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.arrived = asyncio.Event()
        self._scripts: dict[tuple[str, str], list[Reply]] = {}
        self._counts: dict[tuple[str, str], int] = defaultdict(int)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self.url = ""

    def on(self, method: str, path: str, *replies: Reply) -> None:
        """Script a route."""
        self._scripts[method, path] = list(replies)
        self._counts[method, path] = 0

    def to(self, path: str) -> list[Seen]:
        """Return the requests to a path."""
        return [item for item in self.seen if item.path == path]

    async def start(self, port: int = 0) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Stop listening, and drop every connection."""
        if self._server is not None:
            self._server.close()
            for task in tuple(self._open):
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        content = await reader.readexactly(int(headers.get("content-length", "0")))
        self.seen.append(Seen(method, path, headers, json.loads(content) if content else None))
        self.arrived.set()
        script = self._scripts.get((method, path), [Reply(404, {"type": "urn:quarterdeck:problem:not_found"})])
        place = min(self._counts[method, path], len(script) - 1)
        self._counts[method, path] += 1
        reply = script[place]
        if reply is DROP:
            return False
        if reply is SILENCE:
            await asyncio.Event().wait()
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        lines = [f"HTTP/1.1 {reply.status} X", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()
        return True


@contextlib.asynccontextmanager
async def scripted() -> AsyncIterator[Scripted]:
    """Run a server."""
    server = Scripted()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


ME = Reply(body={"principal_id": "prn_bot", "kind": "agent"})
PERMIT = Reply(body={"decision": True, "context": {"evaluation_id": "dec_1"}})
DENY = Reply(body={"decision": False, "context": {"reason": "denied", "reason_user": {"403": "no"}}})
ASK = Reply(
    body={
        "decision": False,
        "context": {
            "evaluation_id": "dec_1",
            "reason": "approval_required",
            "access_request": {"endpoint": "http://elsewhere.test/steal", "expires_at": "2999-01-01T00:00:00Z"},
        },
    }
)
TASK = "/access/v1/requests/apr_1"
GRANT = Reply(body={"id": "grt_1", "approval_id": "apr_1", "status": "unused", "grant": "a.b.c"})
REDEEMED = Reply(body={"effect_id": "eff_1", "grant_id": "grt_1", "approval_id": "apr_1"})


def task(status: str, code: int = 200, **headers: str) -> Reply:
    """Return a task's status."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(code, {"task": {"id": "apr_1", "status": status, "status_endpoint": "http://elsewhere.test/"}}, given)


def problem(status: int, code: str, **details: Any) -> Reply:
    """Return a refusal."""
    body = {"type": f"urn:quarterdeck:problem:{code}", "title": code, "status": status, "detail": code}
    return Reply(status, body | {"details": details})


def approving(server: Scripted) -> None:
    """Script a whole approval that goes well."""
    server.on("GET", "/v1/me", ME)
    server.on("POST", "/access/v1/evaluation", ASK)
    server.on("POST", "/access/v1/requests", task("pending", 202))
    server.on("GET", TASK, task("approved"))
    server.on("GET", "/v1/approvals/apr_1/grant", GRANT)
    server.on("POST", "/v1/grants/redeem", REDEEMED)
    server.on("POST", "/v1/effects/eff_1/report", Reply(body={"position": 1}))
