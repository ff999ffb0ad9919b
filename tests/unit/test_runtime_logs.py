"""Logs say what happened, in which trace, and never a secret. Serves the logging of section 5; threat T15."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import attach, detach

from quarterdeck_runtime import logs
from quarterdeck_runtime.settings import Settings
from quarterdeck_runtime.telemetry import current_trace_id, current_traceparent, parse_headers, request_context

KEY = "qd_acme_0123456789abcdefghjkmnpqrs_" + "S" * 43
LINK = "qdl_acme_0123456789abcdefghjkmnpqrs_" + "S" * 43
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """Logging set up as JSON into a buffer; everything as it was afterwards."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure(Settings(log_format="json", log_level="info"), "api", stream)
    yield stream
    root.handlers[:], level = before
    root.setLevel(level)
    structlog.reset_defaults()


def last(stream: io.StringIO) -> dict[str, Any]:
    """Return the last line."""
    found: dict[str, Any] = json.loads(stream.getvalue().splitlines()[-1])
    return found


def test_a_line_says_what_where_and_in_which_trace(lines: io.StringIO) -> None:
    """From structlog and from the standard library alike."""
    token = attach(request_context({"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}))
    try:
        structlog.get_logger("ours").info("started", position=7)
        ours = last(lines)
        logging.getLogger("theirs").warning("slow %s", "query")
        theirs = last(lines)
    finally:
        detach(token)
    assert (ours["event"], ours["position"], ours["level"], ours["role"]) == ("started", 7, "info", "api")
    assert (theirs["event"], theirs["logger"], theirs["level"]) == ("slow query", "theirs", "warning")
    assert ours["trace_id"] == theirs["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert len(ours["span_id"]) == 16
    assert ours["timestamp"].endswith("Z")
    assert set(ours) == {"event", "position", "level", "role", "logger", "timestamp", "trace_id", "span_id"}


def test_less_severe_lines_are_left_out(lines: io.StringIO) -> None:
    """By the configured level."""
    structlog.get_logger("ours").debug("detail")
    logging.getLogger("theirs").debug("detail")
    assert lines.getvalue() == ""


@pytest.mark.parametrize(
    "secret",
    [
        KEY,
        LINK,
        f"Bearer {JWT}",
        JWT,
        "postgresql://quarterdeck:SSSSSSSSSS@db:5432/q",
        "Authorization: Bearer SSSSSSSSSSSSSSSSSSSS",
        "-----BEGIN PRIVATE KEY-----\nSSSSSSSS\n-----END PRIVATE KEY-----",
    ],
)
def test_secrets_are_nowhere_in_a_line(lines: io.StringIO, secret: str) -> None:
    """In the message, a value, a nested value, an exception's text and its traceback."""
    log = structlog.get_logger("ours")
    log.info(f"got {secret}", value=secret, nested={"deep": [{"er": secret}]}, text=f"x{secret}y")
    try:
        raise ValueError(f"bad {secret}")
    except ValueError:
        log.exception("failed")
        logging.getLogger("theirs").exception("failed with %s", secret)
    written = lines.getvalue()
    assert "SSSS" not in written
    assert JWT not in written
    assert logs.REDACTED in written
    assert written.count("Traceback") == 2


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "Cookie",
        "set-cookie",
        "api_key",
        "apikey",
        "client_secret",
        "password",
        "token",
        "reveal",
        "database_url",
        "secret_hash",
    ],
)
def test_values_under_telling_names_are_masked_whatever_they_are(lines: io.StringIO, name: str) -> None:
    """A name that says secret is believed."""
    structlog.get_logger("ours").info("x", **{name: "plain", "inner": {name: ["plain", 7]}})
    line = last(lines)
    assert line[name] == line["inner"][name] == logs.REDACTED
    assert "plain" not in lines.getvalue()


def test_what_tells_credentials_apart_stays() -> None:
    """The shown prefix is enough to find a key; an id is not a secret."""
    assert logs.redact_text(f"refused {KEY}") == f"refused qd_acme_0123456789abcdefghjkmnpqrs_{logs.REDACTED}"
    assert logs.redact_text("key_0123456789abcdefghjkmnpqrs at http://host:80/path") == (
        "key_0123456789abcdefghjkmnpqrs at http://host:80/path"
    )


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_surroundings_hide_a_key(before: str, after: str) -> None:
    """Whatever stands around it."""
    assert "SSSS" not in logs.redact_text(before + KEY + after.replace("S", ""))


def test_traces_without_an_sdk() -> None:
    """A request is in its caller's trace, below the caller's span; without one it begins its own."""
    assert current_trace_id() is None
    assert current_traceparent() is None
    for headers in ({}, {"traceparent": "nonsense"}, {"traceparent": "00-" + "0" * 32 + "-" + "0" * 16 + "-01"}):
        token = attach(request_context(headers))
        assert len(current_trace_id() or "") == 32
        assert (current_traceparent() or "").startswith(f"00-{current_trace_id()}-")
        assert (current_traceparent() or "").endswith("-00")
        detach(token)
    token = attach(request_context({"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}))
    mine = current_traceparent() or ""
    detach(token)
    assert mine.startswith("00-4bf92f3577b34da6a3ce929d0e0e4736-")
    assert "00f067aa0ba902b7" not in mine
    assert mine.endswith("-01")


def test_collector_headers() -> None:
    """As the OpenTelemetry variables write them."""
    assert parse_headers("Authorization=Basic%20abc, x-team = ours ,") == {
        "authorization": "Basic abc",
        "x-team": "ours",
    }
    assert parse_headers("") == {}
