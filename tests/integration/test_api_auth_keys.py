"""API keys and sessions at the door. Serves DC-04, DC-05, S0-86; threats T16, T20, T21."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_house import House, house, key_id_of, new_id

from quarterdeck_api.auth.caller import Caller
from quarterdeck_api.problems import Unauthenticated
from quarterdeck_domain.access.credentials import credential_text, hash_secret
from quarterdeck_domain.access.slices import DeactivatePrincipal, RevokeApiKey, RevokeRole, RotateApiKey
from quarterdeck_domain.access.values import SYSTEM
from quarterdeck_domain.events import Actor

SECRET = "A" * 43


@pytest.fixture
async def api(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[House]:
    """An API with two tenants, and an agent in the first."""
    async with house(migrated_database(), tmp_path, tenants=("acme", "globex")) as made:
        await made.add("acme", "bot", "agent", kind="agent")
        yield made


async def ask(api: House, token: str) -> tuple[int, str]:
    """Return status and detail of a request with a bearer token."""
    answer = await api.client.get("/v1/me", headers={"Authorization": f"Bearer {token}"})
    return answer.status_code, answer.json().get("detail", "")


async def test_a_key_says_who_its_holder_is(api: House) -> None:
    """Tenant, principal, kind and roles come from the log, not from the request."""
    me = (await api.client.get("/v1/me", headers=api.bearer("acme", "bot"))).json()
    assert me["tenant"] == "acme"
    assert me["principal_id"] == api.ids["acme", "bot"]
    assert (me["kind"], me["roles"], me["credential"]) == ("agent", ["agent"], "api")
    assert me["key_id"] == key_id_of(api.keys["acme", "bot"])


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        "Token abc",
        "Bearer qd_",
        "Bearer qd_acme_short_" + SECRET,
        "Bearer qd_acme_00000000000000000000000000_" + SECRET + "'; DROP TABLE ledger.events; --",
        "Bearer " + "x" * 9_000,
        "Bearer qdl_acme_00000000000000000000000000_" + SECRET,
        "Bearer qd_ACME_00000000000000000000000000_" + SECRET,
        "Bearer qd_a..b_00000000000000000000000000_" + SECRET,
        "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.",
    ],
)
async def test_anything_but_a_key_is_challenged(api: House, header: str | None) -> None:
    """401 with a challenge, a problem, and nothing of what was sent."""
    answer = await api.client.get("/v1/me", headers={} if header is None else {"Authorization": header})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith('Bearer realm="quarterdeck"')
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:quarterdeck:problem:unauthenticated"
    assert SECRET not in answer.text


async def test_wrong_unknown_and_other_tenants_keys_look_the_same(api: House) -> None:
    """Nobody learns whether an id or a tenant exists."""
    good = api.keys["acme", "bot"]
    suffix = good.split("_")[2]
    attempts = [
        credential_text("acme", f"key_{suffix}", secrets.token_urlsafe(32)),
        credential_text("acme", new_id("key"), secrets.token_urlsafe(32)),
        good.replace("qd_acme_", "qd_globex_"),
        good.replace("qd_acme_", "qd_nobody_"),
    ]
    answers = [await ask(api, token) for token in attempts]
    assert answers == [(401, "this credential opens nothing here")] * len(attempts)
    assert (await ask(api, good))[0] == 200


async def test_the_tenant_header_cannot_move_a_key(api: House) -> None:
    """A key belongs to its tenant whatever the request asks for."""
    headers = api.bearer("acme", "bot") | {"Quarterdeck-Tenant": "globex"}
    assert (await api.client.get("/v1/me", headers=headers)).status_code == 401


async def test_a_revoked_key_is_refused_by_the_next_request(api: House) -> None:
    """Though it was used, and remembered, the moment before; in another process too."""
    key = api.keys["acme", "bot"]
    for _ in range(3):
        assert (await ask(api, key))[0] == 200
    await api.run("acme", RevokeApiKey(key_id=key_id_of(key), reason="lost", actor=_admin(api)))
    assert await ask(api, key) == (401, "this credential was revoked")
    assert await ask(api, key) == (401, "this credential was revoked")


async def test_revocation_holds_under_concurrent_use(api: House) -> None:
    """No request that starts after the revocation was acknowledged is let in, however many are under way."""
    key = api.keys["acme", "bot"]
    stop = asyncio.Event()
    late: list[int] = []
    revoked = asyncio.Event()

    async def hammer() -> None:
        while not stop.is_set():
            began_after = revoked.is_set()
            status, _ = await ask(api, key)
            if began_after:
                late.append(status)

    tasks = [asyncio.create_task(hammer()) for _ in range(12)]
    await ask(api, key)
    await api.run("acme", RevokeApiKey(key_id=key_id_of(key), reason="lost", actor=_admin(api)))
    revoked.set()
    while len(late) < 24:
        await ask(api, api.keys["acme", "admin"])
    stop.set()
    await asyncio.gather(*tasks)
    assert set(late) == {401}


async def test_a_deactivated_principals_keys_die_and_roles_shrink_at_once(api: House) -> None:
    """What the holder loses, the key loses with the next request."""
    key = await api.add("acme", "olga", "operator", "approver")
    assert (await _roles(api, key)) == ["approver", "operator"]
    await api.run("acme", RevokeRole(principal_id=api.ids["acme", "olga"], role="operator", actor=_admin(api)))
    assert (await _roles(api, key)) == ["approver"]
    await api.run(
        "acme",
        DeactivatePrincipal(principal_id=api.ids["acme", "olga"], reason="left", successor=None, actor=_admin(api)),
    )
    assert await ask(api, key) == (401, "the principal that holds this credential is no longer active")


async def test_a_rotated_key_lives_until_its_overlap_ends(api: House) -> None:
    """With no overlap the old key ends with the rotation, and the new one opens."""
    old = api.keys["acme", "bot"]
    sent = await api.command("rotate_api_key", {"key_id": key_id_of(old), "overlap_s": 3600})
    second = sent.json()["reveal"]["api_key"]
    assert (await ask(api, old))[0] == (await ask(api, second))[0] == 200
    key_id = new_id("key")
    text = credential_text("acme", key_id, SECRET)
    await api.run(
        "acme",
        RotateApiKey(
            tenant="acme",
            key_id=key_id_of(second),
            new_key_id=key_id,
            secret_hash=hash_secret(text),
            overlap_s=0,
            actor=_admin(api),
        ),
    )
    assert (await ask(api, text))[0] == 200
    assert (await ask(api, second))[0] == 401


async def made_with(api: House, key: str, **body: Any) -> httpx.Response:
    """Issue a key with a key."""
    headers = {"Authorization": f"Bearer {key}"}
    return await api.client.post("/v1/commands/issue_api_key", json=body, headers=headers)


async def end_of(api: House, key: str) -> str | None:
    """Return when a key ends."""
    me = (await api.client.get("/v1/me", headers={"Authorization": f"Bearer {key}"})).json()
    ends: str | None = me["expires_at"]
    return ends


async def test_a_key_that_ends_makes_none_that_lasts(api: House) -> None:
    """What is made with it ends with it; to ask for more is refused, with the latest moment."""
    await api.add("acme", "cron", "agent", kind="service")
    short = await api.issue_key("acme", api.ids["acme", "cron"], lifetime_s=600)
    child = (await made_with(api, short)).json()["reveal"]["api_key"]
    grandchild = (await made_with(api, child)).json()["reveal"]["api_key"]
    assert await end_of(api, short) == await end_of(api, child) == await end_of(api, grandchild) is not None
    refused = await made_with(api, child, lifetime_s=86_400)
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:quarterdeck:problem:not_allowed")
    latest = datetime.fromisoformat(refused.json()["details"]["latest"])
    assert latest == datetime.fromisoformat(str(await end_of(api, short)))


async def test_an_agent_makes_no_keys_for_itself_and_rotates_its_own(api: House) -> None:
    """Whoever steals an agent's key gets no other; the agent renews its own, with its overlap."""
    own = api.keys["acme", "bot"]
    refused = await made_with(api, own)
    assert refused.status_code == 403, refused.text
    assert "rotates its own" in refused.json()["detail"]
    body = {"key_id": key_id_of(own), "overlap_s": 60}
    rotated = await api.command("rotate_api_key", body, by=("acme", "bot"))
    assert rotated.status_code == 200, rotated.text
    for key in (own, rotated.json()["reveal"]["api_key"]):
        assert (await ask(api, key))[0] == 200


