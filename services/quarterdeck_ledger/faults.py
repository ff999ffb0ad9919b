"""Fault points: the named steps at which tests let a process die, fail or stall.

`point("append.after_commit")` costs one look at a variable while nothing is installed. A test installs a schedule,
which decides on every hit: pass, raise, stall, or die by SIGKILL. A process gets one of its own through the environment
but only where the environment also says that this is a test (see `from_environment`).
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple, Protocol
from urllib.parse import parse_qsl, urlsplit

import msgspec

from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_ledger.errors import Unavailable

FAULTS: Final = "QUARTERDECK_FAULTS"
"""The schedule of a process: see `parse`."""
ALLOWED: Final = "QUARTERDECK_FAULTS_ALLOWED"
"""Must be `I am a test` beside it."""
CONSENT: Final = "I am a test"
_HERE: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class Point(NamedTuple):
    """One step, and what has happened when it is reached."""

    name: str
    says: str


POINTS: Final = (
    Point("execute.read", "A command has read its boundary and decided nothing yet."),
    Point("execute.decide", "A command has decided and its events are on their way to the append."),
    Point("execute.done", "A command's events are durable and its caller has not been told."),
    Point("append.before_commit", "A batch is made up and the store has not seen it."),
    Point("append.after_commit", "A batch is durable and none of its callers has been told."),
    Point("deciding.before_commit", "A hot boundary has decided under the lock and its transaction is open."),
    Point("deciding.after_commit", "What a hot boundary decided is durable and nobody has been told."),
    Point("decision.before_record", "Policy has answered and the decision is not recorded."),
    Point("decision.after_record", "A decision is recorded and its asker has not been told."),
    Point("redeem.before", "A redeemer holds a recorded permit and has not redeemed."),
    Point("redeem.after", "A grant is redeemed and the redeemer has not been told."),
    Point("reply.before", "A POST is done and its answer has not begun."),
    Point("dispatch.read", "The dispatcher has read events and acted on none."),
    Point("dispatch.before_start", "The dispatcher is about to start a workflow."),
    Point("dispatch.after_start", "A workflow is started and the dispatcher's place is not moved."),
    Point("dispatch.before_signal", "The dispatcher is about to signal a gate."),
    Point("dispatch.after_signal", "A gate is signalled and the dispatcher's place is not moved."),
    Point("dispatch.before_advance", "Every event of a page is handled and the dispatcher's place is not moved."),
    Point("dispatch.after_advance", "The dispatcher's place is moved."),
    Point("import.read", "A source was read, and nothing of it is recorded."),
    Point("import.recorded", "A source was imported, and whoever imports it has not heard so."),
    Point("gate.claimed", "An activity of a gate has begun and done nothing."),
    Point("gate.before_append", "A gate's command is about to run."),
    Point("gate.after_append", "A gate's command is durable and Temporal has not been told."),
    Point("callback.before_send", "A callback is about to be sent."),
    Point("callback.after_send", "A callback was answered and nothing of it is recorded."),
    Point("project.read", "The projector has read a run of events and written nothing."),
    Point("project.before_commit", "A run is written and its transaction is open."),
    Point("project.after_commit", "A run and the projector's place are durable."),
    Point("erase.read", "The eraser has read an order and destroyed nothing."),
    Point("erase.after_destroy", "A key is destroyed and the eraser's place is not moved."),
    Point("checkpoint.before_record", "A checkpoint is signed and not recorded."),
    Point("checkpoint.after_record", "A checkpoint is recorded and nobody has seen it."),
)
NAMES: Final = frozenset(point.name for point in POINTS)


class InjectedFault(Unavailable):
    """A test asked for this failure."""


class FaultsRefused(QuarterdeckError):
    """A fault schedule where none may be, or one that makes no sense."""

    code = "faults_refused"


class Schedule(Protocol):
    """Decides what a hit comes to: return to pass, raise to fail, or never come back."""

    def hit(self, name: str) -> None:
        """Take one hit of a point."""
        ...


_installed: Schedule | None = None


def point(name: str) -> None:
    """Mark a step. Nothing happens unless a schedule is installed."""
    if _installed is not None:
        if name not in NAMES:
            raise FaultsRefused(f"{name!r} is not a fault point; add it to faults.POINTS", name=name)
        _installed.hit(name)


def install(schedule: Schedule | None) -> None:
    """Let a schedule decide from now on in this process; None takes it away."""
    global _installed  # noqa: PLW0603  one variable is what makes a point nearly free
    _installed = schedule


@contextlib.contextmanager
def installed(schedule: Schedule) -> Iterator[None]:
    """Let a schedule decide for as long as a block lasts."""
    before = _installed
    install(schedule)
    try:
        yield
    finally:
        install(before)


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What shall happen at a point: at its `hit`-th hit only, or at any with a `chance`."""

    name: str
    action: str
    seconds: float = 0.0
    hit: int | None = None
    chance: float = 1.0


