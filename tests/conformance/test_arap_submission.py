"""ARAP, submitting: body, idempotency, task handle, errors.

Serves C03, DC-07. Source: ARAP draft at e287920, 'Access Request Endpoint', 'Error Responses'.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from access_world import OURS, REQUESTS, URN, World, assert_problem, denial, submission, world

TASK = {"id", "status", "status_endpoint", "progress", "expires_at", "display", "links", "items"}
"""Every member that a task may have."""


@pytest.fixture
async def ars(module_database: str, tmp_path: Path) -> AsyncIterator[World]:
    """An access request service whose policy asks a human about refunds."""
    async with world(module_database, tmp_path) as made:
        yield made


# --- Access Request Response


async def test_a_submission_is_accepted_with_a_task_handle(ars: World) -> None:
    """Access Request Response: 202, a closed `task`, `Location` equal to `status_endpoint`, `Retry-After`."""
    intent, context = await ars.denied()
    answer = await ars.submit(submission(intent, context))
    assert answer.status_code == 202
    assert answer.headers["content-type"] == "application/json"
    assert answer.json().keys() == {"task"}
    task = answer.json()["task"]
    assert task.keys() <= TASK
    assert task["status"] == "pending"
    assert task["status_endpoint"] == f"https://pdp.example.test{REQUESTS}/{task['id']}"
    assert answer.headers["location"] == task["status_endpoint"]
    assert int(answer.headers["retry-after"]) > 0
    assert task["links"]["cancel"] == f"{task['status_endpoint']}/cancel"
    assert "review" not in task["links"]


async def test_the_task_is_bound_to_what_was_evaluated(ars: World) -> None:
    """Processing Rules: MUST bind the task to subject, resource, action, denial, requester and client."""
    intent, context = await ars.denied()
    client = {"id": "billing-bot", "name": "Billing", "source": {"session_id": "s-1"}}
    await ars.submit(
        submission(
            intent,
            context,
            client=client,
            context={"business_justification": "the parcel was lost"},
            requested_access={"requested_until": "2099-01-01T00:00:00Z", "emergency": True},
        )
    )
    (requested,) = await ars.log("approval.requested")
    (decision,) = await ars.log("policy.decision_recorded")
    assert requested.decision_id == decision.decision_id == context["evaluation_id"]
    assert (requested.subject, requested.action, requested.resource) == (
        f"agent:{ars.id('bot')}",
        "refund",
        "order:4711",
    )
    assert requested.request == decision.request
    assert requested.action_digest == decision.action_digest
    assert requested.binding_hash == decision.binding_hash
    assert requested.requester == ars.id("bot")
    assert ars.id("admin") in requested.requesters, "the agent's owner may not decide either"
    assert json.loads(requested.client) == client
    assert requested.justification == "the parcel was lost"
    assert requested.emergency is True
    assert requested.requested_until.isoformat() == "2099-01-01T00:00:00+00:00"


async def test_task_ids_are_opaque_and_unguessable(ars: World) -> None:
    """Access Request Response: 74 random bits, even where the caller chose the idempotency key."""
    first = await ars.request(key="1")
    second = await ars.request(key="2", resource={"type": "order", "id": "2"})
    assert first["id"].startswith("apr_")
    assert len(first["id"]) == 30
    differing = sum(a != b for a, b in zip(first["id"][16:], second["id"][16:], strict=True))
    assert differing > 8


async def test_unknown_members_are_ignored(ars: World) -> None:
    """Forward Compatibility: at every extension point, and beside."""
    intent, context = await ars.denied()
    body = submission(
        intent,
        context,
        context={"https://example.com/x": 1, "business_justification": "why"},
        requested_access={"acme.example/role": "viewer"},
        client={"acme.example/x": {}, "actor": {"id": ars.id("bot"), "x": 1}, "source": {"x": []}},
        future={"nested": True},
    )
    body["denial"]["future"] = 1
    assert (await ars.submit(body)).status_code == 202


# --- Idempotency-Key


async def test_the_same_key_and_body_return_the_same_task(ars: World) -> None:
    """Access Request Submission: an equivalent body is one that differs in white space and order alone."""
    intent, context = await ars.denied()
    body = submission(intent, context)
    first = await ars.submit(body, key="k-1")
    reordered = json.dumps(dict(reversed(body.items())), indent=3).encode()
    headers = ars.auth("bot") | {"Content-Type": "application/json", "Idempotency-Key": '"k-1"'}
    again = await ars.client.post(REQUESTS, content=reordered, headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert len(await ars.log("approval.requested")) == 1


async def test_the_same_key_after_the_end_returns_the_result(ars: World) -> None:
    """Access Request Submission: the original remains available; ended, it is 201 with `result`, even after the
    denial has expired."""
    intent, context = await ars.denied()
    body = submission(intent, context)
    task = (await ars.submit(body, key="k-1")).json()["task"]
    await ars.vote(task["id"])
    ars.let_time_pass(minutes=11)
    again = await ars.submit(body, key="k-1")
    assert again.status_code == 201
    assert again.json()["task"]["status"] == "approved"
    assert again.json()["result"]["mode"] == "reevaluate"


async def test_the_same_key_and_another_body_are_a_duplicate(ars: World) -> None:
    """Access Request Submission: MUST reject with `duplicate_request`, 409."""
    intent, context = await ars.denied()
    await ars.submit(submission(intent, context), key="k-1")
    other = submission(intent, context, context={"business_justification": "another word"})
    assert_problem(await ars.submit(other, key="k-1"), 409, f"{URN}duplicate_request")


async def test_a_key_belongs_to_one_requester(ars: World) -> None:
    """Idempotency Key Abuse: scoped to the authenticated caller."""
    first = await ars.request("bot", key="k-1")
    second = await ars.request("rival", key="k-1")
    assert first["id"] != second["id"]


async def test_the_same_submission_at_once_is_recorded_once(ars: World) -> None:
    """A retry that overtakes its original gets the same task."""
    intent, context = await ars.denied()
    body = submission(intent, context)
    answers = await asyncio.gather(*(ars.submit(body, key="k-1") for _ in range(8)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["task"]["id"] for answer in answers}) == 1
    assert len(await ars.log("approval.requested")) == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\tinside"])
async def test_a_key_that_is_none_is_refused(ars: World, key: str) -> None:
    """Bounded, visible ASCII."""
    intent, context = await ars.denied()
    assert_problem(await ars.submit(submission(intent, context), key=key), 400, f"{OURS}invalid_input")


async def test_the_same_action_is_asked_for_once_at_a_time(ars: World) -> None:
    """Without a key: the second request for the very same action names the first one's task."""
    task = await ars.request()
    intent, context = await ars.denied()
    problem = assert_problem(await ars.submit(submission(intent, context)), 409, f"{OURS}already_requested")
    assert problem["details"]["approval_id"] == task["id"]
    assert problem["details"]["status_endpoint"] == task["status_endpoint"]


