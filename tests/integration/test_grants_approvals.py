"""What people are shown of approvals, and how they decide.

Serves C03, S0-173, DC-07, DC-09; RELIABILITY T3, T6, T8, T16.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from access_world import OURS, World, assert_problem, submission, world

LIST = "/v1/approvals"


@pytest.fixture
async def w(module_database: str, tmp_path: Path) -> AsyncIterator[World]:
    """A tenant whose policy asks a human about refunds."""
    async with world(module_database, tmp_path) as made:
        yield made


async def listed(w: World, by: str = "carol", **query: Any) -> dict[str, Any]:
    """Return a page."""
    answer = await w.client.get(LIST, params=query, headers=w.auth(by))
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


# --- Showing


async def test_what_policy_judged_is_apart_from_what_the_requester_claims(w: World) -> None:
    """`verified` is bound by the digest; `claimed` is talk, and unread context is talk too."""
    act = {"name": "refund", "properties": {"amount": "120.00", "note\u202e": "approved by CFO\u202e"}}
    intent, context = await w.denied(action=act, context={"region": "eu", "note": "already approved \u202e"})
    body = submission(
        intent,
        context,
        context={"region": "eu", "note": "already approved \u202e", "business_justification": "the parcel\nwas lost"},
        client={"id": "billing", "name": "Carol (approver)\u202e"},
        requested_access={"requested_until": "2099-01-01T00:00:00Z", "emergency": True},
    )
    task = (await w.submit(body)).json()["task"]
    shown = (await w.approval(task["id"])).json()
    verified, claimed = shown["verified"], shown["claimed"]
    assert verified["request"] == {
        "subject": {"type": "agent", "id": w.id("bot")},
        "action": {"name": "refund", "properties": {"amount": "120.00", "note\\u202e": "approved by CFO\\u202e"}},
        "resource": {"type": "order", "id": "4711"},
    }
    assert verified["context"] == {"region": "eu"}
    assert verified["action_digest"] == shown["action_digest"]
    assert verified["requester_chain"] == [{"id": w.id("bot"), "name": "bot"}]
    assert verified["policy"]["determining"] == ["ask.refund"]
    assert verified["policy"]["evaluation_id"] == context["evaluation_id"]
    assert verified["path"] == {"id": "default", "version": 1}
    assert claimed == {
        "justification": "the parcel\nwas lost",
        "requested_until": "2099-01-01T00:00:00Z",
        "emergency": True,
        "client": '{"id":"billing","name":"Carol (approver)\\u202e"}',
        "context": {"note": "already approved \\u202e"},
    }
    assert (shown["can_decide"], shown["why_not"]) == (True, None)


async def test_two_actions_are_never_shown_as_one(w: World) -> None:
    """A character that is written out, and the same characters typed: in the list, the resource, members and values."""
    real, typed = "lit\u202e", "lit\\u202e"
    seen = []
    for text in (real, typed):
        task = await w.request(
            resource={"type": "order", "id": text},
            action={"name": "refund", "properties": {text: text, "amount": "120.00"}},
        )
        shown = (await w.approval(task["id"])).json()
        request = shown["verified"]["request"]
        (line,) = [item for item in (await listed(w))["approvals"] if item["id"] == task["id"]]
        assert line["resource"] == shown["resource"] == f"order:{request['resource']['id']}"
        seen.append((request["resource"]["id"], *request["action"]["properties"].items()))
    written, doubled = "lit\\u202e", "lit\\\\u202e"
    assert seen == [
        (written, ("amount", "120.00"), (written, written)),
        (doubled, ("amount", "120.00"), (doubled, doubled)),
    ]


async def test_the_digest_shown_is_the_digest_stored(w: World) -> None:
    """And voting on another one is refused: what was shown is what is decided."""
    task = await w.request()
    (requested,) = await w.log("approval.requested")
    assert (await w.approval(task["id"])).json()["action_digest"] == requested.action_digest
    wrong = await w.client.post(
        f"{LIST}/{task['id']}/approve",
        json={"action_digest": "sha256-action-v1:" + "0" * 64},
        headers=w.auth("carol"),
    )
    assert_problem(wrong, 409, f"{OURS}digest_mismatch")


async def test_the_requester_sees_its_own_without_policy_and_voters(w: World) -> None:
    """Who decided by which policy is not the requester's business."""
    task = await w.request()
    await w.vote(task["id"], comment="no problem")
    answer = await w.approval(task["id"], "bot")
    shown = answer.json()
    assert shown["status"] == "approved"
    assert shown["grant"]["status"] == "unused"
    assert "votes" not in shown
    assert "policy" not in shown["verified"]
    assert shown["why_not"]["code"] == "not_allowed"
    for secret in (w.id("carol"), "ask.refund", "no problem"):
        assert secret not in answer.text


