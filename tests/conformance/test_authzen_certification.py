"""The AuthZEN certification scenario, levels Basic and Batch, test by test (ids are the scenario's anchors).

Serves C04, DC-02. Source: openid/authzen, certification/authorization-api-1_0-scenario.md.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from access_world import EVALUATION, EVALUATIONS, World, world

ALICE = {"type": "user", "id": "alice"}
BOB = {"type": "user", "id": "bob"}
ADMIN = {"type": "user", "id": "bob", "properties": {"role": "admin"}}
RECORD_1 = {"type": "record", "id": "record-1"}
ACTIVE = {"type": "record", "id": "record-1", "properties": {"status": "active"}}
ARCHIVED = {"type": "record", "id": "record-2", "properties": {"status": "archived"}}
READ, WRITE = {"name": "read"}, {"name": "write"}


def ask(subject: object, action: object, resource: object, **more: object) -> dict[str, Any]:
    """Return an evaluation request."""
    return {"subject": subject, "action": action, "resource": resource, **more}


PERMIT = ask(ALICE, READ, RECORD_1)

BASIC = {
    "c-2-2-1 rule 1 permit": (PERMIT, True),
    "c-1-4 rule 2": (ask(ALICE, WRITE, RECORD_1), True),
    "c-1-4 rule 3": (ask(BOB, READ, RECORD_1), True),
    "c-2-2-2 rule 4 deny": (ask(BOB, WRITE, RECORD_1), False),
    "c-2-2-3 optional context": (PERMIT | {"context": {"time": "2025-06-27T18:03-07:00", "ip": "192.168.1.1"}}, True),
    "c-2-2-4 rule 5 resource properties": (ask(ALICE, WRITE, ARCHIVED), False),
    "c-2-2-5 rule 6 subject properties": (ask(ADMIN, WRITE, ARCHIVED), True),
    "c-2-2-6 rule 7 action properties": (
        ask(ALICE, {"name": "delete", "properties": {"soft": True}}, RECORD_1),
        True,
    ),
    "c-2-2-7 rule 8 action properties": (
        ask(ALICE, {"name": "delete", "properties": {"soft": False}}, RECORD_1),
        False,
    ),
    "c-2-2-8 additional properties": (
        ask(
            ALICE | {"properties": {"department": "Sales", "role": "manager"}},
            READ | {"properties": {"method": "GET"}},
            RECORD_1 | {"properties": {"status": "active", "owner": "bob"}},
        ),
        True,
    ),
    "c-2-2-9 unknown fields": (PERMIT | {"foo": "bar", "futureField": {"nested": True}}, True),
}
"""Requests of the Basic level and their decisions."""

INVALID = {
    "c-2-4-1 no subject": ask(None, READ, RECORD_1),
    "c-2-4-1 no action": ask(ALICE, None, RECORD_1),
    "c-2-4-1 no resource": ask(ALICE, READ, None),
    "c-2-4-2 subject without type": ask({"id": "alice"}, READ, RECORD_1),
    "c-2-4-2 subject without id": ask({"type": "user"}, READ, RECORD_1),
    "c-2-4-2 action without name": ask(ALICE, {}, RECORD_1),
    "c-2-4-2 resource without type": ask(ALICE, READ, {"id": "record-1"}),
    "c-2-4-2 resource without id": ask(ALICE, READ, {"type": "record"}),
    "c-2-4-6 subject is text": ask("alice", READ, RECORD_1),
    "c-2-4-6 action name is a number": ask(ALICE, {"name": 123}, RECORD_1),
}

BATCHES: dict[str, tuple[dict[str, Any], list[bool | None]]] = {
    "c-3-2-1 evaluations array": (
        {
            "subject": ALICE,
            "action": READ,
            "evaluations": [{"resource": RECORD_1}, {"resource": {"type": "record", "id": "record-2"}}],
        },
        [None, None],
    ),
    "c-3-2-2 fixture decisions and order": (
        {"subject": BOB, "resource": RECORD_1, "evaluations": [{"action": READ}, {"action": WRITE}]},
        [True, False],
    ),
    "c-3-2-3 resource properties": (
        {"subject": ALICE, "action": WRITE, "evaluations": [{"resource": ACTIVE}, {"resource": ARCHIVED}]},
        [True, False],
    ),
    "c-3-2-4 subject properties": (
        {"action": WRITE, "resource": ARCHIVED, "evaluations": [{"subject": ALICE}, {"subject": ADMIN}]},
        [False, True],
    ),
    "c-3-2-5 no defaults": ({"evaluations": [PERMIT, ask(BOB, WRITE, RECORD_1)]}, [True, False]),
    "c-3-2-6 context inheritance": (
        {
            "subject": ALICE,
            "action": READ,
            "context": {"time": "2025-06-27T18:03-07:00"},
            "evaluations": [
                {"resource": RECORD_1},
                {
                    "resource": {"type": "record", "id": "record-2"},
                    "context": {"time": "2025-06-27T19:00-07:00", "source": "batch-override"},
                },
            ],
        },
        [None, None],
    ),
    "c-3-2-7 entities are inherited and replaced whole": (
        {"subject": ALICE, "action": WRITE, "resource": ACTIVE, "evaluations": [{}, {"resource": ARCHIVED}]},
        [True, False],
    ),
    "c-3-4-1 a failed item is denied": (
        {
            "subject": ALICE,
            "action": READ,
            "options": {"evaluations_semantic": "execute_all"},
            "evaluations": [{"resource": RECORD_1}, {}],
        },
        [True, False],
    ),
}


@pytest.fixture
async def pdp(module_database: str, tmp_path: Path) -> AsyncIterator[World]:
    """A decision point with the scenario's fixture; `pep` is an enforcement point."""
    async with world(module_database, tmp_path) as made:
        yield made


