"""Several processes write into one tenant at once, on boundaries that overlap, and die at every step of an append.

Serves DC-01, C01; DESIGN 'What must always hold' 1, 'The log'; RELIABILITY 3.3 (1, 9), I1 to I4.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import faults_writer
from faults_writer import COMMANDS, HALLS, HOT, SEATS, TENANT, command_id, next_to

from quarterdeck_domain.events import RecordedEvent
from quarterdeck_ledger.faults import ALLOWED, CONSENT, FAULTS
from quarterdeck_ledger.keys import MemoryKeyStore
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.postgres import PostgresStore
from quarterdeck_projector.invariants_log import check_log

# What each writer dies of, one after the other; then it comes again, and is left alone.
_DEATHS: Final = {
    "w-0": ("deciding.before_commit@3", "deciding.after_commit@2", "append.after_commit@4"),
    "w-1": ("deciding.after_commit@4", "append.before_commit@6", "execute.done@2"),
    "w-2": ("append.after_commit@9", "deciding.before_commit@1", "execute.decide@8"),
    "w-3": ("execute.read@12", "append.after_commit@1", "deciding.after_commit@1"),
}
_WITHIN_S: Final = 90.0


async def test_writers_that_die_leave_no_gap_and_overlook_nobody(
    migrated_database: Callable[[], str], tmp_path: Path
) -> None:
    """Every seat that was confirmed is taken, once, where it was said; nowhere are there more than there may be."""
    url = migrated_database()
    async with asyncio.timeout(_WITHIN_S):
        lives = await asyncio.gather(*(live(url, name, tmp_path) for name in _DEATHS))
        said = dict(zip(_DEATHS, lives, strict=True))
    async with PostgresStore.open(url, size=2) as store:
        found = [violation async for violation in check_log(store, TENANT)]
        events = await EventLedger(store, MemoryKeyStore()).read(TENANT)
    assert found == []
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    seated = {
        str(command_id(writer, number)): position
        for writer, answers in said.items()
        for number, position in answers.items()
        if position is not None
    }
    assert {str(event.cause.command_id): event.position for event in events} == seated
    assert sum(len(answers) for answers in said.values()) == COMMANDS * len(_DEATHS)
    within_limits(events)


async def live(url: str, writer: str, keys: Path) -> dict[int, int | None]:
    """Let a writer die its deaths and then do its work; return the position that each command was told, or None."""
    answers: dict[int, int | None] = {}
    for death in (*_DEATHS[writer], None):
        point, _, hit = (death or "").partition("@")
        faults = {} if death is None else {FAULTS: f"{point}=kill@{hit}", ALLOWED: CONSENT}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(Path(faults_writer.__file__)), url, writer, str(keys)),
            env={**os.environ, **faults},
            stdout=asyncio.subprocess.PIPE,
        )
        told, _ = await process.communicate()
        for line in told.decode().splitlines():
            words = line.split()
            if words[0] == "full":
                # Before its death it may have heard otherwise: a seat that was confirmed is never taken away.
                assert answers.get(int(words[1])) is None, line
                answers[int(words[1])] = None
            elif len(words) == 3:
                # And one that was refused may have found a seat since? No: seats are never given back.
                number, position = int(words[1]), int(words[2])
                assert answers.setdefault(number, position) == position, line
        expected = 0 if death is None else -signal.SIGKILL
        assert process.returncode == expected, f"{writer} was to die of {death}, and ended with {process.returncode}"
    return answers


def within_limits(events: list[RecordedEvent]) -> None:
    """Assert that at the moment of each seat there was one: no writer overlooked another's."""
    taken: Counter[str] = Counter()
    for event in events:
        hall = str(event.payload.principal_id)  # type: ignore[attr-defined]
        together = taken[HOT] if hall == HOT else taken[hall] + taken[next_to(hall)]
        assert together < SEATS, f"{hall} was full at {event.position}"
        taken[hall] += 1
    assert taken[HOT] == SEATS
    assert any(taken[hall] + taken[next_to(hall)] == SEATS for hall in HALLS)
