"""Limits and errors at the door: size, time, rate, and what leaks. Serves DC-05, DC-08; threats T16, T18, T26."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from api_house import BASE_URL, House, house, over_http
from fastapi import FastAPI
from starlette.responses import StreamingResponse

from quarterdeck_api.app import create_app
from quarterdeck_api.limits import TokenBuckets
from quarterdeck_api.problems import TooManyRequests
from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_ledger.errors import AppendConflict, Busy, Contended, Expired, IdReused, Unavailable, UnsafeServer

PROBLEM = "urn:quarterdeck:problem:"


@pytest.fixture
async def api(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[House]:
    """An API with one tenant, small limits and a short deadline."""
    limits = {"max_body_bytes": 2_048, "request_timeout_s": 0.3, "long_poll_max_s": 0.3}
    async with house(migrated_database(), tmp_path, **limits) as made:
        yield made


def client_of(app: FastAPI) -> httpx.AsyncClient:
    """Return a client of an application in this process."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE_URL)


async def test_a_body_too_long_is_refused_by_its_announced_length(api: House) -> None:
    """Before a byte of it is read."""
    headers = api.bearer("acme", "admin") | {"Content-Type": "application/json"}
    answer = await api.client.post("/v1/commands/register_principal", content=b"x" * 2_049, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (413, PROBLEM + "body_too_large")
    assert answer.json()["details"] == {"limit": 2_048}


async def test_a_body_that_grows_too_long_is_refused_while_it_grows(api: House) -> None:
    """Chunked, without a length: it is cut off at the limit, not collected; over a real socket."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(100_000):
            sent += 1_000
            yield b" " * 1_000

    headers = api.bearer("acme", "admin") | {"Content-Type": "application/json"}
    async with over_http(api.services) as address, httpx.AsyncClient(base_url=address) as client:
        try:
            answer = await client.post("/v1/commands/register_principal", content=endless(), headers=headers)
            assert answer.status_code == 413
        except httpx.TransportError:
            pass  # the server hung up on the rest, which is what is asked of it
        assert sent < 20_000_000


@pytest.mark.parametrize("length", ["-1", "1e3", "9" * 30, "abc", " 1"])
async def test_absurd_lengths_are_refused(api: House, length: str) -> None:
    """Whatever claims to be the length of the body."""
    headers = api.bearer("acme", "admin") | {"Content-Type": "application/json", "Content-Length": length}
    request = api.client.build_request("POST", "/v1/commands/register_principal", headers=headers)
    answer = await api.client.send(request)
    assert answer.status_code == 413


async def test_a_request_that_never_answers_is_given_up(api: House) -> None:
    """504 after the limit, with what to do next; a stream that has begun is left alone."""
    app = create_app(api.services)

    @app.post("/slow")
    async def slow() -> None:
        await asyncio.Event().wait()

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"begun "
            await asyncio.sleep(0.8)
            yield b"and done"

        return StreamingResponse(chunks())

    async with client_of(app) as client:
        answer = await client.post("/slow")
        assert (answer.status_code, answer.json()["type"]) == (504, PROBLEM + "timed_out")
        assert (await client.get("/stream")).text == "begun and done"


async def test_what_nobody_foresaw_leaks_nothing(api: House) -> None:
    """A 500 with a trace id by which the log is found, and not a word of the exception."""
    app = create_app(api.services)

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("postgresql://user:hunter2@db/quarterdeck")

    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    async with client_of(app) as client:
        answer = await client.get("/broken", headers={"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.json()["type"] == PROBLEM + "internal"
    assert answer.json()["trace_id"] == trace_id
    assert "hunter2" not in answer.text
    assert "RuntimeError" not in answer.text


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (AppendConflict("read again", after=3), 409),
        (Contended("try again", tries=12), 409),
        (Expired("too late"), 410),
        (IdReused("other content"), 409),
        (Busy("full", retry_after_s=3), 503),
        (Unavailable("PostgreSQL does not answer: db.internal:5432"), 503),
        (UnsafeServer("fsync is off on db.internal"), 503),
        (QuarterdeckError("some part of db.internal"), 500),
    ],
)
async def test_errors_of_the_log_have_their_status(api: House, error: QuarterdeckError, status: int) -> None:
    """One place decides; what is for the operator stays there; who may try again is told when."""
    app = create_app(api.services)

    @app.get("/raises")
    async def raises() -> None:
        raise error

    async with client_of(app) as client:
        answer = await client.get("/raises")
    assert answer.status_code == status
    body = answer.json()
    assert body["type"] == PROBLEM + (error.code if type(error) is not QuarterdeckError else "internal")
    assert "db.internal" not in answer.text
    assert ("retry-after" in answer.headers) == (status == 503)
    if isinstance(error, Busy):
        assert answer.headers["retry-after"] == "3"


async def test_a_principal_has_a_rate_and_others_do_not_feel_it(
    migrated_database: Callable[[], str], tmp_path: Path
) -> None:
    """429 with the seconds to wait; in bulk, not by key: a second key of the same principal is the same principal."""
    async with house(migrated_database(), tmp_path, rate_per_s=0.5, rate_burst=5) as api:
        second = {"Authorization": f"Bearer {await api.issue_key('acme', api.ids['acme', 'admin'])}"}
        await api.add("acme", "other", "auditor")
        me = [await api.client.get("/v1/me", headers=api.bearer("acme", "admin")) for _ in range(5)]
        assert {answer.status_code for answer in me} == {200}
        for headers in (api.bearer("acme", "admin"), second):
            refused = await api.client.get("/v1/me", headers=headers)
            assert (refused.status_code, refused.json()["type"]) == (429, PROBLEM + "too_many_requests")
            assert int(refused.headers["retry-after"]) >= 1
        assert (await api.client.get("/v1/me", headers=api.bearer("acme", "other"))).status_code == 200


async def test_the_host_header_decides_nothing(api: House) -> None:
    """Routes are authorised as matched; a Host that carries a path, or lies, changes no answer."""
    for host in ("evil.test", "quarterdeck.test/healthz", "quarterdeck.test?x=", "[::1", ""):
        answer = await api.client.get("/v1/me", headers={"Host": host})
        assert answer.status_code == 401
        assert "evil" not in answer.text
        assert (await api.client.get("/healthz", headers={"Host": host})).status_code == 200


async def test_paths_have_one_spelling(api: House) -> None:
    """No redirect, no second way round to a route."""
    headers = api.bearer("acme", "admin")
    for path in ("/v1/me/", "//v1/me", "/v1//me", "/V1/me", "/v1/me;x", "/v1/me%00", "/./v1/../healthz%2f"):
        answer = await api.client.get(BASE_URL + path, headers=headers)
        assert answer.status_code == 404, path
        assert answer.json()["type"] == PROBLEM + "not_found"


def test_buckets_refill_and_forget() -> None:
    """By the clock given; bounded in number, the least recently used first."""
    now = 0.0
    buckets = TokenBuckets(2, burst=2, max_keys=2, monotonic=lambda: now)
    assert [buckets.take("a") for _ in range(3)] == [True, True, False]
    with pytest.raises(TooManyRequests):
        buckets.check("a", "wait")
    assert buckets.wait_s("a") == pytest.approx(0.5)
    now = 0.5
    assert [buckets.take("a"), buckets.take("a")] == [True, False]
    now = 100.0
    assert [buckets.take("a") for _ in range(3)] == [True, True, False]
    buckets.take("b")
    buckets.take("c")
    assert len(buckets._buckets) == 2
    assert "a" not in buckets._buckets


def test_problem_bodies_are_plain_json() -> None:
    """Details of any kind become JSON; an error never fails while it is told."""
    from datetime import UTC, datetime

    from quarterdeck_api.problems import problem_of

    error = AppendConflict(
        "no", at=datetime(2026, 1, 1, tzinfo=UTC), who=frozenset({"b", "a"}), raw=b"\xff", n=(1, {2: 3})
    )
    body = json.loads(bytes(problem_of(error).body))
    assert body["details"] == {
        "at": "2026-01-01T00:00:00+00:00",
        "who": ["a", "b"],
        "raw": "b'\\xff'",
        "n": [1, {"2": 3}],
    }
