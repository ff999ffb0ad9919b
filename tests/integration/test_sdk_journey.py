"""The client against the real API: ask, wait, redeem, act, report; gates for async and plain functions.

Serves DC-03, DC-07, S0-32, S0-58; invariant 2 of the design.
"""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from journey_house import Journey, journey

from quarterdeck import (
    ActionChanged,
    ApprovalCancelled,
    ApprovalDenied,
    ApprovalPending,
    Denied,
    Entity,
    GrantSpent,
    NotDone,
    Quarterdeck,
    Refused,
    SyncQuarterdeck,
    Task,
    gate,
)

LARGE = {"order_id": "4711", "amount": "120.00", "currency": "EUR"}
OUTCOMES = "effect.reported"


@pytest.fixture
async def there(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[Journey]:
    """A house on a real socket."""
    async with journey(migrated_database(), tmp_path) as made:
        yield made


async def decide_when_asked(there: Journey, verdict: str = "approve") -> str:
    """Wait for the one open request, as the approver sees it, and decide it; return its id."""
    task_id = await there.asked()
    assert (await there.decide(task_id, verdict)).status_code == 200
    return task_id


def refunds(client: Quarterdeck, done: list[str], wait_s: float = 20.0) -> Callable[..., Coroutine[Any, Any, str]]:
    """Return a gated refund that notes what it did."""

    @gate("refund", resource=lambda order_id, **_: f"order:{order_id}", client=client, wait_s=wait_s)
    async def refund(order_id: str, amount: str, currency: str = "EUR") -> str:
        done.append(f"{order_id} {amount} {currency}")
        return f"rf-{order_id}"

    return refund


async def test_step_by_step(there: Journey) -> None:
    """Ask, request, wait, fetch the grant, redeem it, report: each is one call, and each leaves its event."""
    async with there.client() as bot:
        decision = await bot.ask("refund", "order:4711", properties={"amount": "120.00", "currency": "EUR"})
        assert (decision.outcome, decision.permitted, decision.next_action) == ("approval_required", False, "request")
        assert "a human must approve" in decision.message
        task = await bot.request_approval(decision, justification="the parcel was lost")
        assert task.pending
        assert (await bot.wait(task, 0)).pending
        await there.decide(task.id)
        ended = await bot.wait(task, 10)
        assert ended.status == "approved"
        assert ended.approved_until is not None
        grant = await bot.grant(ended)
        effect = await bot.redeem(grant, decision.intent)
        await bot.report(effect, "committed", "paid")
    (reported,) = await there.events(OUTCOMES)
    assert (reported["effect_id"], reported["outcome"], reported["detail"]) == (effect.id, "committed", "paid")


async def test_small_is_free_and_deleting_production_is_not(there: Journey) -> None:
    """A permit runs at once; a denial never runs, and says why."""
    ran: list[str] = []
    async with there.client() as bot:
        assert await refunds(bot, ran)("1", "5.00", "EUR") == "rf-1"

        @gate("delete", resource=Entity("table", "orders", {"environment": "production"}), client=bot)
        async def drop() -> None:
            ran.append("dropped")

        with pytest.raises(Denied) as caught:
            await drop()
    assert ran == ["1 5.00 EUR"]
    assert (caught.value.reason, caught.value.next_action) == ("denied", "none")
    assert "production data is not deleted" in caught.value.message
    assert caught.value.evaluation_id is not None
    assert await there.events("approval.requested") == []


async def test_a_gated_call_waits_for_a_human_and_runs_once(there: Journey) -> None:
    """The arguments, defaults too, are what the human sees; the effect is reported as committed."""
    ran: list[str] = []
    async with there.client() as bot:
        refund = refunds(bot, ran)
        result, task_id = await asyncio.gather(refund("4711", "120.00"), decide_when_asked(there))
    assert (result, ran) == ("rf-4711", ["4711 120.00 EUR"])
    shown = (await there.as_("iris", "GET", f"/v1/approvals/{task_id}")).json()
    assert shown["verified"]["request"]["action"]["properties"] == LARGE
    assert shown["grant"]["status"] == "redeemed"
    assert [event["outcome"] for event in await there.events(OUTCOMES)] == ["committed"]


async def test_a_human_says_no(there: Journey) -> None:
    """The function does not run, and the error says that asking again is no use."""
    ran: list[str] = []
    async with there.client() as bot:
        asked = asyncio.create_task(refunds(bot, ran)("4711", "120.00"))
        await decide_when_asked(there, "deny")
        with pytest.raises(ApprovalDenied) as caught:
            await asked
    assert (ran, caught.value.next_action, caught.value.task.status) == ([], "none", "denied")


async def test_a_request_that_is_taken_back(there: Journey) -> None:
    """Whoever waits hears of it."""
    ran: list[str] = []
    async with there.client() as bot:
        asked = asyncio.create_task(refunds(bot, ran)("4711", "120.00"))
        taken_back = await bot.cancel(await there.asked(), "the customer changed their mind")
        assert taken_back.status == "cancelled"
        with pytest.raises(ApprovalCancelled):
            await asked
    assert ran == []


async def test_pending_then_resumed_elsewhere(there: Journey) -> None:
    """The first process gives up waiting; another one, knowing only the task's id, goes on. It runs once."""
    ran: list[str] = []
    async with there.client() as first:
        with pytest.raises(ApprovalPending) as caught:
            await refunds(first, ran, wait_s=0)("4711", "120.00")
        task_id = caught.value.task.id
    async with there.client() as second:
        refund = refunds(second, ran, wait_s=0)
        with pytest.raises(ApprovalPending):
            await second.resume(task_id, refund, "4711", "120.00")
        await there.decide(task_id)
        with pytest.raises(ActionChanged):
            await second.resume(task_id, refund, "4711", "121.00")
        assert await second.resume(task_id, refund, "4711", "120.00") == "rf-4711"
        with pytest.raises(GrantSpent):
            await second.resume(task_id, refund, "4711", "120.00")
    assert ran == ["4711 120.00 EUR"]


async def test_calling_again_finds_the_open_request(there: Journey) -> None:
    """A restarted agent that just calls again does not ask twice: undecided or approved, the same task serves it."""
    ran: list[str] = []
    async with there.client() as bot:
        refund = refunds(bot, ran, wait_s=0)
        tasks = set()
        for _ in range(2):
            with pytest.raises(ApprovalPending) as caught:
                await refund("4711", "120.00")
            tasks.add(caught.value.task.id)
        (task_id,) = tasks
        await there.decide(task_id)
        assert await refund("4711", "120.00") == "rf-4711"
        with pytest.raises(ApprovalPending) as caught:
            await refund("4711", "120.00")
    assert caught.value.task.id != task_id
    assert ran == ["4711 120.00 EUR"]


async def test_twenty_callers_one_approval_one_run(there: Journey) -> None:
    """All wait for the same task; one redeems its grant, the others are told that it is spent."""
    ran: list[str] = []
    async with there.client() as bot:
        refund = refunds(bot, ran)
        calls = [asyncio.create_task(refund("4711", "120.00")) for _ in range(20)]
        await decide_when_asked(there)
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert ran == ["4711 120.00 EUR"]
    assert results.count("rf-4711") == 1
    assert sum(isinstance(item, GrantSpent) for item in results) == 19


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(NotDone("declined"), "failed"), (LookupError("no such card"), "failed"), (TimeoutError(), "unknown")],
)
async def test_what_a_function_raises_is_reported(there: Journey, error: Exception, outcome: str) -> None:
    """Only who says that nothing happened is believed; the text of the error stays at home."""
    async with there.client() as bot:

        @gate("refund", resource="order:1", client=bot, wait_s=20, failed_on=(LookupError,))
        async def refund(amount: str) -> None:
            raise error

        call = asyncio.create_task(refund("500.00"))
        await decide_when_asked(there)
        with pytest.raises(type(error)):
            await call
    (reported,) = await there.events(OUTCOMES)
    assert (reported["outcome"], reported["detail"]) == (outcome, f"raised {type(error).__name__}")


