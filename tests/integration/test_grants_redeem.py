"""Grants: signed, bound, expiring, redeemed once; and the effects they start. Serves C03, C04, DC-02, DC-07;
RELIABILITY T1, T2, T16, T20; DESIGN 'What must always hold' 2."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from access_world import EVALUATION, OURS, POLICIES, World, assert_problem, submission, world
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jws
from joserfc.jwk import OKPKey

from quarterdeck_api.authzen import tokens
from quarterdeck_domain.intent import action_digest
from quarterdeck_policy import jcs


class Registry(jws.JWSRegistry):
    """joserfc's registry without its warning about the name EdDSA."""

    def get_alg(self, name: str) -> Any:
        """Return the algorithm; only EdDSA."""
        assert name == "EdDSA"
        return self.algorithms[name]


@pytest.fixture
async def w(module_database: str, tmp_path: Path) -> AsyncIterator[World]:
    """A tenant whose policy asks a human about refunds."""
    async with world(module_database, tmp_path) as made:
        yield made


async def granted(w: World, by: str = "bot", **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return an approved intent and its grant."""
    intent, approval = await w.approved(by, **changes)
    return intent, await w.grant(approval["id"], by)


def claims_of(token: str) -> dict[str, Any]:
    """Return what a token says, unverified."""
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return found


def resigned(w: World, token: str, **changes: Any) -> str:
    """Return a token with other claims, signed by us all the same."""
    claims = {name: value for name, value in (claims_of(token) | changes).items() if value is not None}
    return tokens.sign(w.services.signing, w.tenant, tokens.GRANT, claims)


# --- The grant


async def test_the_grant_verifies_with_the_published_keys_alone(w: World) -> None:
    """Another library, the JWK Set, nothing of ours: signature, kid, and every claim."""
    intent, grant = await granted(w)
    keys = (await w.client.get("/.well-known/jwks.json")).json()["keys"]
    header = json.loads(base64.urlsafe_b64decode(grant["grant"].split(".")[0] + "=="))
    (jwk,) = [key for key in keys if key["kid"] == header["kid"]]
    registry = Registry(algorithms=["EdDSA"], strict_check_header=False)
    claims = json.loads(jws.deserialize_compact(grant["grant"], OKPKey.import_key(jwk), registry=registry).payload)
    (minted,) = await w.log("grant.minted")
    (requested,) = await w.log("approval.requested")
    decision = next(item for item in await w.log("policy.decision_recorded") if item.outcome == "approval_required")
    text = jcs.encode({name: intent[name] for name in ("subject", "action", "resource")})
    assert header == {"alg": "EdDSA", "kid": jwk["kid"], "typ": "grant+jwt"}
    assert {name: claims[name] for name in ("iss", "aud", "sub", "jti", "tenant", "approval_id")} == {
        "iss": "https://pdp.example.test",
        "aud": "https://pdp.example.test/v1/grants/redeem",
        "sub": w.id("bot"),
        "jti": minted.grant_id,
        "tenant": w.tenant,
        "approval_id": requested.approval_id,
    }
    assert claims["action_digest"] == action_digest(w.tenant, w.actor("bot"), text)
    assert claims["policy_bundle_digest"] == decision.bundle_digest
    assert claims["iat"] == claims["nbf"]
    assert claims["exp"] == int(minted.expires_at.timestamp())


async def test_the_grant_is_made_from_the_log_and_reads_the_same(w: World) -> None:
    """By its own id, by the approval's, again and again; nothing of it is stored."""
    _, grant = await granted(w)
    by_id = await w.client.get(f"/v1/grants/{grant['id']}", headers=w.auth("bot"))
    assert by_id.json() == grant
    assert await w.grant(grant["approval_id"]) == grant
    for entry in await w.services.ledger.read_sealed(w.tenant):
        assert grant["grant"].split(".")[2] not in str(entry.data)


@pytest.mark.parametrize("by", ["carol", "olga", "ann", "admin"])
async def test_people_see_the_grant_but_not_its_token(w: World, by: str) -> None:
    """What it is for and what became of it; the token is its redeemer's."""
    _, grant = await granted(w)
    seen = (await w.client.get(f"/v1/grants/{grant['id']}", headers=w.auth(by))).json()
    assert seen == {name: value for name, value in grant.items() if name != "grant"}


@pytest.mark.parametrize("by", ["rival", "pep", "alice"])
async def test_others_do_not_see_the_grant(w: World, by: str) -> None:
    """As if there were none."""
    _, grant = await granted(w)
    for path in (f"/v1/grants/{grant['id']}", f"/v1/approvals/{grant['approval_id']}/grant"):
        theirs = await w.client.get(path, headers=w.auth(by))
        assert_problem(theirs, 404, f"{OURS}not_found")
    unknown = await w.client.get("/v1/grants/grt_00000000000000000000000000", headers=w.auth(by))
    assert unknown.json() == theirs.json()


async def test_there_is_no_grant_before_the_approval(w: World) -> None:
    """A pending request has none."""
    task = await w.request()
    answer = await w.client.get(f"/v1/approvals/{task['id']}/grant", headers=w.auth("bot"))
    assert_problem(answer, 404, f"{OURS}not_found")


@pytest.mark.parametrize(
    "path", ["/v1/grants/x", "/v1/grants/grt_%00", "/v1/effects/x", "/v1/effects/eff_%1f", "/v1/approvals/x/grant"]
)
async def test_ids_that_are_none(w: World, path: str) -> None:
    """404, whatever it is."""
    assert_problem(await w.client.get(path, headers=w.auth("bot")), 404, f"{OURS}not_found")


# --- Redeeming


async def test_redeeming_starts_the_effect(w: World) -> None:
    """The answer names the effect, the decision and the place; the log has both, decision first."""
    intent, grant = await granted(w)
    answer = await w.redeem(grant["grant"], intent, effect_class="idempotent")
    body = answer.json()
    assert answer.status_code == 200
    assert body["grant_id"] == grant["id"]
    assert body["approval_id"] == grant["approval_id"]
    assert body["effect_class"] == "idempotent"
    assert body["action_digest"] == grant["action_digest"]
    assert body["position"] == await w.position() == int(answer.headers["x-quarterdeck-position"])
    assert body["repeated"] is False
    *_, decided, redeemed = await w.log()
    assert (decided.type, decided.outcome, decided.decision_id) == (
        "policy.decision_recorded",
        "permit",
        body["evaluation_id"],
    )
    assert (redeemed.type, redeemed.effect_id, redeemed.redeemer) == ("grant.redeemed", body["effect_id"], w.id("bot"))
    shown = await w.grant(grant["approval_id"])
    assert (shown["status"], shown["effect"]["outcome"]) == ("redeemed", "started")
    assert "grant" not in shown


async def test_obligations_come_with_the_redemption(w: World) -> None:
    """Whoever does it now must meet them."""
    intent, grant = await granted(w, action={"name": "refund", "properties": {"watermark": True}})
    body = (await w.redeem(grant["grant"], intent)).json()
    assert [item["type"] for item in body["obligations"]] == ["custom"]


async def test_a_grant_is_redeemed_once(w: World) -> None:
    """The second is told when, and which effect it was."""
    intent, grant = await granted(w)
    first = (await w.redeem(grant["grant"], intent)).json()
    before = await w.position()
    problem = assert_problem(await w.redeem(grant["grant"], intent), 409, f"{OURS}wrong_state")
    assert problem["details"]["state"] == "redeemed"
    assert problem["details"]["effect_id"] == first["effect_id"]
    assert problem["details"]["redeemed_at"][:19] == first["redeemed_at"][:19]
    assert await w.position() == before


async def test_the_same_key_gets_the_same_effect(w: World) -> None:
    """A lost answer is repeated, even after the grant's time; another body or caller is not."""
    intent, grant = await granted(w)
    first = await w.redeem(grant["grant"], intent, key="r-1")
    w.let_time_pass(hours=2)
    again = await w.redeem(grant["grant"], intent, key="r-1")
    assert again.json() == first.json() | {"repeated": True}
    other = await w.redeem(grant["grant"], intent, key="r-1", effect_class="idempotent")
    assert_problem(other, 422, f"{OURS}idempotency_key_reused")
    stranger = await w.redeem(grant["grant"], intent, "rival", key="r-1")
    assert_problem(stranger, 404, f"{OURS}not_found")


ALTERED: dict[str, dict[str, Any]] = {
    "another amount": {"action": {"name": "refund", "properties": {"amount": "9999.00", "currency": "EUR"}}},
    "one more argument": {
        "action": {"name": "refund", "properties": {"amount": "120.00", "currency": "EUR", "to": "me"}}
    },
    "white space": {"action": {"name": "refund", "properties": {"amount": "120.00 ", "currency": "EUR"}}},
    "an invisible character": {
        "action": {"name": "refund", "properties": {"amount": "120.00\u200b", "currency": "EUR"}}
    },
    "a number for a text": {"action": {"name": "refund", "properties": {"amount": 120, "currency": "EUR"}}},
    "another action": {"action": {"name": "export"}},
    "another resource": {"resource": {"type": "order", "id": "4712"}},
    "properties of the resource": {"resource": {"type": "order", "id": "4711", "properties": {}}},
    "another subject type": {"subject": {"type": "user", "id": "<bot>"}},
}


@pytest.mark.parametrize("case", ALTERED, ids=str)
async def test_another_action_is_not_what_was_approved(w: World, case: str) -> None:
    """Change one thing and it is another action: refused, and the grant is still good for the right one."""
    intent, grant = await granted(w)
    altered = json.loads(json.dumps(ALTERED[case]).replace("<bot>", w.id("bot")))
    before = await w.position()
    problem = assert_problem(await w.redeem(grant["grant"], intent | altered), 409, f"{OURS}digest_mismatch")
    assert problem["details"]["granted"] == grant["action_digest"]
    assert await w.position() == before
    assert (await w.redeem(grant["grant"], intent)).status_code == 200


async def test_other_context_than_the_approved_is_refused(w: World) -> None:
    """The context that policy reads is bound too, though it is not part of the action."""
    intent, grant = await granted(w, context={"region": "eu"})
    problem = assert_problem(await w.redeem(grant["grant"], intent | {"context": {}}), 403, f"{OURS}not_allowed")
    assert problem["details"]["reason"] == "out_of_scope"
    assert (await w.redeem(grant["grant"], intent)).status_code == 200


async def test_only_the_redeemer_redeems(w: World) -> None:
    """A stolen token is worth nothing: not to another agent, an enforcement point, an administrator or an approver."""
    intent, grant = await granted(w)
    for by in ("rival", "pep", "admin", "carol"):
        assert_problem(await w.redeem(grant["grant"], intent, by), 404, f"{OURS}not_found")
    assert (await w.grant(grant["approval_id"]))["status"] == "unused"


async def test_another_chain_is_another_action(w: World) -> None:
    """The redeemer acting for somebody else is not who was approved."""
    intent, grant = await granted(w)
    await w.delegate("bot-for-alice", "bot", "alice")
    answer = await w.redeem(grant["grant"], intent, "bot-for-alice")
    assert_problem(answer, 409, f"{OURS}digest_mismatch")


async def test_an_expired_grant(w: World) -> None:
    """410, by the database's clock."""
    intent, grant = await granted(w)
    w.let_time_pass(minutes=15, seconds=1)
    assert_problem(await w.redeem(grant["grant"], intent), 410, f"{OURS}grant_expired")
    assert (await w.grant(grant["approval_id"]))["status"] == "expired"


async def test_an_expired_grant_under_a_token_that_says_otherwise(w: World) -> None:
    """The log decides, not the claim."""
    intent, grant = await granted(w)
    longer = resigned(w, grant["grant"], exp=4102444800)
    w.let_time_pass(minutes=15, seconds=1)
    assert_problem(await w.redeem(longer, intent), 410, f"{OURS}grant_expired")


async def test_a_revoked_grant(w: World) -> None:
    """An operator takes it back; it is told when."""
    intent, grant = await granted(w)
    body = {"grant_id": grant["id"], "reason": "wrong customer"}
    assert (await w.api.command("revoke_grant", body, by=(w.tenant, "olga"))).status_code == 200
    problem = assert_problem(await w.redeem(grant["grant"], intent), 409, f"{OURS}wrong_state")
    assert problem["details"]["state"] == "revoked"
    assert "revoked_at" in problem["details"]


async def test_policy_is_asked_again(w: World) -> None:
    """Forbidden meanwhile: 403, recorded, the grant not used up; permitted again, it works."""
    intent, grant = await granted(w)
    await w.enforce(
        POLICIES
        + '@id("stop") @reason("refunds are stopped") forbid (principal, action == Action::"refund", resource);'
    )
    problem = assert_problem(await w.redeem(grant["grant"], intent), 403, f"{OURS}not_allowed")
    assert problem["details"]["reason"] == "policy_denied"
    assert problem["details"]["says"] == "refunds are stopped"
    *_, denied = await w.log("policy.decision_recorded")
    assert (denied.decision_id, denied.outcome) == (problem["details"]["evaluation_id"], "deny")
    await w.enforce(POLICIES)
    assert (await w.redeem(grant["grant"], intent)).status_code == 200


async def test_policy_is_asked_again_about_everyone_in_the_chain(w: World) -> None:
    """Approved for alice through bot: forbidden to bot meanwhile, it is not redeemed by naming alice."""
    await w.delegate("bot-for-alice", "bot", "alice")
    subject = {"type": "user", "id": w.id("alice")}
    intent, approval = await w.approved("bot-for-alice", subject=subject)
    grant = await w.grant(approval["id"], "bot-for-alice")
    await w.enforce(
        POLICIES + f'@id("stop") @reason("not by bot") forbid (principal == agent::"{w.id("bot")}", action, resource);'
    )
    problem = assert_problem(await w.redeem(grant["grant"], intent, "bot-for-alice"), 403, f"{OURS}not_allowed")
    assert problem["details"]["says"] == "not by bot"
    await w.enforce(POLICIES)
    assert (await w.redeem(grant["grant"], intent, "bot-for-alice")).status_code == 200


async def test_a_deactivated_agent_redeems_nothing(w: World) -> None:
    """Its key opens nothing any more."""
    intent, grant = await granted(w)
    body = {"principal_id": w.id("bot"), "reason": "misbehaved"}
    assert (await w.api.command("deactivate_principal", body, by=(w.tenant, "admin"))).status_code == 200
    assert_problem(await w.redeem(grant["grant"], intent), 401, f"{OURS}unauthenticated")


FORGERIES: dict[str, Any] = {
    "nonsense": lambda w, token: "nonsense",
    "no signature": lambda w, token: token.rpartition(".")[0] + ".",
    "another signer": lambda w, token: _signed_by(Ed25519PrivateKey.generate(), token),
    "another audience": lambda w, token: resigned(w, token, aud="https://elsewhere.example"),
    "another issuer": lambda w, token: resigned(w, token, iss="https://elsewhere.example"),
    "no expiry": lambda w, token: resigned(w, token, exp=None),
    "not valid yet": lambda w, token: resigned(w, token, nbf=4102444800),
    "another use": lambda w, token: tokens.sign(w.services.signing, w.tenant, tokens.APPROVAL, claims_of(token)),
}


def _signed_by(key: Ed25519PrivateKey, token: str) -> str:
    signed = token.rpartition(".")[0]
    return f"{signed}.{base64.urlsafe_b64encode(key.sign(signed.encode())).rstrip(b'=').decode()}"


@pytest.mark.parametrize("case", FORGERIES, ids=str)
async def test_tokens_that_are_no_grant_of_ours(w: World, case: str) -> None:
    """400, before anything is looked at."""
    intent, grant = await granted(w)
    token = FORGERIES[case](w, grant["grant"])
    assert_problem(await w.redeem(token, intent), 400, f"{OURS}invalid_grant")
    assert (await w.grant(grant["approval_id"]))["status"] == "unused"


async def test_a_token_of_ours_for_a_grant_that_is_not(w: World) -> None:
    """Signed by us, but the log knows no such grant: the log decides."""
    intent, grant = await granted(w)
    invented = resigned(w, grant["grant"], jti="grt_00000000000000000000000000")
    assert_problem(await w.redeem(invented, intent), 404, f"{OURS}not_found")
    elsewhere = resigned(w, grant["grant"], approval_id="apr_00000000000000000000000000")
    assert_problem(await w.redeem(elsewhere, intent), 404, f"{OURS}not_found")


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"grant": 7},
        {"grant": ""},
        {"grant": "x"},
        {"grant": "x", "intent": "refund"},
        {"grant": "x", "intent": {}},
        {"grant": "x" * 9_000, "intent": {}},
        {"grant": "x", "intent": {}, "effect_class": "whatever"},
    ],
    ids=repr,
)
async def test_malformed_redemptions(w: World, body: object) -> None:
    """400, nothing recorded."""
    before = await w.position()
    answer = await w.client.post("/v1/grants/redeem", json=body, headers=w.auth("bot"))
    assert_problem(answer, 400, f"{OURS}invalid_input")
    assert await w.position() == before


