"""`page`: a GraphQL page of 100 nodes with 10 fields, beside a bare Strawberry Relay connection of the same shape.

Both are served by an ASGI application in this process and called without a network. The peer is a FastAPI application
with Strawberry's own router and its parser and validation caches; its nodes lie in memory and nobody has to say who
they are. Ours is the whole API: authentication against the log, read models in PostgreSQL, limits, sealed cursors. The
two take turns, request by request.

Beside it: the same page with two personal fields, each opened; the page of a past position; and the bulk export
(`/v1/log/events`, a line an event) in entries a second, to be at least ten times the nodes a second of our page.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import secrets
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any, Final

import strawberry
import uvloop
from fastapi import FastAPI
from pydantic import SecretStr
from strawberry import relay
from strawberry.extensions import ParserCache, ValidationCache
from strawberry.fastapi import GraphQLRouter

from quarterdeck_api.app import create_app
from quarterdeck_api.bootstrap import wire
from quarterdeck_api.services import Services
from quarterdeck_bench.harness import Result, median, postgres
from quarterdeck_domain.access.credentials import credential_text, hash_secret
from quarterdeck_domain.access.slices import IssueApiKey, NewAdministrator, OpenTenant
from quarterdeck_domain.access.values import SYSTEM
from quarterdeck_domain.approvals.events import ApprovalRequested, Stage
from quarterdeck_domain.events import Actor, NewEvent
from quarterdeck_domain.ids import make_id
from quarterdeck_ledger.interface import Context
from quarterdeck_ledger.migrate import migrate
from quarterdeck_ledger.postgres import PostgresStore
from quarterdeck_projector.projector import Projector
from quarterdeck_runtime.settings import load_settings

TENANT: Final = "bench"
NODES: Final = 100
APPROVALS: Final = int(os.environ.get("QUARTERDECK_BENCH_APPROVALS", "20000"))
CALLS: Final = int(os.environ.get("QUARTERDECK_BENCH_CALLS", "150"))
EXPORTS: Final = 3

_FIELDS: Final = "id status action resource subject actionDigest pathId requestedAt expiresAt requesterId"
_PAGE: Final = "{edges{cursor node{%s}} pageInfo{hasNextPage endCursor}}"
_LIST: Final = f"approvals(first:{NODES})" + _PAGE
PLAIN: Final = "{now{" + _LIST % _FIELDS + "}}"
THEN: Final = "{at(position:%d){" + _LIST % _FIELDS + "}}"
PERSONAL: Final = "{now{" + _LIST % (_FIELDS + " request justification") + "}}"
PEER: Final = "{" + _LIST % _FIELDS + "}"
WHOLE: Final = Stage(name="decide")

App = Callable[..., Awaitable[None]]


def run(rounds: int) -> Result:
    """Measure in interleaved rounds."""
    with postgres() as server, tempfile.TemporaryDirectory(prefix="qd-page-") as directory:
        return uvloop.run(_run(server.url(), Path(directory), rounds))


async def _run(url: str, directory: Path, rounds: int) -> Result:
    samples: dict[str, list[list[float]]] = {}
    exports: list[float] = []
    async with _house(url, directory) as (services, token, first):
        ours, peer = Client(create_app(services), "/graphql", token), Client(_peer_app(), "/graphql")
        export = Client(create_app(services), "/v1/log/events", token)
        cases = {
            "bare Strawberry": (peer, PEER),
            "quarterdeck, now": (ours, PLAIN),
            "quarterdeck, then": (ours, THEN % (first + APPROVALS // 2)),
            "quarterdeck, now, two personal fields": (ours, PERSONAL),
        }
        for name, (client, query) in cases.items():
            _check(name, json.loads(await client.ask(query)))
        for _ in range(rounds):
            for name, latencies in (await _measure(cases)).items():
                samples.setdefault(name, []).append(latencies)
            exports.append(median([await _exported(export) for _ in range(EXPORTS)]))
    return _judge(samples, exports)


def _judge(samples: dict[str, list[list[float]]], exports: list[float]) -> Result:
    p50 = {name: median([median(found) for found in rounds]) * 1000 for name, rounds in samples.items()}
    bare = p50["bare Strawberry"]
    rows: list[dict[str, Any]] = [
        {"served": name, "p50 ms": value, "nodes/s": NODES / value * 1000, "x bare": value / bare}
        for name, value in p50.items()
    ]
    page_rate, export_rate = NODES / p50["quarterdeck, now"] * 1000, median(exports)
    rows.append(
        {"served": "bulk export, entries", "p50 ms": None, "nodes/s": export_rate, "x bare": export_rate / page_rate}
    )
    value = {"x_bare": round(p50["quarterdeck, now"] / bare, 2), "export_x_page": round(export_rate / page_rate, 1)}
    goal = {"x_bare": 1.2, "export_x_page": 10}
    ok = value["x_bare"] <= goal["x_bare"] and value["export_x_page"] >= goal["export_x_page"]
    note = "In the last row, `x bare` is entries a second over the nodes a second of our own page."
    return {"name": "page", "value": value, "goal": goal, "ok": ok, "rows": rows, "note": note}


async def _measure(cases: dict[str, tuple[Client, str]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in cases}
    gc.collect()
    for _ in range(CALLS):
        for name, (client, query) in cases.items():
            began = time.perf_counter()
            await client.ask(query)
            found[name].append(time.perf_counter() - began)
    return found


async def _exported(client: Client) -> float:
    began = time.perf_counter()
    lines = (await client.get(f"limit={APPROVALS}")).count(b"\n")
    return lines / (time.perf_counter() - began)


def _check(name: str, answer: dict[str, Any]) -> None:
    assert "errors" not in answer, (name, answer["errors"])
    record = next(iter(answer["data"].values()))
    page = record.get("approvals", record)
    assert len(page["edges"]) == NODES, name
    assert len(page["edges"][0]["node"]) >= 10, name


class Client:
    """Calls an application in this process, without a network or a client library in the way."""

    def __init__(self, app: Any, path: str, token: str = "") -> None:
        self._app: App = app
        self._path = path
        self._headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
        if token:
            self._headers.append((b"authorization", f"Bearer {token}".encode()))

    async def ask(self, query: str) -> bytes:
        """Return the body of the answer to a question."""
        return await self._call("POST", "", json.dumps({"query": query}).encode())

    async def get(self, query_string: str) -> bytes:
        """Return a body."""
        return await self._call("GET", query_string, b"")

    async def _call(self, method: str, query_string: str, body: bytes) -> bytes:
        length = (b"content-length", str(len(body)).encode())
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": self._path,
            "raw_path": self._path.encode(),
            "query_string": query_string.encode(),
            "root_path": "",
            "headers": [*self._headers, length],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        parts: list[bytes] = []
        ended = asyncio.Event()
        sent = False

        async def receive() -> dict[str, Any]:
            nonlocal sent
            if sent:
                await ended.wait()
                return {"type": "http.disconnect"}
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                assert message["status"] == 200, message
            else:
                parts.append(message.get("body", b""))

        await self._app(scope, receive, send)
        ended.set()
        return b"".join(parts)


@strawberry.enum(name="ApprovalStatus")
class _Status(Enum):
    PENDING = "pending"
    APPROVED = "approved"


@strawberry.type(name="Approval")
class _Approval(relay.Node):
    code: relay.NodeID[str]
    status: _Status
    action: str
    resource: str
    subject: str
    action_digest: str
    path_id: str
    requested_at: datetime
    expires_at: datetime
    requester_id: strawberry.ID


@strawberry.type(name="Query")
class _Query:
    @relay.connection(relay.ListConnection[_Approval])  # type: ignore[untyped-decorator]  # as its guide has it
    async def approvals(self) -> Iterable[_Approval]:
        return _NODES


_NODES: Final = [
    _Approval(
        code=make_id("apr", uuid.uuid4()),
        status=_Status.PENDING,
        action="refund",
        resource=f"order:{number}",
        subject=f"agent:{make_id('prn', uuid.uuid4())}",
        action_digest="sha256-action-v1:" + "0" * 64,
        path_id="default",
        requested_at=datetime.now(UTC),
        expires_at=datetime.now(UTC) + timedelta(hours=1),
        requester_id=strawberry.ID(make_id("prn", uuid.uuid4())),
    )
    for number in range(NODES)
]


def _peer_app() -> FastAPI:
    """Return the peer: a connection of the same shape, as Strawberry's guide has it, with its caches on."""
    schema = strawberry.Schema(_Query, extensions=[ParserCache, ValidationCache])
    app = FastAPI()
    app.include_router(GraphQLRouter(schema, graphql_ide=None), prefix="/graphql")
    return app


