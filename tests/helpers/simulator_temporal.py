"""A Temporal that runs our workflow code in simulated time: it starts, signals, retries, replays, and is disposable.

It keeps what Temporal keeps (executions, and the outcome of every step) and promises what Temporal promises: one open execution
an id, activities at least once, timers, signals to open executions. The workflow is the production class; only the handful
of functions it calls on `temporalio.workflow` are answered from here. A worker that dies leaves its executions to the
next one, which replays the outcomes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, NoReturn, cast

from simulator_loop import Process, SimulatorLoop
from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from quarterdeck_ledger.errors import Unavailable
from quarterdeck_workflows import execution as execution_module

RETRY_S = 0.2
LONG = 8
"""Outcomes after which an execution's history is called long: soon, so that going on as new is played often."""
_EXECUTION: ContextVar[Execution] = ContextVar("_EXECUTION")


class Execution:
    """One run of a workflow: its input, what its steps came to, and the signals it has not consumed."""

    def __init__(self, workflow_id: str, kind: type[Any], given: Any) -> None:
        self.workflow_id = workflow_id
        self.kind = kind
        self.given = given
        self.outcomes: list[Any] = []
        self.signalled = False
        self.status = "running"
        self.instance: Any = None
        self.replayed = 0
        self.changed: asyncio.Future[None] | None = None

    def again(self) -> None:
        """Begin at the beginning: to replay the outcomes there are."""
        self.instance, self.replayed = self.kind(), 0

    def wake(self) -> None:
        """Let a waiting condition be looked at again."""
        if self.changed is not None and not self.changed.done():
            self.changed.set_result(None)


class Temporal:
    """The server. `wire` may raise where a call or its answer is lost."""

    def __init__(self, loop: SimulatorLoop, wire: Callable[[str], None]) -> None:
        self._loop = loop
        self._wire = wire
        self.executions: dict[str, Execution] = {}
        self.started = 0
        self.continued = 0
        """How often an execution went on as a new one."""
        self._worker: Process | None = None
        self._activities: Any = None

    # What the dispatcher calls.

    async def start_workflow(
        self, run: Callable[..., Any], given: Any, *, id: str, id_reuse_policy: WorkflowIDReusePolicy, **_: Any
    ) -> None:
        """Start an execution; one that is open already stays."""
        kind = cast("type[Any]", run.__globals__[run.__qualname__.partition(".")[0]])
        await self._called("temporal.request")
        self.start(id, kind, given, id_reuse_policy)
        await self._called("temporal.answer")

    def get_workflow_handle(self, workflow_id: str) -> Any:
        """Return a handle that can signal and describe."""

        async def signal(_function: Any) -> None:
            await self._called("temporal.request")
            found = self.executions.get(workflow_id)
            if found is None or found.status != "running":
                raise RPCError("workflow not found", RPCStatusCode.NOT_FOUND, b"")
            await self.signal(found)
            await self._called("temporal.answer")

        async def describe() -> None:
            await self._called("temporal.request")
            if workflow_id not in self.executions:
                raise RPCError("workflow not found", RPCStatusCode.NOT_FOUND, b"")
            await self._called("temporal.answer")

        return SimpleNamespace(signal=signal, describe=describe)

    async def list_schedules(self) -> AsyncIterator[Any]:
        """Return every schedule: there is none, as no source is imported in these journeys."""
        await self._called("temporal.request")
        await self._called("temporal.answer")
        return _none()

    async def _called(self, name: str) -> None:
        await self._loop.arrival()
        try:
            self._wire(name)
        except Unavailable as error:
            raise RPCError(error.message, RPCStatusCode.UNAVAILABLE, b"") from None

    # What happens on the server.

    def start(self, workflow_id: str, kind: type[Any], given: Any, policy: WorkflowIDReusePolicy) -> None:
        """Start an execution as the policies say."""
        found = self.executions.get(workflow_id)
        if found is not None and found.status == "running":
            return
        if found is not None and policy is not WorkflowIDReusePolicy.ALLOW_DUPLICATE and found.status == "completed":
            raise RPCError("workflow already ran", RPCStatusCode.ALREADY_EXISTS, b"")
        self.started += 1
        execution = self.executions[workflow_id] = Execution(workflow_id, kind, given)
        self._run(execution)

    async def signal(self, execution: Execution) -> None:
        """Deliver a signal to an open execution."""
        if execution.status == "running":
            execution.signalled = True
            if execution.instance is not None:
                await execution.instance.settle()
                execution.wake()

    def forget(self) -> None:
        """Lose everything, as when the server's database is deleted."""
        for execution in self.executions.values():
            execution.status = "lost"
        self.executions = {}

    def is_running(self, workflow_id: str) -> bool:
        """Tell whether an execution is open."""
        found = self.executions.get(workflow_id)
        return found is not None and found.status == "running"

    # What the worker does.

    def serve(self, worker: Process, activities: Any) -> None:
        """Give every open execution to a new worker."""
        self._worker, self._activities = worker, activities
        for execution in list(self.executions.values()):
            self._run(execution)

    def _run(self, execution: Execution) -> None:
        if self._worker is not None and self._worker.alive and execution.status == "running":
            execution.instance, execution.replayed = None, 0
            self._loop.spawn(self._worker, self._workflow(execution, self._activities))

    async def _workflow(self, execution: Execution, activities: Any) -> None:
        _EXECUTION.set(execution)
        _SERVER.set((self, activities))
        while True:
            execution.again()
            if execution.signalled:
                await execution.instance.settle()
            try:
                await execution.instance.run(execution.given)
            except _ContinuedAsNew as new:
                execution.given, execution.outcomes = new.given, []
                self.continued += 1
            except ApplicationError:
                return self._close(execution, "failed")
            else:
                return self._close(execution, "completed")

    def _close(self, execution: Execution, status: str) -> None:
        if execution.status == "running":
            execution.status = status

    async def activity(self, execution: Execution, activities: Any, function: Any, arguments: tuple[Any, ...]) -> Any:
        """Run an activity until its outcome is recorded: at least once."""
        if execution.replayed < len(execution.outcomes):
            return self._replay(execution)
        while True:
            try:
                result = await function(activities, *arguments)
                await self._called("temporal.answer")
            except ApplicationError as error:
                if error.non_retryable:
                    raise
            except Exception as error:
                if not isinstance(error, Unavailable | RPCError):
                    self._loop.problems.append(error)
            else:
                execution.outcomes.append(result)
                execution.replayed += 1
                return result
            await asyncio.sleep(RETRY_S)

    async def wait(self, execution: Execution, condition: Callable[[], bool], at_most: timedelta) -> None:
        """Wait for a condition of the workflow.

        Raises:
            TimeoutError: it did not come about in time.
        """
        if execution.replayed < len(execution.outcomes):
            outcome = self._replay(execution)
        else:
            outcome = await self._wait(execution, condition, at_most)
            execution.outcomes.append(outcome)
            execution.replayed += 1
            execution.signalled = False
        if outcome == "timeout":
            raise TimeoutError

    async def _wait(self, execution: Execution, condition: Callable[[], bool], at_most: timedelta) -> str:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(at_most.total_seconds()):
                while not condition():
                    execution.changed = self._loop.create_future()
                    await execution.changed
                return "condition"
        return "timeout"

    def _replay(self, execution: Execution) -> Any:
        execution.replayed += 1
        return execution.outcomes[execution.replayed - 1]


