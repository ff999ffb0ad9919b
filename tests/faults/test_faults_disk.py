"""PostgreSQL's disk is full: the API says so in a typed way, loses nothing it acknowledged, and goes on afterwards.

Serves DC-01, C01; DESIGN 'What must always hold' 1; RELIABILITY 3.3 (2, 3).
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Final

from faults_commands import Registrations
from faults_disk import Disk, Quota, small_disk
from faults_house import FaultHouse, fault_house
from faults_http import Connection, Lost

_BEFORE: Final = 20
_MEANWHILE: Final = 40
_MOST: Final = 4_000
_LANES: Final = 4
_WITHIN_S: Final = 60.0


def run(directory: Path, disk: Disk) -> None:
    """Fill the disk under a house, free it, and look."""
    with fault_house(directory, data=disk.data, temporal=False, apis=1) as house:
        asyncio.run(_fill_and_free(house, disk))


def test_a_full_disk_is_said_and_survived() -> None:
    """A small disk of its own, where one can be mounted."""
    with tempfile.TemporaryDirectory(prefix="quarterdeck-disk-") as directory, small_disk(Path(directory)) as disk:
        run(Path(directory), disk)


def test_a_quota_is_said_and_survived() -> None:
    """No file may grow: not the tables, not the write-ahead log."""
    with tempfile.TemporaryDirectory(prefix="quarterdeck-disk-") as directory:
        run(Path(directory), Quota(Path(directory)))


async def _fill_and_free(house: FaultHouse, disk: Disk) -> None:
    people = Registrations(house)
    connection = Connection(house.ports[0])
    for number in range(_BEFORE):
        assert (await people.send(connection, f"before-{number}")).status == 200
    disk.fill(house.postgres)
    refused = await _until_refused(people)
    assert refused, "the disk never was full"
    for number in range(_MEANWHILE):
        assert (await people.send(connection, f"meanwhile-{number}")).status in {200, 503}
    disk.free(house.postgres)
    if house.postgres.pid is None:
        await asyncio.to_thread(house.postgres.start)  # it gave up for want of room, and an operator starts it again
    await _settle(people, connection)
    await people.check()
    connection.close()


async def _until_refused(people: Registrations) -> bool:
    """Send, over several lanes, until one is refused; tell whether one was."""
    refused = asyncio.Event()

    async def lane(name: int) -> None:
        connection = Connection(people.house.ports[0])
        for number in range(_MOST // _LANES):
            if refused.is_set():
                break
            if (await people.send(connection, f"filling-{name}-{number}")).status == 503:
                refused.set()
        connection.close()

    await asyncio.gather(*(lane(name) for name in range(_LANES)))
    return refused.is_set()


async def _settle(people: Registrations, connection: Connection) -> None:
    """Repeat whatever was not acknowledged, under its key, until it is."""
    end = asyncio.get_running_loop().time() + _WITHIN_S
    while people.waiting:
        assert asyncio.get_running_loop().time() < end, f"{len(people.waiting)} are still refused"
        for key in sorted(people.waiting):
            try:
                await people.send(connection, key)
            except Lost:
                break
