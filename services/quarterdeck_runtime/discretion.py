"""What spans may say when they leave: attributes of a fixed list, and of errors their kind, never their text.

Instrumentations note addresses with their queries, people's network addresses, and the messages of exceptions. Any of
them may hold a secret or a person's words, so nothing leaves that is not named here.

Source: OpenTelemetry semantic conventions 1.37 (attribute names), 'Recording exceptions'.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Link, Status
from opentelemetry.util.types import Attributes

SAFE: Final = frozenset(
    {
        "db.collection.name",
        "db.namespace",
        "db.operation.name",
        "db.query.text",  # parameterised everywhere; parameters are not captured
        "db.response.status_code",
        "db.system.name",
        "error.type",
        "http.request.method",
        "http.response.status_code",
        "http.route",
        "network.protocol.version",
        "network.transport",
        "quarterdeck.appends",
        "quarterdeck.event.type",
        "quarterdeck.events",
        "quarterdeck.outcome",
        "quarterdeck.position",
        "quarterdeck.tenant",
        "server.address",
        "server.port",
        "temporalActivityID",
        "temporalRunID",
        "temporalWorkflowID",
        "url.scheme",
    }
)
"""Attributes that may leave. Absent on purpose: url.full, url.path, url.query, client.address, user_agent.original."""


class DiscreetExporter(SpanExporter):
    """Hands spans on to another exporter, less what they should not say."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send what may be said of these spans."""
        return self._exporter.export([discreet(span) for span in spans])

    def shutdown(self) -> None:
        """Stop."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what is waiting."""
        return self._exporter.force_flush(timeout_millis)


def discreet(span: ReadableSpan) -> ReadableSpan:
    """Return a span with its safe attributes, without events (exceptions' texts) and without a status' words."""
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=_safe(span.attributes),
        links=[Link(link.context, _safe(link.attributes)) for link in span.links],
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _safe(attributes: Attributes) -> Attributes:
    return {name: value for name, value in (attributes or {}).items() if name in SAFE}
