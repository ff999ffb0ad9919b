"""An agent that refunds orders, and asks before it does. Scripted: no language model, so that you can see each step.

    export QUARTERDECK_URL=http://127.0.0.1:8480 QUARTERDECK_TOKEN=qd_…      # an agent's key: quarterdeck keys issue
    python examples/payment_service.py 8490 &
    python examples/refund_agent.py 4711 20.00        # small: policy permits it
    python examples/refund_agent.py 4711 480.00       # large: a human is asked; approve it with `quarterdeck approvals`

It waits for the human for a while, and then ends with exit code 75 ("try again later"). Start it again with the same
arguments, tomorrow or on another machine: it finds the request that is open, or approved, and goes on from there.

Exit codes: 0 refunded; 1 not refunded, and why; 69 Quarterdeck cannot be reached; 75 a human has not decided yet.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable

import httpx

from quarterdeck import ApprovalPending, Denied, GrantSpent, NotDone, QuarterdeckError, Unreachable, effect_key, gate

WAIT_S = 30.0


def refunder(payments: str, wait_s: float = WAIT_S) -> Callable[[str, str, str], Awaitable[str]]:
    """Return the one thing this agent can do to the world, behind its gate."""

    @gate(
        action="refund",
        resource=lambda order_id, **_: f"order:{order_id}",
        justification=lambda order_id, **_: f"Customer of order {order_id} was charged twice.",
        # The payment service does a thing once for each key, so repeating this effect is harmless.
        effect_class="idempotent",
        wait_s=wait_s,
    )
    async def refund(order_id: str, amount: str, currency: str) -> str:
        """Refund an order; return the refund's id. These three arguments are what a human approves, exactly."""
        body = {"order_id": order_id, "amount": amount, "currency": currency}
        async with httpx.AsyncClient(base_url=payments, trust_env=False) as http:
            # The effect's own key: whoever must find out later what became of it finds it at the target too.
            answer = await http.post("/refunds", json=body, headers={"Idempotency-Key": str(effect_key())})
        if answer.status_code == 402:
            # We know that nothing happened, and say so. Anything else we raise leaves the outcome unknown.
            raise NotDone(answer.json()["error"])
        answer.raise_for_status()
        return str(answer.json()["id"])

    return refund


async def work(arguments: argparse.Namespace) -> int:
    """Do what was asked for, and say how it went."""
    refund = refunder(arguments.payments, arguments.wait)
    what = f"refund of {arguments.amount} {arguments.currency} on order {arguments.order}"
    try:
        refund_id = await refund(arguments.order, arguments.amount, arguments.currency)
    except ApprovalPending as pending:
        print(f"pending: {what}: {pending.task.id} waits for a human; start me again later", flush=True)
        return 75
    except GrantSpent as spent:
        print(f"already done: {what}: {spent}")
        return 1
    except Denied as denied:
        print(f"denied: {what}: {denied} (reason: {denied.reason}, next: {denied.next_action})")
        return 1
    except NotDone as declined:
        print(f"declined: {what}: {declined}")
        return 1
    except Unreachable as error:
        print(f"no permission, so nothing was done: {error}")
        return 69
    except QuarterdeckError as error:
        print(f"refused: {what}: {error}")
        return 1
    print(f"done: {what}: {refund_id}")
    return 0


def main() -> int:
    """Read the arguments and work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("order")
    parser.add_argument("amount", help="a decimal number, such as 120.00")
    parser.add_argument("currency", nargs="?", default="EUR")
    parser.add_argument("--payments", default="http://127.0.0.1:8490", help="where the payment service listens")
    parser.add_argument("--wait", type=float, default=WAIT_S, help="seconds to wait for a human before giving way")
    return asyncio.run(work(parser.parse_args()))


if __name__ == "__main__":
    raise SystemExit(main())
