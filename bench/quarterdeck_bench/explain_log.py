"""A log in which decisions of many kinds were made, for `explain`: by real policy, over changes of who may do what.

Between the stories of others (`stories`) roles are given and taken, people leave, bundles replace each other, objects
of the estate are changed, quarantined and released, and requests for consent are granted. Decisions are made by the
real decision point, one after a stretch of all that, so that what each rests on lies far apart.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from quarterdeck_api.services import Services
from quarterdeck_bench.stories import TENANT, events
from quarterdeck_domain.access.events import (
    OwnershipTransferred,
    PrincipalDeactivated,
    PrincipalRegistered,
    RoleGranted,
    RoleRevoked,
)
from quarterdeck_domain.access.values import SYSTEM
from quarterdeck_domain.approvals.slices import CastVote, RequestApproval
from quarterdeck_domain.estate import events as estate
from quarterdeck_domain.events import Actor, Event, NewEvent
from quarterdeck_domain.ids import make_id
from quarterdeck_domain.policy.events import BundleModeChanged, DecisionRecorded
from quarterdeck_domain.policy.values import BundleText, split
from quarterdeck_ledger.interface import Context
from quarterdeck_policy.authzen import intent_of, parse_json
from quarterdeck_policy.decisions import Decided

AGENTS: Final = 40
PEOPLE: Final = 8
TOOLS: Final = 60
ROLES: Final = ("operator", "auditor", "approver", "agent")
ACTIONS: Final = ("read", "refund", "export", "wipe", "tune")
_APPEND: Final = 200
POLICIES: Final = """
@id("read") permit (principal, action == Action::"read", resource)
when { context.verified.subject.roles.contains("agent") };
@id("export") permit (principal, action == Action::"export", resource)
when { context.verified.subject.roles.contains("auditor") || context.verified.subject.roles.contains("operator") };
@id("refund") @approval("default") @reason("people approve refunds")
permit (principal, action == Action::"refund", resource);
@id("tune") permit (principal, action == Action::"tune", resource)
when { context.verified.subject.roles.contains("operator") };
@id("gone") @reason("nobody who left") forbid (principal, action, resource)
when { context.verified.subject.deactivated };
@id("wipe") @reason("nobody wipes") forbid (principal, action == Action::"wipe", resource);
"""


class Writer:
    """Records a log with decisions in it."""

    def __init__(self, services: Services, seed: int = 0) -> None:
        self._ledger = services.ledger
        self._decisions = services.decisions
        self._chance = random.Random(seed)
        self._agents = [self._id("prn") for _ in range(AGENTS)]
        self._people = [self._id("prn") for _ in range(PEOPLE)]
        self._service = self._id("prn")
        self._bundle: str | None = None
        self._versions = 0
        self._quarantined: set[str] = set()
        self.tools = [f"tool:{name}" for name in ACTIONS] + [f"tool:crm/{number}" for number in range(TOOLS)]
        self.decisions: list[str] = []
        self.approvals: list[str] = []
        self.principals = [*self._agents, *self._people]

    async def write(self, count: int, decisions: int) -> int:
        """Record about `count` events, so many real decisions among them; return how many events there are."""
        others = events(seed=1, count=10**9)
        await self._append(list(islice(others, _APPEND)))
        await self._append([self._new(payload) for payload in self._beginning()])
        written = (await self._ledger.head(TENANT)).position
        for number in range(decisions):
            due = written + (count - written) * (number + 1) // decisions
            await self._change()
            position = (await self._ledger.head(TENANT)).position
            for size in _portions(due - position - 1):
                await self._append(list(islice(others, size)))
            await self._decide()
        return (await self._ledger.head(TENANT)).position

    def _beginning(self) -> Iterator[Event]:
        for person in self._people:
            yield PrincipalRegistered(principal_id=person, kind="human", display_name="A Person", roles=("approver",))
        yield PrincipalRegistered(
            principal_id=self._service, kind="service", display_name="A Service", roles=("agent",)
        )
        for agent in self._agents:
            yield PrincipalRegistered(
                principal_id=agent, kind="agent", display_name="An Agent", owner=self._people[0], roles=("agent",)
            )
        for tool in self.tools:
            yield estate.AssetRegistered(asset=tool, facts={"owner": "rota", "purpose": "help"}, source="bench")
        yield from self._new_bundle()

    def _new_bundle(self) -> Iterator[Event]:
        self._versions += 1
        bundle = self._id("bnd")
        rest = "".join(
            f'@id("own{number}") permit (principal == agent::"{self._id("prn")}", action, resource);\n'
            for number in range(30)
        )
        text = BundleText(policies=f"{POLICIES}{rest}// version {self._versions}\n")
        yield from split(bundle, "bench", self._versions, text)
        yield BundleModeChanged(bundle_id=bundle, mode="enforced", replaces=self._bundle, reason="newer")
        self._bundle = bundle

    async def _change(self) -> None:
        """Let some of what decisions rest on change."""
        chance, found = self._chance, list[Event]()
        for _ in range(chance.randrange(4, 10)):
            who, role = chance.choice(self._agents), chance.choice(ROLES)
            made = RoleGranted if chance.random() < 0.6 else RoleRevoked
            found.append(made(principal_id=who, role=role))  # type: ignore[arg-type]
        for _ in range(chance.randrange(1, 6)):
            facts = {chance.choice(("owner", "team", "purpose")): f"v{chance.randrange(5)}"}
            found.append(estate.AssetChanged(asset=chance.choice(self.tools), facts=facts, source="bench"))
        tool = chance.choice(self.tools)
        if tool in self._quarantined:
            self._quarantined.remove(tool)
            found.append(estate.AssetReleased(asset=tool, lifecycle="live", reason="looked at"))
        elif chance.random() < 0.3:
            self._quarantined.add(tool)
            found.append(estate.AssetQuarantined(asset=tool, reason="odd", previous_lifecycle="live"))
        if chance.random() < 0.3:
            found.append(
                OwnershipTransferred(
                    principal_id=chance.choice(self._agents),
                    owner=chance.choice(self._people),
                    previous_owner=self._people[0],
                )
            )
        if chance.random() < 0.02:
            found.append(PrincipalDeactivated(principal_id=chance.choice(self._agents), reason=None))
        if chance.random() < 0.04:
            found += self._new_bundle()
        await self._append([self._new(payload) for payload in found])

    async def _decide(self) -> None:
        chance = self._chance
        agent, action = chance.choice(self._agents), chance.choice(ACTIONS)
        resource: dict[str, Any] = {"type": "order", "id": str(chance.randrange(10_000))}
        if chance.random() < 0.3:
            resource = {"type": "tool", "id": chance.choice(self.tools).partition(":")[2]}
        body = {"subject": {"type": "agent", "id": agent}, "action": {"name": action}, "resource": resource}
        actor = Actor(principal=agent, kind="agent")
        if chance.random() < 0.3:
            actor = Actor(principal=self._service, kind="service", on_behalf_of=(agent,))
        decided = await self._ask(body, actor)
        if decided.decision.outcome == "approval_required" and actor.kind == "agent" and chance.random() < 0.7:
            approval = await self._approve(decided.decision, actor)
            if approval is not None:
                self.approvals.append(approval)
                decided = await self._ask(body, actor, approval)
        self.decisions.append(decided.decision.decision_id)

    async def _ask(self, body: dict[str, Any], actor: Actor, approval: str | None = None) -> Decided:
        intent = intent_of(parse_json(json.dumps(body).encode()))
        return await self._decisions.decide(self._context(actor), intent, approval_id=approval)

    async def _approve(self, decision: DecisionRecorded, actor: Actor) -> str | None:
        approval, voter = self._id("apr"), self._chance.choice(self._people[1:])
        request = RequestApproval(
            approval_id=approval,
            decision_id=decision.decision_id,
            subject=decision.subject,
            resource=decision.resource,
            action_digest=decision.action_digest,
            binding_hash=decision.binding_hash,
            actor=actor,
        )
        vote = CastVote(
            approval_id=approval,
            verdict="approve",
            action_digest=decision.action_digest,
            grant_id=self._id("grt"),
            actor=Actor(principal=voter, kind="human"),
        )
        try:
            await self._ledger.execute(request, self._context(actor))
            await self._ledger.execute(vote, self._context(vote.actor))
        except Exception as error:
            # Whoever left asks for nothing, and whoever came to own the agent does not vote.
            print(f"not approved: {error}", flush=True)
            return None
        return approval

    def _context(self, actor: Actor) -> Context:
        return Context(tenant=TENANT, actor=actor, command_id=uuid.UUID(int=self._chance.getrandbits(128)))

    def _new(self, payload: Event) -> NewEvent:
        return NewEvent(id=uuid.UUID(int=self._chance.getrandbits(128)), payload=payload, actor=SYSTEM)

    async def _append(self, batch: list[NewEvent]) -> None:
        if batch:
            await self._ledger.append(TENANT, batch)

    def _id(self, prefix: str) -> str:
        return make_id(prefix, uuid.UUID(int=self._chance.getrandbits(128)))


def _portions(count: int) -> Iterator[int]:
    while count > 0:
        yield min(count, _APPEND)
        count -= _APPEND
