"""The way to Temporal: one place that knows how we connect and what we intercept."""

from __future__ import annotations

from typing import Final

from temporalio.client import Client, TLSConfig
from temporalio.contrib.opentelemetry import TracingInterceptor

TASK_QUEUE: Final = "quarterdeck"


async def connect(
    address: str, *, namespace: str = "default", api_key: str | None = None, tls: TLSConfig | None = None
) -> Client:
    """Connect to Temporal, with our traces carried along.

    Raises:
        RuntimeError: nobody answers.
    """
    return await Client.connect(
        address,
        namespace=namespace,
        api_key=api_key,
        tls=tls if tls is not None else bool(api_key),
        interceptors=[TracingInterceptor()],
    )
