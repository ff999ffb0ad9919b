"""Requests have an id and a trace in the logs, and the logs have no credential of theirs. Serves DC-07; threat T15."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from api_house import House, house

from quarterdeck_runtime import logs
from quarterdeck_runtime.settings import Settings

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
async def told(
    migrated_database: Callable[[], str], tmp_path: Path
) -> AsyncIterator[tuple[House, Callable[[], list[dict[str, Any]]]]]:
    """An API that logs its requests, and a function that returns the lines so far."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure(Settings(log_format="json", log_level="info"), "api", stream)
    async with house(migrated_database(), tmp_path, access_log=True) as api:
        yield api, lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:], level = before
    root.setLevel(level)
    structlog.reset_defaults()


async def test_a_request_is_told_by_route_with_trace_and_id(
    told: tuple[House, Callable[[], list[dict[str, Any]]]],
) -> None:
    """The answer carries the id; no credential of path, query, header or body is in any line."""
    api, lines = told
    secret = {
        "Cookie": "session=SECRET-cookie",
        "X-Api-Key": "SECRET-header",
        "traceparent": f"00-{TRACE}-{'1' * 16}-01",
    }
    answers = [
        await api.client.get("/v1/me?key=SECRET-query", headers=api.bearer("acme", "admin") | secret),
        await api.client.get(f"/sign-in/{api.links['acme']}", headers=secret),
        await api.client.post("/sign-in", json={"token": api.links["acme"] + "SECRET-body"}, headers=secret),
        await api.client.get("/SECRET-path", headers={"Authorization": "Bearer SECRET-bearer", **secret}),
    ]
    found = [line for line in lines() if line["event"] == "request"]
    assert [(line["method"], line["status"]) for line in found] == [
        (answer.request.method, answer.status_code) for answer in answers
    ]
    assert [line["route"] for line in found] == ["/v1/me", "/sign-in/{token}", "/sign-in", None]
    assert [line["request_id"] for line in found] == [answer.headers["x-request-id"] for answer in answers]
    assert {line["trace_id"] for line in found} == {TRACE}
    assert len({line["span_id"] for line in found}) == len(found)
    assert all(line["duration_ms"] >= 0 for line in found)
    written = json.dumps(lines())
    assert "SECRET" not in written
    assert api.links["acme"] not in written
    assert api.keys["acme", "admin"] not in written


@pytest.mark.parametrize("given", ["", "x" * 65, "two words", "a\tb", "<b>", "ä"])
async def test_a_request_id_is_taken_over_only_if_it_is_a_plain_token(
    told: tuple[House, Callable[[], list[dict[str, Any]]]], given: str
) -> None:
    """Whatever else is given, a fresh one stands in its place; ids do not leak into the next request."""
    api, lines = told
    kept = await api.client.get("/v1/me", headers={"X-Request-ID": "order-17.retry_2"})
    assert kept.headers["x-request-id"] == "order-17.retry_2"
    answer = await api.client.get("/v1/me", headers={"X-Request-ID": given.encode()})  # type: ignore[dict-item]
    assert len(answer.headers["x-request-id"]) == 32
    assert "request_id" not in structlog.contextvars.get_contextvars()
    assert lines()[-1]["request_id"] == answer.headers["x-request-id"]


async def test_probes_are_not_told(told: tuple[House, Callable[[], list[dict[str, Any]]]]) -> None:
    """They come every few seconds."""
    api, lines = told
    before = len(lines())
    for path in ("/healthz", "/readyz"):
        assert (await api.client.get(path)).status_code == 200
    assert len(lines()) == before
