"""ARAP, denial binding: only the caller's own, unexpired, unaltered denial can be asked on, once.

Serves C03, DC-07; RELIABILITY T1, T16. Source: ARAP draft at e287920, 'Access Request Service Processing Rules',
'Binding Token Integrity', 'Delegation and On-Behalf-Of'.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from access_world import OURS, URN, World, assert_problem, denial, submission, world
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from quarterdeck_api.authzen import tokens
from quarterdeck_domain.access.slices import RotateSigningKey, TransferOwnership
from quarterdeck_domain.access.values import SYSTEM

UNBOUND = f"{URN}invalid_denial_binding"


@pytest.fixture
async def ars(module_database: str, tmp_path: Path) -> AsyncIterator[World]:
    """An access request service whose policy asks a human about refunds."""
    async with world(module_database, tmp_path) as made:
        yield made


# --- The two forms of binding


@pytest.mark.parametrize("left_out", ["binding_token", "evaluation_id"])
async def test_either_form_binds_alone(ars: World, left_out: str) -> None:
    """Access Request Submission: a token, an evaluation id, or both."""
    intent, context = await ars.denied()
    answer = await ars.submit(submission(intent, context, denial=denial(context, **{left_out: None})))
    assert answer.status_code == 202


@pytest.mark.parametrize(
    "changes",
    [
        {"binding_token": None, "evaluation_id": None},
        {"expires_at": None},
        {"expires_at": "soon"},
        {"expires_at": 7},
        {"evaluation_id": 7},
        {"evaluation_id": ""},
        {"evaluation_id": "x" * 101},
        {"binding_token": 7},
        {"binding_token": None, "evaluation_id": "dec_00000000000000000000000000"},
        {"binding_token": None, "evaluation_id": "no such thing"},
        {"binding_token": None, "evaluation_id": "\u0000"},
    ],
    ids=repr,
)
async def test_a_denial_without_verifiable_material_is_rejected(ars: World, changes: dict[str, Any]) -> None:
    """Access Request Submission: MUST reject with `invalid_denial_binding`."""
    intent, context = await ars.denied()
    before = await ars.position()
    answer = await ars.submit(submission(intent, context, denial=denial(context, **changes)))
    assert_problem(answer, 400, UNBOUND)
    assert await ars.position() == before


@pytest.mark.parametrize("value", [None, "text", [], 7], ids=repr)
async def test_a_missing_or_malformed_denial_is_rejected(ars: World, value: object) -> None:
    """Access Request Submission: `denial` is REQUIRED."""
    intent, _ = await ars.denied()
    body = intent if value is None else intent | {"denial": value}
    assert_problem(await ars.submit(body), 400, UNBOUND)


# --- Structural comparison

ALTERED: dict[str, dict[str, Any]] = {
    "another amount": {"action": {"name": "refund", "properties": {"amount": "9999.00", "currency": "EUR"}}},
    "one more argument": {
        "action": {"name": "refund", "properties": {"amount": "120.00", "currency": "EUR", "note": "x"}}
    },
    "null is not absent": {
        "action": {"name": "refund", "properties": {"amount": "120.00", "currency": "EUR", "note": None}}
    },
    "a number is not text": {"action": {"name": "refund", "properties": {"amount": 120, "currency": "EUR"}}},
    "no arguments": {"action": {"name": "refund"}},
    "another action": {"action": {"name": "transfer"}},
    "another resource": {"resource": {"type": "order", "id": "4712"}},
    "another type": {"resource": {"type": "invoice", "id": "4711"}},
    "properties of the resource": {"resource": {"type": "order", "id": "4711", "properties": {}}},
    "another subject type": {"subject": {"type": "user", "id": "<bot>"}},
    "properties of the subject": {"subject": {"type": "agent", "id": "<bot>", "properties": {"team": "x"}}},
    "bound context removed": {"context": {}},
    "bound context changed": {"context": {"region": "us"}},
    "bound context null": {"context": {"region": None}},
}


@pytest.mark.parametrize("form", ["binding_token", "evaluation_id"])
@pytest.mark.parametrize("case", ALTERED, ids=str)
async def test_anything_else_than_what_was_evaluated_is_rejected(ars: World, case: str, form: str) -> None:
    """Binding Token Integrity, structural comparison: properties included; absent is not null; types count."""
    intent, context = await ars.denied(context={"region": "eu", "time": "now"})
    only = denial(context, **{name: None for name in ("binding_token", "evaluation_id") if name != form})
    altered = json.loads(json.dumps(ALTERED[case]).replace("<bot>", ars.id("bot")))
    answer = await ars.submit(submission(intent, context, denial=only, **altered))
    assert_problem(answer, 400, UNBOUND)


SAME: dict[str, dict[str, Any]] = {
    "an augmentation": {"context": {"region": "eu", "business_justification": "why"}},
    "a volatile member": {"context": {"region": "eu", "time": "later"}},
    "a member that policy does not read": {"context": {"region": "eu", "note": "talk"}},
}


@pytest.mark.parametrize("case", SAME, ids=str)
async def test_what_is_not_authorization_relevant_may_change(ars: World, case: str) -> None:
    """Authorization-Relevant Context: exactly the members that policy reads are compared."""
    intent, context = await ars.denied(context={"region": "eu", "time": "now"})
    assert (await ars.submit(submission(intent, context, **SAME[case]))).status_code == 202


async def test_equal_numbers_are_equal(ars: World) -> None:
    """Structural comparison: numbers are equal under their canonical form."""
    intent, context = await ars.denied(action={"name": "refund", "properties": {"amount": 120.0}})
    intent["action"] = {"name": "refund", "properties": {"amount": 120}}
    assert (await ars.submit(submission(intent, context))).status_code == 202


# --- Whose denial


async def test_anothers_denial_and_no_denial_look_the_same(ars: World) -> None:
    """Binding is to the authenticated requester: a stolen denial is worth nothing, and tells nothing."""
    intent = ars.intent("alice")
    await ars.delegate("bot-for-alice", "bot", "alice")
    await ars.delegate("rival-for-alice", "rival", "alice")
    context = (await ars.evaluate(intent, "bot-for-alice")).json()["context"]
    stolen = await ars.submit(
        submission(intent, context, denial=denial(context, binding_token=None)), "rival-for-alice"
    )
    invented = denial(context, binding_token=None, evaluation_id="dec_00000000000000000000000000")
    unknown = await ars.submit(submission(intent, context, denial=invented), "rival-for-alice")
    assert assert_problem(stolen, 400, UNBOUND)["detail"] == assert_problem(unknown, 400, UNBOUND)["detail"]


async def test_a_denial_is_asked_on_once(ars: World) -> None:
    """Binding Token Integrity: `jti` replay. Taken back and asked again, it takes a new evaluation."""
    intent, context = await ars.denied()
    task = (await ars.submit(submission(intent, context))).json()["task"]
    cancelled = await ars.client.post(f"/access/v1/requests/{task['id']}/cancel", headers=ars.auth("bot"))
    assert cancelled.status_code == 200
    assert_problem(await ars.submit(submission(intent, context)), 400, UNBOUND)
    intent, context = await ars.denied()
    assert (await ars.submit(submission(intent, context))).status_code == 202


async def test_a_denial_that_was_not_requestable(ars: World) -> None:
    """Processing Rules: `not_requestable`, for a plain denial and for a permit."""
    _, template = await ars.denied()
    for action in ("wipe", "export"):
        intent = ars.intent(action=action)
        context = (await ars.evaluate(intent)).json()["context"]
        echoed = denial(
            template, evaluation_id=context["evaluation_id"], evaluated_at=context["evaluated_at"], binding_token=None
        )
        assert_problem(await ars.submit({**intent, "denial": echoed}), 400, f"{URN}not_requestable")


async def test_a_denial_without_an_approval_path_is_not_requestable(ars: World) -> None:
    """Policy asked for a path that nobody published: no hint was given, and none is taken."""
    _, template = await ars.denied()
    intent = ars.intent(action="lost")
    context = (await ars.evaluate(intent)).json()["context"]
    echoed = denial(template, evaluation_id=context["evaluation_id"], binding_token=None)
    assert_problem(await ars.submit({**intent, "denial": echoed}), 400, f"{URN}not_requestable")


# --- Freshness


@pytest.mark.parametrize("left_out", ["binding_token", "evaluation_id", "nothing"])
async def test_an_expired_denial(ars: World, left_out: str) -> None:
    """Processing Rules: `expired_denial`, 410, judged by what was recorded and signed."""
    intent, context = await ars.denied()
    ars.let_time_pass(minutes=10, seconds=1)
    answer = await ars.submit(submission(intent, context, denial=denial(context, **{left_out: None})))
    assert_problem(answer, 410, f"{URN}expired_denial")


async def test_an_echoed_expiry_cannot_lengthen_the_time(ars: World) -> None:
    """Processing Rules, without a token: the recorded expiry counts, not the echoed one."""
    intent, context = await ars.denied()
    ars.let_time_pass(minutes=11)
    longer = denial(context, binding_token=None, expires_at="2099-01-01T00:00:00Z")
    assert_problem(await ars.submit(submission(intent, context, denial=longer)), 410, f"{URN}expired_denial")


async def test_an_echoed_expiry_that_is_past_is_past(ars: World) -> None:
    """Requestable Denial Context: MUST reject submissions after the echoed time, too."""
    intent, context = await ars.denied()
    past = denial(context, binding_token=None, expires_at="2001-01-01T00:00:00Z")
    assert_problem(await ars.submit(submission(intent, context, denial=past)), 410, f"{URN}expired_denial")


@pytest.mark.parametrize("expires_at", ["2099-01-01T00:00:00Z", "2001-01-01T00:00:00Z"])
async def test_with_a_token_the_echo_must_be_the_protected_value(ars: World, expires_at: str) -> None:
    """Binding Token Integrity: MUST verify that `denial.expires_at` matches the protected value."""
    intent, context = await ars.denied()
    answer = await ars.submit(submission(intent, context, denial=denial(context, expires_at=expires_at)))
    assert_problem(answer, 400, UNBOUND)


async def test_the_echo_may_be_spelled_differently(ars: World) -> None:
    """The same moment in another zone is the same moment."""
    intent, context = await ars.denied()
    spelled = context["access_request"]["expires_at"].replace("Z", "+00:00")
    answer = await ars.submit(submission(intent, context, denial=denial(context, expires_at=spelled)))
    assert answer.status_code == 202


# --- Tokens that are not ours


def encoded(value: object) -> str:
    """Return a part of a token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def forged(token: str, *, header: dict[str, Any] | None = None, claims: dict[str, Any] | None = None) -> str:
    """Return a token with another header or other claims, and the old signature."""
    old = [json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2]]
    return ".".join((encoded(old[0] | (header or {})), encoded(old[1] | (claims or {})), token.split(".")[2]))