async def post(pdp: World, path: str, body: object, **headers: str) -> httpx.Response:
    """Send a request as the enforcement point."""
    return await pdp.client.post(path, json=body, headers=pdp.auth("pep") | headers)


def without_none(body: dict[str, Any]) -> dict[str, Any]:
    """Return a body without the members that are missing."""
    return {name: value for name, value in body.items() if value is not None}


@pytest.mark.parametrize("case", BASIC, ids=str)
async def test_basic(pdp: World, case: str) -> None:
    """Every fixture decision, with 200, JSON, a boolean `decision` and, if any, an object `context` (c-2-3)."""
    body, expected = BASIC[case]
    answer = await post(pdp, EVALUATION, body)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["decision"] is expected
    assert isinstance(answer.json()["context"], dict)


@pytest.mark.parametrize("case", INVALID, ids=str)
@pytest.mark.parametrize("path", [EVALUATION, EVALUATIONS])
async def test_invalid_requests_get_400_and_change_nothing(pdp: World, path: str, case: str) -> None:
    """A missing or malformed required field is an error of the request, not a decision."""
    before = await pdp.position()
    answer = await post(pdp, path, without_none(INVALID[case]))
    assert answer.status_code == 400
    assert "decision" not in answer.json()
    assert await pdp.position() == before


@pytest.mark.parametrize("path", [EVALUATION, EVALUATIONS])
@pytest.mark.parametrize("media", ["text/plain", "application/xml", "application/x-www-form-urlencoded", ""])
async def test_c_2_4_3_another_content_type_gets_400(pdp: World, path: str, media: str) -> None:
    """Not 415: the scenario wants 400."""
    answer = await pdp.client.post(
        path, content=json.dumps(PERMIT).encode(), headers=pdp.auth("pep") | {"Content-Type": media}
    )
    assert answer.status_code == 400


async def test_c_5_a_charset_beside_the_content_type_is_fine(pdp: World) -> None:
    """`application/json` with parameters is `application/json`."""
    answer = await pdp.client.post(
        EVALUATION,
        content=json.dumps(PERMIT).encode(),
        headers=pdp.auth("pep") | {"Content-Type": "Application/JSON; charset=utf-8"},
    )
    assert answer.json()["decision"] is True


