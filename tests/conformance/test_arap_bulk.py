"""ARAP, several actions in one request: items, their own denials, their own ends.

Serves C03, DC-07. Source: ARAP draft at e287920, 'Access Request Submission' (`items`), 'Access Request Response',
'Cancellation', 'Completion Semantics'.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from access_world import OURS, REQUESTS, URN, World, assert_problem, denial, world


@pytest.fixture
async def ars(module_database: str, tmp_path: Path) -> AsyncIterator[World]:
    """An access request service whose policy asks a human about refunds."""
    async with world(module_database, tmp_path) as made:
        yield made


async def bundle(ars: World, count: int = 3, **changes: Any) -> dict[str, Any]:
    """Return a submission of items that were each evaluated by themselves."""
    items = []
    for number in range(count):
        intent, context = await ars.denied(resource={"type": "order", "id": str(number)})
        items.append({"resource": intent["resource"], "action": intent["action"], "denial": denial(context)})
    return {"subject": {"type": "agent", "id": ars.id("bot")}, "items": items, **changes}


async def submitted(ars: World, count: int = 3) -> tuple[dict[str, Any], list[str]]:
    """Submit a bundle; return its task and the approvals of its items."""
    answer = await ars.submit(await bundle(ars, count))
    assert answer.status_code == 202, answer.text
    return answer.json()["task"], [item.approval_id for item in await ars.log("approval.requested")]


async def test_a_bundle_is_one_task_with_its_items_in_order(ars: World) -> None:
    """Access Request Response: `items` REQUIRED, positional, echoing resource and action."""
    body = await bundle(ars)
    answer = await ars.submit(body)
    assert answer.status_code == 202
    task = answer.json()["task"]
    assert task["status"] == "pending"
    assert task["items"] == [
        {"resource": item["resource"], "action": item["action"], "status": "pending"} for item in body["items"]
    ]
    assert "result" not in answer.json()
    assert len(await ars.log("approval.requested")) == 3
    assert (await ars.status(task["id"])).json() == {"task": task}


async def test_all_are_recorded_or_none(ars: World) -> None:
    """One item that cannot be bound refuses the whole."""
    body = await bundle(ars)
    body["items"][2]["action"] = {"name": "refund", "properties": {"amount": "9999.00"}}
    before = await ars.position()
    assert_problem(await ars.submit(body), 400, f"{URN}invalid_denial_binding")
    assert await ars.position() == before


async def test_a_top_level_denial_must_cover_every_item_that_has_none(ars: World) -> None:
    """Access Request Submission: one evaluation's denial covers its own action, not another."""
    body = await bundle(ars)
    lacking = body["items"][0].pop("denial")
    assert_problem(await ars.submit(body), 400, f"{URN}invalid_denial_binding")
    assert_problem(await ars.submit(body | {"denial": body["items"][1]["denial"]}), 400, f"{URN}invalid_denial_binding")
    assert (await ars.submit(body | {"denial": lacking})).status_code == 202


async def test_the_same_item_twice_is_refused(ars: World) -> None:
    """The same action cannot be asked for twice, with one denial or with two."""
    body = await bundle(ars, 1)
    assert_problem(await ars.submit(body | {"items": body["items"] * 2}), 400, f"{OURS}invalid_input")
    again = await bundle(ars, 1)
    twice = body | {"items": [*body["items"], *again["items"]]}
    assert_problem(await ars.submit(twice), 400, f"{OURS}invalid_input")


async def test_items_are_decided_one_by_one(ars: World) -> None:
    """Access Request Response: pending while any is; then `partial`; a result for each approved item, none on top."""
    task, ids = await submitted(ars)
    await ars.vote(ids[0])
    body = (await ars.status(task["id"])).json()
    assert (body["task"]["status"], [item["status"] for item in body["task"]["items"]]) == (
        "pending",
        ["approved", "pending", "pending"],
    )
    await ars.vote(ids[1], "deny")
    await ars.vote(ids[2])
    body = (await ars.status(task["id"])).json()
    assert body["task"]["status"] == "partial"
    assert "result" not in body
    assert [item["status"] for item in body["task"]["items"]] == ["approved", "denied", "approved"]
    assert ["result" in item for item in body["task"]["items"]] == [True, False, True]
    assert body["task"]["items"][0]["result"]["approval"]["id"] == ids[0]