def signed_by(key: Ed25519PrivateKey, token: str) -> str:
    """Return a token's header and claims, signed by another key."""
    signed = token.rpartition(".")[0]
    return f"{signed}.{base64.urlsafe_b64encode(key.sign(signed.encode())).rstrip(b'=').decode()}"


def truncated(token: str) -> str:
    """Return a token whose signature lost its end."""
    return token[:-4]


FORGERIES: dict[str, Any] = {
    "not a token": lambda _: "nonsense",
    "empty": lambda _: "",
    "no signature": lambda token: token.rpartition(".")[0] + ".",
    "a truncated signature": truncated,
    "alg none": lambda token: forged(token, header={"alg": "none"}),
    "alg HS256": lambda token: forged(token, header={"alg": "HS256"}),
    "a key of its own": lambda token: forged(token, header={"jwk": {"kty": "OKP"}}),
    "an unknown kid": lambda token: forged(token, header={"kid": "0000000000000000"}),
    "a kid that is no text": lambda token: forged(token, header={"kid": 7}),
    "critical headers": lambda token: forged(token, header={"crit": ["exp"]}),
    "another type": lambda token: forged(token, header={"typ": "access-approval+jwt"}),
    "other claims": lambda token: forged(token, claims={"evaluation_id": "dec_x"}),
    "a longer life": lambda token: forged(token, claims={"exp": 4102444800}),
    "another signer": lambda token: signed_by(Ed25519PrivateKey.generate(), token),
    "padding": lambda token: token + "=",
    "five parts": lambda token: f"{token}.a.b",
    "too long": lambda token: token + "A" * 9_000,
    "not ASCII": lambda token: token + "é",
}


