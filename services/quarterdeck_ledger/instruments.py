"""What the house measures of itself: every metric, declared once, and the spans of an append.

It stands on the OpenTelemetry API alone: without an SDK nothing is recorded, and until `observe` is called the log
does not even look at the clock. `docs/operations/observability.md` lists what is declared here; a test compares.
Values that name people, things or texts are never attributes; tenants are one only where an operator says so.

Source: OpenTelemetry semantic conventions, 'Metrics' (names, units) and 'Recording errors' (`error.type`).
"""

from __future__ import annotations

import functools
import time
import weakref
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeVar, cast

from opentelemetry import metrics, trace
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Observation

from quarterdeck_domain.errors import QuarterdeckError

SCOPE: Final = "quarterdeck"
OUTCOME: Final = "quarterdeck.outcome"
TENANT: Final = "quarterdeck.tenant"
_MAX_LINKS: Final = 32
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 512)
_meter: Final = metrics.get_meter(SCOPE)
_tracer: Final = trace.get_tracer(SCOPE)
Method = TypeVar("Method", bound=Callable[..., Any])


class Metric(NamedTuple):
    """One metric as it is published. `role` is the process that reports it."""

    name: str
    kind: str
    unit: str
    role: str
    attributes: tuple[str, ...]
    description: str


CATALOGUE: Final[dict[str, Metric]] = {}
"""Every metric of ours, by name."""


def _declared(name: str, kind: str, unit: str, role: str, attributes: tuple[str, ...], description: str) -> Metric:
    metric = Metric(f"{SCOPE}.{name}", kind, unit, role, attributes, description)
    CATALOGUE[metric.name] = metric
    return metric


def _counter(name: str, unit: str, role: str, attributes: tuple[str, ...], description: str) -> Counter:
    metric = _declared(name, "counter", unit, role, attributes, description)
    return _meter.create_counter(metric.name, metric.unit, metric.description)


def _histogram(
    name: str,
    unit: str,
    role: str,
    attributes: tuple[str, ...],
    description: str,
    bounds: Sequence[float] = _SECONDS,
) -> Histogram:
    metric = _declared(name, "histogram", unit, role, attributes, description)
    return _meter.create_histogram(
        metric.name, metric.unit, metric.description, explicit_bucket_boundaries_advisory=bounds
    )


def as_markdown() -> str:
    """Return the catalogue as the table in `docs/operations/observability.md`; a test compares them."""
    rows = (
        f"| `{metric.name}` | {metric.kind} | {metric.unit.strip('{}')} | {metric.role} "
        f"| {', '.join(f'`{name}`' for name in metric.attributes) or '–'} | {metric.description} |\n"
        for metric in sorted(CATALOGUE.values())
    )
    return "| metric | kind | unit | process | attributes | meaning |\n|---|---|---|---|---|---|\n" + "".join(rows)


class _Switch:
    on: bool = False
    by_tenant: bool = False


_switch: Final = _Switch()


def observe(*, by_tenant: bool = False) -> None:
    """Measure from now on: an SDK is there to take it. `by_tenant` makes the tenant an attribute of metrics."""
    _switch.on = True
    _switch.by_tenant = by_tenant
    for owner, name, measured in _METHODS:
        setattr(owner, name, measured)


def observing() -> bool:
    """Tell whether anybody takes what is measured."""
    return _switch.on


def labels(tenant: str, **more: str) -> dict[str, str]:
    """Return a measurement's attributes; the tenant only where the operator wants it."""
    found = {f"{SCOPE}.{name}": value for name, value in more.items()}
    if _switch.by_tenant:
        found[TENANT] = tenant
    return found


class Level:
    """A quantity of each tenant as it was last looked at: by tenant where that is wanted, else one figure over all."""

    def __init__(
        self, name: str, unit: str, role: str, description: str, *, over: Callable[[Iterable[float]], float]
    ) -> None:
        metric = _declared(name, "gauge", unit, role, (), description)
        self.values: Mapping[str, float] = {}
        self._over = over
        _meter.create_observable_gauge(metric.name, [self._observe], metric.unit, metric.description)

    def show(self, values: Mapping[str, float]) -> None:
        """Replace what is shown: a value for each tenant."""
        self.values = dict(values)

    def _observe(self, _options: CallbackOptions) -> list[Observation]:
        values = self.values
        if not values:
            return []
        if _switch.by_tenant:
            return [Observation(value, {TENANT: tenant}) for tenant, value in values.items()]
        return [Observation(self._over(values.values()))]


class Queue(Protocol):
    """Something in which work waits."""

    def waiting(self) -> int:
        """Return how much."""
        ...


