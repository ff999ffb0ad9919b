"""OpenID Connect tokens of humans, from a real provider over HTTP. Serves DC-04, DC-05; threats T16, T20."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_house import BASE_URL, House, house
from joserfc.jwk import RSAKey
from oidc_provider import OidcProvider, make_key
from pydantic import ValidationError

from quarterdeck_api.auth.oidc import OidcProvider as Verifier
from quarterdeck_domain.access.credentials import identity_digest
from quarterdeck_domain.access.slices import LinkIdentity
from quarterdeck_domain.access.values import SYSTEM
from quarterdeck_runtime.settings import Settings


@pytest.fixture
def provider() -> Iterator[OidcProvider]:
    """A provider on loopback."""
    with OidcProvider() as made:
        yield made


@pytest.fixture
async def api(provider: OidcProvider, migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[House]:
    """An API that accepts the provider's tokens; alice is an approver of acme, her account is linked."""
    async with house(migrated_database(), tmp_path, tenants=("acme", "globex"), **settings(provider)) as made:
        await made.add("acme", "alice", "approver")
        await link(made, "acme", "alice", provider.issuer, "alice")
        yield made


def settings(provider: OidcProvider, **more: Any) -> dict[str, Any]:
    """Return the settings that trust a provider."""
    return {
        "oidc_issuer": provider.issuer,
        "oidc_audience": provider.audience,
        "oidc_client_id": provider.client_id,
        "default_tenant": "acme",
        **more,
    }


async def link(api: House, tenant: str, name: str, issuer: str, subject: str) -> None:
    """Tie an account to a principal."""
    identity = identity_digest(tenant, issuer, subject)
    await api.run(
        tenant, LinkIdentity(principal_id=api.ids[tenant, name], issuer=issuer, identity=identity, actor=SYSTEM)
    )


async def ask(api: House, token: str, **headers: str) -> httpx.Response:
    """Return the answer to a request with a token."""
    return await api.client.get("/v1/me", headers={"Authorization": f"Bearer {token}", **headers})


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_a_human_signs_in_by_the_real_flow(api: House, provider: OidcProvider, algorithm: str) -> None:
    """Authorization code with PKCE at the provider, then its token here."""
    provider.rotate(algorithm)
    me = (await ask(api, provider.sign_in("alice"))).json()
    assert me["principal_id"] == api.ids["acme", "alice"]
    assert (me["tenant"], me["roles"], me["credential"], me["key_id"]) == ("acme", ["approver"], "identity", None)


async def test_an_account_that_nobody_linked_opens_nothing(api: House, provider: OidcProvider) -> None:
    """A good token of a stranger; and alice's own, in a tenant where she is not known."""
    assert (await ask(api, provider.token("mallory"))).status_code == 401
    assert (await ask(api, provider.token("alice"), **{"Quarterdeck-Tenant": "globex"})).status_code == 401
    assert (await ask(api, provider.token("alice"), **{"Quarterdeck-Tenant": "../acme"})).status_code == 401