@pytest.mark.parametrize("case", FORGERIES, ids=str)
async def test_a_token_that_we_did_not_make_is_rejected(ars: World, case: str) -> None:
    """Processing Rules: MUST verify integrity; the evaluation id beside it does not help."""
    intent, context = await ars.denied()
    token = FORGERIES[case](context["access_request"]["binding_token"])
    answer = await ars.submit(submission(intent, context, denial=denial(context) | {"binding_token": token}))
    assert_problem(answer, 400, UNBOUND)


MISMADE: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "https://elsewhere.example"},
    "no audience": {"aud": None},
    "another audience": {"aud": "https://elsewhere.example/requests"},
    "another tenant": {"tenant": "globex"},
    "another evaluation": {"evaluation_id": "dec_00000000000000000000000000"},
    "another binding": {"binding_hash": "x"},
    "another context": {"binding_context_members": []},
    "no expiry": {"exp": None},
    "an expiry that is no number": {"exp": "never"},
    "not valid yet": {"nbf": 4102444800},
}


@pytest.mark.parametrize("case", MISMADE, ids=str)
async def test_a_token_of_ours_for_something_else_is_rejected(ars: World, case: str) -> None:
    """Binding Token Integrity: issuer, audience (REQUIRED), expiry and binding are all checked, though we signed it."""
    intent, context = await ars.denied()
    _, claims, _ = context["access_request"]["binding_token"].split(".")
    made = json.loads(base64.urlsafe_b64decode(claims + "==")) | MISMADE[case]
    made = {name: value for name, value in made.items() if value is not None}
    token = tokens.sign(ars.services.signing, ars.tenant, tokens.DENIAL, made)
    answer = await ars.submit(submission(intent, context, denial=denial(context, binding_token=token)))
    assert_problem(answer, 400, UNBOUND)


