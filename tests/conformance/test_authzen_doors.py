"""AuthZEN beyond certification: discovery, obligations, who may ask about whom, and no answer without a record.

Serves C04, DC-02, DC-07, DC-09; RELIABILITY T16, T17. Source: Authorization API 1.0, 'Policy Decision Point Metadata',
'Trust'; AuthZEN obligations profile; ARAP draft, 'Discovery'.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from access_world import EVALUATION, EVALUATIONS, OURS, World, assert_problem, world
from api_house import over_http

from quarterdeck_ledger.errors import Busy, Unavailable

WELL_KNOWN = "/.well-known/authzen-configuration"


@pytest.fixture
async def pdp(module_database: str, tmp_path: Path) -> AsyncIterator[World]:
    """A decision point; `pep` is an enforcement point, `bot` and `rival` are agents."""
    async with world(module_database, tmp_path) as made:
        yield made


# --- Discovery (scenario c-6; ARAP 'Discovery'; obligations profile 'PDP Metadata Extension')


async def test_c_6_metadata(pdp: World) -> None:
    """Public; the identifier is the base address; every endpoint is https; what is not offered is left out."""
    answer = await pdp.client.get(WELL_KNOWN)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert answer.json() == {
        "policy_decision_point": "https://pdp.example.test",
        "access_evaluation_endpoint": "https://pdp.example.test/access/v1/evaluation",
        "access_evaluations_endpoint": "https://pdp.example.test/access/v1/evaluations",
        "access_request_endpoint": "https://pdp.example.test/access/v1/requests",
        "jwks_uri": "https://pdp.example.test/.well-known/jwks.json",
        "capabilities": ["urn:openid:authzen:capability:access-request"],
        "supported_obligations": ["custom", "notification", "session_termination", "step-up"],
    }


async def test_the_endpoints_of_the_metadata_are_there(pdp: World) -> None:
    """What discovery names answers: 401 without a credential, not 404."""
    metadata = (await pdp.client.get(WELL_KNOWN)).json()
    for name in ("access_evaluation_endpoint", "access_evaluations_endpoint", "access_request_endpoint"):
        answer = await pdp.client.post(urlsplit(metadata[name]).path, json={})
        assert answer.status_code == 401, name
    assert (await pdp.client.get(urlsplit(metadata["jwks_uri"]).path)).status_code == 200


async def test_another_tenants_metadata_is_at_its_own_path(pdp: World) -> None:
    """The identifier is the one the well-known string was inserted into; the default tenant has only the root."""
    other = (await pdp.client.get(f"{WELL_KNOWN}/globex")).json()
    assert other["policy_decision_point"] == "https://pdp.example.test/globex"
    assert other["jwks_uri"] == "https://pdp.example.test/.well-known/jwks/globex.json"
    assert_problem(await pdp.client.get(f"{WELL_KNOWN}/{pdp.tenant}"), 404, f"{OURS}not_found")
    assert_problem(await pdp.client.get(f"{WELL_KNOWN}/Not..a,tenant"), 400, f"{OURS}invalid_input")


async def test_keys_are_published_with_kid_and_use(module_database: str, tmp_path: Path) -> None:
    """Every key that signs is in the set, public halves only; no tenant looks like one that never signed."""
    async with world(module_database, tmp_path) as pdp:
        empty = await pdp.client.get("/.well-known/jwks/nobody-here.json")
        assert empty.json() == {"keys": []}
        _, approval = await pdp.approved()
        assert (await pdp.grant(approval["id"]))["grant"]
        answer = await pdp.client.get("/.well-known/jwks.json")
        assert answer.headers["content-type"] == "application/jwk-set+json"
        keys = answer.json()["keys"]
        assert len({key["kid"] for key in keys}) == len(keys) == 2
        for key in keys:
            assert {name: key[name] for name in ("kty", "crv", "use", "alg")} == {
                "kty": "OKP",
                "crv": "Ed25519",
                "use": "sig",
                "alg": "EdDSA",
            }
            assert "d" not in key
        assert (await pdp.client.get(f"/.well-known/jwks/{pdp.tenant}.json")).json()["keys"] == keys


# --- Obligations profile, 'The Obligation Object'


async def test_obligations_are_objects_with_id_type_and_properties(pdp: World) -> None:
    """On a permit, each with its own id."""
    answer = (await pdp.evaluate(pdp.intent(action="export"))).json()
    assert answer["decision"] is True
    assert answer["context"]["obligations"] == [
        {
            "id": "oblige.export#1",
            "type": "notification",
            "properties": {"to": "dpo@example.com", "body": "An export was made"},
        }
    ]


async def test_a_decision_without_obligations_has_no_such_member(pdp: World) -> None:
    """Parameters without values are left out."""
    answer = (await pdp.evaluate(pdp.intent(action="wipe"))).json()
    assert "obligations" not in answer["context"]


# --- The decision's context


@pytest.mark.parametrize(
    ("action", "reason", "text"),
    [
        ("wipe", "denied", "nobody wipes"),
        ("unheard-of", "denied", "no policy permits this"),
        ("break", "evaluation_failed", "policy could not be evaluated"),
        ("lost", "approval_path_missing", None),
    ],
)
async def test_a_denial_says_a_code_and_no_policy_id(pdp: World, action: str, reason: str, text: str | None) -> None:
    """The code is for machines, the text for people; what decided stays in the log. None of these is requestable."""
    answer = await pdp.evaluate(pdp.intent(action=action))
    context = answer.json()["context"]
    assert answer.json()["decision"] is False
    assert context["reason"] == reason
    assert context.get("reason_user") == (None if text is None else {"403": text})
    assert "access_request" not in context
    for internal in ("no.wipe", "broken", "ask.nobody", "bnd_"):
        assert internal not in answer.text


async def test_where_nothing_permits_everything_is_denied(module_database: str, tmp_path: Path) -> None:
    """Default deny, and it says so."""
    async with world(module_database, tmp_path, policies="") as pdp:
        answer = (await pdp.evaluate(pdp.intent(action="export"))).json()
        assert answer["decision"] is False
        assert answer["context"]["reason"] == "denied"


async def test_the_decision_is_in_the_log_before_it_is_answered(pdp: World) -> None:
    """The answer's id and position are those of the recorded decision."""
    answer = await pdp.evaluate(pdp.intent(action="export"))
    (recorded,) = await pdp.log("policy.decision_recorded")
    assert recorded.decision_id == answer.json()["context"]["evaluation_id"]
    assert recorded.outcome == "permit"
    assert int(answer.headers["x-quarterdeck-position"]) == await pdp.position()


