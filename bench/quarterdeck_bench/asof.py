"""`asof`: a page of 50 as of a past position, beside the same page of now, in a log of 10,000 and of 1,000,000 events.

The log holds stories (`stories.py`), recorded through the real append and folded by the real projector. Every table is
asked through the reader, then some through the whole GraphQL API, each also narrowed by columns. The past positions are
spread over the whole log. Now and then take turns, question by question, so that what loads the machine loads both.

`QUARTERDECK_BENCH_SIZES` names other lengths of the log, `QUARTERDECK_BENCH_POSITIONS` how many positions are asked.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import secrets
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import uvloop
from pydantic import SecretStr

from quarterdeck_api.app import create_app
from quarterdeck_api.bootstrap import wire
from quarterdeck_api.services import Services
from quarterdeck_bench.harness import Result, median, postgres
from quarterdeck_bench.page import Client
from quarterdeck_bench.stories import TENANT, fill
from quarterdeck_domain.access.credentials import credential_text, hash_secret
from quarterdeck_domain.access.slices import IssueApiKey, RegisterPrincipal
from quarterdeck_domain.access.values import SYSTEM
from quarterdeck_domain.ids import make_id
from quarterdeck_ledger.interface import Context
from quarterdeck_ledger.migrate import migrate
from quarterdeck_ledger.postgres import PostgresStore
from quarterdeck_projector.projector import Projector
from quarterdeck_readmodels.approvals import Approval, Grant
from quarterdeck_readmodels.catalogue import ROWS as TABLES
from quarterdeck_readmodels.policy import DecisionRecord
from quarterdeck_readmodels.reader import Reader
from quarterdeck_readmodels.tables import Row
from quarterdeck_runtime.settings import load_settings

SIZES: Final = tuple(int(size) for size in os.environ.get("QUARTERDECK_BENCH_SIZES", "10000 1000000").split())
POSITIONS: Final = int(os.environ.get("QUARTERDECK_BENCH_POSITIONS", "40"))
PAGE: Final = 50
GOAL: Final = 1.5

NARROWED: Final[tuple[tuple[type[Row], Mapping[str, object]], ...]] = (
    (DecisionRecord, {"outcome": ["deny"]}),
    (DecisionRecord, {"outcome": ["approval_required", "deny"]}),
    (Approval, {"status": ["approved"]}),
    (Approval, {"status": ["pending"]}),
    (Grant, {"state": ["redeemed"]}),
)
GRAPHQL: Final = {
    "approvals": "approvals(first:%d){edges{cursor node{id status action resource actionDigest requesterId}}}",
    "approvals, approved": "approvals(first:%d filter:{status:[APPROVED]}){edges{cursor node{id status requesterId}}}",
    "decisions": "decisions(first:%d){edges{cursor node{id outcome action resource determining requesterId}}}",
    "decisions, deny": "decisions(first:%d filter:{outcome:[DENY]}){edges{cursor node{id outcome requesterId}}}",
    "effects": "effects(first:%d){edges{cursor node{id outcome effectClass grantId}}}",
    "principals": "principals(first:%d){edges{cursor node{id kind state roles}}}",
}

Ask = Callable[[int | None], Awaitable[int]]
"""Asks for a page of a position, or of now; returns how many rows it holds."""


class Found(NamedTuple):
    """Seconds a question took of now, and of each past position; how many rows the pages held at most."""

    now: list[float]
    then: list[float]
    rows_now: int
    rows_then: int


def run(rounds: int) -> Result:
    """Measure in interleaved rounds."""
    rows: list[dict[str, Any]] = []
    with postgres() as server, tempfile.TemporaryDirectory(prefix="qd-asof-") as directory:
        for size in SIZES:
            rows += uvloop.run(_run(server.url(f"asof_{size}"), Path(directory) / str(size), size, rounds))
    value = {
        f"{way} {size:,}": max(
            row["then / now"]
            for row in rows
            if (row["way"], row["events"]) == (way, size) and row["rows now"] >= row["rows then"]
        )
        for size in SIZES
        for way in ("reader", "graphql")
    }
    ok = all(ratio <= GOAL for ratio in value.values())
    note = (
        f"{POSITIONS} positions spread over the whole log, {rounds} rounds. The worst question counts, of those whose "
        "page of now holds as many rows as the one of then: finding nothing and finding something are two questions."
    )
    goal = {"then_by_now": GOAL}
    return {"name": "asof", "value": value, "goal": goal, "ok": ok, "rows": rows, "note": note}


async def _run(url: str, directory: Path, size: int, rounds: int) -> list[dict[str, Any]]:
    rows = []
    async with _house(url, directory, size) as (services, token):
        positions = [max(1, round(size * (place + 0.5) / POSITIONS)) for place in range(POSITIONS)]
        client = Client(create_app(services), "/graphql", token)
        ways = {"reader": _through_reader(services.reader), "graphql": _through_graphql(client)}
        for way, questions in ways.items():
            for name, ask in questions.items():
                found = await _measure(ask, positions, rounds)
                now, then = median(found.now) * 1000, median(found.then) * 1000
                ratio = round(then / now, 2)
                rows.append(
                    {
                        "way": way,
                        "events": size,
                        "page": name,
                        "rows now": found.rows_now,
                        "rows then": found.rows_then,
                        "now ms": now,
                        "then ms": then,
                        "then / now": ratio,
                    }
                )
    return rows


async def _measure(ask: Ask, positions: list[int], rounds: int) -> Found:
    # Both statements are prepared, both pages have been touched.
    found = Found([], [], await ask(None), max([await ask(position) for position in positions[::5]]))
    gc.collect()
    for turn in range(rounds * len(positions)):
        position = positions[turn % len(positions)]
        # Who comes second finds warmer caches: they take turns at that too.
        for moment in (None, position) if turn % 2 else (position, None):
            began = time.perf_counter()
            await ask(moment)
            (found.now if moment is None else found.then).append(time.perf_counter() - began)
    return found


def _through_reader(reader: Reader | None) -> dict[str, Ask]:
    assert reader is not None

    def question(row: type[Row], where: Mapping[str, object] | None) -> Ask:
        async def ask(position: int | None) -> int:
            async with reader.at(TENANT, position) as record:
                return len((await record.page(row, first=PAGE, where=where)).rows)

        return ask

    found = {row.table: question(row, None) for row in TABLES}
    for row, where in NARROWED:
        found[f"{row.table}, {json.dumps(where)}"] = question(row, where)
    return found


def _through_graphql(client: Client) -> dict[str, Ask]:
    def question(name: str, selection: str) -> Ask:
        async def ask(position: int | None) -> int:
            moment = "now" if position is None else f"at(position:{position})"
            answer = json.loads(await client.ask("{" + moment + "{" + selection % PAGE + "}}"))
            assert "errors" not in answer, (name, answer["errors"])
            (record,) = answer["data"].values()
            (page,) = record.values()
            return len(page["edges"])

        return ask

    return {name: question(name, selection) for name, selection in GRAPHQL.items()}


@contextlib.asynccontextmanager
async def _house(url: str, directory: Path, size: int) -> AsyncIterator[tuple[Services, str]]:
    """Run the API over a log of `size` events and its read models; yield it and an administrator's key."""
    await migrate(url)
    settings = load_settings(database_url=SecretStr(url), data_dir=directory, rate_per_s=1e6, rate_burst=1_000_000)
    async with PostgresStore.open(url) as store, contextlib.AsyncExitStack() as stack:
        services = await wire(settings, store, stack)
        began = time.perf_counter()
        await fill(services.ledger, size)
        print(f"recorded {size:,} events in {time.perf_counter() - began:.0f} s", flush=True)
        token = await administrator(services, TENANT)
        projector = Projector(store, store.pool)
        await projector.prepare()
        began = time.perf_counter()
        await projector.advance_to_end(TENANT)
        await store.pool.execute("VACUUM ANALYZE")
        print(f"projected them in {time.perf_counter() - began:.0f} s", flush=True)
        yield services, token


async def administrator(services: Services, tenant: str) -> str:
    """Register somebody who may read everything; return a key of theirs."""
    who, key = make_id("prn", uuid.uuid4()), make_id("key", uuid.uuid4())
    token = credential_text(tenant, key, secrets.token_urlsafe(32))
    for command in (
        RegisterPrincipal(
            principal_id=who,
            kind="human",
            display_name="Ada",
            email=None,
            owner=None,
            purpose="",
            roles=("administrator",),
            actor=SYSTEM,
        ),
        IssueApiKey(tenant=tenant, key_id=key, principal_id=who, secret_hash=hash_secret(token), actor=SYSTEM),
    ):
        await services.ledger.execute(command, Context(tenant=tenant, actor=SYSTEM, command_id=uuid.uuid4()))
    return token