async def test_an_audience_among_several_is_accepted(ars: World) -> None:
    """Binding Token Integrity: `aud` may be an array that includes us."""
    intent, context = await ars.denied()
    _, claims, _ = context["access_request"]["binding_token"].split(".")
    made = json.loads(base64.urlsafe_b64decode(claims + "=="))
    made["aud"] = ["https://elsewhere.example", made["aud"]]
    token = tokens.sign(ars.services.signing, ars.tenant, tokens.DENIAL, made)
    answer = await ars.submit(submission(intent, context, denial=denial(context, binding_token=token)))
    assert answer.status_code == 202


async def test_the_earlier_of_token_and_denial_counts(ars: World) -> None:
    """Binding Token Integrity: MUST enforce the earlier of `exp` and `denial.expires_at`."""
    intent, context = await ars.denied()
    _, claims, _ = context["access_request"]["binding_token"].split(".")
    made = json.loads(base64.urlsafe_b64decode(claims + "=="))
    made["exp"] = made["iat"] + 60
    token = tokens.sign(ars.services.signing, ars.tenant, tokens.DENIAL, made)
    ars.let_time_pass(minutes=2)
    answer = await ars.submit(submission(intent, context, denial=denial(context, binding_token=token)))
    assert_problem(answer, 410, f"{URN}expired_denial")


async def test_a_token_of_another_denial_of_ones_own_is_rejected(ars: World) -> None:
    """Confused Deputy: the token of a small refund does not carry a big one."""
    _, small = await ars.denied(action={"name": "refund", "properties": {"amount": "1.00"}})
    intent, big = await ars.denied(action={"name": "refund", "properties": {"amount": "9999.00"}})
    mixed = denial(big, binding_token=small["access_request"]["binding_token"])
    assert_problem(await ars.submit(submission(intent, big, denial=mixed)), 400, UNBOUND)


