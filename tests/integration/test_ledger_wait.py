"""A waiter can always be cancelled, also at the very moment it is woken. Serves C01.

Python 3.11's `asyncio.wait_for` loses a cancellation that arrives together with the result; whoever then awaits the
cancelled task waits for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from quarterdeck_ledger.memory import MemoryStore
from quarterdeck_ledger.notify import Notifications


async def test_a_cancelled_waiter_ends_although_it_is_woken(migrated_database: Callable[[], str]) -> None:
    """Woken and cancelled in the same turn of the loop, the task ends."""
    notifications = Notifications(migrated_database())

    async def forever() -> None:
        while True:
            await notifications.wait("acme", 10**9, 60)

    for _ in range(20):
        task = asyncio.create_task(forever())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        notifications._wake("acme")
        task.cancel()
        async with asyncio.timeout(5):
            with contextlib.suppress(asyncio.CancelledError):
                await task
    await notifications.close()


async def test_the_twin_too() -> None:
    """The in-memory store's waiters end as well."""
    store = MemoryStore()

    async def forever() -> None:
        while True:
            await store.wait("acme", 0, 60)

    for _ in range(20):
        task = asyncio.create_task(forever())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await store.append_batch("acme", [])
        task.cancel()
        async with asyncio.timeout(5):
            with contextlib.suppress(asyncio.CancelledError):
                await task
