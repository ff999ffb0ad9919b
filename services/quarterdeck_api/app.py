"""The application: every room's router under one roof, with the same errors, limits and headers for all."""

from __future__ import annotations

import importlib.util

from fastapi import FastAPI

from quarterdeck_api import problems
from quarterdeck_api.services import Services


def create_app(services: Services) -> FastAPI:
    """Return the application over running services."""
    app = FastAPI(title="Quarterdeck", docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    app.state.services = services
    problems.install(app)
    for name in ("authzen", "arap", "grants"):
        if importlib.util.find_spec(f"quarterdeck_api.{name}") is not None:
            app.include_router(importlib.import_module(f"quarterdeck_api.{name}").router)
    return app
