"""One-time links, sessions and cookies. Serves DC-04; threats T7, T8, T18."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from api_house import BASE_URL, House, house, new_id

from quarterdeck_domain.access.credentials import credential_text

FORM = {"Content-Type": "application/x-www-form-urlencoded", "Origin": BASE_URL}


@pytest.fixture
async def api(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[House]:
    """An API with one tenant, whose administrator has not used the link yet."""
    async with house(migrated_database(), tmp_path) as made:
        yield made


async def exchange(api: House, token: str) -> httpx.Response:
    """Exchange a token as the command line does."""
    return await api.client.post("/sign-in", json={"token": token})


async def test_opening_a_link_changes_nothing(api: House) -> None:
    """However often a mail scanner looks, the link still works for its owner."""
    before = await api.position()
    for _ in range(3):
        for method in ("GET", "HEAD", "OPTIONS"):
            await api.client.request(method, f"/sign-in/{api.links['acme']}")
    assert await api.position() == before
    assert (await exchange(api, api.links["acme"])).status_code == 200


async def test_the_page_is_one_button_and_loads_nothing(api: House) -> None:
    """No script, no address outside, a policy that forbids both, and a style that the policy knows by its hash."""
    page = await api.client.get(f"/sign-in/{api.links['acme']}")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "form-action 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    style = re.search("<style>(.*?)</style>", page.text)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy
    assert "<script" not in page.text
    assert "http" not in page.text.replace(api.links["acme"], "")
    assert page.text.count("<button") == 1


@pytest.mark.parametrize("token", ["x", "%3Cscript%3Ealert(1)%3C%2Fscript%3E", "qd_acme_" + "0" * 26 + "_" + "A" * 43])
async def test_what_is_not_a_link_is_not_repeated(api: House, token: str) -> None:
    """The page says so, without a word of what was in the address."""
    page = await api.client.get(f"/sign-in/{token}")
    assert page.status_code == 404
    assert "<script" not in page.text
    assert "alert" not in page.text
    assert "<form" not in page.text


async def test_a_link_becomes_one_session_under_a_race(api: House) -> None:
    """Of twenty that come at once one is signed in; the others hear that the link was used."""
    answers = await asyncio.gather(*(exchange(api, api.links["acme"]) for _ in range(20)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] + [409] * 19
    session = next(answer.json() for answer in answers if answer.status_code == 200)
    me = await api.client.get("/v1/me", headers={"Authorization": f"Bearer {session['session']}"})
    assert me.json()["credential"] == "session"
    assert me.json()["principal_id"] == api.ids["acme", "admin"]
    again = await exchange(api, api.links["acme"])
    assert (again.status_code, again.json()["type"]) == (409, "urn:quarterdeck:problem:wrong_state")


async def test_wrong_links_look_the_same(api: House) -> None:
    """Unknown, wrong secret, another tenant's, a key in its place: not found, and nothing recorded."""
    good = api.links["acme"]
    before = await api.position()
    wrong = [
        good[:-1] + ("A" if good[-1] != "A" else "B"),
        good.replace("qdl_acme_", "qdl_other_"),
        credential_text("acme", new_id("lnk"), "A" * 43),
        api.keys["acme", "admin"],
        "nonsense",
    ]
    answers = [await exchange(api, token) for token in wrong]
    assert {(answer.status_code, answer.json()["detail"]) for answer in answers} == {
        (404, "no such sign-in link; ask an administrator for a new one")
    }
    assert await api.position() == before


async def test_a_browser_gets_its_session_in_a_cookie(api: House) -> None:
    """Out of reach of scripts and other sites; the page does not show it; and signing out ends it."""
    answer = await api.client.post("/sign-in", content=f"token={api.links['acme']}", headers=FORM)
    assert answer.status_code == 200
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    session = api.client.cookies["qd_session"]
    assert session not in answer.text
    assert (await api.client.get("/v1/me")).json()["credential"] == "session"
    assert (await api.client.post("/sign-out")).status_code == 403
    assert (await api.client.post("/sign-out", headers={"Origin": "https://evil.test"})).status_code == 403
    assert (await api.client.get("/v1/me")).status_code == 200
    out = await api.client.post("/sign-out", headers={"Origin": BASE_URL})
    assert out.status_code == 204
    assert 'qd_session=""' in out.headers["set-cookie"]
    assert (await api.client.get("/v1/me", headers={"Cookie": f"qd_session={session}"})).status_code == 401


async def test_a_cookie_alone_commands_nothing(api: House) -> None:
    """A browser attaches it by itself; without our own origin beside it, it moves nothing."""
    await api.client.post("/sign-in", content=f"token={api.links['acme']}", headers=FORM)
    body = {"kind": "human", "display_name": "Eve", "roles": ["administrator"]}
    before = await api.position()
    for headers in ({}, {"Origin": "null"}, {"Origin": "https://quarterdeck.test"}, {"Origin": BASE_URL + ".evil"}):
        answer = await api.client.post("/v1/commands/register_principal", json=body, headers=headers)
        assert answer.status_code == 403
    assert await api.position() == before
    answer = await api.client.post("/v1/commands/register_principal", json=body, headers={"Origin": BASE_URL})
    assert answer.status_code == 200


async def test_another_sites_form_signs_nobody_in(api: House) -> None:
    """Nobody can be signed in, unawares, as somebody else; the refusal is a page, as a browser expects."""
    for origin in ("https://evil.test", "null"):
        headers = FORM | {"Origin": origin}
        answer = await api.client.post("/sign-in", content=f"token={api.links['acme']}", headers=headers)
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers
        assert answer.headers["content-type"].startswith("text/html")
    assert (await exchange(api, api.links["acme"])).status_code == 200


async def test_a_secure_address_has_a_secure_cookie(migrated_database: Callable[[], str], tmp_path: Path) -> None:
    """Behind TLS the cookie never travels without it."""
    async with house(migrated_database(), tmp_path, public_url="https://quarterdeck.test") as api:
        headers = FORM | {"Origin": "https://quarterdeck.test"}
        answer = await api.client.post("/sign-in", content=f"token={api.links['acme']}", headers=headers)
        assert "Secure" in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    ("content", "media", "status"),
    [
        (b"{}", "application/json", 400),
        (b'{"token": 7}', "application/json", 400),
        (b'{"token": "x", "more": 1}', "application/json", 400),
        (b'{"token": "a", "token": "b"}', "application/json", 400),
        (b"[]", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"token=x", "text/plain", 415),
        (b"", "application/json", 400),
    ],
)
async def test_bad_sign_in_bodies_are_refused(api: House, content: bytes, media: str, status: int) -> None:
    """Typed problems, and nothing recorded."""
    before = await api.position()
    answer = await api.client.post("/sign-in", content=content, headers={"Content-Type": media})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert await api.position() == before


async def test_an_api_key_does_not_sign_out(api: House) -> None:
    """Only sessions do; a key is revoked by its command."""
    answer = await api.client.post("/sign-out", headers=api.bearer("acme", "admin"))
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:quarterdeck:problem:wrong_state")


async def test_an_auditor_signs_out_too(api: House) -> None:
    """Who may command nothing may still end their own session."""
    await api.add("acme", "audrey", "auditor")
    sent = await api.command("issue_sign_in_link", {"principal_id": api.ids["acme", "audrey"]})
    session = (await exchange(api, sent.json()["reveal"]["sign_in_token"])).json()["session"]
    headers = {"Authorization": f"Bearer {session}"}
    assert (await api.client.post("/sign-out", headers=headers)).status_code == 204
    assert (await api.client.get("/v1/me", headers=headers)).status_code == 401
