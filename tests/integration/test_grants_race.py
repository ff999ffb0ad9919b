"""Many redeemers at once, through two APIs over one database: one wins. Serves C03; DESIGN 'What must always hold' 2;
RELIABILITY T2."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
from access_world import OURS, World, assert_problem, world
from api_house import BASE_URL

from quarterdeck_api.app import create_app
from quarterdeck_api.bootstrap import running

REDEEMERS = 300


async def test_of_hundreds_of_redeemers_one_wins(module_database: str, tmp_path: Path) -> None:
    """Whatever they meet, exactly one effect starts, and every loser is told which."""
    async with (
        world(module_database, tmp_path, rate_burst=100_000) as w,
        running(w.services.settings) as other,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(other), client=("192.0.2.2", 4711)), base_url=BASE_URL
        ) as second,
    ):
        intent, approval = await w.approved()
        body = {"grant": (await w.grant(approval["id"]))["grant"], "intent": intent}
        clients = (w.client, second)
        answers = await asyncio.gather(
            *(
                clients[number % 2].post("/v1/grants/redeem", json=body, headers=w.auth("bot"))
                for number in range(REDEEMERS)
            )
        )
        won = [answer.json() for answer in answers if answer.status_code == 200]
        assert len(won) == 1
        for answer in answers:
            if answer.status_code != 200:
                problem = assert_problem(answer, 409, f"{OURS}wrong_state")
                assert problem["details"]["effect_id"] == won[0]["effect_id"]
        await only_one_effect(w, won[0]["effect_id"])


async def test_the_same_key_at_once_gets_the_same_effect(module_database: str, tmp_path: Path) -> None:
    """Retries that overtake each other: one effect, and each of them hears of it."""
    async with world(module_database, tmp_path) as w:
        intent, approval = await w.approved()
        grant = (await w.grant(approval["id"]))["grant"]
        answers = await asyncio.gather(*(w.redeem(grant, intent, key="r-1") for _ in range(24)))
        assert {answer.status_code for answer in answers} == {200}
        assert [answer.json()["repeated"] for answer in answers].count(False) == 1
        (effect_id,) = {answer.json()["effect_id"] for answer in answers}
        await only_one_effect(w, effect_id)


async def test_redeeming_and_revoking_at_once_come_to_one_end(module_database: str, tmp_path: Path) -> None:
    """Either it was used or it was taken back."""
    async with world(module_database, tmp_path) as w:
        for number in range(6):
            intent, approval = await w.approved(resource={"type": "order", "id": str(number)})
            grant = await w.grant(approval["id"])
            revocation = {"grant_id": grant["id"], "reason": "a mistake"}
            redeemed, revoked = await asyncio.gather(
                w.redeem(grant["grant"], intent),
                w.api.command("revoke_grant", revocation, by=(w.tenant, "olga")),
            )
            assert {redeemed.status_code, revoked.status_code} == {200, 409}
            ends = [event for event in await w.log("grant.redeemed", "grant.revoked") if event.grant_id == grant["id"]]
            assert len(ends) == 1


async def test_votes_at_once_come_to_one_end(module_database: str, tmp_path: Path) -> None:
    """Two approvers, one quorum: one vote decides, and one grant is minted."""
    async with world(module_database, tmp_path) as w:
        for number in range(6):
            task = await w.request(resource={"type": "order", "id": str(number)})
            answers = await asyncio.gather(w.vote(task["id"]), w.vote(task["id"], "deny", "dave"))
            assert sorted(answer.status_code for answer in answers) == [200, 409]
            minted = [fact for fact in await w.log("grant.minted") if fact.approval_id == task["id"]]
            assert len(minted) == (answers[0].status_code == 200)


async def only_one_effect(w: World, effect_id: str) -> None:
    """Assert that the log has one redemption, after its permit, and nothing by the approval after it."""
    (redeemed,) = await w.log("grant.redeemed")
    assert redeemed.effect_id == effect_id
    events = await w.services.ledger.read(w.tenant)
    at = next(event.position for event in events if event.type == "grant.redeemed")
    by_approval = [
        event.position
        for event in events
        if event.type == "policy.decision_recorded" and event.payload.approval_id is not None
    ]
    assert by_approval
    assert max(by_approval) < at
