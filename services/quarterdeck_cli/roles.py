"""What each role runs: the wiring of the worker and of the projector. (The API wires itself.)"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

import structlog

from quarterdeck_ledger import faults, instruments
from quarterdeck_ledger.errors import UnsafeServer
from quarterdeck_ledger.followers import Followers
from quarterdeck_ledger.keys import FileKeyStore
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.postgres import PostgresStore
from quarterdeck_ledger.server import wait_for_schema
from quarterdeck_runtime import logs, telemetry
from quarterdeck_runtime.probes import Check, NotReady, Probes
from quarterdeck_runtime.settings import Settings

if TYPE_CHECKING:
    from temporalio.client import Client, TLSConfig
    from temporalio.runtime import Runtime

_PATIENCE_S: Final = 60.0
_RETRY_S: Final = 0.2
log = structlog.get_logger(__name__)

# Each role imports its own world inside its function: a worker has no use for FastAPI, an API none for Temporal.


async def api(settings: Settings) -> None:
    """Serve HTTP until told to stop."""
    from quarterdeck_api import bootstrap

    _allow_faults(settings)
    await wait_for_schema(_database_url(settings))
    await bootstrap.serve(settings)


async def worker(settings: Settings) -> None:
    """Run workflows and activities until cancelled."""
    from quarterdeck_connectors.destinations import Allowed
    from quarterdeck_importing.credentials import Credentials
    from quarterdeck_importing.fetching import Fetching
    from quarterdeck_importing.importing import Importing
    from quarterdeck_ledger.signing import FileSigningKeys
    from quarterdeck_readmodels.reader import Reader
    from quarterdeck_worker.worker import make_worker, running
    from quarterdeck_workflows.approval_gate.activities import ApprovalGateActivities
    from quarterdeck_workflows.callback_delivery.activities import CallbackDeliveryActivities
    from quarterdeck_workflows.callback_delivery.destination import Destinations
    from quarterdeck_workflows.import_source.activities import ImportSourceActivities

    async with _running(settings, "worker") as (store, probes):
        ledger = EventLedger(store, FileKeyStore(settings.keys / "subjects"))
        signing = FileSigningKeys(settings.keys / "signing")
        temporal = await temporal_client(settings, runtime=_temporal_runtime(settings, "worker"))
        delivery = CallbackDeliveryActivities(ledger, signing, Destinations(settings.webhook_allow), settings.base_url)
        fetching = Fetching(Allowed(settings.import_allow), Credentials.of(settings.import_secrets))
        made = make_worker(
            temporal,
            ApprovalGateActivities(ledger),
            delivery,
            ImportSourceActivities(Importing(ledger, Reader(store.pool), fetching)),
            task_queue=settings.temporal_task_queue,
        )
        probes.watch("temporal", _answers(temporal))
        async with running(made, temporal):
            probes.started()
            await asyncio.Event().wait()


async def projector(settings: Settings) -> None:
    """Project, erase and dispatch until cancelled. All but the last go on when Temporal is away."""
    from quarterdeck_projector.eraser import Eraser
    from quarterdeck_projector.levels import Levels
    from quarterdeck_projector.projector import Projector

    async with _running(settings, "projector") as (store, probes):
        ledger = EventLedger(store, FileKeyStore(settings.keys / "subjects"))
        async with asyncio.TaskGroup() as group:
            group.create_task(Projector(store, store.pool).run(), name="projector")
            group.create_task(Eraser(ledger, Followers(store.pool)).run(), name="eraser")
            group.create_task(_dispatch(settings, ledger, store, probes), name="dispatcher")
            probes.started()
            if instruments.observing():
                levels = Levels(store, Followers(store.pool))
                group.create_task(levels.run(settings.metrics_interval_s), name="levels")


ROLES: Final[dict[str, Callable[[Settings], Coroutine[Any, Any, None]]]] = {
    "api": api,
    "worker": worker,
    "projector": projector,
}


async def temporal_client(
    settings: Settings, patience_s: float = _PATIENCE_S, *, runtime: Runtime | None = None
) -> Client:
    """Connect to Temporal, waiting a while for it to come up.

    Raises:
        RuntimeError: no address is set, or nobody answers.
    """
    from quarterdeck_workflows.client import connect

    if settings.temporal_address is None:
        raise RuntimeError("temporal_address is not set: workflows need a Temporal server")
    key = settings.temporal_api_key.get_secret_value() if settings.temporal_api_key else None
    end = asyncio.get_running_loop().time() + patience_s
    while True:
        try:
            return await connect(
                settings.temporal_address,
                namespace=settings.temporal_namespace,
                api_key=key,
                tls=_tls(settings),
                runtime=runtime,
            )
        except RuntimeError:
            if asyncio.get_running_loop().time() > end:
                raise
            await asyncio.sleep(_RETRY_S)


async def _dispatch(settings: Settings, ledger: EventLedger, store: PostgresStore, probes: Probes) -> None:
    from quarterdeck_projector.dispatcher import Dispatcher

    runtime = _temporal_runtime(settings, "projector")
    probes.watch("temporal", _not_connected)
    while True:
        try:
            temporal = await temporal_client(settings, runtime=runtime)
        except RuntimeError as error:
            log.warning("dispatch.no_temporal", error=str(error))
            continue
        probes.watch("temporal", _answers(temporal))
        await Dispatcher(ledger, Followers(store.pool), temporal, task_queue=settings.temporal_task_queue).run()


@contextlib.asynccontextmanager
async def _running(settings: Settings, role: str) -> AsyncIterator[tuple[PostgresStore, Probes]]:
    url = _database_url(settings)
    _allow_faults(settings)
    logs.configure(settings, role)
    traces = telemetry.start(settings, role)
    try:
        # What these roles do of themselves is poll; spans begin at what caused the events that they act on.
        probes = Probes()
        probes.watch("database", _safe(url))
        with telemetry.quiet():
            async with probes.serving(settings.host, settings.probe_port):
                await wait_for_schema(url)
                async with PostgresStore.open(url, size=settings.database_pool_size) as store:
                    log.info("serving", role=role)
                    yield store, probes
    finally:
        if traces is not None:
            traces.close()


def _safe(url: str) -> Check:
    """Return a check that the database answers, has our schema, and keeps what it acknowledges."""

    async def check() -> None:
        try:
            await wait_for_schema(url, 0)
        except UnsafeServer as error:
            log.warning("not ready", part="database", error=error.message)
            raise NotReady("could lose what it acknowledges") from None

    return check


def _temporal_runtime(settings: Settings, role: str) -> Runtime | None:
    """Return what sends the Temporal SDK's own metrics to the collector, where there is one."""
    from quarterdeck_workflows.client import measured_runtime

    if settings.otlp_endpoint is None:
        return None
    headers = telemetry.parse_headers(settings.otlp_headers.get_secret_value() if settings.otlp_headers else "")
    every_s = settings.metrics_interval_s
    return measured_runtime(settings.otlp_endpoint, headers, every_s=every_s, service=f"quarterdeck-{role}")


def _answers(temporal: Client) -> Check:
    """Return a check that Temporal's frontend answers."""

    async def check() -> None:
        if not await temporal.service_client.check_health():
            raise NotReady("does not serve")

    return check


async def _not_connected() -> None:
    raise NotReady("not connected yet")


def _allow_faults(settings: Settings) -> None:
    """Install the fault schedule that a test gave this process. There is none unless the environment says so twice."""
    faults.from_environment(os.environ, _database_url(settings), settings.temporal_address)


def _database_url(settings: Settings) -> str:
    if settings.database_url is None:
        raise RuntimeError("database_url is not set: every role needs PostgreSQL 18 or newer")
    return settings.database_url.get_secret_value()


def _tls(settings: Settings) -> TLSConfig | None:
    from temporalio.client import TLSConfig

    if settings.temporal_tls_cert is None and settings.temporal_tls_ca is None:
        return None
    return TLSConfig(
        server_root_ca_cert=settings.temporal_tls_ca.read_bytes() if settings.temporal_tls_ca else None,
        client_cert=settings.temporal_tls_cert.read_bytes() if settings.temporal_tls_cert else None,
        client_private_key=settings.temporal_tls_key.read_bytes() if settings.temporal_tls_key else None,
    )
