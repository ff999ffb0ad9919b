"""Every invariant of `quarterdeck verify --live` can fail: each is broken here, and named.

Serves DC-01, S0-20; RELIABILITY 6 (I1 to I12), and I13 of the estate.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec
import pytest
from approval_world import ACTION, AGENT, APPROVAL, EFFECT, GRANT, OTHER_ACTION, decided, granted, redeem
from given import Log, acting, prn, registered

from quarterdeck_domain.access.events import RoleGranted
from quarterdeck_domain.approvals import events as approvals
from quarterdeck_domain.approvals.events import GrantRedeemed
from quarterdeck_domain.approvals.slices import ReportEffect
from quarterdeck_domain.estate import events as estate
from quarterdeck_domain.estate.naming import name_of
from quarterdeck_domain.events import Actor, Event, NewEvent
from quarterdeck_embedded import EmbeddedPostgres
from quarterdeck_ledger.checkpoints import Checkpointer, PostgresCheckpoints, held_path
from quarterdeck_ledger.followers import Followers
from quarterdeck_ledger.keys import MemoryKeyStore
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.migrate import migrate
from quarterdeck_ledger.notes import VerifierKey, parse_checkpoint, parse_note
from quarterdeck_ledger.postgres import PostgresStore
from quarterdeck_ledger.signing import FileSigningKeys
from quarterdeck_projector import invariants
from quarterdeck_projector.invariants_estate import check_estate
from quarterdeck_projector.invariants_log import Held, check_checkpoints, check_log
from quarterdeck_projector.projector import Projector
from quarterdeck_projector.verification import Trust, check_all
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
        """Return what the checks of the log find, but for what is only worth knowing."""
        items = [item async for item in check_log(self.store, "acme")]
        items += await check_checkpoints(self.store, "acme", ())
        return [(item.invariant, item.what) for item in items if item.invariant != "I12"]


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
        ("UPDATE ledger.events SET entry = '\\xff00' WHERE position = 4", "I4", "the bytes are no entry"),
        ("UPDATE ledger.events SET entry = '{}' WHERE position = 4", "I4", "the bytes are no entry"),
        ("UPDATE ledger.events SET entry = '' WHERE position = 300", "I4", "the bytes are no entry"),
        ("UPDATE ledger.events SET entry = repeat('[', 60000)::bytea WHERE position = 4", "I4", "no entry"),
        ("UPDATE ledger.events SET entry = regexp_replace(encode(entry, 'escape'), 'Z\"', '\"')::bytea"
         " WHERE position = 4", "I4", "no zone"),
        ("DELETE FROM ledger.events WHERE position = 150", "I3", "event 150 is missing"),
        ("DELETE FROM ledger.events WHERE position IN (150, 151, 280)", "I3", "events 150 to 151 are missing"),
        ("DELETE FROM ledger.events WHERE position IN (150, 151, 280)", "I3", "event 280 is missing"),
        ("DELETE FROM ledger.events WHERE position = 300", "I3", "the head says 300, there are 299 events"),
        ("DELETE FROM ledger.events", "I3", "the head says 300, there are 0 events"),
        ("DELETE FROM ledger.heads", "I3", "the head says 0, there are 300 events"),
        ("UPDATE ledger.heads SET frontier = '{}'", "I4", "the head's root"),
        ("UPDATE ledger.heads SET frontier = '{NULL}'", "I4", "the head's root"),
        ("DELETE FROM ledger.tags WHERE position = 5", "I4", "indexed tags"),
        ("UPDATE ledger.tags SET tag = gen_random_uuid() WHERE position = 6", "I4", "indexed tags"),
        ("INSERT INTO ledger.tags SELECT tenant_id, gen_random_uuid(), 4000 FROM ledger.heads", "I4", "position 4000"),
        ("UPDATE ledger.tree_nodes SET hash = sha256('x')", "I4", "node 0 of level 8"),
        ("DELETE FROM ledger.tree_nodes", "I4", "node 0 of level 8"),
        ("INSERT INTO ledger.tree_nodes SELECT tenant_id, 1, 1, sha256('x') FROM ledger.heads", "I4", "node 1 of level 8"),
        ("UPDATE ledger.heads SET position = 299", "I3", "the head says 299"),
        ("UPDATE ledger.heads SET recorded_at = recorded_at + interval '1 year'", "I3", "the head says"),
        ("INSERT INTO ledger.checkpoints SELECT tenant_id, 200, now(), sha256('x'), 'x' FROM ledger.heads", "I4",
         "a checkpoint of size 200: the note is none"),
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


@pytest.mark.parametrize(
    ("statement", "positions"),
    [
        ("UPDATE ledger.events SET entry = '{}' WHERE position IN (4, 9)", {4, 9}),
        ("DELETE FROM ledger.events WHERE position IN (150, 280)", {150, 280}),
        ("DELETE FROM ledger.events WHERE position = 300", {300}),
        ("DELETE FROM ledger.events", {1}),
        ("DELETE FROM ledger.heads", {1}),
    ],
)
async def test_damage_is_found_where_it_is(log: Tampered, statement: str, positions: set[int]) -> None:
    """All of it: what comes after the first is looked at too."""
    await log.do(statement)
    found = {item.position async for item in check_log(log.store, "acme")}
    assert found - {None} == positions


class Signed:
    """Two logs with checkpoints, signed by keys that stand apart, and one of each kept beside the keys."""

    def __init__(self, log: Tampered, directory: Path) -> None:
        self.log = log
        self.directory = directory
        self._signing = FileSigningKeys(directory / "keys" / "signing")
        kept = PostgresCheckpoints(log.store.pool)
        held = directory / "keys" / "checkpoints"
        self.checkpointer = Checkpointer(log.store, self._signing, kept, origin="quarterdeck/{}".format, held=held)

    async def sign(self, tenant: str) -> None:
        """Sign the log as it is, and remember that."""
        await self.checkpointer.checkpoint(tenant)

    def trust(self, tenant: str) -> Trust:
        """Return what is known of a tenant apart from the database."""
        keys = [VerifierKey("named otherwise", key.public) for key in self._signing.all(tenant, "checkpoint")]
        note = held_path(self.directory / "keys" / "checkpoints", tenant).read_bytes()
        said = parse_checkpoint(parse_note(note).text)
        return Trust(keys=keys, held=[Held(size=said.size, root=said.root, where="held.txt", ours=True)])

    async def found(self) -> list[tuple[str, str, str]]:
        """Return what the checks of everything find, without read models and what is only worth knowing."""
        trust = {tenant: self.trust(tenant) for tenant in ("acme", "globex")}
        _, found = await check_all(self.log.store, trust, None)
        return [(item.invariant, item.tenant, item.what) for item in found if item.invariant not in ("I9", "I12")]

    async def verify(self) -> tuple[int, dict[str, Any]]:
        """Run `quarterdeck verify --live`; return its exit code and what it printed."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "quarterdeck_cli", "verify", "--live", "--json", "--data-dir", str(self.directory)),
            env=os.environ | {"QUARTERDECK_DATABASE_URL": self.log.url},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert b"Traceback" not in err
        return process.returncode or 0, json.loads(out or err)


