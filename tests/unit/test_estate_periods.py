"""Periods for which something is declared to hold, said late, ahead, for a while, one within another, and withdrawn.

Serves S0-20, S0-43.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from given import Log, acting, registered
from hypothesis import given, settings
from hypothesis import strategies as st

from quarterdeck_domain.errors import NotFound
from quarterdeck_domain.estate.events import AssetRegistered
from quarterdeck_domain.estate.periods import MAX_PERIODS, Period, declare, joined, telling, withdraw
from quarterdeck_domain.estate.slices_relations import RelateAssets, UnrelateAssets

DAYS = 12
spans = st.tuples(st.integers(0, DAYS), st.none() | st.integers(1, DAYS))
"""A beginning, and for how many days if not for ever."""
words = st.lists(spans | st.integers(0, DAYS), max_size=14)
"""What is declared, and as of when all is withdrawn."""


def day(number: int) -> datetime:
    """Return a day."""
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)


def said(history: list[tuple[int, int | None] | int]) -> list[Period[datetime]]:
    """Return the periods that a history leaves; each says which word it was."""
    periods: list[Period[datetime]] = []
    for place, word in enumerate(history):
        if isinstance(word, int):
            periods = withdraw(periods, day(word))
        else:
            begins, lasts = word
            ends = None if lasts is None else day(begins + lasts)
            periods = declare(periods, Period(day(begins), ends, place))
    return periods


def naive(history: list[tuple[int, int | None] | int], moment: int) -> int | None:
    """Return which word tells of a day: of the declarations that cover it and were not withdrawn by then, the one that
    took effect last, and of those the one said last."""
    covering = []
    for place, word in enumerate(history):
        if isinstance(word, int):
            continue
        begins, lasts = word
        gone = [item for item in history[place + 1 :] if isinstance(item, int)]
        if begins <= moment < min([begins + (lasts or 2 * DAYS + 9), *gone]):
            covering.append((begins, place))
    return max(covering, default=(0, None))[1]


@settings(max_examples=500)
@given(words)
def test_each_day_is_told_of_by_what_took_effect_last(history: list[tuple[int, int | None] | int]) -> None:
    periods = said(history)
    for moment in range(-1, 2 * DAYS + 2):
        told = telling(periods, day(moment))
        assert (told and told.said) == naive(history, moment), moment


@given(words)
def test_joined_they_cover_the_same_days(history: list[tuple[int, int | None] | int]) -> None:
    """And none touches another."""
    periods = said(history)
    spans = joined(periods)
    for moment in range(-1, 2 * DAYS + 2):
        covering = [span for span in spans if Period(*span).covers(day(moment))]
        assert len(covering) == (telling(periods, day(moment)) is not None)
    assert all(first[1] is not None and first[1] < second[0] for first, second in pairwise(spans))


@given(words)
def test_no_period_is_kept_longer_than_it_tells_of_something(history: list[tuple[int, int | None] | int]) -> None:
    """So one at most is open, and no two end at once."""
    periods = said(history)
    assert [item.begins for item in periods] == sorted(item.begins for item in periods)
    assert len({item.ends for item in periods}) == len(periods)
    assert all(item.lasts(item.begins) for item in periods)


def test_what_is_open_is_not_ended_by_what_lies_within_it() -> None:
    """Said late of a time that is over, or ahead of one that will be."""
    for begins in (-400, 400):
        periods = said([(0, None), (begins, 31)])
        assert [telling(periods, day(moment)) is not None for moment in (-1, 0, 500, 9_000)] == [
            False,
            True,
            True,
            True,
        ]
        assert telling(periods, day(begins + 1)) == Period(day(begins), day(begins + 31), 1)


def test_however_much_is_said_what_is_open_stays() -> None:
    """Of too many periods those that end last are kept; said again and again it is one."""
    late = [(-10 * number, 3) for number in range(1, 2 * MAX_PERIODS)]
    ahead = [(10 * number, 3) for number in range(1, 2 * MAX_PERIODS)]
    for more in (late, ahead, [(-number, 2 * number) for number in range(1, 2 * MAX_PERIODS)]):
        periods = said([(0, None), *more])
        assert len(periods) == MAX_PERIODS
        assert telling(periods, day(10**5)) == Period(day(0), None, 0)
    assert said([(3, None)] * 9) == [Period(day(3), None, 8)]
    assert said([(3, 5)] * 9) == [Period(day(3), day(8), 8)]


def test_nothing_new_is_said_by_saying_again_what_holds() -> None:
    """Without dates, of what is open, whatever was said of other times since; and what was withdrawn as of later can be
    withdrawn now."""
    ends: dict[str, Any] = {"source": "agent:a", "relation": "calls", "target": "tool:b"}
    admin = acting("ada")
    log = Log(registered("ada", "administrator"))
    for asset in ("agent:a", "tool:b"):
        log.given(AssetRegistered(asset=asset, facts={"lifecycle": "live"}, source="x"))

    def run(command: RelateAssets | UnrelateAssets) -> bool:
        decision = log.decide(command)
        log.given(*decision.events).wait(seconds=1)
        return bool(decision.events)

    assert run(RelateAssets(**ends, evidence="seen", valid_from=day(-9), actor=admin))
    for dates in ((-99, -90), (90, 99)):
        assert run(RelateAssets(**ends, valid_from=day(dates[0]), valid_to=day(dates[1]), actor=admin))
        assert not run(RelateAssets(**ends, evidence="seen", actor=admin))
    assert run(RelateAssets(**ends, evidence="heard", actor=admin))
    assert not run(RelateAssets(**ends, evidence="heard", actor=admin))
    assert run(UnrelateAssets(**ends, valid_to=day(200), actor=admin))
    assert run(UnrelateAssets(**ends, valid_to=day(100), actor=admin))
    assert run(UnrelateAssets(**ends, actor=admin))
    log.refuses(UnrelateAssets(**ends, actor=admin), NotFound)
    assert run(RelateAssets(**ends, evidence="heard", actor=admin))
