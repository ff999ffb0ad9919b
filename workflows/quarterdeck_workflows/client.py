"""The way to Temporal: one place that knows how we connect and what we intercept."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from temporalio.client import Client, TLSConfig
from temporalio.contrib.opentelemetry import TracingInterceptor
from temporalio.runtime import OpenTelemetryConfig, Runtime, TelemetryConfig

TASK_QUEUE: Final = "quarterdeck"


async def connect(
    address: str,
    *,
    namespace: str = "default",
    api_key: str | None = None,
    tls: TLSConfig | None = None,
    runtime: Runtime | None = None,
) -> Client:
    """Connect to Temporal, with our traces carried along. `runtime` sends the SDK's own metrics somewhere.

    Raises:
        RuntimeError: nobody answers.
    """
    return await Client.connect(
        address,
        namespace=namespace,
        api_key=api_key,
        tls=tls if tls is not None else bool(api_key),
        interceptors=[TracingInterceptor()],
        runtime=runtime,
    )


def measured_runtime(collector: str, headers: Mapping[str, str], *, every_s: float, service: str) -> Runtime:
    """Return a runtime whose metrics (`temporal_…`) go to a collector over OTLP. One a process: it has threads."""
    metrics = OpenTelemetryConfig(
        url=f"{collector.rstrip('/')}/v1/metrics",
        headers=dict(headers),
        metric_periodicity=timedelta(seconds=every_s),
        durations_as_seconds=True,
        http=True,
    )
    return Runtime(telemetry=TelemetryConfig(metrics=metrics, global_tags={"service.name": service}))