@pytest.fixture
async def signed(log: Tampered, tmp_path: Path) -> Signed:
    """The log of a few hundred events and a short one beside it, signed twice, and read models."""
    made = Signed(log, tmp_path)
    ledger = EventLedger(log.store, MemoryKeyStore())
    for number in range(2):
        for tenant in ("acme", "globex"):
            payload = registered(f"{tenant} {number}", "operator")
            await ledger.append(tenant, [NewEvent(id=uuid.uuid4(), payload=payload, actor=ACTOR)])
            await made.sign(tenant)
    await Projector(log.store, log.store.pool).rebuild()
    assert await made.found() == []
    return made


ACME: Final = "(SELECT tenant_id FROM ledger.tenants WHERE name = 'acme')"


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE ledger.checkpoints SET note = regexp_replace(note, '(— [^ ]+ ).*', '\\1' || encode(sha256('x'), 'base64')"
         f" || E'\n') WHERE tenant_id = {ACME}", "2 checkpoints of sizes 301 to 302: no trusted key signed"),
        ("UPDATE ledger.checkpoints SET note = regexp_replace(note, '(— [^ ]+ .{{8}}).{{8}}', '\\1AAAAAAAA')"
         f" WHERE tenant_id = {ACME}".replace("{{", "{").replace("}}", "}"), "is wrong"),
        (f"DELETE FROM ledger.checkpoints WHERE tenant_id = {ACME}", "the database has it no more"),
        (f"DELETE FROM ledger.events WHERE position = 302 AND tenant_id = {ACME}", "the log went back: held.txt says"),
        (f"DELETE FROM ledger.events WHERE position = 7 AND tenant_id = {ACME}", "commits to, some are missing"),
        (f"DELETE FROM ledger.events WHERE position = 7 AND tenant_id = {ACME}", "no root can be recomputed"),
        ("UPDATE ledger.events SET entry = replace(encode(entry, 'escape'), 'operator', 'approver')::bytea"
         f" WHERE position = 4 AND tenant_id = {ACME}", "the log was rewritten"),
        ("DELETE FROM ledger.tenants WHERE name = 'acme'", "the log went back"),
        ("DELETE FROM ledger.events; DELETE FROM ledger.heads; DELETE FROM ledger.tenants", "the log went back"),
    ],
)  # fmt: skip
async def test_what_was_signed_is_held_against_the_bytes(signed: Signed, statement: str, said: str) -> None:
    """Notes that no key signed, notes that are gone, roots of bytes that are gone: in the database or beside the keys."""
    await signed.log.do(statement)
    found = await signed.found()
    assert any(item[:2] == ("I4", "acme") and said in item[2] for item in found), found


