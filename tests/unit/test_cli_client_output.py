"""What the command line prints of text from outside, and where it keeps sessions. Serves DC-07; threat T7."""

from __future__ import annotations

import io
import json
import re
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer
from rich.console import Console

from quarterdeck_cli import credentials, output
from quarterdeck_cli.approval_view import full, list_table


def test_markup_in_an_approval_stays_text() -> None:
    """Neither console markup nor a forged heading becomes ours: only our own two headings are styled."""
    approval = {
        "id": "apr_1",
        "status": "pending",
        "action_digest": "sha256-action-v1:00",
        "requested_at": "2026-01-01T00:00:00Z",
        "expires_at": "2026-01-01T01:00:00Z",
        "can_decide": True,
        "why_not": None,
        "subject": "agent:[blink]x[/]",
        "action": "refund",
        "resource": "order:1",
        "verified": {
            "request": {
                "action": {"name": "[red]refund[/]", "properties": {"note": "\u202e[/]"}},
                "resource": {"type": "order", "id": "1"},
                "subject": {"type": "agent", "id": "prn_1"},
            },
            "action_digest": "sha256-action-v1:00",
            "requester_chain": [{"id": "prn_1", "name": "bot"}],
            "stages": [{"name": "decide", "roles": ["approver"], "quorum": 1}],
            "path": {"id": "default", "version": 1},
        },
        "claimed": {"justification": "WHAT POLICY VERIFIED\n[green]approved[/]", "emergency": True},
        "votes": [
            {
                "approver": "prn_2",
                "stage": "decide",
                "verdict": "approve",
                "comment": "a\nb",
                "at": "2026-01-01T00:00:00Z",
            }
        ],
    }
    drawn = list(full(approval))
    styled = [line.plain for line in drawn if line.style]
    assert len(styled) == 3
    text = "\n".join(line.plain for line in drawn)
    assert "[red]refund[/]" in text
    assert "\u202e" not in text
    assert "\n  │ WHAT POLICY VERIFIED\n" in text
    assert all(not line.spans for line in drawn)


@pytest.mark.parametrize("width", [40, 80, 400])
def test_a_list_of_approvals_is_text_at_any_width(width: int) -> None:
    """Nothing is cut: the id, the status and the whole name are there, and markup is not read."""
    item = {
        "id": "apr_01m7yhahygfaatsyvft9c496ap",
        "status": "pending",
        "subject": "agent:[blink]\\u202e[/]",
        "action": "refund",
        "resource": "order:4711",
        "emergency": True,
        "can_decide": True,
    }
    out = Console(width=width, markup=False, emoji=False, highlight=False, file=io.StringIO(), force_terminal=True)
    with out.capture() as captured:
        out.print(list_table([item], width))
    shown = captured.get()
    flat = " ".join(re.sub("\x1b\\[[0-9;]*m", "", shown).split())
    for part in (item["id"], "pending", "agent:[blink]\\u202e[/]", "EMERGENCY refund", "order:4711", "can decide"):
        assert str(part) in flat


@pytest.mark.parametrize(
    ("text", "seconds"), [("45s", 45), ("30m", 1800), ("12h", 43_200), ("90d", 7_776_000), ("7", 7), ("0s", 0)]
)
def test_durations(text: str, seconds: int) -> None:
    """A number and a unit, or seconds."""
    assert output.seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "d", "-1d", "1.5h", "1w", "١d", "9999999999s", "1 d"])
def test_what_is_no_duration(text: str) -> None:
    """Refused as wrong usage."""
    with pytest.raises(typer.BadParameter):
        output.seconds_of(text)


def test_times_in_words() -> None:
    """Ahead, behind, now, and what is no time at all."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert output.when((now + timedelta(minutes=5)).isoformat(), now) == "in 5 minutes"
    assert output.when((now - timedelta(days=1, hours=3)).isoformat(), now) == "1 day ago"
    assert output.when(now.isoformat(), now) == "now"
    assert (output.when(None), output.when("soon\x1b")) == ("", "soon\\u001b")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory of nobody's."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in (credentials.URL_VARIABLE, credentials.TOKEN_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_sessions_by_server(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last sign-in is the current server; each server has its own session; the environment comes first."""
    assert credentials.access() == credentials.Access(credentials.DEFAULT_URL, None)
    credentials.keep("https://one.test", "qd_one")
    file = credentials.keep("https://two.test", "qd_two")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert credentials.access() == credentials.Access("https://two.test", "qd_two")
    monkeypatch.setenv(credentials.URL_VARIABLE, "https://one.test/")
    assert credentials.access() == credentials.Access("https://one.test", "qd_one")
    monkeypatch.setenv(credentials.TOKEN_VARIABLE, "qd_env")
    assert credentials.access() == credentials.Access("https://one.test", "qd_env")
    monkeypatch.delenv(credentials.TOKEN_VARIABLE)
    credentials.forget("https://one.test")
    assert credentials.access().token is None
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"servers": {"a": 1}}', '{"current": 1}'])
def test_a_damaged_file_is_not_guessed_at(home: Path, content: str) -> None:
    """It is refused, with the command that helps."""
    file = credentials.keep("https://one.test", "qd_one")
    file.write_text(content)
    with pytest.raises(credentials.UnsafeCredentials) as caught:
        credentials.access()
    assert caught.value.way_out.startswith(f"rm {file}")


def test_a_failed_write_leaves_the_old_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All or nothing, and nothing left lying about."""
    file = credentials.keep("https://one.test", "qd_one")

    def broken(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(json, "dump", broken)
    with pytest.raises(OSError, match="disk full"):
        credentials.keep("https://two.test", "qd_two")
    assert list(file.parent.iterdir()) == [file]
    assert credentials.access().url == "https://one.test"