class RuleSchedule:
    """A schedule made of rules. The seed makes the chances repeatable; `record` is a file that gets each point's name
    at its first hit, so that a test can tell which were reached."""

    def __init__(self, rules: Iterable[Rule], *, seed: int = 0, record: Path | None = None) -> None:
        self._rules = tuple(rules)
        self._random = random.Random(seed)  # noqa: S311  chances of a test
        self._record = record
        self.hits: dict[str, int] = {}

    def hit(self, name: str) -> None:
        """Take one hit.

        Raises:
            InjectedFault: a rule says so.
        """
        count = self.hits[name] = self.hits.get(name, 0) + 1
        if count == 1 and self._record is not None:
            with self._record.open("a") as record:
                record.write(f"{name}\n")
        for rule in self._rules:
            if rule.name not in {name, "*"} or rule.hit not in {None, count}:
                continue
            if rule.chance < 1.0 and self._random.random() >= rule.chance:
                continue
            if rule.action == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            elif rule.action == "stall":
                time.sleep(rule.seconds)
            else:
                raise InjectedFault(f"fault injected at {name}", point=name, hit=count)


def parse(text: str) -> RuleSchedule:
    """Return the schedule of a text such as `seed=7; append.after_commit=kill@3; *=raise~0.01; reply.before=stall:0.2`.

    `@n` is the n-th hit, `~p` a chance, `stall:s` a number of seconds; `record=FILE` notes the points that were hit.

    Raises:
        FaultsRefused: it is malformed.
    """
    rules: list[Rule] = []
    seed, record = 0, None
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, separator, what = (word.strip() for word in part.partition("="))
        try:
            if not separator:
                raise ValueError("no `=`")
            if name == "seed":
                seed = int(what)
            elif name == "record":
                record = Path(what)
            else:
                rules.append(_rule(name, what))
        except ValueError as error:
            raise FaultsRefused(f"{FAULTS}: {part!r} is no rule: {error}", part=part) from None
    return RuleSchedule(rules, seed=seed, record=record)


def _rule(name: str, what: str) -> Rule:
    if name not in NAMES and name != "*":
        raise ValueError("no such fault point")
    rest, _, chance = what.partition("~")
    rest, _, hit = rest.partition("@")
    action, _, seconds = rest.partition(":")
    if action not in {"kill", "raise", "stall"} or (action == "stall") != bool(seconds):
        raise ValueError("an action is kill, raise or stall:SECONDS")
    return Rule(
        name=name,
        action=action,
        seconds=float(seconds or 0),
        hit=int(hit) if hit else None,
        chance=float(chance) if chance else 1.0,
    )


def from_environment(environment: Mapping[str, str], *addresses: str | None) -> None:
    """Install the schedule that the environment names, if it names one.

    `addresses` are of the servers this process works with: all of them must be on this machine.

    Raises:
        FaultsRefused: nothing says that this is a test, or something says that it is none.
    """
    text = environment.get(FAULTS)
    if text is None:
        return
    if environment.get(ALLOWED) != CONSENT:
        raise FaultsRefused(f"{FAULTS} is set, but {ALLOWED} is not {CONSENT!r}: it lets this process kill itself")
    for address in filter(None, addresses):
        for host in _hosts(address):
            if host not in _HERE and not host.startswith("/"):
                raise FaultsRefused(f"{FAULTS} is set, but {host} is not this machine: faults are for tests", host=host)
    install(parse(text))


def _hosts(address: str) -> list[str]:
    """Return the hosts that an address names. PostgreSQL's may name several, or sockets, in its query too."""
    parts = urlsplit(address if "//" in address else f"//{address}")
    queried = [value for name, value in parse_qsl(parts.query) if name in {"host", "hostaddr"}]
    named = [parts.netloc.rpartition("@")[2], *queried]
    return [_host(one) for one in ",".join(named).split(",") if one]


def _host(text: str) -> str:
    if text.startswith("/") or (text.count(":") > 1 and not text.startswith("[")):
        return text
    return urlsplit(f"//{text}").hostname or text