def _signed_with_the_public_key(provider: OidcProvider) -> str:
    secret = provider.keys[provider.kid].as_pem(private=False)
    signed = f"{_part({'alg': 'HS256', 'kid': provider.kid})}.{_part(provider.claims('alice'))}"
    signature = hmac.digest(secret, signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def _signed_with_another_padding(provider: OidcProvider) -> str:
    plain = {k: v for k, v in provider.keys[provider.kid].as_dict(private=True).items() if k not in ("alg", "use")}
    return provider.token("alice", key=RSAKey.import_key(plain), header={"alg": "PS256"})


def _part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _unsigned(provider: OidcProvider, algorithm: str) -> str:
    return f"{_part({'alg': algorithm, 'typ': 'JWT'})}.{_part(provider.claims('alice'))}."


def _with_own_key(provider: OidcProvider) -> str:
    own = RSAKey.generate_key(2048, {"kid": "mine"})
    return provider.token("alice", key=own, header={"alg": "RS256", "jwk": own.as_dict(private=False)})


def _mixed(provider: OidcProvider) -> str:
    header, _, signature = provider.token("alice").split(".")
    return f"{header}.{_part(provider.claims('alice', sub='root'))}.{signature}"


def _replaced(provider: OidcProvider, payload: bytes) -> str:
    header, _, signature = provider.token("alice").split(".")
    return f"{header}.{base64.urlsafe_b64encode(payload).decode().rstrip('=')}.{signature}"


REASONS = {
    "another audience": "another audience",
    "expired": "expired",
    "not yet": "not valid yet",
    "key of somebody else": "signature",
    "unknown key id": "publishes no one key",
    "signed with the public key as a secret": "algorithm",
    "key in the header": "publishes no one key",
    "critical extension": "signature",
    "signature of another": "signature",
}
"""Why, where another reason would mean that the check in question was never reached."""

FORGED: dict[str, Callable[[OidcProvider], str]] = {
    "another issuer": lambda p: p.token(iss="https://elsewhere.test"),
    "issuer with a slash": lambda p: p.token(iss=p.issuer + "/"),
    "another audience": lambda p: p.token(aud="somebody-else"),
    "no audience": lambda p: p.token(aud=None),
    "audiences without ours": lambda p: p.token(aud=["a", "b"]),
    "another client": lambda p: p.token(azp="other-client"),
    "expired": lambda p: p.token(exp=int(time.time()) - 60),
    "no expiry": lambda p: p.token(exp=None),
    "expiry as text": lambda p: p.token(exp="4102444800"),
    "expiry true": lambda p: p.token(exp=True),
    "infinite expiry": lambda p: p.token(exp=float("1e300")),
    "not yet": lambda p: p.token(nbf=int(time.time()) + 600),
    "issued in the future": lambda p: p.token(iat=int(time.time()) + 600),
    "no subject": lambda p: p.token(sub=None),
    "subject not text": lambda p: p.token(sub=7),
    "endless subject": lambda p: p.token(sub="a" * 300),
    "key of somebody else": lambda p: p.token(key=make_key("RS256", p.kid)),
    "unknown key id": lambda p: p.token(key=make_key("RS256", "nobody")),
    "signed with the public key as a secret": _signed_with_the_public_key,
    "no algorithm": lambda p: _unsigned(p, "none"),
    "algorithm in capitals": lambda p: _unsigned(p, "NONE"),
    "PS256 with the same key": _signed_with_another_padding,
    "key in the header": _with_own_key,
    "critical extension": lambda p: p.token(header={"crit": ["x"], "x": 1}),
    "logout token": lambda p: p.token(header={"typ": "logout+jwt"}),
    "signature cut off": lambda p: p.token()[:-8],
    "signature of another": _mixed,
    "four parts": lambda p: p.token() + ".x",
    "payload not an object": lambda p: _replaced(p, b"[]"),
    "not a token": lambda _: "a.b.c",
}


@pytest.mark.parametrize("how", FORGED)
async def test_forged_and_foreign_tokens_are_refused(api: House, provider: OidcProvider, how: str) -> None:
    """Every one is a 401 with a reason, never an error of ours."""
    assert (await ask(api, provider.token("alice"))).status_code == 200
    answer = await ask(api, FORGED[how](provider))
    assert answer.status_code == 401, answer.text
    assert REASONS.get(how, "") in answer.json()["detail"]
    assert answer.json()["type"] == "urn:quarterdeck:problem:unauthenticated"


def _doubled(provider: OidcProvider, *, last: str) -> bytes:
    """Return claims that name two subjects."""
    text = json.dumps(provider.claims("alice"))
    assert text.count('"sub": "alice"') == 1
    first = "mallory" if last == "alice" else "alice"
    return text.replace('"sub": "alice"', f'"sub": "{first}", "sub": "{last}"').encode()


MALFORMED: dict[str, Callable[[OidcProvider], str]] = {
    "an array": lambda p: p.signed(b"[1,2]"),
    "a number": lambda p: p.signed(b"7"),
    "null": lambda p: p.signed(b"null"),
    "text": lambda p: p.signed(b'"sub"'),
    "no JSON": lambda p: p.signed(b"{"),
    "nothing": lambda p: p.signed(b""),
    "bytes": lambda p: p.signed(bytes(range(256))),
    "another encoding": lambda p: p.signed(json.dumps(p.claims("alice")).encode("utf-16")),
    "nested deep": lambda p: p.signed(b"[" * 5_000),
    "an object nested deep": lambda p: p.signed(b'{"a":' * 1_100 + b"1" + b"}" * 1_100),
    "an endless number": lambda p: p.signed(b'{"exp":' + b"9" * 5_000 + b"}"),
    "no number": lambda p: p.signed(json.dumps(p.claims("alice", exp=float("nan"))).encode()),
    "two subjects, ours last": lambda p: p.signed(_doubled(p, last="alice")),
    "two subjects, ours first": lambda p: p.signed(_doubled(p, last="mallory")),
    "a claim within a claim twice": lambda p: p.signed(
        json.dumps(p.claims("alice"))[:-1].encode() + b', "x": {"y": 1, "y": 2}}'
    ),
    "two algorithms": lambda p: p.signed(
        json.dumps(p.claims("alice")).encode(), f'{{"alg":"none","alg":"EdDSA","kid":"{p.kid}"}}'.encode()
    ),
    "a header nested deep": lambda p: p.signed(json.dumps(p.claims("alice")).encode(), b"[" * 3_000),
    "a header that is an array": lambda p: p.signed(json.dumps(p.claims("alice")).encode(), b"[]"),
}


@pytest.mark.parametrize("how", MALFORMED)
async def test_what_is_well_signed_and_makes_no_sense_is_refused(api: House, provider: OidcProvider, how: str) -> None:
    """A signature says who wrote it, not that it can be read in one way only."""
    provider.rotate("EdDSA")
    assert (await ask(api, provider.signed(json.dumps(provider.claims("alice")).encode()))).status_code == 200
    answer = await ask(api, MALFORMED[how](provider))
    assert answer.status_code == 401, answer.text
    assert answer.json()["type"] == "urn:quarterdeck:problem:unauthenticated"
    assert answer.headers["www-authenticate"] == 'Bearer realm="quarterdeck", error="invalid_token"'


async def test_a_linked_account_ends_with_its_principal_and_its_token(api: House, provider: OidcProvider) -> None:
    """A deactivated principal is refused with the very next request, though its token is good for minutes."""
    token = provider.token("alice")
    assert (await ask(api, token)).status_code == 200
    sent = await api.command(
        "deactivate_principal", {"principal_id": api.ids["acme", "alice"], "reason": "left the company"}
    )
    assert sent.status_code == 200, sent.text
    assert (await ask(api, token)).status_code == 401


async def test_a_token_makes_its_bearer_no_key_that_outlives_it(api: House, provider: OidcProvider) -> None:
    """Nor may more be asked for. For a service that she answers for, whoever is signed in makes a lasting one."""
    bearer = {"Authorization": f"Bearer {provider.token('alice')}"}
    ends = (await api.client.get("/v1/me", headers=bearer)).json()["expires_at"]
    assert ends is not None
    issued = await api.client.post("/v1/commands/issue_api_key", json={}, headers=bearer)
    key = issued.json()["reveal"]["api_key"]
    assert (await ask(api, key)).json()["expires_at"] == ends
    longer = await api.client.post("/v1/commands/issue_api_key", json={"lifetime_s": 86_400}, headers=bearer)
    assert (longer.status_code, longer.json()["type"]) == (403, "urn:quarterdeck:problem:not_allowed")
    assert "latest" in longer.json()["details"]
    await api.add("acme", "cron", "agent", kind="service")
    service = api.ids["acme", "cron"]
    moved = await api.command("transfer_ownership", {"principal_id": service, "owner": api.ids["acme", "alice"]})
    assert moved.status_code == 200, moved.text
    lasting = await api.client.post("/v1/commands/issue_api_key", json={"principal_id": service}, headers=bearer)
    assert (await ask(api, lasting.json()["reveal"]["api_key"])).json()["expires_at"] is None


async def test_new_keys_are_found_and_invented_ones_do_not_flood_the_provider(
    api: House, provider: OidcProvider
) -> None:
    """Rotation at the provider is noticed by its key id; unknown ids cost at most one fetch in ten seconds."""
    assert (await ask(api, provider.token("alice"))).status_code == 200
    verifier = api.services.authenticator._oidc
    assert verifier is not None
    skip(verifier, 11)
    provider.rotate("ES256")
    assert (await ask(api, provider.token("alice"))).status_code == 200
    fetched = provider.requests.count("/jwks")
    for number in range(20):
        assert (await ask(api, provider.token(key=make_key("ES256", f"invented-{number}")))).status_code == 401
    assert provider.requests.count("/jwks") == fetched


async def test_a_provider_that_is_away(api: House, provider: OidcProvider) -> None:
    """Known keys serve for a bounded while; after that nobody signs in, and the answer says to try later."""
    assert (await ask(api, provider.token("alice"))).status_code == 200
    verifier = api.services.authenticator._oidc
    assert verifier is not None
    provider.answers_with = 500
    skip(verifier, 700)
    assert (await ask(api, provider.token("alice", jti="2"))).status_code == 200
    skip(verifier, 4_000)
    answer = await ask(api, provider.token("alice", jti="3"))
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:quarterdeck:problem:unavailable")
    provider.answers_with = 200
    skip(verifier, 11)
    assert (await ask(api, provider.token("alice", jti="4"))).status_code == 200


async def test_a_discovery_document_of_another_issuer_is_not_believed(
    provider: OidcProvider, migrated_database: Callable[[], str], tmp_path: Path
) -> None:
    """Keys are only taken from a document that names the configured issuer."""
    provider.discovered_issuer = "http://127.0.0.1:1"
    async with house(migrated_database(), tmp_path, **settings(provider)) as api:
        assert (await ask(api, provider.token("alice"))).status_code == 503


async def test_junk_from_an_address_locks_nobody_out_who_comes_from_there(
    provider: OidcProvider, migrated_database: Callable[[], str], tmp_path: Path
) -> None:
    """Only refusals are counted: tokens, keys and links that nobody has seen yet open what they open, however late."""
    given = settings(provider, failed_sign_ins_per_minute=5)
    async with house(migrated_database(), tmp_path, **given) as api:
        await api.add("acme", "alice", "approver")
        await link(api, "acme", "alice", provider.issuer, "alice")
        stop_refilling(api)
        junk = [
            "x",
            "a.b.c",
            "qd_acme_junk",
            provider.token("mallory"),
            _mixed(provider),
            f"qd_acme_{'0' * 26}_{'s' * 43}",
        ]
        statuses = [(await ask(api, text)).status_code for text in (*junk, *junk)]
        assert statuses == [401] * 5 + [429] * 7
        assert (await ask(api, provider.token("alice"))).status_code == 200
        assert (await ask(api, api.keys["acme", "alice"])).status_code == 200
        signed_in = await api.client.post("/sign-in", json={"token": api.links["acme"]})
        assert signed_in.status_code == 200, signed_in.text
        answer = await ask(api, "x")
        assert (answer.status_code, answer.json()["type"]) == (429, "urn:quarterdeck:problem:too_many_requests")
        assert int(answer.headers["retry-after"]) >= 1
        wrong = await api.client.post("/sign-in", json={"token": f"qdl_acme_{'0' * 26}_{'s' * 43}"})
        assert wrong.status_code == 429


async def test_what_junk_costs_is_bounded(
    provider: OidcProvider, migrated_database: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past ten times the limit nothing unseen is looked at; what the process knows goes on."""
    async with house(migrated_database(), tmp_path, **settings(provider, failed_sign_ins_per_minute=2)) as api:
        assert (await ask(api, api.keys["acme", "admin"])).status_code == 200
        stop_refilling(api)
        looked = 0
        recognise = api.services.authenticator._recognise

        async def counted(*arguments: Any) -> Any:
            nonlocal looked
            looked += 1
            return await recognise(*arguments)

        monkeypatch.setattr(api.services.authenticator, "_recognise", counted)
        for number in range(40):
            assert (await ask(api, f"junk-{number}")).status_code == (401 if number < 2 else 429)
        assert looked == 20
        assert (await ask(api, provider.token("alice"))).status_code == 429
        assert (await ask(api, api.keys["acme", "admin"])).status_code == 200


async def test_the_tenant_may_come_from_a_claim(
    provider: OidcProvider, migrated_database: Callable[[], str], tmp_path: Path
) -> None:
    """Then the claim decides, and a request cannot ask for another."""
    given = settings(provider, oidc_tenant_claim="org")
    async with house(migrated_database(), tmp_path, tenants=("acme", "globex"), **given) as api:
        await api.add("globex", "alice", "auditor")
        await link(api, "globex", "alice", provider.issuer, "alice")
        assert (await ask(api, provider.token("alice", org="globex"))).json()["tenant"] == "globex"
        assert (await ask(api, provider.token("alice", org="acme"))).status_code == 401
        assert (await ask(api, provider.token("alice"))).status_code == 401
        assert (await ask(api, provider.token("alice", org=["globex"]))).status_code == 401
        moved = await ask(api, provider.token("alice", org="globex"), **{"Quarterdeck-Tenant": "acme"})
        assert moved.status_code == 401


async def test_sign_in_options_name_the_provider(api: House, provider: OidcProvider) -> None:
    """The command line learns where to send people, without a credential."""
    answer = await api.client.get(f"{BASE_URL}/v1/sign-in-options")
    assert answer.json()["oidc"] == {
        "issuer": provider.issuer,
        "audience": provider.audience,
        "client_id": provider.client_id,
    }


def test_an_issuer_without_an_audience_does_not_start() -> None:
    """A token for somebody else must never be taken: so there is no starting without an audience."""
    with pytest.raises(ValidationError, match="oidc_audience is required"):
        Settings(oidc_issuer="https://issuer.test")
    with pytest.raises(ValidationError, match="choose from"):
        Settings(oidc_algorithms=("HS256",))


def stop_refilling(api: House) -> None:
    """Let no time pass for what counts refusals, however slow this machine is."""
    refusals = api.services.authenticator.refusals
    for buckets in (refusals._refused, refusals._looked):
        buckets._monotonic = lambda: 0.0


def skip(verifier: Verifier, seconds: float) -> None:
    """Let time pass for the provider's keys."""
    before = verifier._monotonic
    verifier._monotonic = lambda: before() + seconds
