"""What only the database can promise: walls between tenants, no way to change the past, subscriptions, erasure.

Serves C01, DC-01, DC-02, S2-37, S0-104.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest
from eventsourcing.dcb.api import DCBAppendCondition, DCBQuery, DCBQueryItem

from quarterdeck_domain.access.events import PrincipalErased, PrincipalRegistered, RoleGranted
from quarterdeck_domain.errors import InvalidEvent, InvalidInput, UnknownEventType
from quarterdeck_domain.events import Actor, Event, NewEvent
from quarterdeck_domain.ids import make_id
from quarterdeck_embedded import EmbeddedPostgres
from quarterdeck_embedded.postgres import binary
from quarterdeck_ledger.errors import AppendConflict, Busy, Expired, IdReused, Unavailable, UnsafeServer
from quarterdeck_ledger.followers import Followers
from quarterdeck_ledger.keys import FileKeyStore, MemoryKeyStore
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.memory import MemoryStore
from quarterdeck_ledger.migrate import migrate
from quarterdeck_ledger.postgres import PostgresStore
from quarterdeck_ledger.sequencer import Sequencer
from quarterdeck_ledger.server import check_server
from quarterdeck_ledger.store import Outcome, Submission
from quarterdeck_projector.eraser import Eraser

ACTOR = Actor(principal="prn_test", kind="service")


@pytest.fixture
async def store(migrated_database: Callable[[], str]) -> AsyncIterator[PostgresStore]:
    """A store on a fresh database."""
    async with PostgresStore.open(migrated_database(), size=4) as opened:
        yield opened


@pytest.fixture
def ledger(store: PostgresStore) -> EventLedger:
    """A ledger on a fresh database."""
    return EventLedger(store, MemoryKeyStore())


def event(payload: Event | None = None) -> NewEvent:
    """Return an event to append."""
    payload = payload or RoleGranted(principal_id=f"prn_{uuid.uuid4().hex}", role="operator")
    return NewEvent(id=uuid.uuid4(), payload=payload, actor=ACTOR)


@pytest.mark.parametrize("table", ["events", "tags", "heads", "tree_nodes", "checkpoints"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET tenant_id = 0", "DELETE FROM {}", "TRUNCATE {}"])
async def test_the_past_cannot_be_changed(
    ledger: EventLedger, store: PostgresStore, postgres: EmbeddedPostgres, table: str, statement: str
) -> None:
    """The application's role may not update, delete or truncate; triggers stop even a superuser."""
    await ledger.append("acme", [event()])
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await store.pool.execute(statement.format(f"ledger.{table}"))
    database = await store.pool.fetchval("SELECT current_database()")
    superuser = await asyncpg.connect(postgres.url(database))
    try:
        if table in {"events", "tags"} or "TRUNCATE" in statement:
            with pytest.raises(asyncpg.PostgresError, match="append-only"):
                await superuser.execute(statement.format(f"ledger.{table}"))
    finally:
        await superuser.close()


@pytest.mark.parametrize("table", ["events", "tags", "heads", "tree_nodes", "checkpoints", "followers"])
async def test_tenants_are_walls(ledger: EventLedger, store: PostgresStore, table: str) -> None:
    """Without a tenant the database refuses; with one, only its rows are there; nothing can be inserted by hand."""
    for tenant in ("acme", "globex"):
        for _ in range(3):
            await ledger.append(tenant, [event() for _ in range(100)])
        await Followers(store.pool).advance(tenant, "test", 1)
    async with store.pool.acquire() as connection:
        with pytest.raises(asyncpg.PostgresError, match="no tenant is set"):
            await connection.fetch(f"SELECT * FROM ledger.{table}")
        async with connection.transaction():
            acme = await connection.fetchval("SELECT ledger.enter('acme')")
            rows = await connection.fetch(f"SELECT DISTINCT tenant_id FROM ledger.{table}")
            assert {row["tenant_id"] for row in rows} <= {acme}
        with pytest.raises(asyncpg.PostgresError, match="no tenant is set"):
            await connection.fetch(f"SELECT * FROM ledger.{table}")
        if table not in {"followers", "checkpoints"}:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"INSERT INTO ledger.{table} DEFAULT VALUES")


async def test_typed_errors_of_append(ledger: EventLedger) -> None:
    """Each refusal has its own error, and nothing is recorded."""
    first = event()
    await ledger.append("acme", [first])
    tag = first.payload.tags()[0]
    with pytest.raises(AppendConflict):
        await ledger.append("acme", [event()], DCBAppendCondition(DCBQuery([DCBQueryItem(tags=[tag])]), 0))
    with pytest.raises(Expired):
        await ledger.append("acme", [event()], not_after=(await ledger.now()).replace(year=2020))
    other = RoleGranted(principal_id="prn_other", role="auditor")
    with pytest.raises(IdReused):
        await ledger.append("acme", [NewEvent(id=first.id, payload=other, actor=ACTOR)])
    with pytest.raises(IdReused):
        await ledger.append("acme", [first, event()])
    for events in ([], [first, first], [event() for _ in range(257)]):
        with pytest.raises(InvalidInput):
            await ledger.append("acme", events)
    with pytest.raises(InvalidInput):
        await ledger.append("Not A Tenant", [event()])
    with pytest.raises(InvalidInput):
        await ledger.append("acme", [event(RoleGranted(principal_id="x" * 70_000, role="operator"))])
    with pytest.raises(InvalidEvent):
        await ledger.append("acme", [event(RoleGranted(principal_id="p", role="emperor"))])  # type: ignore[arg-type]

    class Stranger(Event, frozen=True, kw_only=True):
        type = "stranger.appeared"

    with pytest.raises(UnknownEventType):
        await ledger.append("acme", [event(Stranger())])
    assert (await ledger.head("acme")).position == 1


