"""`apply`: a declarative file of 10,000 objects and their relations, applied over HTTP to an empty estate, and again.

Everything runs as `quarterdeck up` runs it. Timed are: planning it; applying it, with progress; applying it again,
which changes nothing and says so; the same request sent once more with its idempotency key; applying what is exported;
and applying it with a hundred objects changed. Beside it: writing what the file says into two plain tables with nothing
but their keys, in one transaction, through the same driver.

`QUARTERDECK_BENCH_ROWS` says how many objects.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx
import msgspec

from quarterdeck_bench.approve import up
from quarterdeck_bench.estates import EstateStream
from quarterdeck_bench.harness import Result, median, postgres
from quarterdeck_domain.estate.events import AssetRegistered, RelationDeclared
from quarterdeck_domain.estate.values import nested

ASSETS: Final = int(os.environ.get("QUARTERDECK_BENCH_ROWS", "10000"))
SMALL: Final = 500
RELATIONS_EACH: Final = 4
CHANGED: Final = 100
GOAL: Final = {"apply_s": 20, "progress_lines": 3, "again_recorded": 0}
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS assets (id text PRIMARY KEY, facts jsonb NOT NULL);
CREATE TABLE IF NOT EXISTS relations (source text, relation text, target text, said jsonb NOT NULL,
    PRIMARY KEY (source, relation, target));
TRUNCATE assets, relations
"""


def run(rounds: int, *, small: bool = False) -> Result:
    """Apply in rounds, each to an estate of its own."""
    document = _document(SMALL if small else ASSETS)
    relations = sum(len(ends) for said in document["assets"].values() for ends in said.get("relations", {}).values())
    times: dict[str, list[float]] = {}
    progress: list[int] = []
    recorded: list[int] = []
    with postgres() as server:
        for _ in range(rounds):
            with tempfile.TemporaryDirectory(prefix="qd-apply-") as directory:
                process, started = up(Path(directory) / "data")
                try:
                    sign_in = started["sign_in"].rsplit("/", 1)[1]
                    asyncio.run(_measure(started["url"], sign_in, document, times, progress, recorded))
                finally:
                    process.send_signal(signal.SIGINT)
                    process.wait(60)
            times.setdefault(_PLAIN, []).append(asyncio.run(_plainly(server.url("plain"), document)))
    plain = median(times[_PLAIN])
    rows: list[dict[str, Any]] = [
        {"what": name, "s": median(spent), "slowest s": max(spent), "x plain inserts": median(spent) / plain}
        for name, spent in times.items()
    ]
    value = {
        "apply_s": round(median(times[_APPLY]), 2),
        "progress_lines": min(progress),
        "again_recorded": max(recorded),
    }
    ok = (
        value["apply_s"] <= GOAL["apply_s"]
        and value["progress_lines"] >= GOAL["progress_lines"]
        and value["again_recorded"] == GOAL["again_recorded"]
    )
    note = f"{len(document['assets']):,} objects and {relations:,} relations, {len(json.dumps(document)):,} bytes."
    return {"name": "apply", "value": value, "goal": GOAL, "ok": ok, "rows": rows, "note": note}


_APPLY: Final = "apply to an empty estate"
_PLAIN: Final = "peer: plain inserts into two tables"


async def _measure(
    url: str,
    sign_in: str,
    document: dict[str, Any],
    times: dict[str, list[float]],
    progress: list[int],
    recorded: list[int],
) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=300, trust_env=False) as http:
        session = (await http.post("/sign-in", json={"token": sign_in})).json()
        admin = next(str(value) for value in session.values() if str(value).startswith("qd_"))
        door = _Door(http, admin, times)
        planned = await door.plan(document)
        assert planned["counts"]["register"] == len(document["assets"]), planned["counts"]
        key = str(uuid.uuid4())
        lines, done = await door.apply(_APPLY, document, key, planned["plan_digest"])
        progress.append(lines)
        assert done["counts"] == planned["counts"], done
        assert done["run"] is not None, done
        _, again = await door.apply("apply it again, at once", document)
        recorded.append(again["position"] - done["position"])
        assert again["run"] is None, again
        assert not any(again["counts"].values()), again
        _, again = await door.apply("apply it again, when the tables have caught up", document)
        recorded.append(again["position"] - done["position"])
        _, repeated = await door.apply("the same request again, by its key", document, key, planned["plan_digest"])
        recorded.append(repeated["position"] - done["position"])
        assert repeated["repeated"], repeated
        exported = await door.export()
        _, again = await door.apply("apply what was exported", exported)
        recorded.append(again["position"] - done["position"])
        _, changed = await door.apply(f"apply it with {CHANGED} objects changed", _changed(document))
        assert changed["counts"]["change"] == CHANGED, changed


