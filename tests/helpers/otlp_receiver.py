"""A small OpenTelemetry collector for tests: takes OTLP over HTTP on loopback, and keeps what it got."""

from __future__ import annotations

import contextlib
import gzip
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Span:
    """A span as it arrived. `service` is the process that sent it."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    linked: frozenset[str]
    attributes: dict[str, Any]


@dataclass(frozen=True)
class Point:
    """A measurement as it arrived: a sum or gauge's value, a histogram's count."""

    service: str
    metric: str
    unit: str
    attributes: dict[str, Any]
    value: float


@dataclass
class Receiver:
    """What the collector got."""

    endpoint: str = ""
    spans: list[Span] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    raw: bytes = b""
    grown: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, what: Callable[[Receiver], object], timeout_s: float = 60.0) -> None:
        """Return as soon as something holds of what arrived.

        Raises:
            AssertionError: it does not come to that; the message names what is there.
        """
        with self.grown:
            if not self.grown.wait_for(lambda: what(self), timeout_s):
                names = sorted({(span.service, span.name) for span in self.spans})
                raise AssertionError(f"not in {timeout_s} s; spans: {names}, metrics: {sorted(self.metrics())}")

    def of(self, trace_id: str) -> list[Span]:
        """Return the spans of one trace."""
        return [span for span in tuple(self.spans) if span.trace_id == trace_id]

    def metrics(self) -> set[str]:
        """Return the names of the metrics that arrived."""
        return {point.metric for point in tuple(self.points)}

    def latest(self, metric: str) -> dict[tuple[tuple[str, Any], ...], float]:
        """Return the last value of a metric for each set of attributes."""
        found = [point for point in tuple(self.points) if point.metric == metric]
        return {tuple(sorted(point.attributes.items())): point.value for point in found}

    def take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        """Keep one request."""
        with self.grown:
            self.raw += body
            self.headers.append(headers)
            if path == "/v1/traces":
                self.spans += _spans(body)
            else:
                self.points += _points(body)
            self.grown.notify_all()


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    """Run a collector on loopback for as long as the block lasts."""
    got = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            got.take(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with serving(Handler) as address:
        got.endpoint = address
        yield got


@contextlib.contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve HTTP on loopback with a handler; its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def wait_until(what: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Return as soon as something holds that another process brings about.

    Raises:
        AssertionError: it does not.
    """
    end = time.monotonic() + timeout_s
    pause = threading.Event()
    while not what():
        if time.monotonic() > end:
            raise AssertionError(f"did not happen in {timeout_s} s")
        pause.wait(0.05)


def _spans(body: bytes) -> list[Span]:
    return [
        Span(
            service=_attributes(resource.resource.attributes)["service.name"],
            name=span.name,
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            linked=frozenset(link.trace_id.hex() for link in span.links),
            attributes=_attributes(span.attributes),
        )
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _points(body: bytes) -> list[Point]:
    found = []
    for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
        service = _attributes(resource.resource.attributes)["service.name"]
        for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
            kind = metric.WhichOneof("data")
            for point in getattr(metric, kind).data_points:
                value = point.count if kind == "histogram" else getattr(point, point.WhichOneof("value"))
                found.append(Point(service, metric.name, metric.unit, _attributes(point.attributes), float(value)))
    return found


def _attributes(pairs: Any) -> dict[str, Any]:
    found = {}
    for pair in pairs:
        kind = pair.value.WhichOneof("value")
        value = getattr(pair.value, kind)
        found[pair.key] = tuple(item.string_value for item in value.values) if kind == "array_value" else value
    return found