@pytest.mark.parametrize(("verdict", "status"), [("approve", "approved"), ("deny", "denied")])
async def test_one_end_for_all_is_the_end_of_the_task(ars: World, verdict: str, status: str) -> None:
    """Access Request Response: the aggregate is the terminal status that all share."""
    task, ids = await submitted(ars, 2)
    for approval_id in ids:
        await ars.vote(approval_id, verdict)
    assert (await ars.status(task["id"])).json()["task"]["status"] == status


async def test_each_item_is_re_evaluated_with_its_own_approval(ars: World) -> None:
    """Completion Semantics: an item's approval does not serve another item."""
    task, ids = await submitted(ars, 2)
    for approval_id in ids:
        await ars.vote(approval_id)
    items = (await ars.status(task["id"])).json()["task"]["items"]
    for mine, other in ((0, 1), (1, 0)):
        intent = ars.intent(resource=items[mine]["resource"], action=items[mine]["action"])
        own = intent | {"context": {"approval": items[mine]["result"]["approval"]}}
        swapped = intent | {"context": {"approval": items[other]["result"]["approval"]}}
        assert (await ars.evaluate(own)).json()["decision"] is True
        assert (await ars.evaluate(swapped)).json()["context"]["reason"] == "out_of_scope"


async def test_cancelling_cancels_what_is_pending(ars: World) -> None:
    """Cancellation: items that have ended stay as they are, and the aggregate follows."""
    task, ids = await submitted(ars)
    await ars.vote(ids[0])
    answer = await ars.client.post(f"{REQUESTS}/{task['id']}/cancel", headers=ars.auth("bot"))
    assert answer.status_code == 200
    assert answer.json()["task"]["status"] == "partial"
    assert [item["status"] for item in answer.json()["task"]["items"]] == ["approved", "cancelled", "cancelled"]
    again = await ars.client.post(f"{REQUESTS}/{task['id']}/cancel", headers=ars.auth("bot"))
    assert_problem(again, 409, f"{URN}invalid_task_state")


async def test_cancelled_as_a_whole(ars: World) -> None:
    """Cancellation: `cancelled` when no item completed before."""
    task, _ = await submitted(ars, 2)
    answer = await ars.client.post(f"{REQUESTS}/{task['id']}/cancel", headers=ars.auth("bot"))
    assert answer.json()["task"]["status"] == "cancelled"


async def test_item_overrides_are_merged(ars: World) -> None:
    """Access Request Submission: per-item `requested_access` takes precedence."""
    body = await bundle(ars, 2, requested_access={"requested_until": "2099-01-01T00:00:00Z"})
    body["items"][1]["requested_access"] = {"requested_until": "2098-01-01T00:00:00Z"}
    assert (await ars.submit(body)).status_code == 202
    years = [item.requested_until.year for item in await ars.log("approval.requested")]
    assert years == [2099, 2098]


async def test_the_key_covers_all_items(ars: World) -> None:
    """Access Request Submission: the same key and body return the same task; other items are a duplicate."""
    body = await bundle(ars)
    first = await ars.submit(body, key="b-1")
    again = await ars.submit(body, key="b-1")
    assert again.json() == first.json()
    assert_problem(await ars.submit(body | {"items": body["items"][:2]}, key="b-1"), 409, f"{URN}duplicate_request")


async def test_a_bundles_task_is_nobody_elses(ars: World) -> None:
    """Task Handle Leakage, for bundles; and a single request is no bundle of one."""
    task, ids = await submitted(ars)
    assert_problem(await ars.status(task["id"], "rival"), 404, f"{URN}unknown_task")
    assert (await ars.status(ids[0])).json()["task"]["status"] == "pending"
    single = await ars.request(resource={"type": "order", "id": "single"})
    assert_problem(await ars.status(single["id"].replace("apr_", "blk_")), 404, f"{URN}unknown_task")


async def test_waiting_for_a_bundle(ars: World) -> None:
    """A long poll ends when the last item has ended."""
    import asyncio

    task, ids = await submitted(ars, 2)
    waiting = asyncio.create_task(ars.status(task["id"], Prefer="wait=30"))
    await asyncio.sleep(0)
    for approval_id in ids:
        await ars.vote(approval_id)
    assert (await waiting).json()["task"]["status"] == "approved"
