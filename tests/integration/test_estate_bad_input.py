"""Whatever is sent to the estate's bulk doors is answered by a clear typed error, and nothing of it is applied.

Over real sockets where that matters. Serves S0-43, S0-44, S0-48, S0-50; task section 5 (bad input).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from api_house import over_http
from graphql_world import GraphWorld, graph_world

from quarterdeck_api.estate import bulk as bulk_module
from quarterdeck_api.estate.bulk import Bulk
from quarterdeck_api.estate.router import MAX_FILE_BYTES
from quarterdeck_domain.estate.declaration import MAX_ASSETS
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_readmodels.estate import Asset

MIB = 2**20
YAML = "application/yaml"
JSON = "application/json"


def file(assets: object, **more: Any) -> bytes:
    """Return an estate file."""
    return json.dumps({"version": 1, "source": "test", "assets": assets} | more).encode()


def yaml(assets: str) -> bytes:
    """Return an estate file whose objects are written like this."""
    return f"version: 1\nsource: test\nassets:\n{assets}\n".encode()


@pytest.fixture
async def here(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[GraphWorld]:
    """A world of this test's own."""
    async with graph_world(migrated_database(), tmp_path, request_timeout_s=120) as made:
        await made.project()
        yield made


class Door:
    """The bulk doors, as an administrator."""

    def __init__(self, here: GraphWorld, client: httpx.AsyncClient | None = None) -> None:
        self.here = here
        self.client = client or here.world.client
        self.headers = here.world.auth("admin")

    async def send(self, body: bytes, media: str = JSON, to: str = "apply", **params: str) -> dict[str, Any]:
        """Send a file; return the problem or the result, with its status."""
        await self.here.project()
        headers = self.headers | {"Content-Type": media}
        answer = await self.client.post(f"/v1/estate/{to}", content=body, headers=headers, params=params)
        last = json.loads(answer.text.rstrip("\n").split("\n")[-1])
        await self.here.project()
        found: dict[str, Any] = last.get("problem") or last.get("result") or last
        return found | {"http": answer.status_code}

    async def refused(self, body: bytes, media: str = JSON, **params: str) -> dict[str, Any]:
        """Send a file to both doors, and expect the same problem and no event."""
        before = await self.here.world.position()
        planned = await self.send(body, media, "plan", **params)
        applied = await self.send(body, media, "apply", **params)
        for problem in (planned, applied):
            assert problem["type"].startswith("urn:quarterdeck:problem:"), problem
            assert 400 <= problem["status"] < 500, problem
            assert len(json.dumps(problem)) < 20_000
        assert planned["type"] == applied["type"]
        assert await self.here.world.position() == before, "nothing is recorded"
        return applied