async def test_a_token_survives_the_rotation_of_its_key(ars: World) -> None:
    """Discovery: keys are told apart by `kid`; an old key verifies until it is retired, then no more."""
    first, second = await ars.denied(), await ars.denied(resource={"type": "order", "id": "2"})
    old = ars.services.signing.current(ars.tenant, "binding")

    async def rotate(overlap_s: int) -> None:
        key = ars.services.signing.rotate(ars.tenant, "binding")
        await ars.api.run(
            ars.tenant,
            RotateSigningKey(
                purpose="binding", key_id=key.id, public_key=key.public.hex(), overlap_s=overlap_s, actor=SYSTEM
            ),
        )

    await ars.api.run(
        ars.tenant,
        RotateSigningKey(purpose="binding", key_id=old.id, public_key=old.public.hex(), overlap_s=0, actor=SYSTEM),
    )
    await rotate(300)
    assert (await ars.submit(submission(*first))).status_code == 202
    kids = [key["kid"] for key in (await ars.client.get("/.well-known/jwks.json")).json()["keys"]]
    assert old.id in kids
    ars.let_time_pass(seconds=301)
    assert_problem(await ars.submit(submission(*second)), 400, UNBOUND)
    kids = [key["kid"] for key in (await ars.client.get("/.well-known/jwks.json")).json()["keys"]]
    assert old.id not in kids


# --- Delegation and On-Behalf-Of


async def test_the_chain_of_the_credential_may_be_claimed(ars: World) -> None:
    """Delegation: the whole chain, or a stretch of it, is what the key proves."""
    await ars.delegate("bot-for-alice", "bot", "alice")
    for number, actor in enumerate(
        (
            {"id": ars.id("bot"), "type": "ai_agent"},
            {"id": ars.id("bot"), "issuer": "https://pdp.example.test", "act": {"sub": ars.id("alice")}},
            {"id": ars.id("alice")},
        )
    ):
        changed = {"subject": {"type": "user", "id": ars.id("alice")}, "resource": {"type": "order", "id": str(number)}}
        intent, context = await ars.denied("bot-for-alice", **changed)
        answer = await ars.submit(submission(intent, context, client={"actor": actor}), "bot-for-alice")
        assert answer.status_code == 202, actor


CHAINS: dict[str, dict[str, Any]] = {
    "another actor": {"id": "<rival>"},
    "an actor nobody knows": {"id": "agent_renewal_assistant_v3"},
    "another issuer": {"id": "<bot>", "issuer": "https://agents.example.com"},
    "another behind it": {"id": "<bot>", "act": {"sub": "<rival>"}},
    "the wrong order": {"id": "<alice>", "act": {"sub": "<bot>"}},
    "one too many": {"id": "<bot>", "act": {"sub": "<alice>", "act": {"sub": "<carol>"}}},
    "another issuer behind it": {"id": "<bot>", "act": {"sub": "<alice>", "iss": "https://agents.example.com"}},
}


@pytest.mark.parametrize("case", CHAINS, ids=str)
async def test_a_chain_that_the_credential_does_not_prove_is_rejected(ars: World, case: str) -> None:
    """Delegation: MUST reject; not even kept as metadata, since people would read it."""
    await ars.delegate("bot-for-alice", "bot", "alice")
    text = json.dumps(CHAINS[case])
    for name in ("bot", "rival", "alice", "carol"):
        text = text.replace(f"<{name}>", ars.id(name))
    intent, context = await ars.denied("bot-for-alice", subject={"type": "user", "id": ars.id("alice")})
    answer = await ars.submit(submission(intent, context, client={"actor": json.loads(text)}), "bot-for-alice")
    assert_problem(answer, 403, f"{OURS}not_allowed")


async def test_the_actor_may_move_from_the_subject_to_client_actor(ars: World) -> None:
    """Delegation: preserved or normalized; `act` is excluded from the comparison."""
    act = {"act": {"sub": ars.id("bot"), "iss": "https://pdp.example.test"}}
    for number, moved in enumerate((False, True)):
        subject = {"type": "agent", "id": ars.id("bot"), "properties": dict(act)}
        intent, context = await ars.denied(subject=subject, resource={"type": "order", "id": str(number)})
        changes: dict[str, Any] = {}
        if moved:
            changes = {
                "subject": {"type": "agent", "id": ars.id("bot"), "properties": {}},
                "client": {"actor": {"id": ars.id("bot")}},
            }
        assert (await ars.submit(submission(intent, context, **changes))).status_code == 202


