"""Spans and metrics of appends and of runs, exactly: conflicts, shared batches, runs of several traces.

Serves the telemetry of running, DC-06. The SDK is set up once a process, so each case is a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HELPERS = Path(__file__).parents[1] / "helpers"
HEAD = """
import asyncio, json, uuid
from opentelemetry import trace
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from quarterdeck_domain.access.values import SYSTEM
from quarterdeck_ledger import instruments
from quarterdeck_ledger.errors import AppendConflict
from quarterdeck_ledger.keys import MemoryKeyStore
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.memory import MemoryStore
from quarterdeck_runtime import telemetry
from quarterdeck_runtime.settings import Settings

exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
BY_TENANT = False
running = telemetry.start(Settings(metrics_by_tenant=BY_TENANT), "api", spans=exporter, reader=reader)

def shown():
    spans = [
        {
            "name": span.name,
            "trace": f"{span.context.trace_id:032x}",
            "id": f"{span.context.span_id:016x}",
            "parent": None if span.parent is None else f"{span.parent.span_id:016x}",
            "links": [f"{link.context.trace_id:032x}" for link in span.links],
            "attributes": {key: value for key, value in span.attributes.items()},
        }
        for span in exporter.get_finished_spans()
    ]
    metrics = {}
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                metrics[metric.name] = [
                    [dict(point.attributes), getattr(point, "count", None) or getattr(point, "value", 0)]
                    for point in metric.data.data_points
                ]
    print(json.dumps({"spans": spans, "metrics": metrics}))
"""
APPENDS = """
from eventsourcing.dcb.api import DCBAppendCondition, DCBQuery
from quarterdeck_domain.approvals.events import DispatchReleased
from quarterdeck_domain.events import NewEvent

def event(number):
    return NewEvent(id=uuid.UUID(int=number), payload=DispatchReleased(parked_position=number), actor=SYSTEM)

async def one(ledger, number):
    with telemetry.tracer().start_as_current_span(f"request {number}"):
        return await ledger.append("acme", [event(number)])

async def main():
    ledger = EventLedger(MemoryStore(), MemoryKeyStore())
    await asyncio.gather(*(one(ledger, number) for number in range(1, 6)))
    await one(ledger, 5)
    try:
        await ledger.append("acme", [event(9)], DCBAppendCondition(DCBQuery(), 0))
    except AppendConflict:
        pass
    shown()

asyncio.run(main())
"""
RUNS = """
from quarterdeck_projector import observed
from quarterdeck_readmodels.folding import Run

def entry(traceparent):
    cause = {} if traceparent is None else {"traceparent": traceparent}
    return (1, json.dumps({"cause": cause, "data": {"traceparent": "00-" + "9" * 32 + "-" + "9" * 16 + "-01"}}).encode())

def project(*traceparents):
    run = Run(1, len(traceparents), [])
    run.causes = observed.causes([entry(item) for item in traceparents])
    with observed.projecting("acme", run):
        pass

A, B, UNSAMPLED = (f"00-{d * 32}-{d * 16}-{flags}" for d, flags in (("a", "01"), ("b", "01"), ("c", "00")))
with telemetry.quiet():
    project(A, A)
    project(A, B, UNSAMPLED)
    project(UNSAMPLED, None, "nonsense")
    project(*[A] * (observed.FEW + 1))