OWNED = {"relations": {"owned_by": ["team:a"]}}
BOMB = "a: &a [lol]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in itertools.pairwise("abcdefghij")
)
BAD: list[tuple[str, bytes, str, str]] = [
    ("a circle", file({f"dataset:{one}": {"relations": {"derived_from": [f"dataset:{other}"]}}
     for one, other in ("ab", "bc", "ca")}), JSON, "a circle: dataset:"),
    ("owners in a circle", file({f"team:{one}": {"relations": {"owned_by": [f"team:{other}"]}}
     for one, other in ("ab", "ba")}), JSON, "a circle: team:"),
    ("its own owner", file({"team:a": OWNED}), JSON, "itself"),
    ("a dangling relation", file({"agent:a": {"relations": {"calls": ["tool:nowhere"]}}}), JSON, "neither in the file"),
    ("a key twice, JSON", b'{"version":1,"source":"x","assets":{"tool:a":{},"tool:a":{}}}', JSON, "is given twice"),
    ("a key twice, YAML", yaml("  tool:a: {}\n  'tool:a': {}"), YAML, "is given twice"),
    ("a key twice by an escape", b'{"version":1,"source":"x","assets":{"tool:a":{},"tool:\\u0061":{}}}', JSON, "twice"),
    ("a bomb of references", BOMB.encode(), YAML, "references"),
    ("a reference to itself", yaml("  tool:a: &x {title: *x}"), YAML, "stands for nothing"),
    ("a merge of a list", yaml("  tool:a: &x [1]\n  tool:b:\n    <<: *x"), YAML, "<<"),
    ("a type of a program", yaml("  tool:a: !!python/object/apply:os.system [id]"), YAML, "the tag"),
    ("a binary", yaml("  tool:a: {title: !!binary aGk=}"), YAML, "the tag"),
    ("a set", yaml("  tool:a: !!set {x}"), YAML, "the tag"),
    ("no number", yaml("  tool:a: {tier: .nan}"), YAML, "not a number"),
    ("no number, JSON", b'{"version":1,"source":"x","assets":{"tool:a":{"tier":NaN}}}', JSON, "NaN"),
    ("infinity", b'{"version":1,"source":"x","assets":{"tool:a":{"tier":1e999}}}', JSON, "too large"),
    ("a float", file({"tool:a": {"tier": 1.5}}), JSON, "tier"),
    ("a number of a thousand digits", file({"tool:a": {"tier": 10**1000}}), JSON, "digits"),
    ("a number beyond JSON's", file({"dataset:a": {"attributes": {"retention_days": 2**60}}}), JSON, "dataset:a"),
    ("a time as a date", yaml("  tool:a: {title: 2026-01-01}\n  tool:b: {tier: 2026-01-01}"), YAML, "tier"),
    ("depth, JSON", b"[" * 100_000, JSON, "nested deeper"),
    ("depth, closed", b"[" * 100_000 + b"]" * 100_000, JSON, "nested deeper"),
    ("depth of objects", b'{"a":' * 50_000 + b"1" + b"}" * 50_000, JSON, "nested deeper"),
    ("depth, YAML", b"a: " + b"[" * 5_000, YAML, "nested deeper"),
    ("depth, YAML blocks", "\n".join(" " * n + "a:" for n in range(500)).encode(), YAML, "nested deeper"),
    ("two documents", b"version: 1\n---\nversion: 1\n", YAML, "second document"),
    ("UTF-16", '{"version":1}'.encode("utf-16"), JSON, "UTF-8"),
    ("Latin-1", b'{"version":1,"source":"caf\xe9","assets":{}}', JSON, "UTF-8"),
    ("overlong UTF-8", b'{"source":"\xc0\xaf"}', JSON, "UTF-8"),
    ("half a character", b'{"version":1,"source":"\\ud800","assets":{}}', JSON, "half a character"),
    ("NUL", b'{"version":1,"source":"a\\u0000b","assets":{}}', JSON, "U+0000"),
    ("nothing", b"", JSON, "mapping"),
    ("a list", b"[]", JSON, "mapping"),
    ("cut off", b'{"version":1,"source":"x","assets":{"tool:a"', JSON, ""),
    ("another version", b'{"version":2,"source":"x","assets":{}}', JSON, "version: 1"),
    ("true for a version", b'{"version":true,"source":"x","assets":{}}', JSON, "version: 1"),
    ("one object too many", file({f"tool:{n}": None for n in range(MAX_ASSETS + 1)}), JSON, "at most 50000"),
    ("an unknown kind", file({"toaster:a": {}}), JSON, "toaster:a"),
    ("a name with a space", file({"tool:a b": {}}), JSON, "visible ASCII"),
    ("a name that looks alike", file({"tool:раypal": {}}), JSON, "visible ASCII"),
    ("a retired one that never was", file({"tool:a": {"lifecycle": "retired"}}), JSON, "never in the estate"),
    ("a state that there is not", file({"tool:a": {"lifecycle": "released"}}), JSON, "lifecycle"),
    ("a person's address", file({"tool:a": {"owner": "ann@example.test"}}), JSON, "address"),
    ("a password", file({"dataset:a": {"attributes": {"location": "postgres://u:pw@db/x"}}}), JSON, "secret"),
    ("a key", file({"tool:a": {"attributes": {"scope": "ghp_" + "a1B2" * 9}}}), JSON, "secret"),
    ("a time without a zone", file({"tool:a": {}}, valid_from="2026-01-01T00:00:00"), JSON, "valid_from"),
    ("no time", file({"tool:a": {}}, valid_from="yesterday"), JSON, "valid_from"),
    ("a time that is none", file({"tool:a": {}}, valid_from="2026-02-30T00:00:00Z"), JSON, "valid_from"),
    ("the wrong type", b"<x/>", "application/xml", "JSON or YAML"),
]  # fmt: skip