async def test_a_full_lane_is_busy_and_records_nothing() -> None:
    """Beyond the bound, callers are told at once; those within it are served."""

    class Stuck(MemoryStore):
        gate = asyncio.Event()

        async def append_batch(self, tenant: str, batch: list[Submission]) -> list[Outcome]:  # type: ignore[override]
            await self.gate.wait()
            return await super().append_batch(tenant, batch)

    store = Stuck()
    ledger = EventLedger(store, MemoryKeyStore(), sequencer=Sequencer(store, max_waiting=5))
    under_way = [asyncio.create_task(ledger.append("acme", [event()])) for _ in range(40)]
    done, pending = await asyncio.wait(under_way, timeout=0.2)
    assert all(isinstance(task.exception(), Busy) for task in done)
    assert len(done) >= 25
    store.gate.set()
    await asyncio.gather(*pending)
    assert (await ledger.head("acme")).position == len(pending)


async def test_one_bad_caller_never_fails_its_neighbours(store: PostgresStore) -> None:
    """An append that the database itself refuses is isolated; everybody else in its batch is recorded."""
    from quarterdeck_ledger.entry import Draft

    ledger = EventLedger(store, MemoryKeyStore())
    poison = Draft(id=uuid.uuid4(), type="a", tags=(), prefix=b"x" * 70_000, suffix=b"}")
    sequencer = ledger._sequencer
    good = [ledger.append("acme", [event()]) for _ in range(10)]
    bad = sequencer.submit("acme", Submission(drafts=(poison,)))
    results = await asyncio.gather(*good[:5], bad, *good[5:], return_exceptions=True)
    failures = [result for result in results if isinstance(result, BaseException)]
    assert len(failures) == 1
    assert isinstance(failures[0], Unavailable)
    assert (await ledger.head("acme")).position == 10


