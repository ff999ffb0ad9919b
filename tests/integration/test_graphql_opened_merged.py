"""A merge opens ways: to what something was joined with, from it, and past it. Whoever asks what opened one is told.

Serves S0-20, S0-56, C08.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from graphql_world import GraphWorld, graph_world

FILE: dict[str, Any] = {
    "version": 1,
    "source": "platform",
    "assets": {
        "agent:md": {"relations": {"reads": ["dataset:md2"], "calls": ["tool:m2"]}},
        "agent:ma": None,
        "tool:m1": {"relations": {"reads": ["dataset:far"]}},
        "tool:m2": None,
        "dataset:md1": None,
        "dataset:md2": None,
        "dataset:far": None,
    },
}
OPENED = """query($from: ID!, $to: ID!, $since: Moment!, $until: Moment, $knownAt: Moment) {
    opened(from: $from, to: $to, since: $since, until: $until, knownAt: $knownAt) {
        verdict summary undoExact
        paths { relations { id } changes { ...change } } fewest { ...change } undo { ...change } } }
    fragment change on OpeningChange { subject sentence before events { position type } }"""


@pytest.fixture
async def here(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[GraphWorld]:
    """A world of this test's own, with an estate in it."""
    async with graph_world(migrated_database(), tmp_path) as made:
        await made.project()
        headers = made.world.api.bearer(made.world.tenant, "admin")
        answer = await made.world.api.client.post("/v1/estate/apply", json=FILE, headers=headers)
        assert '"result"' in answer.text, answer.text
        await made.project()
        yield made


async def do(here: GraphWorld, name: str, **body: Any) -> int:
    """Run a command; return the position after it."""
    await here.world.api.command(name, body, by=(here.world.tenant, "admin"))
    await here.project()
    return await here.world.position()


MERGERS = [
    pytest.param("dataset:md1", "dataset:md2", "agent:md", "dataset:md1", id="to what the end was merged into"),
    pytest.param("dataset:md2", "dataset:md1", "agent:md", "dataset:md1", id="to what became part of the end"),
    pytest.param("agent:ma", "agent:md", "agent:ma", "dataset:md2", id="from what the start was merged into"),
    pytest.param("agent:md", "agent:ma", "agent:ma", "dataset:md2", id="from what became part of the start"),
    pytest.param("tool:m1", "tool:m2", "agent:md", "dataset:far", id="past what was merged into the one that reads"),
    pytest.param("tool:m2", "tool:m1", "agent:md", "dataset:far", id="past what the one that reads was merged into"),
]


@pytest.mark.parametrize(("survivor", "merged", "start", "end"), MERGERS)
async def test_what_a_merge_opened(here: GraphWorld, survivor: str, merged: str, start: str, end: str) -> None:
    """The merge is the answer, and what it made part of the way is named; nothing is said to have been open."""
    since = {"position": await here.world.position()}
    at = await do(here, "merge_assets", survivor=survivor, merged=merged)
    variables = {"from": start, "to": end, "since": since}
    found = (await here.ask(OPENED, variables, by="admin"))["opened"]
    assert found["verdict"] == "OPENED"
    (change,) = found["fewest"]
    assert [(event["position"], event["type"]) for event in change["events"]] == [(at, "asset.merged")]
    assert f"{merged} was merged by" in change["sentence"]
    assert change["sentence"] in found["summary"]
    assert found["undo"] == found["fewest"]
    assert found["undoExact"]
    (path,) = found["paths"]
    assert path["changes"] == found["fewest"]
    assert change["subject"] in {item["id"] for item in path["relations"]}


async def test_what_was_open_under_a_former_name(here: GraphWorld) -> None:
    """By the name that it had then, the end was within reach: the merge opened nothing, and nothing else changed."""
    await do(here, "relate_assets", source="agent:ma", relation="reads", target="dataset:md1")
    since = {"position": await here.world.position()}
    await do(here, "merge_assets", survivor="dataset:md1", merged="dataset:md2")
    await do(here, "merge_assets", survivor="agent:ma", merged="agent:md")
    # Which of the two relations that are one by now is shown makes no difference.
    for start, end in (("agent:md", "dataset:md2"), ("agent:ma", "dataset:md1")):
        variables = {"from": start, "to": end, "since": since}
        found = (await here.ask(OPENED, variables, by="admin"))["opened"]
        assert (found["verdict"], found["fewest"], found["undo"]) == ("OPEN_BEFORE", [], None)
        assert [path["changes"] for path in found["paths"]] == [[]]
        assert found["summary"].endswith("Of the 1 ways shown, 0 were not open then.")


async def test_both_ends_were_merged(here: GraphWorld) -> None:
    """Each merge is part of the answer: without either there would be no way."""
    since = {"position": await here.world.position()}
    first = await do(here, "merge_assets", survivor="dataset:md2", merged="dataset:md1")
    second = await do(here, "merge_assets", survivor="agent:md", merged="agent:ma")
    variables = {"from": "agent:ma", "to": "dataset:md1", "since": since}
    found = (await here.ask(OPENED, variables, by="admin"))["opened"]
    assert found["verdict"] == "OPENED"
    (change,) = found["fewest"]
    assert [event["position"] for event in change["events"]] == [first, second]
    assert "agent:ma was merged" in change["sentence"]
    assert "dataset:md1 was merged" in change["sentence"]
    partly = (await here.ask(OPENED, {**variables, "until": {"position": first}}, by="admin"))["opened"]
    assert partly["verdict"] == "SHUT"


async def test_a_draft_that_was_merged(here: GraphWorld) -> None:
    """What was not in use became part of something that was: the merge opened its ways."""
    await do(here, "change_asset", asset="agent:md", set={"lifecycle": "draft"})
    since = {"position": await here.world.position()}
    at = await do(here, "merge_assets", survivor="agent:ma", merged="agent:md")
    for start in ("agent:md", "agent:ma"):
        found = (await here.ask(OPENED, {"from": start, "to": "dataset:md2", "since": since}, by="admin"))["opened"]
        assert found["verdict"] == "OPENED"
        (change,) = found["fewest"]
        assert [event["position"] for event in change["events"]] == [at]