async def test_revoking_a_key_revokes_what_was_made_with_it(api: House) -> None:
    """To any depth, rotated ones too; the next request with any of them is refused."""
    await api.add("acme", "cron", "agent", kind="service")
    keys = [await api.issue_key("acme", api.ids["acme", "cron"])]
    for _ in range(3):
        keys.append((await made_with(api, keys[-1])).json()["reveal"]["api_key"])
    rotated = await api.client.post(
        "/v1/commands/rotate_api_key",
        json={"key_id": key_id_of(keys[-1]), "overlap_s": 3_600},
        headers={"Authorization": f"Bearer {keys[-1]}"},
    )
    keys.append(rotated.json()["reveal"]["api_key"])
    assert [(await ask(api, key))[0] for key in keys] == [200] * 5
    sent = await api.command("revoke_api_key", {"key_id": key_id_of(keys[1]), "reason": "leaked"}, key="once")
    assert [event["type"] for event in sent.json()["events"]] == ["api_key.revoked"]
    assert [(await ask(api, key))[0] for key in keys] == [200, 401, 401, 401, 401]
    again = await api.command("revoke_api_key", {"key_id": key_id_of(keys[1]), "reason": "leaked"}, key="once")
    assert (again.json()["result"], again.json()["repeated"]) == (sent.json()["result"], True)