async def test_a_cancelled_run_is_unknown(there: Journey) -> None:
    """Between redeeming and the end nobody knows: that is what the log says."""
    started = asyncio.Event()
    async with there.client() as bot:

        @gate("refund", resource="order:1", client=bot, wait_s=20)
        async def refund(amount: str) -> None:
            started.set()
            await asyncio.Event().wait()

        call = asyncio.create_task(refund("500.00"))
        await decide_when_asked(there)
        await started.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert [event["outcome"] for event in await there.events(OUTCOMES)] == ["unknown"]


async def test_arguments_changed_while_waiting_are_refused(there: Journey) -> None:
    """What was approved is what the human saw, not what the object has become since."""

    @dataclasses.dataclass
    class Order:
        amount: Decimal
        currency: str = "EUR"

    ran: list[Order] = []
    async with there.client() as bot:

        @gate("refund", resource="order:1", client=bot, wait_s=20)
        async def refund(order: Order) -> None:
            ran.append(order)

        order = Order(Decimal("120.00"))
        call = asyncio.create_task(refund(order))
        await there.asked()
        order.amount = Decimal("12000.00")
        await decide_when_asked(there)
        with pytest.raises(ActionChanged):
            await call
        assert ran == []
        assert await there.events("grant.redeemed") == []


