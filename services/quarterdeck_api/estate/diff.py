"""Everything of the estate that differs between two moments, at once: as lines of JSON, the two moments first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final

import msgspec

from quarterdeck_api.auth.caller import Caller, require
from quarterdeck_api.estate.moments import READERS, reached, reader_of, recorded_at
from quarterdeck_api.services import Services
from quarterdeck_domain.canonical import MAX_INTEGER
from quarterdeck_domain.errors import InvalidInput
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_readmodels.changes import Changed, changes
from quarterdeck_readmodels.estate import Asset, Drift, Relation
from quarterdeck_readmodels.tables import Row

KINDS: Final[dict[str, type[Row]]] = {"asset": Asset, "relation": Relation, "drift": Drift}
_AT_ONCE: Final = 1_000


class End(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two moments: the last position recorded by it, and when that was; null for position 0."""

    position: int
    recorded_at: datetime | None


class Ends(msgspec.Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """The first line."""

    from_: End
    to: End


async def diff(caller: Caller, services: Services, since: str, until: str | None) -> AsyncIterator[bytes]:
    """Return what differs at one moment from an earlier one, line by line.

    Raises:
        NotAllowed: the caller may not read the whole estate.
        InvalidInput: what was given is no moment, one that has not come yet, or the second is before the first.
        NotYet: the read models do not hold a position in time.
    """
    require(caller, *READERS)
    first = await _end(services, caller.tenant, since, "from")
    second = await _end(services, caller.tenant, until, "to")
    if second.position < first.position:
        raise InvalidInput(f"`to` is position {second.position}, before `from`, {first.position}: exchange them")
    found = await changes(reader_of(services), caller.tenant, first.position, second.position, tuple(KINDS.values()))
    return _lines(Ends(from_=first, to=second), found)


async def _end(services: Services, tenant: str, said: str | None, name: str) -> End:
    position = None
    if said is not None:
        if said.isascii() and said.isdigit() and int(said) <= MAX_INTEGER:
            position = int(said)
        else:
            position = await services.ledger.position_at(tenant, await _past(services.ledger, said, name))
    here = await reached(services, tenant, position, name)
    return End(position=here, recorded_at=await recorded_at(services, tenant, here))


async def _past(ledger: EventLedger, said: str, name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(said)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidInput(f"`{name}` is a position, or a time with its zone: 2026-01-31T12:00:00Z", field=name)
    if moment > await ledger.now():
        raise InvalidInput(f"`{name}` has not come yet", field=name)
    return moment


async def _lines(ends: Ends, found: dict[type[Row], list[Changed]]) -> AsyncIterator[bytes]:
    """Yield the first line, and one for each object: what became of it (`added` or `changed`; nothing is ever removed),
    what it is, its id, and each field that is not the same, before and after."""
    yield msgspec.json.encode(ends) + b"\n"
    for kind, row in KINDS.items():
        for start in range(0, len(found[row]), _AT_ONCE):
            yield "".join([_line(kind, item) for item in found[row][start : start + _AT_ONCE]]).encode()
            await asyncio.sleep(0)  # others share this loop


def _line(kind: str, item: Changed) -> str:
    change, name = "added" if item.added else "changed", msgspec.json.encode(item.id).decode()
    return f'{{"kind":"{change}","object_kind":"{kind}","object_id":{name},"fields":[{item.fields}]}}\n'