# --- Effects


async def report(w: World, effect_id: str, body: object, by: str = "bot", key: str | None = None) -> httpx.Response:
    """Say how an effect ended."""
    headers = w.auth(by) | ({} if key is None else {"Idempotency-Key": key})
    return await w.client.post(f"/v1/effects/{effect_id}/report", json=body, headers=headers)


@pytest.mark.parametrize("outcome", ["committed", "failed", "unknown"])
async def test_an_effect_is_reported_once(w: World, outcome: str) -> None:
    """By whoever redeemed; a repetition with its key is the same report, another report is refused."""
    intent, grant = await granted(w)
    effect_id = (await w.redeem(grant["grant"], intent)).json()["effect_id"]
    started = (await w.client.get(f"/v1/effects/{effect_id}", headers=w.auth("bot"))).json()
    assert (started["outcome"], started["grant_id"]) == ("started", grant["id"])
    first = await report(w, effect_id, {"outcome": outcome, "detail": "done\nby hand"}, key="e-1")
    assert first.status_code == 200
    again = await report(w, effect_id, {"outcome": outcome, "detail": "done\nby hand"}, key="e-1")
    assert again.json()["repeated"] is True
    assert_problem(await report(w, effect_id, {"outcome": "failed"}), 409, f"{OURS}wrong_state")
    shown = (await w.client.get(f"/v1/effects/{effect_id}", headers=w.auth("ann"))).json()
    assert shown["outcome"] == outcome
    assert (await w.grant(grant["approval_id"]))["effect"] == {
        "id": effect_id,
        "class": "at_most_once",
        "outcome": outcome,
    }


