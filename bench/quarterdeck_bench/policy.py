"""`policy`: evaluation beside plain cedarpy over the whole bundle, and decisions recorded at a steady rate.

Evaluation: 1,000 policies and 1,000 entities, requests spread over all of them, caches cold at first. Ours goes from an
intent to a verdict, mapping included; plain cedarpy gets the ready request, and handles to the same policies and
entities parsed once. The two take turns request by request, and their decisions are compared.

Recording: the same bundle in force on a real PostgreSQL with fsync on; decisions arrive every 2 ms whether or not
earlier ones are done, and their time counts from when they were due. Bare appends of an event of the
same size, at the same rate in turn with them, show what the log takes of it on this machine.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Final

import cedarpy
import uvloop

from quarterdeck_bench.harness import Result, median, percentile, postgres
from quarterdeck_domain.access.events import ApiKeyRevoked
from quarterdeck_domain.access.values import SYSTEM
from quarterdeck_domain.events import Actor, NewEvent
from quarterdeck_domain.ids import make_id
from quarterdeck_domain.intent import Action, Entity, Intent
from quarterdeck_domain.policy.slices import ChangeBundleMode, PublishBundle
from quarterdeck_domain.policy.values import UNKNOWN_SUBJECT, BundleText
from quarterdeck_ledger.interface import Context
from quarterdeck_ledger.keys import MemoryKeyStore
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.migrate import migrate
from quarterdeck_ledger.postgres import PostgresStore
from quarterdeck_policy.cedar_request import cedar_request
from quarterdeck_policy.decision_point import DecisionPoint
from quarterdeck_policy.engine import Engine, LoadedBundle
from quarterdeck_runtime import memory

TEAMS, AGENTS, TOOLS = 20, 490, 490
ACTIONS: Final = ("read", "write", "refund", "deploy", "send")
CALLER: Final = Actor(principal="prn_bench", kind="service")
CALLS: Final = 500
RATE: Final = 500
SECONDS: Final = float(os.environ.get("QUARTERDECK_BENCH_SECONDS", "3"))


def run(rounds: int) -> Result:
    """Measure evaluation in interleaved rounds, then recording."""
    text = _bundle()
    loaded = Engine().load(text)
    plain = cedarpy.PolicySet.from_str(text.policies), cedarpy.Entities.from_json_str(text.entities)
    evaluated: dict[str, list[list[float]]] = {"quarterdeck": [], "cedarpy, whole bundle": []}
    disagreements = 0
    for number in range(rounds):
        ours, theirs, differ = _evaluate(loaded, plain, random.Random(number))
        evaluated["quarterdeck"].append(ours)
        evaluated["cedarpy, whole bundle"].append(theirs)
        disagreements += differ
    with postgres() as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        recorded, appended = runner.run(_record(server.url(), text, rounds))
    return _judge(evaluated, recorded, appended, disagreements)


def _judge(
    evaluated: dict[str, list[list[float]]],
    recorded: list[list[float]],
    appended: list[list[float]],
    disagreements: int,
) -> Result:
    rows = [_row(f"evaluate: {name}", samples) for name, samples in evaluated.items()]
    rows.append(_row(f"decide and record, {RATE}/s", recorded))
    rows.append(_row(f"append alone, {RATE}/s", appended))
    evaluation_ms, plain_ms = rows[0]["p50 ms"], rows[1]["p50 ms"]
    value = {
        "evaluate_p50_ms": round(evaluation_ms, 4),
        "decide_p99_ms": round(rows[2]["p99 ms"], 3),
        "disagreements": disagreements,
    }
    goal = {"evaluate_p50_ms": 0.2, "decide_p99_ms": 5, "disagreements": 0}
    return {
        "name": "policy",
        "value": value,
        "goal": goal,
        "ok": all(value[key] <= limit for key, limit in goal.items()),
        "rows": rows,
        "note": f"plain cedarpy takes {plain_ms / evaluation_ms:.1f} times as long to evaluate; {disagreements} of "
        f"{CALLS * len(evaluated['quarterdeck'])} decisions differ",
    }


def _row(name: str, rounds: list[list[float]]) -> dict[str, Any]:
    return {
        "case": name,
        "p50 ms": median([percentile(samples, 0.5) * 1_000 for samples in rounds]),
        "p99 ms": median([percentile(samples, 0.99) * 1_000 for samples in rounds]),
        "calls": sum(map(len, rounds)),
    }


def _evaluate(
    loaded: LoadedBundle, plain: tuple[cedarpy.PolicySet, cedarpy.Entities], chance: random.Random
) -> tuple[list[float], list[float], int]:
    intents = [_intent(chance) for _ in range(CALLS)]
    requests = [cedar_request(intent, caller=CALLER, subject=UNKNOWN_SUBJECT).as_dict() for intent in intents]
    ours: list[float] = []
    theirs: list[float] = []
    differ = 0
    gc.collect()
    for intent, request in zip(intents, requests, strict=True):
        started = time.perf_counter()
        verdict = loaded.evaluate(intent, caller=CALLER)
        between = time.perf_counter()
        answer = cedarpy.is_authorized(request, *plain)
        theirs.append(time.perf_counter() - between)
        ours.append(between - started)
        differ += (verdict.outcome != "deny") != (answer.allowed and not answer.diagnostics.errors)
    return ours, theirs, differ


async def _record(url: str, text: BundleText, rounds: int) -> tuple[list[list[float]], list[list[float]]]:
    await migrate(url)
    async with PostgresStore.open(url) as store:
        ledger = EventLedger(store, MemoryKeyStore())
        bundle_id = make_id("bnd", uuid.uuid4())
        await ledger.execute(PublishBundle(bundle_id, "bench", text, actor=SYSTEM), _context())
        await ledger.execute(ChangeBundleMode(bundle_id, "enforced", "bench", actor=SYSTEM), _context())
        point, chance = DecisionPoint(ledger), random.Random(-1)

        async def decide() -> None:
            await point.decide(_context(), _intent(chance))

        async def append() -> None:
            payload = ApiKeyRevoked(key_id=f"key_{uuid.uuid4().hex}", principal_id="prn_bench", reason="x" * 900)
            await ledger.append("bare", [NewEvent(id=uuid.uuid4(), payload=payload, actor=CALLER)])

        for warming in (decide, append):
            await _at_rate(warming, 1.0)
        memory.settle()  # as whoever serves does
        recorded: list[list[float]] = []
        appended: list[list[float]] = []
        for _ in range(rounds):
            recorded.append(await _at_rate(decide, SECONDS))
            appended.append(await _at_rate(append, SECONDS))
        return recorded, appended


async def _at_rate(act: Callable[[], Awaitable[None]], seconds: float) -> list[float]:
    samples: list[float] = []

    async def one(due: float) -> None:
        await act()
        samples.append(time.perf_counter() - due)

    gc.collect()
    start = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number in range(int(RATE * seconds)):
            due = start + number / RATE
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.create_task(one(due))
    return samples


def _context() -> Context:
    return Context(tenant="bench", actor=CALLER, command_id=uuid.uuid4())


def _intent(chance: random.Random) -> Intent:
    return Intent(
        subject=Entity(type="agent", id=f"a{chance.randrange(AGENTS)}"),
        action=Action(
            name=chance.choice(ACTIONS),
            properties={"amount": chance.randrange(1_000), "currency": "EUR", "note": "x" * 80},
        ),
        resource=Entity(type="tool", id=f"t{chance.randrange(TOOLS)}", properties={"environment": "staging"}),
        context={"time": "2026-01-01T00:00:00Z", "ip": "192.0.2.1"},
    )


def _bundle() -> BundleText:
    """Return 1,000 policies of the kinds people write: by team, by agent, by tool, by action, and for everybody."""
    policies = [
        f'@id("team-{n}") permit (principal in team::"g{n % TEAMS}", action == Action::"{ACTIONS[n % 5]}", '
        f"resource is tool) when {{ resource.risk < {n % 10} && context.action.amount < {n} }};"
        for n in range(500)
    ]
    policies += [
        f'@id("agent-{n}") @approval("default") permit (principal == agent::"a{n}", action, resource) '
        f'when {{ context.action.currency == "EUR" && context.action.amount >= {n} }};'
        for n in range(280)
    ]
    policies += [
        f'@id("tool-{n}") forbid (principal, action in [Action::"deploy", Action::"send"], resource == tool::"t{n}") '
        f"unless {{ principal.level > {n % 5} }};"
        for n in range(200)
    ]
    policies += [
        f'@id("guard-{n}") forbid (principal, action, resource) '
        f'when {{ context.resource.environment == "production-{n}" && resource.risk > 3 }};'
        for n in range(20)
    ]
    entities: list[dict[str, Any]] = [_entity("team", f"g{n}", {}) for n in range(TEAMS)]
    entities += [_entity("agent", f"a{n}", {"level": n % 7}, f"g{n % TEAMS}") for n in range(AGENTS)]
    entities += [_entity("tool", f"t{n}", {"risk": n % 10, "owner": f"a{n}"}) for n in range(TOOLS)]
    if (len(policies), len(entities)) != (1_000, 1_000):
        raise AssertionError("the benchmark is about 1,000 policies and 1,000 entities")
    return BundleText(policies="\n".join(policies), entities=json.dumps(entities))


def _entity(kind: str, name: str, attributes: dict[str, Any], team: str | None = None) -> dict[str, Any]:
    parents = [] if team is None else [{"type": "team", "id": team}]
    return {"uid": {"type": kind, "id": name}, "attrs": attributes, "parents": parents}