async def test_what_cannot_be_checked_of_checkpoints_is_said(signed: Signed) -> None:
    """Without keys their signatures; without any, that nothing was ever signed. Neither is a violation."""
    store = signed.log.store
    (found,) = await check_checkpoints(store, "acme", ())
    assert (found.invariant, "were not checked" in found.what) == ("I12", True)
    await signed.log.do("DELETE FROM ledger.checkpoints")
    (found,) = await check_checkpoints(store, "acme", signed.trust("acme").keys)
    assert (found.invariant, "no checkpoint was ever signed" in found.what) == ("I12", True)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM ledger.tree_nodes; UPDATE ledger.events SET entry = '\\xff00' WHERE position = 2",
        "UPDATE ledger.events SET entry = '\\xff00' WHERE position = 1",
        "UPDATE ledger.events SET entry = '{}' WHERE position = 2",
        "DELETE FROM ledger.events WHERE position = 1",
        "DELETE FROM ledger.events",
        "DELETE FROM ledger.heads",
        "UPDATE ledger.events SET recorded_at = 'infinity'",
        "UPDATE ledger.heads SET recorded_at = '200000-01-01'",
    ],
)
async def test_damage_to_one_log_hides_none_to_another(signed: Signed, statement: str) -> None:
    """Not even what no driver can read."""
    await signed.log.do(statement)
    found = [item[:2] for item in await signed.found()]
    assert ("I4", "acme") in found or ("I3", "acme") in found, found
    assert ("I4", "globex") in found or ("I3", "globex") in found, found


async def test_the_command_names_the_damage(signed: Signed) -> None:
    """Exit code 1, and where it is; never a word of not having been able to check, and nothing else on its output."""
    code, answer = await signed.verify()
    assert (code, answer["ok"], answer["events"]) == (0, True, EVENTS + 4)
    await signed.log.do(f"DELETE FROM ledger.tree_nodes; DELETE FROM ledger.events WHERE position = {EVENTS + 2}")
    await signed.log.do("UPDATE ledger.events SET entry = '\\xff00' WHERE position = 2")
    code, answer = await signed.verify()
    assert (code, answer["ok"], answer["events"]) == (1, False, EVENTS + 3)
    told = {(item["invariant"], item["tenant"], item["position"]) for item in answer["found"]}
    assert told >= {("I3", "acme", EVENTS + 2), ("I4", "acme", 2), ("I4", "globex", 2), ("I9", "globex", 2)}