async def test_only_the_redeemer_reports(w: World) -> None:
    """Others may not, and strangers do not even see it."""
    intent, grant = await granted(w)
    effect_id = (await w.redeem(grant["grant"], intent)).json()["effect_id"]
    for by in ("rival", "carol", "admin"):
        assert_problem(await report(w, effect_id, {"outcome": "committed"}, by), 403, f"{OURS}not_allowed")
    answer = await w.client.get(f"/v1/effects/{effect_id}", headers=w.auth("rival"))
    assert_problem(answer, 404, f"{OURS}not_found")


@pytest.mark.parametrize(
    "body",
    [{}, {"outcome": "fine"}, {"outcome": "failed", "x": 1}, {"outcome": "failed", "effect_id": "eff_x"}, []],
    ids=repr,
)
async def test_malformed_reports(w: World, body: object) -> None:
    """400, the effect still open."""
    intent, grant = await granted(w)
    effect_id = (await w.redeem(grant["grant"], intent)).json()["effect_id"]
    assert_problem(await report(w, effect_id, body), 400, f"{OURS}invalid_input")


# --- The whole journey in one piece


async def test_the_journey_of_an_agent(w: World) -> None:
    """Ask, request, approve, wait, re-evaluate, redeem, act, report: every step is in the log, in that order."""
    intent = w.intent(context={"region": "eu"})
    context = (await w.client.post(EVALUATION, json=intent, headers=w.auth("bot"))).json()["context"]
    body = submission(intent, context, context={"region": "eu", "business_justification": "the parcel was lost"})
    task = (await w.submit(body, key="journey")).json()["task"]
    assert (await w.vote(task["id"], comment="fine by me")).json()["status"] == "approved"
    result = (await w.status(task["id"], Prefer="wait=10")).json()["result"]
    again = intent | {"context": {"region": "eu", "approval": result["approval"]}}
    assert (await w.evaluate(again)).json()["decision"] is True
    grant = (await w.grant(result["approval"]["id"]))["grant"]
    effect = (await w.redeem(grant, intent, key="journey-effect")).json()["effect_id"]
    assert (await report(w, effect, {"outcome": "committed"})).status_code == 200
    types = [event.type for event in await w.services.ledger.read(w.tenant)]
    assert types[types.index("policy.decision_recorded") :] == [
        "policy.decision_recorded",
        "approval.requested",
        "approval.vote_cast",
        "approval.granted",
        "grant.minted",
        "policy.decision_recorded",
        "policy.decision_recorded",
        "grant.redeemed",
        "effect.reported",
    ]
