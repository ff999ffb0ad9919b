"""Hot boundaries: commands that many send at once are decided under the log's lock, one after another.

Whoever holds the lock catches up the cached fold with what was recorded since, decides every waiting command on it in
order, and appends all their events in one batch. Nobody conflicts, nobody retries; a refused one costs nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_domain.events import event_id
from quarterdeck_domain.slices import HotSlice, matches
from quarterdeck_ledger import faults, instruments
from quarterdeck_ledger.entry import parse_entry
from quarterdeck_ledger.errors import Busy, Expired, Unavailable
from quarterdeck_ledger.facts import recorded
from quarterdeck_ledger.interface import Appended, Context, Executed
from quarterdeck_ledger.store import Locked, Submission

if TYPE_CHECKING:
    from quarterdeck_ledger.ledger import EventLedger

MAX_TOGETHER: Final = 128
MAX_WAITING: Final = 10_000


class _Waiting:
    __slots__ = ("answer", "command", "context")

    def __init__(self, command: HotSlice, context: Context, answer: asyncio.Future[Executed]) -> None:
        self.command = command
        self.context = context
        self.answer = answer


class _Boundary:
    """One boundary of one tenant: who waits for it, and its fold up to a position."""

    def __init__(self) -> None:
        self.waiting: deque[_Waiting] = deque()
        self.task: asyncio.Task[None] | None = None
        self.forget()

    def forget(self) -> None:
        """Begin the fold anew: after a failure nobody knows what was recorded."""
        self.state: Any = None
        self.seen = 0


class HotBoundaries:
    """The hot boundaries of one process. Other processes have theirs: the lock orders them all."""

    def __init__(self, ledger: EventLedger) -> None:
        self._ledger = ledger
        self._boundaries: dict[tuple[str, str], _Boundary] = {}

    @instruments.execute
    async def execute(self, command: HotSlice, context: Context) -> Executed:
        """Run a command in its turn.

        Raises:
            Busy: too many wait for this boundary; nothing was recorded.
            Unavailable: the log does not answer; whether it was recorded is unknown.
            and what the slice raises.
        """
        key = (context.tenant, repr(command.consistency_boundary()))
        boundary = self._boundaries.setdefault(key, _Boundary())
        if len(boundary.waiting) >= MAX_WAITING:
            raise Busy(f"{len(boundary.waiting)} commands wait for the same thing; try again shortly", retry_after_s=1)
        waiting = _Waiting(command, context, asyncio.get_running_loop().create_future())
        boundary.waiting.append(waiting)
        if boundary.task is None:
            boundary.task = asyncio.create_task(self._drain(boundary), name=f"hot boundary of {context.tenant}")
        return await waiting.answer

    async def _drain(self, boundary: _Boundary) -> None:
        batch: list[_Waiting] = []
        try:
            while boundary.waiting:
                size = min(MAX_TOGETHER, len(boundary.waiting))
                batch = [boundary.waiting.popleft() for _ in range(size)]
                try:
                    await self._turn(boundary, [waiting for waiting in batch if not waiting.answer.cancelled()])
                except QuarterdeckError as error:
                    boundary.forget()
                    _fail(batch, error)
        except BaseException as error:
            boundary.forget()
            _fail([*batch, *boundary.waiting], Unavailable(f"deciding stopped: {error!r}"))
            boundary.waiting.clear()
            raise
        finally:
            boundary.task = None

    async def _turn(self, boundary: _Boundary, batch: Sequence[_Waiting]) -> None:
        if not batch:
            return
        answers: list[tuple[_Waiting, Executed | QuarterdeckError | None]] = []
        async with self._ledger.store.deciding(batch[0].context.tenant) as locked:
            await self._catch_up(boundary, batch[0].command, locked)
            known = await locked.known([event_id(waiting.context.command_id, 0) for waiting in batch])
            submissions: list[Submission] = []
            position = locked.position
            for waiting in batch:
                if event_id(waiting.context.command_id, 0) in known:
                    answers.append((waiting, None))
                    continue
                try:
                    executed, submission = await self._decide(boundary, waiting, locked, position)
                except QuarterdeckError as error:
                    answers.append((waiting, error))
                    continue
                answers.append((waiting, executed))
                if submission.drafts:
                    # The same command may wait twice in one turn: the second hears what the first came to.
                    known.add(submission.drafts[0].id)
                    submissions.append(submission)
                    position += len(submission.drafts)
            await _append(locked, submissions)
            faults.point("deciding.before_commit")
        faults.point("deciding.after_commit")
        for waiting, answer in answers:
            if answer is None:
                answer = await self._first_answer(waiting)
            _settle(waiting, answer)

    async def _catch_up(self, boundary: _Boundary, command: HotSlice, locked: Locked) -> None:
        if boundary.state is None:
            boundary.state = command.new_state()
        command.state = boundary.state
        for position, entry in await locked.read(command.consistency_boundary(), boundary.seen):
            command.apply(await self._ledger.open(parse_entry(entry)))
            boundary.seen = position

    async def _decide(
        self, boundary: _Boundary, waiting: _Waiting, locked: Locked, position: int
    ) -> tuple[Executed, Submission]:
        command, context = waiting.command, waiting.context
        command.state = boundary.state
        decision = command.decide(locked.now)
        if decision.not_after is not None and decision.not_after < locked.now:
            raise Expired("the moment until which this could be recorded has passed", not_after=decision.not_after)
        if not decision.events:
            return Executed(position=position, recorded_at=locked.now, events=()), Submission(drafts=())
        events = await self._ledger.prepared(decision.events, context)
        submission = Submission(drafts=tuple([await self._ledger.draft(context.tenant, event) for event in events]))
        placed = Appended(first=position + 1, last=position + len(events), recorded_at=locked.now)
        facts = recorded(context.tenant, events, placed)
        query = command.consistency_boundary()
        for fact in facts:
            # The next in line decides on this, too. If the transaction fails, the whole fold is forgotten.
            if matches(query, fact.type, frozenset(fact.tags)):
                command.apply(fact)
                boundary.seen = fact.position
        return Executed(position=placed.last, recorded_at=locked.now, events=facts), submission

    async def _first_answer(self, waiting: _Waiting) -> Executed | QuarterdeckError:
        try:
            found = await self._ledger.repeated(waiting.context)
        except QuarterdeckError as error:
            return error
        return found or Unavailable("what this command recorded cannot be read now; repeat it")


async def _append(locked: Locked, submissions: Sequence[Submission]) -> None:
    if not submissions:
        return
    outcomes = await locked.append(submissions)
    if any(outcome.status != "ok" for outcome in outcomes):
        raise Unavailable("the log did not take what was decided under its lock; repeat the command")


def _settle(waiting: _Waiting, answer: Executed | QuarterdeckError) -> None:
    if waiting.answer.done():
        return
    if isinstance(answer, Executed):
        waiting.answer.set_result(answer)
    else:
        waiting.answer.set_exception(answer)


def _fail(batch: Sequence[_Waiting], error: QuarterdeckError) -> None:
    for waiting in batch:
        _settle(waiting, error)
