"""One suite for both stores: the in-memory twin and PostgreSQL must be the same thing. Serves C01, DC-01, DC-02."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import pytest
from eventsourcing.dcb.api import DCBAppendCondition, DCBQuery, DCBQueryItem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quarterdeck_domain.canonical import decode
from quarterdeck_domain.errors import NotCanonical
from quarterdeck_domain.events import Actor, Cause
from quarterdeck_domain.merkle import compose
from quarterdeck_domain.slices import matches
from quarterdeck_ledger.entry import Draft, complete, make_draft, parse_entry
from quarterdeck_ledger.memory import MemoryStore
from quarterdeck_ledger.postgres import PostgresStore
from quarterdeck_ledger.sequencer import Sequencer
from quarterdeck_ledger.store import Store, Submission

ACTOR = Actor(principal="prn_test", kind="service")


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest, migrated_database: Callable[[], str]) -> AsyncIterator[Store]:
    """Each store in turn."""
    if request.param == "memory":
        yield MemoryStore()
        return
    async with PostgresStore.open(migrated_database(), size=4) as postgres:
        yield postgres


def draft(
    event_type: str, *tags: str, tenant: str = "acme", event_id: uuid.UUID | None = None, note: str = ""
) -> Draft:
    """Return a small event."""
    data = {"note": note}
    return make_draft(tenant, event_id or uuid.uuid4(), event_type, 1, data, tags, ACTOR, Cause())


def once(*drafts: Draft, when: DCBQuery | None = None, after: int = 0, not_after: datetime | None = None) -> Submission:
    """Return a submission, conditional if a query is given."""
    condition = None if when is None else DCBAppendCondition(when, after)
    return Submission(drafts=drafts, condition=condition, not_after=not_after)


def query(*items: tuple[list[str], list[str]]) -> DCBQuery:
    """Return a query of (types, tags) items."""
    return DCBQuery([DCBQueryItem(types, tags) for types, tags in items])


async def test_positions_are_gapless_and_entries_are_the_truth(store: Store) -> None:
    """Positions run from 1; the stored bytes are the draft completed with place and time."""
    drafts = [draft("a", "x:1"), draft("b", "x:1", "y:2"), draft("a", "y:2")]
    first = (await store.append_batch("acme", [once(drafts[0])]))[0]
    rest = (await store.append_batch("acme", [once(*drafts[1:])]))[0]
    assert (first.first, first.last, rest.first, rest.last) == (1, 1, 2, 3)
    entries = await store.read("acme", None, 0, None, None, False)
    assert [position for position, _ in entries] == [1, 2, 3]
    for made, (position, entry) in zip(drafts, entries, strict=True):
        assert entry == complete(made, position, parse_entry(entry).recorded_at)


async def test_a_repeated_id_hears_its_first_position(store: Store) -> None:
    """Ids are checked before conditions, and nothing is recorded twice."""
    event = draft("a", "x:1")
    await store.append_batch("acme", [once(event)])
    never = query((["a"], ["x:1"]))
    again = (await store.append_batch("acme", [once(event, when=never)]))[0]
    assert (again.status, again.first, again.last) == ("repeated", 1, 1)
    mixed = (await store.append_batch("acme", [once(event, draft("b", "x:1"))]))[0]
    assert mixed.status == "partial"
    assert (await store.head("acme")).position == 1


@pytest.mark.parametrize(
    ("condition", "conflicts"),
    [
        (query((["a"], ["x:1"])), True),
        (query(([], ["x:1", "y:2"])), True),
        (query(([], ["x:1", "z:9"])), False),
        (query((["b"], ["x:1"])), False),
        (query((["b"], [])), False),
        (query((["b", "a"], [])), True),
        (query((["b"], []), ([], ["y:2"])), True),
        (query(), True),
    ],
)
async def test_conditions(store: Store, condition: DCBQuery, conflicts: bool) -> None:
    """An append fails exactly if an event after its position matches its query."""
    await store.append_batch("acme", [once(draft("a", "x:1", "y:2"))])
    outcome = (await store.append_batch("acme", [once(draft("c"), when=condition)]))[0]
    assert (outcome.status == "conflict") is conflicts
    later = (await store.append_batch("acme", [once(draft("c"), when=condition, after=2)]))[0]
    assert later.status == "ok"


async def test_each_caller_of_a_batch_gets_its_own_answer(store: Store) -> None:
    """One that conflicts, one too late and one repeated leave their neighbours alone, without gaps."""
    known = draft("a", "x:1")
    await store.append_batch("acme", [once(known)])
    past = datetime(2020, 1, 1, tzinfo=UTC)
    batch = [
        once(draft("b", "y:1"), draft("b", "y:2")),
        once(draft("b"), when=query(([], ["x:1"]))),
        once(known),
        once(draft("b", "y:3"), not_after=past),
        once(draft("b", "y:4"), not_after=datetime.now(UTC) + timedelta(hours=1)),
    ]
    outcomes = await store.append_batch("acme", batch)
    assert [outcome.status for outcome in outcomes] == ["ok", "conflict", "repeated", "expired", "ok"]
    assert [outcome.first for outcome in outcomes] == [2, None, 1, None, 4]
    assert (await store.head("acme")).position == 4


async def test_the_frontier_is_the_root_of_the_entries(store: Store) -> None:
    """The head's root is RFC 6962 over the stored bytes, and subtree roots are kept at 256 leaves."""
    for size in (1, 2, 3, 250, 300):
        await store.append_batch("acme", [once(*[draft("a") for _ in range(size)])])
    head = await store.head("acme")
    entries = [entry for _, entry in await store.read("acme", None, 0, None, None, False)]
    leaves = [hashlib.sha256(b"\x00" + entry).digest() for entry in entries]
    assert leaves == await store.leaves("acme", 0, head.position)
    assert compose(head.frontier) == _naive_root(leaves)
    assert await store.nodes("acme", 1, 0, 9) == [_naive_root(leaves[:256]), _naive_root(leaves[256:512])]


