"""Fetching a document: one GET to an address that was looked at first (`bounded_http`), without redirects, within
bounds of time and size. What is in it is for the importer of its format to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import anyio
import httpx2

from quarterdeck_connectors.bounded_http import BoundedTransport, Budget, address_of
from quarterdeck_connectors.destinations import Allowed
from quarterdeck_connectors.draft import line
from quarterdeck_connectors.errors import SourceAway, UnreadableSource

MAX_BYTES: Final = 64 * 2**20
TIME_S: Final = 60.0
_LATER: Final = frozenset({408, 425, 429})


async def fetch_document(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    internal: bool = False,
    allowed: Allowed | None = None,
    size: int = MAX_BYTES,
    seconds: float = TIME_S,
) -> bytes:
    """Return what an address answers. `headers` go to it alone, and are never recorded. `internal`, `allowed`: as in
    `bounded_http.address_of`.

    Raises:
        SourceAway: it does not answer in time, or not now.
        UnreadableSource: the address may not be read, leads elsewhere, or is not there; or it answers too much.
        AddressNotAllowed: the operator does not allow it.
    """
    with anyio.CancelScope(deadline=anyio.current_time() + seconds) as scope:
        budget = Budget(size, scope.cancel)
        parsed, place = await address_of(url, internal=internal, allowed=allowed)
        async with httpx2.AsyncClient(
            transport=BoundedTransport(parsed, place, budget),
            headers={**(headers or {}), "accept": "*/*", "accept-encoding": "identity"},
            timeout=httpx2.Timeout(seconds),
            trust_env=False,
            follow_redirects=False,
        ) as client:
            try:
                answer = await client.get(parsed)
            except httpx2.HTTPError as error:
                said = line(str(error)) or type(error).__name__
                raise budget.problem or SourceAway(f"the server does not answer: {said}") from None
        return body_of(answer)
    raise budget.problem or SourceAway(f"the document was not there after {seconds:g} seconds", seconds=seconds)


def body_of(answer: httpx2.Response) -> bytes:
    """Return what an answer holds.

    Raises:
        SourceAway: the server cannot answer now.
        UnreadableSource: it answers that it is not there, not for us, or elsewhere.
    """
    status = answer.status_code
    if answer.is_redirect:
        raise UnreadableSource("the answer leads elsewhere, and redirects are not followed: give the final address")
    if status >= 500 or status in _LATER:
        raise SourceAway(f"the answer has the status {status}", status=status)
    if status != 200:
        raise UnreadableSource(
            f"the answer has the status {status}: is this the address of what is to be read?", status=status
        )
    return answer.content