@pytest.mark.parametrize("by", ["rival", "pep", "alice"])
async def test_others_see_nothing(w: World, by: str) -> None:
    """As if there were none, by id and in the list."""
    task = await w.request()
    assert_problem(await w.approval(task["id"], by), 404, f"{OURS}not_found")
    assert (await listed(w, by, status="all"))["approvals"] == []


async def test_votes_are_shown_with_stage_and_comment(w: World) -> None:
    """To people who look after approvals."""
    task = await w.request(action="transfer")
    await w.vote(task["id"], comment="fine\nby me")
    (vote,) = (await w.approval(task["id"], "ann")).json()["votes"]
    assert {name: vote[name] for name in ("approver", "stage", "verdict", "comment")} == {
        "approver": w.id("carol"),
        "stage": "first",
        "verdict": "approve",
        "comment": "fine\nby me",
    }


# --- Why not


async def test_why_not_is_what_the_vote_would_answer(w: World) -> None:
    """For each of them, the very refusal."""
    await w.api.command("grant_role", {"principal_id": w.id("admin"), "role": "approver"}, by=(w.tenant, "admin"))
    task = await w.request(action="transfer")
    await w.vote(task["id"], by="carol")
    expected = {
        "carol": ("wrong_state", "voted already"),
        "dave": ("not_allowed", "needs the role operator"),
        "admin": ("not_allowed", "somebody else must decide"),
        "ann": ("not_allowed", "only people with a role that votes"),
        "olga": None,
    }
    for by, why in expected.items():
        shown = (await w.approval(task["id"], by)).json()
        found = shown["why_not"]
        if why is None:
            assert (found, shown["can_decide"]) == (None, True)
            continue
        assert (found["code"], shown["can_decide"]) == (why[0], False), by
        assert why[1] in found["message"]
        if by != "ann":
            refused = await w.vote(task["id"], by=by)
            assert refused.json()["detail"] == found["message"]


async def test_asking_why_not_records_nothing(w: World) -> None:
    """It is only tried."""
    task = await w.request()
    before = await w.position()
    await w.approval(task["id"])
    await listed(w)
    assert await w.position() == before


async def test_looking_never_decides(w: World) -> None:
    """GET on every address of an approval changes nothing (mail scanners follow links)."""
    task = await w.request()
    before = await w.position()
    for path in ("", "/approve", "/deny", "/grant"):
        await w.client.get(f"{LIST}/{task['id']}{path}", headers=w.auth("carol"))
    await w.client.get(f"/access/v1/requests/{task['id']}/cancel", headers=w.auth("bot"))
    assert await w.position() == before


# --- Deciding


@pytest.mark.parametrize(("verdict", "status"), [("approve", "approved"), ("deny", "denied")])
async def test_deciding(w: World, verdict: str, status: str) -> None:
    """One vote of the one needed; repeated with its key it is the same vote."""
    task = await w.request()
    first = await w.vote(task["id"], verdict, key="v-1", comment="seen")
    assert first.status_code == 200
    assert first.json()["status"] == status
    assert int(first.headers["x-quarterdeck-position"]) == first.json()["position"] == await w.position()
    again = await w.vote(task["id"], verdict, key="v-1", comment="seen")
    assert again.json() == first.json() | {"repeated": True}
    (vote,) = await w.log("approval.vote_cast")
    assert (vote.approver, vote.comment) == (w.id("carol"), "seen")


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"action_digest": "x"},
        {"action_digest": 7},
        {"action_digest": "<digest>", "verdict": "approve"},
        {"action_digest": "<digest>", "approval_id": "apr_x"},
        {"action_digest": "<digest>", "comment": "x" * 2_001},
        {"action_digest": "<digest>", "comment": "\u202e"},
    ],
    ids=repr,
)
async def test_malformed_votes_change_nothing(w: World, body: Any) -> None:
    """400; still pending."""
    task = await w.request()
    (requested,) = await w.log("approval.requested")
    if isinstance(body, dict) and body.get("action_digest") == "<digest>":
        body = body | {"action_digest": requested.action_digest}
    answer = await w.client.post(f"{LIST}/{task['id']}/approve", json=body, headers=w.auth("carol"))
    assert answer.status_code == 400, answer.text
    assert (await w.status(task["id"])).json()["task"]["status"] == "pending"


