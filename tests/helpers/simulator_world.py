"""One simulated installation: two APIs, a dispatcher, a worker, one log, one Temporal, and faults at seeded moments.

Everything that decides is production code: the ledger with its sequencer, the slices, the decision point with Cedar, the
dispatcher, the gate's workflow and activities. Here are only the parts around it: processes that die and come back, a
network that loses requests and answers, and clients that repeat what they heard no answer to.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from simulator_loop import PROCESS, Died, Process, SimulatorLoop, Stuck
from simulator_store import Connection, IndexedStore, LogLock
from simulator_temporal import Temporal, answering

from quarterdeck_api.grants import redeem as redeem_module
from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_domain.events import RecordedEvent
from quarterdeck_domain.policy.values import BundleText
from quarterdeck_ledger import faults
from quarterdeck_ledger import ledger as ledger_module
from quarterdeck_ledger.entry import Entry, parse_entry
from quarterdeck_ledger.errors import Busy, Unavailable
from quarterdeck_ledger.interface import Executed
from quarterdeck_ledger.keys import MemoryKeyStore
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.signing import Purpose, SigningKey
from quarterdeck_policy.decision_point import DecisionPoint
from quarterdeck_policy.engine import Engine, LoadedBundle
from quarterdeck_projector import dispatcher as dispatcher_module
from quarterdeck_projector.dispatcher import Dispatcher
from quarterdeck_workflows.approval_gate.activities import ApprovalGateActivities

T0 = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
TENANT = "acme"
APIS = ("api-1", "api-2")
PATIENCE = 60


class Unknown(Exception):
    """The connection broke: whether the request was done, nobody knows."""


class Violation(AssertionError):
    """Something that must always hold does not."""

    def __init__(self, invariant: str, what: str) -> None:
        super().__init__(f"{invariant}: {what}")
        self.invariant = invariant


class Acknowledged(msgspec.Struct, frozen=True):
    """What a client was told of one of its commands: these events, at these places."""

    command_id: uuid.UUID
    position: int
    events: tuple[uuid.UUID, ...]


class Plan(msgspec.Struct):
    """Which hits of fault points come to what: the n-th hit, counted over all processes."""

    actions: dict[int, tuple[str, float]]

    @classmethod
    def drawn(cls, rng: random.Random, span: int) -> Plan:
        """Draw a few faults among the first `span` hits, or none."""
        actions: dict[int, tuple[str, float]] = {}
        for _ in range(int(rng.random() * 5)):
            kind = _KINDS[int(rng.random() * len(_KINDS))]
            actions[1 + int(rng.random() * span)] = (kind, rng.random())
        return cls(actions)


_KINDS = ("kill", "kill", "kill", "raise", "raise", "jump", "jump", "back", "forget")


class CachedEngine(Engine):
    """Cedar, parsing each bundle once for all simulated processes."""

    def __init__(self) -> None:
        self._loaded: dict[BundleText, LoadedBundle] = {}

    def load(self, text: BundleText) -> LoadedBundle:
        key = (text.policies, text.cedar_schema, text.entities)
        found = _LOADED.get(key)
        if found is None:
            found = _LOADED[key] = super().load(text)
        return found


_LOADED: dict[Any, LoadedBundle] = {}
_ENGINE = CachedEngine()


class RememberingLedger(EventLedger):
    """The production ledger; only, an entry that was opened once is not opened again."""

    async def open(self, entry: Entry) -> RecordedEvent:
        found = _OPENED.get(id(entry))
        if found is None or found[0] is not entry:
            found = (entry, await super().open(entry))
            _OPENED[id(entry)] = found
        return found[1]


OPENED_AT_MOST = 2_000
_OPENED: dict[int, tuple[Entry, RecordedEvent]] = {}
_parse = lru_cache(maxsize=4096)(parse_entry)


class Keys:
    """Signing keys that are the same in every simulation."""

    def __init__(self) -> None:
        private = Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
        self._keys = [SigningKey("simulated", private)]

    def current(self, _tenant: str, _purpose: Purpose) -> SigningKey:
        """Return the key."""
        return self._keys[0]

    def all(self, _tenant: str, _purpose: Purpose) -> list[SigningKey]:
        """Return the key, alone."""
        return self._keys


_SIGNING = Keys()
_SETTINGS = SimpleNamespace(base_url="https://quarterdeck.example", default_tenant=TENANT)


class Followers:
    """The places of followers, kept by the store."""

    def __init__(self, places: dict[tuple[str, str], int], loop: SimulatorLoop, wire: Callable[[str], None]) -> None:
        self._places = places
        self._loop = loop
        self._wire = wire

    async def position(self, tenant: str, follower: str) -> int:
        """Return the last position a follower has handled."""
        self._wire("store.read")
        return self._places.get((tenant, follower), 0)

    async def advance(self, tenant: str, follower: str, position: int) -> None:
        """Remember it; it never goes back."""
        await self._loop.arrival()
        self._wire("store.request")
        self._places[tenant, follower] = max(position, self._places.get((tenant, follower), 0))
        self._wire("store.answer")


class Api:
    """One API process."""

    def __init__(self, process: Process, ledger: EventLedger) -> None:
        self.process = process
        self.ledger = ledger
        self.decisions = DecisionPoint(ledger, _ENGINE)
        self.services: Any = SimpleNamespace(
            ledger=ledger, decisions=self.decisions, settings=_SETTINGS, signing=_SIGNING
        )


class World:
    """The installation, and what its clients were told."""

    def __init__(
        self,
        rng: random.Random,
        base: IndexedStore,
        keys: MemoryKeyStore,
        *,
        begin_s: float = 0.0,
        roles: tuple[str, ...] = (*APIS, "projector", "worker"),
        span: int = 260,
    ) -> None:
        """`span` is how many hits of fault points are drawn from for the faults of this schedule."""
        global _rng
        if len(_OPENED) > OPENED_AT_MOST:
            _OPENED.clear()
        self.rng = _rng = rng
        self.loop = SimulatorLoop(rng)
        self.loop.now = begin_s
        self.skew_s = 0.0
        self.lock = LogLock(self.loop)
        self.store = base.branch(self.clock)
        self.keys = keys
        self.plan = Plan.drawn(rng, span)
        self.hits = 0
        self.healed = False
        self.injected: list[tuple[int, str, str]] = []
        self.acknowledged: list[Acknowledged] = []
        self.refused: list[uuid.UUID] = []
        self.places: dict[tuple[str, str], int] = {}
        self.apis: dict[str, Api | None] = {}
        self.running: list[Process] = []
        self.clients: list[asyncio.Task[None]] = []
        self._asked: dict[Process, list[Any]] = {}
        self.client = Process("client")
        self.machine = Process("machine")
        self.temporal = Temporal(self.loop, self.hit)
        for name in roles:
            self.start(name)

    def clock(self) -> datetime:
        """Return the database's time."""
        return T0 + timedelta(seconds=self.loop.now + self.skew_s)

    # Faults.

    def hit(self, name: str) -> None:
        """Take one hit of a fault point, or one crossing of the wire.

        Raises:
            Died: the process is killed here.
            InjectedFault: this step fails.
        """
        process = PROCESS.get()
        if not process.alive:
            raise Died
        self.hits += 1
        if SEEN is not None:
            SEEN.add(name)
        action = self.plan.actions.get(self.hits)
        if action is None or self.healed:
            return
        kind, amount = action
        self.injected.append((self.hits, name, f"{kind} {process.name}"))
        if kind == "kill" and process is not self.machine:
            self.kill(process, amount * 3)
            raise Died
        if kind == "jump":
            self.loop.now += amount * 30
        elif kind == "back":
            self.skew_s -= amount * 10
        elif kind == "forget":
            self.temporal.forget()
            # Whoever drives it notices: its connections break.
            self.kill_named("projector", amount)
            if not process.alive:
                raise Died
        elif kind == "raise":
            raise faults.InjectedFault(f"injected at {name}", point=name)

    def kill_named(self, name: str, again_s: float) -> None:
        """Kill the process of that name, if it runs."""
        for process in self.running:
            if process.name == name and process.alive:
                self.kill(process, again_s)
                return

    def kill(self, process: Process, again_s: float) -> None:
        """Kill a process; it is started again later."""
        self.loop.kill(process)
        self.lock.died(process)
        if process.name in APIS:
            self.apis[process.name] = None
        for future in self._asked.pop(process, ()):
            if not future.done():
                future.set_exception(Unknown())
        self.machine.context.run(self.loop.call_later, again_s, self.start, process.name)

    def start(self, name: str) -> None:
        """Start the process of that name."""
        process = Process(name)
        self.running = [*(other for other in self.running if other.alive), process]
        store = Connection(self.store, self.loop, self.lock, self.hit)
        ledger = RememberingLedger(store, self.keys)
        if name in APIS:
            self.apis[name] = Api(process, ledger)
        elif name == "projector":
            followers: Any = Followers(self.places, self.loop, self.hit)
            temporal: Any = self.temporal
            dispatcher = Dispatcher(ledger, followers, temporal)
            self.loop.spawn(process, dispatcher.follow(TENANT))
        else:
            self.temporal.serve(process, ApprovalGateActivities(ledger))

    # Clients.

    def client_task(self, coro: Coroutine[Any, Any, None]) -> None:
        """Let a client do something, beside the others."""
        self.clients.append(self.loop.spawn(self.client, coro))

    def play(self, *, then: Callable[[], None] | None = None) -> None:
        """Run until every client has had its answers; and `then`, without any more faults, until nothing is left to do.

        Raises:
            Violation: a client never got one, or something broke that no fault explains.
        """
        try:
            with faults.installed(self), _an_end():
                ended = self.loop.run(lambda: all(task.done() for task in self.clients))
                self.healed = True
                if ended and then is not None:
                    self.loop.run(lambda: False)
                    then()
        finally:
            self.loop.bury()
        for task in self.clients:
            if task.done() and (error := task.exception()) is not None:
                raise error
        if not ended:
            raise Violation("everything ends", "a client waits for an answer that never comes")
        if self.loop.problems:
            raise Violation("nothing unforeseen", repr(self.loop.problems[0])) from self.loop.problems[0]

    def new_id(self) -> uuid.UUID:
        """Return a fresh id."""
        return uuid.UUID(int=self.rng.getrandbits(128), version=4)

    async def ask(self, work: Callable[[Api], Awaitable[Any]]) -> Any:
        """Have some API do something, and ask again where no answer comes. Refusals are answers.

        `work` must be the same command every time: it carries its id.
        """
        for _ in range(PATIENCE):
            up = [api for api in self.apis.values() if api is not None]
            if not up:
                await _pause(self.loop, 1.0)
                continue
            api = up[int(self.rng.random() * len(up))]
            answer = self.loop.create_future()
            self._asked.setdefault(api.process, []).append(answer)
            self.loop.spawn(api.process, self._serve(api, work, answer))
            try:
                return await answer
            except (Unknown, Unavailable, Busy):
                await _pause(self.loop, self.rng.random())
        raise Violation("everything ends", f"no answer to {PATIENCE} requests")

    async def _serve(self, api: Api, work: Callable[[Api], Awaitable[Any]], answer: Any) -> None:
        try:
            result = await work(api)
            faults.point("reply.before")
        except QuarterdeckError as error:
            if not answer.done():
                answer.set_exception(error)
        except Exception as error:
            if not answer.done():
                broken = Violation("nothing unforeseen", repr(error))
                broken.__cause__ = error
                answer.set_exception(broken)
        else:
            if not answer.done():
                answer.set_result(result)

    def acknowledge(self, command_id: uuid.UUID, executed: Executed) -> None:
        """Write down what a client was told; by now it must be durable.

        Raises:
            Violation: it is not.
        """
        for event in executed.events:
            self.durable(event)
        if executed.events:
            self.acknowledged.append(
                Acknowledged(command_id, executed.events[0].position, tuple(event.id for event in executed.events))
            )

    def durable(self, event: RecordedEvent) -> None:
        """Expect an event to be in the log, at its place, at the moment in which somebody is told of it."""
        log = self.store._logs[TENANT]
        if log.places.get(event.id) != event.position:
            raise Violation("durable before told", f"{event.type} at {event.position} is not in the log")


