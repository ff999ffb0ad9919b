"""ARAP, completion: what an approval says, and re-evaluation with it.

Serves C03, C04, DC-07; RELIABILITY T1, T2, T17. Source: ARAP draft at e287920, 'Completion Semantics', 'PDP Processing
Rules', 'Approval Reference Substitution'.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from access_world import EVALUATIONS, OURS, POLICIES, URN, World, assert_problem, submission, world

from quarterdeck_api.authzen import tokens
from quarterdeck_domain.access.values import SYSTEM
from quarterdeck_domain.approvals.slices import RevokeGrant


@pytest.fixture
async def pdp(module_database: str, tmp_path: Path) -> AsyncIterator[World]:
    """A decision point whose policy asks a human about refunds."""
    async with world(module_database, tmp_path) as made:
        yield made


def presenting(intent: dict[str, Any], approval: object, **context: Any) -> dict[str, Any]:
    """Return an evaluation that presents an approval."""
    return intent | {"context": {**intent.get("context", {}), **context, "approval": approval}}


async def reevaluate(pdp: World, intent: dict[str, Any], approval: object, by: str = "bot") -> dict[str, Any]:
    """Evaluate with an approval presented; return the decision."""
    answer = await pdp.evaluate(presenting(intent, approval), by)
    assert answer.status_code == 200, answer.text
    decision: dict[str, Any] = answer.json()
    return decision


# --- The approval


async def test_the_approval_is_closed_and_timed(pdp: World) -> None:
    """Completion Semantics: `id`, `approved_at`, `approved_until` REQUIRED, `state`; nothing else."""
    _, approval = await pdp.approved()
    (granted,) = await pdp.log("approval.granted")
    assert approval.keys() == {"id", "approved_at", "approved_until", "state"}
    until = datetime.fromisoformat(approval["approved_until"])
    assert until == granted.approved_until.replace(microsecond=0)


async def test_the_state_is_a_jws_that_names_signer_and_recipient(pdp: World) -> None:
    """Completion Semantics: `iss`, `aud` (the verifying PDP), `kid`; and what it is bound to."""
    _, approval = await pdp.approved()
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in approval["state"].split(".")[:2])
    keys = (await pdp.client.get("/.well-known/jwks.json")).json()["keys"]
    assert header["kid"] in {key["kid"] for key in keys}
    assert claims["iss"] == claims["aud"] == "https://pdp.example.test"
    assert claims["approval_id"] == approval["id"]
    assert datetime.fromtimestamp(claims["exp"], UTC) == datetime.fromisoformat(approval["approved_until"])
    (requested,) = await pdp.log("approval.requested")
    assert claims["evaluation_id"] == requested.decision_id
    assert claims["binding_hash"] == requested.binding_hash
    assert claims["binding_context_members"] == ["region"]


async def test_the_same_approval_reads_the_same_every_time(pdp: World) -> None:
    """Made from the log: nothing is stored, and nothing changes."""
    _, approval = await pdp.approved()
    again = (await pdp.status(approval["id"])).json()["result"]["approval"]
    assert again == approval


# --- It applies


@pytest.mark.parametrize("given", ["whole", "without state", "id alone"])
async def test_an_approval_permits_what_was_approved(pdp: World, given: str) -> None:
    """Re-evaluation: permit, with `context.approval` and its bound; by lookup, or by state, or both."""
    intent, approval = await pdp.approved()
    wanted = {"whole": 4, "without state": 3, "id alone": 1}[given]
    decision = await reevaluate(pdp, intent, dict(list(approval.items())[:wanted]))
    assert decision["decision"] is True
    assert decision["context"]["approval"] == {"id": approval["id"], "approved_until": approval["approved_until"]}
    assert "next_action" not in decision["context"]
    assert "access_request" not in decision["context"]


async def test_re_evaluation_never_consumes(pdp: World) -> None:
    """Completion Semantics: the approval may be used for every evaluation in scope, until its grant is redeemed."""
    intent, approval = await pdp.approved()
    for _ in range(3):
        assert (await reevaluate(pdp, intent, approval))["decision"] is True
    decisions = [item for item in await pdp.log("policy.decision_recorded") if item.approval_id == approval["id"]]
    assert [item.outcome for item in decisions] == ["permit"] * 3


async def test_obligations_come_with_the_permit(pdp: World) -> None:
    """What policy obliges to is said with the answer that settles the matter."""
    action = {"name": "refund", "properties": {"watermark": True}}
    intent, approval = await pdp.approved(action=action)
    decision = await reevaluate(pdp, intent, approval)
    assert [item["type"] for item in decision["context"]["obligations"]] == ["custom"]


async def test_volatile_context_may_differ(pdp: World) -> None:
    """Authorization-Relevant Context: the time is not bound."""
    intent, approval = await pdp.approved(context={"region": "eu", "time": "2026-01-01T00:00:00Z"})
    intent["context"] = {"region": "eu", "time": "2026-01-02T00:00:00Z", "note": "another"}
    assert (await reevaluate(pdp, intent, approval))["decision"] is True


async def test_items_of_a_batch_present_their_own_approvals(pdp: World) -> None:
    """Completion Semantics: each approved item is re-evaluated with its own approval."""
    first, approved = await pdp.approved()
    second = pdp.intent(resource={"type": "order", "id": "2"})
    body = {"evaluations": [presenting(first, approved), presenting(second, approved), second]}
    answer = await pdp.client.post(EVALUATIONS, json=body, headers=pdp.auth("bot"))
    decisions = answer.json()["evaluations"]
    assert [item["decision"] for item in decisions] == [True, False, False]
    assert decisions[1]["context"]["reason"] == "out_of_scope"
    assert decisions[2]["context"]["reason"] == "approval_required"


async def test_an_enforcement_point_may_present_its_subjects_approval(pdp: World) -> None:
    """The caller is trusted to say who wants what, and the subject is who asked."""
    intent, approval = await pdp.approved()
    assert (await reevaluate(pdp, intent, approval, "pep"))["decision"] is True


# --- It does not: out of scope

OUT_OF_SCOPE: dict[str, dict[str, Any]] = {
    "another amount": {"action": {"name": "refund", "properties": {"amount": "9999.00", "currency": "EUR"}}},
    "no arguments": {"action": {"name": "refund"}},
    "another resource": {"resource": {"type": "order", "id": "4712"}},
    "properties of the resource": {"resource": {"type": "order", "id": "4711", "properties": {"x": 1}}},
    "another subject type": {"subject": {"type": "user", "id": "<bot>"}},
    "properties of the subject": {"subject": {"type": "agent", "id": "<bot>", "properties": {"x": 1}}},
    "another actor": {"subject": {"type": "agent", "id": "<bot>", "properties": {"act": {"sub": "<bot>"}}}},
}


@pytest.mark.parametrize("case", OUT_OF_SCOPE, ids=str)
async def test_anything_else_is_out_of_scope(pdp: World, case: str) -> None:
    """Exact-match baseline: `out_of_scope`, `request`, and a fresh `access_request` to ask with."""
    _, approval = await pdp.approved(context={"region": "eu"})
    changes = json.loads(json.dumps({"context": {"region": "eu"}} | OUT_OF_SCOPE[case]).replace("<bot>", pdp.id("bot")))
    decision = await reevaluate(pdp, pdp.intent(**changes), approval)
    context = decision["context"]
    assert decision["decision"] is False
    assert (context["reason"], context["next_action"]) == ("out_of_scope", "request")
    fresh = await pdp.submit(submission(pdp.intent(**changes), context))
    assert fresh.status_code == 202


async def test_other_bound_context_is_out_of_scope_too(pdp: World) -> None:
    """The context is bound: `request` means a request of its own, though the first approval is open."""
    _, approval = await pdp.approved(context={"region": "eu"})
    context = (await reevaluate(pdp, pdp.intent(), approval))["context"]
    assert (context["reason"], context["next_action"]) == ("out_of_scope", "request")
    answer = await pdp.submit(submission(pdp.intent(), context))
    assert answer.status_code == 202, answer.text
    assert answer.json()["task"]["id"] != approval["id"]


# --- It does not: expired, revoked, used, taken back


async def test_after_approved_until_it_is_expired(pdp: World) -> None:
    """`approval_expired`, `request`."""
    intent, approval = await pdp.approved()
    pdp.let_time_pass(minutes=15, seconds=1)
    for given in (approval, {"id": approval["id"]}, approval | {"approved_until": "2099-01-01T00:00:00Z"}):
        context = (await reevaluate(pdp, intent, given))["context"]
        assert (context["reason"], context["next_action"]) == ("approval_expired", "request")
        assert "access_request" in context


async def test_a_revoked_approval_is_expired(pdp: World) -> None:
    """MUST check current status: revoked before `approved_until`."""
    intent, approval = await pdp.approved()
    grant = await pdp.grant(approval["id"])
    await pdp.api.run(pdp.tenant, RevokeGrant(grant_id=grant["id"], reason="a mistake", actor=SYSTEM))
    context = (await reevaluate(pdp, intent, approval))["context"]
    assert (context["reason"], context["next_action"]) == ("approval_expired", "request")


async def test_a_used_approval_is_over(pdp: World) -> None:
    """It was for one effect; redeemed, it permits no other, and asking again is possible."""
    intent, approval = await pdp.approved()
    grant = (await pdp.grant(approval["id"]))["grant"]
    assert (await pdp.redeem(grant, intent)).status_code == 200
    context = (await reevaluate(pdp, intent, approval))["context"]
    assert (context["reason"], context["next_action"]) == ("approval_expired", "request")
    assert (await pdp.submit(submission(intent, context))).status_code == 202


async def test_a_cancelled_request_approves_nothing(pdp: World) -> None:
    """`approval_expired`: cancelled."""
    task = await pdp.request()
    await pdp.client.post(f"/access/v1/requests/{task['id']}/cancel", headers=pdp.auth("bot"))
    context = (await reevaluate(pdp, pdp.intent(), {"id": task["id"]}))["context"]
    assert (context["reason"], context["next_action"]) == ("approval_expired", "request")


async def test_a_pending_request_is_not_there_yet(pdp: World) -> None:
    """`grant_pending`, `retry`, `retry_after`: not approved, and not to be asked for again."""
    task = await pdp.request()
    context = (await reevaluate(pdp, pdp.intent(), {"id": task["id"]}))["context"]
    assert (context["reason"], context["next_action"]) == ("grant_pending", "retry")
    assert isinstance(context["retry_after"], int)
    assert "access_request" not in context


async def test_a_denied_request_approves_nothing(pdp: World) -> None:
    """There is no approval of that id: `approval_unverifiable`, `none`; the people are not asked over and over."""
    task = await pdp.request()
    await pdp.vote(task["id"], "deny")
    context = (await reevaluate(pdp, pdp.intent(), {"id": task["id"]}))["context"]
    assert (context["reason"], context["next_action"]) == ("approval_unverifiable", "none")
    assert "access_request" not in context


# --- It does not: policy


async def test_policy_that_forbids_meanwhile_wins(pdp: World) -> None:
    """PDP Processing Rules: approval MUST NOT override policy: `policy_denied`, `none`."""
    intent, approval = await pdp.approved()
    await pdp.enforce(POLICIES + '@id("stop") forbid (principal, action == Action::"refund", resource);')
    context = (await reevaluate(pdp, intent, approval))["context"]
    assert (context["reason"], context["next_action"]) == ("policy_denied", "none")
    assert "access_request" not in context


async def test_policy_that_permits_meanwhile_needs_no_approval(pdp: World) -> None:
    """A reference that does not apply is ignored: the evaluation is what it is without it."""
    intent, _ = await pdp.approved()
    await pdp.enforce('@id("free") permit (principal, action == Action::"refund", resource);')
    decision = await reevaluate(pdp, intent, {"id": "apr_00000000000000000000000000"})
    assert decision["decision"] is True
    assert "approval" not in decision["context"]


# --- It does not: unverifiable


@pytest.mark.parametrize(
    "approval",
    [
        None,
        "apr_x",
        7,
        [],
        {},
        {"id": None},
        {"id": 7},
        {"id": ""},
        {"id": "apr_00000000000000000000000000"},
        {"id": "\u0000"},
    ],
    ids=repr,
)
async def test_a_reference_to_nothing(pdp: World, approval: object) -> None:
    """`approval_unverifiable`, `none`, whatever it is."""
    context = (await reevaluate(pdp, pdp.intent(), approval))["context"]
    assert (context["reason"], context["next_action"]) == ("approval_unverifiable", "none")
    assert "access_request" not in context


@pytest.mark.parametrize("given", ["whole", "id alone"])
async def test_anothers_approval(pdp: World, given: str) -> None:
    """Approval Reference Substitution: possession is not authorization, and it looks like one that does not exist."""
    _, approval = await pdp.approved("rival")
    stolen = approval if given == "whole" else {"id": approval["id"]}
    intent = pdp.intent("bot")
    context = (await reevaluate(pdp, intent, stolen))["context"]
    assert (context["reason"], context["next_action"]) == ("approval_unverifiable", "none")


async def test_an_enforcement_point_cannot_lend_an_approval(pdp: World) -> None:
    """The subject must be who asked: for another subject it is unverifiable."""
    _, approval = await pdp.approved("rival")
    context = (await reevaluate(pdp, pdp.intent("bot"), approval, "pep"))["context"]
    assert (context["reason"], context["next_action"]) == ("approval_unverifiable", "none")


async def test_an_approval_for_another_chain(pdp: World) -> None:
    """Asked for oneself, it does not serve when acting for somebody."""
    intent, approval = await pdp.approved()
    await pdp.delegate("bot-for-alice", "bot", "alice")
    context = (await reevaluate(pdp, intent, approval, "bot-for-alice"))["context"]
    assert context["reason"] == "approval_unverifiable"


STATES: dict[str, Any] = {
    "no text": lambda _: 7,
    "null": lambda _: None,
    "nonsense": lambda _: "nonsense",
    "no signature": lambda claims: "e30.e30.",
    "another issuer": lambda claims: claims | {"iss": "https://elsewhere.example"},
    "another audience": lambda claims: claims | {"aud": "https://elsewhere.example"},
    "no audience": lambda claims: {name: claims[name] for name in claims if name != "aud"},
    "another approval": lambda claims: claims | {"approval_id": "apr_00000000000000000000000000"},
    "another tenant": lambda claims: claims | {"tenant": "globex"},
    "no expiry": lambda claims: {name: claims[name] for name in claims if name != "exp"},
}


@pytest.mark.parametrize("case", STATES, ids=str)
async def test_a_state_that_does_not_verify(pdp: World, case: str) -> None:
    """Completion Semantics: a state that is presented is verified, signature, `iss`, `aud`, identifier, expiry."""
    intent, approval = await pdp.approved()
    claims = json.loads(base64.urlsafe_b64decode(approval["state"].split(".")[1] + "=="))
    made = STATES[case](claims)
    if isinstance(made, dict):
        made = tokens.sign(pdp.services.signing, pdp.tenant, tokens.APPROVAL, made)
    context = (await reevaluate(pdp, intent, approval | {"state": made}))["context"]
    assert (context["reason"], context["next_action"]) == ("approval_unverifiable", "none")


async def test_a_binding_token_is_no_state(pdp: World) -> None:
    """The same key, another type: never one for the other."""
    intent, context = await pdp.denied()
    await pdp.submit(submission(intent, context))
    (requested,) = await pdp.log("approval.requested")
    await pdp.vote(requested.approval_id)
    swapped = {"id": requested.approval_id, "state": context["access_request"]["binding_token"]}
    assert (await reevaluate(pdp, intent, swapped))["context"]["reason"] == "approval_unverifiable"


async def test_the_identifiers_must_match(pdp: World) -> None:
    """Completion Semantics: MUST reject where `approval.id` and the one inside `approval.state` differ."""
    first_intent, first = await pdp.approved()
    _, second = await pdp.approved(resource={"type": "order", "id": "2"})
    crossed = first | {"state": second["state"]}
    assert (await reevaluate(pdp, first_intent, crossed))["context"]["reason"] == "approval_unverifiable"


async def test_what_the_caller_says_of_an_approval_is_not_believed(pdp: World) -> None:
    """The times are the log's."""
    intent, approval = await pdp.approved()
    lied = approval | {"approved_until": "2099-01-01T00:00:00Z", "approved_at": "2001-01-01T00:00:00Z", "scope": "*"}
    decision = await reevaluate(pdp, intent, lied)
    assert decision["decision"] is True
    assert decision["context"]["approval"]["approved_until"] == approval["approved_until"]


