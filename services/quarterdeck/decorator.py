"""The `@gate` decorator, for async and for plain functions."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any, TypeVar, cast

from quarterdeck.client import Quarterdeck
from quarterdeck.errors import NotConfigured
from quarterdeck.gating import (
    ATTRIBUTE,
    Call,
    Comply,
    Gate,
    Permission,
    Resource,
    admit,
    admit_approved,
    gate_of,
    make_gate,
    require_finished,
    run,
)
from quarterdeck.model import EffectClass, Json, Task
from quarterdeck.sync import PORTAL, SyncQuarterdeck

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")


def gate(
    action: str,
    *,
    resource: Resource,
    exclude: Collection[str] = (),
    subject: Resource | None = None,
    context: Json | Callable[..., Json] | None = None,
    justification: str | Callable[..., str] | None = None,
    effect_class: EffectClass = "at_most_once",
    wait_s: float = 30.0,
    failed_on: tuple[type[Exception], ...] = (),
    comply: Comply | None = None,
    client: Quarterdeck | SyncQuarterdeck | None = None,
) -> Callable[[F], F]:
    """Let a function run only where policy permits it, or a human has approved exactly this call.

    The call's arguments are what is asked for and approved: all of them, by name, but those in `exclude` (a session, a
    client object). `resource`, `subject`, `context` and `justification` are values, or functions that get the arguments
    by name. Without `client` the address and the token come from the environment at each call.

    A call that needs a human waits up to `wait_s` and then raises `ApprovalPending`; go on with `resume`. What the
    function raises leaves its outcome unknown, but `NotDone` and the types in `failed_on`: those say that nothing
    happened. `comply` fulfils an obligation of the decision and returns True; without it such a decision is a no.

    Raises:
        NotConfigured: the function cannot be gated.
    """

    def decorate(fn: F) -> F:
        made = make_gate(
            fn,
            exclude,
            action=action,
            resource=resource,
            subject=subject,
            context=context,
            justification=justification,
            effect_class=effect_class,
            wait_s=wait_s,
            failed_on=failed_on,
            comply=comply,
        )
        wrapper = _async(fn, made, client) if inspect.iscoroutinefunction(fn) else _plain(fn, made, client)
        setattr(wrapper, ATTRIBUTE, made)
        return cast(F, wrapper)

    return decorate


def resume_sync(
    client: Quarterdeck, task: Task | str, fn: Callable[..., R], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> R:
    """Go on with a gated call of a plain function. See `SyncQuarterdeck.resume`.

    Raises:
        NotConfigured: the function is async.
    """
    made, bound = gate_of(fn)
    args = (*bound, *args)
    if inspect.iscoroutinefunction(made.fn):
        raise NotConfigured(f"{made.fn.__qualname__} is async; resume it with the async client")
    permission = PORTAL.run(admit_approved(client, Call(made, args, kwargs), task))
    found: R = _run(client, made, permission, lambda: made.fn(*args, **kwargs))
    return found


def _async(fn: Callable[..., Coroutine[Any, Any, Any]], made: Gate, given: object) -> Callable[..., Any]:
    if isinstance(given, SyncQuarterdeck):
        raise NotConfigured(f"{fn.__qualname__} is async; give its gate an async client")

    @functools.wraps(fn)
    async def gated(*args: Any, **kwargs: Any) -> Any:
        if isinstance(given, Quarterdeck):
            permission = await admit(given, Call(made, args, kwargs))
            return await run(given, made, permission, lambda: fn(*args, **kwargs))
        async with Quarterdeck() as client:
            permission = await admit(client, Call(made, args, kwargs))
            return await run(client, made, permission, lambda: fn(*args, **kwargs))

    return gated


def _plain(fn: Callable[..., Any], made: Gate, given: object) -> Callable[..., Any]:
    if isinstance(given, Quarterdeck):
        raise NotConfigured(f"{fn.__qualname__} is not async; give its gate a SyncQuarterdeck")

    @functools.wraps(fn)
    def gated(*args: Any, **kwargs: Any) -> Any:
        if isinstance(given, SyncQuarterdeck):
            given.require_own_process()
            permission = PORTAL.run(admit(given.client, Call(made, args, kwargs)))
            return _run(given.client, made, permission, lambda: fn(*args, **kwargs))
        with SyncQuarterdeck() as own:
            permission = PORTAL.run(admit(own.client, Call(made, args, kwargs)))
            return _run(own.client, made, permission, lambda: fn(*args, **kwargs))

    return gated


def _run(client: Quarterdeck, made: Gate, permission: Permission, call: Callable[[], R]) -> R:
    """Run a plain function in the calling thread, and report how it ended."""
    try:
        with permission.running():
            result = call()
        require_finished(result)
    except BaseException as error:
        PORTAL.run(permission.report(client, made.outcome(error), f"raised {type(error).__name__}"))
        raise
    PORTAL.run(permission.report(client, "committed"))
    return result
