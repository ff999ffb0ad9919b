"""`explain`: 500 decisions in a log of 100,000 events, each by its slice; then assets and approvals as they are.

The log is recorded and decided for real (`explain_log.py`). Everything is asked through the whole GraphQL API, and
every slice is checked by a program that shares nothing with what found it (`explain_check.py`): it forces the decision,
and without any one of its events it does not; what is said to be absent is nowhere in that stretch of the log.

Beside it, as peers: the decision alone made again from what it rests on (`redecided`), which explains nothing; and one
replay of the whole log up to it, which is what a single question would cost if slices were not found by tags.
"""

from __future__ import annotations

import contextlib
import json
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import uvloop
from pydantic import SecretStr

from quarterdeck_api.app import create_app
from quarterdeck_api.bootstrap import wire
from quarterdeck_api.services import Services
from quarterdeck_bench.asof import administrator
from quarterdeck_bench.explain_check import about, absences_matter, absent, decision_stands, state_stands
from quarterdeck_bench.explain_log import Writer
from quarterdeck_bench.harness import Result, median, percentile, postgres
from quarterdeck_bench.page import Client
from quarterdeck_bench.stories import TENANT
from quarterdeck_domain.events import RecordedEvent
from quarterdeck_domain.policy.events import DecisionRecorded
from quarterdeck_domain.slices import boundary
from quarterdeck_ledger.entry import Entry
from quarterdeck_ledger.migrate import migrate
from quarterdeck_ledger.postgres import PostgresStore
from quarterdeck_policy.replaying import Remembering, Replay
from quarterdeck_projector.projector import Projector
from quarterdeck_runtime import memory
from quarterdeck_runtime.settings import load_settings

EVENTS: Final = 100_000
DECISIONS: Final = 500
SMALL: Final = (5_000, 40)
STATES: Final = 50
WHOLE: Final = 5
GOAL_S: Final = 2.0
_PAGE: Final = 5_000
_SLICE: Final = (
    '{explain(id:"%s"){slice{outcome events{position type why without} '
    "absences{words types tags after until besides instead}"
    " candidates size replays settled checked{whole sufficient irreducible absent settled} notReplayable text}}}"
)
_REDECIDED: Final = '{explain(id:"%s"){redecided{outcome same}}}'


def run(rounds: int, *, small: bool = False) -> Result:
    """Ask in rounds, in which explaining and deciding again take turns; check every slice once."""
    events, decisions = SMALL if small else (EVENTS, DECISIONS)
    with postgres() as server, tempfile.TemporaryDirectory(prefix="qd-explain-") as directory:
        return uvloop.run(_run(server.url("explain"), Path(directory), rounds, events, decisions))


async def _run(url: str, directory: Path, rounds: int, events: int, decisions: int) -> Result:
    await migrate(url)
    settings = load_settings(database_url=SecretStr(url), data_dir=directory, rate_per_s=1e6, rate_burst=1_000_000)

    async with PostgresStore.open(url) as store, contextlib.AsyncExitStack() as stack:
        services = await wire(settings, store, stack)
        began = time.perf_counter()
        writer = Writer(services)
        recorded = await writer.write(events, decisions)
        token = await administrator(services, TENANT)
        projector = Projector(store, store.pool)
        await projector.prepare()
        await projector.advance_to_end(TENANT)
        await store.pool.execute("VACUUM ANALYZE")
        print(f"recorded {recorded:,} events, {decisions} decisions in {time.perf_counter() - began:.0f} s", flush=True)
        memory.settle()  # as whoever serves does
        asking = _Asking(services, Client(create_app(services), "/graphql", token))
        await asking.read()
        return await _measured(asking, writer, rounds)


