"""OpenTelemetry of ourselves: traces and metrics over OTLP when a collector is configured, trace ids always.

W3C Trace Context is the only thing taken from and handed to others; baggage is not, as it would carry one caller's
words to another's systems.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from opentelemetry import metrics, propagate, trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from quarterdeck_ledger import instruments
from quarterdeck_runtime.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

UNTRACED: Final = "/sign-in,/healthz,/readyz"
"""Parts of addresses that get no span: a sign-in link's path holds its secret, and probes are noise."""
_HTTP_LABELS: Final = ("error.type", "http.request.method", "http.response.status_code", "http.route", "url.scheme")
"""Of HTTP metrics. Never a host: callers choose it, in `Host` and in callbacks, and could make metrics without end."""

_propagator: Final = TraceContextTextMapPropagator()


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What was set up; `close` sends what is still waiting."""

    tracers: TracerProvider
    meters: MeterProvider

    def close(self) -> None:
        """Send what is waiting, and stop."""
        self.tracers.shutdown()
        self.meters.shutdown()


def start(
    settings: Settings, role: str, *, spans: SpanExporter | None = None, reader: MetricReader | None = None
) -> Telemetry | None:
    """Set up the SDK for this process and instrument its clients; None where no collector is configured.

    `spans` and `reader` take the place of the collector. Call it once a process, before connections are made.
    """
    propagate.set_global_textmap(_propagator)
    if settings.otlp_endpoint is None and spans is None and reader is None:
        return None
    os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http,database")
    telemetry = _providers(settings, role, spans, reader)
    trace.set_tracer_provider(telemetry.tracers)
    metrics.set_meter_provider(telemetry.meters)
    instruments.observe(by_tenant=settings.metrics_by_tenant)
    _instrument_clients(telemetry)
    return telemetry


def _providers(settings: Settings, role: str, spans: SpanExporter | None, reader: MetricReader | None) -> Telemetry:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.metrics.view import View
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    from quarterdeck_runtime.discretion import DiscreetExporter

    resource = Resource.create({"service.name": f"quarterdeck-{role}", "service.namespace": "quarterdeck"})
    tracers = TracerProvider(resource=resource, sampler=ParentBased(TraceIdRatioBased(settings.trace_sample_ratio)))
    base = (settings.otlp_endpoint or "").rstrip("/")
    headers = parse_headers(settings.otlp_headers.get_secret_value() if settings.otlp_headers else "")
    if spans is not None:
        tracers.add_span_processor(SimpleSpanProcessor(DiscreetExporter(spans)))
    elif base:
        exporter = DiscreetExporter(OTLPSpanExporter(endpoint=f"{base}/v1/traces", headers=headers))
        tracers.add_span_processor(BatchSpanProcessor(exporter))
    readers = [reader] if reader is not None else []
    if reader is None and base:
        sender = OTLPMetricExporter(endpoint=f"{base}/v1/metrics", headers=headers)
        readers.append(PeriodicExportingMetricReader(sender, settings.metrics_interval_s * 1000))
    views = [View(instrument_name=f"http.{side}.*", attribute_keys=set(_HTTP_LABELS)) for side in ("client", "server")]
    return Telemetry(tracers, MeterProvider(resource=resource, metric_readers=readers, views=views))


def _instrument_clients(telemetry: Telemetry) -> None:
    from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

    # Statements are parameterised and parameters are not captured, so no value of ours is in a span.
    AsyncPGInstrumentor().instrument(tracer_provider=telemetry.tracers)  # type: ignore[no-untyped-call]
    HTTPXClientInstrumentor().instrument(tracer_provider=telemetry.tracers, meter_provider=telemetry.meters)


def instrument_app(app: Any, telemetry: Telemetry | None) -> None:
    """Give every request of a FastAPI application a span, except those in `UNTRACED`."""
    if telemetry is None:
        return
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=telemetry.tracers,
        meter_provider=telemetry.meters,
        excluded_urls=UNTRACED,
        exclude_spans=["receive", "send"],
    )


def parse_headers(text: str) -> dict[str, str]:
    """Return `name=value,name=value` as headers; values may be percent-encoded.

    Source: OpenTelemetry specification, OTEL_EXPORTER_OTLP_HEADERS.
    """
    pairs = (item.partition("=") for item in text.split(",") if item.strip())
    return {name.strip().lower(): unquote(value.strip()) for name, _, value in pairs}


def current_traceparent() -> str | None:
    """Return the W3C `traceparent` of what is being done now, to be recorded with events; None outside any trace."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def current_trace_id() -> str | None:
    """Return the trace id (32 hex digits) by which the logs of what is being done now are found."""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None


def request_context(headers: Mapping[str, str]) -> Context:
    """Return the context of a request: in its caller's trace, or in a new one that nobody records.

    The SDK's own spans, where it is set up, begin below this.
    """
    caller = trace.get_current_span(_propagator.extract(headers, Context())).get_span_context()
    if caller.is_valid:
        span = SpanContext(caller.trace_id, _random(8), True, caller.trace_flags, caller.trace_state)
    else:
        span = SpanContext(_random(16), _random(8), False, TraceFlags(TraceFlags.DEFAULT))
    return trace.set_span_in_context(NonRecordingSpan(span), Context())


def current_span_id() -> str | None:
    """Return the id (16 hex digits) of the span of what is being done now."""
    context = trace.get_current_span().get_span_context()
    return f"{context.span_id:016x}" if context.is_valid else None


def cause_context(traceparent: str | None) -> Context:
    """Return the context of what caused an event, from the `traceparent` recorded with it; without one, a quiet one."""
    context = _propagator.extract({"traceparent": traceparent or ""}, Context())
    return context if trace.get_current_span(context).get_span_context().is_valid else request_context({})


@contextmanager
def quiet() -> Iterator[None]:
    """Record no spans in the block and the tasks it starts, except below causes of their own: for what only polls."""
    token = attach(request_context({}))
    try:
        yield
    finally:
        detach(token)


def tracer() -> trace.Tracer:
    """Return the tracer of the house's own spans."""
    return trace.get_tracer(instruments.SCOPE)


def _random(size: int) -> int:
    return int.from_bytes(secrets.token_bytes(size), "big") or 1
