"""The application: every room's router under one roof, with the same errors, limits and headers for all."""

from __future__ import annotations

from typing import Final

import msgspec
from fastapi import FastAPI

from quarterdeck_api import (
    approvals,
    arap,
    authzen,
    commands,
    estate,
    grants,
    graphql_mount,
    health,
    log,
    openapi,
    problems,
)
from quarterdeck_api.auth import sign_in
from quarterdeck_api.commands.router import STRUCTS as COMMAND_STRUCTS
from quarterdeck_api.estate import import_door, traces
from quarterdeck_api.estate.bulk import Bulk
from quarterdeck_api.estate.import_door import STRUCTS as IMPORT_STRUCTS
from quarterdeck_api.estate.router import MAX_FILE_BYTES, PATHS
from quarterdeck_api.estate.router import STRUCTS as ESTATE_STRUCTS
from quarterdeck_api.limits import BodyLimit, Deadline, LastResort, RequestTrace, SecurityHeaders
from quarterdeck_api.log.router import STRUCTS as LOG_STRUCTS
from quarterdeck_api.outages import Outages
from quarterdeck_api.query import KNOWN_QUERY
from quarterdeck_api.services import Services

STRUCTS: Final[tuple[type[msgspec.Struct], ...]] = (
    *COMMAND_STRUCTS,
    *ESTATE_STRUCTS,
    *IMPORT_STRUCTS,
    *LOG_STRUCTS,
    *sign_in.STRUCTS,
    *health.STRUCTS,
)


def create_app(services: Services) -> FastAPI:
    """Return the application over running services. Every route is authorised by itself, as it was matched."""
    app = FastAPI(
        title="Quarterdeck",
        summary="The control plane for AI estates",
        version="0.1.0",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
        separate_input_output_schemas=False,
    )
    app.state.services = services
    app.state.outages = Outages()
    app.state.bulk = Bulk()
    problems.install(app, app.state.outages)
    openapi.install(app, STRUCTS)
    for room in (health, sign_in, commands, log, authzen, arap, grants, approvals, estate, import_door, traces):
        # Others' protocols say themselves what is ignored.
        own = room in (commands, log, grants, approvals, estate, import_door)
        app.include_router(room.router, dependencies=[KNOWN_QUERY] if own else [])
    graphql_mount.mount(app)
    # The last added is the outermost.
    larger = dict.fromkeys(PATHS, MAX_FILE_BYTES) | {traces.PATH: traces.MAX_BODY_BYTES}
    app.add_middleware(
        BodyLimit,
        max_bytes=services.settings.max_body_bytes,
        larger=larger,
        told_by=frozenset({traces.PATH}),
    )
    app.add_middleware(
        Deadline, timeout_s=services.settings.request_timeout_s, long_poll_s=services.settings.long_poll_max_s
    )
    app.add_middleware(LastResort)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(RequestTrace, access_log=services.settings.access_log)
    return app
