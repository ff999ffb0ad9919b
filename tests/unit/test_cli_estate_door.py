"""Applying a file to a server that drops, stalls and changes its mind: done once, or said that it was not.

Serves S0-49, S0-50, DC-07.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from scripted_server import DROP, Reply, Scripted

STEP = {"action": "register", "subject": "agent:a"}
RESULT = {"position": 3, "plan_digest": "sha256:1", "counts": {"register": 1}, "run": "run_1"}


def planned(digest: str = "sha256:1") -> Reply:
    """Return a plan."""
    return Reply(body={"position": 1, "plan_digest": digest, "counts": {"register": 1}, "steps": [STEP], "notes": []})


def lines(*items: Any) -> Reply:
    """Return a stream of JSON lines."""
    return Reply(body=b"".join(json.dumps(item).encode() + b"\n" for item in items))


FIRST = "/v1/estate/apply?plan_digest=sha256%3A1"
SECOND = "/v1/estate/apply?plan_digest=sha256%3A2"
PROGRESS = {"progress": {"stage": "record", "done": 1, "of": 2}}
CHANGED = {"problem": {"type": "urn:quarterdeck:problem:plan_changed", "status": 409, "detail": "it has changed"}}


@pytest.fixture
async def server() -> AsyncIterator[Scripted]:
    """A server that does as it is told."""
    made = Scripted()
    await made.start()
    made.on("POST", "/v1/estate/plan", planned())
    made.on("POST", "/graphql", Reply(body={"data": {"now": {"position": 3}}}))
    yield made
    await made.stop()


async def apply(server: Scripted, home: Path, *words: str) -> tuple[int, str, str]:
    """Apply a file in a process of its own."""
    file = home / "estate.json"
    file.write_text('{"version": 1, "source": "x", "assets": {"agent:a": {}}}')
    given = {**os.environ, "QUARTERDECK_URL": server.url, "QUARTERDECK_TOKEN": "x", "HOME": str(home), "NO_COLOR": "1"}
    command = [sys.executable, "-m", "quarterdeck_cli", "apply", str(file), "--yes", *words]
    done = await asyncio.to_thread(
        subprocess.run, command, env=given, capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


async def test_what_was_cut_off_is_sent_again_as_the_same(server: Scripted, tmp_path: Path) -> None:
    """Dropped, ended before the result, then answered: one key for all, so it is done once."""
    server.on("POST", FIRST, DROP, lines(PROGRESS), lines(PROGRESS, {"result": RESULT}))
    code, out, err = await apply(server, tmp_path, "--json")
    assert code == 0, err
    assert json.loads(out)["result"] == RESULT
    sent = server.to(FIRST)
    assert len(sent) == 3
    assert len({item.headers["idempotency-key"] for item in sent}) == 1


async def test_a_source_that_is_away_is_not_the_server_being_away(server: Scripted, tmp_path: Path) -> None:
    """It was looked at just now: nobody asks again at once, and the next step is to look at the source."""
    problem = {"type": "urn:quarterdeck:problem:source_away", "status": 502, "detail": "it offers more than 9 things"}
    server.on("POST", "/v1/estate/plan", Reply(status=502, body=problem))
    code, _, err = await apply(server, tmp_path, "--json")
    error = json.loads(err.splitlines()[-1])["error"]
    assert (code, error["code"], error["message"]) == (1, "source_away", "it offers more than 9 things")
    assert "the source itself" in error["hint"]
    assert len(server.to("/v1/estate/plan")) == 1


async def test_a_file_that_is_too_long_is_said_to_be(server: Scripted, tmp_path: Path) -> None:
    """A bill of a hundred megabytes is there, and is not what the server takes; nothing is sent."""
    file = tmp_path / "bill.json"
    with file.open("wb") as sparse:
        sparse.truncate(100 * 2**20)
    code, _, err = await apply(server, tmp_path, str(file), "--json")
    error = json.loads(err.splitlines()[-1])["error"]
    assert (code, error["code"]) == (1, "body_too_large")
    assert "in parts" in error["hint"]
    assert server.seen == []


async def test_what_stays_unknown_is_said(server: Scripted, tmp_path: Path) -> None:
    """Nobody knows whether it was applied: exit code 3, and applying again does no harm."""
    server.on("POST", FIRST, DROP)
    code, _, err = await apply(server, tmp_path, "--json")
    error = json.loads(err.splitlines()[-1])["error"]
    assert (code, error["code"]) == (3, "unreachable")
    assert "not done twice" in error["hint"]


async def test_a_plan_that_changed_is_shown_anew(server: Scripted, tmp_path: Path) -> None:
    """With --yes the new one is applied, and it is said; with a digest, it is not."""
    server.on("POST", "/v1/estate/plan", planned(), planned("sha256:2"))
    server.on("POST", FIRST, lines(CHANGED))
    server.on("POST", SECOND, lines({"result": RESULT}))
    code, out, err = await apply(server, tmp_path)
    assert code == 0, err
    assert "it has changed; this is the plan now:" in err
    assert out.count("+ agent:a\n") == 2
    assert "Digest sha256:2" in out
    assert (len(server.to(FIRST)), len(server.to(SECOND))) == (1, 1)
    server.on("POST", "/v1/estate/plan", planned(), planned("sha256:2"))
    server.on("POST", FIRST, lines(CHANGED))
    code, _, err = await apply(server, tmp_path, "--digest", "sha256:1")
    assert (code, "nothing was applied" in err) == (1, True)


async def test_an_estate_that_never_rests_is_given_up(server: Scripted, tmp_path: Path) -> None:
    """After a few plans, with nothing applied."""
    server.on("POST", FIRST, lines(CHANGED))
    code, _, err = await apply(server, tmp_path)
    assert (code, "nothing was applied" in err) == (1, True)


async def test_problems_in_the_stream_end_it(server: Scripted, tmp_path: Path) -> None:
    """Each part of what is wrong is said, and nonsense between the lines is passed over."""
    wrong = {"type": "urn:quarterdeck:problem:invalid_input", "status": 422, "detail": "2 problems"}
    wrong |= {"details": {"problems": ["agent:a: no", "agent:b: \x1b[2Jno"]}}
    reply = lines(PROGRESS, {"problem": wrong})
    server.on("POST", FIRST, Reply(body=b"nonsense\n[1]\n" + reply.body))
    code, _, err = await apply(server, tmp_path)
    assert code == 1
    assert "error: 2 problems\n  - agent:a: no\n  - agent:b: \\u001b[2Jno\n" in err
