"""The journey as scripted agents and people walk it while the house is being killed, and what they were told.

Each acknowledgement is kept here, outside of the house: what was said to be recorded, and where. `Record.check` holds
the log to it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

from access_world import submission
from faults_house import TENANT, FaultHouse
from faults_http import Answer, Patient

from quarterdeck_domain.events import RecordedEvent
from quarterdeck_projector import invariants
from quarterdeck_projector.invariants_log import check_log
from quarterdeck_workflows.client import connect

EVALUATION: Final = "/access/v1/evaluation"
REQUESTS: Final = "/access/v1/requests"
POSITION: Final = "x-quarterdeck-position"
SETTLED_S: Final = 60.0
_POLL_S: Final = 0.05


@dataclass(frozen=True)
class Told:
    """One acknowledgement: an event of this type, whose member has this value, and, where it was said, its position."""

    type: str
    member: str
    value: str
    position: int | None = None


@dataclass
class Record:
    """Everything that anybody was told."""

    told: list[Told] = field(default_factory=list)
    journeys: int = 0
    repeats: int = 0

    def check(self, events: list[RecordedEvent], count: int | None = None) -> None:
        """Assert that all of it, or what was told first, is in the log, each exactly once, where it was said to be."""
        acknowledged = self.told[:count]
        members = {(told.type, told.member) for told in acknowledged}
        found: Counter[tuple[str, str, str]] = Counter()
        by_position = {event.position: event for event in events}
        for event in events:
            for kind, member in members:
                if event.type == kind:
                    found[kind, member, str(getattr(event.payload, member))] += 1
        for told in acknowledged:
            assert found[told.type, told.member, told.value] == 1, (told, found[told.type, told.member, told.value])
            if told.position is not None:
                there = by_position[told.position]
                assert there.type == told.type, (told, there)
                assert str(getattr(there.payload, told.member)) == told.value, (told, there)


@dataclass
class Walkers:
    """Who walks: each agent has its own connections and its own turns."""

    house: FaultHouse
    record: Record
    hook: str
    seed: int = 0
    _walked: int = 0
    _stopping: bool = False

    async def journey(self, by: str, people: dict[str, Patient], number: int) -> None:
        """Ask, request, approve, ask again, redeem, report. Every step is repeated until it is answered."""
        asker, approver = people[by], people["iris"]
        name = f"{self.seed}-{by}-{number}"
        kind = "human" if by == "rita" else "agent"
        intent: dict[str, Any] = {
            "subject": {"type": kind, "id": self.house.ids[TENANT, by]},
            "action": {"name": "refund", "properties": {"amount": "120.00", "currency": "EUR"}},
            "resource": {"type": "order", "id": name},
        }
        decided = ok(await asker.call("POST", EVALUATION, intent))
        context = decided.body["context"]
        assert decided.body["decision"] is False
        self._tell("policy.decision_recorded", "decision_id", context["evaluation_id"], decided)
        body = (
            submission(intent, context, callback={"endpoint": self.hook}) if number % 2 else submission(intent, context)
        )
        filed = ok(await asker.call("POST", REQUESTS, body, key=f"{name}-request"), 202)
        task = filed.body["task"]["id"]
        self._tell("approval.requested", "approval_id", task, filed)
        await self._approve(asker, approver, task, name)
        done = ok(await asker.call("GET", f"{REQUESTS}/{task}"))
        assert done.body["task"]["status"] == "approved", done
        approval = done.body["result"]["approval"]
        again = ok(await asker.call("POST", EVALUATION, intent | {"context": {"approval": approval}}))
        assert again.body["decision"] is True, again
        self._tell("policy.decision_recorded", "decision_id", again.body["context"]["evaluation_id"], again)
        await self._use(asker, task, intent, name)
        self.record.journeys += 1

    async def _approve(self, asker: Patient, approver: Patient, task: str, name: str) -> None:
        shown = ok(await approver.call("GET", f"/v1/approvals/{task}"))
        vote = {"action_digest": shown.body["action_digest"]}
        path = f"/v1/approvals/{task}/approve"
        own = await asker.call("POST", path, vote, key=f"{name}-own")
        assert own.status in {403, 404, 409}, own  # whoever asks never approves, approver or not
        voted = ok(await approver.call("POST", path, vote, key=f"{name}-vote"))
        self._tell("approval.vote_cast", "approval_id", task)
        self._tell("approval.granted", "approval_id", task)
        repeated = ok(await approver.call("POST", path, vote, key=f"{name}-vote"))
        assert repeated.body["position"] == voted.body["position"], (voted, repeated)

    async def _use(self, asker: Patient, task: str, intent: dict[str, Any], name: str) -> None:
        grant = ok(await asker.call("GET", f"/v1/approvals/{task}/grant"))
        self._tell("grant.minted", "grant_id", grant.body["id"])
        body = {"grant": grant.body["grant"], "intent": intent}
        redeemed = ok(await asker.call("POST", "/v1/grants/redeem", body, key=f"{name}-redeem"))
        effect = redeemed.body["effect_id"]
        self._tell("grant.redeemed", "effect_id", effect, redeemed)
        second = await asker.call("POST", "/v1/grants/redeem", body, key=f"{name}-second")
        assert (second.status, second.problem) == (409, "wrong_state"), second
        assert second.body["details"]["effect_id"] == effect
        reported = ok(
            await asker.call("POST", f"/v1/effects/{effect}/report", {"outcome": "committed"}, key=f"{name}-report")
        )
        self._tell("effect.reported", "effect_id", effect, reported)

    def _tell(self, kind: str, member: str, value: str, answer: Answer | None = None) -> None:
        position = None if answer is None else answer.headers.get(POSITION)
        # A repeated answer may stand on a later position, and a command's last event may be another than its first.
        exact = position is not None and kind in {"policy.decision_recorded", "grant.redeemed"}
        self.record.told.append(Told(kind, member, value, int(position) if exact and position else None))

    async def walk(self, by: str, seed: int, turn: asyncio.Semaphore) -> None:
        """Make journeys until told to stop."""
        people = {
            name: Patient(self.house.ports, self.house.keys[TENANT, name], seed=seed) for name in ("iris", "rita", by)
        }
        try:
            while not self._stopping:
                async with turn:
                    self._walked += 1
                    await self.journey(by, people, self._walked)
        finally:
            self.record.repeats += sum(person.repeats for person in people.values())
            for person in people.values():
                person.close()

    @contextlib.asynccontextmanager
    async def walking(self, *, at_once: int = 2) -> AsyncIterator[None]:
        """Let them walk while the block runs; a failure of theirs ends it."""
        turn = asyncio.Semaphore(at_once)
        async with asyncio.TaskGroup() as group:
            for seed, by in enumerate(("bot", "rita", "worker-bot")):
                group.create_task(self.walk(by, seed, turn), name=f"walks {by}")
            try:
                yield
            finally:
                self._stopping = True


def ok(answer: Answer, status: int = 200) -> Answer:
    """Return an answer of that status."""
    assert answer.status == status, answer
    return answer


@contextlib.asynccontextmanager
async def receiving() -> AsyncIterator[str]:
    """Acknowledge callbacks on a port of this machine; yield its address."""

    async def acknowledge(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            size = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(size or b"0"))
            writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(acknowledge, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"


async def check(house: FaultHouse, record: Record, *, read_models: bool = False, gates: bool = False) -> int:
    """Assert that everything holds, from the bytes up; return the log's length.

    With `gates`, wait (bounded) until every settled approval's gate has ended and every open one's runs.
    """
    async with house.store() as store:
        ledger = house.ledger(store)
        told = len(record.told)  # what is told from now on, while we read, need not be in what we read
        found = [violation async for violation in check_log(store, TENANT)]
        events = await ledger.read(TENANT)
        found += invariants.check_rules(TENANT, events)
        found += invariants.stuck(TENANT, events)
        record.check(events, told)
        if read_models:
            found += await invariants.check_read_models(store)
        assert found == [], found
        if gates:
            assert house.temporal is not None
            temporal = await connect(house.temporal.address)
            end = asyncio.get_running_loop().time() + SETTLED_S
            while amiss := await invariants.check_gates(store, temporal, TENANT, await ledger.read(TENANT)):
                assert asyncio.get_running_loop().time() < end, amiss
                await asyncio.sleep(_POLL_S)
    return len(events)
