"""Asking a server for the models that it offers: at an address that was looked at first (`bounded_http`), without
redirects, within bounds of time, size and count.

Source: OpenAI API reference, "List models"; Anthropic API reference, "List Models" (limit, after_id).
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

import anyio
import httpx2

from quarterdeck_connectors.bounded_http import BoundedTransport, Budget, address_of
from quarterdeck_connectors.destinations import Allowed
from quarterdeck_connectors.document_fetch import body_of
from quarterdeck_connectors.draft import line
from quarterdeck_connectors.errors import SourceAway, UnreadableSource
from quarterdeck_connectors.models import Dialect, next_page

MAX_PAGES: Final = 50
MAX_BYTES: Final = 32 * 2**20
"""Over all pages."""
PAGE_SIZE: Final = 1_000
TIME_S: Final = 30.0
ANTHROPIC_VERSION: Final = "2023-06-01"


async def fetch_models(
    base: str,
    *,
    dialect: Dialect,
    key: str | None = None,
    internal: bool = False,
    allowed: Allowed | None = None,
    seconds: float = TIME_S,
) -> tuple[bytes, ...]:
    """Return a server's answers to `GET <base>/models`, page by page. `base` ends in `/v1`, as clients are given it.
    `key` goes to the server alone, and is never recorded. `internal`, `allowed`: as in
    `bounded_http.address_of`.

    Raises:
        SourceAway: it does not answer in time, or not now.
        UnreadableSource: the address may not be read, leads elsewhere, or is not there; or it answers too much, or
            without an end.
        AddressNotAllowed: the operator does not allow it.
    """
    with anyio.CancelScope(deadline=anyio.current_time() + seconds) as scope:
        budget = Budget(MAX_BYTES, scope.cancel)
        parsed, place = await address_of(f"{base.rstrip('/')}/models", internal=internal, allowed=allowed)
        async with httpx2.AsyncClient(
            transport=BoundedTransport(parsed, place, budget),
            headers={**_headers(dialect, key), "accept": "application/json", "accept-encoding": "identity"},
            timeout=httpx2.Timeout(seconds),
            trust_env=False,
            follow_redirects=False,
        ) as client:
            try:
                return await _pages(client, str(parsed), dialect)
            except httpx2.HTTPError as error:
                said = line(str(error)) or type(error).__name__
                raise budget.problem or SourceAway(f"the server does not answer: {said}") from None
    raise budget.problem or SourceAway(f"the list of models was not there after {seconds:g} seconds", seconds=seconds)


async def _pages(client: httpx2.AsyncClient, url: str, dialect: Dialect) -> tuple[bytes, ...]:
    pages: list[bytes] = []
    seen: set[str] = set()
    query = f"?limit={PAGE_SIZE}" if dialect == "anthropic" else ""
    while True:
        answer = await client.get(url + query)
        pages.append(body_of(answer))
        after = next_page(pages[-1], len(pages)) if dialect == "anthropic" else None
        if after is None:
            return tuple(pages)
        if after in seen or len(pages) == MAX_PAGES:
            raise UnreadableSource(f"the list of models does not end after {len(pages)} pages")
        seen.add(after)
        query = f"?limit={PAGE_SIZE}&after_id={quote(after, safe='')}"


def _headers(dialect: Dialect, key: str | None) -> dict[str, str]:
    if dialect == "anthropic":
        return {"anthropic-version": ANTHROPIC_VERSION} | ({} if key is None else {"x-api-key": key})
    return {} if key is None else {"authorization": f"Bearer {key}"}
