"""Every invariant of `quarterdeck verify --live` can fail: each is broken here, and named.

Serves DC-01, S0-20; RELIABILITY 6 (I1 to I12).
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import asyncpg
import msgspec
import pytest
from approval_world import ACTION, APPROVAL, GRANT, OTHER_ACTION, granted, redeem
from given import Log, prn, registered

from quarterdeck_domain.access.events import RoleGranted
from quarterdeck_domain.approvals import events as approvals
from quarterdeck_domain.events import Actor, NewEvent
from quarterdeck_ledger.keys import MemoryKeyStore
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.postgres import PostgresStore
from quarterdeck_projector import invariants
from quarterdeck_projector.projector import Projector
from quarterdeck_readmodels.folding import Unfoldable

ACTOR: Final = Actor(principal="prn_test", kind="service")
EVENTS: Final = 300
"""More than a tile: the tree has a stored node."""


class Tampered:
    """A log of one tenant, and the superuser who may do anything to it."""

    def __init__(self, url: str, store: PostgresStore) -> None:
        self.url = url
        self.store = store

    async def do(self, statement: str) -> None:
        """Change what is stored, with no trigger and no wall in the way."""
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute("SET session_replication_role = replica")
            await connection.execute(statement)
        finally:
            await connection.close()

    async def found(self) -> list[tuple[str, str]]:
        """Return what the checks of the log find."""
        return [(item.invariant, item.what) async for item in invariants.check_log(self.store, "acme")]


@pytest.fixture
async def log(migrated_database: Callable[[], str]) -> AsyncIterator[Tampered]:
    """A log with a few hundred events."""
    url = migrated_database()
    async with PostgresStore.open(url, size=3) as store:
        ledger = EventLedger(store, MemoryKeyStore())
        for page in range(2):
            payloads = [registered(f"{page}-{number}", "operator") for number in range(EVENTS // 2)]
            made = [NewEvent(id=uuid.uuid4(), payload=payload, actor=ACTOR) for payload in payloads]
            await ledger.append("acme", made)
        tampered = Tampered(url, store)
        assert await tampered.found() == []
        yield tampered


@pytest.mark.parametrize(
    ("statement", "invariant", "said"),
    [
        ("UPDATE ledger.events SET type = 'role.revoked' WHERE position = 7", "I4", "type"),
        ("UPDATE ledger.events SET recorded_at = '2020-01-01' WHERE position = 1", "I4", "recorded_at"),
        ("UPDATE ledger.events SET id = gen_random_uuid() WHERE position = 2", "I4", "id"),
        ("UPDATE ledger.events SET leaf_hash = sha256('x') WHERE position = 3", "I4", "leaf hash"),
        ("UPDATE ledger.events SET entry = replace(encode(entry, 'escape'), 'operator', 'approver')::bytea"
         " WHERE position = 4", "I4", "leaf hash"),
        ("DELETE FROM ledger.events WHERE position = 150", "I3", "position 151 stands at place 150"),
        ("DELETE FROM ledger.events WHERE position = 300", "I3", "the head says 300, there are 299 events"),
        ("DELETE FROM ledger.tags WHERE position = 5", "I4", "indexed tags"),
        ("UPDATE ledger.tags SET tag = gen_random_uuid() WHERE position = 6", "I4", "indexed tags"),
        ("INSERT INTO ledger.tags SELECT tenant_id, gen_random_uuid(), 4000 FROM ledger.heads", "I4", "position 4000"),
        ("UPDATE ledger.tree_nodes SET hash = sha256('x')", "I4", "node 0 of level 8"),
        ("DELETE FROM ledger.tree_nodes", "I4", "node 0 of level 8"),
        ("INSERT INTO ledger.tree_nodes SELECT tenant_id, 1, 1, sha256('x') FROM ledger.heads", "I4", "node 1 of level 8"),
        ("UPDATE ledger.heads SET position = 299", "I3", "the head says 299"),
        ("UPDATE ledger.heads SET recorded_at = recorded_at + interval '1 year'", "I3", "the head says"),
        ("INSERT INTO ledger.checkpoints SELECT tenant_id, 200, now(), sha256('x'), 'x' FROM ledger.heads", "I4",
         "the note of a checkpoint of size 200 is none"),
        ("UPDATE ledger.heads SET frontier[1] = sha256('x')", "I4", "the head's root"),
        ("INSERT INTO ledger.checkpoints SELECT tenant_id, 200, now(), sha256('x'), '' FROM ledger.heads", "I4",
         "signed over another root"),
        ("INSERT INTO ledger.checkpoints SELECT tenant_id, 999, now(), sha256('x'), '' FROM ledger.heads", "I4",
         "a checkpoint of size 999"),
        ("UPDATE ledger.events SET entry = replace(encode(entry, 'escape'), 'acme', 'acmf')::bytea"
         " WHERE position = 9", "I10", "belongs to acmf"),
    ],
)  # fmt: skip
async def test_a_log_that_was_altered_is_found_out(log: Tampered, statement: str, invariant: str, said: str) -> None:
    """Bytes, and every column, tag, node and root that is derived from them and that readers go by."""
    await log.do(statement)
    assert any(found == invariant and said in what for found, what in await log.found()), await log.found()


def story() -> Log:
    """An approval asked for, given, and used."""
    log = granted()
    log.when(redeem())
    return log


def changed(log: Log, kind: type[Any], **fields: Any) -> Log:
    """Change what an event of a kind says."""
    (at,) = [number for number, event in enumerate(log.events) if type(event.payload) is kind]
    event = log.events[at]
    log.events[at] = msgspec.structs.replace(event, payload=msgspec.structs.replace(event.payload, **fields))
    return log


def without(log: Log, kind: type[Any]) -> Log:
    """Take the events of a kind away."""
    log.events = [event for event in log.events if type(event.payload) is not kind]
    return log


def twice(log: Log, kind: type[Any]) -> Log:
    """Let an event of a kind happen again."""
    log.given(*[event.payload for event in log.events if type(event.payload) is kind])
    return log


def late() -> Log:
    """Somebody votes when it is decided already."""
    log = story()
    ballot = next(event.payload for event in log.events if isinstance(event.payload, approvals.VoteCast))
    return log.given(msgspec.structs.replace(ballot, approver=prn("dora")))


def too_late() -> Log:
    """The grant is used after its time."""
    log = granted()
    log.wait(days=30)
    mint = next(event.payload for event in log.events if isinstance(event.payload, approvals.GrantMinted))
    return log.given(
        approvals.GrantRedeemed(
            grant_id=GRANT,
            approval_id=APPROVAL,
            effect_id="eff",
            redeemer=mint.redeemer,
            effect_class="at_most_once",
            action_digest=ACTION,
            decision_id="dec",
        )
    )


RULES: Final[list[tuple[str, Callable[[], Log], str, str]]] = [
    ("own vote", lambda: changed(story(), approvals.VoteCast, approver=prn("bot")), "I5", "asked for them"),
    ("other action", lambda: changed(story(), approvals.VoteCast, action_digest=OTHER_ACTION), "I5", "another action"),
    ("no vote", lambda: without(story(), approvals.VoteCast), "I5", "0 of 1"),
    ("no request", lambda: without(story(), approvals.ApprovalRequested), "I5", "nobody asked"),
    ("two answers", lambda: twice(story(), approvals.ApprovalGranted), "I5", "settled already"),
    ("late vote", late, "I5", "after the end"),
    ("no approval", lambda: without(story(), approvals.ApprovalGranted), "I6", "without an approval"),
    ("other grant", lambda: changed(story(), approvals.GrantMinted, action_digest=OTHER_ACTION), "I6", "approved"),
    ("two uses", lambda: twice(story(), approvals.GrantRedeemed), "I6", "redeemed twice"),
    ("other use", lambda: changed(story(), approvals.GrantRedeemed, action_digest=OTHER_ACTION), "I6", "than granted"),
    ("other user", lambda: changed(story(), approvals.GrantRedeemed, redeemer=prn("cleo")), "I6", "than granted"),
    ("late use", too_late, "I6", "after it expired"),
]


@pytest.mark.parametrize(("make", "invariant", "said"), [case[1:] for case in RULES], ids=[case[0] for case in RULES])
def test_a_story_that_breaks_a_rule_is_found_out(make: Callable[[], Log], invariant: str, said: str) -> None:
    """Though every hash and every column fits."""
    assert invariants.check_rules("acme", story().events) == []
    found = invariants.check_rules("acme", make().events)
    assert any(item.invariant == invariant and said in item.what for item in found), found


async def test_read_models_that_differ_are_found_out(log: Tampered) -> None:
    """A row that the log does not say, and tables that stand still."""
    projector = Projector(log.store, log.store.pool)
    await projector.rebuild()
    assert await invariants.check_read_models(log.store) == []
    await log.do("UPDATE readmodels.principals SET state = 'inactive' WHERE from_position = 5")
    assert [item.invariant for item in await invariants.check_read_models(log.store)] == ["I9"]


async def test_read_models_that_stand_still_are_found_out(log: Tampered) -> None:
    """Behind the log they wait for a projector; before a first event that they cannot fold they have stopped."""
    ledger = EventLedger(log.store, MemoryKeyStore())
    projector = Projector(log.store, log.store.pool)
    await projector.rebuild()
    unknown = RoleGranted(principal_id=prn("nobody"), role="operator")
    await ledger.append("other", [NewEvent(id=uuid.uuid4(), payload=unknown, actor=ACTOR)])
    await ledger.append("acme", [NewEvent(id=uuid.uuid4(), payload=registered("late"), actor=ACTOR)])
    with pytest.raises(Unfoldable):
        await projector.advance_to_end("other")
    found = {(item.invariant, item.tenant, item.position) for item in await invariants.check_read_models(log.store)}
    assert found == {("I9", "other", 1), ("I12", "acme", EVENTS + 1)}