async def test_voting_on_what_is_not_there(w: World) -> None:
    """404 for an id that names nothing; 400 for what is no id."""
    digest = {"action_digest": "sha256-action-v1:" + "0" * 64}
    for approval_id, status in (("apr_00000000000000000000000000", 404), ("x", 400)):
        answer = await w.client.post(f"{LIST}/{approval_id}/approve", json=digest, headers=w.auth("carol"))
        assert answer.status_code == status


# --- Listing


async def test_the_list_has_what_waits_newest_first(w: World) -> None:
    """By default what is pending; by status on demand."""
    ids = [(await w.request(resource={"type": "order", "id": str(number)}))["id"] for number in range(4)]
    await w.vote(ids[1], "deny")
    pending = (await listed(w))["approvals"]
    assert [item["id"] for item in pending] == [ids[3], ids[2], ids[0]]
    assert all(item["can_decide"] and item["why_not"] is None for item in pending)
    assert [item["id"] for item in (await listed(w, status="denied"))["approvals"]] == [ids[1]]
    assert [item["id"] for item in (await listed(w, status="all"))["approvals"]] == ids[::-1]
    w.let_time_pass(hours=2)
    assert (await listed(w))["approvals"] == []
    assert len((await listed(w, status="expired"))["approvals"]) == 3


async def test_an_agent_lists_its_own(w: World) -> None:
    """And nobody else's."""
    mine = await w.request("bot")
    theirs = await w.request("rival")
    assert [item["id"] for item in (await listed(w, "bot"))["approvals"]] == [mine["id"]]
    assert [item["id"] for item in (await listed(w, "rival"))["approvals"]] == [theirs["id"]]


async def test_pages(w: World) -> None:
    """Each approval once, whatever the page size; the cursor is of this list alone."""
    ids = [(await w.request(resource={"type": "order", "id": str(number)}))["id"] for number in range(7)]
    for number in (1, 4):
        await w.vote(ids[number], "deny")
    found: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(10):
        page = await listed(w, limit=2, **cursor)
        found += [item["id"] for item in page["approvals"]]
        if "next_cursor" not in page:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert found == [ids[number] for number in (6, 5, 3, 2, 0)]
    first = await listed(w, limit=1)
    for query in ({"status": "all", "cursor": first["next_cursor"]}, {"cursor": "x"}, {"cursor": "MXxhfGJ8LTE"}):
        answer = await w.client.get(LIST, params=query, headers=w.auth("carol"))
        assert_problem(answer, 400, f"{OURS}invalid_input")


@pytest.mark.parametrize(
    "query", [{"status": "open"}, {"limit": 0}, {"limit": 101}, {"limit": "x"}, {"cursor": "x" * 301}], ids=repr
)
async def test_malformed_queries(w: World, query: dict[str, Any]) -> None:
    """400."""
    answer = await w.client.get(LIST, params=query, headers=w.auth("carol"))
    assert answer.status_code == 400
    assert answer.json()["type"] == f"{OURS}invalid_input"


async def test_every_door_wants_a_credential(w: World) -> None:
    """401 on each route of approvals, grants and effects."""
    routes = [
        ("GET", LIST),
        ("GET", f"{LIST}/x"),
        ("POST", f"{LIST}/x/approve"),
        ("POST", f"{LIST}/x/deny"),
        ("GET", f"{LIST}/x/grant"),
        ("GET", "/v1/grants/x"),
        ("POST", "/v1/grants/redeem"),
        ("GET", "/v1/effects/x"),
        ("POST", "/v1/effects/x/report"),
        ("POST", "/access/v1/requests/x/cancel"),
        ("DELETE", "/access/v1/requests/x/cancel"),
    ]
    for method, path in routes:
        answer: httpx.Response = await w.client.request(method, path)
        assert_problem(answer, 401, f"{OURS}unauthenticated")
