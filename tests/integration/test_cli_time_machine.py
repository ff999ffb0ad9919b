"""The time machine on the command line against the real API: diff, timeline, replay, explain.

Serves C08, S0-50, S0-52; threats T7.
"""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from journey_house import Journey, journey

FILE = """
version: 1
source: platform
assets:
  agent:support-bot: {owner: support-rota, team: support, relations: {calls: [tool:crm/refund]}}
  tool:crm/refund: {attributes: {privileges: [write]}, relations: {writes: [dataset:orders]}}
  dataset:orders: {classification: confidential}
"""


@pytest.fixture
async def there(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[Journey]:
    """A house on a real socket, with an estate in it."""
    async with journey(migrated_database(), tmp_path) as made:
        file = tmp_path / "estate.yaml"
        file.write_text(FILE)
        await ran(made, "apply", str(file), "--yes", by="otto")
        yield made


async def ran(there: Journey, *words: str, by: str = "audra") -> str:
    """Run a command that must succeed, with everything recorded so far to be seen; return what it printed."""
    await there.projected()
    code, out, err = await there.cli(*words, by=by)
    assert code == 0, (words, out, err)
    return out


async def parsed(there: Journey, *words: str) -> Any:
    """Run a command with --json; return what it printed."""
    return json.loads(await ran(there, *words, "--json"))


async def changed(there: Journey) -> int:
    """Change the estate in three ways; return the position before."""
    before = await there.house.position()
    await ran(there, "estate", "change", "tool:crm/refund", "--set", "tier=1", by="otto")
    await ran(there, "estate", "unrelate", "agent:support-bot", "calls", "tool:crm/refund", by="otto")
    await ran(there, "estate", "register", "dataset:logs", "--set", "owner=platform", by="otto")
    return before


async def test_what_is_different(there: Journey) -> None:
    """Object by object, field by field; a part of it; nothing between a moment and itself."""
    before = await changed(there)
    found = await parsed(there, "diff", str(before))
    kinds = {(item["objectId"], item["kind"]) for item in found["changes"]}
    assert ("tool:crm/refund", "CHANGED") in kinds
    assert ("dataset:logs", "ADDED") in kinds
    assert found["from"]["position"] == before
    out = await ran(there, "diff", str(before))
    assert "~ tool:crm/refund\n" in out
    assert re.search(r"^    tier +\(nothing\) -> 1$", out, re.MULTILINE), out
    assert "+ dataset:logs\n" in out
    found = await parsed(there, "diff", str(before), "--kind", "dataset")
    assert {item["objectId"] for item in found["changes"]} == {"dataset:logs"}
    found = await parsed(there, "diff", str(before), "--asset", "tool:crm/refund")
    assert {item["objectId"] for item in found["changes"]} == {
        "tool:crm/refund",
        "agent:support-bot calls tool:crm/refund",
    }
    found = await parsed(there, "diff", "1", str(before), "--team", "support", "--kind", "agent")
    assert "agent:support-bot" in {item["objectId"] for item in found["changes"]}
    out = await ran(there, "diff", str(before), str(before))
    assert "Nothing is different." in out
    first, *lines = map(json.loads, (await ran(there, "diff", str(before), "--whole")).splitlines())
    assert first["from"]["position"] == before
    kinds = {(item["object_id"], item["kind"]) for item in lines}
    assert {("dataset:logs", "added"), ("agent:support-bot calls tool:crm/refund", "changed")} <= kinds
    code, _, err = await there.cli("diff", "1", "--whole", "--kind", "agent", by="audra")
    assert code == 2
    assert "not narrowed" in err
    everything = await parsed(there, "diff", "1", "--kind", "all")
    assert {"PRINCIPAL", "API_KEY", "ASSET"} <= {item["objectKind"] for item in everything["changes"]}
    for form in ((), ("--whole",)):
        assert await ran(there, "diff", str(before), "now", *form) == await ran(there, "diff", str(before), *form)
        head = str(await there.house.position())
        assert await ran(there, "diff", "now", "NOW", *form) == await ran(there, "diff", head, head, *form)
    code, _, err = await there.cli("diff", "7", "3", "--json", by="audra")
    assert (code, json.loads(err)["error"]["code"]) == (1, "invalid_input")


async def test_what_touched_an_object(there: Journey) -> None:
    """Everything, oldest first, with the file that applied it; a part of it; newest first."""
    before = await changed(there)
    found = await parsed(there, "timeline", "tool:crm/refund")
    types = [event["type"] for event in found["events"]]
    assert types[0] == "estate.applied"
    assert types[1] == "asset.registered"
    assert types[-2:] == ["asset.changed", "relation.withdrawn"]
    later = await parsed(there, "timeline", "tool:crm/refund", "--from", str(before))
    assert [event["type"] for event in later["events"]] == ["asset.changed", "relation.withdrawn"]
    earlier = await parsed(there, "timeline", "tool:crm/refund", "--to", str(before), "--newest")
    assert [event["type"] for event in earlier["events"]] == types[:-2][::-1]
    out = await ran(there, "timeline", "tool:crm/refund", "--type", "asset.changed")
    assert len(out.splitlines()) == 1
    assert "asset.changed" in out
    assert "tool:crm/refund  tier=1" in out
    assert "Nothing touched tool:none" in await ran(there, "timeline", "tool:none")


async def test_it_is_played_again(there: Journey) -> None:
    """Without a terminal: a line for each event, in order, as text or JSON, from and to any moment, after its gap."""
    before = await changed(there)
    head = await there.house.position()
    lines = (await ran(there, "replay", "--from", str(before), "--json")).splitlines()
    assert [json.loads(line)["position"] for line in lines] == list(range(before + 1, head + 1))
    out = await ran(there, "replay", "--to", str(before), "--about", "dataset:orders", "--speed", "1000000")
    assert ["asset.registered" in line for line in out.splitlines()] == [False, True, False]
    out = await ran(there, "replay", "--from", str(before), "--to", "now", "--json")
    assert out.splitlines() == lines
    assert await ran(there, "replay", "--from", "now", "--json") == ""
    assert await ran(there, "replay", "--from", "9", "--to", "9", "--json") == ""


@pytest.mark.parametrize("command", [("replay",), ("timeline", "tool:crm/refund")])
async def test_a_span_that_ends_before_it_begins_is_refused(there: Journey, command: tuple[str, ...]) -> None:
    """As `diff` does, by position and by time, instead of finding nothing."""
    for begin, end in (("9", "3"), ("1d", "2d"), ("2026-01-02", "2026-01-01"), ("now", "3"), ("9", "2020-01-01")):
        code, out, err = await there.cli(*command, "--from", begin, "--to", end, "--json", by="audra")
        assert (code, out, json.loads(err)["error"]["code"]) == (1, "", "invalid_input")


async def test_at_a_terminal_it_is_paused_moved_and_ended(there: Journey) -> None:
    """Space, arrows, end and q; the terminal is as it was before."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "quarterdeck_cli", "replay", "--speed", "60"),
        env={**there.environment("audra"), "TERM": "xterm", "COLUMNS": "100", "LINES": "30"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)

    def until(text: str) -> str:
        found = b""
        while text.encode() not in found:
            found += os.read(ours, 4096)
        return found.decode()

    head = await there.house.position()
    await asyncio.to_thread(until, "space pauses")
    os.write(ours, b"\x1b[F")
    await asyncio.to_thread(until, f"event {head} of {head}")
    os.write(ours, b"\x1b[D\x1b[D")
    screen = await asyncio.to_thread(until, f"event {head - 2} of {head}")
    assert "paused" in screen
    os.write(ours, b"q")
    assert await process.wait() == 0
    os.close(ours)


async def test_why_it_is_so(there: Journey) -> None:
    """Of an object: the fewest events that force it, and the checks."""
    await changed(there)
    found = await parsed(there, "explain", "tool:crm/refund", "--field", "tier")
    assert [event["type"] for event in found["slice"]["events"]] == ["asset.registered", "asset.changed"] or [
        event["type"] for event in found["slice"]["events"]
    ] == ["asset.changed"]
    assert found["slice"]["checked"]["irreducible"] is True
    out = await ran(there, "explain", "tool:crm/refund")
    assert "asset.changed" in out
    assert "✔ without any one of them it would be otherwise" in out
    code, _, err = await there.cli("explain", "dec_00000000000000000000000000", "--json", by="audra")
    assert (code, json.loads(err)["error"]["code"]) == (1, "not_found")


async def test_what_was_said_of_another_time(there: Journey) -> None:
    """As recorded, a dated fact is told in words; by all that is known today, it was true then; and where nothing was
    recorded yet, the answer says how to ask for what was true."""
    before = await there.house.position()
    change = ("estate", "change", "tool:crm/refund", "--set", "title=Refund", "--valid-from", "2024-05-01")
    await ran(there, *change, by="otto")
    out = await ran(there, "diff", str(before))
    assert "    is said to have, from 2024-05-01T00:00:00.000000+00:00: title Refund\n" in out.replace("; has", "\n"), (
        out
    )
    assert '{"' not in out
    days = ("2024-04-01", "2024-06-01")
    await there.projected()
    code, out, err = await there.cli("diff", *days, by="audra")
    assert (code, "Nothing had been recorded by then." in out, "--known-at now" in err) == (0, True, True)
    out = await ran(there, "diff", *days, "--known-at", "now")
    assert "+ tool:crm/refund" in out
    found = await parsed(there, "diff", days[0], "--known-at", "now", "--asset", "tool:crm/refund")
    assert {item["objectId"] for item in found["changes"]} >= {"tool:crm/refund"}
    for words in (("show", "tool:crm/refund"), ("list",)):
        code, out, err = await there.cli("estate", *words, "--at", days[1], by="audra")
        assert "--known-at now" in err, (words, out, err)
        assert "tool:crm/refund" in await ran(there, "estate", *words, "--at", days[1], "--known-at", "now")
    code, _, err = await there.cli("diff", "1", "--kind", "nope", "--json", by="audra")
    assert (code, json.loads(err)["error"]["code"]) == (1, "invalid_input")
    assert "agent" in err
    code, _, err = await there.cli("estate", "ways", "agent:support-bot", "dataset:odrers", by="audra")
    assert (code, "dataset:odrers" in err, "estate list" in err, "approvals" in err) == (1, True, True, False)
    out = await ran(there, "estate", "findings", "--team", "suport")
    assert "Nothing belongs to a team suport." in out
    assert "missing" not in out
