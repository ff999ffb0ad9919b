"""Temporal loses everything it had: every gate comes back from the log, and the approvals are decided as if nothing was.

Serves DC-07, C03; DESIGN 'What must always hold' 4, 'Acting over time'; RELIABILITY 3.3 (10), I8.
"""

from __future__ import annotations

import asyncio
from typing import Final

from access_world import submission
from faults_house import TENANT, FaultHouse
from faults_http import Patient
from faults_journey import EVALUATION, REQUESTS, Record, Told, check, ok

_OPEN: Final = 8


async def test_gates_come_back_when_temporal_loses_everything(house: FaultHouse) -> None:
    """Half are decided while it is away, half afterwards; all gates are then as the log says, and nobody restarted us."""
    assert house.temporal is not None
    record = Record()
    bot = Patient(house.ports, house.keys[TENANT, "bot"])
    iris = Patient(house.ports, house.keys[TENANT, "iris"])
    tasks = [await requested(house, bot, f"lost-{number}") for number in range(_OPEN)]
    record.told += [Told("approval.requested", "approval_id", task) for task in tasks]
    await check(house, record, gates=True)
    house.temporal.kill()
    for left in house.directory.glob("temporal.db*"):
        if left.suffix != ".lock":
            left.unlink()
    for task in tasks[::2]:
        await approve(iris, task)
    await asyncio.to_thread(house.temporal.start)
    await check(house, record, gates=True)
    for task in tasks[1::2]:
        await approve(iris, task)
    record.told += [Told("approval.granted", "approval_id", task) for task in tasks]
    await check(house, record, gates=True, read_models=True)
    bot.close()
    iris.close()


async def requested(house: FaultHouse, bot: Patient, order: str) -> str:
    """File a request; return its task's id."""
    intent = {
        "subject": {"type": "agent", "id": house.ids[TENANT, "bot"]},
        "action": {"name": "refund", "properties": {"amount": "120.00", "currency": "EUR"}},
        "resource": {"type": "order", "id": order},
    }
    context = ok(await bot.call("POST", EVALUATION, intent)).body["context"]
    filed = ok(await bot.call("POST", REQUESTS, submission(intent, context), key=order), 202)
    return str(filed.body["task"]["id"])


async def approve(iris: Patient, task: str) -> None:
    """Decide on what one is shown."""
    shown = ok(await iris.call("GET", f"/v1/approvals/{task}"))
    vote = {"action_digest": shown.body["action_digest"]}
    ok(await iris.call("POST", f"/v1/approvals/{task}/approve", vote, key=f"{task}-vote"))
