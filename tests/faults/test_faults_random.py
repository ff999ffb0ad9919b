"""Hundreds of kills, at moments that a seed chooses, of every process there is, while the journey is walked.

Serves DC-01, DC-07, C01, C03; DESIGN 'What must always hold' 1, 2, 4; RELIABILITY 3.3 (1), 3.4, 5 G1.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from typing import Final

from faults_house import FaultHouse
from faults_journey import Record, Walkers, check, receiving

SEED: Final = 20_261_121
# What dies how often: at some moment, at some step it passes, two at once; one process of PostgreSQL, all of it, Temporal.
_PLAN: Final = {"moment": 130, "step": 45, "two": 20, "backend": 14, "postgres": 8, "temporal": 3}
ROUNDS: Final = sum(_PLAN.values())
_CHECK_EVERY: Final = 44
_LONGEST_S: Final = 0.12
_WITHIN_S: Final = 30.0
_ROLES: Final = ("api-0", "api-1", "worker", "projector")


class Killer:
    """Kills by a seed; remembers what."""

    def __init__(self, house: FaultHouse, seed: int) -> None:
        self._house = house
        self._random = random.Random(seed)
        self.plan = [what for what, times in _PLAN.items() for _ in range(times)]
        self._random.shuffle(self.plan)
        self.kills: dict[str, int] = {}

    async def round(self, what: str) -> None:
        """Let one process, two at once, or a whole server die, and bring it back."""
        if what == "step":
            await self._at_some_step()
            return
        with contextlib.suppress(TimeoutError):
            # The moment is the seed's: nothing is waited for.
            async with asyncio.timeout(self._random.uniform(0, _LONGEST_S)):
                await asyncio.Event().wait()
        if what in {"moment", "two"}:
            for role in self._random.sample(_ROLES, 2 if what == "two" else 1):
                self._kill(role)
                self._house.spawn(role)
        elif what == "backend":
            self._kill_backend()
        elif what == "postgres":
            await self._house.restart_postgres()
            self._count("postgres")
        else:
            await self._house.restart_temporal()
            self._count("temporal")

    async def _at_some_step(self) -> None:
        role = self._random.choice(_ROLES)
        seed, chance = self._random.randrange(2**32), self._random.choice((0.02, 0.1, 0.3))
        self._kill(role)
        doomed = self._house.spawn(role, f"seed={seed}; *=kill~{chance}")
        assert await doomed.died(_WITHIN_S), f"{role} passed no step:\n{self._house.tail(role)}"
        self._house.spawn(role)
        self._count(role.partition("-")[0])

    def _kill(self, role: str) -> None:
        if not self._house.roles[role].dead:
            self._house.kill(role)
            self._count(role.partition("-")[0])

    def _kill_backend(self) -> None:
        # One process of PostgreSQL: the server sees it, throws everybody out and recovers by itself.
        backends = self._house.backends()
        assert backends
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._random.choice(backends), signal.SIGKILL)
        self._count("backend")

    def _count(self, what: str) -> None:
        self.kills[what] = self.kills.get(what, 0) + 1


async def test_hundreds_of_kills_lose_nothing(house: FaultHouse) -> None:
    """After every kill the journeys go on; after every few, and at the end, everything holds."""
    record, killer = Record(), Killer(house, SEED)
    async with receiving() as hook:
        async with Walkers(house, record, hook, seed=2).walking():
            for number, what in enumerate(killer.plan, 1):
                await killer.round(what)
                if number % _CHECK_EVERY == 0:
                    await _answering(house)
                    await check(house, record, read_models=number % (2 * _CHECK_EVERY) == 0)
            await _answering(house)
        await check(house, record, read_models=True, gates=True)
    assert killer.kills.keys() == {"api", "worker", "projector", "backend", "postgres", "temporal"}, killer.kills
    print(f"{ROUNDS} rounds, seed {SEED}: killed {killer.kills}; {record.journeys} journeys, {record.repeats} repeats")
    assert sum(killer.kills.values()) >= ROUNDS, killer.kills
    assert record.journeys > ROUNDS // 4
    assert record.repeats > 0


async def _answering(house: FaultHouse) -> None:
    house.revive()
    for name in ("api-0", "api-1"):
        await house.ready(name)
