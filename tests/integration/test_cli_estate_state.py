"""Findings, coverage, blast radius and what opened a way, on the command line against the real API, on the demo's estate.

Serves C02, C08, S0-04, S0-59, S0-25, S0-56; threats T7.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main
from journey_house import Journey, journey

from quarterdeck_cli import main

ESTATE = Path(__file__).parents[2] / "services" / "quarterdeck_cli" / "demo_estate.yaml"


@pytest.fixture
async def there(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[Journey]:
    """A house on a real socket, with the demo's estate in it."""
    async with journey(migrated_database(), tmp_path) as made:
        await ran(made, "apply", str(ESTATE), "--yes", by="otto")
        yield made


async def ran(there: Journey, *words: str, by: str = "audra") -> str:
    """Run a command that must succeed; return what it printed."""
    await there.projected()
    code, out, err = await there.cli(*words, by=by)
    assert code == 0, (words, out, err)
    return out


async def parsed(there: Journey, *words: str) -> Any:
    """Run a command with --json; return what it printed."""
    return json.loads(await ran(there, *words, "--json"))


def parses(command: str) -> bool:
    """Tell whether the command line knows a command with these words and options."""
    name, *words = shlex.split(command)
    if name != "quarterdeck":
        return False
    if not main.app.registered_groups:
        main._mount()
    group: Any = typer.main.get_command(main.app)
    context = click.Context(group)
    while isinstance(group, click.Group) or hasattr(group, "commands"):
        found = group.get_command(context, words[0])
        if found is None:
            return False
        group, words = found, words[1:]
    try:
        group.make_context(group.name, list(words), parent=context)
    except click.UsageError:
        return False
    except Exception as error:  # typer brings its own click along
        if "UsageError" in {kind.__name__ for kind in type(error).__mro__}:
            return False
        raise
    return True


async def test_every_finding_has_a_fix_that_can_be_typed(there: Journey) -> None:
    """The command line knows each; one that is carried out mends what was found."""
    assert not parses("quarterdeck estate nonsense x")
    assert not parses("quarterdeck estate promote")
    found = await parsed(there, "estate", "findings")
    assert found["total"] == len(found["findings"]) > 10
    for item in found["findings"]:
        assert parses(item["fix"]), item["fix"]
    asset = "workflow:campaign-launch"
    wanted = ("estate", "findings", "--type", "ungoverned", "--asset", asset)
    (finding,) = (await parsed(there, *wanted))["findings"]
    fix = shlex.split(finding["fix"].replace("NAME", "core"))
    await ran(there, *fix[1:], by="otto")
    assert (await parsed(there, *wanted))["findings"] == []
    assert "Nothing is missing or wrong." in await ran(there, *wanted)


async def test_findings_are_narrowed_shown_and_of_any_moment(there: Journey) -> None:
    """By type, severity, team, kind; the worst first; as of before, none."""
    out = await ran(there, "estate", "findings", "--severity", "high", "--limit", "2")
    lines = out.splitlines()
    assert [line.startswith("high ") for line in lines[::3]] == [True, True]
    assert all(line.strip().startswith("fix: quarterdeck ") for line in lines[2::3])
    found = await parsed(there, "estate", "findings", "--type", "over-permissioned", "--kind", "tool_grant")
    assert {item["type"] for item in found["findings"]} == {"OVER_PERMISSIONED"}
    found = await parsed(there, "estate", "findings", "--team", "marketing", "--limit", "1000")
    assert {item["team"] for item in found["findings"]} == {"marketing"}
    assert (await parsed(there, "estate", "findings", "--at", "5"))["total"] == 0
    code, _, err = await there.cli("estate", "findings", "--type", "nonsense", "--json", by="audra")
    assert (code, json.loads(err)["error"]["code"]) == (2, "usage")
    shown = await parsed(there, "estate", "show", "agent:campaign-writer")
    assert {"UNGATED", "UNGOVERNED"} <= {item["type"] for item in shown["findings"]}
    out = await ran(there, "estate", "show", "agent:campaign-writer")
    assert "    fix: quarterdeck estate relate agent:campaign-writer governed_by policy_bundle:NAME\n" in out


async def test_coverage(there: Journey) -> None:
    """By team and by kind; where it is far below the rest, it says so."""
    found = await parsed(there, "estate", "coverage")
    teams = {group["name"]: group for group in found["groups"]}
    assert teams["marketing"]["completeness"] < teams["customer-care"]["completeness"]
    out = await ran(there, "estate", "coverage")
    (row,) = [line for line in out.splitlines() if line.startswith("marketing ")]
    assert "0 of 2 !" in row
    assert out.splitlines()[0].split()[:3] == ["team", "objects", "known"]
    assert "\nagent " in await ran(there, "estate", "coverage", "--by", "kind")
    assert (await there.cli("estate", "coverage", "--by", "size", by="audra"))[0] == 2


async def test_blast_radius(there: Journey) -> None:
    """What depends on it, up to the people to call."""
    found = await parsed(there, "estate", "blast", "agent:support-triage")
    assert found["of"]["id"] == "agent:support-triage"
    groups = {group["group"]: [item["asset"]["id"] for item in group["nearest"]] for group in found["groups"]}
    assert "output_channel:care-email" in groups["CHANNELS"]
    assert found["people"][0]["onCall"] == "rota://care"
    assert all(not item["asset"]["id"].startswith("asset:") for item in found["data"])
    out = await ran(there, "estate", "blast", "agent:support-triage")
    assert "  care-lead, customer-care (on call rota://care; channel #care): " in out
    assert "  output_channel:care-email, heard by customer  (1 step: agent:support-triage feeds" in out


async def test_what_opened_a_way(there: Journey) -> None:
    """None then and one now: the change that did it; and what would undo it."""
    way = ("agent:campaign-writer", "dataset:customer-profiles")
    before = await there.house.position()
    assert "none now" in await ran(there, "estate", "opened", *way, "--since", str(before))
    relation = ("tool_grant:campaign-audience", "permits", "tool:crm.find-customer")
    await ran(there, "estate", "relate", *relation, by="otto")
    found = await parsed(there, "estate", "opened", *way, "--since", str(before))
    assert (found["verdict"], [item["subject"] for item in found["fewest"]]) == ("OPENED", [" ".join(relation)])
    out = await ran(there, "estate", "opened", *way, "--since", str(before))
    assert out.startswith(f"There was no way from {way[0]} to {way[1]}, and now there is one.\n")
    assert "tool_grant:campaign-audience permits" in out
    assert f"  - {' '.join(relation)}  (" in out
