"""Entries of a log in pages, for streams: bytes as they were hashed, never all of them in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

from eventsourcing.dcb.api import DCBQuery, DCBQueryItem

from quarterdeck_api.services import Services
from quarterdeck_domain.errors import InvalidInput
from quarterdeck_readmodels.tables import storable

PAGE: Final = 1_000


async def pages(
    services: Services, tenant: str, *, after: int, until: int, limit: int | None = None, query: DCBQuery | None = None
) -> AsyncIterator[Sequence[bytes]]:
    """Yield the entries at `after < position <= until` that match, at most `limit`, in pages.

    Raises:
        Unavailable: the database does not answer.
    """
    left = until - after if limit is None else limit
    while left > 0 and after < until:
        size = min(PAGE, left)
        found = await services.ledger.store.read(tenant, query, after, until, size, False)
        if not found:
            return
        yield [entry for _, entry in found]
        after = found[-1][0]
        left -= len(found)


def by_type_and_tag(types: Sequence[str], tags: Sequence[str]) -> DCBQuery | None:
    """Return the query of events of any of these types with all of these tags; None for everything.

    Raises:
        InvalidInput: a type or a tag that no event can have: it holds a NUL or no Unicode.
    """
    for text in (*types, *tags):
        if storable(text) != text:
            raise InvalidInput("a type or a tag holds neither NUL nor lone surrogates", found=repr(text)[:100])
    return DCBQuery([DCBQueryItem(list(types), list(tags))]) if types or tags else None