async def test_a_bad_file_is_refused_and_nothing_of_it_is_applied(here: GraphWorld) -> None:
    """By planning and by applying alike; the error says what, where, and what would be right."""
    door = Door(here)
    for name, body, media, said in BAD:
        problem = await door.refused(body, media)
        told = json.dumps([problem.get("detail"), problem.get("details")], ensure_ascii=False)
        assert said in told, (name, problem)


HOSTILE = ["\u202eevil", "a\u200bb", "\x1b[2J", "a\u2028b", "\U000e0041", "\ufeffx", "\x7f"]


async def test_text_that_deceives_is_refused_wherever_it_stands(here: GraphWorld) -> None:
    """In every text that a file has."""
    for text in HOSTILE:
        await deceives(Door(here), text)


async def deceives(door: Door, text: str) -> None:
    """Expect a text to be refused everywhere, and never to be shown again as it is."""
    relations = {"writes": [{"to": "dataset:d", "evidence": text}]}
    for said in (
        {"title": text},
        {"description": text},
        {"owner": text},
        {"team": text},
        {"purpose": text},
        {"policy_class": text},
        {"environments": [text]},
        {"attributes": {"scope": text}},
        {"attributes": {"labels": {"k": text}}},
        {"attributes": {"labels": {text: "v"}}},
        {"relations": relations},
        {"relations": {text: []}},
        {"relations": {"writes": [f"dataset:{text}"]}},
        {text: 1},
    ):
        problem = await door.refused(file({"tool:a": said, "dataset:d": None}))
        assert text not in json.dumps(problem, ensure_ascii=False), problem
    for body in (file({f"tool:{text}": {}}), file({}, source=text), file({}, **{text: 1})):
        problem = await door.refused(body)
        assert text not in json.dumps(problem, ensure_ascii=False), problem


async def test_names_that_differ_in_case_are_two_objects_and_found_to_look_alike(here: GraphWorld) -> None:
    """Names are told apart by every letter: servers offer `Get` and `get`. Neither overwrites the other."""
    door = Door(here)
    done = await door.send(file({"tool:Refund": {"title": "One"}, "tool:refund": {"title": "Other"}}))
    assert done["counts"]["register"] == 2
    assert here.world.services.reader is not None
    async with here.world.services.reader.at(here.world.tenant) as record:
        found = await record.many(Asset, ["tool:Refund", "tool:refund"])
    assert {name: row.title for name, row in found.items()} == {"tool:Refund": "One", "tool:refund": "Other"}


async def test_a_file_may_speak_of_the_past_and_of_the_future(here: GraphWorld) -> None:
    """Before the first event and long from now: what is recorded is dated so, and known from now on."""
    door = Door(here)
    for name, moment in (("past", "1999-01-01T00:00:00Z"), ("future", "2999-01-01T00:00:00Z")):
        done = await door.send(file({f"tool:{name}": {"title": "x"}}, valid_from=moment))
        assert done["counts"]["register"] == 1, done
    events = {event.asset: event for event in await here.world.log("asset.registered")}
    assert events["tool:past"].valid_from.year == 1999
    assert events["tool:future"].valid_from.year == 2999
    # A decision today does not see what begins in 2999, and is not stopped by it.
    call = here.world.intent(
        action="read", resource={"type": "tool", "id": "future"}, subject={"type": "user", "id": "x"}
    )
    answer = await here.world.evaluate(call, "pep")
    assert answer.status_code == 200, answer.text


