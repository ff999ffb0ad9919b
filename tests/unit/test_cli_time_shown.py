"""Playing the past again and showing what differs, without a server: keys, gaps, and strangers' text.

Serves C08, S0-52; threats T7.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from quarterdeck_cli.diff import change_lines
from quarterdeck_cli.explain import explained
from quarterdeck_cli.happened import event_line
from quarterdeck_cli.replay_player import FAR, MAX_GAP_S, SPEEDS, Player
from quarterdeck_cli.replay_screen import keys_of, screen

HOSTILE = "[red]x[/] \x1b[2J\r\n+ agent:y \u202egnp \u200b\\"
HIDDEN = set("\x1b\r\u202e\u200b")
BEGAN = datetime(2026, 11, 14, tzinfo=UTC)


def event(number: int, gap_s: float = 60.0, **more: Any) -> dict[str, Any]:
    """Return the event of a number, each so long after the one before."""
    at = (BEGAN + timedelta(seconds=gap_s * number)).isoformat()
    actor = {"principal": "prn_1", "kind": "human", "onBehalfOf": []}
    return {
        "position": number,
        "type": "asset.changed",
        "recordedAt": at,
        "actor": actor,
        "tags": [],
        "data": {},
    } | more


def player(count: int, speed: float = 60.0, gap_s: float = 60.0) -> Player:
    """Return a player of so many events."""
    return Player((event(number, gap_s) for number in range(1, count + 1)), speed)


def test_gaps_are_as_they_were_divided_by_the_speed() -> None:
    """The first comes at once, the others after their gap; nobody waits for long; without speed, no gaps."""
    played = player(3)
    assert played.wait_s(10.0) == 0
    assert played.advance() == event(1)
    assert played.wait_s(10.0) == pytest.approx(1.0)
    assert played.wait_s(10.4) == pytest.approx(0.6)
    played.advance()
    assert played.skipped() is None
    far = player(2, gap_s=86_400.0)
    far.advance()
    assert far.wait_s(0.0) == MAX_GAP_S
    assert far.skipped() == timedelta(days=1)
    fast = player(2, speed=0)
    fast.advance()
    assert fast.wait_s(0.0) == 0
    fast.advance()
    assert (fast.wait_s(0.0), fast.advance(), fast.over) == (None, None, True)


def test_keys() -> None:
    """Space pauses and goes on; + and - change the speed; arrows, home and end seek, and stay there; q ends."""
    played = player(100)
    played.advance()
    assert played.press(" ")
    assert played.wait_s(0.0) is None
    played.press(" ")
    assert played.wait_s(0.0) is not None
    played.press("+")
    assert played.speed == 300.0
    played.press("-")
    played.press("-")
    assert played.speed == 20.0
    played.press("right")
    assert (played.shown, played.paused) == (2, True)
    played.press("down")
    assert played.shown == 2 + FAR
    played.press("left")
    played.press("up")
    assert played.shown == 1
    played.press("end")
    assert (played.shown, played.over) == (100, True)
    played.press("home")
    assert (played.shown, played.over) == (0, False)
    assert played.press("x")
    assert not played.press("q")


KEYS = [" ", "+", "-", "left", "right", "up", "down", "home", "end", "x"]


@given(st.integers(0, 60), st.lists(st.sampled_from([*KEYS, "advance"]), max_size=40))
def test_whatever_is_pressed_the_place_is_one_there_is(count: int, keys: list[str]) -> None:
    """What was shown is always the beginning of what there is, in order; the speed is one of ours."""
    played = player(count)
    for key in keys:
        if key == "advance":
            played.advance()
        else:
            assert played.press(key)
        assert 0 <= played.shown <= len(played.events) <= count
        assert [item["position"] for item in played.events] == list(range(1, len(played.events) + 1))
        assert played.speed in SPEEDS
        assert played.over == (played.shown == count)
        assert len(screen(played, 80, 24)) <= 24


def test_only_what_is_shown_is_read() -> None:
    """A page is not asked for before somebody gets there."""
    read: list[int] = []

    def source() -> Iterator[dict[str, Any]]:
        for number in range(1, 1_000):
            read.append(number)
            yield event(number)

    played = Player(source(), 60.0)
    played.advance()
    played.wait_s(0.0)
    assert read == [1, 2]


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b" q", [" ", "q"]),
        (b"\x1b[A\x1b[B\x1b[C\x1b[D", ["up", "down", "right", "left"]),
        (b"\x1bOC\x1b[H\x1b[4~", ["right", "home", "end"]),
        (b"\x1b", ["escape"]),
        (b"+\x1b[24;5R", ["+"]),
    ],
)
def test_keys_of_a_terminal(data: bytes, keys: list[str]) -> None:
    """What is no key of ours is passed over, and ends nothing."""
    assert list(keys_of(data)) == keys


def plain(lines: Any) -> str:
    """Return what a terminal with colours would get, without the styles that we gave it."""
    out = Console(markup=False, emoji=False, highlight=False, width=2_000, file=io.StringIO(), force_terminal=True)
    for line in lines:
        out.print(line, soft_wrap=True)
    return re.sub(r"\x1b\[[0-9;]*m", "", out.file.getvalue())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "data",
    [
        {"asset": HOSTILE, "facts": {HOSTILE: HOSTILE}, "reason": HOSTILE},
        {"source": HOSTILE, "relation": HOSTILE, "target": HOSTILE, "evidence": HOSTILE},
        {"survivor": HOSTILE, "merged": HOSTILE, "adopted": {HOSTILE: [HOSTILE]}},
        {
            "drift_id": "drf_1",
            "asset": HOSTILE,
            "input": HOSTILE,
            "field": HOSTILE,
            "expected": HOSTILE,
            "found": HOSTILE,
        },
        {"run": "run_1", "source": HOSTILE, "registered": HOSTILE},
        {"owner": HOSTILE, "team": HOSTILE, "name": HOSTILE},
        None,
        [HOSTILE],
    ],
)
def test_an_event_is_one_line_whatever_strangers_wrote(data: Any) -> None:
    """In lists and on the screen."""
    actor = {"principal": HOSTILE, "kind": "agent", "onBehalfOf": [HOSTILE]}
    hostile = event(1, type=HOSTILE, recordedAt=HOSTILE, actor=actor, data=data)
    text = plain([event_line(hostile)])
    assert not set(text) & HIDDEN
    assert text.count("\n") == 1
    played = Player(iter([hostile, hostile]), 60.0)
    played.advance()
    assert not set(plain(screen(played, 80, 24))) & HIDDEN


def test_changes_and_slices_show_strangers_text_as_text() -> None:
    """Every field of them may be what somebody else wrote."""
    fields = [{"name": HOSTILE, "before": {HOSTILE: HOSTILE}, "after": HOSTILE}]
    fields.append({"name": "attributes", "before": {HOSTILE: HOSTILE}, "after": {HOSTILE: [HOSTILE]}})
    change = {"kind": "CHANGED", "objectKind": HOSTILE, "objectId": HOSTILE, "fields": fields}
    happened = dict.fromkeys(("position", "recordedAt", "type", "actor", "why", "without"), HOSTILE)
    found = {"outcome": HOSTILE, "notReplayable": HOSTILE, "size": 1, "candidates": 2, "withheld": 1, "settled": [3]}
    found |= {"events": [happened], "absences": [{"words": HOSTILE, "instead": HOSTILE}]}
    found["checked"] = {"whole": True, "sufficient": False, "irreducible": None, "absent": True, "settled": True}
    for lines in (change_lines(change), explained(found)):
        text = plain(lines)
        assert not set(text) & HIDDEN
        assert not any(line.startswith("+ agent:y") for line in text.splitlines())


def test_a_change_is_shown_field_by_field() -> None:
    """Members of mappings by themselves; what is the same is not shown; a relation is its own sentence."""
    fields = [
        {"name": "attributes", "before": {"a": 1, "b": 2}, "after": {"a": 1, "b": 3}},
        {"name": "owner", "before": None, "after": "x"},
    ]
    change = {"kind": "CHANGED", "objectKind": "ASSET", "objectId": "agent:a", "fields": fields}
    assert plain(change_lines(change)) == "~ agent:a\n    attributes.b  2 -> 3\n    owner         (nothing) -> x\n"
    related = {"kind": "ADDED", "objectKind": "RELATION", "objectId": "relation:agent:a calls tool:t", "fields": fields}
    assert plain(change_lines(related)) == "+ agent:a calls tool:t\n"
