"""A long, plausible log for benchmarks of the read side: stories of twenty events, recorded through the real append.

Of twenty events thirteen are decisions; seven carry one request for consent from asking to the delivered callback.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

from quarterdeck_domain.access.events import ApiKeyIssued, PrincipalRegistered, TenantOpened
from quarterdeck_domain.approvals.events import (
    ApprovalGranted,
    ApprovalPathPublished,
    ApprovalRequested,
    CallbackDelivered,
    EffectReported,
    GrantMinted,
    GrantRedeemed,
    Stage,
    VoteCast,
)
from quarterdeck_domain.events import Actor, Event, NewEvent
from quarterdeck_domain.ids import make_id
from quarterdeck_domain.policy.events import DecisionRecorded
from quarterdeck_ledger.ledger import EventLedger

TENANT: Final = "bench"
AGENTS: Final = 200
PEOPLE: Final = 20
STORY: Final = 20
_START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_REQUEST: Final = (
    '{"action":{"name":"refund"},"context":{"amount":"120.00","currency":"EUR"},'
    '"resource":{"id":"%d","type":"order"},"subject":{"id":"%s","type":"agent"}}'
)
_DIGEST: Final = "sha256-action-v1:" + "a" * 64
_BINDING: Final = "sha256:" + "b" * 64
_APPEND: Final = 200


async def fill(ledger: EventLedger, count: int, seed: int = 0) -> None:
    """Record exactly `count` events, through the public append."""
    source = events(seed, count)

    async def writer() -> None:
        while part := list(islice(source, _APPEND)):
            await ledger.append(TENANT, part)

    # What must precede a story is recorded before anything else; stories never span two appends.
    await ledger.append(TENANT, list(islice(source, _APPEND)))
    await asyncio.gather(*[writer() for _ in range(4)])


def events(seed: int, count: int) -> Iterator[NewEvent]:
    """Yield `count` events: the estate first, padded to whole appends, then story after story."""
    chance = random.Random(seed)
    agents = [_id(chance, "prn") for _ in range(AGENTS)]
    people = [_id(chance, "prn") for _ in range(PEOPLE)]
    yield from islice(_everything(chance, agents, people), count)


def _everything(chance: random.Random, agents: list[str], people: list[str]) -> Iterator[NewEvent]:
    recorder = Actor(principal=people[0], kind="human")
    estate = list(_estate(chance, agents, people))
    estate += [_key(chance, agents[0]) for _ in range(-len(estate) % _APPEND)]
    for payload in estate:
        yield _new(chance, payload, recorder)
    actors = {agent: Actor(principal=agent, kind="agent", on_behalf_of=(people[1],)) for agent in agents}
    for number in range(2**60):
        agent = chance.choice(agents)
        for payload in _story(chance, number, agent, chance.choice(people)):
            yield _new(chance, payload, actors[agent])


def _estate(chance: random.Random, agents: list[str], people: list[str]) -> Iterator[Event]:
    yield TenantOpened(tenant=TENANT, display_name="Bench")
    for person in people:
        yield PrincipalRegistered(principal_id=person, kind="human", display_name="A Person", roles=("approver",))
    yield ApprovalPathPublished(
        path_id="default",
        path_version=1,
        stages=(Stage(name="decide"),),
        remind_after_s=3600,
        expires_after_s=86400,
        grant_lifetime_s=900,
    )
    for agent in agents:
        yield PrincipalRegistered(
            principal_id=agent, kind="agent", display_name="An Agent", owner=chance.choice(people), roles=("agent",)
        )
        yield _key(chance, agent)


def _story(chance: random.Random, number: int, agent: str, person: str) -> Iterator[Event]:
    for _ in range(11):
        yield _decision(chance, number, agent, chance.choices(("permit", "deny"), (9, 1))[0])
    asked = _decision(chance, number, agent, "approval_required")
    approval, grant, effect = _id(chance, "apr"), _id(chance, "grt"), _id(chance, "eff")
    until = _START + timedelta(seconds=number)
    yield asked
    yield ApprovalRequested(
        approval_id=approval,
        decision_id=asked.decision_id,
        subject=asked.subject,
        action=asked.action,
        resource=asked.resource,
        request=asked.request,
        justification="The customer was charged twice.",
        action_digest=_DIGEST,
        binding_hash=_BINDING,
        path_id="default",
        path_version=1,
        stages=(Stage(name="decide"),),
        remind_after_s=3600,
        grant_lifetime_s=900,
        requester=agent,
        requesters=(agent,),
        expires_at=until,
    )
    yield VoteCast(
        approval_id=approval,
        approver=person,
        stage="decide",
        verdict="approve",
        comment="Seen in the books.",
        action_digest=_DIGEST,
    )
    yield ApprovalGranted(approval_id=approval, action_digest=_DIGEST, approved_until=until)
    yield GrantMinted(
        grant_id=grant,
        approval_id=approval,
        subject=asked.subject,
        redeemer=agent,
        action_digest=_DIGEST,
        expires_at=until,
    )
    again = _decision(chance, number, agent, "permit", approval)
    yield again
    yield GrantRedeemed(
        grant_id=grant,
        approval_id=approval,
        effect_id=effect,
        redeemer=agent,
        effect_class="idempotent",
        action_digest=_DIGEST,
        decision_id=again.decision_id,
    )
    yield EffectReported(effect_id=effect, grant_id=grant, approval_id=approval, outcome="committed")
    yield CallbackDelivered(approval_id=approval, message_id=_id(chance, "msg"), status=204)


def _decision(
    chance: random.Random, number: int, agent: str, outcome: str, approval: str | None = None
) -> DecisionRecorded:
    order = chance.randrange(10_000)
    return DecisionRecorded(
        decision_id=_id(chance, "dec"),
        subject=f"agent:{agent}",
        action="refund",
        resource=f"order:{order}",
        request=_REQUEST % (order, agent),
        action_digest=_DIGEST,
        binding_hash=_BINDING,
        outcome=outcome,  # type: ignore[arg-type]
        determining=("refunds-small",),
        approval_id=approval,
        bundle_id="bnd_00000000000000000000000000",
        bundle_digest=_BINDING,
        estate_position=number,
    )


def _key(chance: random.Random, agent: str) -> ApiKeyIssued:
    key = _id(chance, "key")
    return ApiKeyIssued(
        key_id=key, principal_id=agent, purpose="api", prefix=key[-6:], secret_hash="0" * 64, acts_for=()
    )


def _new(chance: random.Random, payload: Event, actor: Actor) -> NewEvent:
    return NewEvent(id=uuid.UUID(int=chance.getrandbits(128)), payload=payload, actor=actor)


def _id(chance: random.Random, prefix: str) -> str:
    return make_id(prefix, uuid.UUID(int=chance.getrandbits(128)))
