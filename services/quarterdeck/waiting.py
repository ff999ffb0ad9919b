"""Waiting for a human: long polls, one after the other, through whatever happens to the connection meanwhile.

Source: RFC 7240 section 4.3 (`wait`); RFC 9110 section 10.2.3 (`Retry-After`).
"""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import quote

from quarterdeck.errors import BadAnswer, Unreachable
from quarterdeck.model import Intent, Task
from quarterdeck.transport import Transport

POLL_S: Final = 25.0
"""How long one long poll lasts; the server may cut it shorter."""
MARGIN_S: Final = 5.0
"""How much longer than a poll we wait for its answer before we call the connection lost."""
PAUSE_S: Final = 1.0
"""Between polls that came back at once, where the server does not say how long to pause."""
SHORTEST_POLL_S: Final = 0.5


async def wait_for_end(transport: Transport, task_id: str, intent: Intent | None, timeout_s: float | None) -> Task:
    """Return the task when it has ended, or as it was last seen when the time is over.

    Raises:
        Refused: there is no such task, or it is not the caller's.
        BadAnswer: what answers is not Quarterdeck.
        Unreachable: the time is over and no answer ever came.
    """
    loop = asyncio.get_running_loop()
    deadline = None if timeout_s is None else loop.time() + max(0.0, timeout_s)
    seen: Task | None = None
    while True:
        began = loop.time()
        left = POLL_S if deadline is None else max(0.0, deadline - began)
        pause_s = PAUSE_S
        try:
            seen = await _poll(transport, task_id, intent, min(POLL_S, left))
        except BadAnswer:
            raise
        except Unreachable:
            # A server that is away now may be back before anybody decides.
            if left <= 0 and seen is None:
                raise
        else:
            pause_s = PAUSE_S if seen.retry_after_s is None else seen.retry_after_s
        if seen is not None and (left <= 0 or not seen.pending):
            return seen
        if loop.time() - began < SHORTEST_POLL_S:
            await asyncio.sleep(min(pause_s, left))


async def _poll(transport: Transport, task_id: str, intent: Intent | None, wait_s: float) -> Task:
    path = f"/access/v1/requests/{quote(task_id, safe='')}"
    # The server counts in whole seconds; for less than one we ask, pause and ask again.
    headers = {"Prefer": f"wait={int(wait_s)}"} if wait_s >= 1 else {}
    answer = await transport.send("GET", path, headers=headers, timeout_s=wait_s + MARGIN_S, patience_s=wait_s)
    return Task.of(answer.body, intent, answer.retry_after_s)
