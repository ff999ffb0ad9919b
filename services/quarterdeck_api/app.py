"""The application: every room's router under one roof, with the same errors, limits and headers for all."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Final

import msgspec
from fastapi import FastAPI

from quarterdeck_api import commands, health, log, openapi, problems
from quarterdeck_api.auth import sign_in
from quarterdeck_api.commands.router import STRUCTS as COMMAND_STRUCTS
from quarterdeck_api.limits import BodyLimit, Deadline, LastResort, RequestTrace, SecurityHeaders
from quarterdeck_api.log.router import STRUCTS as LOG_STRUCTS
from quarterdeck_api.services import Services

STRUCTS: Final[tuple[type[msgspec.Struct], ...]] = (
    *COMMAND_STRUCTS,
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
    problems.install(app)
    openapi.install(app, STRUCTS)
    for router in (health.router, sign_in.router, commands.router, log.router):
        app.include_router(router)
    for name in ("authzen", "arap", "grants", "approvals", "graphql_mount"):
        _include(app, name)
    # The last added is the outermost.
    app.add_middleware(BodyLimit, max_bytes=services.settings.max_body_bytes)
    app.add_middleware(
        Deadline, timeout_s=services.settings.request_timeout_s, long_poll_s=services.settings.long_poll_max_s
    )
    app.add_middleware(LastResort)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(RequestTrace)
    return app


def _include(app: FastAPI, name: str) -> None:
    if importlib.util.find_spec(f"quarterdeck_api.{name}") is None:
        return
    module = importlib.import_module(f"quarterdeck_api.{name}")
    if hasattr(module, "router"):
        app.include_router(module.router)
    elif hasattr(module, "mount"):
        module.mount(app)
