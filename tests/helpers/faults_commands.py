"""A load of one kind, easily counted: principals are registered, each under a key of its own."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from faults_house import TENANT, FaultHouse
from faults_http import Answer, Connection, request
from faults_journey import Record, Told, check

REGISTER = "/v1/commands/register_principal"
REGISTERED = "principal.registered"


@dataclass
class Registrations:
    """Who was to be registered, and who, it was said, is."""

    house: FaultHouse
    acknowledged: dict[str, str] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)

    async def send(self, connection: Connection, key: str) -> Answer:
        """Register once, under a key; note what is said.

        Raises:
            Lost: nothing was.
        """
        self.waiting.add(key)
        body = {"kind": "human", "display_name": f"Person {key}", "roles": []}
        token = self.house.keys[TENANT, "admin"]
        answer = await connection.send(request("POST", REGISTER, token=token, body=body, key=key))
        if answer.status == 200:
            who, position = answer.body["result"]["principal_id"], answer.body["position"]
            assert self.acknowledged.setdefault(key, who) == who, "another answer than the first"
            assert self.positions.setdefault(key, position) == position, "another position than the first"
            self.waiting.discard(key)
        else:
            assert (answer.status, answer.problem) in {(503, "unavailable"), (503, "busy")}, answer
            assert "retry-after" in answer.headers
        return answer

    async def check(self, *, all_told: bool = True) -> None:
        """Assert that who was acknowledged is in the log once, at its position, nobody twice, and all the rest.

        With `all_told`, everybody was acknowledged in the end, so that nobody else may be there.
        """
        told = [Told(REGISTERED, "principal_id", who, self.positions[key]) for key, who in self.acknowledged.items()]
        await check(self.house, Record(told=told))
        async with self.house.store() as store:
            events = await self.house.ledger(store).read(TENANT)
        commands = Counter(str(event.cause.command_id) for event in events if event.type == REGISTERED)
        assert set(commands.values()) == {1}
        if all_told:
            assert not self.waiting
            assert len(commands) == len(self.acknowledged) + len(self.house.ids)
