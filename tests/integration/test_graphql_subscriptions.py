"""Streams over graphql-transport-ws: live and from the past, for as long as the listener may listen, and no longer.

Serves DC-06, S0-120; RELIABILITY 3.6. The server is a real one, the client is `websockets`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import websockets
from api_house import key_id_of, over_http
from graphql.execution.collect_fields import CollectedFields
from graphql_world import GraphWorld, Story, graph_world
from websockets.asyncio.client import ClientConnection

from quarterdeck_domain.access.slices import GrantRole, RevokeRole
from quarterdeck_domain.access.values import SYSTEM
from quarterdeck_graphql import socket
from quarterdeck_graphql.persisted import operations
from quarterdeck_ledger.errors import Unavailable

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIVE = """subscription($after: Position, $filter: TimelineFilter) {
    timeline(after: $after, filter: $filter) { position type } }"""
REPLAY = """subscription($from: Moment, $to: Moment, $speed: Float!, $filter: TimelineFilter) {
    replay(from: $from, to: $to, speed: $speed, filter: $filter) { position type data withheld { field } } }"""
PATIENCE_S = 20


class Server:
    """A served world."""

    def __init__(self, here: GraphWorld, story: Story, address: str) -> None:
        self.here, self.story, self.world = here, story, here.world
        self.url = address.replace("http://", "ws://") + "/graphql"

    def connect(self, **options: Any) -> Any:
        """Return a connection, not yet initialised."""
        return websockets.connect(
            self.url, **{"subprotocols": ["graphql-transport-ws"], "proxy": None, "max_size": None, **options}
        )

    @contextlib.asynccontextmanager
    async def listener(self, by: str = "ann", **options: Any) -> AsyncIterator[Listener]:
        """Return a connection on which somebody may listen."""
        async with self.connect(**options) as connection:
            found = Listener(connection)
            await found.init(self.world.auth(by)["Authorization"])
            yield found

    async def happen(self, count: int = 1) -> int:
        """Let something be recorded; return the last position."""
        for _ in range(count):
            await self.world.evaluate(self.world.intent(action="wipe"))
        return await self.world.position()


class Listener:
    """The client's side of the protocol."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self._inbox: dict[str, asyncio.Queue[dict[str, Any]]] = {}

    async def send(self, **message: Any) -> None:
        """Send a message."""
        await self.connection.send(json.dumps(message))

    async def receive(self) -> dict[str, Any]:
        """Return the next message, whatever it is about."""
        async with asyncio.timeout(PATIENCE_S):
            found: dict[str, Any] = json.loads(await self.connection.recv())
        return found

    async def init(self, authorization: str) -> None:
        """Say who listens."""
        await self.send(type="connection_init", payload={"authorization": authorization})
        assert await self.receive() == {"type": "connection_ack"}

    async def subscribe(self, query: str, name: str = "1", **variables: Any) -> None:
        """Begin to listen."""
        await self.send(type="subscribe", id=name, payload={"query": query, "variables": variables})

    async def events(self, count: int) -> list[dict[str, Any]]:
        """Return that many events."""
        found = []
        while len(found) < count:
            message = await self.receive()
            assert message["type"] == "next", message
            assert "errors" not in message["payload"], message
            found.append(next(iter(message["payload"]["data"].values())))
        return found

    async def until_complete(self) -> list[dict[str, Any]]:
        """Return the events up to the end of the stream."""
        found = []
        while (message := await self.receive())["type"] == "next":
            assert "errors" not in message["payload"], message
            found.append(next(iter(message["payload"]["data"].values())))
        assert message["type"] == "complete"
        return found

    async def refusal(self) -> dict[str, Any]:
        """Return the error with which a subscription is refused: it ends with it, and nothing comes before."""
        message = await self.receive()
        assert message["type"] == "error", message
        error: dict[str, Any] = message["payload"][0]
        return error

    async def closed(self) -> int:
        """Return the code with which the server closed."""
        with contextlib.suppress(websockets.ConnectionClosed):
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    await self.connection.recv()
        assert self.connection.close_code is not None
        return self.connection.close_code


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A served world in which something happened."""
    directory: Path = tmp_path_factory.mktemp("house")
    async with graph_world(module_database, directory, also=("other",)) as here:
        story = await here.tell()
        async with over_http(here.world.services) as address:
            yield Server(here, story, address)


async def test_what_is_recorded_is_heard(server: Server) -> None:
    """From now on, each event once, in order."""
    async with server.listener() as ann:
        await ann.subscribe(LIVE, after=await server.world.position())
        before = await server.world.position()
        after = await server.happen(5)
        heard = await ann.events(after - before)
        assert [event["position"] for event in heard] == list(range(before + 1, after + 1))


async def test_without_a_position_it_begins_with_what_comes(server: Server) -> None:
    """Nothing of the past is sent."""
    async with server.listener() as ann:
        await ann.subscribe(LIVE)
        await ann.send(type="ping")
        assert (await ann.receive())["type"] == "pong"
        # The stream has begun when it hears what is recorded: it is let happen until it does.
        first: list[dict[str, Any]] = []
        while not first:
            position = await server.happen()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    first = await ann.events(1)
        assert first[0]["position"] <= position
        assert first[0]["type"] == "policy.decision_recorded"


async def test_across_reconnects_nothing_is_missed_or_repeated(server: Server) -> None:
    """Whenever the line breaks, listening goes on after the last position that was heard."""
    last = begin = await server.world.position()
    heard: list[int] = []

    async def record() -> None:
        for _ in range(12):
            await server.happen(2)

    recording = asyncio.create_task(record())
    while not recording.done() or (heard[-1] if heard else begin) < await server.world.position():
        async with server.listener() as ann:
            await ann.subscribe(LIVE, after=last)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    for _ in range(5):
                        last = (await ann.events(1))[0]["position"]
                        heard.append(last)
    await recording
    assert heard == list(range(begin + 1, await server.world.position() + 1))


async def test_a_filter_narrows_what_is_heard(server: Server) -> None:
    """The past first, then what comes, of that thing alone."""
    async with server.listener() as ann:
        await ann.subscribe(LIVE, after=0, filter={"about": [server.story.ids["refused"]]})
        types = [event["type"] for event in await ann.events(3)]
        assert types == ["approval.requested", "approval.vote_cast", "approval.denied"]
        await ann.subscribe(LIVE, "2", after=0, filter={"types": ["principal.role_granted"], "actors": ["system"]})
        await server.happen(3)
        await server.world.api.run(
            server.world.tenant, GrantRole(principal_id=server.world.id("alice"), role="approver", actor=SYSTEM)
        )
        assert (await ann.events(1))[0]["type"] == "principal.role_granted"


async def test_the_past_is_played_again(server: Server) -> None:
    """All of a span, in order, then the end; by positions and by times the same."""
    log = await server.world.services.ledger.read(server.world.tenant)
    low, high = log[4], log[20]
    async with server.listener() as ann:
        await ann.subscribe(REPLAY, speed=0)
        assert [event["position"] for event in await ann.until_complete()][:21] == list(range(1, 22))
        await ann.subscribe(
            REPLAY, **{"from": {"position": low.position}, "to": {"position": high.position}, "speed": 1e6}
        )
        by_position = await ann.until_complete()
        assert [event["position"] for event in by_position] == list(range(low.position + 1, high.position + 1))
        moments = {"from": {"time": low.recorded_at.isoformat()}, "to": {"time": high.recorded_at.isoformat()}}
        await ann.subscribe(REPLAY, **moments, speed=0)
        assert await ann.until_complete() == by_position
        await ann.subscribe(REPLAY, **moments, speed=0, filter={"types": ["principal.registered"]})
        assert {event["type"] for event in await ann.until_complete()} == {"principal.registered"}
        await ann.subscribe(REPLAY, **{"from": {"position": 3}, "to": {"position": 3}, "speed": 0})
        assert await ann.until_complete() == []
        await ann.subscribe(REPLAY, speed=0, filter={"to": "2001-01-01T00:00:00Z"})
        assert await ann.until_complete() == []


@pytest.mark.parametrize(
    ("query", "variables", "code"),
    [
        (LIVE, {"filter": {"to": "2026-01-01T00:00:00Z"}}, "invalid_input"),
        (LIVE, {"filter": {"types": ["no.such"]}}, "invalid_input"),
        (LIVE, {"after": 99_999}, "invalid_input"),
        (LIVE, {"filter": {"from": "2100-01-01T00:00:00Z"}}, "invalid_input"),
        (REPLAY, {"speed": 0, "filter": {"from": "2100-01-01T00:00:00Z"}}, "invalid_input"),
        (LIVE, {"after": -1}, "invalid_request"),
        (LIVE, {"after": "5"}, "invalid_request"),
        (REPLAY, {"speed": -1}, "invalid_input"),
        (REPLAY, {"speed": 1e9}, "invalid_input"),
        (REPLAY, {"speed": "fast"}, "invalid_request"),
        (REPLAY, {"speed": 0, "to": {"position": 99_999}}, "invalid_input"),
        (REPLAY, {"speed": 0, "to": {}}, "invalid_request"),
        (REPLAY, {"speed": 0, "from": {"position": 5}, "to": {"position": 2}}, "invalid_input"),
        (
            REPLAY,
            {"speed": 0, "from": {"time": "2001-01-02T00:00:00Z"}, "to": {"time": "2001-01-01T00:00:00Z"}},
            "invalid_input",
        ),
        (REPLAY, {"speed": 0, "from": {"position": 5}, "filter": {"to": "2001-01-01T00:00:00Z"}}, "invalid_input"),
        ("subscription { nothing }", {}, "invalid_request"),
        ("subscription { timeline { position } replay(speed: 0) { position } }", {}, "invalid_request"),
        ("subscription { timeline {" + " cause {" * 11 + "position" + "}" * 13, {}, "too_deep"),
        ("subscription a { timeline { position } } subscription b { timeline { position } }", {}, "invalid_request"),
        ("subscription($n: Float = 1) { replay(speed: $n) { position } }", {"n": None}, "invalid_request"),
        ("{ now { position } }", {}, "invalid_request"),
        ('mutation { revokeGrant(input: {grantId: "x", reason: "x"}) { __typename } }', {}, "invalid_request"),
        ("subscription {", {}, "invalid_request"),
    ],
)
async def test_what_cannot_be_listened_to_is_refused(
    server: Server, query: str, variables: dict[str, Any], code: str
) -> None:
    """Typed; the connection goes on."""
    async with server.listener() as ann:
        await ann.subscribe(query, **variables)
        assert (await ann.refusal())["extensions"]["code"] == code
        await ann.subscribe(REPLAY, to={"position": 1}, speed=0)
        assert len(await ann.until_complete()) == 1


async def test_saved_operations_are_listened_to_by_name(server: Server) -> None:
    """As over POST."""
    async with server.listener() as ann:
        variables = {"to": {"position": 3}, "speed": 0}
        await ann.send(type="subscribe", id="1", payload={"documentId": "Replay", "variables": variables})
        assert len(await ann.until_complete()) == 3
        await ann.send(type="subscribe", id="2", payload={"documentId": "NoSuch"})
        assert (await ann.refusal())["extensions"]["code"] == "unknown_document"
        assert "WatchTimeline" in operations()


async def test_an_agent_hears_what_concerns_it(server: Server) -> None:
    """Its own, live and from the past; the things of others are refused."""
    rival = server.world.id("rival")
    async with server.listener("rival") as listener:
        await listener.subscribe(REPLAY, speed=0)
        own = await listener.until_complete()
        log = {event.position: event for event in await server.world.services.ledger.read(server.world.tenant)}
        assert own
        for event in own:
            assert not {f"principal:{rival}", f"actor:{rival}"}.isdisjoint(log[event["position"]].tags)
        await listener.subscribe(REPLAY, speed=0, filter={"about": [server.story.ids["approval"]]})
        assert (await listener.refusal())["extensions"]["code"] == "not_allowed"
        await listener.subscribe(LIVE, after=await server.world.position())
        await server.happen(3)
        await server.world.evaluate(server.world.intent("rival", action="wipe"), "rival")
        (heard,) = await listener.events(1)
        assert heard["position"] == await server.world.position()


async def test_a_revoked_key_is_heard_no_more(server: Server) -> None:
    """Within five seconds the connection is closed, though nothing is recorded."""
    await server.world.api.add(server.world.tenant, "eve", "auditor")
    async with server.listener("eve") as eve:
        await eve.subscribe(LIVE, after=await server.world.position())
        key = key_id_of(server.world.api.keys[server.world.tenant, "eve"])
        revoked = await server.world.api.command(
            "revoke_api_key", {"key_id": key, "reason": "lost"}, by=(server.world.tenant, "admin")
        )
        assert revoked.status_code == 200, revoked.text
        began = time.monotonic()
        assert await eve.closed() == 4403
        assert time.monotonic() - began < 5
    async with server.connect() as connection:
        again = Listener(connection)
        await again.send(type="connection_init", payload={"authorization": server.world.auth("eve")["Authorization"]})
        assert await again.closed() == 4403


async def test_a_lost_role_is_heard_no_more(server: Server) -> None:
    """Who was an auditor hears nothing more, also in the middle of a long replay."""
    await server.world.api.add(server.world.tenant, "mallory", "auditor")
    async with server.listener("mallory") as mallory:
        # Slow enough to last: each event waits as long as it may.
        await mallory.subscribe(REPLAY, speed=0.000_001)
        await mallory.events(1)
        command = RevokeRole(principal_id=server.world.id("mallory"), role="auditor", actor=SYSTEM)
        await server.world.api.run(server.world.tenant, command)
        began = time.monotonic()
        assert await mallory.closed() == 4403
        assert time.monotonic() - began < 5


async def test_ten_at_once_and_no_more(server: Server) -> None:
    """The eleventh is refused; when one ends, another may begin."""
    async with server.listener() as ann:
        for number in range(10):
            await ann.subscribe(LIVE, str(number), filter={"types": ["tenant.closed"]})
        await ann.subscribe(LIVE, "10")
        assert (await ann.refusal())["extensions"] == {"code": "too_many_subscriptions", "details": {"limit": 10}}
        await ann.send(type="complete", id="3")
        await ann.subscribe(REPLAY, "11", to={"position": 1}, speed=0)
        assert len(await ann.until_complete()) == 1


async def test_a_caller_has_ten_connections_and_fifty_subscriptions(server: Server) -> None:
    """In one process. What is too much is told as something that may be tried again; what ends leaves its place."""
    auth = server.world.auth("carol")["Authorization"]
    async with contextlib.AsyncExitStack() as stack:
        carol = [await stack.enter_async_context(server.listener("carol")) for _ in range(10)]
        async with server.connect() as connection:
            await Listener(connection).send(type="connection_init", payload={"authorization": auth})
            assert await Listener(connection).closed() == 1013
            assert (connection.close_reason or "").startswith("too_many_connections: a principal has at most 10")
        async with server.listener("dave"):
            pass
        for number in range(50):
            await carol[number // 10].subscribe(LIVE, str(number % 10), filter={"types": ["tenant.closed"]})
        for each in carol[:5]:
            # What was sent before the ping was begun before the pong.
            await each.send(type="ping")
            assert (await each.receive())["type"] == "pong"
        await carol[5].subscribe(LIVE)
        assert (await carol[5].refusal())["extensions"] == {"code": "too_many_subscriptions", "details": {"limit": 50}}
        await carol[0].send(type="complete", id="0")
        message = {"type": "error"}
        while message["type"] == "error":  # until the stream that was ended has left its place
            await carol[5].subscribe(REPLAY, to={"position": 1}, speed=0)
            message = await carol[5].receive()
        assert message["type"] == "next"
        assert await carol[5].until_complete() == []
    async with server.listener("carol") as again:
        await again.subscribe(REPLAY, to={"position": 1}, speed=0)
        assert len(await again.until_complete()) == 1


async def test_streams_leave_others_their_turn(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten replays of one tenant: another's question is answered before a quarter of their events were sent."""
    await asyncio.gather(*(server.happen(40) for _ in range(10)))
    sent = 0
    begun = asyncio.Event()
    send: Any = socket._Adapter.send_json

    async def counted(self: Any, message: Any) -> None:
        nonlocal sent
        await send(self, message)
        sent += message["type"] == "next"
        begun.set()

    async with server.listener() as ann:
        monkeypatch.setattr(socket._Adapter, "send_json", counted)
        total = 10 * await server.world.position()
        for number in range(10):
            await ann.subscribe(REPLAY, str(number), speed=0)
        heard = asyncio.create_task(_hear_out(ann, 10))
        await begun.wait()
        before = sent
        other = {"Authorization": f"Bearer {server.world.api.keys['other', 'admin']}"}
        answer = await server.world.client.post("/graphql", json={"query": "{now{position}}"}, headers=other)
        assert answer.json().keys() == {"data"}
        assert sent - before < total / 4
        assert await heard == total == sent