def _naive_root(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + _naive_root(leaves[:split]) + _naive_root(leaves[split:])).digest()


async def test_recorded_at_never_decreases_and_answers_for_time(store: Store) -> None:
    """`position_at` is the last position recorded at or before a moment."""
    for _ in range(20):
        await store.append_batch("acme", [once(draft("a"), draft("a"))])
    times = [parse_entry(entry).recorded_at for _, entry in await store.read("acme", None, 0, None, None, False)]
    assert times == sorted(times)
    assert await store.position_at("acme", times[0] - timedelta(microseconds=1)) == 0
    for position in (1, 7, 40):
        expected = sum(1 for moment in times if moment <= times[position - 1])
        assert await store.position_at("acme", times[position - 1]) == expected
    assert await store.position_at("acme", times[-1] + timedelta(days=1)) == 40


async def test_tenants_are_apart(store: Store) -> None:
    """The same id and positions in two tenants have nothing to do with each other."""
    same = uuid.uuid4()
    for tenant in ("acme", "globex"):
        event = draft("a", "x:1", tenant=tenant, event_id=same)
        assert (await store.append_batch(tenant, [once(event)]))[0].first == 1
    assert await store.tenants() == ["acme", "globex"]
    found = await store.find("globex", same)
    assert found is not None
    assert parse_entry(found).tenant == "globex"
    assert await store.find("nobody", same) is None
    assert (await store.head("nobody")).position == 0


events = st.lists(
    st.tuples(st.sampled_from("abc"), st.sets(st.sampled_from(["x:1", "x:2", "y:1", "y:2"]), max_size=3)),
    min_size=1,
    max_size=25,
)
items = st.lists(
    st.tuples(st.sets(st.sampled_from("abc"), max_size=2), st.sets(st.sampled_from(["x:1", "x:2", "y:1"]), max_size=2)),
    max_size=3,
)


@given(
    events=events, items=items, after=st.integers(0, 25), limit=st.none() | st.integers(1, 5), backwards=st.booleans()
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_reading_equals_filtering(
    shared_store: tuple[PostgresStore, asyncio.AbstractEventLoop],
    events: list[tuple[str, set[str]]],
    items: list[tuple[set[str], set[str]]],
    after: int,
    limit: int | None,
    backwards: bool,
) -> None:
    """A query returns what filtering the whole log in Python returns, in order, within the limit."""
    postgres, loop = shared_store
    tenant = f"t{uuid.uuid4().hex[:12]}"
    wanted = DCBQuery([DCBQueryItem(sorted(types), sorted(tags)) for types, tags in items])

    async def scenario() -> tuple[list[int], list[int]]:
        made = [draft(kind, *tags, tenant=tenant) for kind, tags in events]
        await postgres.append_batch(tenant, [once(*made)])
        found = await postgres.read(tenant, wanted, after, None, limit, backwards)
        expected = [
            position
            for position, event in enumerate(made, 1)
            if position > after and matches(wanted, event.type, frozenset(event.tags))
        ]
        return [position for position, _ in found], (expected[::-1] if backwards else expected)[:limit]

    found, expected = loop.run_until_complete(scenario())
    assert found == expected


@pytest.fixture(scope="module")
def shared_store(module_database: str):  # type: ignore[no-untyped-def]
    """One store for many examples, each in a tenant of its own."""
    loop = asyncio.new_event_loop()
    opened = PostgresStore.open(module_database, size=2)
    yield loop.run_until_complete(opened.__aenter__()), loop
    loop.run_until_complete(opened.__aexit__(None, None, None))
    loop.close()


async def test_sequencer_orders_rivals(store: Store) -> None:
    """Sixty-four callers who all say 'only if nobody was first': one is, whatever the batches."""
    sequencer = Sequencer(store)
    nobody = query(([], ["prize:1"]))
    outcomes = await asyncio.gather(
        *[sequencer.submit("acme", once(draft("win", "prize:1"), when=nobody)) for _ in range(64)]
    )
    assert sorted(outcome.status for outcome in outcomes) == ["conflict"] * 63 + ["ok"]
    assert (await store.head("acme")).position == 1


@pytest.mark.parametrize("levels", [30, 31, 32])
def test_an_entry_is_never_deeper_than_its_readers_allow(levels: int) -> None:
    """Data stands one level down in its entry: what is accepted can be read, what could not be is refused."""
    data: dict[str, object] = {}
    for _ in range(levels - 1):
        data = {"x": data}
    arguments = ("acme", uuid.uuid4(), "a", 1, data, (), ACTOR, Cause())
    if levels > 31:
        with pytest.raises(NotCanonical):
            make_draft(*arguments)
    else:
        decode(complete(make_draft(*arguments), 1, datetime.now(UTC)))


def test_hostile_text_in_an_actor_is_a_typed_error() -> None:
    """A lone surrogate is refused wherever it stands."""
    for actor, cause in ((Actor(principal="\ud800", kind="service"), Cause()), (ACTOR, Cause(command_id="\ud800"))):
        with pytest.raises(NotCanonical):
            make_draft("acme", uuid.uuid4(), "a", 1, {}, (), actor, cause)