_SERVER: ContextVar[tuple[Temporal, Any]] = ContextVar("_SERVER")


async def _none() -> AsyncIterator[Any]:
    for nothing in ():
        yield nothing


async def _execute_activity(function: Any, arg: Any = None, *, args: Any = None, **_: Any) -> Any:
    server, activities = _SERVER.get()
    return await server.activity(_EXECUTION.get(), activities, function, tuple(args) if args is not None else (arg,))


async def _wait_condition(condition: Callable[[], bool], **options: Any) -> None:
    server, _activities = _SERVER.get()
    await server.wait(_EXECUTION.get(), condition, options["timeout"])


def _info() -> Any:
    return SimpleNamespace(workflow_id=_EXECUTION.get().workflow_id)


def _workflow_info() -> Any:
    execution = _EXECUTION.get()
    return SimpleNamespace(is_continue_as_new_suggested=lambda: execution.replayed >= LONG)


class _ContinuedAsNew(BaseException):
    def __init__(self, given: Any) -> None:
        self.given = given


def _continue_as_new(given: Any) -> NoReturn:
    raise _ContinuedAsNew(given)


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """Answer what workflows and activities ask of Temporal's library from here, while a block lasts."""
    names = {
        "execute_local_activity_method": _execute_activity,
        "execute_activity_method": _execute_activity,
        "wait_condition": _wait_condition,
        "info": _workflow_info,
        "continue_as_new": _continue_as_new,
    }
    before = {name: getattr(workflow, name) for name in names}
    activity = execution_module.activity
    try:
        for name, function in names.items():
            setattr(workflow, name, function)
        execution_module.activity = SimpleNamespace(info=_info)  # type: ignore[assignment]
        yield
    finally:
        for name, function in before.items():
            setattr(workflow, name, function)
        execution_module.activity = activity