instruments.PROJECTOR_LAG.show({"acme": 3, "beta": 7})
instruments.PARKED_EVENTS.show({"acme": 3, "beta": 7})
instruments.GATES_OPEN.show({"acme": 3})
instruments.GATES_OPEN.show({})
shown()
"""


def run(program: str, *, by_tenant: bool = False) -> dict[str, Any]:
    """Run a case in a process of its own; return its spans and metrics."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", HEAD.replace("BY_TENANT = False", f"BY_TENANT = {by_tenant}") + program],
        env={"PYTHONPATH": str(HELPERS), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def appends() -> dict[str, Any]:
    """Five appends at once, one of them again, and one that meets a conflict."""
    return run(APPENDS)


def test_every_append_is_a_span_of_its_own_request(appends: dict[str, Any]) -> None:
    """Also when one transaction serves several: that one is below the first and linked to the others."""
    spans = appends["spans"]
    requests = {span["id"]: span for span in spans if span["name"].startswith("request")}
    own = [span for span in spans if span["name"] == "ledger.append" and span["parent"] is not None]
    assert len(own) == len(requests) == 6
    assert {span["parent"] for span in own} == set(requests)
    assert all(span["trace"] == requests[span["parent"]]["trace"] for span in own)
    assert sorted(span["attributes"]["quarterdeck.position"] for span in own) == [1, 2, 3, 4, 5, 5]
    batches = [span for span in spans if span["name"] == "ledger.batch"]
    assert all(span["parent"] in {item["id"] for item in spans} for span in batches)
    assert sum(span["attributes"]["quarterdeck.appends"] for span in batches) == 7
    shared = [span for span in batches if span["attributes"]["quarterdeck.appends"] > 1]
    assert shared
    for span in shared:
        assert len(span["links"]) == span["attributes"]["quarterdeck.appends"] - 1
        assert span["trace"] not in span["links"]


def test_appends_are_counted_by_how_they_ended(appends: dict[str, Any]) -> None:
    """A repetition records nothing, a conflict is one."""
    metrics = appends["metrics"]
    ended = {point[0]["quarterdeck.outcome"]: point[1] for point in metrics["quarterdeck.append.duration"]}
    assert ended == {"ok": 5, "repeated": 1, "append_conflict": 1}
    assert metrics["quarterdeck.append.events"] == [[{}, 5]]
    assert metrics["quarterdeck.append.conflicts"] == [[{}, 1]]
    assert metrics["quarterdeck.append.queue.length"] == [[{}, 0]]
    (refused,) = [span for span in appends["spans"] if span["attributes"].get("error.type")]
    assert refused["attributes"]["error.type"] == "append_conflict"
    assert "quarterdeck.position" not in refused["attributes"]


def test_runs_are_in_the_traces_that_caused_them() -> None:
    """One cause: below it. Several: a span of its own linked to all, and one in each. None, or too many: no span."""
    found = run(RUNS)
    spans = [span for span in found["spans"] if span["name"] == "project"]
    first, *others = spans
    assert (first["trace"], first["parent"], first["links"]) == ("a" * 32, "a" * 16, [])
    (own,) = [span for span in others if span["parent"] is None]
    assert sorted(own["links"]) == ["a" * 32, "b" * 32]
    visible = [span for span in others if span["parent"] is not None]
    assert {(span["trace"], span["parent"]) for span in visible} == {("a" * 32, "a" * 16), ("b" * 32, "b" * 16)}
    assert all(span["links"] == [own["trace"]] for span in visible)
    assert len(spans) == 4
    assert found["metrics"]["quarterdeck.projector.run.duration"] == [[{}, 4]]
    assert found["metrics"]["quarterdeck.projector.events"] == [[{}, 2 + 3 + 3 + 65]]


def test_levels_are_the_worst_or_the_sum_unless_tenants_are_wanted() -> None:
    """And what was not found at the last look is not shown."""
    over_all = run(RUNS)["metrics"]
    assert over_all["quarterdeck.projector.lag"] == [[{}, 7]]
    assert over_all["quarterdeck.parked_events"] == [[{}, 10]]
    assert not over_all.get("quarterdeck.gates.open")
    by_tenant = run(RUNS, by_tenant=True)["metrics"]
    assert by_tenant["quarterdeck.projector.lag"] == [
        [{"quarterdeck.tenant": "acme"}, 3],
        [{"quarterdeck.tenant": "beta"}, 7],
    ]


def test_while_nobody_looks_nothing_is_in_the_way() -> None:
    """Without a collector the measured methods are the plain ones, and a batch's measurement is one shared object."""
    program = """
from quarterdeck_ledger import instruments
from quarterdeck_ledger.hot import HotBoundaries
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_policy.decision_point import DecisionPoint

methods = (EventLedger.append, HotBoundaries.execute, DecisionPoint.decide_many)
assert not any(hasattr(method, "__wrapped__") for method in methods)
assert instruments.batch("acme", ()) is instruments.batch("acme", ())
assert instruments.here() is None
instruments.observe()
assert (EventLedger.append.__wrapped__, HotBoundaries.execute.__wrapped__, DecisionPoint.decide_many.__wrapped__) == methods
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)
