"""OpenTelemetry of ourselves, exported over OTLP to a real receiver. Serves DC-06 and the telemetry of section 5."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
HELPERS = Path(__file__).parents[1] / "helpers"
PROGRAM = """
import asyncio, sys
from pathlib import Path
from api_house import house, settings_for
from quarterdeck_runtime import telemetry

async def main(url, endpoint, directory):
    settings = settings_for(url, Path(directory), otlp_endpoint=endpoint, otlp_headers="x-team=ours")
    traces = telemetry.start(settings, "api")
    assert traces is not None
    async with house(url, Path(directory), otlp_endpoint=endpoint) as api:
        app = api.client._transport.app
        telemetry.instrument_app(app, traces)
        headers = {"traceparent": "00-TRACE_ID-00f067aa0ba902b7-01"}
        answer = await api.client.post(
            "/v1/commands/register_principal",
            json={"kind": "human", "display_name": "Grace"},
            headers=api.bearer("acme", "admin") | headers,
        )
        assert answer.status_code == 200, answer.text
        await api.client.get("/sign-in/" + api.links["acme"], headers=headers)
        event = (await api.services.ledger.read("acme", backwards=True, limit=1))[0]
        print(event.cause.traceparent)
    await asyncio.to_thread(traces.close)

asyncio.run(main(*sys.argv[1:]))
""".replace("TRACE_ID", TRACE)


class Receiver:
    """What a collector got."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.metrics: set[str] = set()
        self.headers: list[str | None] = []
        self.raw = b""


@pytest.fixture
def receiver() -> Iterator[tuple[str, Receiver]]:
    """An OTLP receiver on loopback."""
    got = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            got.raw += body
            got.headers.append(self.headers.get("x-team"))
            if self.path == "/v1/traces":
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    got.spans += [span for scope in resource.scope_spans for span in scope.spans]
            else:
                for found in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                    got.metrics |= {metric.name for scope in found.scope_metrics for metric in scope.metrics}
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", got
    server.shutdown()
    server.server_close()
    thread.join()


def test_one_trace_spans_request_and_append_and_holds_no_secret(
    receiver: tuple[str, Receiver], migrated_database: Callable[[], str], tmp_path: Path
) -> None:
    """The caller's trace goes on through route and statements into the event; a link's page has no span at all."""
    endpoint, got = receiver
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, migrated_database(), endpoint, str(tmp_path)],
        env={"PYTHONPATH": str(HELPERS), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    traced = [span for span in got.spans if span.trace_id.hex() == TRACE]
    names = {span.name for span in traced}
    assert "POST /v1/commands/register_principal" in names
    statements = [
        attribute.value.string_value
        for span in traced
        for attribute in span.attributes
        if attribute.key in ("db.query.text", "db.statement")
    ]
    assert any("ledger.append" in text for text in statements)
    recorded = run.stdout.strip().split("-")
    assert recorded[1] == TRACE
    assert recorded[2] in {span.span_id.hex() for span in traced}
    assert "http.server.request.duration" in got.metrics
    assert set(got.headers) == {"ours"}
    assert b"sign-in" not in got.raw
    assert b"qdl_acme_" not in got.raw
    assert b"Grace" not in got.raw
