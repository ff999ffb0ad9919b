"""An event loop without a clock, a network or luck: one thread, virtual time, and a seed that decides who goes next.

Work belongs to simulated processes (by context). Within one process it runs in the order in which it was scheduled, as
asyncio promises; which process goes next, and which answer arrives first, the seed decides. What belongs to a process
that died is dropped: nothing of it runs again, as after SIGKILL.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import random
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any

IDLE_LIMIT = 100_000
SLOW, SLOW_S = 0.1, 2.0
"""How often an answer is so slow that the next timer overtakes it, and how slow answers are at most."""


class Died(BaseException):
    """This simulated process was killed. Nothing may catch it for good."""


class Stuck(Exception):
    """The schedule does not come to an end."""


class Process:
    """One simulated process: what it has to do, and whether it lives."""

    __slots__ = ("alive", "context", "name", "ready")

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.ready: deque[tuple[Callable[..., Any], tuple[Any, ...], Context]] = deque()
        self.context = copy_context()
        self.context.run(PROCESS.set, self)


PROCESS: ContextVar[Process] = ContextVar("PROCESS")


class _Handle:
    """What `call_soon` gives back. Only timers are ever cancelled here."""

    __slots__ = ()

    def cancel(self) -> None:
        """Do nothing: nobody cancels what is due now."""


_SOON = _Handle()


class _Timer(asyncio.TimerHandle):
    """A timer that knows its process."""


def _due(timer: asyncio.TimerHandle) -> None:
    """Call back, unless that was taken back between being due and having its turn."""
    if not timer.cancelled():
        timer._callback(*timer._args)  # type: ignore[attr-defined]


class SimulatorLoop(asyncio.AbstractEventLoop):
    """Runs coroutines in virtual time. See the module."""

    def __init__(self, rng: random.Random) -> None:
        self.now = 0.0
        self.steps = 0
        self._rng = rng
        self._runnable: list[Process] = []
        self._arriving: list[tuple[asyncio.Future[None], Process]] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle, Process]] = []
        self._count = 0
        self._tasks: list[asyncio.Task[Any]] = []
        self.problems: list[BaseException] = []

    # What asyncio asks of a loop.

    def time(self) -> float:
        return self.now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(task)
        return task

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        if context is None:
            context = copy_context()
        process = context[PROCESS]
        if process.alive:
            if not process.ready:
                self._runnable.append(process)
            process.ready.append((callback, args, context))
        return _SOON

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        context = context or copy_context()
        timer = _Timer(when, callback, args, self, context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, timer, context[PROCESS]))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Nothing to do: cancelled timers are passed over when they are due."""

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        # An answer that nobody was left to hear is nothing; a task that broke is.
        broken = isinstance(context.get("future"), asyncio.Task)
        if broken and isinstance(error, BaseException) and not isinstance(error, Died):
            self.problems.append(error)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    # What simulations ask of it.

    def arrival(self) -> asyncio.Future[None]:
        """Return a future that is done some time: the answer of a network or a disk."""
        future: asyncio.Future[None] = asyncio.Future(loop=self)
        self._arriving.append((future, PROCESS.get()))
        return future

    def spawn(self, process: Process, coro: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task of a process."""
        return self.create_task(coro, context=process.context.copy())

    def kill(self, process: Process) -> None:
        """Let a process be gone."""
        process.alive = False
        if process.ready:
            process.ready.clear()
            self._runnable.remove(process)

    def run(self, done: Callable[[], bool]) -> bool:
        """Run until `done`, or until nothing is left but waiting for ever; tell whether it is done.

        Raises:
            Stuck: it goes on and on.
            whatever a callback let through that is not a death.
        """
        asyncio._set_running_loop(self)
        try:
            while not done():
                if not self._step():
                    return done()
                self.steps += 1
                if self.steps > IDLE_LIMIT:
                    raise Stuck(f"no end after {IDLE_LIMIT} steps")
        finally:
            asyncio._set_running_loop(None)
        return True

    def bury(self) -> None:
        """Close what is not done and never will be, of processes dead or alive, so that no destructor speaks of it."""
        for task in self._tasks:
            if not task.done():
                with contextlib.suppress(BaseException):
                    task.get_coro().close()  # type: ignore[union-attr]
        self._tasks.clear()

    def _step(self) -> bool:
        if self._timers and self._timers[0][0] <= self.now:
            self._fire()
            return True
        runnable, arriving = self._runnable, self._arriving
        choices = len(runnable) + len(arriving)
        if not choices:
            if not self._timers:
                return False
            self.now = self._timers[0][0]
            self._fire()
            return True
        if arriving and self._timers and self._timers[0][0] <= self.now + SLOW_S and self._rng.random() < SLOW:
            # Something takes its time, and what was to happen a little later happens first.
            self.now = self._timers[0][0]
            self._fire()
            return True
        choice = int(self._rng.random() * choices) if choices > 1 else 0
        if choice < len(runnable):
            process = runnable[choice]
            callback, args, context = process.ready.popleft()
            if not process.ready:
                runnable[choice] = runnable[-1]
                runnable.pop()
            try:
                context.run(callback, *args)
            except Died:
                return True
        else:
            choice -= len(runnable)
            future, process = arriving[choice]
            arriving[choice] = arriving[-1]
            arriving.pop()
            if process.alive and not future.done():
                future.set_result(None)
        return True

    def _fire(self) -> None:
        _, _, timer, process = heapq.heappop(self._timers)
        if process.alive and not timer.cancelled():
            context = timer._context  # type: ignore[attr-defined]
            self.call_soon(_due, timer, context=context)
