"""The spans and counts of what follows the log: each in the trace of whatever caused the events it acts on.

An event remembers the `traceparent` under which it was recorded. A run that one trace caused is a span of that trace.
A run that several caused is a span of its own, linked to all, and each of the first few traces gets a span that says
when its events became visible. Runs of many events (a rebuild, a backlog) are not looked into.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec
from opentelemetry import trace
from opentelemetry.context import Context

from quarterdeck_domain.events import RecordedEvent
from quarterdeck_ledger import instruments
from quarterdeck_readmodels.folding import Run
from quarterdeck_runtime.telemetry import cause_context, tracer

FEW: Final = 64
"""Runs of at most so many events are looked into for what caused them."""


class _Cause(msgspec.Struct, frozen=True):
    traceparent: str | None = None


class _Caused(msgspec.Struct, frozen=True):
    cause: _Cause


_decode: Final = msgspec.json.Decoder(_Caused).decode


@contextmanager
def acting(event: RecordedEvent) -> Iterator[None]:
    """Act on an event in the trace that caused it, so that the workflows it starts or signals are in it too."""
    if not instruments.observing():
        yield
        return
    attributes = {instruments.TENANT: event.tenant, "quarterdeck.event.type": event.type}
    with tracer().start_as_current_span(
        "dispatch", cause_context(event.cause.traceparent), attributes=attributes, record_exception=False
    ) as span:
        span.set_attribute("quarterdeck.position", event.position)
        yield
    instruments.DISPATCHER_EVENTS.add(1, instruments.labels(event.tenant, outcome="handled"))


def parked(event: RecordedEvent) -> None:
    """Count an event that was set aside."""
    if instruments.observing():
        instruments.DISPATCHER_EVENTS.add(1, instruments.labels(event.tenant, outcome="parked"))


def causes(entries: Sequence[tuple[int, bytes]]) -> tuple[str, ...]:
    """Return the distinct `traceparent`s that a few entries were recorded under; none of many, or if nobody looks."""
    if not instruments.observing() or len(entries) > FEW:
        return ()
    found = (_decode(entry).cause.traceparent for _, entry in entries)
    return tuple(dict.fromkeys(traceparent for traceparent in found if traceparent is not None))


@contextmanager
def projecting(tenant: str, run: Run) -> Iterator[None]:
    """Measure the writing of a run."""
    if not instruments.observing():
        yield
        return
    began, began_ns = time.perf_counter(), time.time_ns()
    contexts = _by_trace(run.causes)
    with tracer().start_as_current_span(
        "project",
        contexts[0] if len(contexts) == 1 else (Context() if contexts else None),
        attributes=_attributes(tenant, run),
        links=[trace.Link(_place(context)) for context in contexts] if len(contexts) > 1 else (),
        start_time=began_ns,
        record_exception=False,
    ) as span:
        yield
    for context in contexts if len(contexts) > 1 else ():
        link = trace.Link(span.get_span_context())
        own = tracer().start_span(
            "project", context, attributes=_attributes(tenant, run), links=[link], start_time=began_ns
        )
        own.end()
    instruments.PROJECTOR_RUN.record(time.perf_counter() - began, instruments.labels(tenant))
    instruments.PROJECTOR_EVENTS.add(len(run), instruments.labels(tenant))


def _by_trace(traceparents: Sequence[str]) -> list[Context]:
    """Return one context for each trace that somebody records."""
    found: dict[int, Context] = {}
    for traceparent in traceparents:
        context = cause_context(traceparent)
        place = _place(context)
        if place.trace_flags.sampled:
            found.setdefault(place.trace_id, context)
    return list(found.values())


def _place(context: Context) -> trace.SpanContext:
    return trace.get_current_span(context).get_span_context()


def _attributes(tenant: str, run: Run) -> dict[str, str | int]:
    return {instruments.TENANT: tenant, "quarterdeck.events": len(run), "quarterdeck.position": run.last}