async def _measured(asking: _Asking, writer: Writer, rounds: int) -> Result:
    decisions = await asking.asked(writer.decisions, rounds, peer=True)
    states = {
        "assets": await asking.asked([f"asset:{name}" for name in _some(writer.tools)], rounds),
        "approvals": await asking.asked(_some(writer.approvals), rounds),
    }
    stand = sum([await asking.decision_stands(name, decisions.answers[name]) for name in decisions.answers])
    contraries = [await asking.absences_matter(name, decisions.answers[name]) for name in decisions.answers]
    tried, matter = sum(tried for tried, _ in contraries), sum(matter for _, matter in contraries)
    sound = {
        name: sum(map(asking.state_stands, found.answers, found.answers.values())) for name, found in states.items()
    }
    answers = [told for found in (decisions, *states.values()) for told in found.answers.values()]
    missing = [absence for told in answers for absence in told["absences"]]
    nowhere = sum(absent(absence, asking.log) for absence in missing)
    whole = [await asking.replayed(name) for name in writer.decisions[-WHOLE:]]
    rows = [_row("decision", decisions, median(whole), stand)]
    rows += [_row(name.rstrip("s"), found, None, sound[name]) for name, found in states.items()]
    p95 = percentile(decisions.seconds, 0.95)
    value = {
        "p95_s": round(p95, 3),
        "irreducible": f"{stand} of {len(decisions.answers)}",
        "states": {name: f"{sound[name]} of {len(found.answers)}" for name, found in states.items()},
        "absences": f"{nowhere} of {len(missing)}",
        "contraries": f"{matter} of {tried}",
        "p95_by_replay_of_whole_log": round(p95 / median(whole), 3),
    }
    ok = p95 < GOAL_S and stand == len(decisions.answers) == len(writer.decisions) and nowhere == len(missing)
    # Every decision relies on something that did not happen, and would be another if it had.
    ok = ok and all(tried == matter > 0 for tried, matter in contraries)
    ok = ok and all(sound[name] == len(found.answers) for name, found in states.items())
    note = (
        f"{len(asking.log):,} events, {len(writer.decisions)} decisions, {rounds} rounds. `checked` counts slices that "
        "force what was recorded and of which no event can be left out, found out by deciding anew in an empty log; "
        "`contraries`, of the gaps in absences that an event was made for, those with which the decision is another. "
        f"Whole log: one replay of everything up to the decision, median of {WHOLE}."
    )
    goal = {"p95_s": GOAL_S, "irreducible": "every one"}
    return {"name": "explain", "value": value, "goal": goal, "ok": ok, "rows": rows, "note": note}


def _some(names: Sequence[str]) -> list[str]:
    return random.Random(STATES).sample(names, min(STATES, len(names)))


class _Found:
    """What was answered, by id, and how long it took, beside the peer."""

    def __init__(self) -> None:
        self.answers: dict[str, dict[str, Any]] = {}
        self.seconds: list[float] = []
        self.peer: list[float] = []


