"""A declarative file makes the estate what it says: planned, applied whole or not at all, exported back.

Serves S0-43, S0-44, S0-48, S0-49, S0-50, S0-52, S0-154, S0-13.
"""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from graphql_world import GraphWorld, graph_world

from quarterdeck_domain.estate.relations import HIERARCHIES, RELATION_TYPES

FILE: dict[str, Any] = {
    "version": 1,
    "source": "platform",
    "assets": {
        "agent:support-bot": {
            "title": "Support bot",
            "owner": "support-rota",
            "purpose": "answers customers",
            "environments": ["prod"],
            "attributes": {"autonomy": "acts_with_approval"},
            "relations": {
                "calls": ["mcp_server:crm", {"to": "tool:refund", "environment": "prod", "evidence": "design 12"}],
                "gated_by": ["approval_path:default"],
                "owned_by": ["team:support"],
            },
        },
        "mcp_server:crm": {"relations": {"exposes": ["tool:refund"]}},
        "tool:refund": {"attributes": {"privileges": ["write"]}, "relations": {"writes": ["dataset:orders"]}},
        "dataset:orders": {"classification": "confidential"},
        "approval_path:default": None,
        "team:support": {"attributes": {"function": "product"}},
    },
}


@pytest.fixture
async def here(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[GraphWorld]:
    """A world of this test's own."""
    async with graph_world(migrated_database(), tmp_path) as made:
        await made.project()
        yield made


class Door:
    """The estate's doors, as an administrator."""

    def __init__(self, here: GraphWorld) -> None:
        self.here = here
        self.headers = here.world.api.bearer(here.world.tenant, "admin")

    async def plan(self, file: object) -> dict[str, Any]:
        """Return what applying a file would do."""
        await self.here.project()
        answer = await self.here.world.api.client.post("/v1/estate/plan", json=file, headers=self.headers)
        return answer.json()

    async def apply(self, file: object, key: str | None = None, **params: str) -> dict[str, Any]:
        """Return the last line of what applying a file answers."""
        await self.here.project()
        headers = self.headers | ({} if key is None else {"Idempotency-Key": key})
        answer = await self.here.world.api.client.post("/v1/estate/apply", json=file, headers=headers, params=params)
        if answer.status_code != 200:
            return answer.json()
        last: dict[str, Any] = json.loads(answer.text.splitlines()[-1])
        await self.here.project()
        return last

    async def file(self) -> dict[str, Any]:
        """Return the estate as a file."""
        answer = await self.here.world.api.client.get("/v1/estate/file", headers=self.headers)
        return answer.json()


async def test_a_file_is_planned_applied_and_found_true(here: GraphWorld) -> None:
    """What the plan shows is what is recorded; applying the same again records nothing and says so."""
    door = Door(here)
    planned = await door.plan(FILE)
    assert planned["counts"] == {"register": 6, "change": 0, "retire": 0, "relate": 6, "unrelate": 0}
    before = await here.world.position()
    done = (await door.apply(FILE, plan_digest=planned["plan_digest"]))["result"]
    assert done["counts"] == planned["counts"]
    assert done["position"] == before + 13 == await here.world.position()
    again = (await door.apply(FILE))["result"]
    assert (again["run"], again["position"]) == (None, done["position"])
    assert await here.world.position() == done["position"]


async def test_an_export_changes_nothing_when_applied(here: GraphWorld) -> None:
    """What comes out goes in again, and is the same once more."""
    door = Door(here)
    await door.apply(FILE)
    file = await door.file()
    assert file["assets"].keys() == FILE["assets"].keys()
    assert (await door.plan(file))["steps"] == []
    assert (await door.apply(file))["result"]["run"] is None
    assert await door.file() == file
    assert file["assets"]["agent:support-bot"]["relations"] == FILE["assets"]["agent:support-bot"]["relations"]


def woven(seed: int) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Return an estate of few kinds with relations every way, and mergers of pairs of it, one after another."""
    dice = random.Random(seed)
    names = [f"{kind}:{seed}-{number}" for kind in ("agent", "tool", "mcp_server", "dataset") for number in range(4)]
    names.append(f"team:{seed}")
    assets: dict[str, Any] = {name: {} for name in names}
    for source in names:
        for target in names:
            kinds = source.partition(":")[0], target.partition(":")[0]
            fits = [name for name, of in RELATION_TYPES.items() if kinds[0] in of.sources and kinds[1] in of.targets]
            fits = [name for name in fits if source < target or (name not in HIERARCHIES and source != target)]
            for relation in dice.sample(fits, min(len(fits), dice.choice((0, 0, 1, 2)))):
                more = dice.choice(({}, {}, {"environment": "prod"}, {"evidence": f"seen {dice.random()}"}))
                links = assets[source].setdefault("relations", {}).setdefault(relation, [])
                links.append({"to": target, **more} if more else target)
    left, mergers = [name for name in names if not name.startswith("team")], []
    for _ in range(6):
        survivor = dice.choice(left)
        others = [name for name in left if name.partition(":")[0] == survivor.partition(":")[0] and name != survivor]
        if others:
            mergers.append((survivor, dice.choice(others)))
            left.remove(mergers[-1][1])
    return {"version": 1, "source": "platform", "assets": assets}, mergers


@pytest.mark.parametrize("seed", range(4))
async def test_an_export_changes_nothing_when_applied_after_any_mergers(here: GraphWorld, seed: int) -> None:
    """Every relation is exported by what its ends are called now, and none is withdrawn for that; nor if one retires."""
    door = Door(here)
    file, mergers = woven(seed)
    await door.apply(file)
    for survivor, merged in mergers:
        body = {"survivor": survivor, "merged": merged}
        done = await here.world.api.command("merge_assets", body, by=(here.world.tenant, "admin"))
        assert done.status_code == 200, done.text
        await here.project()
        exported = await door.file()
        assert (await door.plan(exported))["steps"] == []
    into = {merged: survivor for survivor, merged in mergers}

    def now(name: str) -> str:
        return now(into[name]) if name in into else name

    wanted = {
        (now(source), relation, now(link if isinstance(link, str) else link["to"]))
        for source, entry in file["assets"].items()
        for relation, links in entry.get("relations", {}).items()
        for link in links
    }
    assert {
        (source, relation, link if isinstance(link, str) else link["to"])
        for source, entry in exported["assets"].items()
        for relation, links in entry.get("relations", {}).items()
        for link in links
    } == {ends for ends in wanted if ends[0] != ends[2]}
    await here.world.api.command("retire_asset", {"asset": mergers[0][0]}, by=(here.world.tenant, "admin"))
    await here.project()
    exported = await door.file()
    assert (await door.plan(exported))["steps"] == []
    position = await here.world.position()
    assert (await door.apply(exported))["result"]["run"] is None
    assert await here.world.position() == position


async def test_a_relation_by_a_former_name_is_withdrawn_only_by_who_says_so(here: GraphWorld) -> None:
    """A file that leaves it out says so, and the plan shows it by the name under which it was recorded."""
    door = Door(here)
    assets = {"agent:z": {"relations": {"calls": ["tool:a", "tool:b", "tool:c"]}}}
    await door.apply({"version": 1, "source": "p", "assets": assets | dict.fromkeys(("tool:a", "tool:b", "tool:c"))})
    body = {"survivor": "tool:a", "merged": "tool:b"}
    await here.world.api.command("merge_assets", body, by=(here.world.tenant, "admin"))
    await here.world.api.command("retire_asset", {"asset": "tool:c"}, by=(here.world.tenant, "admin"))
    kept = {"version": 1, "source": "p", "assets": {"agent:z": {"relations": {"calls": ["tool:a"]}}}}
    assert (await door.plan(kept))["steps"] == []
    gone = {"version": 1, "source": "p", "assets": {"agent:z": {"relations": {"calls": []}}}}
    assert [(step["action"], step["subject"]) for step in (await door.plan(gone))["steps"]] == [
        ("unrelate", "agent:z calls tool:a"),
        ("unrelate", "agent:z calls tool:b"),
    ]
    await door.apply(gone)
    assert (await door.plan(gone))["steps"] == []


async def test_a_changed_file_changes_only_that(here: GraphWorld) -> None:
    """A fact set, one unset, a relation gone, one new; facts that are not mentioned stay."""
    door = Door(here)
    await door.apply(FILE)
    changed = {
        "version": 1,
        "source": "platform",
        "assets": {
            "agent:support-bot": {
                "purpose": None,
                "tier": 2,
                "attributes": {"max_steps": 20},
                "relations": {"calls": ["mcp_server:crm", "tool:lookup"]},
            },
            "tool:lookup": None,
        },
    }
    planned = await door.plan(changed)
    assert [(step["action"], step["subject"]) for step in planned["steps"]] == [
        ("change", "agent:support-bot"),
        ("register", "tool:lookup"),
        ("unrelate", "agent:support-bot calls tool:refund"),
        ("relate", "agent:support-bot calls tool:lookup"),
    ]
    await door.apply(changed)
    agent = (await door.file())["assets"]["agent:support-bot"]
    assert agent["attributes"] == {"autonomy": "acts_with_approval", "max_steps": 20}
    assert "purpose" not in agent
    assert agent["owner"] == "support-rota"
    assert agent["relations"]["calls"] == ["mcp_server:crm", "tool:lookup"]
    assert agent["relations"]["owned_by"] == ["team:support"]


async def test_a_file_with_anything_wrong_in_it_changes_nothing(here: GraphWorld) -> None:
    """Everything wrong is said at once, and where."""
    door = Door(here)
    wrong = {
        "version": 1,
        "source": "platform",
        "assets": {
            "agent:a": {"relations": {"calls": ["tool:nowhere"]}},
            "team:x": {"relations": {"owned_by": ["team:y"]}},
            "team:y": {"relations": {"owned_by": ["team:x"]}},
        },
    }
    before = await here.world.position()
    problem = (await door.apply(wrong))["problem"]
    assert problem["type"] == "urn:quarterdeck:problem:invalid_input"
    problems = problem["details"]["problems"]
    assert "tool:nowhere, which is neither in the file nor in the estate" in problems[0]
    assert "team:x -> team:y -> team:x" in problems[1]
    for file in (
        {"version": 2, "source": "x", "assets": {}},
        {"version": 1, "source": "x", "assets": {"robot:x": {}}},
        {"version": 1, "source": "x", "assets": {"agent:x": {"owner": "ada@example.com"}}},
        {"version": 1, "source": "x", "assets": {"agent:x": {"attributes": {"colour": "red"}}}},
        {"version": 1, "source": "x", "assets": {"dataset:x": {"relations": {"calls": ["tool:t"]}}, "tool:t": {}}},
    ):
        assert (await door.apply(file))["type"] == "urn:quarterdeck:problem:invalid_input", file
    assert await here.world.position() == before


async def test_the_same_key_is_the_same_run(here: GraphWorld) -> None:
    """A repeated request hears its first answer; the key with another file is refused."""
    door = Door(here)
    first = (await door.apply(FILE, key="k-1"))["result"]
    again = (await door.apply(FILE, key="k-1"))["result"]
    assert (again["run"], again["position"], again["repeated"]) == (first["run"], first["position"], True)
    other = await door.apply({"version": 1, "source": "x", "assets": {}}, key="k-1")
    assert other["problem"]["status"] == 409


async def test_a_plan_that_is_no_longer_true_is_not_applied(here: GraphWorld) -> None:
    """Whoever agreed to a plan gets that plan or none."""
    door = Door(here)
    planned = await door.plan(FILE)
    await door.apply({"version": 1, "source": "other", "assets": {"dataset:orders": {"tier": 1}}})
    before = await here.world.position()
    problem = (await door.apply(FILE, plan_digest=planned["plan_digest"]))["problem"]
    assert problem["type"] == "urn:quarterdeck:problem:plan_changed"
    assert await here.world.position() == before
