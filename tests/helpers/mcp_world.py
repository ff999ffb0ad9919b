"""MCP servers on loopback: real ones, built with the SDK, for both versions of the protocol, and hostile ones, raw."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations
from starlette.types import ASGIApp, Receive, Scope, Send


def certified(name: str, folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Return what a server of this name needs to speak TLS, and the file by which it is trusted."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    trusted, private = folder / f"{name}.pem", folder / f"{name}.key"
    trusted.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted, private)
    return context, trusted


CURRENT, PREVIOUS = "2026-07-28", "2025-11-25"


def crm(description: str = "Pay money back to a customer.", *, read_only: bool = False) -> MCPServer:
    """Return a server with two tools, a resource, a template and a prompt."""
    server = MCPServer("crm", title="Customer records", instructions="Ask before you refund.", version="4.2")

    @server.tool(description=description, annotations=ToolAnnotations(read_only_hint=read_only, idempotent_hint=True))
    def refund(order: str, cents: int) -> str:
        raise AssertionError("an importer calls no tool")

    @server.tool(title="Look up", annotations=ToolAnnotations(read_only_hint=True))
    def lookup(customer: str) -> dict[str, str]:
        """Find a customer."""
        raise AssertionError("an importer calls no tool")

    @server.resource("crm://orders/open?token=hush", title="Open orders", mime_type="application/json")
    def orders() -> str:
        raise AssertionError("an importer reads no resource")

    @server.resource("crm://orders/{order}")
    def order(order: str) -> str:
        raise AssertionError("an importer reads no resource")

    @server.prompt(title="Apology")
    def apology(name: str) -> str:
        raise AssertionError("an importer fills in no prompt")

    return server


class OnlyPrevious:
    """A server from before 2026-07-28: it refuses a version that it does not know, as those do."""

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if dict(scope.get("headers", ())).get(b"mcp-protocol-version") == CURRENT.encode():
            body = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Unsupported protocol version"}}'
            head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 400, "headers": head})
            await send({"type": "http.response.body", "body": body})
            return
        await self._inner(scope, receive, send)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


@contextlib.asynccontextmanager
async def serving(server: MCPServer, version: str = CURRENT, *, json_response: bool = False) -> AsyncIterator[str]:
    """Serve a server over streamable HTTP on loopback, and return its address."""
    app: ASGIApp = server.streamable_http_app(json_response=json_response)
    if version == PREVIOUS:
        app = OnlyPrevious(app)
    listener = socket.create_server(("127.0.0.1", 0))
    running = _Server(uvicorn.Config(app, log_level="error", lifespan="on", timeout_graceful_shutdown=1))
    task = asyncio.create_task(running.serve([listener]))
    await running.up.wait()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    finally:
        running.should_exit = True
        await task


class Raw:
    """What a raw server hears and says. A request is what was posted; an answer is written as bytes."""

    def __init__(self, writer: asyncio.StreamWriter, request: dict[str, Any]) -> None:
        self.writer = writer
        self.request = request

    @property
    def method(self) -> str:
        """What is asked for."""
        return str(self.request.get("method"))

    @property
    def cursor(self) -> str | None:
        """From where on."""
        found: str | None = (self.request.get("params") or {}).get("cursor")
        return found

    async def send(self, body: bytes, kind: str = "application/json", status: int = 200, **headers: str) -> None:
        """Write a whole answer."""
        given = {"content-type": kind, "content-length": str(len(body))} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        self.writer.write(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + body)
        await self.writer.drain()

    async def result(self, **result: Any) -> None:
        """Answer the question."""
        full = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"} | result
        await self.send(json.dumps({"jsonrpc": "2.0", "id": self.request.get("id"), "result": full}).encode())

    async def discover(self, **capabilities: Any) -> None:
        """Say that this is a current server with these capabilities."""
        await self.result(supportedVersions=[CURRENT], capabilities=capabilities or {"tools": {}})


@contextlib.asynccontextmanager
async def raw(
    answer: Callable[[Raw], Awaitable[None]], *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Serve whatever a function writes, and return the address."""
    open_: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_.add(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                length = next((int(row[15:]) for row in head.split("\r\n") if row.startswith("content-length:")), 0)
                body = await reader.readexactly(length)
                await answer(Raw(writer, json.loads(body) if body else {}))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            open_.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(serve, host, 0, ssl=tls)
    place = f"[{host}]" if ":" in host else host
    try:
        yield f"http{'s' if tls else ''}://{place}:{server.sockets[0].getsockname()[1]}/mcp"
    finally:
        server.close()
        for task in tuple(open_):
            task.cancel()
        await asyncio.gather(*open_, return_exceptions=True)
        await server.wait_closed()