class _Asking:
    """Asks the API, and holds the whole log to check what it says."""

    def __init__(self, services: Services, client: Client) -> None:
        self._services = services
        self._client = client
        self.log: dict[int, tuple[str, frozenset[str]]] = {}
        self._events: dict[int, RecordedEvent] = {}

    async def read(self) -> None:
        """Read the whole log once."""
        ledger, after = self._services.ledger, 0
        while page := await ledger.read_sealed(TENANT, after=after, limit=_PAGE):
            for entry in page:
                self.log[entry.position] = (entry.type, frozenset(entry.tags))
                event = _event(self._services, entry)
                if about(event.payload):
                    self._events[entry.position] = event
            after = page[-1].position

    async def asked(self, ids: Sequence[str], rounds: int, *, peer: bool = False) -> _Found:
        """Ask why each is so, in rounds; with `peer`, let it be decided again, too, in turns."""
        found = _Found()
        for turn in range(rounds):
            for name in ids:
                ways = [(_SLICE, found.seconds), *([(_REDECIDED, found.peer)] if peer else [])]
                for query, seconds in ways if turn % 2 else ways[::-1]:
                    began = time.perf_counter()
                    answer = json.loads(await self._client.ask(query % name))
                    seconds.append(time.perf_counter() - began)
                    assert "errors" not in answer, (name, answer["errors"])
                    if query is _SLICE:
                        found.answers[name] = answer["data"]["explain"]["slice"]
        return found

    async def decision_stands(self, name: str, told: dict[str, Any]) -> bool:
        """Tell whether a decision's slice is what it says."""
        decision, events = await self._told(name, told)
        settled = await self._read(told["settled"])
        stands = all(told["checked"].values()) and await decision_stands(decision, events, settled)
        if not stands:
            print(f"does not stand: {told['text']}", flush=True)
        return stands

    async def absences_matter(self, name: str, told: dict[str, Any]) -> tuple[int, int]:
        """Return how many gaps of a decision's absences were tried to be filled, and how many of these change it."""
        decision, events = await self._told(name, told)
        found = await absences_matter(decision, events, told["absences"])
        if found[0] != found[1]:
            print(f"an absence does not matter: {told['text']}", flush=True)
        return found

    async def _told(self, name: str, told: dict[str, Any]) -> tuple[RecordedEvent, list[RecordedEvent]]:
        ledger = self._services.ledger
        (decision,) = await ledger.read(TENANT, boundary(((DecisionRecorded,), (f"decision:{name}",))))
        return decision, await self._read([event["position"] for event in told["events"]])

    async def _read(self, positions: Sequence[int]) -> list[RecordedEvent]:
        events: list[RecordedEvent] = []
        for position in positions:
            events += await self._services.ledger.read(TENANT, after=position - 1, until=position)
        return events

    def state_stands(self, name: str, told: dict[str, Any]) -> bool:
        """Tell whether a state's slice is what it says."""
        positions = [event["position"] for event in told["events"]]
        stands = all(told["checked"].values()) and state_stands(
            name, positions, self._events, len(self.log), told["settled"]
        )
        if not stands:
            print(f"does not stand: {told['text']}", flush=True)
        return stands

    async def replayed(self, name: str) -> float:
        """Return how long it takes to make a decision again from the whole log."""
        ledger = self._services.ledger
        (decision,) = await ledger.read(TENANT, boundary(((DecisionRecorded,), (f"decision:{name}",))))
        replay = Replay(decision, Remembering())
        began, after, events = time.perf_counter(), 0, list[RecordedEvent]()
        while page := await ledger.read_sealed(TENANT, after=after, until=replay.last, limit=_PAGE):
            events += [_event(self._services, entry) for entry in page]
            after = page[-1].position
        assert await replay.outcome(events) == replay.recorded
        return time.perf_counter() - began


def _event(services: Services, entry: Entry) -> RecordedEvent:
    payload = services.ledger.registry.from_data(entry.type, entry.version, entry.data)
    return RecordedEvent(
        tenant=entry.tenant,
        position=entry.position,
        id=entry.id,
        recorded_at=entry.recorded_at,
        actor=entry.actor,
        cause=entry.cause,
        tags=entry.tags,
        payload=payload,
    )


def _row(what: str, found: _Found, whole: float | None, stand: int) -> dict[str, Any]:
    told = list(found.answers.values())
    p50, p95 = median(found.seconds), percentile(found.seconds, 0.95)
    peer = median(found.peer) if found.peer else None
    return {
        "explained": what,
        "how many": len(told),
        "candidates": median([item["candidates"] for item in told]),
        "slice": median([item["size"] for item in told]),
        "absences": median([len(item["absences"]) for item in told]),
        "replays": median([item["replays"] for item in told]),
        "p50 ms": p50 * 1000,
        "p95 ms": p95 * 1000,
        "redecided ms": "" if peer is None else peer * 1000,
        "p50 / redecided": "" if peer is None else p50 / peer,
        "whole log ms": "" if whole is None else whole * 1000,
        "p50 / whole log": "" if whole is None else p50 / whole,
        "checked": f"{stand} of {len(told)}",
    }