async def test_policy_that_changed_meanwhile_wins(there: Journey) -> None:
    """An approval is no way around a policy that has since been enforced; the grant is not used up."""
    ran: list[str] = []
    async with there.client() as bot:
        call = asyncio.create_task(refunds(bot, ran, wait_s=0)("4711", "120.00"))
        with pytest.raises(ApprovalPending) as caught:
            await call
        await there.decide(caught.value.task.id)
        await there.enforce('@id("none") @reason("refunds are frozen") forbid (principal, action, resource);')
        with pytest.raises(Denied, match="refunds are frozen") as denied:
            await bot.resume(caught.value.task.id, refunds(bot, ran), "4711", "120.00")
    assert (ran, denied.value.reason) == ([], "policy_denied")


OBLIGED = (
    '@id("free") @obligation("notification?to=ops%40example.com&body=a+refund") permit (principal, action, resource);'
)


async def test_obligations_are_fulfilled_or_it_is_a_no(there: Journey) -> None:
    """A gate that cannot do what the decision asks treats it as a denial."""
    await there.enforce(OBLIGED)
    told: list[str] = []
    ran: list[str] = []

    def comply(obligation: object) -> bool:
        told.append(obligation.properties["to"])  # type: ignore[attr-defined]
        return True

    async with there.client() as bot:

        @gate("refund", resource="order:1", client=bot)
        async def deaf() -> None:
            ran.append("deaf")

        @gate("refund", resource="order:1", client=bot, comply=comply)
        async def able() -> None:
            ran.append("able")

        with pytest.raises(Denied) as caught:
            await deaf()
        await able()
    assert (caught.value.reason, told, ran) == ("obligation_not_met", ["ops@example.com"], ["able"])


async def test_the_grant_is_its_redeemers_alone(there: Journey) -> None:
    """Another agent with the task's id sees nothing; a person sees the grant without its token."""
    await there.house.add("acme", "other", "agent", kind="agent")
    async with there.client() as bot, there.client("other") as other, there.client("iris") as iris:
        decision = await bot.ask("refund", "order:1", properties={"amount": "500.00", "currency": "EUR"})
        task = await bot.request_approval(decision)
        await there.decide(task.id)
        for call in (other.task(task), other.grant(task), other.wait(task, 5)):
            with pytest.raises(Refused) as caught:
                await call
            assert caught.value.problem.status == 404
        assert (await iris.grant(task)).token is None
        with pytest.raises(Refused) as refused:
            await iris.redeem(await iris.grant(task), decision.intent)
        assert refused.value.code == "not_allowed"