class _Door:
    """The estate's doors, as an administrator, with a watch."""

    def __init__(self, http: httpx.AsyncClient, token: str, times: dict[str, list[float]]) -> None:
        self._http = http
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._times = times

    async def plan(self, document: dict[str, Any]) -> dict[str, Any]:
        """Return what applying a file would do."""
        body = msgspec.json.encode(document)
        began = time.perf_counter()
        answer = await self._http.post("/v1/estate/plan", content=body, headers=self._headers)
        self._note("plan it", began)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def apply(
        self, name: str, document: dict[str, Any], key: str | None = None, agreed: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Apply a file; return how many lines told of progress, and the result."""
        body = msgspec.json.encode(document)
        headers = self._headers | ({} if key is None else {"Idempotency-Key": key})
        params = {} if agreed is None else {"plan_digest": agreed}
        began = time.perf_counter()
        async with self._http.stream(
            "POST", "/v1/estate/apply", content=body, headers=headers, params=params
        ) as answer:
            assert answer.status_code == 200, await answer.aread()
            lines = [json.loads(line) async for line in answer.aiter_lines()]
        self._note(name, began)
        assert "result" in lines[-1], lines[-1]
        return len(lines) - 1, lines[-1]["result"]

    async def export(self) -> dict[str, Any]:
        """Return the estate as a file."""
        began = time.perf_counter()
        answer = await self._http.get("/v1/estate/file", headers=self._headers)
        self._note("export it", began)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def _note(self, name: str, began: float) -> None:
        self._times.setdefault(name, []).append(time.perf_counter() - began)


def _document(assets: int) -> dict[str, Any]:
    """Return a file with everything that a random estate begins with."""
    wanted = RELATIONS_EACH * assets
    stream = EstateStream(0, assets, wanted, assets + wanted, lambda: datetime.now(UTC), start=1.0)
    found: dict[str, dict[str, Any]] = {}
    said: set[tuple[str, str, str]] = set()
    for event in stream:
        if isinstance(event, AssetRegistered):
            found[event.asset] = nested(event.facts)
        elif isinstance(event, RelationDeclared) and (event.source, event.relation, event.target) not in said:
            said.add((event.source, event.relation, event.target))
            listed = found[event.source].setdefault("relations", {}).setdefault(event.relation, [])
            listed.append({"to": event.target, "evidence": event.evidence} if event.evidence else event.target)
    return {"version": 1, "source": "bench", "assets": found}


def _changed(document: dict[str, Any]) -> dict[str, Any]:
    assets = dict(document["assets"])
    for name in list(assets)[:: len(assets) // CHANGED][:CHANGED]:
        assets[name] = {**assets[name], "purpose": "another one"}
    return {**document, "assets": assets}


async def _plainly(url: str, document: dict[str, Any]) -> float:
    """Write what a file says into plain tables; return how many seconds that took, reading the file included."""
    body = msgspec.json.encode(document)
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_TABLES)
        began = time.perf_counter()
        read = msgspec.json.decode(body)
        assets, relations = [], []
        for name, said in read["assets"].items():
            for relation, ends in said.pop("relations", {}).items():
                relations += [_row(name, relation, end) for end in ends]
            assets.append((name, json.dumps(said)))
        async with connection.transaction():
            await connection.executemany("INSERT INTO assets VALUES ($1, $2)", assets)
            await connection.executemany("INSERT INTO relations VALUES ($1, $2, $3, $4)", relations)
        return time.perf_counter() - began
    finally:
        await connection.close()


def _row(source: str, relation: str, end: Any) -> tuple[str, str, str, str]:
    said = {"to": end} if isinstance(end, str) else end
    return source, relation, said["to"], json.dumps(said)