async def test_a_page_that_the_disk_bent_is_found(tmp_path: Path) -> None:
    """PostgreSQL refuses to read it, by its checksum: that is a finding, not a database that is away."""
    with EmbeddedPostgres(tmp_path / "pg", settings={"shared_buffers": "16MB"}) as server:
        await migrate(server.url())
        async with PostgresStore.open(server.url(), size=2) as store:
            for tenant in ("acme", "globex"):
                made = [NewEvent(id=uuid.uuid4(), payload=registered(tenant, "operator"), actor=ACTOR)]
                await EventLedger(store, MemoryKeyStore()).append(tenant, made)
            await Projector(store, store.pool).prepare()
            events = await store.pool.fetchval("SELECT pg_relation_filepath('ledger.events')")
    with (tmp_path / "pg" / events).open("r+b") as file:
        file.seek(8_000)  # in the one page of the table, within its rows
        byte = file.read(1)
        file.seek(8_000)
        file.write(bytes([byte[0] ^ 1]))
    with EmbeddedPostgres(tmp_path / "pg", settings={"shared_buffers": "16MB"}) as server:
        async with PostgresStore.open(server.url(), size=2, reading=True) as store:
            count, found = await check_all(store, {}, None)
    assert {item.tenant for item in found if "invalid page" in item.what} >= {"acme", "globex"}, (count, found)


async def test_a_rebuild_under_way_is_no_violation(signed: Signed) -> None:
    """Two cannot be made at once; that these read models were not compared is said."""
    store = signed.log.store
    async with Projector(store, store.pool).shadow():
        _, found = await check_all(store, {}, None)
    assert [(item.invariant, item.tenant) for item in found if "rebuild is under way" in item.what] == [("I12", "*")]


async def test_an_event_of_unknown_shape_is_found_and_the_rest_is_judged(log: Tampered) -> None:
    """Also one whose bytes, hashes and roots all fit."""
    ledger = EventLedger(log.store, MemoryKeyStore())
    events = [NewEvent(id=event.id, payload=event.payload, actor=event.actor) for event in story().events]
    await ledger.append("strange", events)
    at = next(event.position for event in story().events if isinstance(event.payload, approvals.VoteCast))
    await log.do(
        "UPDATE ledger.events SET entry = replace(encode(entry, 'escape'), '\"verdict\"', '\"verdikt\"')::bytea"
        f" WHERE position = {at}"
    )
    judged, unreadable = await invariants.ruled(log.store, "strange")
    assert [(item.invariant, item.position) for item in unreadable] == [("I4", at)]
    assert any("0 of 1 approvals" in item.what for item in invariants.check_rules("strange", judged))


def story() -> Log:
    """An approval asked for, given, and used; and what came of it."""
    log = granted()
    log.when(redeem())
    log.when(ReportEffect(effect_id=EFFECT, outcome="unknown", actor=AGENT))
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
    return log.given(*log.payloads(kind))


def second_grant() -> Log:
    """Another grant is minted for the same approval, and each is used once."""
    log = story()
    (mint,), (use,) = log.payloads(approvals.GrantMinted), log.payloads(approvals.GrantRedeemed)
    log.given(msgspec.structs.replace(mint, grant_id="grt_other"))
    return log.given(msgspec.structs.replace(use, grant_id="grt_other", effect_id="eff_other"))


def revoked(log: Log) -> Log:
    """The grant is taken back."""
    fact = approvals.GrantRevoked(grant_id=GRANT, approval_id=APPROVAL, action_digest=ACTION, reason="x")
    return log.given(fact, by=acting("otto"))


def reconciled(log: Log) -> Log:
    """A human says how the effect ended."""
    fact = approvals.EffectReconciled(
        effect_id=EFFECT, grant_id=GRANT, approval_id=APPROVAL, outcome="committed", reason="seen"
    )
    return log.given(fact, by=acting("otto"))


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
    ("two uses", lambda: twice(story(), approvals.GrantRedeemed), "I6", "was redeemed already"),
    ("two grants", second_grant, "I6", "a second grant for one approval"),
    ("one grant, minted again", lambda: twice(story(), approvals.GrantMinted), "I6", "minted twice"),
    ("somebody else's", lambda: changed(story(), approvals.GrantMinted, redeemer=prn("cleo")), "I6", "somebody else"),
    ("revoked, then used", lambda: revoked(granted()).given(*story().payloads(approvals.GrantRedeemed)), "I6",
     "was revoked already"),
    ("used, then revoked", lambda: revoked(story()), "I6", "was redeemed already"),
    ("effect of nothing", lambda: without(story(), approvals.GrantRedeemed), "I6", "no redemption"),
    ("effect of another", lambda: changed(story(), approvals.EffectReported, grant_id="grt"), "I6", "no redemption"),
    ("settled of nothing", lambda: reconciled(without(without(story(), approvals.GrantRedeemed),
     approvals.EffectReported)), "I6", "no redemption"),
    ("two reports", lambda: twice(story(), approvals.EffectReported), "I6", "was unknown already"),
    ("settled twice", lambda: reconciled(reconciled(story())), "I6", "was committed already"),
    ("other use", lambda: changed(story(), approvals.GrantRedeemed, action_digest=OTHER_ACTION), "I6", "than granted"),
    ("other user", lambda: changed(story(), approvals.GrantRedeemed, redeemer=prn("cleo")), "I6", "than granted"),
    ("late use", too_late, "I6", "after it expired"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "invariant", "said"), [case[1:] for case in RULES], ids=[case[0] for case in RULES])
