"""The client's replay: paused, gone on with, faster, slower, from anywhere. Serves S0-120, DC-06."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from quarterdeck import NotConfigured, Refused, Replay
from quarterdeck.replay import PAGE, asking
from quarterdeck.transport import Answer

START = datetime(2026, 11, 21, tzinfo=UTC)


class Log:
    """A log of events an hour apart, asked as the server is."""

    def __init__(self, length: int) -> None:
        self.events = [
            {"position": place, "recordedAt": (START + timedelta(hours=place)).isoformat(), "type": "x"}
            for place in range(1, length + 1)
        ]
        self.asked: list[Mapping[str, Any]] = []

    async def __call__(self, question: str, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer the two questions that a replay asks."""
        if "position" in variables:
            return {"at": {"recordedAt": self.events[variables["position"] - 1]["recordedAt"]}}
        self.asked.append(variables)
        begin = variables["filter"].get("from", "")
        found = [event for event in self.events if event["recordedAt"] >= begin]
        found = found[int(variables["after"] or 0) :]
        shown, place = found[: variables["first"]], int(variables["after"] or 0) + variables["first"]
        page = {"hasNextPage": len(found) > len(shown), "endCursor": str(place)}
        return {"timeline": {"edges": [{"node": event} for event in shown], "pageInfo": page}}


async def places(replay: Replay, most: int | None = None) -> list[int]:
    """Return the positions of the next events."""
    found: list[int] = []
    async for event in replay:
        found.append(event["position"])
        if len(found) == most:
            break
    return found


async def settle() -> None:
    """Let the loop go round until nothing is left to do but wait."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_everything_in_order_page_by_page() -> None:
    """And what is asked for is asked of the server."""
    log = Log(2 * PAGE + 50)
    replay = Replay(log, speed=0, about=["agent:a"], types=["x"], to=START + timedelta(days=30))
    assert await places(replay) == list(range(1, 2 * PAGE + 51))
    assert [asked["after"] for asked in log.asked] == [None, str(PAGE), str(2 * PAGE)]
    assert log.asked[0]["filter"] == {"about": ["agent:a"], "types": ["x"], "to": "2026-12-21T00:00:00+00:00"}
    assert (replay.position, replay.clock) == (2 * PAGE + 50, START + timedelta(hours=2 * PAGE + 50))


async def test_seek_to_a_position_or_a_time() -> None:
    """Back and forth, in the middle of it and after its end."""
    replay = Replay(Log(10), speed=0)
    assert await places(replay, 3) == [1, 2, 3]
    replay.seek(position=7)
    assert await places(replay, 2) == [8, 9]
    replay.seek(time=START + timedelta(hours=2))
    assert await places(replay) == list(range(2, 11))
    replay.seek(position=9)
    assert await places(replay) == [10]
    assert await places(replay) == []


async def test_a_seek_ends_the_wait_for_what_comes_next() -> None:
    """Nobody waits an hour to be somewhere else; from there on it waits again."""
    replay = Replay(Log(10), speed=1)
    assert await places(replay, 1) == [1]
    waiting = asyncio.ensure_future(anext(replay))
    await settle()
    assert not waiting.done()
    replay.seek(time=START + timedelta(hours=6))
    assert (await waiting)["position"] == 6


async def test_nothing_happens_while_it_is_paused() -> None:
    """At no speed, and not until it goes on."""
    replay = Replay(Log(3), speed=0)
    replay.pause()
    waiting = asyncio.ensure_future(anext(replay))
    replay.set_speed(1_000_000)
    await settle()
    assert not waiting.done()
    replay.resume()
    assert (await waiting)["position"] == 1


async def test_what_is_left_of_a_gap_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paused after two seconds at ten minutes a second: forty of its sixty minutes are left, however long the pause."""
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now)
    replay = Replay(Log(3), speed=600)
    assert await places(replay, 1) == [1]
    waiting = asyncio.ensure_future(anext(replay))
    await settle()
    now += 2
    replay.pause()
    await settle()
    assert replay.clock == START + timedelta(hours=1, minutes=20)
    now += 3_600
    replay.set_speed(1_200)
    replay.resume()
    await settle()
    assert not waiting.done()
    now += 2.1
    assert (await waiting)["position"] == 2
    assert replay.clock == START + timedelta(hours=2)


@pytest.mark.parametrize("speed", [-1.0, float("inf"), float("nan")])
def test_a_speed_that_is_none_is_refused(speed: float) -> None:
    """Before anything is asked."""
    with pytest.raises(NotConfigured):
        Replay(Log(1), speed=speed)


def test_a_place_that_is_none_is_refused() -> None:
    """Both, neither, or a time that could mean many."""
    replay = Replay(Log(1))
    for place in ({}, {"position": 1, "time": START}, {"time": datetime(2026, 1, 1)}):  # noqa: DTZ001
        with pytest.raises(NotConfigured):
            replay.seek(**place)


async def test_a_refusal_of_graphql_is_one_of_the_client() -> None:
    """With its code and details."""

    async def send(*_: object, **__: object) -> Answer:
        error = {"message": "no", "extensions": {"code": "not_allowed", "details": {"needs": ["auditor"]}}}
        return Answer(200, {"data": None, "errors": [error]})

    with pytest.raises(Refused) as refused:
        await anext(Replay(asking(send)))
    assert (refused.value.code, refused.value.problem.details) == ("not_allowed", {"needs": ["auditor"]})
