"""Metadata of the policy decision point, and the keys that verify what it signs. Public, and the same for everybody.

The tenant of `default_tenant` is the decision point at the root; any other tenant's is at `/<tenant>`. Nothing here
tells whether a tenant exists: the metadata of any name is made from the name, and a name without keys has an empty
key set, as a tenant has that never signed anything.

Source: AuthZEN Authorization API 1.0, 'Policy Decision Point Metadata'; ARAP draft, 'Discovery'; AuthZEN obligations
profile, 'PDP Metadata Extension'; RFC 7517.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import JSONResponse

from quarterdeck_api.authzen import tokens
from quarterdeck_api.authzen.schemas import JWK_SET, METADATA
from quarterdeck_api.authzen.wire import REQUESTS_PATH, EchoRoute, issuer
from quarterdeck_api.openapi import responses
from quarterdeck_api.services import Services, ServicesDep
from quarterdeck_domain.errors import NotFound
from quarterdeck_domain.ids import check_tenant
from quarterdeck_policy.annotations import REQUIRED_PROPERTIES

CAPABILITY: Final = "urn:openid:authzen:capability:access-request"
JWKS_MEDIA: Final = "application/jwk-set+json"
CACHED: Final = {"Cache-Control": "public, max-age=300"}

router: Final = APIRouter(tags=["discovery"], route_class=EchoRoute)


@router.get(
    "/.well-known/authzen-configuration", summary="Metadata of the decision point", responses=responses(ok=METADATA)
)
async def metadata(services: ServicesDep) -> JSONResponse:
    """Return the metadata of the default tenant's decision point."""
    return JSONResponse(_metadata(services, services.settings.default_tenant), headers=CACHED)


@router.get(
    "/.well-known/authzen-configuration/{tenant}",
    summary="Metadata of a tenant's decision point",
    responses=responses(404, ok=METADATA),
)
async def tenant_metadata(tenant: str, services: ServicesDep) -> JSONResponse:
    """Return the metadata of the decision point of another tenant than the default one."""
    if check_tenant(tenant) == services.settings.default_tenant:
        raise NotFound("this tenant's decision point is at the root", expected="/.well-known/authzen-configuration")
    return JSONResponse(_metadata(services, tenant), headers=CACHED)


@router.get(
    "/.well-known/jwks.json",
    summary="Keys that verify what we sign",
    responses=responses(ok=JWK_SET, ok_media=JWKS_MEDIA),
)
async def keys(services: ServicesDep) -> JSONResponse:
    """Return the verification keys of the default tenant: of binding tokens, approval states, grants, callbacks."""
    return await _keys(services, services.settings.default_tenant)


@router.get(
    "/.well-known/jwks/{tenant}.json",
    summary="Keys that verify what we sign for a tenant",
    responses=responses(ok=JWK_SET, ok_media=JWKS_MEDIA),
)
async def tenant_keys(tenant: str, services: ServicesDep) -> JSONResponse:
    """Return the verification keys of a tenant: of binding tokens, approval states, grants and callbacks."""
    return await _keys(services, check_tenant(tenant))


def _metadata(services: Services, tenant: str) -> dict[str, Any]:
    base = services.settings.base_url
    default = tenant == services.settings.default_tenant
    return {
        "policy_decision_point": issuer(services.settings, tenant),
        "access_evaluation_endpoint": f"{base}/access/v1/evaluation",
        "access_evaluations_endpoint": f"{base}/access/v1/evaluations",
        "access_request_endpoint": base + REQUESTS_PATH,
        "jwks_uri": f"{base}/.well-known/jwks.json" if default else f"{base}/.well-known/jwks/{tenant}.json",
        "capabilities": [CAPABILITY],
        "supported_obligations": sorted(REQUIRED_PROPERTIES),
    }


async def _keys(services: Services, tenant: str) -> JSONResponse:
    now = await services.ledger.now()
    found = await tokens.jwks(services.ledger, services.signing, tenant, now)
    return JSONResponse(found, media_type=JWKS_MEDIA, headers=CACHED)
