"""The simulator finds what people get wrong: each planted bug is caught, by the invariant it breaks, in few schedules.

Serves S0-20, DC-09. A harness that finds nothing proves nothing.
"""

from __future__ import annotations

import pytest
from planted_bugs import BUGS, Bug
from simulator_runs import Broken, search


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_caught_and_the_same_schedule_is_clean_without_it(
    bug: Bug, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        bug.plant(patch)
        with pytest.raises(Broken) as caught:
            search(bug.layer, range(bug.within))
        found = caught.value
        with pytest.raises(Broken) as again:
            search(bug.layer, [found.seed])
    assert found.invariant in bug.caught_by, found
    assert again.value.invariant == found.invariant
    assert f"QUARTERDECK_SIMULATOR_SEED={bug.layer}:{found.seed} " in str(found)
    # Without the bug, that schedule and those before it keep every rule.
    before = range(max(0, found.seed - 100), found.seed + 1)
    assert search(bug.layer, before) == len(before)


def test_enough_different_bugs_are_planted() -> None:
    names = {bug.name for bug in BUGS}
    assert len(names) == len(BUGS) >= 12
    assert len({name for bug in BUGS for name in bug.caught_by}) >= 12
    assert all(bug.plant.__doc__ for bug in BUGS)