@pytest.mark.parametrize("path", [EVALUATION, EVALUATIONS])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"subject": }',
        b"[]",
        b"null",
        b'"text"',
        b'{"subject":{"type":"user","id":"alice","id":"bob"},"action":{"name":"read"},'
        b'"resource":{"type":"record","id":"record-1"}}',
        b'{"subject":{"type":"user","id":"\\ud800"},"action":{"name":"read"},"resource":{"type":"record","id":"1"}}',
        b'{"subject":{"type":"user","id":"alice"},"action":{"name":"read","properties":{"n":1e999}},'
        b'"resource":{"type":"record","id":"1"}}',
        b'{"a":' * 200 + b"1" + b"}" * 200,
        b"\xff\xfe{}",
    ],
    ids=lambda body: f"c-2-4-4/5 {body[:24]!r}",
)
async def test_malformed_bodies_get_400(pdp: World, path: str, body: bytes) -> None:
    """Not JSON, empty, duplicate keys, lone surrogates, numbers that no double holds, absurd depth, not UTF-8."""
    headers = pdp.auth("pep") | {"Content-Type": "application/json"}
    answer = await pdp.client.post(path, content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:quarterdeck:problem:invalid_input"


REQUEST_ID_CASES: dict[str, tuple[str, object, int]] = {
    "evaluation": (EVALUATION, PERMIT, 200),
    "evaluations": (EVALUATIONS, {"evaluations": [PERMIT]}, 200),
    "an error": (EVALUATION, {}, 400),
}


@pytest.mark.parametrize("case", REQUEST_ID_CASES, ids=str)
async def test_c_2_5_1_the_request_id_is_echoed(pdp: World, case: str) -> None:
    """The same value comes back, whatever the answer is."""
    path, body, status = REQUEST_ID_CASES[case]
    answer = await post(pdp, path, body, **{"X-Request-ID": "bfe9eb29 any: string/7"})
    assert answer.status_code == status
    assert answer.headers["x-request-id"] == "bfe9eb29 any: string/7"


async def test_the_request_id_is_echoed_to_the_unauthenticated(pdp: World) -> None:
    """401 carries the identifier and the challenge (Authorization API 1.0, 'Sender Authentication Failure')."""
    answer = await pdp.client.post(EVALUATION, json=PERMIT, headers={"X-Request-ID": "r-1"})
    assert answer.status_code == 401
    assert answer.headers["x-request-id"] == "r-1"
    assert answer.headers["www-authenticate"].startswith("Bearer realm=")


async def test_c_2_5_2_no_request_id_is_needed(pdp: World) -> None:
    """Without one nothing fails; the answer has one of ours, by which operators find it in their logs."""
    answers = [await post(pdp, EVALUATION, PERMIT) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 2


async def test_c_2_6_the_same_request_gets_the_same_decision(pdp: World) -> None:
    """Each time it is decided anew, and recorded; the decision is the same."""
    answers = [(await post(pdp, EVALUATION, PERMIT)).json() for _ in range(5)]
    assert [answer["decision"] for answer in answers] == [True] * 5
    assert len({answer["context"]["evaluation_id"] for answer in answers}) == 5


@pytest.mark.parametrize("case", BATCHES, ids=str)
async def test_batch(pdp: World, case: str) -> None:
    """As many answers as questions, in their order, each with a boolean (c-3-3); no top-level decision (c-3-3-4)."""
    body, expected = BATCHES[case]
    answer = await post(pdp, EVALUATIONS, body)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["evaluations"]
    found = [item["decision"] for item in answer.json()["evaluations"]]
    assert all(isinstance(decision, bool) for decision in found)
    assert [want if want is None else got for want, got in zip(expected, found, strict=True)] == expected


async def test_c_3_4_1_a_failed_item_says_what_is_missing(pdp: World) -> None:
    """The failed item carries its error; its neighbour is decided."""
    body, _ = BATCHES["c-3-4-1 a failed item is denied"]
    failed = (await post(pdp, EVALUATIONS, body)).json()["evaluations"][1]
    assert failed["context"]["error"] == {"status": 400, "message": "evaluations[1].resource is missing"}


@pytest.mark.parametrize("body", [PERMIT, PERMIT | {"evaluations": []}], ids=["c-3-4-2 missing", "c-3-4-3 empty"])
async def test_evaluations_without_items_answers_as_evaluation(pdp: World, body: dict[str, Any]) -> None:
    """Backwards compatible: one decision, no array."""
    answer = await post(pdp, EVALUATIONS, body)
    assert answer.status_code == 200
    assert answer.json()["decision"] is True
    assert "evaluations" not in answer.json()


SEMANTICS: dict[str, tuple[list[dict[str, str]], list[bool]]] = {
    "execute_all": ([READ, WRITE, READ], [True, False, True]),
    "deny_on_first_deny": ([READ, WRITE, READ], [True, False]),
    "permit_on_first_permit": ([WRITE, READ, WRITE], [False, True]),
}


@pytest.mark.parametrize("semantic", SEMANTICS)
async def test_evaluations_semantics(pdp: World, semantic: str) -> None:
    """The two short circuits answer up to and including the item that ends them, and record no more."""
    actions, expected = SEMANTICS[semantic]
    before = await pdp.position()
    body = {
        "subject": BOB,
        "resource": RECORD_1,
        "evaluations": [{"action": action} for action in actions],
        "options": {"evaluations_semantic": semantic, "another_option": "value"},
    }
    answer = (await post(pdp, EVALUATIONS, body)).json()
    assert [item["decision"] for item in answer["evaluations"]] == expected
    assert await pdp.position() == before + len(expected)


async def test_an_unknown_semantic_is_refused(pdp: World) -> None:
    """Exactly one of three values."""
    body = {"evaluations": [PERMIT], "options": {"evaluations_semantic": "majority"}}
    assert (await post(pdp, EVALUATIONS, body)).status_code == 400
