"""Plans, exported files and bills know what holds at a moment, not what was said last: what lapsed is over, and what was
announced holds from its time on, though nothing is recorded then.

Serves S0-43, S0-44, S0-50, S0-154.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from graphql_world import GraphWorld, graph_world

AGO, LESS = "2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"
AHEAD = "2200-01-01T00:00:00Z"
READS = {"source": "agent:soon", "relation": "reads", "target": "dataset:ex"}
FILE: dict[str, Any] = {
    "version": 1,
    "source": "platform",
    "assets": {
        "agent:soon": {"owner": "first-rota"},
        "dataset:ex": None,
        "dataset:other": None,
    },
}
WANTED: dict[str, Any] = {
    "version": 1,
    "source": "platform",
    "assets": {"agent:soon": {"relations": {"reads": ["dataset:ex"]}}},
}


@pytest.fixture
async def here(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[GraphWorld]:
    """A world of this test's own, with three objects."""
    async with graph_world(migrated_database(), tmp_path) as made:
        await made.project()
        await apply(made, FILE)
        yield made


async def send(here: GraphWorld, path: str, file: object) -> str:
    """Send a file to a door; return what it answers."""
    headers = here.world.api.bearer(here.world.tenant, "admin")
    answer = await here.world.api.client.post(f"/v1/estate/{path}", json=file, headers=headers)
    assert answer.status_code == 200, answer.text
    await here.project()
    return answer.text


async def steps(here: GraphWorld, file: object) -> list[tuple[str, str]]:
    """Return what applying a file would do."""
    planned = json.loads(await send(here, "plan", file))
    return [(item["action"], item["subject"]) for item in planned["steps"]]


async def apply(here: GraphWorld, file: object) -> dict[str, Any]:
    """Make a file true."""
    result: dict[str, Any] = json.loads((await send(here, "apply", file)).splitlines()[-1])["result"]
    return result


async def do(here: GraphWorld, name: str, **body: Any) -> int:
    """Run a command; return the position after it."""
    await here.world.api.command(name, body, by=(here.world.tenant, "admin"))
    await here.project()
    return await here.world.position()


async def taken(here: GraphWorld, what: str, **params: Any) -> Any:
    """Return the estate as a file or a bill."""
    headers = here.world.api.bearer(here.world.tenant, "admin")
    answer = await here.world.api.client.get(f"/v1/estate/{what}", params=params, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def reads(file: dict[str, Any]) -> list[Any]:
    """Return what the agent reads, by an exported file."""
    found: list[Any] = file["assets"]["agent:soon"].get("relations", {}).get("reads", [])
    return found


async def test_what_lapsed_is_over(here: GraphWorld) -> None:
    """A relation that was over when somebody told of it is in no export and no bill; a file that wants it declares it
    again, and then nothing is left to do."""
    await do(here, "relate_assets", **READS, valid_from=AGO, valid_to=LESS)
    file = await taken(here, "file")
    assert reads(file) == []
    assert '"quarterdeck:relation:reads"' not in json.dumps(await taken(here, "bill"))
    assert reads(await taken(here, "file", position=await here.world.position())) == []
    assert await steps(here, file) == []
    assert await steps(here, WANTED) == [("relate", "agent:soon reads dataset:ex")]
    assert (await apply(here, WANTED))["counts"]["relate"] == 1
    assert (await apply(here, WANTED))["run"] is None
    assert reads(await taken(here, "file")) == ["dataset:ex"]


async def test_what_is_announced_is_not_in_force(here: GraphWorld) -> None:
    """A relation of later is in no export of now: applied, that takes nothing away; a file that wants it has it now."""
    await do(here, "relate_assets", **READS, valid_from=AHEAD)
    await do(here, "relate_assets", **READS | {"target": "dataset:other"})
    file = await taken(here, "file")
    assert reads(file) == ["dataset:other"]
    assert await steps(here, file) == []
    wanted = {**WANTED, "assets": {"agent:soon": {"relations": {"reads": ["dataset:ex", "dataset:other"]}}}}
    assert await steps(here, wanted) == [("relate", "agent:soon reads dataset:ex")]
    await apply(here, wanted)
    assert await steps(here, wanted) == []
    assert reads(await taken(here, "file")) == ["dataset:ex", "dataset:other"]


async def test_a_file_of_later_is_true_once_it_was_applied(here: GraphWorld) -> None:
    """What a file announces is planned against what holds then: applying it twice changes nothing."""
    file = {
        **WANTED,
        "valid_from": AHEAD,
        "assets": {
            "agent:soon": {"relations": {"reads": ["dataset:ex"], "calls": ["tool:later"]}},
            "tool:later": {"owner": "later-rota", "attributes": {"privileges": ["read"]}},
        },
    }
    done = await apply(here, file)
    assert (done["counts"]["register"], done["counts"]["relate"]) == (1, 2)
    assert await steps(here, file) == []
    export = await taken(here, "file")
    assert reads(export) == []
    assert await steps(here, export) == []


async def test_what_comes_into_force_while_nothing_is_recorded(here: GraphWorld) -> None:
    """A fact and a relation that begin, and one that ends: plans, files and bills of now follow; of a position, not."""
    store: Any = here.world.services.ledger.store
    soon = ((await store.now()) + timedelta(seconds=3)).isoformat()
    await do(here, "change_asset", asset="agent:soon", set={"owner": "next-rota"}, valid_from=soon)
    await do(here, "relate_assets", **READS, valid_from=soon)
    position = await do(here, "relate_assets", **READS | {"target": "dataset:other"}, valid_to=soon)
    before, bills = await taken(here, "file"), [await taken(here, "bill")]
    assert await taken(here, "file", position=position) == before
    assert await taken(here, "bill", position=position) == bills[0] == await taken(here, "bill")
    while datetime.fromisoformat(soon) > await store.now():
        await asyncio.to_thread(store.pool.get_size)
    after = await taken(here, "file")
    for file, owner, to in ((before, "first-rota", "dataset:other"), (after, "next-rota", "dataset:ex")):
        assert (file["assets"]["agent:soon"]["owner"], reads(file)) == (owner, [to])
    assert await steps(here, after) == []
    assert sorted(await steps(here, before)) == [
        ("change", "agent:soon"),
        ("relate", "agent:soon reads dataset:other"),
        ("unrelate", "agent:soon reads dataset:ex"),
    ]
    assert await taken(here, "file", position=position) == before
    bills += [await taken(here, "bill"), await taken(here, "bill", position=position)]
    assert bills[2] == bills[0]
    assert bills[1]["serialNumber"] != bills[0]["serialNumber"]
    assert "quarterdeck:bom:moment" in json.dumps(bills[1]["metadata"])
    await apply(here, before)
    assert await steps(here, before) == []
