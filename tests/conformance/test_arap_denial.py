"""ARAP, what a denial says: discovery, the requestable denial, its identifier and its signed binding.

Serves C03, DC-07. Source: ARAP draft at e287920; each test names the section it holds.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
from access_world import EVALUATIONS, World, world
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MEMBERS = {"endpoint", "template", "expires_at", "binding_token", "display", "form_url", "request_schema_url"}
"""Members that `access_request` may have (`request_catalogs_url` too, which we do not offer)."""


@pytest.fixture
async def pdp(module_database: str, tmp_path: Path) -> AsyncIterator[World]:
    """A decision point whose policy asks a human about refunds."""
    async with world(module_database, tmp_path) as made:
        yield made


def unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims of a token, as anybody can read them."""
    header, claims, _ = token.split(".")
    return tuple(json.loads(base64.urlsafe_b64decode(part + "==")) for part in (header, claims))  # type: ignore[return-value]


async def verified(pdp: World, token: str) -> dict[str, Any]:
    """Return the claims of a token whose signature a stranger has verified with the published keys alone."""
    header, claims = unverified(token)
    assert header["alg"] == "EdDSA"
    keys = (await pdp.client.get("/.well-known/jwks.json")).json()["keys"]
    (jwk,) = [key for key in keys if key["kid"] == header["kid"]]
    signed, _, signature = token.rpartition(".")
    public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(jwk["x"] + "=="))
    public.verify(base64.urlsafe_b64decode(signature + "=="), signed.encode())
    return claims


async def test_discovery_names_the_endpoint_the_capability_and_the_keys(pdp: World) -> None:
    """Discovery: MUST publish `access_request_endpoint` and, signing, `jwks_uri`; SHOULD list the capability."""
    metadata = (await pdp.client.get("/.well-known/authzen-configuration")).json()
    assert metadata["access_request_endpoint"].startswith("https://")
    assert metadata["jwks_uri"].startswith("https://")
    assert "urn:openid:authzen:capability:access-request" in metadata["capabilities"]


async def test_requestable_denial_context(pdp: World) -> None:
    """Requestable Denial Context: still a denial; every member of ours, none that the profile lacks."""
    answer = (await pdp.evaluate(pdp.intent())).json()
    assert answer["decision"] is False
    context = answer["context"]
    assert context["reason"] == "approval_required"
    access = context["access_request"]
    assert access.keys() <= MEMBERS
    assert access["endpoint"] == "https://pdp.example.test/access/v1/requests"
    assert access["template"] == "default"
    assert access["display"] == {"title": "A human must approve this", "description": "a human must approve refunds"}
    assert access["request_schema_url"].startswith("https://pdp.example.test/")


async def test_expires_at_is_rfc_3339_and_minutes_ahead(pdp: World) -> None:
    """Requestable Denial Context: MUST include `expires_at`."""
    _, context = await pdp.denied()
    expires_at = datetime.fromisoformat(context["access_request"]["expires_at"])
    evaluated_at = datetime.fromisoformat(context["evaluated_at"])
    assert context["access_request"]["expires_at"].endswith("Z")
    assert evaluated_at.tzinfo == UTC
    assert expires_at - evaluated_at == timedelta(minutes=10)


@pytest.mark.parametrize("action", ["wipe", "unheard-of", "break", "lost", "export"])
async def test_only_what_a_human_can_be_asked_is_requestable(pdp: World, action: str) -> None:
    """Requestable Denial Context: MUST include the object only where a request can be processed."""
    context = (await pdp.evaluate(pdp.intent(action=action))).json()["context"]
    assert "access_request" not in context


async def test_evaluation_identifier_is_unique_and_recorded(pdp: World) -> None:
    """Evaluation Identifier: unique, stable, and what the log knows the decision by."""
    ids = [(await pdp.denied())[1]["evaluation_id"] for _ in range(3)]
    assert len(set(ids)) == 3
    assert ids == [decision.decision_id for decision in await pdp.log("policy.decision_recorded")]


