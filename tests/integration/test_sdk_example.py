"""The example agent as a process of its own, against the real API and a small payment service. Serves DC-03, DC-07."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from journey_house import Journey, journey

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def payments() -> Iterator[Any]:
    """The payment service of the examples."""
    spec = importlib.util.spec_from_file_location("payment_service", EXAMPLES / "payment_service.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    service = module.Payments()
    thread = threading.Thread(target=service.serve_forever)
    thread.start()
    try:
        yield service
    finally:
        service.shutdown()
        service.server_close()
        thread.join()


@pytest.fixture
async def there(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[Journey]:
    """A house on a real socket."""
    async with journey(migrated_database(), tmp_path) as made:
        yield made


async def agent(there: Journey, payments: Any, *words: str) -> tuple[int, str]:
    """Run the agent; return its exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLES / "refund_agent.py"), *words, "--payments", payments.url),
        env=dict(there.environment("bot")),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def outcomes(there: Journey) -> list[object]:
    """Return the outcomes that were reported, oldest first."""
    return [event["outcome"] for event in await there.events("effect.reported")]


async def test_a_small_refund_needs_nobody(there: Journey, payments: Any) -> None:
    """Policy permits it; the payment service is given the evaluation's id as its key."""
    code, said = await agent(there, payments, "4711", "20.00")
    assert (code, said) == (0, "done: refund of 20.00 EUR on order 4711: rf-1\n")
    (decision,) = await there.events("policy.decision_recorded")
    assert list(payments.refunds) == [decision["decision_id"]]


async def test_a_large_refund_waits_for_a_human(there: Journey, payments: Any) -> None:
    """While the agent waits the human approves; it acts once, under the key that the log knows."""
    running = asyncio.create_task(agent(there, payments, "4711", "480.00", "--wait", "60"))
    await there.decide(await there.asked())
    code, said = await running
    assert (code, said) == (0, "done: refund of 480.00 EUR on order 4711: rf-1\n")
    (redeemed,) = await there.events("grant.redeemed")
    assert redeemed["effect_class"] == "idempotent"
    assert list(payments.refunds) == [redeemed["effect_id"]]
    assert await outcomes(there) == ["committed"]


async def test_the_process_may_end_while_it_waits(there: Journey, payments: Any) -> None:
    """It gives way, is started again before and after the decision, and acts once."""
    words = ("4711", "480.00", "--wait", "0")
    for _ in range(2):
        code, said = await agent(there, payments, *words)
        assert code == 75
    task_id = said.split(": ")[2].split(" ")[0]
    assert len(await there.events("approval.requested")) == 1
    await there.decide(task_id)
    code, said = await agent(there, payments, *words)
    assert (code, said) == (0, "done: refund of 480.00 EUR on order 4711: rf-1\n")
    assert len(payments.refunds) == 1


async def test_a_no_is_a_no(there: Journey, payments: Any) -> None:
    """Denied by a human: nothing at the payment service."""
    running = asyncio.create_task(agent(there, payments, "4711", "480.00", "--wait", "60"))
    await there.decide(await there.asked(), "deny")
    code, said = await running
    assert (code, said.startswith("denied: refund of 480.00")) == (1, True)
    assert payments.refunds == {}


async def test_declined_is_reported_as_failed(there: Journey, payments: Any) -> None:
    """The payment service says that nothing happened; so does the log."""
    running = asyncio.create_task(agent(there, payments, "declined-1", "480.00", "--wait", "60"))
    await there.decide(await there.asked())
    code, said = await running
    assert (code, said.startswith("declined:")) == (1, True)
    assert await outcomes(there) == ["failed"]


async def test_a_payment_service_that_is_away_leaves_it_unknown(there: Journey, payments: Any) -> None:
    """Nobody knows whether the request arrived: a human settles it."""
    payments.server_close()
    running = asyncio.create_task(agent(there, payments, "4711", "480.00", "--wait", "60"))
    await there.decide(await there.asked())
    code, _ = await running
    assert code == 1
    assert await outcomes(there) == ["unknown"]


async def test_without_quarterdeck_nothing_is_done(there: Journey, payments: Any) -> None:
    """Fail closed, even for what policy would permit."""
    there.url = "http://127.0.0.1:9"
    code, said = await agent(there, payments, "4711", "20.00")
    assert (code, said.startswith("no permission, so nothing was done")) == (69, True)
    assert payments.refunds == {}
