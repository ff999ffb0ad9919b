"""OpenTelemetry of ourselves, exported over OTLP to a real receiver. Serves DC-06 and the telemetry of section 5."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from otlp_receiver import Receiver, receiving, serving

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


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """An OTLP receiver on loopback."""
    with receiving() as got:
        yield got


def test_one_trace_spans_request_and_append_and_holds_no_secret(
    receiver: Receiver, migrated_database: Callable[[], str], tmp_path: Path
) -> None:
    """The caller's trace goes on through route and statements into the event; a link's page has no span at all."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, migrated_database(), receiver.endpoint, str(tmp_path)],
        env={"PYTHONPATH": str(HELPERS), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    traced = receiver.of(TRACE)
    assert "POST /v1/commands/register_principal" in {span.name for span in traced}
    assert any("ledger.append" in span.attributes.get("db.query.text", "") for span in traced)
    recorded = run.stdout.strip().split("-")
    assert recorded[1] == TRACE
    assert recorded[2] in {span.span_id for span in traced}
    assert {"http.server.request.duration", "quarterdeck.append.duration"} <= receiver.metrics()
    assert {headers.get("x-team") for headers in receiver.headers} == {"ours"}
    assert b"sign-in" not in receiver.raw
    assert b"qdl_acme_" not in receiver.raw
    assert b"Grace" not in receiver.raw


def test_tenants_are_on_metrics_only_where_an_operator_says_so(
    receiver: Receiver, migrated_database: Callable[[], str], tmp_path: Path
) -> None:
    """By default no metric has one; then each of an append's has."""
    for wanted in ("false", "true"):
        receiver.points.clear()
        run = subprocess.run(
            [sys.executable, "-W", "error", "-c", PROGRAM, migrated_database(), receiver.endpoint, str(tmp_path)],
            env={"PYTHONPATH": str(HELPERS), "PATH": "/usr/bin:/bin", "QUARTERDECK_METRICS_BY_TENANT": wanted},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert run.returncode == 0, run.stderr
        found = {point.attributes.get("quarterdeck.tenant") for point in receiver.points if "append" in point.metric}
        assert found == ({None, "acme"} if wanted == "true" else {None})


def test_the_doctor_says_whether_the_collector_takes_telemetry(receiver: Receiver, tmp_path: Path) -> None:
    """Off, taken, not taken by something else, nobody there: each with what to do."""

    class Elsewhere(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_error(404)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    def look(endpoint: str | None) -> tuple[bool, str]:
        environment = {"PATH": "/usr/bin:/bin", "QUARTERDECK_DATA_DIR": str(tmp_path)}
        if endpoint is not None:
            environment |= {"QUARTERDECK_OTLP_ENDPOINT": endpoint, "QUARTERDECK_OTLP_HEADERS": "x-team=ours"}
        run = subprocess.run(
            [sys.executable, "-m", "quarterdeck_cli", "doctor", "--json"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        (found,) = [item for item in json.loads(run.stdout) if item["check"] == "telemetry"]
        assert "ours" not in run.stdout
        return found["ok"], found["seen"]

    assert look(None) == (True, "off: no QUARTERDECK_OTLP_ENDPOINT")
    assert look(receiver.endpoint) == (True, f"{receiver.endpoint} answers 200")
    assert receiver.headers[-1]["x-team"] == "ours"
    with serving(Elsewhere) as address:
        assert look(address) == (False, f"{address} answers 404")
    assert look("http://127.0.0.1:1") == (False, "http://127.0.0.1:1: ConnectError")
