"""The estate on the command line against the real API, each command a process of its own: apply, change, see, ask, leave.

Serves C02, S0-43, S0-44, S0-48, S0-49, S0-50, S0-154; threats T7.
"""

from __future__ import annotations

import json
import os
import pty
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from journey_house import Journey, journey

from quarterdeck_cli.text import visible

FILE = """
version: 1
source: platform
assets:
  agent:support-bot:
    title: Support bot
    owner: support-rota
    team: support
    purpose: answers customers
    environments: [prod]
    attributes: {autonomy: acts_with_approval}
    relations:
      calls: [mcp_server:crm]
      governed_by: [policy_bundle:starter]
      owned_by: [team:support]
  mcp_server:crm: {relations: {exposes: [tool:refund]}}
  tool:refund:
    attributes: {privileges: [write]}
    relations: {writes: [dataset:orders], gated_by: [approval_path:default]}
  dataset:orders: {classification: confidential}
  approval_path:default:
  policy_bundle:starter:
  team:support: {attributes: {function: product}}
"""
HOSTILE = "[bold red]OK[/] :rocket: \\u202egnp.exe \\x1b[2J\\rdone"
"""As a YAML file writes it in double quotes."""


@pytest.fixture
async def there(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[Journey]:
    """A house on a real socket."""
    async with journey(migrated_database(), tmp_path) as made:
        yield made


@pytest.fixture
async def filled(there: Journey, tmp_path: Path) -> Journey:
    """The same with an estate in it."""
    await apply(there, tmp_path, FILE)
    return there


async def apply(there: Journey, where: Path, text: str, *words: str) -> dict[str, Any]:
    """Apply a file and return what was printed."""
    file = where / "estate.yaml"
    file.write_text(text)
    found = await parsed(there, "apply", str(file), "--yes", *words, by="otto")
    await there.projected()
    return found


async def parsed(there: Journey, *words: str, by: str = "audra", **more: str) -> Any:
    """Run a command that must succeed, with --json; return what it printed."""
    code, out, err = await there.cli(*words, "--json", by=by, **more)
    assert code == 0, out + err
    return json.loads(out)


async def refused(there: Journey, *words: str, by: str = "otto", code: int = 1) -> dict[str, Any]:
    """Run a command that must be refused; return the error."""
    ended, out, err = await there.cli(*words, "--json", by=by)
    assert ended == code, out + err
    assert "Traceback" not in err
    found: dict[str, Any] = json.loads(err.splitlines()[-1])["error"]
    return found


async def test_a_file_is_shown_agreed_to_applied_and_changes_nothing_again(there: Journey, tmp_path: Path) -> None:
    """The plan first; without a terminal and --yes nothing happens; then all of it; then nothing is left to do."""
    file = tmp_path / "estate.yaml"
    file.write_text(FILE)
    before = await there.house.position()
    code, out, err = await there.cli("apply", str(file), by="otto")
    assert (code, "--yes" in err) == (2, True)
    assert "+ agent:support-bot\n" in out
    assert "+ agent:support-bot calls mcp_server:crm\n" in out
    assert "7 to register, 6 to relate" in out
    code, out, err = await there.cli("apply", str(file), "--dry-run", by="otto")
    assert code == 0
    digest = next(line.split()[1] for line in out.splitlines() if line.startswith("Digest "))
    assert (await there.cli("apply", str(file), "--dry-run", "--exit-code", by="otto"))[0] == 4
    assert await there.house.position() == before
    code, out, err = await there.cli("apply", str(file), "--digest", digest, by="otto")
    assert code == 0, err
    assert "Applied: 7 registered, 6 related; up to position" in out
    assert "recording: 14 of 14" in err
    assert await there.house.position() == before + 14
    code, out, _ = await there.cli("apply", str(file), "--yes", by="otto")
    assert (code, out.startswith("Nothing to change: ")) == (0, True)
    assert (await there.cli("apply", str(file), "--dry-run", "--exit-code", by="otto"))[0] == 0
    assert await there.house.position() == before + 14


async def test_a_changed_file_shows_what_changes(filled: Journey, tmp_path: Path) -> None:
    """Facts before and after, relations that are withdrawn; from standard input, and as JSON for programs."""
    changed = """
version: 1
source: platform
assets:
  agent:support-bot:
    tier: 1
    purpose: answers everybody
    relations: {calls: []}
  tool:refund: {lifecycle: retired}
"""
    code, out, err = await filled.cli("apply", "-", "--dry-run", by="otto", stdin=changed)
    assert code == 0, err
    assert "~ agent:support-bot\n" in out
    assert "    purpose  answers customers -> answers everybody\n" in out
    assert "    tier     (nothing) -> 1\n" in out
    assert "- withdraw agent:support-bot calls mcp_server:crm\n" in out
    assert "- retire tool:refund\n" in out
    file = tmp_path / "changed.yaml"
    file.write_text(changed)
    done = await parsed(filled, "apply", str(file), "--yes", by="otto")
    assert done["plan"]["counts"] == done["result"]["counts"]
    assert done["result"]["run"].startswith("run_")


async def test_what_is_wrong_with_a_file_is_listed(there: Journey, tmp_path: Path) -> None:
    """Every problem with where it is, in words and for programs; nothing is applied."""
    before = await there.house.position()
    wrong = "version: 1\nsource: x\nassets:\n  robot:a: {}\n  agent:b: {owner: ada@example.com}\n"
    file = tmp_path / "wrong.yaml"
    file.write_text(wrong)
    code, _, err = await there.cli("apply", str(file), "--yes", by="otto")
    assert code == 1
    assert "\n  - robot:a: " in err
    assert "\n  - agent:b: owner looks like somebody's address" in err
    error = await refused(there, "apply", str(file), "--yes")
    assert (error["code"], len(error["problems"])) == ("invalid_input", 2)
    file.write_text("version: 1\nassets: [\n")
    assert "line 3" in (await refused(there, "apply", str(file), "--yes"))["message"]
    assert (await refused(there, "apply", str(tmp_path / "none.yaml"), "--yes", code=2))["code"] == "unreadable"
    assert (await refused(there, "apply", str(tmp_path), "--yes", code=2))["code"] == "unreadable"
    assert (await refused(there, "apply", str(file), code=2))["code"] == "usage"
    assert (await refused(there, "apply", str(file), "--yes", by="audra"))["code"] == "not_allowed"
    assert await there.house.position() == before


async def test_only_the_plan_that_was_looked_at_is_applied(filled: Journey, tmp_path: Path) -> None:
    """With the digest of another plan, nothing is; the plan as it is now is shown."""
    file = tmp_path / "more.yaml"
    file.write_text("version: 1\nsource: platform\nassets: {tool:refund: {tier: 2}}\n")
    seen = (await parsed(filled, "apply", str(file), "--dry-run", by="otto"))["plan"]["plan_digest"]
    await parsed(filled, "estate", "change", "tool:refund", "--set", "tier=3", by="otto")
    code, out, err = await filled.cli("apply", str(file), "--digest", seen, by="otto")
    assert (code, "nothing was applied" in err) == (1, True)
    assert "    tier  3 -> 2\n" in out


@pytest.mark.parametrize("answer", ["y", "n"])
async def test_at_a_terminal_it_asks(there: Journey, tmp_path: Path, answer: str) -> None:
    """Yes applies, with a bar on the way; no does nothing."""
    file = tmp_path / "estate.yaml"
    file.write_text(FILE)
    before = await there.house.position()
    code, screen = await at_a_terminal(there, ["apply", str(file)], answer)
    assert "Apply this?" in screen
    if answer == "y":
        assert (code, "Applied: 7 registered" in screen) == (0, True)
        assert await there.house.position() == before + 14
    else:
        assert (code, "nothing was applied" in screen) == (1, True)
        assert await there.house.position() == before


async def at_a_terminal(there: Journey, words: list[str], answer: str) -> tuple[int, str]:
    """Run a command on a terminal of its own and answer its question."""
    import asyncio

    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "quarterdeck_cli", *words),
        env={**there.environment("otto"), "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    os.write(ours, f"{answer}\n".encode())

    def read() -> str:
        found = b""
        while True:
            try:
                more = os.read(ours, 4096)
            except OSError:  # the other side is closed
                return found.decode()
            if not more:
                return found.decode()
            found += more

    screen = await asyncio.to_thread(read)
    os.close(ours)
    return await process.wait(), screen


async def test_see_list_show_kinds(filled: Journey) -> None:
    """Filters, one object with its relations both ways, the kinds and what one takes."""
    found = await parsed(filled, "estate", "list", "--kind", "tool", "--kind", "dataset")
    assert [item["id"] for item in found["assets"]] == ["tool:refund", "dataset:orders"]
    code, out, _ = await filled.cli("estate", "list", "--team", "support", by="audra")
    assert (code, "agent:support-bot" in out, "tool:refund" in out) == (0, True, False)
    assert "Support bot" in out
    shown = await parsed(filled, "estate", "show", "mcp_server:crm")
    assert [item["target"] for item in shown["out"]] == ["tool:refund"]
    assert [item["source"] for item in shown["into"]] == ["agent:support-bot"]
    code, out, _ = await filled.cli("estate", "show", "agent:support-bot", by="audra")
    assert code == 0
    for line in ("agent:support-bot  live  Support bot", "owner support-rota, team support, owned by team:support"):
        assert line in out
    assert "  calls mcp_server:crm\n" in out
    assert (await refused(filled, "estate", "show", "agent:nobody", by="audra"))["code"] == "not_found"
    code, out, _ = await filled.cli("estate", "kinds", by="audra")
    assert (code, "\nagent " in out) == (0, True)
    code, out, _ = await filled.cli("estate", "kinds", "tool_grant", by="audra")
    assert "attributes.privileges" in out
    assert "a list, a,b of read | route | trigger | write" in out
    assert "permits" in out


async def test_a_page_is_of_one_moment_and_limited(filled: Journey, tmp_path: Path) -> None:
    """More than a page: all of them once, in order; fewer on request, and it says that there are more."""
    many = "\n".join(f"  dataset:d{number:03}:" for number in range(130))
    await apply(filled, tmp_path, f"version: 1\nsource: many\nassets:\n{many}\n")
    found = await parsed(filled, "estate", "list", "--kind", "dataset")
    assert [item["name"] for item in found["assets"]] == ["orders", *(f"d{number:03}" for number in range(130))]
    assert found["more"] is False
    found = await parsed(filled, "estate", "list", "--kind", "dataset", "--limit", "120")
    assert (len(found["assets"]), found["more"]) == (120, True)


async def test_every_command_of_the_estate(filled: Journey) -> None:
    """Register, change, relate and all the others; each says what the record holds from then on."""
    steps = (
        ("register", "tool:lookup", "--set", "owner=crm-rota", "--set", "attributes.privileges=read,write"),
        ("register", "tool:look-up"),
        ("change", "tool:lookup", "--set", "tier=2", "--set", 'attributes.labels:={"a": "b"}', "--unset", "owner"),
        ("transfer", "tool:lookup", "--owner", "crm-rota", "--team", "crm"),
        ("promote", "tool:lookup", "-m", "everybody needs it"),
        ("relate", "agent:support-bot", "calls", "tool:lookup", "--env", "prod", "--evidence", "design 12"),
        ("unrelate", "agent:support-bot", "calls", "tool:lookup"),
        ("merge", "tool:lookup", "tool:look-up"),
        ("quarantine", "tool:lookup", "-m", "odd"),
        ("release", "tool:lookup", "-m", "looked at"),
        ("note-drift", "tool:lookup", "--input", "tools", "--field", "schema", "--expected", "a", "--found", "b"),
        ("deprecate", "tool:lookup", "--successor", "tool:refund", "--sunset", "2027-01-31"),
        ("retire", "tool:lookup", "-m", "gone"),
    )
    for words in steps:
        code, out, err = await filled.cli("estate", *words, by="otto")
        assert code == 0, (words, err)
        assert f"from position {await filled.house.position()} on" in out
    await filled.projected()
    shown = await parsed(filled, "estate", "show", "tool:lookup")
    assert (shown["lifecycle"], shown["successor"], shown["tier"]) == ("RETIRED", "tool:refund", 1)
    assert shown["attributes"] == {"privileges": ["read", "write"], "labels": {"a": "b"}}
    assert (shown["owner"], shown["team"], shown["aliases"]) == ("crm-rota", "crm", ["tool:look-up"])
    (drift,) = (await parsed(filled, "estate", "drift"))["drifts"]
    words = ("estate", "accept-drift", "tool:lookup", drift["id"], "-m", "read it")
    assert (await refused(filled, *words, by="audra"))["code"] == "not_allowed"
    error = await refused(filled, "estate", "change", "tool:refund", "--set", "attributes.colour=red")
    assert error["code"] == "invalid_input"
    assert (await filled.cli("estate", "change", "tool:refund", "--set", "tier=one", by="otto"))[0] == 2
    assert (await filled.cli("estate", "change", "tool:refund", by="otto"))[0] == 2


async def test_accepting_a_drift_says_what_became_of_the_pin(filled: Journey) -> None:
    """It moved, or there was nothing to move; and nothing else moves it."""
    one, two = "sha256:" + "1" * 64, "sha256:" + "2" * 64
    noted = ("--input", "tools", "--field", "digest", "--expected", one, "--found", two)

    async def do(*words: str) -> str:
        code, out, err = await filled.cli("estate", *words, by="otto")
        assert code == 0, (words, err)
        await filled.projected()
        return out

    async def accepted() -> str:
        (drift,) = (await parsed(filled, "estate", "drift"))["drifts"]
        return await do("accept-drift", "tool:lookup", drift["id"], "-m", "read it")

    await do("register", "tool:lookup", "--set", f"attributes.digest={two}", "--set", f"attributes.pinned={one}")
    (unnoted,) = (await parsed(filled, "estate", "drift"))["unnoted"]
    assert (unnoted["assetId"], "note-drift" in unnoted["fix"]) == ("tool:lookup", True)
    shown = await do("drift")
    assert "nobody has noted it" in shown
    assert "Everything is as it was pinned" not in shown
    await do("note-drift", "tool:lookup", *noted, "--quarantine")
    assert "open, in quarantine" in " ".join((await do("drift")).split())
    error = await refused(filled, "estate", "release", "tool:lookup", "-m", "looking at it", by="otto")
    assert f"quarterdeck estate release tool:lookup --digest {two} --reason REASON" in error["message"]
    error = await refused(filled, "estate", "release", "tool:lookup", "--digest", one, "-m", "not it", by="otto")
    assert (error["code"], "look at it again" in error["message"]) == ("wrong_state", True)
    await do("release", "tool:lookup", "--digest", two, "-m", "looked at it")
    assert "in quarantine" not in " ".join((await do("drift")).split())
    await do("change", "tool:lookup", "--set", f"attributes.digest={one}")
    assert "the drift is closed, no pin had to move: tool:lookup" in await accepted()
    await do("change", "tool:lookup", "--set", f"attributes.digest={two}")
    words = ("estate", "change", "tool:lookup", "--set", f"attributes.pinned={two}")
    code, _, err = await filled.cli(*words, by="otto")
    assert (code, "accepts a drift" in err) == (1, True)
    await do("note-drift", "tool:lookup", *noted)
    assert "what was found is the new pin of tool:lookup" in await accepted()
    assert (await parsed(filled, "estate", "show", "tool:lookup"))["attributes"]["pinned"] == two


async def test_reach_and_ways(filled: Journey) -> None:
    """What reaches the data, through what, under which controls, and what would close it."""
    found = await parsed(filled, "estate", "reach", "dataset:orders", "--backward", "--kind", "agent")
    assert [(item["asset"]["id"], item["steps"]) for item in found["reached"]] == [("agent:support-bot", 3)]
    code, out, _ = await filled.cli("estate", "reach", "agent:support-bot", by="audra")
    assert (code, "dataset:orders" in out, "confidential" in out) == (0, True, True)
    (access,) = (await parsed(filled, "estate", "reached-by", "dataset:orders"))["accesses"]
    assert (access["asset"]["id"], access["ungated"]) == ("agent:support-bot", False)
    assert [tool["id"] for tool in access["tools"]] == ["tool:refund"]
    code, out, _ = await filled.cli("estate", "reached-by", "dataset:orders", by="audra")
    assert "    through  tool:refund\n    under    gated_by approval_path:default, governed_by" in out
    ways = await parsed(filled, "estate", "ways", "agent:support-bot", "dataset:orders")
    (path,) = ways["paths"]
    assert [step["target"] for step in path["relations"]] == ["mcp_server:crm", "tool:refund", "dataset:orders"]
    assert [step["subject"] for step in ways["cut"]["steps"]]
    code, out, _ = await filled.cli("estate", "ways", "agent:support-bot", "dataset:orders", by="audra")
    assert code == 0
    assert "  └ exposes tool:refund\n      must hold: gated_by approval_path:default\n" in out
    assert "to close every way: 1 of " in out
    code, out, _ = await filled.cli("estate", "ways", "dataset:orders", "agent:support-bot", by="audra")
    assert (code, out) == (0, "No way leads from dataset:orders to agent:support-bot.\n")
    code, out, _ = await filled.cli("estate", "ways", "agent:support-bot", "dataset:orders", "--hops", "2", by="audra")
    assert "over at most 2 steps, but longer ones do: leave out --hops to see them\nto close every way: 1 of" in out
    code, out, _ = await filled.cli("estate", "reached-by", "dataset:orders", "--hops", "2", by="audra")
    assert (code, out) == (0, "  … 1 more can, over more than 2 steps; leave out --hops to see them\n")
    assert (await refused(filled, "estate", "reach", "agent:nobody", by="audra"))["code"] == "not_found"


async def test_what_was_merged_is_shown_and_withdrawn_as_it_was_recorded(there: Journey, tmp_path: Path) -> None:
    """S0-14, S0-04: a survivor shows what was recorded of merged names, of a chain too; each step of the cut can be run
    as it stands, and all of them close the way."""
    assets: dict[str, Any] = dict.fromkeys(["dataset:k1", "dataset:k2", "dataset:k3"])
    assets["agent:k1"] = {"relations": {"reads": ["dataset:k1", "dataset:k3"]}}
    others = [f"dataset:o{number}" for number in range(12)]
    assets |= dict.fromkeys(others)
    await apply(there, tmp_path, json.dumps({"version": 1, "source": "platform", "assets": assets}))
    merges = [*(("dataset:k1", other) for other in others), ("dataset:k2", "dataset:k3"), ("dataset:k1", "dataset:k2")]
    for survivor, merged in merges:
        code, _, err = await there.cli("estate", "merge", survivor, merged, by="otto")
        assert code == 0, err
    shown = await parsed(there, "estate", "show", "dataset:k1")
    assert sorted(item["target"] for item in shown["into"]) == ["dataset:k1", "dataset:k3"]
    _, out, _ = await there.cli("estate", "show", "dataset:k1", by="audra")
    assert "is led to by (2)\n  reads agent:k1\n  reads agent:k1  (recorded of dataset:k3, which was merged)\n" in out
    _, out, _ = await there.cli("estate", "show", "agent:k1", by="audra")
    assert "leads to (2)\n  reads dataset:k1\n  reads dataset:k1  (recorded of dataset:k3, which was merged)\n" in out
    _, out, _ = await there.cli("estate", "show", "dataset:k3", by="audra")
    assert "  merged into  dataset:k1\n" in out
    assert "quarterdeck estate show dataset:k1\n" in out
    assert "transfer" not in out
    shown = await parsed(there, "estate", "show", "dataset:k3")
    assert (shown["mergedInto"], shown["survivor"]["id"]) == ("dataset:k2", "dataset:k1")
    for left in (2, 1):
        _, out, _ = await there.cli("estate", "ways", "agent:k1", "dataset:k1", by="audra")
        steps = [line.split("withdraw: ")[1] for line in out.splitlines() if "withdraw: " in line]
        assert len(steps) == left
        if left == 1:
            assert "  └ reads dataset:k1  (recorded as agent:k1 reads dataset:k3)\n" in out
            present = ("agent:k1", "reads", "dataset:k1")
            code, _, err = await there.cli("estate", "unrelate", *present, by="otto")
            assert (code, "withdraw agent:k1 reads dataset:k3" in err) == (1, True)
        code, _, err = await there.cli("estate", "unrelate", *steps[0].split(), by="otto")
        assert code == 0, err
    _, out, _ = await there.cli("estate", "ways", "agent:k1", "dataset:k1", by="audra")
    assert out == "No way leads from agent:k1 to dataset:k1.\n"


async def test_many_are_shown_whole(there: Journey, tmp_path: Path) -> None:
    """A hundred and fifty agents under nineteen policies each: more than one answer may hold, and all of it is shown."""
    policies = [f"policy_bundle:p{number}" for number in range(19)]
    agents = [f"agent:a{number:03}" for number in range(150)]
    relations = {"reads": ["dataset:orders"], "governed_by": policies}
    assets: dict[str, Any] = dict.fromkeys(["dataset:orders", *policies])
    file = {"version": 1, "source": "platform", "assets": assets | {name: {"relations": relations} for name in agents}}
    await apply(there, tmp_path, json.dumps(file))
    found = await parsed(there, "estate", "reached-by", "dataset:orders")
    assert [item["asset"]["id"] for item in found["accesses"]] == agents
    assert (found["total"], {len(item["controls"]) for item in found["accesses"]}) == (150, {19})
    code, out, _ = await there.cli("estate", "reached-by", "dataset:orders", by="audra")
    assert (code, sum(line.startswith("agent:") for line in out.splitlines())) == (0, 150)
    found = await parsed(there, "estate", "reach", "dataset:orders", "--backward")
    assert [item["asset"]["id"] for item in found["reached"]] == agents
    found = await parsed(there, "estate", "reached-by", "dataset:orders", "--limit", "120")
    assert (len(found["accesses"]), found["total"]) == (120, 150)


async def test_as_of_then(filled: Journey, tmp_path: Path) -> None:
    """Every read at a position and at a time: before the change it was otherwise; before the estate there was nothing."""
    before = await filled.house.position()
    await parsed(filled, "estate", "retire", "dataset:orders", by="otto")
    await filled.projected()
    then = ("--at", str(before))
    assert len((await parsed(filled, "estate", "list", *then))["assets"]) == 7
    assert len((await parsed(filled, "estate", "list"))["assets"]) == 6
    assert (await parsed(filled, "estate", "show", "dataset:orders", *then))["lifecycle"] == "LIVE"
    assert (await parsed(filled, "estate", "list", "--at", "1d"))["assets"] == []
    assert (await refused(filled, "estate", "list", "--at", "99999999", by="audra"))["code"] == "invalid_input"
    assert (await filled.cli("estate", "list", "--at", "soon", by="audra"))[0] == 2
    old, new = tmp_path / "old.yaml", tmp_path / "new.json"
    for file, words in ((old, then), (new, ())):
        code, _, err = await filled.cli("estate", "export", "-o", str(file), *words, by="audra")
        assert code == 0, err
    assert yaml.safe_load(old.read_text())["assets"].keys() - json.loads(new.read_text())["assets"].keys() == {
        "dataset:orders"
    }


async def test_what_was_recorded_late(filled: Journey) -> None:
    """As of a day before anything was recorded: nothing then, and something by what is known since."""
    words = ("estate", "register", "dataset:late", "--set", "tier=2", "--valid-from", "2026-01-01")
    assert (await filled.cli(*words, by="otto"))[0] == 0
    known = str(await filled.house.position())
    then = ("--at", "2026-03-01")
    assert (await parsed(filled, "estate", "list", *then))["assets"] == []
    found = await parsed(filled, "estate", "list", *then, "--known-at", known)
    assert [(item["id"], item["tier"]) for item in found["assets"]] == [("dataset:late", 2)]
    assert (await parsed(filled, "estate", "show", "dataset:late", *then, "--known-at", known))["tier"] == 2
    assert (await refused(filled, "estate", "list", "--known-at", known, by="audra", code=2))["code"] == "usage"


async def test_what_is_taken_away_comes_back_unchanged(filled: Journey, tmp_path: Path) -> None:
    """An export changes nothing when it is applied; a bill has the same bytes for the same position."""
    file = tmp_path / "all.yaml"
    assert (await filled.cli("estate", "export", "--source", "platform", "-o", str(file), by="audra"))[0] == 0
    code, out, err = await filled.cli("apply", str(file), "--yes", by="otto")
    assert (code, out.startswith("Nothing to change")) == (0, True), err
    code, out, _ = await filled.cli("estate", "export", by="audra")
    assert (code, out.replace("source: export", "source: platform")) == (0, file.read_text())
    position = str(await filled.house.position())
    bills = [tmp_path / name for name in ("a.json", "b.json")]
    for bill in bills:
        words = ("estate", "bill", "--form", "cyclonedx-1.6", "--root", "agent:support-bot", "--at", position)
        await parsed(filled, *words, "-o", str(bill))
    assert bills[0].read_bytes() == bills[1].read_bytes()
    assert json.loads(bills[0].read_text())["specVersion"] == "1.6"
    assert (await filled.cli("estate", "bill", "--form", "xml", by="audra"))[0] == 2
    words = ("estate", "export", "--at", "2019-01-01", "--known-at", position, "--json")
    assert (await parsed(filled, *words))["assets"] == {}
    assert (await filled.cli("estate", "export", "--known-at", position, by="audra"))[0] == 2


async def test_what_strangers_write_stays_text(there: Journey, tmp_path: Path) -> None:
    """Titles, evidence and attributes with escapes, overrides and markup: refused by the server or shown as text."""
    text = f'version: 1\nsource: x\nassets: {{"agent:[red]x/y[/]": {{title: "{HOSTILE}"}}}}\n'
    file = tmp_path / "hostile.yaml"
    file.write_text(text)
    code, out, err = await there.cli("apply", str(file), "--yes", by="otto", FORCE_COLOR="1", NO_COLOR="")
    assert code == 1
    plain = (
        "version: 1\nsource: x\nassets: {\"agent:[red]x/y[/]\": {title: '[blink]hi[/] :rocket:', purpose: 'a\\b'}}\n"
    )
    await apply(there, tmp_path, plain)
    for words in (
        ("estate", "list"),
        ("estate", "show", "agent:[red]x/y[/]"),
        ("estate", "reach", "agent:[red]x/y[/]"),
    ):
        code, out, err = await there.cli(*words, by="audra", FORCE_COLOR="1", NO_COLOR="", COLUMNS="200")
        assert code == 0, err
        assert not set(out) & {"\u202e", "\r", "\u200b"}
        assert "\x1b[2J" not in out
        assert "[red]x/y[/]" in out
    assert visible("a\\b") in (await there.cli("estate", "show", "agent:[red]x/y[/]", by="audra"))[1]