async def test_a_body_that_is_too_long_is_refused_before_it_is_read(here: GraphWorld) -> None:
    """A bill of 100 MB: 413, by its announced length and by what comes; and a door beside these reads much less."""
    async with over_http(here.world.services) as base:
        head = Door(here).headers | {"Content-Type": JSON}
        url = urlsplit(base)
        before = await here.world.position()
        for path in ("/v1/estate/apply?form=cyclonedx", "/v1/estate/plan?form=spdx"):
            reader, writer = await asyncio.open_connection(url.hostname, url.port)
            lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {100 * MIB}"]
            lines += [f"{name}: {value}" for name, value in head.items()]
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
            assert b" 413 " in await reader.readline()
            writer.close()

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b" " * MIB

        async with httpx.AsyncClient(base_url=base, timeout=60) as client:
            with contextlib.suppress(httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
                # Whether the answer is read before the connection is closed is the network's affair.
                assert (await client.post("/v1/estate/apply", content=endless(), headers=head)).status_code == 413
            small = await client.post("/v1/commands/register_asset", content=b" " * MIB, headers=head)
            assert small.status_code == 413
        assert await here.world.position() == before


async def test_an_upload_that_breaks_off_applies_nothing_and_leaves_no_turn_taken(here: GraphWorld) -> None:
    """Cut in the middle of a body, small and large: nothing is recorded, and who comes next is served."""
    async with over_http(here.world.services) as base:
        url, before = urlsplit(base), await here.world.position()
        for sent in (1_000, 3 * MIB):
            for _ in range(bulk_module.PRESENT + 1):
                _, writer = await asyncio.open_connection(url.hostname, url.port)
                lines = ["POST /v1/estate/apply HTTP/1.1", "Host: x", f"Content-Length: {8 * MIB}"]
                lines += [f"{name}: {value}" for name, value in (Door(here).headers | {"Content-Type": JSON}).items()]
                writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + b" " * sent)
                await writer.drain()
                writer.transport.abort()
        assert await here.world.position() == before
        async with httpx.AsyncClient(base_url=base, timeout=60) as client:
            done = await Door(here, client).send(file({"tool:a": {}}) + b" " * (2 * MIB))
            assert done["counts"]["register"] == 1, done


