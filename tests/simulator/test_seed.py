"""The simulator itself: a seed is a schedule, faults really happen, and nobody counts schedules that are not played.

Serves S0-20, DC-09. `QUARTERDECK_SIMULATOR_SEED=slices:4711` (or `journeys:…`) plays that one schedule again here.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import simulator_world
from simulator_runs import IN_A_PART, LEAST, PARTS, replay, search, seed_given, seeds
from simulator_world import TENANT, World

from quarterdeck_ledger.faults import NAMES

HERE = Path(__file__).parent
ELSEWHERE = ("callback.", "checkpoint.", "erase.", "import.", "project.")
"""Steps that are not simulated: they talk to endpoints, servers, key files and read models. Real processes are killed there."""


def story(world: World) -> list[object]:
    """Return all that happened: every step, fault and event."""
    log = world.store._logs[TENANT]
    events = [(draft.type, draft.id, draft.tags, at) for draft, at in zip(log.drafts, log.times, strict=True)]
    return [world.loop.steps, world.hits, world.injected, world.loop.now, events]


def test_the_schedule_that_was_asked_for_keeps_every_invariant() -> None:
    layer, seed = seed_given() or ("journeys", 0)
    assert replay(layer, seed).loop.steps > 0


@pytest.mark.parametrize("layer", ["slices", "journeys"])
def test_a_seed_is_a_schedule(layer: str) -> None:
    assert [story(replay(layer, seed)) for seed in range(20)] == [story(replay(layer, seed)) for seed in range(20)]
    assert story(replay(layer, 1)) != story(replay(layer, 2))


def test_a_seed_is_a_schedule_in_another_process_too() -> None:
    script = (
        "import sys; sys.path[:0] = [sys.argv[1], sys.argv[2]]\n"
        "from simulator_runs import replay; from test_seed import story\n"
        "print([story(replay('journeys', seed)) for seed in range(5)])\n"
    )
    told = []
    for hash_seed in ("1", "2"):
        words = [sys.executable, "-c", script, str(HERE.parent / "helpers"), str(HERE)]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        told.append(subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout)
    assert told[0] == told[1]
    assert len(told[0]) > 1_000


def test_enough_schedules_are_played() -> None:
    files = sorted(HERE.glob("test_schedules_*.py"))
    parts = [int(found[1]) for file in files if (found := re.search(r"^PART = (\d+)$", file.read_text(), re.MULTILINE))]
    assert sorted(parts) == list(range(1, PARTS + 1))
    for layer in IN_A_PART:
        assert all(f'play("{layer}", PART)' in file.read_text() for file in files)
        every = [seed for part in parts for seed in seeds(layer, part)]
        assert len(set(every)) == len(every) == IN_A_PART[layer] * PARTS
    assert sum(IN_A_PART.values()) * PARTS >= LEAST


def test_faults_happen_at_every_step_that_is_simulated_and_in_every_way(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[str] = set()
    monkeypatch.setattr(simulator_world, "SEEN", seen)
    struck: Counter[str] = Counter()
    at: set[str] = set()
    for layer, count in (("slices", 1_500), ("journeys", 400)):
        for seed in range(count):
            for _, name, what in replay(layer, seed).injected:
                struck[what.partition(" ")[0]] += 1
                at.add(name)
    simulated = {name for name in NAMES if not name.startswith(ELSEWHERE)}
    assert simulated <= seen
    assert NAMES - simulated == {name for name in NAMES if name not in seen}
    assert set(struck) == {"kill", "raise", "jump", "back", "forget"}
    assert all(count >= 50 for count in struck.values()), struck
    assert len(at & simulated) >= 0.8 * len(simulated), sorted(simulated - at)


def test_journeys_come_to_every_end() -> None:
    ends: Counter[str] = Counter()
    continued = 0
    for seed in range(250):
        world = replay("journeys", seed)
        ends.update(draft.type for draft in world.store._logs[TENANT].drafts)
        continued += world.temporal.continued
    assert continued > 0
    for kind in ("granted", "denied", "expired", "cancelled", "reminded"):
        assert ends[f"approval.{kind}"] > 0, ends
    assert ends["grant.redeemed"] > 50


def test_no_schedule_is_counted_that_was_not_played() -> None:
    assert search("slices", range(0)) == 0
    assert search("slices", range(7)) == 7
