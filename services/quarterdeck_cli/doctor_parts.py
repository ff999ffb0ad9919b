"""What `quarterdeck doctor` finds out about the parts that run: each is asked, none is believed to be well unasked."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from quarterdeck_cli import address
from quarterdeck_cli.doctor import Finding
from quarterdeck_embedded import AlreadyRunning

_PATIENCE_S: Final = 5.0
_LOOK_S: Final = 0.25
_POLLED_S: Final = 180
"""Temporal lists who polled within the last five minutes; one poll lasts a minute."""


def _database(settings: Any) -> Finding:
    from quarterdeck_embedded import EmbeddedPostgres

    embedded = settings.database_url is None
    postgres = EmbeddedPostgres(settings.data_dir.expanduser() / "postgres")
    if embedded and not postgres.is_ready():
        return ("postgres (embedded)", False, "not running", _start(settings, "postgres.log"))
    try:
        seen = asyncio.run(_look_at_database(_database_url(settings)))
    except Exception as error:
        return ("postgres", False, str(error), "see the message; external: check QUARTERDECK_DATABASE_URL")
    return ("postgres", True, seen, "")


async def _look_at_database(url: str) -> str:
    from quarterdeck_ledger.postgres import PostgresStore
    from quarterdeck_ledger.server import check_server, wait_for_schema

    await check_server(url)
    await wait_for_schema(url, 0)
    async with PostgresStore.open(url, size=1) as store:
        tenants = await store.tenants()
        sizes = [(await store.head(tenant)).position for tenant in tenants]
    return f"{len(tenants)} tenants, {sum(sizes):,} events"


def _projector(settings: Any) -> Finding:
    try:
        behind = asyncio.run(_behind(_database_url(settings)))
    except Exception as error:
        return ("projector", False, f"cannot tell: {error}", "see postgres above")
    if behind:
        return ("projector", False, "; ".join(behind), f"look into logs/projector.log, or {_start(settings)}")
    return ("projector", True, "read models and dispatcher are where the log is", "")


async def _behind(url: str) -> list[str]:
    """Return what of each tenant has stopped or stands still behind the log; whoever moves has a while to arrive."""
    from quarterdeck_ledger.followers import Followers
    from quarterdeck_ledger.postgres import PostgresStore
    from quarterdeck_projector.dispatcher import NAME

    found: list[str] = []
    async with PostgresStore.open(url, size=1) as store:
        for tenant in await store.tenants():
            progress = await _progress(store, tenant)
            if progress.stopped_at is not None:
                found.append(f"{tenant}: read models stopped before {progress.stopped_at}: {progress.problem}")
                continue
            aim = (await store.head(tenant)).position
            for what, position in (
                ("read models", lambda tenant=tenant: _projected(store, tenant)),
                ("dispatcher", lambda tenant=tenant: Followers(store.pool).position(tenant, NAME)),
            ):
                if (left := await _left(aim, position)) > 0:
                    found.append(f"{tenant}: {what} {left:,} events behind and still")
    return found


async def _left(aim: int, position: Any) -> int:
    reached: int = await position()
    end = asyncio.get_running_loop().time() + _PATIENCE_S
    while reached < aim and asyncio.get_running_loop().time() < end:
        await asyncio.sleep(_LOOK_S)
        now = await position()
        if now > reached:
            return 0
    return aim - reached


async def _projected(store: Any, tenant: str) -> int:
    return int((await _progress(store, tenant)).position)


async def _progress(store: Any, tenant: str) -> Any:
    from quarterdeck_readmodels import schema

    async with store.pool.acquire() as connection, connection.transaction():
        _, progress = await schema.enter(connection, schema.LIVE, tenant)
    return progress


def _temporal(settings: Any) -> Finding:
    embedded = settings.temporal_address is None
    name = "temporal (embedded)" if embedded else "temporal"
    known = address.read(settings)
    if embedded and known is None:
        return (name, False, "not running", _start(settings))
    at = settings.temporal_address or (known.temporal if known else "")
    advice = _start(settings, "temporal.log") if embedded else "check QUARTERDECK_TEMPORAL_ADDRESS"
    try:
        polled = asyncio.run(_pollers(settings.model_copy(update={"temporal_address": at})))
    except Exception as error:
        return (name, False, f"{at}: {str(error) or type(error).__name__}"[:200], advice)
    if not polled:
        return (name, False, f"{at}: no worker asks for work", f"look into logs/worker.log, or {_start(settings)}")
    return (name, True, f"{at}, with {len(polled)} worker{'s' if len(polled) > 1 else ''}", "")


async def _pollers(settings: Any) -> set[str]:
    from datetime import UTC, datetime, timedelta

    from temporalio.api.enums.v1 import TaskQueueType
    from temporalio.api.taskqueue.v1 import TaskQueue
    from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest

    from quarterdeck_cli.roles import temporal_client

    client = await temporal_client(settings, 0)
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=settings.temporal_task_queue),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    )
    answer = await client.workflow_service.describe_task_queue(request, timeout=timedelta(seconds=_PATIENCE_S))
    since = datetime.now(UTC) - timedelta(seconds=_POLLED_S)
    return {poller.identity for poller in answer.pollers if poller.last_access_time.ToDatetime(tzinfo=UTC) >= since}


def _api(settings: Any) -> Finding:
    import httpx

    url = address.base_url(settings)
    try:
        answer = httpx.get(f"{url}/readyz", timeout=3, trust_env=False)
    except httpx.HTTPError as error:
        return ("api", False, f"{url}: {type(error).__name__}", _start(settings, "logs/api.log"))
    return ("api", answer.status_code == 200, f"{url}: {answer.text[:200]}", "look into logs/api.log")


def _telemetry(settings: Any) -> Finding:
    if settings.otlp_endpoint is None:
        return ("telemetry", True, "off: no QUARTERDECK_OTLP_ENDPOINT", "")
    import httpx

    from quarterdeck_runtime.telemetry import parse_headers

    base = settings.otlp_endpoint.rstrip("/")
    headers = parse_headers(settings.otlp_headers.get_secret_value() if settings.otlp_headers else "")
    try:
        # An export of nothing: whoever speaks OTLP accepts it.
        answer = httpx.post(
            f"{base}/v1/traces",
            content=b"",
            headers={**headers, "content-type": "application/x-protobuf"},
            timeout=3,
            trust_env=False,
        )
    except httpx.HTTPError as error:
        return ("telemetry", False, f"{base}: {type(error).__name__}", "start the collector, or unset the endpoint")
    seen = f"{base} answers {answer.status_code}"
    advice = "check QUARTERDECK_OTLP_ENDPOINT and _HEADERS: this does not take OTLP over HTTP"
    return ("telemetry", answer.status_code == 200, seen, advice)


PARTS: Final = (_database, _projector, _temporal, _api, _telemetry)


def _database_url(settings: Any) -> str:
    from quarterdeck_embedded import EmbeddedPostgres

    if settings.database_url is not None:
        return str(settings.database_url.get_secret_value())
    return EmbeddedPostgres(settings.data_dir.expanduser() / "postgres").address("quarterdeck_app")


def _start(settings: Any, log: str | None = None) -> str:
    """Return the step that starts an installation, or that finds out why it does not keep a part running."""
    from quarterdeck_cli.installation import alone

    data_dir = settings.data_dir.expanduser()
    try:
        with alone(data_dir):
            begun = log is not None and (data_dir / log).exists()
            return f"quarterdeck up   (if it does not start: {data_dir / log})" if begun else "quarterdeck up"
    except FileNotFoundError:
        return "quarterdeck up"
    except AlreadyRunning:
        again = "`quarterdeck up` runs and starts it again: look once more"
        return f"{again}; if that does not help, see {data_dir / log}" if log else again