WRITER = """
import asyncio, sys, uuid
from quarterdeck_domain.access.events import RoleGranted
from quarterdeck_domain.events import Actor, NewEvent
from quarterdeck_ledger.keys import MemoryKeyStore
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.postgres import PostgresStore

async def main(url, count):
    async with PostgresStore.open(url, size=4) as store:
        ledger = EventLedger(store, MemoryKeyStore())
        async def one():
            payload = RoleGranted(principal_id=uuid.uuid4().hex, role="operator")
            actor = Actor(principal="p", kind="service")
            placed = await ledger.append("acme", [NewEvent(id=uuid.uuid4(), payload=payload, actor=actor)])
            print(placed.first)
        await asyncio.gather(*[one() for _ in range(count)])

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


async def test_several_processes_append_at_once(migrated_database: Callable[[], str]) -> None:
    """Four processes and a subscriber: positions are gapless, each acknowledged once, and none is missed."""
    url = migrated_database()
    async with PostgresStore.open(url, size=3) as store:
        ledger = EventLedger(store, MemoryKeyStore())
        seen: list[int] = []

        async def follow() -> None:
            async for recorded in ledger.subscribe("acme"):
                seen.append(recorded.position)
                if len(seen) == 400:
                    return

        follower = asyncio.create_task(follow())
        writers = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", WRITER, url, "100", stdout=asyncio.subprocess.PIPE
            )
            for _ in range(4)
        ]
        outputs = [(await writer.communicate())[0] for writer in writers]
        acknowledged = sorted(int(line) for output in outputs for line in output.split())
        assert acknowledged == list(range(1, 401))
        await asyncio.wait_for(follower, 30)
        assert seen == list(range(1, 401))


async def test_a_subscription_survives_the_server(tmp_path: Path) -> None:
    """Across a kill and restart of PostgreSQL no event is missed and none comes twice."""
    server = EmbeddedPostgres(tmp_path / "pg", settings={"shared_buffers": "16MB"})
    server.start()
    try:
        await migrate(server.url())
        async with PostgresStore.open(server.url(), size=3) as store:
            ledger = EventLedger(store, MemoryKeyStore())
            await ledger.append("acme", [event() for _ in range(5)])
            seen: list[int] = []

            async def follow() -> None:
                while True:
                    try:
                        async for recorded in ledger.subscribe("acme", after=seen[-1] if seen else 0):
                            seen.append(recorded.position)  # noqa: PERF401
                    except Unavailable:
                        await asyncio.sleep(0.05)

            follower = asyncio.create_task(follow())
            await _until(lambda: len(seen) == 5)
            server.kill()
            with pytest.raises(Unavailable):
                await ledger.append("acme", [event()])
            server.start()
            after = await _append_until_it_works(ledger)
            await _until(lambda: bool(seen) and seen[-1] >= after)
            follower.cancel()
            assert seen == list(range(1, len(seen) + 1))
    finally:
        server.stop()


async def _append_until_it_works(ledger: EventLedger) -> int:
    repeated = event()  # the same id each time: whatever was recorded is recorded once
    async with asyncio.timeout(30):
        while True:
            try:
                return (await ledger.append("acme", [repeated])).last
            except Unavailable:
                await asyncio.sleep(0.05)


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_an_unsafe_server_is_refused(tmp_path: Path) -> None:
    """fsync off could lose what was acknowledged: the message names the setting."""
    settings = {"fsync": "off", "shared_buffers": "16MB"}
    with EmbeddedPostgres(tmp_path / "pg", settings=settings) as server, pytest.raises(UnsafeServer, match="fsync"):
        await check_server(server.url())


async def test_erasure_leaves_the_plaintext_nowhere(
    store: PostgresStore, tmp_path: Path, postgres: EmbeddedPostgres
) -> None:
    """With the key destroyed the person is gone: from answers, and from a dump of everything. The proof still holds."""
    keys = FileKeyStore(tmp_path / "keys")
    ledger = EventLedger(store, keys)
    canary = f"Canary {uuid.uuid4().hex}"
    person = make_id("prn", uuid.uuid4())
    await ledger.append("acme", [event(PrincipalRegistered(principal_id=person, kind="human", display_name=canary))])
    assert (await ledger.read("acme"))[0].payload.display_name == canary  # type: ignore[attr-defined]
    before = await ledger.head("acme")
    leaves = await store.leaves("acme", 0, 1)
    await ledger.append("acme", [event(PrincipalErased(principal_id=person, reason="requested"))])
    assert await Eraser(ledger, Followers(store.pool)).advance("acme") == 1
    assert (await ledger.read("acme"))[0].payload.display_name is None  # type: ignore[attr-defined]
    assert await store.leaves("acme", 0, 1) == leaves
    assert before.root == leaves[0]
    database = await store.pool.fetchval("SELECT current_database()")
    dump = subprocess.run(
        [binary("pg_dump"), "-h", postgres.socket_dir, "-U", "postgres", database], capture_output=True, check=True
    ).stdout
    assert person.encode() in dump or person.encode().hex().encode() in dump
    for spelling in (canary.encode(), canary.encode().hex().encode()):
        assert spelling not in dump
    for path in (tmp_path / "keys").rglob("*"):
        assert canary.encode() not in (path.read_bytes() if path.is_file() else b"")


async def test_a_key_made_again_does_not_open_what_was_erased(tmp_path: Path) -> None:
    """After erasure new facts about the person get a new key; the old ones stay erased."""
    ledger = EventLedger(MemoryStore(), FileKeyStore(tmp_path / "keys"))
    person = make_id("prn", uuid.uuid4())
    await ledger.append("acme", [event(PrincipalRegistered(principal_id=person, kind="human", display_name="Old"))])
    await ledger.keys.destroy("acme", person)
    await ledger.append("acme", [event(PrincipalRegistered(principal_id=person, kind="human", display_name="New"))])
    names = [recorded.payload.display_name for recorded in await ledger.read("acme")]  # type: ignore[attr-defined]
    assert names == [None, "New"]


async def test_a_retry_makes_the_same_bytes(store: PostgresStore) -> None:
    """Sealing is deterministic per event and field: repeating an append with personal data repeats it."""
    ledger = EventLedger(store, MemoryKeyStore())
    registered = event(PrincipalRegistered(principal_id="prn_x", kind="human", display_name="Ada", email="a@b.example"))
    first = await ledger.append("acme", [registered])
    again = await ledger.append("acme", [registered])
    assert (again.first, again.repeated) == (first.first, True)
    entry = (await ledger.read_sealed("acme"))[0]
    assert json.dumps(entry.data).count("sealed:v1:") == 2


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        (DCBQuery([DCBQueryItem(tags=["a\ud800"])]), {}),
        (DCBQuery([DCBQueryItem(types=["a\x00"])]), {}),
        (DCBQuery([DCBQueryItem(types=["a\x1fapi_key.revoked"])]), {}),
        (None, {"after": 2**70}),
        (None, {"after": -1}),
        (None, {"until": 2**70}),
        (None, {"limit": -1}),
    ],
)
async def test_what_no_log_can_be_asked_is_refused(
    ledger: EventLedger, query: DCBQuery | None, numbers: dict[str, int]
) -> None:
    """As bad input, by name, whether it is read or is a condition; and the log still takes events."""
    with pytest.raises(InvalidInput):
        await ledger.read("acme", query, **numbers)
    if query is not None or "after" in numbers:
        condition = DCBAppendCondition(query or DCBQuery(), numbers.get("after"))
        with pytest.raises(InvalidInput):
            await ledger.append("acme", [event()], condition)
    assert (await ledger.append("acme", [event()])).last == 1
