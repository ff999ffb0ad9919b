"""The trace that an activity belongs to, as the log records it."""

from __future__ import annotations

from opentelemetry.propagate import inject


def current_traceparent() -> str | None:
    """Return the W3C `traceparent` of the current span, if there is one."""
    carrier: dict[str, str] = {}
    inject(carrier)
    return carrier.get("traceparent")