def test_a_story_that_breaks_a_rule_is_found_out(make: Callable[[], Log], invariant: str, said: str) -> None:
    """Though every hash and every column fits."""
    assert invariants.check_rules("acme", reconciled(story()).events) == []
    found = invariants.check_rules("acme", make().events)
    assert any(item.invariant == invariant and said in item.what for item in found), found


TOOL, SERVER, BOT = "tool:crm/refund", "mcp_server:crm", prn("bot")
SHUT = estate.AssetQuarantined(asset=TOOL, reason="it changed", previous_lifecycle="live")
BREACHED = estate.AssetQuarantined(asset=SERVER, reason="breached", previous_lifecycle="live")
EXPOSED = estate.RelationDeclared(source=SERVER, relation="exposes", target=TOOL)
LATE = msgspec.structs.replace(
    EXPOSED, valid_from=datetime(2020, 1, 1, tzinfo=UTC), valid_to=datetime(2020, 2, 1, tzinfo=UTC)
)
AGENT_IS = estate.AssetRegistered(asset="agent:a", facts={"attributes.principal": BOT}, source="x")
PERMITTED: list[tuple[str, list[Event], str | None]] = [
    ("open", [EXPOSED, AGENT_IS], None),
    ("shut", [SHUT], "permit for tool:crm/refund, and tool:crm/refund is in quarantine since 1"),
    ("released", [SHUT, estate.AssetReleased(asset=TOOL, lifecycle="live", reason="looked at")], None),
    ("retired", [estate.AssetRetired(asset=TOOL)], "tool:crm/refund is retired since 1"),
    ("its server", [EXPOSED, BREACHED], "mcp_server:crm is in quarantine since 2"),
    ("exposed by it later", [BREACHED, EXPOSED], "mcp_server:crm is in quarantine since 1"),
    ("exposed no more", [EXPOSED, BREACHED, estate.RelationWithdrawn(source=SERVER, relation="exposes", target=TOOL)],
     None),
    ("exposed for a while, too", [EXPOSED, BREACHED, LATE], "mcp_server:crm is in quarantine since 2"),
    ("its agent", [AGENT_IS, estate.AssetQuarantined(asset="agent:a", reason="loops", previous_lifecycle="live")],
     f"agent:{BOT}, and agent:a is in quarantine since 2"),
    ("not its agent any more", [
        AGENT_IS, estate.AssetQuarantined(asset="agent:a", reason="loops", previous_lifecycle="live"),
        estate.AssetChanged(asset="agent:a", facts={"attributes.principal": None}, source="x")], None),
    ("its old name", [estate.AssetsMerged(survivor="tool:new", merged=TOOL),
     estate.AssetQuarantined(asset="tool:new", reason="it changed", previous_lifecycle="live")], "tool:new is in"),
    ("shut before it was merged away", [SHUT, estate.AssetsMerged(survivor="tool:new", merged=TOOL)], None),
]  # fmt: skip


@pytest.mark.parametrize(("before", "said"), [case[1:] for case in PERMITTED], ids=[case[0] for case in PERMITTED])
async def test_a_permit_for_what_was_shut_is_found_out(
    migrated_database: Callable[[], str], before: list[Event], said: str | None
) -> None:
    """Whatever let it through, and so is the use of a grant; what was not shut just then is no violation."""
    await found_out(migrated_database(), before, TOOL, said)


MERGED = [estate.AssetsMerged(survivor=survivor, merged=merged) for survivor, merged in (
    ("mcp_server:payments", SERVER), ("mcp_server:money", "mcp_server:payments"))]  # fmt: skip


