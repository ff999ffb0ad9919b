"""The trace that an activity belongs to, as the log records it, and what activities count."""

from __future__ import annotations

from opentelemetry.propagate import inject

from quarterdeck_ledger import instruments


def current_traceparent() -> str | None:
    """Return the W3C `traceparent` of the current span, if there is one."""
    carrier: dict[str, str] = {}
    inject(carrier)
    return carrier.get("traceparent")


def count_callback(tenant: str, outcome: str) -> None:
    """Count one try to deliver a callback: `delivered`, `failed`, `refused` or `abandoned`."""
    if instruments.observing():
        instruments.CALLBACKS.add(1, instruments.labels(tenant, outcome=outcome))