SEEN: set[str] | None = None
"""Where a test wants to know which points were hit."""


async def _pause(loop: SimulatorLoop, seconds: float) -> None:
    future = loop.create_future()
    loop.call_later(seconds, future.set_result, None)
    await future


@contextlib.contextmanager
def _an_end() -> Iterator[None]:
    try:
        yield
    except Stuck as error:
        raise Violation("everything ends", str(error)) from error


def _silent(_event: str, **_: object) -> None:
    """Say nothing: injected faults are no news."""


_rng = random.Random(0)


@contextlib.contextmanager
def simulating() -> Iterator[None]:
    """Let the seed decide what production code leaves to chance, and Temporal be the simulated one, for a block."""
    before = random.uniform, ledger_module.parse_entry, redeem_module.fresh_id, dispatcher_module.log
    random.uniform = lambda low, high: low + (high - low) * _rng.random()  # type: ignore[assignment]
    ledger_module.parse_entry = _parse  # type: ignore[attr-defined]
    redeem_module.fresh_id = lambda: uuid.UUID(int=_rng.getrandbits(128), version=4)  # type: ignore[attr-defined]
    dispatcher_module.log = SimpleNamespace(warning=_silent, error=_silent)
    try:
        with answering():
            yield
    finally:
        random.uniform, ledger_module.parse_entry, redeem_module.fresh_id, dispatcher_module.log = before  # type: ignore
        _OPENED.clear()