QUEUES: Final[weakref.WeakSet[Any]] = weakref.WeakSet()
"""The `Queue`s of this process in which appends wait."""


def _observe_queues(_options: CallbackOptions) -> list[Observation]:
    return [Observation(sum(queue.waiting() for queue in tuple(QUEUES)))] if QUEUES else []


APPEND_DURATION: Final = _histogram(
    "append.duration",
    "s",
    "any that appends",
    (OUTCOME,),
    "Time from an append's call to its answer. Outcomes: `ok`, `repeated`, or the refusal's code (`append_conflict`, "
    "`busy`, `expired`, `id_reused`, `unavailable`, …).",
)
APPEND_EVENTS: Final = _counter("append.events", "{event}", "any that appends", (), "Events recorded.")
APPEND_CONFLICTS: Final = _counter(
    "append.conflicts", "{conflict}", "any that appends", (), "Appends whose condition met a newer event."
)
BATCH_SIZE: Final = _histogram(
    "append.batch.size", "{append}", "any that appends", (), "Appends committed in one transaction.", _SIZES
)
BATCH_DURATION: Final = _histogram(
    "append.batch.duration", "s", "any that appends", (), "Time that one transaction of appends takes."
)
_declared("append.queue.length", "gauge", "{append}", "any that appends", (), "Appends that wait for a batch.")
_meter.create_observable_gauge(
    f"{SCOPE}.append.queue.length", [_observe_queues], "{append}", CATALOGUE[f"{SCOPE}.append.queue.length"].description
)
DECISION_DURATION: Final = _histogram(
    "decision.duration",
    "s",
    "api",
    (OUTCOME,),
    "Time until a policy decision is recorded. Outcomes: `permit`, `deny`, `approval_required`, `invalid`, or why "
    "there is none (`unavailable`, `contended`, …).",
)
PROJECTOR_RUN: Final = _histogram(
    "projector.run.duration", "s", "projector", (), "Time to apply one run of events to the read models."
)
PROJECTOR_EVENTS: Final = _counter("projector.events", "{event}", "projector", (), "Events applied to the read models.")
PROJECTOR_LAG: Final = Level(
    "projector.lag", "{event}", "projector", "Events that the read models are behind the log.", over=max
)
PROJECTOR_STOPPED: Final = Level(
    "projector.stopped", "{tenant}", "projector", "Tenants whose read models wait before an event.", over=sum
)
DISPATCHER_EVENTS: Final = _counter(
    "dispatcher.events", "{event}", "projector", (OUTCOME,), "Events acted on. Outcomes: `handled`, `parked`."
)
DISPATCHER_LAG: Final = Level(
    "dispatcher.lag", "{event}", "projector", "Events that the dispatcher is behind the log.", over=max
)
GATES_OPEN: Final = Level("gates.open", "{gate}", "projector", "Approval requests that wait for people.", over=sum)
PARKED_EVENTS: Final = Level("parked_events", "{event}", "projector", "Events set aside for an operator.", over=sum)
DEAD_LETTERS: Final = Level("dead_letters", "{message}", "projector", "Callbacks given up, not yet resent.", over=sum)
EFFECTS_UNKNOWN: Final = Level(
    "effects.unknown", "{effect}", "projector", "Effects of which nobody knows how they ended.", over=sum
)
CHECKPOINT_AGE: Final = Level(
    "checkpoint.age", "s", "projector", "Time since a log was last signed; of the logs that ever were.", over=max
)
CALLBACKS: Final = _counter(
    "callbacks",
    "{attempt}",
    "worker",
    (OUTCOME,),
    "Callbacks tried. Outcomes: `delivered`, `failed` (tried again later), `refused` (may not be called), `abandoned`.",
)


async def _appended(tenant: str, work: Awaitable[Any]) -> Any:
    began = time.perf_counter()
    span = _tracer.start_span("ledger.append", attributes={TENANT: tenant})
    token = attach(trace.set_span_in_context(span))
    outcome, count = "ok", 0
    try:
        answer = await work
        # What an append answers has its first and last position; what a command answers, its events.
        count = len(answer.events) if hasattr(answer, "events") else answer.last - answer.first + 1
        span.set_attribute("quarterdeck.position", answer.last if hasattr(answer, "last") else answer.position)
        span.set_attribute("quarterdeck.events", count)
        if answer.repeated:
            outcome, count = "repeated", 0
        return answer
    except BaseException as error:
        outcome = code_of(error)
        span.set_attribute("error.type", outcome)
        raise
    finally:
        detach(token)
        span.set_attribute(OUTCOME, outcome)
        span.end()
        APPEND_DURATION.record(time.perf_counter() - began, labels(tenant, outcome=outcome))
        if count:
            APPEND_EVENTS.add(count, labels(tenant))
        if outcome == "append_conflict":
            APPEND_CONFLICTS.add(1, labels(tenant))


