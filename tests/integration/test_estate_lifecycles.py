"""What is a draft, on its way out or in quarantine leaves the estate as that, in files and in bills, and comes in as it.

Serves S0-49, S0-50, S0-52, S0-60, S0-61.
"""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from graphql_world import GraphWorld, graph_world

from quarterdeck_api.auth.caller import Caller
from quarterdeck_api.estate.apply import apply, plan
from quarterdeck_connectors.bom import Stamp
from quarterdeck_connectors.cyclonedx import write_cyclonedx
from quarterdeck_connectors.cyclonedx_reading import read_cyclonedx
from quarterdeck_connectors.imported import read_imported, write_imported
from quarterdeck_connectors.spdx import write_spdx
from quarterdeck_connectors.spdx_reading import read_spdx
from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.estate.declaration import Declaration, read_declaration
from quarterdeck_domain.events import Actor
from quarterdeck_importing.applying import Done
from quarterdeck_readmodels.estate import Asset

STATES = ("draft", "live", "deprecated", "quarantined", "retired")


@pytest.fixture
async def two(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[tuple[House, House]]:
    """Two houses of this test's own."""
    async with (
        graph_world(migrated_database(), tmp_path / "one") as one,
        graph_world(migrated_database(), tmp_path / "other") as other,
    ):
        await one.project()
        await other.project()
        yield House(one), House(other)


class House:
    """An estate's doors, as an administrator."""

    def __init__(self, here: GraphWorld) -> None:
        self.here = here
        self.caller = Caller(
            tenant=here.world.tenant,
            actor=Actor(principal=here.world.id("admin"), kind="human"),
            roles=frozenset({"administrator"}),
        )

    async def apply(self, wanted: Declaration) -> Done:
        """Make it true."""
        done = await apply(
            self.here.world.services, self.caller, wanted, key=None, agreed=None, progress=lambda *_: None
        )
        await self.here.project()
        return done

    async def steps(self, wanted: Declaration) -> list[tuple[str, str]]:
        """Return what applying it would do."""
        return [
            (step.action, step.subject) for step in (await plan(self.here.world.services, self.caller, wanted)).steps
        ]

    async def file(self) -> dict[str, Any]:
        """Return the estate as a file."""
        headers = self.here.world.api.bearer(self.here.world.tenant, "admin")
        answer = await self.here.world.api.client.get("/v1/estate/file", headers=headers)
        found: dict[str, Any] = answer.json()
        return found

    async def command(self, slug: str, **body: Any) -> None:
        """Let the administrator do something."""
        answer = await self.here.world.api.command(slug, body, by=(self.here.world.tenant, "admin"))
        assert answer.status_code == 200, answer.text
        await self.here.project()


async def filled(house: House, seed: int) -> dict[str, str]:
    """Bring objects of every state about by commands, and return their states by name."""
    dice = random.Random(seed)
    names = [f"tool:{seed}-{number}" for number in range(10)]
    states = dict(zip(names, [*STATES, *(dice.choice(STATES) for _ in range(5))], strict=True))
    assets: dict[str, Any] = {
        name: {"lifecycle": "draft"} if state == "draft" else {} for name, state in states.items()
    }
    assets["mcp_server:crm"] = {"relations": {"exposes": names}}
    await house.apply(read_declaration({"version": 1, "source": "platform", "assets": assets}))
    for name, state in sorted(states.items(), key=lambda item: STATES.index(item[1])):
        if state == "deprecated":
            body: dict[str, Any] = dice.choice(({}, {"sunset": "2031-05-01T12:00:00.25+02:00"}))
            if dice.random() < 0.7:
                body["successor"] = dice.choice([other for other in names if other != name and states[other] == "live"])
            await house.command("deprecate_asset", asset=name, **body)
        elif state == "quarantined":
            await house.command("quarantine_asset", asset=name, reason="rug-pulled")
        elif state == "retired":
            await house.command("retire_asset", asset=name)
    return states


@pytest.mark.parametrize("seed", range(3))
async def test_a_file_keeps_every_lifecycle_and_changes_none(two: tuple[House, House], seed: int) -> None:
    """Applied to where it comes from it changes nothing; applied elsewhere it makes the same; `live` is not written."""
    one, other = two
    states = await filled(one, seed)
    file = await one.file()
    wanted = read_declaration(file)
    said = {name: entry.get("lifecycle") for name, entry in file["assets"].items() if name.startswith("tool:")}
    assert said == {name: None if state == "live" else state for name, state in states.items() if state != "retired"}
    assert await one.steps(wanted) == []
    assert (await one.apply(wanted)).run is None
    assert await one.file() == file
    await other.apply(wanted)
    assert await other.file() == file
    assert (await other.apply(wanted)).run is None


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("form", ["cyclonedx", "spdx", "imported"])
async def test_a_bill_brings_what_is_out_of_use_as_that(two: tuple[House, House], form: str, seed: int) -> None:
    """What comes in new comes in as its bill says; of what is known, a bill changes no state."""
    one, other = two
    await filled(one, seed)
    file = await one.file()
    stamp = Stamp(tenant=one.caller.tenant, position=1, at=(await one.here.world.services.ledger.now()))
    if form == "cyclonedx":
        bill = read_cyclonedx(write_cyclonedx(file, stamp), "bill").declaration
    elif form == "spdx":
        bill = read_spdx(write_spdx(file, stamp), "bill").declaration
    else:
        found = read_cyclonedx(write_cyclonedx(file, stamp), "bill")
        bill = read_imported(write_imported(found), "bill").declaration
    assert await one.steps(bill) == []
    await other.apply(bill)
    assert (await other.file())["assets"] == file["assets"]
    assert (await other.apply(bill)).run is None
    for name, entry in file["assets"].items():
        if entry.get("lifecycle") == "quarantined":
            await other.command("release_asset", asset=name, reason="looked at it")
        elif name.startswith("tool:") and "lifecycle" not in entry:
            await other.command("retire_asset", asset=name)
    assert (await other.apply(bill)).run is None


async def test_a_file_brings_nothing_back_and_says_which_command_does(two: tuple[House, House]) -> None:
    """Everything that it would bring back is told at once, and nothing of it is done; silence leaves all as it is."""
    house, _ = two
    states = await filled(house, 0)
    out = sorted(name for name, state in states.items() if state in {"deprecated", "quarantined", "retired"})
    file = await house.file()
    quiet = {"version": 1, "source": "platform", "assets": {name: {"purpose": "x"} for name in out}}
    live = {"version": 1, "source": "platform", "assets": {name: {"lifecycle": "live"} for name in out}}
    with pytest.raises(InvalidInput) as refused:
        await house.apply(read_declaration(live))
    problems = refused.value.details["problems"]
    assert len(problems) == len(out)
    for name, problem in zip(out, problems, strict=True):
        command = {"deprecated": f"change {name} --set lifecycle=live", "quarantined": f"release {name}", "retired": ""}
        assert problem.startswith(
            f"{name} is {states[name]}, and a file does not make it live: leave its lifecycle out"
        )
        assert command[states[name]] in problem
    assert await house.file() == file
    await house.apply(read_declaration(quiet))
    after = (await house.file())["assets"]
    assert {name: entry.get("lifecycle") for name, entry in after.items()} == {
        name: entry.get("lifecycle") for name, entry in file["assets"].items()
    }


async def test_what_is_kept_after_all_has_no_end(two: tuple[House, House]) -> None:
    """Neither a successor nor a last day is told of what was deprecated and is live again."""
    house, _ = two
    await house.apply(read_declaration({"version": 1, "source": "f", "assets": {"tool:a": {}, "tool:b": {}}}))
    await house.command("deprecate_asset", asset="tool:a", successor="tool:b", sunset="2031-01-01T00:00:00Z")
    assert await ends(house) == ("deprecated", "tool:b", True)
    await house.command("change_asset", asset="tool:a", set={"lifecycle": "live"})
    assert await ends(house) == ("live", None, False)


async def ends(house: House) -> tuple[str, str | None, bool]:
    """Return what is told of a tool's end."""
    reader = house.here.world.services.reader
    assert reader is not None
    async with reader.at(house.caller.tenant) as record:
        row = (await record.many(Asset, ["tool:a"]))["tool:a"]
    return row.lifecycle, row.successor, row.sunset is not None


async def test_a_file_may_take_out_of_use(two: tuple[House, House]) -> None:
    """A file says what should be: deprecated, with its successor and last day, and in quarantine. Twice is once."""
    house, _ = two
    await house.apply(read_declaration({"version": 1, "source": "f", "assets": {f"tool:{name}": {} for name in "abc"}}))
    ending = {"lifecycle": "deprecated", "successor": "tool:c", "sunset": "2031-01-01T00:00:00Z"}
    said = {"version": 1, "source": "f", "assets": {"tool:a": ending, "tool:b": {"lifecycle": "quarantined"}}}
    done = await house.apply(read_declaration(json.loads(json.dumps(said))))
    assert (done.counts["change"], done.counts["quarantine"]) == (1, 1)
    assert (await house.apply(read_declaration(said))).run is None
    kept = (await house.file())["assets"]
    assert kept["tool:a"] == ending | {"sunset": "2031-01-01T00:00:00+00:00"}
    assert kept["tool:b"] == {"lifecycle": "quarantined"}
    for wrong in (
        {"tool:a": ending | {"successor": "tool:b"}},
        {"tool:c": ending | {"successor": "tool:nothing"}},
        {"tool:b": {"lifecycle": "deprecated"}},
    ):
        with pytest.raises(InvalidInput):
            await house.apply(read_declaration({"version": 1, "source": "f", "assets": wrong}))
    for unsound in ({"successor": "tool:c"}, ending | {"sunset": "2031-01-01"}, ending | {"successor": "tool:a"}):
        with pytest.raises(InvalidInput):
            read_declaration({"version": 1, "source": "f", "assets": {"tool:a": unsound}})
