"""The session cookie of people in a browser, and the check that a page of ours sent it."""

from __future__ import annotations

from typing import Final

from starlette.requests import HTTPConnection
from starlette.responses import Response

from quarterdeck_domain.errors import NotAllowed

COOKIE: Final = "qd_session"
_SAFE: Final = frozenset(("GET", "HEAD", "OPTIONS"))


def session_cookie(connection: HTTPConnection) -> str | None:
    """Return the session key in the cookie, if there is one."""
    return connection.cookies.get(COOKIE) or None


def check_origin(connection: HTTPConnection, base_url: str) -> None:
    """Refuse a cookie on anything but a plain read, unless a page of our own origin sent it.

    A browser attaches cookies by itself, so the cookie alone does not say that its owner meant the request.

    Raises:
        NotAllowed: another origin, or none, sent it.
    """
    if connection.scope["type"] == "http" and connection.scope["method"] in _SAFE:
        return
    check_origin_of_form(connection, base_url)


def check_origin_of_form(connection: HTTPConnection, base_url: str) -> None:
    """Refuse what a page of another origin, or no page at all, sent.

    Raises:
        NotAllowed: another origin, or none, sent it.
    """
    if connection.headers.get("origin") != base_url:
        raise NotAllowed(
            "only pages of this server may send this from a browser; programs send JSON and Authorization: Bearer …",
            expected_origin=base_url,
        )


def set_session(response: Response, secret: str, lifetime_s: int, *, secure: bool) -> None:
    """Keep a session key in the browser, out of reach of scripts and of other sites."""
    response.set_cookie(COOKIE, secret, max_age=lifetime_s, path="/", httponly=True, samesite="strict", secure=secure)


def clear_session(response: Response, *, secure: bool) -> None:
    """Remove the session key from the browser."""
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict", secure=secure)