async def test_who_hangs_up_while_it_is_applied_gets_all_of_it_or_nothing(
    here: GraphWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client goes away in the middle of recording; the run ends by itself, whole."""
    recording, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
    append = EventLedger.append_bulk

    async def slowly(self: Any, *arguments: Any, **named: Any) -> Any:
        recording.set()
        await go_on.wait()
        try:
            return await append(self, *arguments, **named)
        finally:
            ended.set()

    monkeypatch.setattr(EventLedger, "append_bulk", slowly)
    body = file({f"tool:{n}": {"title": "x" * 200} for n in range(3_000)}) + b" " * MIB
    async with over_http(here.world.services) as base:
        url = urlsplit(base)
        _, writer = await asyncio.open_connection(url.hostname, url.port)
        lines = ["POST /v1/estate/apply HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (Door(here).headers | {"Content-Type": JSON}).items()]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + body)
        await writer.drain()
        await recording.wait()
        writer.transport.abort()
        go_on.set()
        await ended.wait()
    (applied,) = await here.world.log("estate.applied")
    assert (applied.registered, len(await here.world.log("asset.registered"))) == (3_000, 3_000)


async def test_two_who_apply_at_once_do_not_mix(here: GraphWorld) -> None:
    """Two files that disagree: one comes first, the other is planned anew on it; each is whole, and the last holds."""
    door = Door(here)
    names = [f"tool:{n}" for n in range(50)]
    files = [file({name: {"title": title} for name in names}, source=title) for title in ("One", "Two", "Three")]
    answers = await asyncio.gather(*(door.send(body) for body in files))
    assert all("counts" in answer for answer in answers), answers
    runs = [
        event for event in await here.world.services.ledger.read(here.world.tenant) if event.type == "estate.applied"
    ]
    assert len(runs) == 3
    titles = [
        {event.payload.facts["title"] for event in await here.world.services.ledger.read(here.world.tenant)
         if getattr(event.payload, "run", None) == run.payload.run and hasattr(event.payload, "facts")}
        for run in runs
    ]  # fmt: skip
    assert sorted(map(len, titles)) == [1, 1, 1]
    assert here.world.services.reader is not None
    await here.project()
    async with here.world.services.reader.at(here.world.tenant) as record:
        found = await record.many(Asset, names)
    assert {row.title for row in found.values()} == titles[-1]


async def test_a_plan_that_was_agreed_to_is_not_stretched(here: GraphWorld) -> None:
    """The estate changed since the plan was shown: `plan_changed`, and nothing is done."""
    door = Door(here)
    body = file({"tool:a": {"title": "x"}, "tool:b": {"title": "y"}})
    planned = await door.send(body, to="plan")
    await door.send(file({"tool:a": {"title": "z"}}))
    before = await here.world.position()
    problem = await door.send(body, plan_digest=planned["plan_digest"])
    assert problem["type"] == "urn:quarterdeck:problem:plan_changed"
    assert await here.world.position() == before


async def test_ten_who_upload_64_mib_at_once_take_the_memory_of_two(here: GraphWorld, monkeypatch: Any) -> None:
    """Bodies arrive on disk; two are worked on at a time, the others wait, and one too many is told to come again."""
    at_work, most = 0, 0
    take = bulk_module.Turn.take
    end = bulk_module.Turn.end

    def taken(turn: bulk_module.Turn) -> bytes:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        turn.counted = True  # type: ignore[attr-defined]
        return take(turn)

    def ended(turn: bulk_module.Turn) -> None:
        nonlocal at_work
        if getattr(turn, "counted", False):
            at_work -= 1
            turn.counted = False  # type: ignore[attr-defined]
        end(turn)

    monkeypatch.setattr(bulk_module.Turn, "take", taken)
    monkeypatch.setattr(bulk_module.Turn, "end", ended)
    body = file({"tool:a": {"title": "x"}})
    body += b" " * (MAX_FILE_BYTES - len(body))
    async with over_http(here.world.services) as base, httpx.AsyncClient(base_url=base, timeout=120) as client:
        door = Door(here, client)
        answers = await asyncio.gather(*(door.send(body, to="plan") for _ in range(10)))
    assert {answer["http"] for answer in answers} <= {200, 503}
    assert any(answer["http"] == 200 for answer in answers)
    assert (most, at_work) == (2, 0)


async def test_one_large_file_too_many_is_told_to_come_again(here: GraphWorld) -> None:
    """Busy, with when; a small file passes them all."""
    app: Any = here.world.client._transport.app  # type: ignore[attr-defined]
    door, large = Door(here), file({"tool:a": {}}) + b" " * (2 * MIB)
    app.state.bulk = Bulk(present=0)
    problem = await door.send(large)
    assert (problem["http"], problem["type"]) == (503, "urn:quarterdeck:problem:busy")
    app.state.bulk = Bulk(at_once=0, wait_s=0.01)
    problem = await door.send(large)
    assert (problem["http"], problem["type"]) == (503, "urn:quarterdeck:problem:busy")
    assert (await door.send(file({"tool:a": {}})))["http"] == 200
    assert app.state.bulk._room == bulk_module.PRESENT
