"""The wiring of the API: from settings to running services, and from those to a server. Nothing is wired elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final

import httpx
import structlog
import uvicorn

from quarterdeck_api.app import create_app
from quarterdeck_api.auth.authenticator import Authenticator
from quarterdeck_api.auth.oidc import OidcProvider
from quarterdeck_api.services import Services
from quarterdeck_connectors.destinations import Allowed
from quarterdeck_importing.credentials import Credentials
from quarterdeck_importing.fetching import Fetching
from quarterdeck_importing.importing import Importing
from quarterdeck_ledger.checkpoints import Checkpointer, PostgresCheckpoints
from quarterdeck_ledger.keys import FileKeyStore
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.postgres import PostgresStore
from quarterdeck_ledger.signing import FileSigningKeys
from quarterdeck_policy.decision_point import DecisionPoint
from quarterdeck_readmodels.reader import Reader
from quarterdeck_runtime import logs, memory, telemetry
from quarterdeck_runtime.settings import Settings

SHUTDOWN_S: Final = 10

_log = structlog.get_logger(__name__)


class NotConfigured(ValueError):
    """A setting without which the API cannot run is missing; the message names it."""


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Services]:
    """Open everything the API stands on, and close it at the end.

    Raises:
        NotConfigured: `database_url` is not set.
        Unavailable, UnsafeServer: as `PostgresStore.open`.
    """
    if settings.database_url is None:
        raise NotConfigured("database_url is not set: the API needs PostgreSQL 18 or newer")
    url = settings.database_url.get_secret_value()
    async with contextlib.AsyncExitStack() as stack:
        store = await stack.enter_async_context(PostgresStore.open(url, size=settings.database_pool_size))
        services = await wire(settings, store, stack)
        await stack.enter_async_context(_signing(services))
        yield services


async def wire(settings: Settings, store: PostgresStore, stack: contextlib.AsyncExitStack) -> Services:
    """Return the services over an open store; what they open is closed with the stack."""
    ledger = EventLedger(store, FileKeyStore(settings.keys / "subjects"))
    signing = FileSigningKeys(settings.keys / "signing")
    checkpointer = Checkpointer(
        store, signing, PostgresCheckpoints(store.pool), origin=settings.origin, held=settings.keys / "checkpoints"
    )
    oidc = None
    if settings.oidc_issuer is not None:
        http = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
        oidc = OidcProvider(settings, http)
    reader = Reader(store.pool)
    fetching = Fetching(Allowed(settings.import_allow), Credentials.of(settings.import_secrets))
    return Services(
        settings=settings,
        ledger=ledger,
        signing=signing,
        decisions=DecisionPoint(ledger),
        reader=reader,
        authenticator=Authenticator(ledger, settings, oidc=oidc),
        checkpointer=checkpointer,
        importing=Importing(ledger, reader, fetching),
    )


@contextlib.asynccontextmanager
async def _signing(services: Services) -> AsyncIterator[None]:
    """Sign checkpoints in the background while the block runs."""
    settings = services.settings
    every, idle = timedelta(seconds=settings.checkpoint_interval_s), timedelta(seconds=settings.checkpoint_idle_s)
    with telemetry.quiet():
        task = asyncio.create_task(services.checkpointer.run(every=every, idle=idle), name="checkpoints")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def serve(settings: Settings) -> None:
    """Run the API until it is told to stop (SIGTERM, SIGINT)."""
    logs.configure(settings, "api")
    traces = telemetry.start(settings, "api")
    try:
        async with contextlib.AsyncExitStack() as stack:
            with telemetry.quiet():
                services = await stack.enter_async_context(running(settings))
            app = create_app(services)
            telemetry.instrument_app(app, traces)
            memory.settle()
            _log.info("serving", address=settings.base_url, listening=f"{settings.host}:{settings.port}")
            await uvicorn.Server(server_config(app, settings)).serve()
    finally:
        if traces is not None:
            traces.close()


def server_config(app: object, settings: Settings) -> uvicorn.Config:
    """Return how the server runs: our logs, no word about itself, and proxies believed only where we named them."""
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        lifespan="off",
        h11_max_incomplete_event_size=32_768,
        ws_max_size=settings.max_body_bytes,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
