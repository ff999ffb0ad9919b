"""Part 5 of the schedules; see `simulator_runs`. Serves S0-20, DC-09."""

from simulator_runs import play

PART = 5


def test_small_schedules_keep_every_invariant() -> None:
    play("slices", PART)


def test_whole_journeys_keep_every_invariant() -> None:
    play("journeys", PART)
