"""Traces as the real OpenTelemetry SDK makes them: a story told in spans, in the order in which they end, and both
encodings of it."""

from __future__ import annotations

import contextlib
import json
from base64 import b64decode
from collections.abc import Iterator, Sequence
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator


class Teller:
    """One service that traces what it does."""

    def __init__(self, service: str | None, exporter: SpanExporter | None = None, **resource: str) -> None:
        said = {name.replace("__", "."): value for name, value in resource.items()}
        named = {} if service is None else {"service.name": service}
        self.provider = TracerProvider(resource=Resource.create(named | said), shutdown_on_exit=False)
        self.exporter = exporter or InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("tests")

    @contextlib.contextmanager
    def span(
        self, name: str, kind: SpanKind = SpanKind.INTERNAL, /, *, under: dict[str, str] | None = None, **said: Any
    ) -> Iterator[dict[str, str]]:
        """Trace a block; `__` in a name stands for a dot. Yields the headers that continue the trace elsewhere."""
        attributes = {key.replace("__", "."): value for key, value in said.items()}
        context = None if under is None else TraceContextTextMapPropagator().extract(under)
        with self.tracer.start_as_current_span(name, context, kind, attributes) as span:
            headers: dict[str, str] = {}
            TraceContextTextMapPropagator().inject(headers, set_span_in_context(span))
            yield headers

    def spans(self) -> tuple[ReadableSpan, ...]:
        """Return everything that has ended, in that order."""
        assert isinstance(self.exporter, InMemorySpanExporter)
        return self.exporter.get_finished_spans()


def protobuf(spans: Sequence[ReadableSpan]) -> bytes:
    """Return spans as the SDK's exporter encodes them."""
    return encode_spans(spans).SerializeToString()


def as_json(spans: Sequence[ReadableSpan]) -> bytes:
    """Return spans in the JSON encoding of OTLP: the protobuf mapping, but with numbers for enums and hex for ids."""
    document = MessageToDict(encode_spans(spans), use_integers_for_enums=True)
    for group in document.get("resourceSpans", ()):
        for scope in group["scopeSpans"]:
            for span in scope["spans"]:
                for link in (span, *span.get("links", ())):
                    for name in ("traceId", "spanId", "parentSpanId"):
                        if name in link:
                            link[name] = b64decode(link[name]).hex()
    return json.dumps(document).encode()


def support_story(agent: Teller | None = None, server: Teller | None = None) -> tuple[Teller, Teller]:
    """Tell what a support bot does in the conventions of OpenTelemetry: it asks a model, calls a tool of an MCP server
    that reads a dataset, hands over to another agent, and that one retrieves documents."""
    agent = agent or Teller("support-portal", deployment__environment__name="prod")
    server = server or Teller("crm")
    with agent.span(
        "invoke_agent support-bot", gen_ai__operation__name="invoke_agent", gen_ai__agent__name="support-bot"
    ):
        with agent.span(
            "chat gpt-4o",
            SpanKind.CLIENT,
            gen_ai__operation__name="chat",
            gen_ai__provider__name="openai",
            gen_ai__request__model="gpt-4o",
            gen_ai__response__model="gpt-4o-2024-08-06",
            gen_ai__prompt__name="support-greeting",
            gen_ai__input__messages='[{"role":"user","content":"my secret"}]',
        ):
            pass
        with (
            agent.span("execute_tool refund", gen_ai__operation__name="execute_tool", gen_ai__tool__name="refund"),
            agent.span("some http client", SpanKind.CLIENT),
        ):
            pass
        with (
            agent.span("execute_tool lookup", gen_ai__operation__name="execute_tool", gen_ai__tool__name="lookup"),
            agent.span(
                "tools/call lookup",
                SpanKind.CLIENT,
                mcp__method__name="tools/call",
                gen_ai__operation__name="execute_tool",
                gen_ai__tool__name="lookup",
                server__address="crm.internal",
                server__port=8443,
                network__transport="tcp",
                mcp__protocol__version="2025-11-25",
            ) as headers,
            server.span(
                "tools/call lookup",
                SpanKind.SERVER,
                under=headers,
                mcp__method__name="tools/call",
                gen_ai__operation__name="execute_tool",
                gen_ai__tool__name="lookup",
            ),
            server.span("retrieval orders", gen_ai__operation__name="retrieval", gen_ai__data_source__id="orders"),
        ):
            pass
        with (
            agent.span("invoke_agent billing", gen_ai__operation__name="invoke_agent", gen_ai__agent__name="billing"),
            agent.span("step"),
            agent.span(
                "chat", gen_ai__operation__name="chat", gen_ai__system="anthropic", gen_ai__request__model="claude"
            ),
        ):
            pass
    return agent, server


SUPPORT_RELATIONS = {
    "workflow:support-portal calls agent:support-bot",
    "agent:support-bot uses model:gpt-4o",
    "agent:support-bot uses model_version:gpt-4o-2024-08-06",
    "agent:support-bot uses prompt:support-greeting",
    "model_version:gpt-4o-2024-08-06 version_of model:gpt-4o",
    "model:gpt-4o deployed_in provider:openai",
    "agent:support-bot calls tool:refund",
    "agent:support-bot calls tool:crm/lookup",
    "agent:support-bot calls mcp_server:crm",
    "mcp_server:crm exposes tool:crm/lookup",
    "tool:crm/lookup reads dataset:orders",
    "agent:support-bot chains_to agent:billing",
    "agent:billing uses model:claude",
    "model:claude deployed_in provider:anthropic",
}
"""What the support story shows."""
