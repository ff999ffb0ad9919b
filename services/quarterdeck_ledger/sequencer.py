"""Group commit: appends that arrive while one transaction is under way go together into the next.

A lane per tenant. A batch holds only submissions that cannot touch one another (no condition that
another's event would meet, no id twice), so that the database may judge each against the log as it was; the
others go first into the next batch. Nobody is answered before the commit is durable, and each hears only
its own outcome.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Final

from eventsourcing.dcb.api import DCBQueryItem

from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_ledger import faults, instruments
from quarterdeck_ledger.errors import Busy, Unavailable
from quarterdeck_ledger.store import Outcome, Store, Submission

MAX_BATCH_EVENTS: Final = 512
MAX_BATCH_BYTES: Final = 4 * 2**20
MAX_WAITING: Final = 10_000
BATCHES_UNDER_WAY: Final = 2
"""While the database writes one batch, the callers of the other are answered and bring their next ones."""
WORTH_SHARING: Final = 16
"""Fewer than this go together: two transactions would cost more than waiting for one another does."""


class _Waiting:
    __slots__ = ("answer", "context", "size", "submission")

    def __init__(self, submission: Submission, answer: asyncio.Future[Outcome]) -> None:
        self.submission = submission
        self.answer = answer
        self.context = instruments.here()
        self.size = 0
        for draft in submission.drafts:
            self.size += len(draft.prefix) + len(draft.suffix)


class _Lane:
    __slots__ = ("tasks", "waiting", "writing")

    def __init__(self) -> None:
        self.waiting: deque[_Waiting] = deque()
        self.tasks: set[asyncio.Task[None]] = set()
        self.writing = 0

    def share(self) -> int:
        """Return how many of those waiting the next batch takes: half, if there is none for it to take turns with.

        Who is answered together comes again together. Without this they would all be in one batch for ever, and the
        database and this process would wait for each other.
        """
        together = len(self.waiting)
        return together if self.writing else max(WORTH_SHARING, (together + 1) // 2)


class Sequencer:
    """Collects concurrent appends into batches, a lane per tenant, over one store."""

    def __init__(self, store: Store, *, max_waiting: int = MAX_WAITING) -> None:
        """`max_waiting` bounds how many submissions a tenant may have waiting in this process."""
        self._store = store
        self._max_waiting = max_waiting
        self._lanes: dict[str, _Lane] = {}
        instruments.QUEUES.add(self)

    async def submit(self, tenant: str, submission: Submission) -> Outcome:
        """Return the outcome once it is durable.

        Raises:
            Busy: the lane is full; nothing was recorded.
            Unavailable: the store does not answer; whether it was recorded is unknown.
        """
        lane = self._lanes.get(tenant)
        if lane is None:
            lane = self._lanes[tenant] = _Lane()
        if len(lane.waiting) >= self._max_waiting:
            raise Busy(f"{len(lane.waiting)} appends are waiting for {tenant}; try again shortly", retry_after_s=1)
        waiting = _Waiting(submission, asyncio.get_running_loop().create_future())
        lane.waiting.append(waiting)
        self._set_off(tenant, lane)
        return await waiting.answer

    def waiting(self) -> int:
        """Return how many submissions wait for a batch."""
        return sum(len(lane.waiting) for lane in tuple(self._lanes.values()))

    async def close(self) -> None:
        """Wait until everything submitted has been answered."""
        while self._lanes:
            tasks = [task for lane in self._lanes.values() for task in lane.tasks]
            await asyncio.gather(*tasks, return_exceptions=True)

    def _set_off(self, tenant: str, lane: _Lane) -> None:
        if len(lane.tasks) < BATCHES_UNDER_WAY:
            lane.tasks.add(asyncio.create_task(self._drain(tenant, lane), name=f"append lane {tenant}"))

    async def _drain(self, tenant: str, lane: _Lane) -> None:
        batch: list[_Waiting] = []
        try:
            while lane.waiting:
                batch = take_batch(lane.waiting, lane.share())
                if batch:
                    await self._write(tenant, lane, batch)
                    batch = []
        except BaseException as error:
            # The lane's task is dying (a bug, or shutdown): nobody may be left waiting for an answer.
            for waiting in (*batch, *lane.waiting):
                _fail(waiting, Unavailable(f"the append lane of {tenant} stopped: {error!r}"))
            lane.waiting.clear()
            raise
        finally:
            # No await between finding the lane empty and this: a newcomer starts a new task.
            task = asyncio.current_task()
            if task is not None:
                lane.tasks.discard(task)
            if not lane.tasks:
                self._lanes.pop(tenant, None)

    async def _write(self, tenant: str, lane: _Lane, batch: list[_Waiting]) -> None:
        lane.writing += 1
        try:
            if lane.waiting:
                self._set_off(tenant, lane)
            with instruments.batch(tenant, batch):
                await self._commit(tenant, batch)
        finally:
            lane.writing -= 1

    async def _commit(self, tenant: str, batch: list[_Waiting]) -> None:
        try:
            faults.point("append.before_commit")
            outcomes = await self._store.append_batch(tenant, [waiting.submission for waiting in batch])
            faults.point("append.after_commit")
        except Unavailable as error:
            for waiting in batch:
                _fail(waiting, error)
        except Exception as error:
            if len(batch) == 1:
                _fail(batch[0], error)
                return
            # One of them is bad and took the transaction with it: halve until it stands alone.
            middle = len(batch) // 2
            await self._commit(tenant, batch[:middle])
            await self._commit(tenant, batch[middle:])
        else:
            for waiting, outcome in zip(batch, outcomes, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(outcome)


def take_batch(lane: deque[_Waiting], most: int) -> list[_Waiting]:
    """Take at most so many submissions that cannot touch one another from a lane's front, as one batch can hold."""
    batch: list[_Waiting] = []
    passed_over: list[_Waiting] = []
    ids: set[object] = set()
    tags: set[str] = set()
    types: set[str] = set()
    events = size = 0
    while lane and len(batch) < most and events < MAX_BATCH_EVENTS and size < MAX_BATCH_BYTES:
        waiting = lane.popleft()
        if waiting.answer.cancelled():
            continue
        submission = waiting.submission
        if batch and (any(draft.id in ids for draft in submission.drafts) or _could_meet(submission, tags, types)):
            passed_over.append(waiting)
        else:
            batch.append(waiting)
            events += len(submission.drafts)
            size += waiting.size
        # Also of those passed over: nobody may overtake a neighbour that it would conflict with.
        for draft in submission.drafts:
            ids.add(draft.id)
            tags.update(draft.tags)
            types.add(draft.type)
    lane.extendleft(reversed(passed_over))
    return batch


def _could_meet(submission: Submission, tags: set[str], types: set[str]) -> bool:
    condition = submission.condition
    if condition is None:
        return False
    items = condition.fail_if_events_match.items or [DCBQueryItem()]
    return any(tags.issuperset(item.tags) and (not item.types or not types.isdisjoint(item.types)) for item in items)


def _fail(waiting: _Waiting, error: BaseException) -> None:
    with contextlib.suppress(asyncio.InvalidStateError):
        if not isinstance(error, QuarterdeckError):
            error = Unavailable(f"the append failed: {error!r}")
        waiting.answer.set_exception(error)
