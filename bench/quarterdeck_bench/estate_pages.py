"""What the estate is asked again and again: pages of now and of then, in turns, and what is within reach."""

from __future__ import annotations

import gc
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from quarterdeck_bench.estate_log import TENANT
from quarterdeck_bench.harness import median, percentile
from quarterdeck_bench.page import Client
from quarterdeck_readmodels.estate import Asset, Drift, Relation
from quarterdeck_readmodels.reader import Reader
from quarterdeck_readmodels.tables import Row

PAGE: Final = 100
_NODE: Final = "{edges{cursor node{id %s}}pageInfo{hasNextPage}}"
_SHOWN: Final = {
    "assets": "kind name owner team lifecycle classification environments source changedAt",
    "relations": "relation source target declared observed seen lastSeen evidence",
    "drifts": "assetId fieldName expected found state detectedAt",
}
_ROWS: Final[Mapping[str, type[Row]]] = {"assets": Asset, "relations": Relation, "drifts": Drift}
_ENUMS: Final = frozenset({"lifecycle", "state", "input"})
_WORKING: Final = frozenset({"timed", "announced", "merged_into", "offered_by"})
"""Columns that are not asked for: they are marks, or few objects have them."""
Ask = Callable[[int | None], Awaitable[int]]


class Found:
    """What was measured: rows of the table, the values to judge, and what else is to be said."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.value: dict[str, Any] = {}
        self.note = ""

    def add(
        self,
        what: str,
        now: list[float],
        then: list[float],
        size: object,
        beside: str = "",
        first: Sequence[float] = (),
    ) -> None:
        """Add a row of seconds; what was not asked of now, or of then, has none. `first` are those of then that nobody
        had asked for before: what the database finds in no buffer of its own."""
        row: dict[str, Any] = {"what": what, "rows": size}
        for name, samples in (("now", now), ("then", then)):
            row[f"{name} p50 ms"] = median(samples) * 1000 if samples else ""
            row[f"{name} p95 ms"] = percentile(samples, 0.95) * 1000 if samples else ""
        row["then, first time, p50 ms"] = median(first) * 1000 if first else ""
        row["p95 then / now"] = f"{row['then p95 ms'] / row['now p95 ms']:.2f}" if now and then else beside
        self.rows.append(row)
        print(" | ".join(f"{cell:,.2f}" if isinstance(cell, float) else str(cell) for cell in row.values()), flush=True)


async def narrowings(record: Any) -> list[tuple[str, dict[str, list[str]]]]:
    """Return questions: each table whole, and narrowed by each column to what is frequent and what is rare there."""
    questions: list[tuple[str, dict[str, list[str]]]] = []
    for table, row in _ROWS.items():
        questions.append((table, {}))
        page = await record.page(row, first=1000)
        for column in row.filters:
            if column in _WORKING:
                continue
            values = [getattr(item, column) for item in page.rows]
            flat = [name for value in values for name in (value if isinstance(value, tuple) else (value,)) if name]
            ordered = [name for name, _ in Counter(flat).most_common()]
            ends = dict.fromkeys((*ordered[:1], *ordered[-1:]))
            questions += [(table, {column: [value]}) for value in ends]
    questions.append(("assets", {"kind": ["agent", "tool"], "lifecycle": ["live"]}))
    questions.append(("relations", {"relation": ["calls"], "target_kind": ["tool"]}))
    return questions


async def pages(
    found: Found, reader: Reader, client: Client, questions: list[Any], positions: list[int], rounds: int
) -> None:
    """Ask for pages, through the reader and through the whole API; note the worst p95 of then beside that of now.

    The worst of both counts; beside it is noted what whoever asks the API waits for.
    """
    worst = {"reader": 0.0, "graphql": 0.0}
    for way in ("reader", "graphql"):
        for table, where in questions:
            ask = _read(reader, table, where) if way == "reader" else _asked(client, table, where)
            now, then, first, sizes = await _measure(ask, positions, rounds)
            name = ", ".join(f"{column}: {' '.join(values)}" for column, values in where.items())
            found.add(f"{way}: {table} {name}", now, then, f"{sizes[0]}, {sizes[1]}", first=first)
            if sizes[0] >= sizes[1]:
                worst[way] = max(worst[way], percentile(then, 0.95) / percentile(now, 0.95))
    found.value["page_p95_then_by_now"] = round(max(worst.values()), 2)
    found.note = f"Of the reader's part alone the worst is {worst['reader']:.2f}, of the API {worst['graphql']:.2f}. "


def _read(reader: Reader, table: str, where: Mapping[str, object]) -> Ask:
    async def ask(position: int | None) -> int:
        async with reader.at(TENANT, position) as record:
            return len((await record.page(_ROWS[table], first=PAGE, where=where)).rows)

    return ask


def _asked(client: Client, table: str, where: Mapping[str, list[str]]) -> Ask:
    given = " ".join(
        f"{_camel(column)}:[{','.join(value.upper() if column in _ENUMS else json.dumps(value) for value in values)}]"
        for column, values in where.items()
    )
    narrowed = f" filter:{{{given}}}" if given else ""
    selection = f"{table}(first:{PAGE}{narrowed})" + _NODE % _SHOWN[table]

    async def ask(position: int | None) -> int:
        return len((await _answer(client, position, selection))["edges"])

    return ask


async def _answer(client: Client, position: int | None, selection: str) -> Any:
    moment = "now" if position is None else f"at(position:{position})"
    answer = json.loads(await client.ask("{" + moment + "{" + selection + "}}"))
    assert "errors" not in answer, (selection, answer["errors"])
    (record,) = answer["data"].values()
    (value,) = record.values()
    return value


async def _measure(
    ask: Ask, positions: list[int], rounds: int
) -> tuple[list[float], list[float], list[float], tuple[int, int]]:
    now: list[float] = []
    then: list[float] = []
    first: list[float] = []
    # Both statements are prepared, all pages have been touched: the one of now is always the same.
    sizes = (await ask(None), await ask(positions[0]))
    for position in positions[1:]:
        began = time.perf_counter()
        sizes = (sizes[0], max(sizes[1], await ask(position)))
        first.append(time.perf_counter() - began)
    gc.collect()
    for turn in range(rounds * len(positions)):
        position = positions[turn % len(positions)]
        # Who comes second finds warmer caches: they take turns at that too.
        for moment in (None, position) if turn % 2 else (position, None):
            began = time.perf_counter()
            await ask(moment)
            (now if moment is None else then).append(time.perf_counter() - began)
    return now, then, first, sizes


async def reach(found: Found, reader: Reader, client: Client, positions: list[int], rounds: int) -> None:
    """Ask what is within three steps, both ways; note the worst p95."""
    slowest: list[float] = []
    for direction, label, chosen in await _subjects(reader, positions):
        now: list[float] = []
        then: list[float] = []
        sizes = []
        for turn in range(rounds):
            for place, name in enumerate(chosen):
                for position in (None, positions[-1 - (place + turn) % (len(positions) // 2)]):
                    selection = f"reach(of:{json.dumps(name)} hops:3 first:100 direction:{direction})"
                    began = time.perf_counter()
                    answer = await _answer(
                        client, position, selection + "{total reached{steps asset{id kind lifecycle}}}"
                    )
                    (now if position is None else then).append(time.perf_counter() - began)
                    sizes.append(answer["total"])
        found.add(f"reach {direction.lower()}, 3 steps: {label}", now, then, f"{median(sizes):.0f}, {max(sizes)}")
        slowest.append(max(percentile(now, 0.95), percentile(then, 0.95)))
    found.value["reach_p95_ms"] = round(max(slowest) * 1000)


async def _subjects(reader: Reader, positions: list[int]) -> list[tuple[str, str, list[str]]]:
    """Return of what it is asked, each way: some that were there in the whole second half of the log, and those of them
    with the most neighbours."""
    chance = random.Random(0)
    found: list[tuple[str, str, list[str]]] = []
    async with reader.at(TENANT) as record:
        relations = (await record.page(Relation, first=1000, newest_first=False)).rows
        crowds = Counter(end for item in relations for end in (item.source, item.target))
        for direction, kinds in (("FORWARD", ("agent", "workflow", "application")), ("BACKWARD", ("dataset", "tool"))):
            old = [item for kind in kinds for item in await _of_kind(record, kind)]
            names = [item.id for item in old if item.created_position <= positions[len(positions) // 2]]
            crowded = [name for name, _ in crowds.most_common() if name in names][:5]
            found += [
                (direction, "any", chance.sample(names, min(30, len(names)))),
                (direction, "the most crowded", crowded),
            ]
    return found


async def _of_kind(record: Any, kind: str) -> list[Any]:
    page = await record.page(Asset, first=500, newest_first=False, where={"kind": [kind], "lifecycle": ["live"]})
    return list(page.rows)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