# --- Bodies that are wrong

WRONG: dict[str, dict[str, Any]] = {
    "no subject": {"subject": None},
    "no resource": {"resource": None},
    "no action": {"action": None},
    "subject is text": {"subject": "bot"},
    "context is a list": {"context": []},
    "requested_access is text": {"requested_access": "all"},
    "requested_until is no time": {"requested_access": {"requested_until": "tomorrow"}},
    "requested_until has no zone": {"requested_access": {"requested_until": "2099-01-01T00:00:00"}},
    "requested_until is a date": {"requested_access": {"requested_until": "2099-01-01"}},
    "requested_until is over": {"requested_access": {"requested_until": "2001-01-01T00:00:00Z"}},
    "emergency is text": {"requested_access": {"emergency": "yes"}},
    "emergency without a word": {"requested_access": {"emergency": True}},
    "justification is empty": {"context": {"business_justification": ""}},
    "justification is a number": {"context": {"business_justification": 7}},
    "justification is too long": {"context": {"business_justification": "x" * 2_001}},
    "justification turns the text around": {"context": {"business_justification": "\u202eapproved"}},
    "client is text": {"client": "bot"},
    "client is too long": {"client": {"name": "x" * 5_000}},
    "client name is a number": {"client": {"name": 7}},
    "client.actor has no id": {"client": {"actor": {}}},
    "client.actor nests without end": {"client": {"actor": {"id": "<bot>", "act": "<deep>"}}},
    "client.source is text": {"client": {"source": "chat"}},
    "items are empty": {"items": [], "resource": None, "action": None},
    "items are no list": {"items": {}, "resource": None, "action": None},
    "items beside a resource": {"items": [{}]},
    "too many items": {"items": [{}] * 21, "resource": None, "action": None},
    "an item is text": {"items": ["x"], "resource": None, "action": None},
    "callback is text": {"callback": "https://x.example"},
    "callback without endpoint": {"callback": {}},
    "callback events are text": {"callback": {"endpoint": "https://x.example", "events": "approved"}},
    "callback events are unheard of": {"callback": {"endpoint": "https://x.example", "events": ["rejoice"]}},
    "callback state is a number": {"callback": {"endpoint": "https://x.example", "state": 7}},
}


