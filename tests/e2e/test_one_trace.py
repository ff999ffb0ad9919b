"""One trace from a request to the callback it causes, across processes, with nothing secret or personal in it.

Everything is real: PostgreSQL, Temporal, and the API, worker and projector each as a process of its own, which send
OTLP to a collector in this one. Serves DC-06, S0-51 and the telemetry of running; threat T15.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_house import House, settings_for
from otlp_receiver import Receiver, Span, receiving, serving, wait_until

from quarterdeck_api.bootstrap import running
from quarterdeck_embedded import EmbeddedTemporal, free_port
from quarterdeck_ledger.instruments import CATALOGUE

ROLES = ("api", "worker", "projector")
JUSTIFICATION = "JUSTIFIED-by-a-parcel-lost-in-Leith"
COMMENT = "COMMENTED-after-ringing-Grace-Hopper"
QUERY_SECRET = "SECRET-in-a-query"
CALLBACK_SECRET = "SECRET-in-a-callbacks-address"
NAMES = ("Iris-Personal-Name", "bot-with-a-personal-name")


@dataclass
class World:
    """What ran and what was seen of it."""

    got: Receiver
    asked: str
    approved: str
    callbacks: list[dict[str, str]]
    keys: list[str]
    logs: dict[str, str]

    def forbidden(self) -> list[str]:
        """Return what nothing that leaves a process may hold."""
        return [
            JUSTIFICATION,
            COMMENT,
            QUERY_SECRET,
            CALLBACK_SECRET,
            *NAMES,
            *(key.split("_", 3)[3] for key in self.keys),
        ]


async def _prepare(url: str, data: Path) -> dict[str, str]:
    """Open a tenant with an approver and an agent; return their keys."""
    async with running(settings_for(url, data)) as services, httpx.AsyncClient() as unused:
        house = House(services, unused)
        await house.begin("acme")
        iris = await house.add("acme", NAMES[0], "approver")
        bot = await house.add("acme", NAMES[1], "agent", kind="agent")
        return {"admin": house.keys["acme", "admin"], "iris": iris, "bot": bot}


def _traceparent(trace_id: str) -> dict[str, str]:
    return {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"}


def _journey(http: httpx.Client, keys: dict[str, str], callback: str, asked: str, approved: str) -> None:
    """Ask and request in one trace, approve in another."""
    bot, iris = ({"Authorization": f"Bearer {keys[name]}"} for name in ("bot", "iris"))
    question: dict[str, Any] = {
        "action": {"name": "refund"},
        "resource": {"type": "order", "id": "4711", "properties": {"amount": "120.00", "currency": "EUR"}},
    }
    me = http.get("/v1/me", headers=bot).json()
    question["subject"] = {"type": "agent", "id": me["principal_id"]}
    decided = http.post("/access/v1/evaluation", json=question, headers=bot | _traceparent(asked)).json()
    assert decided["decision"] is False, decided
    asking = decided["context"]["access_request"]
    denial = {name: asking[name] for name in ("expires_at", "binding_token") if name in asking}
    body = question | {
        "denial": {"evaluation_id": decided["context"]["evaluation_id"]} | denial,
        "context": {"business_justification": JUSTIFICATION},
        "callback": {"endpoint": callback},
    }
    headers = bot | _traceparent(asked) | {"Idempotency-Key": secrets.token_hex(8)}
    answer = http.post("/access/v1/requests", params={"access_token": QUERY_SECRET}, json=body, headers=headers)
    assert answer.status_code in (200, 201, 202), answer.text
    (task,) = http.get("/v1/approvals", headers=iris).json()["approvals"]
    shown = http.get(f"/v1/approvals/{task['id']}", headers=iris).json()
    vote = {"action_digest": shown["action_digest"], "comment": COMMENT}
    answer = http.post(f"/v1/approvals/{task['id']}/approve", json=vote, headers=iris | _traceparent(approved))
    assert answer.status_code == 200, answer.text


def _finished(world: World) -> bool:
    named = {(span.service, span.name.partition(":")[0]) for span in world.got.of(world.approved)}
    ended = {span.name for span in world.got.of(world.asked)}
    wanted = {
        ("quarterdeck-api", "POST /v1/approvals/{approval_id}/approve"),
        ("quarterdeck-projector", "project"),
        ("quarterdeck-worker", "CompleteWorkflow"),
        ("quarterdeck-worker", "POST"),
    }
    return wanted <= named and "CompleteWorkflow:ApprovalGateWorkflow" in ended


@pytest.fixture(scope="module")
def world(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The whole journey, once."""
    home = tmp_path_factory.mktemp("one-trace")
    keys = asyncio.run(_prepare(module_database, home / "data"))
    callbacks: list[dict[str, str]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            callbacks.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with receiving() as got, serving(Hook) as hook, EmbeddedTemporal(None) as temporal:
        port = free_port()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("QUARTERDECK_")} | {
            "QUARTERDECK_DATABASE_URL": module_database,
            "QUARTERDECK_DATA_DIR": str(home / "data"),
            "QUARTERDECK_TEMPORAL_ADDRESS": temporal.address,
            "QUARTERDECK_PORT": str(port),
            "QUARTERDECK_OTLP_ENDPOINT": got.endpoint,
            "QUARTERDECK_METRICS_INTERVAL_S": "1",
            "QUARTERDECK_LOG_FORMAT": "json",
            "QUARTERDECK_ACCESS_LOG": "true",
            "QUARTERDECK_WEBHOOK_ALLOW": "127.0.0.1",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        world = World(got, secrets.token_hex(16), secrets.token_hex(16), callbacks, list(keys.values()), {})
        children = {role: _serve(role, environment, home) for role in ROLES}
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as http:
                wait_until(lambda: _ready(http))
                callback = f"{hook}/hook/{CALLBACK_SECRET}?token={CALLBACK_SECRET}"
                _journey(http, keys, callback, world.asked, world.approved)
                got.wait_for(lambda _: _finished(world))
                got.wait_for(lambda _: _settled(got))
        finally:
            for child in children.values():
                child.send_signal(signal.SIGTERM)
            for child in children.values():
                child.wait(30)
            world.logs.update({role: (home / f"{role}.log").read_text() for role in ROLES})
        yield world


def _serve(role: str, environment: dict[str, str], home: Path) -> subprocess.Popen[bytes]:
    with (home / f"{role}.log").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "quarterdeck_cli", "serve", role],
            env=environment,
            cwd=home,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def _ready(http: httpx.Client) -> bool:
    try:
        return http.get("/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def _settled(got: Receiver) -> bool:
    """Tell whether the metrics have caught up with what was done."""
    wanted = {*CATALOGUE, "temporal_activity_execution_latency"} - {"quarterdeck.append.conflicts"}
    falling = ("quarterdeck.gates.open", "quarterdeck.projector.lag", "quarterdeck.dispatcher.lag")
    return got.metrics() >= wanted and all(set(got.latest(name).values()) == {0.0} for name in falling)


def test_one_trace_spans_request_append_projection_workflow_activity_and_callback(world: World) -> None:
    """By what the three processes sent, and by what the callback's receiver was told."""
    spans = world.got.of(world.approved)
    by_name = _by_name(spans)
    request = by_name["quarterdeck-api", "POST /v1/approvals/{approval_id}/approve"][0]
    append = by_name["quarterdeck-api", "ledger.append"][0]
    assert request.span_id in _ancestors(append, spans)
    assert append.attributes["quarterdeck.tenant"] == "acme"
    assert append.attributes["quarterdeck.events"] >= 1
    assert append.attributes["quarterdeck.position"] > 1
    batch = by_name["quarterdeck-api", "ledger.batch"][0]
    assert append.span_id in _ancestors(batch, spans)
    assert any("ledger.append" in span.attributes.get("db.query.text", "") for span in spans)
    projections = by_name["quarterdeck-projector", "project"]
    assert any(request.span_id in _ancestors(span, spans) for span in projections)
    for name in ("dispatch", "SignalWorkflow:settle", "StartWorkflow:CallbackDeliveryWorkflow"):
        assert ("quarterdeck-projector", name) in by_name, sorted(by_name)
    for name in (
        "RunWorkflow:CallbackDeliveryWorkflow",
        "RunActivity:send_callback",
        "RunActivity:record_delivery",
        "CompleteWorkflow:CallbackDeliveryWorkflow",
        "ledger.append",
    ):
        assert ("quarterdeck-worker", name) in by_name, sorted(by_name)
    sent = by_name["quarterdeck-worker", "POST"][0]
    assert request.span_id in _ancestors(sent, spans)
    (callback,) = world.callbacks
    _, trace_id, span_id, sampled = callback["traceparent"].split("-")
    assert (trace_id, span_id, sampled) == (world.approved, sent.span_id, "01")


def test_the_gate_is_in_the_trace_of_the_request_that_opened_it(world: World) -> None:
    """Though another trace ends it."""
    spans = world.got.of(world.asked)
    by_name = _by_name(spans)
    for found in (
        ("quarterdeck-api", "policy.decide"),
        ("quarterdeck-api", "ledger.append"),
        ("quarterdeck-projector", "project"),
        ("quarterdeck-projector", "StartWorkflow:ApprovalGateWorkflow"),
        ("quarterdeck-worker", "RunWorkflow:ApprovalGateWorkflow"),
        ("quarterdeck-worker", "RunActivity:read_gate"),
    ):
        assert found in by_name, sorted(by_name)
    assert by_name["quarterdeck-api", "policy.decide"][0].attributes["quarterdeck.outcome"] == ("approval_required",)


def test_polling_makes_no_spans(world: World) -> None:
    """Nothing begins a trace but a request, and a projector's run of several requests' events."""
    begun = {(span.service, span.name.partition(" ")[0]) for span in world.got.spans if not span.parent_id}
    assert begun <= {("quarterdeck-api", "GET"), ("quarterdeck-api", "POST"), ("quarterdeck-projector", "project")}


def test_no_secret_and_nothing_personal_leaves(world: World) -> None:
    """Not in a span, a metric, or a line of any log; and the callback's address is in none of them."""
    written = "".join(world.logs.values())
    for text in world.forbidden():
        assert text.encode() not in world.got.raw, text
        assert text not in written, text
    assert b"url.full" not in world.got.raw
    assert b"client.address" not in world.got.raw


def test_every_metric_of_ours_arrives(world: World) -> None:
    """Each from the role that the catalogue names, in its unit, with its attributes and no others."""
    for point in world.got.points:
        metric = CATALOGUE.get(point.metric)
        if metric is None:
            assert point.metric.startswith(("http.", "temporal_")), point.metric
            continue
        assert point.unit == metric.unit
        assert set(point.attributes) == set(metric.attributes), point
        if metric.role in ROLES:
            assert point.service == f"quarterdeck-{metric.role}"
    own = [point for point in world.got.points if point.metric.startswith("temporal_")]
    assert {point.service for point in own} == {"quarterdeck-worker", "quarterdeck-projector"}
    assert "temporal_activity_execution_latency" in {point.metric for point in own}
    assert world.got.latest("quarterdeck.callbacks") == {(("quarterdeck.outcome", "delivered"),): 1.0}
    assert world.got.latest("quarterdeck.decision.duration") == {(("quarterdeck.outcome", "approval_required"),): 1.0}
    assert set(world.got.latest("quarterdeck.projector.lag").values()) == {0.0}
    assert set(world.got.latest("quarterdeck.dispatcher.lag").values()) == {0.0}
    assert all(value > 0 for value in world.got.latest("quarterdeck.append.events").values())


def test_a_line_of_the_log_has_the_trace_of_its_request(world: World) -> None:
    """Trace, span and request id; the route, never the address with its query."""
    lines = [json.loads(line) for line in world.logs["api"].splitlines()]
    found = [line for line in lines if line["event"] == "request" and line.get("trace_id") == world.approved]
    (line,) = found
    (span,) = [span for span in world.got.of(world.approved) if span.name == "POST /v1/approvals/{approval_id}/approve"]
    assert line["span_id"] == span.span_id
    assert (line["method"], line["route"], line["status"]) == ("POST", "/v1/approvals/{approval_id}/approve", 200)
    assert line["request_id"]


def _by_name(spans: list[Span]) -> dict[tuple[str, str], list[Span]]:
    found: dict[tuple[str, str], list[Span]] = {}
    for span in spans:
        found.setdefault((span.service, span.name), []).append(span)
    return found


def _ancestors(span: Span, spans: list[Span]) -> list[str]:
    """Return the ids of everything above a span."""
    parents = {item.span_id: item.parent_id for item in spans}
    found = [span.parent_id]
    while found[-1] in parents:
        found.append(parents[found[-1]])
    return found