async def test_repeating_a_redemption_by_its_key(there: Journey) -> None:
    """The first answer is given again: for whoever lost it on the way."""
    async with there.client() as bot:
        decision = await bot.ask("refund", "order:1", properties={"amount": "500.00", "currency": "EUR"})
        task = await bot.request_approval(decision)
        await there.decide(task.id)
        grant, key = await bot.grant(task), str(uuid.uuid4())
        first = await bot.redeem(grant, decision.intent, idempotency_key=key)
        assert await bot.redeem(grant, decision.intent, idempotency_key=key) == first
        with pytest.raises(GrantSpent) as caught:
            await bot.redeem(grant, decision.intent)
    assert caught.value.problem.details["effect_id"] == first.id


async def test_refusals_say_why(there: Journey) -> None:
    """A wrong key, somebody else as subject, a denial that cannot be asked on."""
    async with Quarterdeck(there.url, "qd_acme_" + "0" * 26 + "_" + "A" * 43) as nobody:
        with pytest.raises(Refused) as caught:
            await nobody.me()
        assert (caught.value.problem.status, caught.value.code) == (401, "unauthenticated")
    async with there.client() as bot:
        with pytest.raises(Refused) as caught:
            await bot.ask("read", "order:1", subject="user:somebody")
        assert caught.value.code == "not_allowed"
        decision = await bot.ask("invent", "order:1")
        with pytest.raises(Denied) as denied:
            await bot.request_approval(decision)
        assert denied.value.next_action == "none"
        with pytest.raises(Refused) as caught:
            await bot.task("apr_00000000000000000000000000")
        assert caught.value.code == "unknown_task"


async def test_the_sync_client_is_the_same(there: Journey) -> None:
    """Plain functions are gated in their own thread, wait, run once, are resumed, and report."""
    key = there.house.keys["acme", "bot"]
    ran: list[str] = []

    def work() -> tuple[str, str]:
        with SyncQuarterdeck(there.url, key) as bot:

            @gate("refund", resource=lambda order_id, **_: f"order:{order_id}", client=bot, wait_s=20)
            def refund(order_id: str, amount: str, currency: str = "EUR") -> str:
                ran.append(order_id)
                return f"rf-{order_id}"

            assert bot.ask("read", "order:1").permitted
            return refund("1", "5.00"), refund("4711", "120.00")

    results, task_id = await asyncio.gather(asyncio.to_thread(work), decide_when_asked(there))
    assert results == ("rf-1", "rf-4711")

    def pending() -> Task:
        with SyncQuarterdeck(there.url, key) as bot:
            with pytest.raises(ApprovalPending) as caught:
                sync_refund(bot, ran)("4712", "120.00")
            return caught.value.task

    def resume(task: Task) -> str:
        with SyncQuarterdeck(there.url, key) as bot:
            return bot.resume(task.id, sync_refund(bot, ran), "4712", "120.00")

    task = await asyncio.to_thread(pending)
    assert task.id != task_id
    await there.decide(task.id)
    assert await asyncio.to_thread(resume, task) == "rf-4712"
    assert ran == ["1", "4711", "4712"]
    assert [event["outcome"] for event in await there.events(OUTCOMES)] == ["committed", "committed"]


def sync_refund(client: SyncQuarterdeck, ran: list[str]) -> Callable[[str, str], str]:
    """Return a gated plain function that does not wait."""

    @gate("refund", resource=lambda order_id, **_: f"order:{order_id}", client=client, wait_s=0)
    def refund(order_id: str, amount: str) -> str:
        ran.append(order_id)
        return f"rf-{order_id}"

    return refund