async def test_a_stream_keeps_nothing_of_what_it_has_sent(server: Server) -> None:
    """However many events there were: a listener may stay for months."""
    await asyncio.gather(*(server.happen(10) for _ in range(10)))
    async with server.listener() as ann:
        await ann.subscribe(LIVE, after=0)
        await ann.events(await server.world.position())
        gc.collect()
        assert sum(type(found) is CollectedFields for found in gc.get_objects()) < 50


async def _hear_out(listener: Listener, streams: int) -> int:
    """Return how many events came until so many streams were complete."""
    events = 0
    while streams:
        message = await listener.receive()
        assert message["type"] in ("next", "complete"), message
        events += message["type"] == "next"
        streams -= message["type"] == "complete"
    return events


async def test_an_outage_is_no_refusal(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients come again after 1013, and never after 4403: at the beginning, and while they listen."""
    authenticator: Any = server.world.services.authenticator

    async def away(*_: object, **__: object) -> None:
        raise Unavailable("PostgreSQL does not answer: postgresql://db.internal")

    with monkeypatch.context() as patched:
        patched.setattr(type(authenticator), "authenticate", away)
        async with server.connect() as connection:
            ann = Listener(connection)
            await ann.send(type="connection_init", payload={"authorization": server.world.auth("ann")["Authorization"]})
            assert await ann.closed() == 1013
            assert "db.internal" not in (connection.close_reason or "")
    async with server.listener() as ann:
        with monkeypatch.context() as patched:
            patched.setattr(type(authenticator), "still_valid", away)
            assert await ann.closed() == 1013


async def test_who_does_not_say_who_it_is_hears_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before `connection_init` 4401, with a wrong credential 4403, without any 4403, twice 4429, too late 4408."""
    async with server.connect() as connection:
        nobody = Listener(connection)
        await nobody.subscribe(LIVE)
        assert await nobody.closed() == 4401
    unknown = f"Bearer qd_{server.world.tenant}_{'0' * 26}_{'A' * 43}"
    payloads: list[Any] = [None, {}, {"authorization": None}, {"authorization": 7}, {"authorization": "x"}]
    payloads += [
        {"authorization": unknown},
        {"authorization": server.world.auth("ann")["Authorization"], "quarterdeck-tenant": 5},
    ]
    for payload in payloads:
        async with server.connect() as connection:
            nobody = Listener(connection)
            await nobody.send(type="connection_init", **({} if payload is None else {"payload": payload}))
            assert await nobody.closed() == 4403, payload
    async with server.listener() as twice:
        await twice.send(type="connection_init", payload={})
        assert await twice.closed() == 4429
    monkeypatch.setattr(socket, "INIT_TIMEOUT", socket.INIT_TIMEOUT / 100)
    async with server.connect() as connection:
        assert await Listener(connection).closed() == 4408


async def test_a_page_of_another_origin_is_refused(server: Server) -> None:
    """403 before the connection is made; our own pages may, and programs, which send no Origin."""
    ours = server.world.services.settings.base_url
    for origin in ("https://evil.example", "null", ours + ".evil.example", ours + ":1"):
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with server.connect(origin=origin):
                pass
        assert refused.value.response.status_code == 403
    async with server.listener(origin=ours) as ann:
        await ann.subscribe(REPLAY, to={"position": 1}, speed=0)
        assert len(await ann.until_complete()) == 1


async def test_a_session_cookie_speaks_for_a_page_of_ours_alone(server: Server) -> None:
    """With our Origin it is enough; without any, somebody must say who they are."""
    key = server.world.api.keys[server.world.tenant, "ann"]
    cookie = {"additional_headers": {"Cookie": f"qd_session={key}"}}
    async with server.connect(origin=server.world.services.settings.base_url, **cookie) as connection:
        page = Listener(connection)
        await page.send(type="connection_init")
        assert (await page.receive())["type"] == "connection_ack"
    async with server.connect(**cookie) as connection:
        program = Listener(connection)
        await program.send(type="connection_init")
        assert await program.closed() == 4403


@pytest.mark.parametrize("protocols", [["graphql-ws"], ["soap"], None])
async def test_another_protocol_is_not_spoken(server: Server, protocols: list[str] | None) -> None:
    """Least of all the older one."""
    async with server.connect(subprotocols=protocols) as connection:
        assert connection.subprotocol is None
        assert await Listener(connection).closed() == 4406


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", 4400),
        ("[]", 4400),
        ("null", 4400),
        ('"subscribe"', 4400),
        ("[" * 60_000, 4400),
        ("{}", 4400),
        ('{"type":7}', 4400),
        ('{"type":"dance"}', 4400),
        ('{"type":"subscribe"}', 4400),
        ('{"type":"subscribe","id":"1"}', 4400),
        ('{"type":"subscribe","id":"1","payload":5}', 4400),
        ('{"type":"subscribe","id":"1","payload":{"query":5}}', 4400),
        ('{"type":"subscribe","id":"1","payload":{"query":"{now{position}}","variables":[]}}', 4400),
        ('{"type":"subscribe","id":["1"],"payload":{"query":"{now{position}}"}}', 4400),
        ('{"type":"subscribe","id":"' + "x" * 200 + '","payload":{"query":"{now{position}}"}}', 4400),
        ('{"type":"complete"}', 4400),
        ('{"type":"complete","id":{}}', 4400),
        (b"\xff\x00\xfe", 4400),
        ("x" * 70_000, 1009),
    ],
)
async def test_a_message_that_is_none_ends_the_connection(server: Server, message: str | bytes, code: int) -> None:
    """And nothing else: the server goes on."""
    async with server.listener() as ann:
        await ann.connection.send(message)
        assert await ann.closed() == code
    async with server.listener() as ann:
        await ann.subscribe(REPLAY, to={"position": 1}, speed=0)
        assert len(await ann.until_complete()) == 1


async def test_the_same_id_twice_is_refused(server: Server) -> None:
    """As the protocol has it."""
    async with server.listener() as ann:
        await ann.subscribe(LIVE, "1")
        await ann.subscribe(LIVE, "1")
        assert await ann.closed() == 4409


async def test_what_goes_wrong_inside_stays_inside(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The listener hears that it ended, and not why; the connection goes on."""
    ledger: Any = server.world.services.ledger

    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("postgresql://quarterdeck:hunter2@db.internal")

    async with server.listener() as ann:
        with monkeypatch.context() as patched:
            patched.setattr(ledger, "read_sealed", fail)
            await ann.subscribe(REPLAY, speed=0)
            error = await ann.refusal()
        assert error["extensions"]["code"] == "internal"
        assert "hunter2" not in json.dumps(error)
        await ann.subscribe(REPLAY, "2", to={"position": 1}, speed=0)
        assert len(await ann.until_complete()) == 1
