"""ARAP, the task: its status over its life, waiting, cancellation, and who may see it.

Serves C03, DC-07; RELIABILITY T16. Source: ARAP draft at e287920, 'Task Status Endpoint', 'Cancellation',
'Authorization and Authentication', 'PEP-Facing vs End-Client-Facing Surfaces'.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from access_world import OURS, REQUESTS, URN, World, assert_problem, submission, world
from api_house import over_http

from quarterdeck_api.arap import waiting
from quarterdeck_api.arap.tasks import read_task

TASK = {"id", "status", "status_endpoint", "progress", "expires_at", "display", "links", "items"}
UNKNOWN = f"{URN}unknown_task"


@pytest.fixture
async def ars(module_database: str, tmp_path: Path) -> AsyncIterator[World]:
    """An access request service whose policy asks a human about refunds."""
    async with world(module_database, tmp_path) as made:
        yield made


async def cancel(ars: World, task: dict[str, Any], by: str = "bot", **more: Any) -> httpx.Response:
    """Cancel by the link that the task gives, or would give."""
    return await ars.client.post(f"{REQUESTS}/{task['id']}/cancel", headers=ars.auth(by), **more)


# --- Task Status Values, Pending and Completed Task Response


async def test_a_pending_task_echoes_the_handle(ars: World) -> None:
    """Pending Task Response: the handle as it was returned, `Retry-After`, no `result`."""
    task = await ars.request()
    answer = await ars.status(task["id"])
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json() == {"task": task}


async def test_an_approved_task_has_a_result(ars: World) -> None:
    """Completed Task Response: MUST include `result`, with mode and a closed `approval`; nothing to cancel."""
    task = await ars.request()
    await ars.vote(task["id"])
    answer = await ars.status(task["id"])
    body = answer.json()
    assert body.keys() == {"task", "result"}
    assert body["task"]["status"] == "approved"
    assert body["task"].keys() <= TASK
    assert "cancel" not in body["task"].get("links", {})
    assert "retry-after" not in answer.headers
    assert body["result"].keys() == {"mode", "approval"}
    assert body["result"]["mode"] == "reevaluate"
    assert body["result"]["approval"].keys() == {"id", "approved_at", "approved_until", "state"}


@pytest.mark.parametrize("end", ["denied", "cancelled", "expired"])
async def test_other_ends_have_no_result(ars: World, end: str) -> None:
    """Completed Task Response: the one completion form needs an approval, so there is no `result`."""
    task = await ars.request()
    if end == "denied":
        await ars.vote(task["id"], "deny")
    elif end == "cancelled":
        await cancel(ars, task)
    else:
        ars.let_time_pass(hours=1, seconds=1)
    body = (await ars.status(task["id"])).json()
    assert body.keys() == {"task"}
    assert body["task"]["status"] == end
    assert body["task"].keys() <= TASK


async def test_terminal_states_do_not_transition(ars: World) -> None:
    """State Transitions: exactly once."""
    task = await ars.request()
    await ars.vote(task["id"], "deny")
    assert_problem(await ars.vote(task["id"], "approve", "dave"), 409, f"{OURS}wrong_state")
    assert_problem(await cancel(ars, task), 409, f"{URN}invalid_task_state")
    assert (await ars.status(task["id"])).json()["task"]["status"] == "denied"


async def test_progress_of_several_stages_names_no_approver(ars: World) -> None:
    """Access Request Response: one-based steps; Privacy Considerations: nobody is named."""
    task = await ars.request(action="transfer")
    assert task["progress"] == {"current_step": 1, "total_steps": 2, "step_name": "first"}
    await ars.vote(task["id"])
    answer = await ars.status(task["id"])
    assert answer.json()["task"]["progress"] == {"current_step": 2, "total_steps": 2, "step_name": "second"}
    assert ars.id("carol") not in answer.text
    await ars.vote(task["id"], by="olga")
    assert (await ars.status(task["id"])).json()["task"]["status"] == "approved"


async def test_an_ended_task_stays_for_a_day(ars: World) -> None:
    """Completed Task Response: retrievable until `expires_at`; then `task_expired`, 410."""
    task = await ars.request()
    await ars.vote(task["id"], "deny")
    ars.let_time_pass(hours=23)
    assert (await ars.status(task["id"])).status_code == 200
    ars.let_time_pass(hours=25)
    assert_problem(await ars.status(task["id"]), 410, f"{URN}task_expired")
    assert_problem(await cancel(ars, task), 410, f"{URN}task_expired")


async def test_a_long_path_keeps_its_result_as_long_as_it_is_valid(module_database: str, tmp_path: Path) -> None:
    """Approved late, the handle outlives the moment until which it could be decided."""
    async with world(module_database, tmp_path) as ars:
        await ars.path("default", expires_after_s=60, grant_lifetime_s=7 * 86_400)
        task = await ars.request()
        await ars.vote(task["id"])
        ars.let_time_pass(days=7, hours=23)
        assert (await ars.status(task["id"])).json()["result"]["approval"]["id"] == task["id"]


# --- Who may see a task


@pytest.mark.parametrize("by", ["rival", "pep", "alice"])
async def test_a_leaked_handle_is_worth_nothing(ars: World, by: str) -> None:
    """Task Handle Leakage: without authorization it is unknown, exactly as one that does not exist."""
    task = await ars.request()
    leaked = await ars.status(task["id"], by)
    unknown = await ars.status("apr_00000000000000000000000000", by)
    assert assert_problem(leaked, 404, UNKNOWN) == assert_problem(unknown, 404, UNKNOWN)
    assert assert_problem(await cancel(ars, task, by), 404, UNKNOWN) == leaked.json()


@pytest.mark.parametrize(
    "task_id",
    ["x", "apr_", "apr_zzzzzzzzzzzzzzzzzzzzzzzzzz", "apr_0000000000000000000000000%00", "blk_" + "0" * 26, "%2e%2e"],
)
async def test_ids_that_are_none_are_unknown(ars: World, task_id: str) -> None:
    """Whatever is in the path, the answer is the same."""
    answer = await ars.status(task_id)
    assert answer.status_code == 404
    if answer.json()["type"] != f"{OURS}not_found":  # a path that is no path of ours
        assert_problem(answer, 404, UNKNOWN)


async def test_another_tenants_task_is_unknown(module_database: str, tmp_path: Path) -> None:
    """Two tenants, one database: not even an auditor of the other sees it."""
    async with world(module_database, tmp_path / "a") as first, world(module_database, tmp_path / "b") as second:
        task = await first.request()
        for by in ("ann", "admin", "bot"):
            assert_problem(await second.status(task["id"], by), 404, UNKNOWN)


@pytest.mark.parametrize("by", ["carol", "olga", "ann", "admin"])
async def test_people_who_look_after_approvals_may_see_it(ars: World, by: str) -> None:
    """Each operation is authorized by itself: to see is not to cancel."""
    task = await ars.request()
    seen = (await ars.status(task["id"], by)).json()["task"]
    assert seen["status"] == "pending"
    assert "cancel" not in seen["links"]
    assert_problem(await cancel(ars, task, by), 403, f"{OURS}not_allowed")


async def test_only_who_may_decide_gets_the_review_link(ars: World) -> None:
    """PEP-Facing Surfaces: `links.review` MUST NOT be exposed to a requester."""
    task = await ars.request()
    record = f"https://pdp.example.test/v1/approvals/{task['id']}"
    assert (await ars.status(task["id"], "carol")).json()["task"]["links"] == {"ticket": record, "review": record}
    assert (await ars.status(task["id"], "ann")).json()["task"]["links"] == {"ticket": record}
    assert (await ars.status(task["id"])).json()["task"]["links"].keys() == {"ticket", "cancel"}


async def test_the_handle_is_portable_between_credentials_of_one_principal(ars: World) -> None:
    """Authorization: bound to subject, resource, action and task, not to a token; the same chain is needed."""
    task = await ars.request()
    ars.api.keys[ars.tenant, "second"] = await ars.api.issue_key(ars.tenant, ars.id("bot"))
    await ars.delegate("bot-for-alice", "bot", "alice")
    assert (await ars.status(task["id"], "second")).status_code == 200
    assert_problem(await ars.status(task["id"], "bot-for-alice"), 404, UNKNOWN)
    assert (await cancel(ars, task, "second")).status_code == 200


async def test_status_needs_a_credential(ars: World) -> None:
    """Authorization and Authentication: MUST authenticate before returning status."""
    task = await ars.request()
    assert_problem(await ars.client.get(f"{REQUESTS}/{task['id']}"), 401, f"{OURS}unauthenticated")


# --- Cancellation


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_cancel(ars: World, method: str) -> None:
    """Cancellation: 200 and the updated task; POST, or DELETE as an equivalent."""
    task = await ars.request()
    answer = await ars.client.request(method, f"{REQUESTS}/{task['id']}/cancel", headers=ars.auth("bot"))
    assert answer.status_code == 200
    assert answer.json().keys() == {"task"}
    assert answer.json()["task"]["status"] == "cancelled"


async def test_cancel_says_why(ars: World) -> None:
    """Cancellation: `reason` and `comment`, for audit; what cannot be shown is written out."""
    task = await ars.request()
    body = {"reason": "superseded", "comment": "the customer called\noff\u202e", "more": 1}
    assert (await cancel(ars, task, json=body)).status_code == 200
    (cancelled,) = await ars.log("approval.cancelled")
    assert cancelled.reason == "superseded: the customer called\\u{000a}off\\u{202e}"


@pytest.mark.parametrize("body", [{"reason": 7}, {"reason": ""}, {"comment": "x" * 501}, [], "x"], ids=repr)
async def test_a_malformed_cancellation_changes_nothing(ars: World, body: object) -> None:
    """400, still pending."""
    task = await ars.request()
    assert_problem(await cancel(ars, task, json=body), 400, f"{OURS}invalid_input")
    assert (await ars.status(task["id"])).json()["task"]["status"] == "pending"


async def test_cancelling_what_has_ended(ars: World) -> None:
    """Cancellation: 409, `invalid_task_state`, for every terminal status."""
    task = await ars.request()
    await ars.vote(task["id"])
    assert_problem(await cancel(ars, task), 409, f"{URN}invalid_task_state")
    other = await ars.request(resource={"type": "order", "id": "2"})
    await cancel(ars, other)
    assert_problem(await cancel(ars, other), 409, f"{URN}invalid_task_state")
    late = await ars.request(resource={"type": "order", "id": "3"})
    ars.let_time_pass(hours=1, seconds=1)
    assert_problem(await cancel(ars, late), 409, f"{URN}invalid_task_state")


async def test_a_repeated_cancellation_with_its_key_is_the_same(ars: World) -> None:
    """The answer was lost; the same key gets it again, another body does not."""
    task = await ars.request()
    headers = ars.auth("bot") | {"Idempotency-Key": "c-1"}
    path = f"{REQUESTS}/{task['id']}/cancel"
    first = await ars.client.post(path, headers=headers)
    again = await ars.client.post(path, headers=headers)
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json() == first.json()
    other = await ars.client.post(path, headers=headers, json={"reason": "another"})
    assert_problem(other, 409, f"{URN}duplicate_request")


async def test_cancel_and_approve_at_once_come_to_one_end(ars: World) -> None:
    """Whoever is second is told the state."""
    for number in range(5):
        task = await ars.request(resource={"type": "order", "id": str(number)})
        cancelled, voted = await asyncio.gather(cancel(ars, task), ars.vote(task["id"]))
        assert {cancelled.status_code, voted.status_code} == {200, 409}
        status = (await ars.status(task["id"])).json()["task"]["status"]
        assert status == ("cancelled" if cancelled.status_code == 200 else "approved")


# --- Waiting: long poll


async def test_a_long_poll_answers_when_the_task_ends(ars: World) -> None:
    """RFC 7240 `wait`: the answer comes with the decision, not with the time."""
    task = await ars.request()
    began = asyncio.get_running_loop().time()
    waiting = asyncio.create_task(ars.status(task["id"], Prefer="respond-async, wait=30"))
    await asyncio.sleep(0)
    await ars.vote(task["id"])
    answer = await waiting
    assert answer.json()["task"]["status"] == "approved"
    assert answer.headers["preference-applied"] == "wait=30"
    assert asyncio.get_running_loop().time() - began < 15


async def test_a_long_poll_of_an_ended_task_answers_at_once(ars: World) -> None:
    """Nothing to wait for."""
    task = await ars.request()
    await cancel(ars, task)
    answer = await ars.status(task["id"], Prefer="wait=30")
    assert answer.json()["task"]["status"] == "cancelled"


async def test_a_long_poll_that_ends_in_time_says_pending(ars: World) -> None:
    """Bounded: by the request, and by what we allow."""
    task = await ars.request()
    answer = await ars.status(task["id"], Prefer="wait=0")
    assert answer.json()["task"]["status"] == "pending"
    assert "retry-after" not in answer.headers
    for asked in ("wait=soon", "wait=-1", "wait"):
        assert "preference-applied" not in (await ars.status(task["id"], Prefer=asked)).headers


async def test_the_longest_wait_is_bounded(module_database: str, tmp_path: Path) -> None:
    """Whatever is asked for, no longer than the setting."""
    async with world(module_database, tmp_path, long_poll_max_s=1) as ars:
        task = await ars.request()
        answer = await ars.status(task["id"], Prefer="wait=999999999")
        assert answer.headers["preference-applied"] == "wait=1"
        assert answer.json()["task"]["status"] == "pending"


async def test_a_long_poll_notices_that_time_ran_out(module_database: str, tmp_path: Path) -> None:
    """Expiry has no event of its own at that moment; the waiter looks."""
    async with world(module_database, tmp_path) as ars:
        await ars.path("default", expires_after_s=1)
        task = await ars.request()
        answer = await ars.status(task["id"], Prefer="wait=30")
        assert answer.json()["task"]["status"] == "expired"


async def test_many_wait_on_one_reader(ars: World) -> None:
    """A hundred waiters on twenty tasks: each hears of its own."""
    tasks = [await ars.request(resource={"type": "order", "id": str(number)}) for number in range(20)]
    waiting = [asyncio.create_task(ars.status(task["id"], Prefer="wait=50")) for task in tasks for _ in range(5)]
    for task in tasks:
        await ars.vote(task["id"], "deny")
    answers = await asyncio.gather(*waiting)
    assert {answer.json()["task"]["status"] for answer in answers} == {"denied"}


async def test_a_revoked_key_does_not_hear_the_end(ars: World) -> None:
    """What was allowed when it began to wait may not be when it ends."""
    task = await ars.request()
    key = await ars.api.issue_key(ars.tenant, ars.id("bot"))
    headers = {"Authorization": f"Bearer {key}", "Prefer": "wait=30"}
    waiting = asyncio.create_task(ars.client.get(f"{REQUESTS}/{task['id']}", headers=headers))
    await asyncio.sleep(0)
    await ars.revoke_key(key)
    await ars.vote(task["id"])
    assert_problem(await waiting, 401, f"{OURS}unauthenticated")


async def test_a_revoked_key_waits_no_longer(ars: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though nothing happens to the task: whoever waits is looked at now and then."""
    task = await ars.request()
    key = await ars.api.issue_key(ars.tenant, ars.id("bot"))
    looked = asyncio.Event()

    async def look(*arguments: Any) -> Any:
        looked.set()
        return await read_task(*arguments)

    monkeypatch.setattr(waiting, "CHECK_EVERY_S", 0.05)
    monkeypatch.setattr(waiting, "read_task", look)
    headers = {"Authorization": f"Bearer {key}", "Prefer": "wait=50"}
    asked = asyncio.create_task(ars.client.get(f"{REQUESTS}/{task['id']}", headers=headers))
    await looked.wait()
    await ars.revoke_key(key)
    async with asyncio.timeout(30):
        assert_problem(await asked, 401, f"{OURS}unauthenticated")


