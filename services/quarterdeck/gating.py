"""`@gate`: a function that runs only with a permit or a redeemed grant that was recorded before.

The steps: bind the arguments; ask; if a human is to be asked, file the request and wait; bind the arguments again and
redeem the grant for exactly those; run the function; report how it ended. Whatever fails before the run raises, and the
function does not run. A function that ran and cannot be reported keeps its result: its effect then counts as started,
which is the truth, until somebody settles it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from quarterdeck.binding import as_json, bound_arguments, receiver
from quarterdeck.errors import (
    ActionChanged,
    ApprovalCancelled,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalPending,
    Denied,
    NotConfigured,
    NotDone,
    Problem,
    QuarterdeckError,
    Unreachable,
)
from quarterdeck.model import Decision, Effect, EffectClass, EffectOutcome, Entity, Intent, Json, Obligation, Task

if TYPE_CHECKING:
    from quarterdeck.client import Quarterdeck

Named = Entity | str | Json
Resource = Named | Callable[..., Named]
Comply = Callable[[Obligation], bool | Awaitable[bool]]

ATTRIBUTE: Final = "__quarterdeck_gate__"
LAST_WORDS_S: Final = 10.0
"""How long a cancelled call still takes to say what became of its effect."""

_CHANGED: Final = Problem(
    409,
    "urn:quarterdeck:problem:digest_mismatch",
    "Arguments changed",
    "the arguments changed while permission was obtained, so this is no longer what was permitted",
)
_RUNNING: Final[ContextVar[str | None]] = ContextVar("quarterdeck_effect_key", default=None)
_log = logging.getLogger("quarterdeck")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a gated function: what it is called with, and what it means."""

    gate: Gate
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    async def intent(self, client: Quarterdeck) -> Intent:
        """Return what the call is about to do, from its arguments as they are at this moment."""
        gate = self.gate
        given = bound_arguments(gate.signature, self.args, self.kwargs, gate.excluded)
        properties = {name: as_json(value, name) for name, value in given.items()}
        resource = gate.resource(**given) if callable(gate.resource) else gate.resource
        subject = gate.subject(**given) if callable(gate.subject) else gate.subject
        context = gate.context(**given) if callable(gate.context) else gate.context
        return await client.intent(
            gate.action,
            _plain(resource, "resource"),
            properties=properties,
            context=None if context is None else as_json(context, "context"),
            subject=None if subject is None else _plain(subject, "subject"),
        )

    def justification(self) -> str | None:
        """Return what the requester claims."""
        claim = self.gate.justification
        if not callable(claim):
            return claim
        return claim(**bound_arguments(self.gate.signature, self.args, self.kwargs, self.gate.excluded))


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What stands before one function."""

    fn: Callable[..., Any]
    action: str
    resource: Resource
    signature: inspect.Signature
    excluded: frozenset[str]
    subject: Resource | None = None
    context: Json | Callable[..., Json] | None = None
    justification: str | Callable[..., str] | None = None
    effect_class: EffectClass = "at_most_once"
    wait_s: float = 30.0
    failed_on: tuple[type[Exception], ...] = ()
    comply: Comply | None = None

    def outcome(self, error: BaseException) -> EffectOutcome:
        """Return how an effect ended whose function raised. Only who says so knows that nothing happened."""
        return "failed" if isinstance(error, (NotDone, *self.failed_on)) else "unknown"


@dataclass(slots=True)
class Permission:
    """What a call may run on: a permit, or a redeemed grant whose effect is to be reported."""

    intent: Intent
    effect: Effect | None = None
    evaluation_id: str | None = None
    _reported: bool = field(default=False, repr=False)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let the function that runs in the block know its effect's key."""
        token = _RUNNING.set(self.effect.id if self.effect is not None else self.evaluation_id)
        try:
            yield
        finally:
            _RUNNING.reset(token)

    async def report(self, client: Quarterdeck, outcome: EffectOutcome, detail: str = "") -> None:
        """Say once how the effect ended. What cannot be said is logged, never raised: the run is over already."""
        if self.effect is None or self._reported:
            return
        self._reported = True
        try:
            await client.report(self.effect, outcome, detail)
        except QuarterdeckError as error:
            _log.warning("the outcome of effect %s (%s) could not be reported: %s", self.effect.id, outcome, error)


def effect_key() -> str | None:
    """Return a key for the one effect of the gated call that runs now; None outside of one.

    Give it to the target as its idempotency key: the log knows the effect by it too, so that whoever must find out
    later what became of it can look for it there. It is the effect's id, or the evaluation's where no grant was needed.
    """
    return _RUNNING.get()


def gate_of(fn: Callable[..., Any]) -> tuple[Gate, tuple[Any, ...]]:
    """Return the gate of a gated function, and the object that a bound method brings along.

    Raises:
        NotConfigured: it has none.
    """
    gate = getattr(fn, ATTRIBUTE, None)
    if not isinstance(gate, Gate):
        raise NotConfigured(f"{getattr(fn, '__qualname__', fn)!r} is not gated; decorate it with @gate")
    return gate, (fn.__self__,) if inspect.ismethod(fn) else ()


async def admit(client: Quarterdeck, call: Call) -> Permission:
    """Return the permission for a call.

    Raises:
        Denied, ApprovalPending, Refused, Unreachable: there is none.
    """
    intent = await call.intent(client)
    decision = await client.evaluate(intent)
    if decision.permitted:
        await _comply(call.gate, decision.obligations)
        return await _still(client, call, Permission(intent, evaluation_id=decision.evaluation_id))
    if decision.outcome == "denied":
        raise _denied(decision)
    task = await client.request_approval(decision, justification=call.justification())
    return await admit_approved(client, call, task)