@pytest.mark.parametrize("error", [Unavailable("the database is away"), Busy("too many appends")], ids=["away", "busy"])
@pytest.mark.parametrize("path", [EVALUATION, EVALUATIONS])
async def test_without_a_record_there_is_no_decision(
    pdp: World, monkeypatch: pytest.MonkeyPatch, path: str, error: Exception
) -> None:
    """Policy would permit, the log does not take it: 503, no `decision`, the request id all the same."""

    async def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(pdp.services.ledger, "append", fail)
    headers = pdp.auth("bot") | {"X-Request-ID": "r-503"}
    answer = await pdp.client.post(path, json=pdp.intent(action="export"), headers=headers)
    assert answer.status_code == 503
    assert "decision" not in answer.json()
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["x-request-id"] == "r-503"


# --- Who may ask about whom


async def test_an_agent_asks_about_itself(pdp: World) -> None:
    """About itself it is answered."""
    assert (await pdp.evaluate(pdp.intent(action="export"))).json()["decision"] is True


@pytest.mark.parametrize("by", ["bot", "alice", "carol"])
async def test_nobody_but_an_enforcement_point_asks_about_others(pdp: World, by: str) -> None:
    """403, nothing recorded: for agents and for people without a role that operates."""
    before = await pdp.position()
    assert_problem(await pdp.evaluate(pdp.intent("rival", action="export"), by), 403, f"{OURS}not_allowed")
    assert await pdp.position() == before


@pytest.mark.parametrize("by", ["pep", "olga", "admin"])
async def test_enforcement_points_ask_about_anybody(pdp: World, by: str) -> None:
    """A service, an operator and an administrator are trusted to say who wants what."""
    assert (await pdp.evaluate(pdp.intent("rival", action="export"), by)).json()["decision"] is True


async def test_an_auditor_asks_nothing(pdp: World) -> None:
    """Asking records a decision; an auditor commands nothing."""
    body = {
        "subject": {"type": "user", "id": pdp.id("ann")},
        "action": {"name": "export"},
        "resource": {"type": "x", "id": "1"},
    }
    assert_problem(await pdp.evaluate(body, "ann"), 403, f"{OURS}not_allowed")


async def test_who_acts_for_somebody_asks_about_either(pdp: World) -> None:
    """The credential says whom it acts for; a service that acts for one person is no enforcement point for others."""
    await pdp.delegate("bot-for-alice", "bot", "alice")
    await pdp.delegate("pep-for-alice", "pep", "alice")
    for by in ("bot-for-alice", "pep-for-alice"):
        assert (await pdp.evaluate(pdp.intent("alice", action="export"), by)).json()["decision"] is True
        assert_problem(await pdp.evaluate(pdp.intent("carol", action="export"), by), 403, f"{OURS}not_allowed")