class _Measured:
    """A method that is what it is until somebody looks: then, and only then, its class gets the measured one."""

    def __init__(self, method: Callable[..., Any], measured: Callable[..., Any]) -> None:
        self._method = method
        self._measured = functools.wraps(method)(measured)

    def __set_name__(self, owner: type, name: str) -> None:
        setattr(owner, name, self._measured if _switch.on else self._method)
        _METHODS.append((owner, name, self._measured))


_METHODS: Final[list[tuple[type, str, Callable[..., Any]]]] = []


def append(method: Method) -> Method:
    """Measure a method `(self, tenant, events, …)` that appends. While nobody looks, it costs nothing at all."""

    def measured(log: Any, tenant: str, *arguments: Any, **options: Any) -> Any:
        return _appended(tenant, method(log, tenant, *arguments, **options))

    return cast("Method", _Measured(method, measured))


def execute(method: Method) -> Method:
    """Measure a method `(self, command, context)` that decides and appends under the log's lock."""

    def measured(boundaries: Any, command: Any, context: Any) -> Any:
        return _appended(context.tenant, method(boundaries, command, context))

    return cast("Method", _Measured(method, measured))


class Batch:
    """One transaction of appends, below the first of them and linked to the others. Use it in a `with`."""

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


class _ObservedBatch(Batch):
    __slots__ = ("_began", "_contexts", "_size", "_span", "_tenant", "_token")

    def __init__(self, tenant: str, contexts: Sequence[Context | None]) -> None:
        self._tenant = tenant
        self._size = len(contexts)
        self._contexts = [context for context in contexts if context is not None]

    def __enter__(self) -> None:
        self._began = time.perf_counter()
        first = self._contexts[0] if self._contexts else Context()
        spans = [trace.get_current_span(context) for context in self._contexts[1 : _MAX_LINKS + 1]]
        links = [trace.Link(span.get_span_context()) for span in spans if span.is_recording()]
        attributes: dict[str, str | int] = {TENANT: self._tenant, "quarterdeck.appends": self._size}
        self._span = _tracer.start_span("ledger.batch", first, attributes=attributes, links=links)
        self._token = attach(trace.set_span_in_context(self._span, first))

    def __exit__(self, *_: object) -> None:
        detach(self._token)
        self._span.end()
        BATCH_DURATION.record(time.perf_counter() - self._began, labels(self._tenant))
        BATCH_SIZE.record(self._size, labels(self._tenant))


_UNOBSERVED_BATCH: Final = Batch()


def here() -> Context | None:
    """Return the context of a caller whose work another task will do; None if nobody looks."""
    return get_current() if _switch.on else None


def batch(tenant: str, waiting: Sequence[Any]) -> Batch:
    """Return the measurement of one batch; each of those that wait has the `context` it was submitted in."""
    return _ObservedBatch(tenant, [item.context for item in waiting]) if _switch.on else _UNOBSERVED_BATCH


def code_of(error: object) -> str:
    """Return the stable word for an error: never its text."""
    return error.code if isinstance(error, QuarterdeckError) else type(error).__name__


def decide(method: Method) -> Method:
    """Measure a decision point's method `(self, context, asks, …)`, each of its answers by outcome."""

    def measured(point: Any, context: Any, *arguments: Any, **options: Any) -> Any:
        return _decided(context.tenant, method(point, context, *arguments, **options))

    return cast("Method", _Measured(method, measured))


async def _decided(tenant: str, work: Awaitable[Sequence[Any]]) -> Sequence[Any]:
    began = time.perf_counter()
    span = _tracer.start_span("policy.decide", attributes={TENANT: tenant})
    token = attach(trace.set_span_in_context(span))
    outcomes: list[str] = []
    try:
        answers = await work
        outcomes = [_outcome(answer) for answer in answers]
        return answers
    except BaseException as error:
        outcomes = [code_of(error)]
        span.set_attribute("error.type", outcomes[0])
        raise
    finally:
        detach(token)
        span.set_attribute(OUTCOME, sorted(set(outcomes)))
        span.end()
        for outcome in outcomes:
            DECISION_DURATION.record(time.perf_counter() - began, labels(tenant, outcome=outcome))


def _outcome(answer: Any) -> str:
    made = getattr(answer, "decision", None)
    return "invalid" if made is None else str(made.outcome)
