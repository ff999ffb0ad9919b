"""People's way in and out: the one-time link, the session it becomes, and `me`.

Opening a link changes nothing: mail scanners and previews open links too. The page has one button, and the request it
sends exchanges the link, once, for a session: in a cookie for a browser, in the answer for the command line.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import secrets
from datetime import datetime
from typing import Annotated, Final, Literal
from urllib.parse import parse_qs

import msgspec
from fastapi import APIRouter, Path, Request
from starlette.responses import HTMLResponse, Response

from quarterdeck_api.auth.caller import CallerDep
from quarterdeck_api.auth.cookies import check_origin_of_form, clear_session, set_session
from quarterdeck_api.commands.execute import SECRET_BYTES, parse_body
from quarterdeck_api.commands.idempotency import fresh_id
from quarterdeck_api.openapi import json_body, ref, responses
from quarterdeck_api.problems import UnsupportedMediaType, status_of
from quarterdeck_api.query import KNOWN_QUERY
from quarterdeck_api.services import Services, ServicesDep
from quarterdeck_domain.access.credentials import credential_text, hash_secret, present
from quarterdeck_domain.access.events import ApiKeyIssued, SignInLinkIssued
from quarterdeck_domain.access.slices import RevokeApiKey, UseSignInLink
from quarterdeck_domain.errors import InvalidInput, NotFound, QuarterdeckError, WrongState
from quarterdeck_domain.events import Actor
from quarterdeck_domain.ids import make_id
from quarterdeck_domain.slices import boundary
from quarterdeck_ledger.interface import Context
from quarterdeck_runtime.telemetry import current_traceparent

FORM: Final = "application/x-www-form-urlencoded"
MAX_TOKEN: Final = 300

_STYLE: Final = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:15vh auto;padding:0 1rem}"
    "button{font:inherit;padding:.5rem 1.5rem}"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_PAGE_HEADERS: Final = {
    "content-security-policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    # Not no-referrer: then browsers would hide the origin of our own form from us.
    "referrer-policy": "same-origin",
}


class SignInBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A one-time sign-in link's token, `qdl_…`."""

    token: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TOKEN)]


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A session. `session` is its key, sent as `Authorization: Bearer …`, and shown this once."""

    session: str
    key_id: str
    tenant: str
    principal_id: str
    expires_at: datetime | None
    position: int


class Me(msgspec.Struct, frozen=True, kw_only=True):
    """The caller as it is recognised. `roles` are narrowed to what everyone in `on_behalf_of` holds."""

    tenant: str
    principal_id: str
    kind: str
    on_behalf_of: tuple[str, ...]
    roles: tuple[str, ...]
    key_id: str | None
    credential: str
    expires_at: datetime | None


class OidcOption(msgspec.Struct, frozen=True, kw_only=True):
    """The OpenID Connect provider whose tokens are accepted here."""

    issuer: str
    audience: str
    client_id: str | None


class SignInOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How people sign in here."""

    link: Literal[True] = True
    oidc: OidcOption | None = None


STRUCTS: Final[tuple[type[msgspec.Struct], ...]] = (SignInBody, Session, Me, SignInOptions)
router: Final = APIRouter(tags=["access"])


@router.get("/sign-in/{token}", include_in_schema=False)
async def page(token: Annotated[str, Path(max_length=MAX_TOKEN)]) -> Response:
    """Return the page with the button. The token is only written into the form: nothing is looked up, or changed."""
    try:
        is_link = present(token).id.startswith("lnk_")
    except InvalidInput:
        is_link = False
    if not is_link:
        return _page("This is not a sign-in link", "<p>Ask an administrator for a new one.</p>", 404)
    form = (
        "<p>This link works once. You will be signed in on this browser.</p>"
        f'<form method="post" action="/sign-in"><input type="hidden" name="token" value="{html.escape(token)}">'
        "<button>Sign in</button></form>"
    )
    return _page("Sign in to Quarterdeck", form)