async def test_what_a_key_that_acts_for_somebody_may_do_is_what_both_may_do(pdp: World) -> None:
    """Nobody borrows a right by naming whoever has it; the record says what was said of whom."""
    await pdp.delegate("bot-for-alice", "bot", "alice")
    alice, bot = pdp.id("alice"), pdp.id("bot")
    of_alice = f'@id("alice") permit(principal == user::"{alice}", action == Action::"launch", resource);'
    of_bot = f'@id("bot") permit(principal == agent::"{bot}", action == Action::"launch", resource);'
    own = pdp.intent(action="launch")
    for_alice = pdp.intent(action="launch", subject={"type": "user", "id": alice})

    async def decided(intent: dict[str, Any], by: str) -> bool:
        return bool((await pdp.evaluate(intent, by)).json()["decision"])

    await pdp.enforce(of_alice)
    assert [await decided(own, "bot"), await decided(for_alice, "bot-for-alice")] == [False, False]
    assert await decided(for_alice, "pep"), "an enforcement point asks about alice, and does not act for her"
    await pdp.enforce(of_alice + of_bot)
    assert await decided(for_alice, "bot-for-alice")
    recorded = (await pdp.log("policy.decision_recorded"))[-1]
    assert [(item.principal, item.outcome, item.determining) for item in recorded.judged] == [
        (f"user:{alice}", "permit", ("alice",)),
        (f"agent:{bot}", "permit", ("bot",)),
    ]
    await pdp.enforce(
        '@id("all") permit(principal, action, resource);'
        f'@id("no-bot") @reason("not by bot") forbid(principal == agent::"{bot}", action, resource);'
    )
    answer = (await pdp.evaluate(for_alice, "bot-for-alice")).json()
    assert (answer["decision"], answer["context"]["reason_user"]) == (False, {"403": "not by bot"})
    disguised = pdp.intent(action="launch", subject={"type": "user", "id": bot})
    assert not await decided(disguised, "bot")


async def test_a_batch_decides_what_the_caller_may_ask_and_denies_the_rest(pdp: World) -> None:
    """An item about somebody else is denied in its place, with its error."""
    body = {"evaluations": [pdp.intent(action="export"), pdp.intent("rival", action="export")]}
    answer = await pdp.client.post(EVALUATIONS, json=body, headers=pdp.auth("bot"))
    mine, other = answer.json()["evaluations"]
    assert mine["decision"] is True
    assert other["decision"] is False
    assert other["context"]["error"]["status"] == 403


ACTS: dict[str, tuple[Any, int]] = {
    "itself": ({"sub": "<bot>"}, 200),
    "itself, issued by us": ({"sub": "<bot>", "iss": "https://pdp.example.test"}, 200),
    "itself, issued by another": ({"sub": "<bot>", "iss": "https://elsewhere.example"}, 403),
    "another": ({"sub": "<rival>"}, 403),
    "another behind itself": ({"sub": "<bot>", "act": {"sub": "<rival>"}}, 403),
    "no object": ("<bot>", 400),
    "without sub": ({"iss": "https://pdp.example.test"}, 400),
    "a number": ({"sub": 7}, 400),
}


@pytest.mark.parametrize("case", ACTS, ids=str)
async def test_an_agents_act_claim_must_be_its_own_chain(pdp: World, case: str) -> None:
    """An agent cannot say that somebody else acts (ARAP, 'Delegation and On-Behalf-Of')."""
    act, status = ACTS[case]
    properties = {"act": _named(act, pdp)}
    intent = pdp.intent(action="export", subject={"type": "agent", "id": pdp.id("bot"), "properties": properties})
    assert (await pdp.evaluate(intent)).status_code == status


def _named(act: Any, pdp: World) -> Any:
    if isinstance(act, dict):
        return {name: _named(value, pdp) for name, value in act.items()}
    return pdp.id(act.strip("<>")) if isinstance(act, str) and act.startswith("<") else act


# --- Tenants, and the real socket


async def test_another_tenants_credential_decides_by_another_policy(module_database: str, tmp_path: Path) -> None:
    """The credential names the tenant; a tenant without policy denies what the first permits."""
    async with world(
        module_database, tmp_path, also=(other := f"other-{tmp_path.name[-8:].strip('-_').lower()}x",)
    ) as pdp:
        body = {
            "subject": {"type": "user", "id": "alice"},
            "action": {"name": "read"},
            "resource": {"type": "record", "id": "1"},
        }
        mine = await pdp.client.post(EVALUATION, json=body, headers=pdp.auth("admin"))
        theirs = await pdp.client.post(EVALUATION, json=body, headers=pdp.api.bearer(other, "admin"))
        assert (mine.json()["decision"], theirs.json()["decision"]) == (True, False)
        assert theirs.json()["context"]["reason"] == "no_policy"


async def test_over_a_real_socket(pdp: World) -> None:
    """The same through uvicorn: status, headers and body."""
    async with over_http(pdp.services) as address, httpx.AsyncClient(base_url=address) as client:
        headers = pdp.auth("bot") | {"X-Request-ID": "over-http"}
        answer = await client.post(EVALUATION, json=pdp.intent(action="export"), headers=headers)
        assert answer.status_code == 200
        assert answer.headers["x-request-id"] == "over-http"
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["decision"] is True