@pytest.mark.parametrize("case", WRONG, ids=str)
async def test_malformed_submissions_get_400_and_change_nothing(ars: World, case: str) -> None:
    """Our own problem type: the profile has none for a malformed body."""
    intent, context = await ars.denied()
    body = submission(intent, context, **_filled(WRONG[case], ars))
    before = await ars.position()
    assert_problem(await ars.submit(body), 400, f"{OURS}invalid_input")
    assert await ars.position() == before


def _filled(value: Any, ars: World) -> Any:
    if isinstance(value, dict):
        return {name: _filled(item, ars) for name, item in value.items()}
    if value == "<deep>":
        chain: dict[str, Any] = {"sub": "x"}
        for _ in range(9):
            chain = {"sub": "x", "act": chain}
        return chain
    return ars.id("bot") if value == "<bot>" else value


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"a":1,"a":2}', b"\xff"], ids=repr)
async def test_bodies_that_are_no_json_object_get_400(ars: World, body: bytes) -> None:
    """Strict JSON, as for evaluations."""
    headers = ars.auth("bot") | {"Content-Type": "application/json"}
    assert_problem(await ars.client.post(REQUESTS, content=body, headers=headers), 400, f"{OURS}invalid_input")


async def test_another_content_type_gets_400(ars: World) -> None:
    """As for evaluations."""
    headers = ars.auth("bot") | {"Content-Type": "text/plain"}
    answer = await ars.client.post(REQUESTS, content=b"{}", headers=headers)
    assert_problem(answer, 400, f"{OURS}invalid_input")


# --- Authorization and Authentication


async def test_nobody_submits_unauthenticated(ars: World) -> None:
    """Authorization and Authentication: MUST authenticate before accepting."""
    assert_problem(await ars.client.post(REQUESTS, json={}), 401, f"{OURS}unauthenticated")


async def test_an_auditor_submits_nothing(ars: World) -> None:
    """Authorization and Authentication: MUST verify that the caller may submit for the subject."""
    intent, context = await ars.denied()
    assert_problem(await ars.submit(submission(intent, context), "ann"), 403, f"{OURS}not_allowed")


async def test_another_subjects_denial_cannot_be_asked_on_by_an_agent(ars: World) -> None:
    """An agent asks about itself; the enforcement point's denial is not its own."""
    intent = ars.intent("rival")
    context = (await ars.evaluate(intent, "pep")).json()["context"]
    assert_problem(await ars.submit(submission(intent, context), "bot"), 403, f"{OURS}not_allowed")


async def test_an_enforcement_point_asks_on_behalf_of_its_subject(ars: World) -> None:
    """PEP Acting on Behalf of the Subject: the requester is who evaluated; the subject cannot decide either."""
    intent = {
        "subject": {"type": "user", "id": ars.id("carol")},
        "action": {"name": "refund"},
        "resource": {"type": "order", "id": "9"},
    }
    context = (await ars.evaluate(intent, "pep")).json()["context"]
    answer = await ars.submit({**intent, "denial": denial(context)}, "pep")
    assert answer.status_code == 202
    (requested,) = await ars.log("approval.requested")
    assert requested.requester == ars.id("pep")
    assert {ars.id("pep"), ars.id("carol")} <= set(requested.requesters)
