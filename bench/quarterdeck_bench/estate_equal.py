"""Whether the estate's tables are, as of many positions, what an independent naive fold of the log says: every row.

Both sides are brought into one canonical form (sorted keys, no spaces, times in UTC with microseconds) and compared
byte for byte. The fold is the one that the tests use; it shares nothing with the read models.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from quarterdeck_bench.estate_log import TENANT
from quarterdeck_bench.harness import helper
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_readmodels.estate import Asset, Drift, Relation
from quarterdeck_readmodels.reader import Reader
from quarterdeck_readmodels.tables import Row

TABLES: Final[tuple[type[Row], ...]] = (Asset, Relation, Drift)
_READ: Final = 5_000
_PAGE: Final = 1_000
_encode: Final = msgspec.json.Encoder(order="sorted").encode

Rows = dict[tuple[str, str], bytes]


async def compare(ledger: EventLedger, reader: Reader, positions: Sequence[int]) -> tuple[int, str]:
    """Return of how many positions some row differs, and what was compared, in words."""
    naive = helper("naive_estate").Estate()
    told: Rows = {}
    columns: dict[str, tuple[str, ...]] = {}
    heard, wrong, compared = 0, 0, 0
    began = time.perf_counter()
    for number, position in enumerate(positions, 1):
        while heard < position:
            events = await ledger.read(TENANT, after=heard, until=position, limit=_READ)
            for event in events:
                naive.hear(event)
            heard = events[-1].position
        for table, object_id in naive.changed:
            row = naive.row(table, object_id)
            columns.setdefault(table, tuple(row))
            told[table, object_id] = canonical(row)
        naive.changed.clear()
        found = await _found(reader, position, columns)
        compared += len(told)
        if found != told:
            wrong += 1
            _show(position, found, told)
        if number % 20 == 0:
            print(f"{number} moments compared, {wrong} wrong, {time.perf_counter() - began:.0f} s", flush=True)
    return wrong, f"{compared:,} rows as of {len(positions)} moments compared with the naive fold."


async def _found(reader: Reader, position: int, columns: Mapping[str, tuple[str, ...]]) -> Rows:
    rows: Rows = {}
    async with reader.at(TENANT, position) as record:
        for row in TABLES:
            names, after, more = columns.get(row.table, ()), None, True
            while more:
                page = await record.page(row, first=_PAGE, after=after, newest_first=False)
                for item in page.rows:
                    rows[row.table, item.id] = canonical({name: getattr(item, name) for name in names})
                after, more = (page.rows[-1].created_position if page.rows else None), page.more
    return rows


def canonical(row: Mapping[str, Any]) -> bytes:
    """Return a row in a form that is the same for the same row, whoever told it."""
    return _encode({name: _plain(name, value) for name, value in row.items()})


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if name == "intervals":
        # When it held: neither what was said with it, nor what ended before it began.
        return [list(item[:2]) for item in value if item[1] is None or item[0] < item[1]]
    return value


def _show(position: int, found: Rows, told: Rows) -> None:
    differing: Iterable[Any] = (key for key in found.keys() | told.keys() if found.get(key) != told.get(key))
    for key in sorted(differing)[:3]:
        print(
            f"as of {position}, {key}:\n  the tables: {found.get(key)!r}\n  the fold:   {told.get(key)!r}", flush=True
        )