async def test_the_actor_must_not_be_dropped_or_changed(ars: World) -> None:
    """Delegation: the actor identity itself MUST NOT be dropped during reshaping."""
    await ars.delegate("bot-for-alice", "bot", "alice")
    subject = {"type": "user", "id": ars.id("alice"), "properties": {"act": {"sub": ars.id("bot")}}}
    intent, context = await ars.denied("bot-for-alice", subject=subject)
    for properties, client in (
        ({}, None),
        ({"act": {"sub": ars.id("alice")}}, None),
        ({}, {"actor": {"id": ars.id("alice")}}),
    ):
        changed = {"subject": {"type": "user", "id": ars.id("alice"), "properties": properties}, "client": client}
        assert_problem(await ars.submit(submission(intent, context, **changed), "bot-for-alice"), 400, UNBOUND)


async def test_nobody_in_the_chain_decides_nor_who_owns_one(ars: World) -> None:
    """Eligibility: whoever acts for the subject wants it too, and so does the human behind it."""
    await ars.api.add(ars.tenant, "helper", "agent", kind="agent")
    handed = TransferOwnership(principal_id=ars.id("helper"), owner=ars.id("carol"), actor=ars.actor("admin", "human"))
    await ars.api.run(ars.tenant, handed)
    user = {
        "type": "user",
        "id": ars.id("alice"),
        "properties": {"act": {"sub": ars.id("bot"), "act": {"sub": ars.id("helper")}}},
    }
    task = await ars.request("pep", subject=user)
    (requested,) = await ars.log("approval.requested")
    everyone = {ars.id(name) for name in ("pep", "admin", "alice", "bot", "helper", "carol")}
    assert set(requested.requesters) == everyone
    for name in ("carol", "admin"):
        assert_problem(await ars.vote(task["id"], by=name), 403, f"{OURS}not_allowed")
    done = await ars.vote(task["id"], by="dave")
    assert done.json()["status"] == "approved"


async def test_whoever_signs_in_as_the_subject_does_not_decide(module_database: str, tmp_path: Path) -> None:
    """Eligibility: an enforcement point names people as the identity provider does."""
    provider = "https://idp.example.test"
    async with world(module_database, tmp_path, oidc_issuer=provider, oidc_audience="quarterdeck") as ars:
        body = {"principal_id": ars.id("carol"), "issuer": provider, "subject": "carol-at-idp"}
        assert (await ars.api.command("link_identity", body, by=(ars.tenant, "admin"))).status_code == 200
        for subject in (
            {"type": "user", "id": "carol-at-idp"},
            {"type": "user", "id": "x", "properties": {"act": {"sub": "carol-at-idp"}}},
        ):
            task = await ars.request("pep", subject=subject)
            assert_problem(await ars.vote(task["id"], by="carol"), 403, f"{OURS}not_allowed")
            assert (await ars.vote(task["id"], by="dave")).json()["status"] == "approved"


async def test_the_same_action_under_another_bound_context_is_another_request(ars: World) -> None:
    """Binding: the context that policy reads is bound, so an open request under another says nothing about this."""
    first = await ars.request("bot", context={"region": "eu"})
    second = await ars.request("bot")
    assert first["id"] != second["id"]
    one, other = await ars.log("approval.requested")
    assert one.action_digest == other.action_digest
    assert one.binding_hash != other.binding_hash
    await ars.vote(first["id"])
    approval = (await ars.status(first["id"])).json()["result"]["approval"]
    answer = (await ars.evaluate(ars.intent(context={"approval": {"id": approval["id"]}}))).json()
    assert (answer["decision"], answer["context"]["reason"]) == (False, "out_of_scope")
    intent, context = await ars.denied("bot", context={"region": "eu"})
    problem = assert_problem(await ars.submit(submission(intent, context)), 409, f"{OURS}already_requested")
    assert problem["details"]["approval_id"] == first["id"]
