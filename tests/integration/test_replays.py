"""The past played again: paused, gone on with, sought in, at another speed, and each event with what it left.

Serves S0-120, DC-06, DC-09. How it goes over the wire is `test_graphql_subscriptions.py`, its pace
`test_graphql_streams.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any, Final

import pytest
import pytest_asyncio
from api_house import over_http
from demo_world import DemoWorld, demo_world

from quarterdeck import Quarterdeck, Refused
from quarterdeck_cli.demo_happenings import PREVIEW

pytestmark = pytest.mark.asyncio(loop_scope="module")

REPLAY: Final = """subscription($from: Moment, $to: Moment, $speed: Float!, $clock: DateTime, $about: [ID!]) {
    replay(from: $from, to: $to, speed: $speed, clock: $clock, filter: {about: $about}) { position recordedAt type } }"""
FRAMES: Final = """subscription($from: Moment, $about: [ID!]) { replay(from: $from, filter: {about: $about}) {
    type record { position node(id: "asset:tool:audience.preview") { ... on Asset { lifecycle } } }
    objects(kinds: ["asset", "drift"]) { id ... on Asset { lifecycle } ... on Drift { state } } } }"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def demo(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DemoWorld]:
    """The demo's estate, and what happens to it."""
    async with demo_world(module_database, tmp_path_factory.mktemp("house")) as made:
        yield made


async def heard(demo: DemoWorld, text: str, most: int | None = None, **variables: Any) -> list[dict[str, Any]]:
    """Return the events of a stream, to its end or until somebody has had enough of it."""
    found: list[dict[str, Any]] = []
    stream = await demo.listen(text, **variables)
    async for result in stream:
        assert result.errors is None, result.errors
        found.append(next(iter(result.data.values())))
        if len(found) == most:
            break
    await stream.aclose()
    return found


async def test_a_replay_is_paused_and_goes_on(demo: DemoWorld) -> None:
    """At every place: what came before the pause and after it is the whole, at whatever speed it goes on."""
    whole = await heard(demo, REPLAY, speed=0, about=[PREVIEW])
    assert len(whole) == 7
    for place in range(1, len(whole)):
        first = await heard(demo, REPLAY, place, speed=1_000, about=[PREVIEW])
        last = first[-1]
        rest = await heard(
            demo,
            REPLAY,
            speed=1_000_000 if place % 2 else 0,
            clock=last["recordedAt"],
            about=[PREVIEW],
            **{"from": {"position": last["position"]}},
        )
        assert first + rest == whole


async def test_a_replay_seeks(demo: DemoWorld) -> None:
    """To a position or a time, back and forth: the same events from there, however one came there."""
    whole = await heard(demo, REPLAY, speed=0)
    assert [event["position"] for event in whole] == list(range(1, len(whole) + 1))
    for place in (len(whole) - 3, 5, len(whole) // 2):
        by_position = await heard(demo, REPLAY, 3, speed=0, **{"from": {"position": place}})
        assert by_position == whole[place : place + 3]
    late = whole[demo.before - 1]
    by_time = await heard(demo, REPLAY, 1, speed=0, **{"from": {"time": late["recordedAt"]}})
    assert by_time == [next(event for event in whole if event["recordedAt"] > late["recordedAt"])]


async def test_each_event_with_what_it_left(demo: DemoWorld) -> None:
    """A frame a time: the tool is live until it is put into quarantine, and the drift that led to it is open."""
    frames = await heard(demo, FRAMES, about=[PREVIEW])
    assert [frame["type"] for frame in frames][-2:] == ["drift.detected", "asset.quarantined"]
    assert all(one["record"]["position"] < other["record"]["position"] for one, other in pairwise(frames))
    states = [(frame["record"]["node"] or {}).get("lifecycle") for frame in frames]
    assert states == [None, "LIVE", "LIVE", "LIVE", "LIVE", "LIVE", "QUARANTINED"]
    assert [(found["id"][:4], found.get("state", found.get("lifecycle"))) for found in frames[-2]["objects"]] == [
        ("asse", "LIVE"),
        ("drf_", "OPEN"),
    ]
    registered = frames[1]["objects"]
    assert [found["id"] for found in registered] == ["asset:tool:audience.preview"]


async def test_a_page_of_the_timeline_has_frames_too(demo: DemoWorld) -> None:
    """The same fields; a page of a hundred frames is not too dear."""
    query = "{ timeline(first: 100, order: NEWEST_FIRST) { edges { node { type record { position } } } } }"
    edges = (await demo.here.ask(query))["timeline"]["edges"]
    assert [edge["node"]["record"]["position"] for edge in edges] == sorted(
        (edge["node"]["record"]["position"] for edge in edges), reverse=True
    )


async def test_an_agent_sees_of_a_frame_what_it_may(demo: DemoWorld) -> None:
    """The objects of its own, and neither the map nor other principals."""
    query = "{ timeline(first: 10) { edges { node { type objects { id __typename } } } } }"
    edges = (await demo.here.ask(query, by="bot"))["timeline"]["edges"]
    seen = {found["__typename"] for edge in edges for found in edge["node"]["objects"]}
    assert seen <= {"Principal", "ApiKey"}
    assert {
        found["id"] for edge in edges for found in edge["node"]["objects"] if found["__typename"] == "Principal"
    } == {demo.here.world.id("bot")}


async def test_the_client_plays_the_same(demo: DemoWorld) -> None:
    """Over HTTP, in pages: every event that the stream has; sought, from there; and a refusal is one of the client's."""
    whole = [event["position"] for event in await heard(demo, REPLAY, speed=0)]
    key = demo.here.world.api.keys[demo.here.world.tenant, "ann"]
    async with over_http(demo.here.world.services) as address, Quarterdeck(address, key) as client:
        past = client.replay(speed=0)
        assert [event["position"] async for event in past] == whole
        past.seek(position=demo.before)
        assert [event["position"] async for event in past] == whole[demo.before :]
        touched = [event["type"] async for event in client.replay(speed=0, about=[PREVIEW])]
        assert touched[-2:] == ["drift.detected", "asset.quarantined"]
        with pytest.raises(Refused, match="not the id of an object"):
            await anext(client.replay(about=["order:4711"]))
