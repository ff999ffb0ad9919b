"""OpenAPI of what FastAPI cannot see: bodies and answers that are msgspec structs, and problems everywhere.

Routes refer to structs by `#/components/schemas/<name>`; `install` puts the schemas there and takes out FastAPI's own
shape of validation errors, which no route of ours answers with.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from quarterdeck_api.problems import MEDIA_TYPE

REF: Final = "#/components/schemas/{name}"
PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "description": "Problem details (RFC 9457). `type` is stable; decide by it, not by the texts.",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "format": "uri", "examples": ["urn:quarterdeck:problem:not_found"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "details": {"type": "object", "description": "What the error knows: ids, limits, positions."},
        "errors": {"type": "array", "items": {"type": "object"}},
        "trace_id": {"type": ["string", "null"]},
    },
}
SECURITY: Final[dict[str, Any]] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key (`qd_…`), or a token of the configured OpenID Connect provider.",
    },
    "session": {"type": "apiKey", "in": "cookie", "name": "qd_session", "description": "A session of a browser."},
}


def ref(struct: type[msgspec.Struct]) -> dict[str, str]:
    """Return the reference to a struct's schema."""
    return {"$ref": REF.format(name=struct.__name__)}


def json_body(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the OpenAPI request body of a struct, for `openapi_extra`."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": ref(struct)}}}}


def responses(
    *statuses: int,
    ok: dict[str, Any] | None = None,
    ok_status: int = 200,
    ok_media: str = "application/json",
    also: dict[str, dict[str, Any]] | None = None,
    refused: dict[str, dict[str, Any]] | None = None,
) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses of a route: what it answers (`also`: in another media type, by its schema), and
    which problems, with those any route has (`refused`: in other media types, too)."""
    schemas = {ok_media: ok or {"type": "string"}} | (also or {})
    found: dict[int | str, dict[str, Any]] = {
        ok_status: {"description": "Done", "content": {kind: {"schema": schema} for kind, schema in schemas.items()}}
    }
    for status in (*statuses, 400, 401, 429, 500, 503, 504):
        found[status] = {
            "description": "A problem",
            "content": {MEDIA_TYPE: {"schema": {"$ref": REF.format(name="Problem")}}}
            | {kind: {"schema": schema} for kind, schema in (refused or {}).items()},
        }
    return found


def install(app: FastAPI, structs: Iterable[type[msgspec.Struct]]) -> None:
    """Let the application describe itself with these structs among its schemas."""
    _, schemas = msgspec.json.schema_components(tuple(structs), ref_template=REF)

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
            components = document.setdefault("components", {})
            components.setdefault("securitySchemes", {}).update(SECURITY)
            own = components.setdefault("schemas", {})
            for name in ("HTTPValidationError", "ValidationError"):
                own.pop(name, None)
            own.update(schemas)
            own["Problem"] = PROBLEM
            document["security"] = [{name: []} for name in SECURITY]
            for path, operations in document.get("paths", {}).items():
                for operation in operations.values():
                    if _is_fastapis(operation):
                        del operation["responses"]["422"]
                    if path.startswith("/.well-known/"):
                        operation["security"] = []
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]


def _is_fastapis(operation: dict[str, Any]) -> bool:
    content = operation.get("responses", {}).get("422", {}).get("content", {})
    return "HTTPValidationError" in str(content)