async def test_binding_token_is_a_jws_that_anybody_can_verify(pdp: World) -> None:
    """Binding Token Integrity: compact JWS with `kid`; iss, aud, iat, exp, jti, denial_expires_at, the binding."""
    _, context = await pdp.denied()
    token = context["access_request"]["binding_token"]
    claims = await verified(pdp, token)
    assert claims["iss"] == "https://pdp.example.test"
    assert claims["aud"] == context["access_request"]["endpoint"]
    assert claims["evaluation_id"] == claims["jti"] == context["evaluation_id"]
    assert claims["denial_expires_at"] == context["access_request"]["expires_at"]
    assert datetime.fromtimestamp(claims["exp"], UTC) == datetime.fromisoformat(claims["denial_expires_at"])
    assert claims["iat"] < claims["exp"]
    (decision,) = await pdp.log("policy.decision_recorded")
    assert claims["binding_hash"] == decision.binding_hash


async def test_binding_context_members_are_those_that_policy_reads(pdp: World) -> None:
    """Authorization-Relevant Context: explicit and signed; without machinery and volatile members."""
    _, context = await pdp.denied(context={"region": "eu", "time": "2026-01-01T00:00:00Z", "note": "talk"})
    claims = await verified(pdp, context["access_request"]["binding_token"])
    assert claims["binding_context_members"] == ["region"]


async def test_binding_hash_can_be_recomputed_by_anybody(pdp: World) -> None:
    """Binding Token Integrity, hashed form: SHA-256 over RFC 8785, `subject.properties.act` left out."""
    act = {"sub": pdp.id("bot")}
    subject = {"type": "agent", "id": pdp.id("bot"), "properties": {"act": act, "team": "billing"}}
    intent, context = await pdp.denied(subject=subject, context={"region": "eu", "note": "talk"})
    bound = {
        "subject": {"type": "agent", "id": pdp.id("bot"), "properties": {"team": "billing"}},
        "resource": intent["resource"],
        "action": intent["action"],
        "context": {"region": "eu"},
    }
    # Sorted keys and no white space are RFC 8785 for values that are only ASCII text.
    text = json.dumps(bound, sort_keys=True, separators=(",", ":"))
    expected = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    claims = await verified(pdp, context["access_request"]["binding_token"])
    assert claims["binding_hash"] == expected


async def test_the_request_schema_describes_what_to_add(pdp: World) -> None:
    """Machine-Readable Forms: `request_schema_url` is a JSON Schema that a submission's additions can be tried with."""
    _, context = await pdp.denied()
    answer = await pdp.client.get(urlsplit(context["access_request"]["request_schema_url"]).path)
    assert answer.headers["content-type"] == "application/schema+json"
    schema = answer.json()
    validator = jsonschema.Draft202012Validator(schema)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert validator.is_valid({"context": {}, "requested_access": {}})
    assert validator.is_valid(
        {"context": {"business_justification": "because"}, "requested_access": {"emergency": True}}
    )
    assert not validator.is_valid({"context": {}, "requested_access": {"emergency": True}})
    assert not validator.is_valid({"context": {"business_justification": ""}})


async def test_every_item_of_a_batch_has_its_own_denial(pdp: World) -> None:
    """Each requestable item can be asked on by itself."""
    body = {
        "subject": {"type": "agent", "id": pdp.id("bot")},
        "action": {"name": "refund"},
        "evaluations": [{"resource": {"type": "order", "id": str(number)}} for number in range(3)],
    }
    answer = await pdp.client.post(EVALUATIONS, json=body, headers=pdp.auth("bot"))
    contexts = [item["context"] for item in answer.json()["evaluations"]]
    hashes = {(await verified(pdp, each["access_request"]["binding_token"]))["binding_hash"] for each in contexts}
    assert len(hashes) == 3