async def test_an_approval_that_is_used_up_while_deciding_does_not_permit(
    pdp: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between finding that the approval applies and recording the permit, its grant is redeemed: no permit."""
    intent, approval = await pdp.approved()
    grant = (await pdp.grant(approval["id"]))["grant"]
    decisions = pdp.services.decisions
    decide_many = decisions.decide_many
    redeemed: list[int] = []

    async def overtaken(*args: Any, **options: Any) -> Any:
        if not redeemed:
            redeemed.append(0)  # the redemption decides, too
            redeemed.append((await pdp.redeem(grant, intent)).json()["position"])
        return await decide_many(*args, **options)

    monkeypatch.setattr(decisions, "decide_many", overtaken)
    decision = await reevaluate(pdp, intent, approval)
    assert (decision["decision"], decision["context"]["reason"]) == (False, "approval_expired")
    after = await pdp.services.ledger.read(pdp.tenant, after=redeemed[1])
    assert [event.payload.outcome for event in after] == ["approval_required"]


async def test_an_approval_for_one_actor_does_not_serve_another(pdp: World) -> None:
    """`act` is excluded from the comparison, and yet another actor is another case; left out, redemption refuses."""
    await pdp.delegate("bot-for-alice", "bot", "alice")

    def subject(**properties: Any) -> dict[str, Any]:
        return {"type": "user", "id": pdp.id("alice"), "properties": properties}

    intent, approval = await pdp.approved("bot-for-alice", subject=subject(act={"sub": pdp.id("bot")}))
    other = intent | {"subject": subject(act={"sub": pdp.id("alice")})}
    context = (await reevaluate(pdp, other, approval, "bot-for-alice"))["context"]
    assert (context["reason"], context["next_action"]) == ("out_of_scope", "request")
    dropped = intent | {"subject": subject()}
    assert (await reevaluate(pdp, dropped, approval, "bot-for-alice"))["decision"] is True
    grant = (await pdp.grant(approval["id"], "bot-for-alice"))["grant"]
    assert_problem(await pdp.redeem(grant, dropped, "bot-for-alice"), 409, f"{OURS}digest_mismatch")
    assert (await pdp.redeem(grant, intent, "bot-for-alice")).status_code == 200


# --- What must stay true of the people who approve


@pytest.mark.parametrize("by", ["bot", "pep", "ann", "alice"])
async def test_nobody_without_a_voting_role_approves(pdp: World, by: str) -> None:
    """Approver Eligibility: an agent can never approve, nor an auditor, nor anybody without the role."""
    task = await pdp.request()
    (requested,) = await pdp.log("approval.requested")
    answer = await pdp.client.post(
        f"/v1/approvals/{task['id']}/approve",
        json={"action_digest": requested.action_digest},
        headers=pdp.auth(by),
    )
    assert_problem(answer, 403, f"{OURS}not_allowed")


async def test_nobody_approves_for_their_own_agent(pdp: World) -> None:
    """Self-approval: the agent's owner is refused."""
    await pdp.api.command("grant_role", {"principal_id": pdp.id("admin"), "role": "approver"}, by=(pdp.tenant, "admin"))
    task = await pdp.request()
    assert_problem(await pdp.vote(task["id"], by="admin"), 403, f"{OURS}not_allowed")


async def test_problem_types_are_those_of_the_profile() -> None:
    """Error Responses: every type with its status."""
    from quarterdeck_api.arap import errors
    from quarterdeck_api.problems import status_of

    found = {
        kind.code: status_of(kind("x"))
        for kind in vars(errors).values()
        if isinstance(kind, type) and str(getattr(kind, "code", "")).startswith(URN)
    }
    assert found == {
        f"{URN}not_requestable": 400,
        f"{URN}expired_denial": 410,
        f"{URN}invalid_denial_binding": 400,
        f"{URN}duplicate_request": 409,
        f"{URN}unknown_task": 404,
        f"{URN}task_expired": 410,
        f"{URN}invalid_task_state": 409,
    }
