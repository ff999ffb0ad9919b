"""How many schedules are played, in which parts, and how one of them is played again.

Two layers, honestly named. `slices`: a few clients through two processes on one log, with production slices, ledger,
sequencer and hot boundaries, nothing else (`simulator_slices`). `journeys`: the whole installation with Cedar, dispatcher,
gates and redemption (`simulator_journeys`). Of the 100,800 schedules 94,400 are of the first kind and 6,400 of the second.

A schedule that breaks a rule tells its seed. To play it again, alone:

    QUARTERDECK_SIMULATOR_SEED=slices:4711 .venv/bin/pytest -n0 tests/simulator/test_seed.py

A seed is good for the code as it is: a change of a scenario makes another schedule of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from types import MappingProxyType
from typing import Final

import simulator_journeys
import simulator_slices
from simulator_world import World, simulating

SEED_VARIABLE: Final = "QUARTERDECK_SIMULATOR_SEED"
PARTS: Final = 8
IN_A_PART: Final = MappingProxyType({"slices": 11_800, "journeys": 800})
LEAST: Final = 100_000
RUNS: Final[MappingProxyType[str, Callable[[int], World]]] = MappingProxyType(
    {"slices": simulator_slices.run, "journeys": simulator_journeys.run}
)


class Broken(AssertionError):
    """A schedule broke a rule."""

    def __init__(self, layer: str, seed: int, error: BaseException) -> None:
        super().__init__(
            f"schedule {layer}:{seed} broke a rule: {error!r}\n"
            f"again: {SEED_VARIABLE}={layer}:{seed} .venv/bin/pytest -n0 tests/simulator/test_seed.py"
        )
        self.layer = layer
        self.seed = seed
        self.invariant: str | None = getattr(error, "invariant", None)


def seeds(layer: str, part: int) -> range:
    """Return the seeds of a part, counted from 1."""
    size = IN_A_PART[layer]
    return range((part - 1) * size, part * size)


def play(layer: str, part: int) -> None:
    """Play every schedule of a part, and expect that all of them were played.

    Raises:
        Broken: one broke a rule.
    """
    played = search(layer, seeds(layer, part))
    assert played == IN_A_PART[layer]


def search(layer: str, wanted: Iterable[int]) -> int:
    """Play schedules; return how many.

    Raises:
        Broken: one broke a rule, or failed in a way no rule foresees.
    """
    run, played = RUNS[layer], 0
    with simulating():
        for seed in wanted:
            try:
                run(seed)
            except Exception as error:
                raise Broken(layer, seed, error) from error
            played += 1
    return played


def replay(layer: str, seed: int) -> World:
    """Play one schedule again."""
    with simulating():
        return RUNS[layer](seed)


def seed_given() -> tuple[str, int] | None:
    """Return the schedule that the environment asks for."""
    text = os.environ.get(SEED_VARIABLE)
    if text is None:
        return None
    layer, _, number = text.partition(":")
    return layer, int(number)