async def admit_approved(client: Quarterdeck, call: Call, task: Task | str) -> Permission:
    """Return the permission for a call whose request was filed: wait, then redeem.

    Raises:
        ApprovalPending: nobody decided within the gate's wait.
        Denied, Refused, Unreachable: there is none.
    """
    try:
        ended = await client.wait(task, call.gate.wait_s)
    except Unreachable as error:
        if isinstance(task, Task):
            # The request is filed; only the answer is missing. Whoever has the task can go on later.
            raise ApprovalPending(task) from error
        raise
    if ended.status != "approved":
        raise _not_approved(ended)
    grant = await client.grant(ended)
    # From the arguments as they are now, not as they were asked about: the server compares.
    intent = await call.intent(client)
    redeeming = asyncio.ensure_future(client.redeem(grant, intent, effect_class=call.gate.effect_class))
    try:
        effect = await asyncio.shield(redeeming)
    except asyncio.CancelledError:
        await _take_back(client, intent, redeeming)
        raise
    permission = Permission(intent, effect)
    try:
        await _comply(call.gate, effect.obligations)
        return await _still(client, call, permission)
    except BaseException as error:
        await shielded(permission.report(client, "failed", f"not run: {type(error).__name__}"))
        raise


async def run(client: Quarterdeck, gate: Gate, permission: Permission, call: Callable[[], Awaitable[T]]) -> T:
    """Run what was permitted, and report how it ended."""
    try:
        with permission.running():
            result = await call()
        require_finished(result)
    except BaseException as error:
        await shielded(permission.report(client, gate.outcome(error), f"raised {type(error).__name__}"))
        raise
    await shielded(permission.report(client, "committed"))
    return result


def require_finished(result: object) -> None:
    """Refuse what a gated function returned if it is still to happen: its effect would not be this call's.

    Raises:
        NotConfigured: it is something to await.
    """
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise NotConfigured("the gated function returned something to await: its effect would happen later")


async def shielded(last_words: Awaitable[None]) -> None:
    """Finish saying what became of an effect although the task is being cancelled; cancelled again, give up."""
    saying = asyncio.ensure_future(last_words)
    try:
        await asyncio.shield(saying)
    except asyncio.CancelledError:
        await asyncio.wait({saying}, timeout=LAST_WORDS_S)
        raise


async def resume(
    client: Quarterdeck,
    gate: Gate,
    task: Task | str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Any:
    """Go on with a gated call whose request was filed before. See `Quarterdeck.resume`."""
    permission = await admit_approved(client, Call(gate, args, kwargs), task)
    return await run(client, gate, permission, lambda: gate.fn(*args, **kwargs))


async def _still(client: Quarterdeck, call: Call, permission: Permission) -> Permission:
    """Return the permission if the arguments did not change while it was obtained."""
    if (await call.intent(client)).text() != permission.intent.text():
        raise ActionChanged(_CHANGED)
    return permission


async def _take_back(client: Quarterdeck, intent: Intent, redeeming: asyncio.Future[Effect]) -> None:
    """A call was cancelled while its grant was being redeemed: nothing ran, and that is what is reported."""
    await asyncio.wait({redeeming}, timeout=LAST_WORDS_S)
    if redeeming.done() and not redeeming.cancelled() and redeeming.exception() is None:
        await shielded(Permission(intent, redeeming.result()).report(client, "failed", "cancelled before it ran"))
    else:
        redeeming.cancel()


async def _comply(gate: Gate, obligations: Sequence[Obligation]) -> None:
    """Fulfil what the decision asks for; all of it, even where one part fails.

    Source: AuthZEN obligations profile: whoever cannot comply treats the decision as a denial.
    """
    failed = [item for item in obligations if not await _complied(gate, item)]
    if failed:
        names = ", ".join(sorted({item.type for item in failed}))
        raise Denied("obligation_not_met", f"permitted only with {names}, which this gate does not do; see comply=")


async def _complied(gate: Gate, obligation: Obligation) -> bool:
    if gate.comply is None:
        return False
    done = gate.comply(obligation)
    return (await done if inspect.isawaitable(done) else done) is True


def _denied(decision: Decision) -> Denied:
    return Denied(
        decision.reason,
        decision.message,
        determining=decision.determining,
        next_action=decision.next_action,
        evaluation_id=decision.evaluation_id,
    )


def _not_approved(task: Task) -> QuarterdeckError:
    match task.status:
        case "pending":
            return ApprovalPending(task)
        case "denied":
            return ApprovalDenied(task)
        case "expired":
            return ApprovalExpired(task)
        case "cancelled":
            return ApprovalCancelled(task)
        case _:
            return Denied(task.status, f"the request ended as {task.status}", next_action="request")


def _plain(value: Named, where: str) -> Entity:
    found = Entity.of(value)
    return Entity(found.type, found.id, None if found.properties is None else as_json(found.properties, where))


def _name(fn: Callable[..., Any]) -> str:
    return str(getattr(fn, "__qualname__", fn))


def make_gate(fn: Callable[..., Any], exclude: Collection[str], **settings: Any) -> Gate:
    """Return the gate of a function.

    Raises:
        NotConfigured: its effect would happen outside the call, or `exclude` names no parameter.
    """
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise NotConfigured(f"{_name(fn)} is a generator: its effect would happen after the gate has closed")
    signature = inspect.signature(fn)
    if unknown := sorted(set(exclude) - set(signature.parameters)):
        raise NotConfigured(f"{_name(fn)} has no parameter {unknown[0]!r} to exclude")
    return Gate(fn=fn, signature=signature, excluded=frozenset(exclude) | receiver(fn, signature), **settings)
