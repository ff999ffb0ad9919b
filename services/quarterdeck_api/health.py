"""Whether this process lives, and whether it should be sent requests. Public: they say nothing of any tenant.

Ready is fail-closed: a database that does not answer, that could lose what it acknowledges, or that has another schema
than this program knows, means not ready. Reasons are words of ours; what the driver said stays in the logs.
"""

from __future__ import annotations

import asyncio
from typing import Final, Literal

import msgspec
import structlog
from fastapi import APIRouter, Request
from starlette.responses import Response

from quarterdeck_api.openapi import ref
from quarterdeck_api.outages import Outages
from quarterdeck_api.services import Services, ServicesDep
from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_ledger.errors import UnreleasedSchema, UnsafeServer
from quarterdeck_ledger.postgres import PostgresStore, translated
from quarterdeck_ledger.server import check_safe, current_schema, schema_of

TIMEOUT_S: Final = 2.0
UNSAFE: Final = "could lose what it acknowledges"

_log = structlog.get_logger(__name__)


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """The process answers."""

    status: Literal["live"] = "live"


class Failing(msgspec.Struct, frozen=True, kw_only=True):
    """A part that keeps this process from being ready, and why."""

    part: str
    reason: str


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether requests should be sent here."""

    status: Literal["ready", "unready"]
    failing: tuple[Failing, ...] = ()


STRUCTS: Final[tuple[type[msgspec.Struct], ...]] = (Live, Readiness)
router: Final = APIRouter(tags=["health"])


def _answers(struct: type[msgspec.Struct], *statuses: int) -> dict[int | str, dict[str, object]]:
    content = {"application/json": {"schema": ref(struct)}}
    return {
        status: {"description": "Done" if status == 200 else "Not ready", "content": content} for status in statuses
    }


@router.get(
    "/healthz", summary="Whether the process lives", openapi_extra={"security": []}, responses=_answers(Live, 200)
)
async def live() -> Response:
    """Answer, which is all that is asked."""
    return Response(msgspec.json.encode(Live()), media_type="application/json")


@router.get(
    "/readyz",
    summary="Whether requests should be sent here",
    openapi_extra={"security": []},
    responses=_answers(Readiness, 200, 503),
)
async def ready(request: Request, services: ServicesDep) -> Response:
    """Answer 200 if every part that decisions need is there, else 503 and which is not."""
    outages: Outages = request.app.state.outages
    failing = await unready(services, outages)
    if not failing:
        outages.answered()
    body = Readiness(status="unready" if failing else "ready", failing=failing)
    return Response(msgspec.json.encode(body), status_code=503 if failing else 200, media_type="application/json")


async def unready(services: Services, outages: Outages) -> tuple[Failing, ...]:
    """Return every part that keeps this process from being ready; what is new is logged."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await services.ledger.now()
            found = await _schema(services)
    except UnreleasedSchema as error:
        if outages.begins(UnreleasedSchema.code):
            _log.error("not ready", part="schema", error=error.message)
        return (Failing(part="schema", reason="an unreleased build made the database's schema"),)
    except UnsafeServer as error:
        if outages.begins(UnsafeServer.code):
            _log.error("not ready", part="database", error=error.message)
        return (Failing(part="database", reason=UNSAFE),)
    except (QuarterdeckError, TimeoutError) as error:
        if outages.begins("not_ready"):
            _log.warning("not ready", part="database", error=str(error))
        return (Failing(part="database", reason="does not answer"),)
    expected = current_schema()
    if found != expected:
        return (Failing(part="schema", reason=f"the database has schema {found}, this program knows {expected}"),)
    return ()


async def _schema(services: Services) -> str:
    store = services.ledger.store
    if not isinstance(store, PostgresStore):
        return current_schema()
    async with translated():
        await check_safe(store.pool)
        return await schema_of(store.pool) or "none"
