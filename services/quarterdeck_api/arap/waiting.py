"""Waiting for a task to end: by long poll, and by server-sent events.

A caller that may no longer see the task (its key was revoked, its role taken) stops hearing of it within seconds.

Source: RFC 7240 section 4.3 (`wait`); the HTML standard, 'Server-sent events'.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from starlette.requests import Request

from quarterdeck_api.arap.tasks import Task, approval_ids, read_task, show
from quarterdeck_api.arap.watch import ApprovalWatch
from quarterdeck_api.auth.caller import Caller
from quarterdeck_api.problems import Unauthenticated
from quarterdeck_api.services import Services
from quarterdeck_domain.errors import QuarterdeckError

MAX_WAIT_S: Final = 60
POLL_AFTER_S: Final = 5
"""What `Retry-After` says while a task is pending."""
CHECK_EVERY_S: Final = 4.0
"""How often it is made sure that whoever waits may still be told; a stream says so, which keeps it open."""

_WAIT: Final = re.compile(r"wait\s*=\s*\"?(\d{1,9})\"?", re.ASCII | re.IGNORECASE)


def watch_of(request: Request, services: Services) -> ApprovalWatch:
    """Return the application's watch, made at first use."""
    state = request.app.state
    if not hasattr(state, "approval_watch"):
        state.approval_watch = ApprovalWatch(services.ledger)
    found: ApprovalWatch = state.approval_watch
    return found


def wanted_wait_s(request: Request, services: Services) -> int | None:
    """Return how long the request prefers to wait, cut to what we allow; None if it does not say, or says it badly."""
    for header in request.headers.getlist("prefer"):
        for preference in header.split(","):
            match = _WAIT.fullmatch(preference.partition(";")[0].strip())
            if match is not None:
                return min(int(match[1]), MAX_WAIT_S, int(services.settings.long_poll_max_s))
    return None


async def wait_for_end(services: Services, watch: ApprovalWatch, caller: Caller, task_id: str, wait_s: float) -> Task:
    """Return the task when it has ended, or as it is after the time.

    Raises:
        UnknownTask, TaskExpired: as `read_task`.
        Unauthenticated: the credential stopped working meanwhile.
    """
    async with watch.on(caller.tenant, approval_ids(task_id)) as signal:
        began = await services.ledger.now()
        while True:
            task = await read_task(services, caller, task_id)
            if not await services.authenticator.still_valid(caller):
                raise Unauthenticated("this credential stopped working while it waited")
            now = await services.ledger.now()
            left = wait_s - (now - began).total_seconds()
            deadline = task.next_deadline(now)
            if deadline is None or left <= 0:
                return task
            await signal.wait(min(left, (deadline - now).total_seconds() + 0.01, CHECK_EVERY_S))


async def stream(services: Services, watch: ApprovalWatch, caller: Caller, task_id: str) -> AsyncIterator[bytes]:
    """Yield server-sent events `task`: the state now, every change, and the end; then stop."""
    shown: dict[str, Any] | None = None
    try:
        async with watch.on(caller.tenant, approval_ids(task_id)) as signal:
            while await services.authenticator.still_valid(caller):
                task = await read_task(services, caller, task_id)
                body = await show(services, caller, task)
                if body != shown:
                    shown = body
                    yield _event(task.position, body)
                now = await services.ledger.now()
                deadline = task.next_deadline(now)
                if deadline is None:
                    return
                yield b": waiting\n\n"
                await signal.wait(min(CHECK_EVERY_S, (deadline - now).total_seconds() + 0.01))
    except QuarterdeckError:
        # The answer has begun, so no problem can be sent: the stream ends, and the listener asks again.
        return


def _event(position: int, body: dict[str, Any]) -> bytes:
    return b"event: task\nid: %d\nretry: 3000\ndata: %s\n\n" % (position, msgspec.json.encode(body))