@router.post(
    "/sign-in",
    summary="Exchange a one-time link for a session",
    openapi_extra={**json_body(SignInBody), "security": []},
    responses=responses(403, 404, 409, 415, ok=ref(Session)),
)
async def sign_in(request: Request, services: ServicesDep) -> Response:
    """Return a session: JSON gets it in the answer, a browser's form gets it in a cookie."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    if media == FORM:
        return await _sign_in_browser(request, services, body)
    if media != "application/json":
        raise UnsupportedMediaType(f"send application/json or {FORM}", found=media[:80])
    try:
        token = msgspec.convert(parse_body(body), SignInBody).token
    except msgspec.ValidationError as error:
        raise InvalidInput(str(error)) from None
    session = await exchange(services, token, _address(request))
    return Response(msgspec.json.encode(session), media_type="application/json")


async def _sign_in_browser(request: Request, services: Services, body: bytes) -> Response:
    fields = parse_qs(body.decode("ascii", "replace"), max_num_fields=4)
    try:
        check_origin_of_form(request, services.settings.base_url)
        session = await exchange(services, (fields.get("token") or [""])[0], _address(request))
    except QuarterdeckError as error:
        status = status_of(error)
        shown = error.message if status < 500 else "Something is not working here at the moment. Try again shortly."
        return _page("You are not signed in", f"<p>{html.escape(shown)}</p>", status)
    response = _page("You are signed in", "<p>You can close this page.</p>")
    lifetime_s = round(services.settings.session_hours * 3600)
    set_session(response, session.session, lifetime_s, secure=_is_secure(services))
    return response


@router.post(
    "/sign-out",
    summary="End the session that sends this",
    status_code=204,
    responses=responses(409, ok_status=204),
    openapi_extra={"security": [{"bearer": []}, {"session": []}]},
)
async def sign_out(caller: CallerDep, services: ServicesDep) -> Response:
    """Revoke the caller's session and remove its cookie."""
    worth = await services.authenticator.worth(caller)
    if worth.key_id is None or worth.purpose != "session":
        raise WrongState("only a session signs out; an API key is revoked, a provider's token ends by itself")
    command = RevokeApiKey(key_id=worth.key_id, reason="signed out", actor=caller.actor)
    await services.ledger.execute(command, _context(caller.tenant, caller.actor))
    response = Response(status_code=204)
    clear_session(response, secure=_is_secure(services))
    return response


@router.get("/v1/me", summary="Who you are here", dependencies=[KNOWN_QUERY], responses=responses(ok=ref(Me)))
async def me(caller: CallerDep, services: ServicesDep) -> Response:
    """Return the caller as it is recognised."""
    worth = await services.authenticator.worth(caller)
    found = Me(
        tenant=caller.tenant,
        principal_id=caller.actor.principal,
        kind=caller.actor.kind,
        on_behalf_of=caller.actor.on_behalf_of,
        roles=tuple(sorted(caller.roles)),
        key_id=worth.key_id,
        credential=worth.purpose,
        expires_at=worth.expires_at,
    )
    return Response(msgspec.json.encode(found), media_type="application/json")


@router.get(
    "/v1/sign-in-options",
    summary="How people sign in here",
    openapi_extra={"security": []},
    responses=responses(ok=ref(SignInOptions)),
)
async def options(services: ServicesDep) -> Response:
    """Return how people sign in here: for the command line and the console, before they have a credential."""
    settings = services.settings
    oidc = None
    if settings.oidc_issuer is not None and settings.oidc_audience is not None:
        oidc = OidcOption(
            issuer=settings.oidc_issuer, audience=settings.oidc_audience, client_id=settings.oidc_client_id
        )
    return Response(msgspec.json.encode(SignInOptions(oidc=oidc)), media_type="application/json")


async def exchange(services: Services, token: str, address: str) -> Session:
    """Exchange a link's token for a session, once.

    Raises:
        NotFound: no such link; a wrong secret looks the same.
        WrongState: it was used, or has expired.
        TooManyRequests: too many wrong tokens from this address.
    """
    refusals = services.authenticator.refusals
    refusals.check(address)
    try:
        presented = present(token)
    except InvalidInput:
        presented = None
    link = None
    if presented is not None and presented.id.startswith("lnk_"):
        query = boundary(((SignInLinkIssued,), (f"link:{presented.id}",)))
        found = await services.ledger.read(presented.tenant, query, limit=1)
        link = found[0].payload if found else None
    if (
        presented is None
        or not isinstance(link, SignInLinkIssued)
        or not hmac.compare_digest(link.secret_hash, presented.secret_hash)
    ):
        refusals.count(address)
        raise NotFound("no such sign-in link; ask an administrator for a new one")
    key_id = make_id("key", fresh_id())
    text = credential_text(presented.tenant, key_id, secrets.token_urlsafe(SECRET_BYTES))
    actor = Actor(principal=link.principal_id, kind="human")
    command = UseSignInLink(
        tenant=presented.tenant,
        link_id=link.link_id,
        presented_hash=presented.secret_hash,
        key_id=key_id,
        secret_hash=hash_secret(text),
        session_s=round(services.settings.session_hours * 3600),
        actor=actor,
    )
    executed = await services.ledger.execute(command, _context(presented.tenant, actor))
    issued = next(event.payload for event in executed.events if isinstance(event.payload, ApiKeyIssued))
    return Session(
        session=text,
        key_id=key_id,
        tenant=presented.tenant,
        principal_id=link.principal_id,
        expires_at=issued.expires_at,
        position=executed.position,
    )


def _context(tenant: str, actor: Actor) -> Context:
    return Context(tenant=tenant, actor=actor, command_id=fresh_id(), traceparent=current_traceparent())


def _address(request: Request) -> str:
    return request.client.host if request.client else "unknown"


def _is_secure(services: Services) -> bool:
    return services.settings.base_url.startswith("https://")


def _page(title: str, content: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style><h1>{html.escape(title)}</h1>{content}</html>",
        status_code=status,
        headers=_PAGE_HEADERS,
    )