async def test_a_key_that_lost_its_race_with_a_revocation_is_dead(api: House) -> None:
    """Twenty are made while the one they are made with is revoked: none of them opens anything afterwards."""
    await api.add("acme", "cron", "agent", kind="service")
    leaked = await api.issue_key("acme", api.ids["acme", "cron"])
    parent = (await made_with(api, leaked)).json()["reveal"]["api_key"]
    revoking = api.command("revoke_api_key", {"key_id": key_id_of(leaked), "reason": "leaked"})
    revoked, *made = await asyncio.gather(revoking, *(made_with(api, parent) for _ in range(20)))
    assert revoked.status_code == 200, revoked.text
    for answer in made:
        if answer.status_code == 200:
            assert (await ask(api, answer.json()["reveal"]["api_key"]))[0] == 401
        else:
            assert answer.status_code in (401, 403, 409, 503), answer.text


async def test_nobody_keeps_a_key_from_being_revoked_by_making_more(api: House) -> None:
    """Sixteen make keys with it, as fast as they can, while it is revoked: it is, at the first try, and all are dead."""
    await api.add("acme", "cron", "agent", kind="service")
    leaked = await api.issue_key("acme", api.ids["acme", "cron"])
    made: list[str] = []
    over = asyncio.Event()

    async def go_on() -> None:
        while not over.is_set():
            answer = await made_with(api, leaked)
            if answer.status_code == 200:
                made.append(answer.json()["reveal"]["api_key"])

    async with asyncio.TaskGroup() as group:
        for _ in range(16):
            group.create_task(go_on())
        while len(made) < 16:  # noqa: ASYNC110  the others work in this very loop
            await asyncio.sleep(0)
        revoked = await api.command("revoke_api_key", {"key_id": key_id_of(leaked), "reason": "leaked"})
        over.set()
    assert revoked.status_code == 200, revoked.text
    for key in (leaked, made[0], made[-1]):
        assert (await ask(api, key))[0] == 401


