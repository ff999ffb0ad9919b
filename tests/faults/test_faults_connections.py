"""Connections between the API and PostgreSQL are cut, halved, half-closed and delayed, also as a commit's answer is
on its way: whatever was said or not, the same request again comes to one and the same thing.

Serves DC-01, C01; DESIGN 'What must always hold' 1; RELIABILITY 3.1, 3.3 (5).
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest
from faults_commands import REGISTERED, Registrations
from faults_house import FaultHouse
from faults_http import Connection, Lost
from faults_proxy import Proxy, proxy

SEED: Final = 7
_LOST: Final = 12
_IN_AN_ENTRY: Final = b'"kind":"human"'  # so it stands in what is appended, and in no query
_LANES: Final = 6
_EACH: Final = 25
_CHANCE: Final = 0.04
_PATIENCE_S: Final = 90.0
_PAUSE_S: Final = 0.02


@pytest.fixture(scope="module")
def disturbed() -> Iterator[tuple[FaultHouse, Proxy]]:
    """Run a house whose two APIs reach PostgreSQL through a proxy."""
    with tempfile.TemporaryDirectory(prefix="quarterdeck-proxy-") as directory:
        root = Path(directory)
        through = root / "through"
        url = f"postgresql://postgres@/quarterdeck?host={quote(str(through))}"
        house = FaultHouse(root, temporal=False, settings={"QUARTERDECK_DATABASE_URL": url})
        with proxy(through, house.postgres.socket_dir, SEED) as between:
            try:
                house.start()
                yield house, between
            finally:
                house.stop()


async def test_a_commit_whose_answer_is_lost_is_done_once(disturbed: tuple[FaultHouse, Proxy]) -> None:
    """The database has committed, the API cannot know: it says so, and the same key gets the first result."""
    house, between = disturbed
    people = Registrations(house)
    connection = Connection(house.ports[0])
    lost = between.done["lost"]
    for number in range(_LOST):
        between.lose_answer_to = _IN_AN_ENTRY
        answer = await people.send(connection, f"lost-{number}")
        assert answer.status == 503, answer
        again = await people.send(connection, f"lost-{number}")
        assert again.status == 200, again
        assert again.body["repeated"] is True, "it was committed the first time"
    assert between.done["lost"] - lost == _LOST
    await people.check()
    connection.close()


async def test_disturbed_connections_neither_lose_nor_double(disturbed: tuple[FaultHouse, Proxy]) -> None:
    """Every few packets something happens; everybody is registered in the end, once."""
    house, between = disturbed
    before = Registrations(house)
    async with house.store() as store:
        known = {event.id for event in await house.ledger(store).read("acme")}
    between.chance = _CHANCE
    try:
        await asyncio.gather(*(_lane(house, before, lane) for lane in range(_LANES)))
    finally:
        between.chance = 0.0
    assert {"cut", "half", "close", "delay"} <= between.done.keys(), between.done
    await before.check(all_told=False)
    async with house.store() as store:
        events = await house.ledger(store).read("acme")
    new = [event for event in events if event.id not in known and event.type == REGISTERED]
    assert not before.waiting
    assert len(new) == len(before.acknowledged) == _LANES * _EACH


async def _lane(house: FaultHouse, people: Registrations, lane: int) -> None:
    """Register one after another, each until it is acknowledged, at either API."""
    chances = random.Random(SEED + lane)
    connections = [Connection(port) for port in house.ports]
    end = asyncio.get_running_loop().time() + _PATIENCE_S
    for number in range(_EACH):
        status = 0
        while status != 200:
            assert asyncio.get_running_loop().time() < end, f"lane {lane} is stuck at {number}"
            try:
                status = (await people.send(chances.choice(connections), f"lane-{lane}-{number}")).status
            except Lost:
                status = 0
            if status != 200:
                await asyncio.sleep(_PAUSE_S)  # as a client does before it tries again
    for connection in connections:
        connection.close()
