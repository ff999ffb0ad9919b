"""Ten thousand redeemers of one grant at once, over HTTP, through three API processes and one PostgreSQL: one wins.

Serves C03; DESIGN 'What must always hold' 2; RELIABILITY T2, 3.3 (9).
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from access_world import submission
from faults_house import TENANT, FaultHouse, fault_house
from faults_http import Answer, Patient, read_answer, request
from faults_journey import EVALUATION, REQUESTS, Record, check, ok

CONNECTIONS: Final = 500
PIPELINED: Final = 20
_SAME_KEY: Final = 200
_APIS: Final = 3


@pytest.fixture(scope="module")
def house() -> Iterator[FaultHouse]:
    """Run PostgreSQL and three APIs: Temporal is not on this path."""
    with (
        tempfile.TemporaryDirectory(prefix="quarterdeck-race-") as directory,
        fault_house(Path(directory), apis=_APIS, temporal=False) as made,
    ):
        yield made


async def approved(house: FaultHouse, order: str) -> dict[str, Any]:
    """Return the body that redeems a fresh grant."""
    bot = Patient(house.ports, house.keys[TENANT, "bot"])
    iris = Patient(house.ports, house.keys[TENANT, "iris"])
    intent = {
        "subject": {"type": "agent", "id": house.ids[TENANT, "bot"]},
        "action": {"name": "refund", "properties": {"amount": "120.00", "currency": "EUR"}},
        "resource": {"type": "order", "id": order},
    }
    context = ok(await bot.call("POST", EVALUATION, intent)).body["context"]
    filed = ok(await bot.call("POST", REQUESTS, submission(intent, context), key=order), 202)
    path = f"/v1/approvals/{filed.body['task']['id']}"
    shown = ok(await iris.call("GET", path))
    ok(await iris.call("POST", f"{path}/approve", {"action_digest": shown.body["action_digest"]}))
    grant = ok(await bot.call("GET", f"{path}/grant"))
    bot.close()
    iris.close()
    return {"grant": grant.body["grant"], "intent": intent}


async def storm(house: FaultHouse, messages: list[bytes], connections: int) -> list[Answer]:
    """Send all messages at once: every connection is open before the first word, and sends its share in one piece."""
    opened = [
        await asyncio.open_connection("127.0.0.1", house.ports[number % len(house.ports)])
        for number in range(connections)
    ]

    async def send(number: int) -> list[Answer]:
        reader, writer = opened[number]
        mine = messages[number::connections]
        writer.write(b"".join(mine))
        return [await read_answer(reader) for _ in mine]

    try:
        found = await asyncio.gather(*(send(number) for number in range(connections)))
    finally:
        for _, writer in opened:
            writer.close()
    return [answer for answers in found for answer in answers]


async def test_of_ten_thousand_redeemers_one_wins(house: FaultHouse) -> None:
    """One effect starts; each of the others hears which, or, told that the house is busy, hears it the next time."""
    body = await approved(house, "race")
    token = house.keys[TENANT, "bot"]
    waiting = [
        request("POST", "/v1/grants/redeem", token=token, body=body, key=f"race-{number}")
        for number in range(CONNECTIONS * PIPELINED)
    ]
    statuses: Counter[int] = Counter()
    won: list[Answer] = []
    lost: set[str] = set()
    while waiting:
        answers = await storm(house, waiting, min(CONNECTIONS, len(waiting)))
        busy = 0
        for answer in answers:
            statuses[answer.status] += 1
            if answer.status == 200:
                won.append(answer)
            elif answer.status == 503:
                assert answer.problem == "busy", answer
                assert "retry-after" in answer.headers
                busy += 1
            else:
                assert (answer.status, answer.problem) == (409, "wrong_state"), answer
                lost.add(answer.body["details"]["effect_id"])
        # Whoever was sent away comes again with a key of its own: nothing was recorded for it.
        waiting = waiting[:busy]
    assert len(won) == 1, statuses
    assert lost == {won[0].body["effect_id"]}
    assert statuses[200] + statuses[409] == CONNECTIONS * PIPELINED, statuses
    await only_one_effect(house, won[0].body["grant_id"], won[0].body["effect_id"])


async def test_the_same_key_from_everywhere_gets_the_same_effect(house: FaultHouse) -> None:
    """Retries that overtake each other through several processes: one effect, and each of them hears of it."""
    body = await approved(house, "same-key")
    message = request("POST", "/v1/grants/redeem", token=house.keys[TENANT, "bot"], body=body, key="the-same")
    answers = await storm(house, [message] * _SAME_KEY, _SAME_KEY)
    assert {answer.status for answer in answers} == {200}, Counter(answer.status for answer in answers)
    (effect,) = {answer.body["effect_id"] for answer in answers}
    assert [answer.body["repeated"] for answer in answers].count(False) == 1
    await only_one_effect(house, answers[0].body["grant_id"], effect)


async def only_one_effect(house: FaultHouse, grant_id: str, effect_id: str) -> None:
    """Assert that the log has one redemption of a grant, and that everything else holds."""
    async with house.store() as store:
        events = await house.ledger(store).read(TENANT)
    used = [
        event.payload.effect_id  # type: ignore[attr-defined]
        for event in events
        if event.type == "grant.redeemed" and event.payload.grant_id == grant_id  # type: ignore[attr-defined]
    ]
    assert used == [effect_id]
    await check(house, Record())