def shut_as(called: str) -> list[Event]:
    """Return the quarantine of a tool that an importer had to rename."""
    return [estate.AssetQuarantined(asset=f"tool:{name_of(called)}", reason="new", previous_lifecycle="live")]


@pytest.mark.parametrize(
    ("before", "resource", "said"),
    [
        (shut_as("crm/検索"), "tool:crm/検索", "is in quarantine since 1"),
        (shut_as("crm/send mail"), "Tool:crm/send mail", "tool:crm/send-mail is in quarantine since 1"),
        (shut_as("crm/検索"), "tool:crm/索検", None),
        ([SHUT, *MERGED], "tool:payments/refund", "tool:crm/refund is in quarantine since 1"),
        ([*MERGED, SHUT], "tool:money/refund", "tool:crm/refund is in quarantine since 3"),
        ([*MERGED, *shut_as("money/refund")], TOOL, "tool:money/refund is in quarantine since 3"),
        ([SHUT, *MERGED], "tool:other/refund", None),
        ([*MERGED, SHUT, estate.AssetReleased(asset=TOOL, lifecycle="live", reason="ok")], "tool:money/refund", None),
    ],
)
async def test_a_permit_by_another_name_is_found_out(
    migrated_database: Callable[[], str], before: list[Event], resource: str, said: str | None
) -> None:
    """What importers renamed is known by what it is called, and a merged server's tools by all of its names."""
    await found_out(migrated_database(), before, resource, said)


async def found_out(url: str, before: list[Event], resource: str, said: str | None) -> None:
    """Permit something, use a grant for it, and look whether that is a violation."""
    permit = decided("permit", subject=f"agent:{BOT}", resource=resource)
    redeemed = GrantRedeemed(
        grant_id=GRANT,
        approval_id=APPROVAL,
        effect_id=EFFECT,
        redeemer=BOT,
        effect_class="at_most_once",
        action_digest=ACTION,
        decision_id=permit.decision_id,
    )
    async with PostgresStore.open(url, size=2) as store:
        ledger = EventLedger(store, MemoryKeyStore())
        for payload in (*before, permit, redeemed):
            await ledger.append("acme", [NewEvent(id=uuid.uuid4(), payload=payload, actor=ACTOR)])
        found = [item async for item in check_estate(store, "acme")]
        assert {item.invariant for item in found} <= {"I13"}
        if said is None:
            assert found == []
        else:
            assert [item.position for item in found] == [len(before) + 1, len(before) + 2]
            assert said in found[0].what
        _, everything = await check_all(store, {}, None)
        assert [item.what for item in everything if item.invariant == "I13"] == [item.what for item in found]


async def test_read_models_that_differ_are_found_out(log: Tampered) -> None:
    """A row that the log does not say, and tables that stand still."""
    projector = Projector(log.store, log.store.pool)
    await projector.rebuild()
    assert await invariants.check_read_models(log.store) == []
    await log.do("UPDATE readmodels.principals SET state = 'inactive' WHERE from_position = 5")
    assert [item.invariant for item in await invariants.check_read_models(log.store)] == ["I9"]


async def test_whoever_is_ahead_of_the_log_is_found_out(log: Tampered) -> None:
    """Read models, dispatcher or eraser beyond the end would pass over what comes next."""
    await Projector(log.store, log.store.pool).rebuild()
    followers = Followers(log.store.pool)
    for name in invariants.FOLLOWERS:
        await followers.advance("acme", name, EVENTS)
    _, found = await check_all(log.store, {}, None)
    assert {item.invariant for item in found} <= {"I12"}
    await log.do("UPDATE readmodels.progress SET position = position + 3")
    for name in invariants.FOLLOWERS:
        await followers.advance("acme", name, EVENTS + 1)
    _, found = await check_all(log.store, {}, None)
    ahead = [(item.invariant, item.position) for item in found if "passed over" in item.what]
    assert ahead == [("I8", EVENTS), ("I8", EVENTS), ("I9", EVENTS)]


async def test_read_models_that_were_never_made_are_no_damage(log: Tampered) -> None:
    """As between the first migration and the first start of a projector."""
    await log.do("DROP SCHEMA IF EXISTS readmodels CASCADE")
    _, found = await check_all(log.store, {}, None)
    assert [item.invariant for item in found if "read models" in item.what] == ["I12"]
    assert {item.invariant for item in found} <= {"I12"}


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