@contextlib.asynccontextmanager
async def _house(url: str, directory: Path) -> AsyncIterator[tuple[Services, str, int]]:
    """Run the API over a log of approvals; yield it, an administrator's key, and the position before them."""
    await migrate(url)
    settings = load_settings(database_url=SecretStr(url), data_dir=directory, rate_per_s=1e6, rate_burst=1_000_000)
    async with PostgresStore.open(url) as store, contextlib.AsyncExitStack() as stack:
        services = await wire(settings, store, stack)
        token = await _open_tenant(services)
        first = (await services.ledger.head(TENANT)).position
        await _ask_for_approvals(services)
        projector = Projector(store, store.pool)
        await projector.prepare()
        while (await projector.advance(TENANT))[1]:
            pass
        yield services, token, first


async def _open_tenant(services: Services) -> str:
    admin, link, key = (make_id(prefix, uuid.uuid4()) for prefix in ("prn", "lnk", "key"))
    token = credential_text(TENANT, key, secrets.token_urlsafe(32))
    administrator = NewAdministrator(
        principal_id=admin, display_name="Ada", link_id=link, link_hash=hash_secret(credential_text(TENANT, link, "x"))
    )
    for command in (
        OpenTenant(tenant=TENANT, display_name="Bench", administrator=administrator),
        IssueApiKey(tenant=TENANT, key_id=key, principal_id=admin, secret_hash=hash_secret(token), actor=SYSTEM),
    ):
        await services.ledger.execute(command, Context(tenant=TENANT, actor=SYSTEM, command_id=uuid.uuid4()))
    return token


async def _ask_for_approvals(services: Services) -> None:
    agents = [make_id("prn", uuid.uuid4()) for _ in range(100)]
    expires = datetime.now(UTC) + timedelta(days=1)
    for start in range(0, APPROVALS, 200):
        events = []
        for number in range(start, start + 200):
            agent = agents[number % len(agents)]
            payload = ApprovalRequested(
                approval_id=make_id("apr", uuid.uuid4()),
                decision_id=make_id("dec", uuid.uuid4()),
                subject=f"agent:{agent}",
                action="refund",
                resource=f"order:{number}",
                request='{"action":{"name":"refund","properties":{"amount":"120.00","currency":"EUR"}}}',
                justification="the parcel was lost, and the customer asks for the money back",
                action_digest=f"sha256-action-v1:{uuid.uuid4().hex * 2}",
                binding_hash="x" * 43,
                path_id="default",
                path_version=1,
                stages=(WHOLE,),
                remind_after_s=600,
                grant_lifetime_s=900,
                requester=agent,
                requesters=(agent,),
                expires_at=expires,
            )
            events.append(NewEvent(id=uuid.uuid4(), payload=payload, actor=Actor(principal=agent, kind="agent")))
        await services.ledger.append(TENANT, events)