async def test_a_delegated_key_has_only_what_everyone_in_its_chain_has(api: House) -> None:
    """Acting for somebody narrows; when the delegator goes, the key opens nothing."""
    await api.add("acme", "sam", "operator")
    sam = api.ids["acme", "sam"]
    key = await api.issue_key("acme", api.ids["acme", "admin"], acts_for=(sam,))
    me = (await api.client.get("/v1/me", headers={"Authorization": f"Bearer {key}"})).json()
    assert (me["roles"], me["on_behalf_of"]) == ([], [sam])
    await api.run("acme", DeactivatePrincipal(principal_id=sam, reason="left", successor=None, actor=_admin(api)))
    assert (await ask(api, key))[0] == 401


async def test_a_closed_tenant_is_only_read_and_only_by_those_who_look_after_it(api: House) -> None:
    """Its auditors and administrators take away the log; nobody commands, asks or decides anything any more."""
    await api.add("acme", "audrey", "auditor")
    closed = await api.command("close_tenant", {"tenant": "acme", "reason": "moved"})
    assert closed.status_code == 200, closed.text
    position = await api.position()
    for name, status in (("admin", 200), ("audrey", 200), ("bot", 401)):
        answer = await api.client.get("/v1/log/export", headers=api.bearer("acme", name))
        assert answer.status_code == status, name
    me = await api.client.get("/v1/me", headers=api.bearer("acme", "admin"))
    assert me.json()["roles"] == ["auditor"]
    asked = {"subject": {"type": "user", "id": "x"}, "action": {"name": "y"}, "resource": {"type": "z", "id": "w"}}
    for path, body in (("/v1/commands/issue_api_key", {}), ("/access/v1/evaluation", asked)):
        refused = await api.client.post(path, json=body, headers=api.bearer("acme", "admin"))
        assert (refused.status_code, refused.json()["detail"]) == (401, "this tenant is closed")
    assert await api.position() == position
    assert (await ask(api, api.keys["globex", "admin"]))[0] == 200


async def test_streams_can_ask_whether_their_caller_still_stands(api: House) -> None:
    """False after a revocation, after a role is lost, and for a caller without a credential."""
    key = await api.add("acme", "olga", "operator")
    authenticator = api.services.authenticator
    caller = await authenticator.authenticate(f"Bearer {key}")
    assert await authenticator.still_valid(caller)
    await api.run("acme", RevokeRole(principal_id=api.ids["acme", "olga"], role="operator", actor=_admin(api)))
    assert not await authenticator.still_valid(caller)
    caller = await authenticator.authenticate(f"Bearer {key}")
    assert await authenticator.still_valid(caller)
    await api.run("acme", RevokeApiKey(key_id=key_id_of(key), reason="lost", actor=_admin(api)))
    assert not await authenticator.still_valid(caller)
    anybody = Caller(tenant="acme", actor=SYSTEM, roles=frozenset({"administrator"}))
    assert not await authenticator.still_valid(anybody)
    with pytest.raises(Unauthenticated):
        await authenticator.worth(anybody)


async def test_guessing_from_one_address_has_to_wait(migrated_database: Callable[[], str], tmp_path: Path) -> None:
    """Wrong credentials are counted by address; one that is known goes on working meanwhile."""
    async with house(migrated_database(), tmp_path, failed_sign_ins_per_minute=5) as api:
        assert (await ask(api, api.keys["acme", "admin"]))[0] == 200
        wrong = credential_text("acme", new_id("key"), SECRET)
        statuses = [(await ask(api, wrong))[0] for _ in range(8)]
        assert statuses == [401] * 5 + [429] * 3
        answer = await api.client.get("/v1/me", headers={"Authorization": f"Bearer {wrong}"})
        assert int(answer.headers["retry-after"]) >= 1
        assert (await ask(api, api.keys["acme", "admin"]))[0] == 200


def _admin(api: House) -> Actor:
    return api.actor("acme", "admin")


async def _roles(api: House, key: str) -> list[str]:
    answer = await api.client.get("/v1/me", headers={"Authorization": f"Bearer {key}"})
    roles: list[str] = answer.json()["roles"]
    return roles