# --- Waiting: server-sent events


async def events(lines: AsyncIterator[str]) -> AsyncIterator[dict[str, str]]:
    """Yield the events of a stream as a browser would read them."""
    event: dict[str, str] = {}
    async for line in lines:
        if not line:
            if "data" in event:
                yield event
            event = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            event[name] = value


async def test_a_stream_tells_every_change_and_ends(ars: World) -> None:
    """`text/event-stream`: the state now, each change, the end with its result; then the connection closes."""
    intent, context = await ars.denied(action="transfer")
    task = (await ars.submit(submission(intent, context))).json()["task"]
    async with over_http(ars.services) as address, httpx.AsyncClient(base_url=address) as client:
        headers = ars.auth("bot") | {"Accept": "text/event-stream"}
        async with client.stream("GET", f"{REQUESTS}/{task['id']}", headers=headers) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            assert stream.headers["cache-control"] == "no-store"
            told = events(stream.aiter_lines())
            first = await anext(told)
            assert first["event"] == "task"
            assert json.loads(first["data"])["task"]["progress"]["current_step"] == 1
            await ars.vote(task["id"])
            second = await anext(told)
            assert json.loads(second["data"])["task"]["progress"]["current_step"] == 2
            await ars.vote(task["id"], by="olga")
            last = await anext(told)
            assert json.loads(last["data"])["task"]["status"] == "approved"
            assert json.loads(last["data"])["result"]["mode"] == "reevaluate"
            assert int(first["id"]) < int(second["id"]) < int(last["id"])
            assert [event async for event in told] == []


async def test_a_stream_of_an_unknown_task_is_a_problem(ars: World) -> None:
    """Before anything is streamed, the answer can still be an error."""
    answer = await ars.status("apr_00000000000000000000000000", Accept="text/event-stream")
    assert_problem(answer, 404, UNKNOWN)


async def test_a_stream_ends_when_its_key_is_revoked(ars: World) -> None:
    """Within seconds, though nothing happens to the task."""
    task = await ars.request()
    key = await ars.api.issue_key(ars.tenant, ars.id("bot"))
    async with over_http(ars.services) as address, httpx.AsyncClient(base_url=address) as client:
        headers = {"Authorization": f"Bearer {key}", "Accept": "text/event-stream"}
        async with client.stream("GET", f"{REQUESTS}/{task['id']}", headers=headers) as stream:
            told = events(stream.aiter_lines())
            await anext(told)
            await ars.revoke_key(key)
            async with asyncio.timeout(15):
                assert [event async for event in told] == []
