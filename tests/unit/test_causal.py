"""Slices of decisions and of states over histories made up at random, on a log in memory. Serves S0-27, DC-02."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

import pytest
from decided_anew import decided_anew, told
from eventsourcing.dcb.api import DCBQuery, DCBQueryItem
from given import prn
from hypothesis import given, settings
from hypothesis import strategies as st

from quarterdeck_domain.access.events import (
    OwnershipTransferred,
    PrincipalDeactivated,
    PrincipalRegistered,
    Role,
    RoleGranted,
    RoleRevoked,
)
from quarterdeck_domain.access.values import SYSTEM
from quarterdeck_domain.causes import TooMuch
from quarterdeck_domain.estate import events as estate
from quarterdeck_domain.events import Actor, Event, NewEvent, RecordedEvent
from quarterdeck_domain.ids import make_id
from quarterdeck_domain.intent import Action, Entity, Intent
from quarterdeck_domain.policy.events import BundleModeChanged
from quarterdeck_domain.policy.values import BundleText, split
from quarterdeck_domain.slices import matches
from quarterdeck_graphql.causal import Slice, of_decision, of_state
from quarterdeck_graphql.causal_words import absence
from quarterdeck_graphql.context import Context as Asking
from quarterdeck_ledger.interface import Context
from quarterdeck_ledger.keys import MemoryKeyStore
from quarterdeck_ledger.ledger import EventLedger
from quarterdeck_ledger.memory import MemoryStore
from quarterdeck_policy.decision_point import DecisionPoint
from quarterdeck_readmodels.estate import Asset, Relation
from quarterdeck_readmodels.folding import Reading, Run, fold

TENANT: Final = "acme"
BOT, PAL, ANN = prn("bot"), prn("pal"), prn("ann")
TOOL: Final = "tool:refund"
ROLES: Final[tuple[Role, ...]] = ("operator", "auditor")
BUNDLES: Final = tuple(make_id("bnd", uuid.UUID(int=number)) for number in range(3))
POLICIES: Final = (
    '@id("either") permit (principal, action, resource) when { context.verified.subject.roles.contains("operator") || '
    'context.verified.subject.roles.contains("auditor") };',
    '@id("both") permit (principal, action, resource) when { context.verified.subject.roles.contains("operator") && '
    'context.verified.subject.roles.contains("auditor") };'
    '@id("gone") forbid (principal, action, resource) when { context.verified.subject.deactivated };',
    '@id("all") permit (principal, action, resource);'
    '@id("odd") forbid (principal, action, resource) when { context.verified.subject.roles.contains("auditor") };',
)


class There:
    """Stands for whoever asks: slices need a log and a tenant."""

    def __init__(self, log: EventLedger) -> None:
        self.log = log
        self.tenant = TENANT


def beginning() -> list[Event]:
    """Return who and what there is."""
    found: list[Event] = [
        PrincipalRegistered(principal_id=ANN, kind="human", display_name="Ann", roles=("approver",)),
        *(
            PrincipalRegistered(principal_id=name, kind="agent", display_name="Bot", owner=ANN, roles=("agent",))
            for name in (BOT, PAL)
        ),
    ]
    for number, policies in enumerate(POLICIES):
        found += split(BUNDLES[number], "core", number + 1, BundleText(policies=policies))
    return [*found, estate.AssetRegistered(asset=TOOL, facts={"owner": "rota"}, source="test")]


def happening() -> st.SearchStrategy[Event]:
    """Return what may happen next."""
    who = st.sampled_from((BOT, BOT, PAL))
    return st.one_of(
        st.builds(RoleGranted, principal_id=who, role=st.sampled_from(ROLES)),
        st.builds(RoleRevoked, principal_id=who, role=st.sampled_from(ROLES)),
        st.builds(BundleModeChanged, bundle_id=st.sampled_from(BUNDLES), mode=st.sampled_from(("enforced", "retired"))),
        st.builds(OwnershipTransferred, principal_id=who, owner=st.just(ANN), previous_owner=st.just(ANN)),
        st.builds(PrincipalDeactivated, principal_id=st.just(PAL), reason=st.none()),
        st.builds(
            estate.AssetQuarantined, asset=st.just(TOOL), reason=st.just("odd"), previous_lifecycle=st.just("live")
        ),
        st.builds(estate.AssetReleased, asset=st.just(TOOL), lifecycle=st.just("live"), reason=st.just("looked at")),
    )


async def recorded(*payloads: Event) -> tuple[EventLedger, list[RecordedEvent]]:
    """Return a log of these events."""
    ledger = EventLedger(MemoryStore(lambda: datetime.now(UTC)), MemoryKeyStore())
    for payload in payloads:
        await ledger.append(TENANT, [NewEvent(id=uuid.uuid4(), payload=payload, actor=SYSTEM)])
    return ledger, await ledger.read(TENANT)


def check_absences(found: Slice, events: list[RecordedEvent]) -> None:
    """Assert that the log has of what is said to be absent only what is named; and that this came to nothing."""
    assert found.found.settles
    for missing in found.missing:
        assert missing.holds
        query = DCBQuery(items=[DCBQueryItem(types=list(missing.types), tags=list(missing.tags))])
        stretch = events[missing.after : missing.until]
        there = tuple(event.position for event in stretch if matches(query, event.type, frozenset(event.tags)))
        assert there == missing.besides
        assert set(there) <= {*found.found.kept, *found.found.settled}


def contradicts(found: Slice, payload: Event, place: int) -> bool:
    """Tell whether something, recorded at a place, is said not to have been."""
    return any(
        payload.type in missing.types
        and set(missing.tags) <= set(payload.tags())
        and missing.after < place <= missing.until
        and place not in missing.besides
        for missing in found.missing
    )


def unclaimed(found: Slice, last: int) -> list[int]:
    """Return the first place of each gap between the events that are named."""
    named = {*found.found.kept, *found.found.settled}
    return [place for place in range(1, last + 1) if place not in named and (place == 1 or place - 1 in named)]


@settings(max_examples=40, deadline=None)
@given(st.lists(happening(), max_size=14), st.booleans())
def test_any_decision_is_forced_by_its_slice(history: list[Event], together: bool) -> None:
    """Decided anew from the slice it is the same, without any of it it is not, nor with what is said to be absent."""

    async def story() -> None:
        ledger, _ = await recorded(*beginning(), *history, RoleGranted(principal_id=ANN, role="operator"))
        actor = (
            Actor(principal=PAL, kind="agent", on_behalf_of=(BOT,)) if together else Actor(principal=BOT, kind="agent")
        )
        intent = Intent(
            subject=Entity(type="agent", id=BOT), action=Action(name="refund"), resource=Entity(type="order", id="1")
        )
        context = Context(tenant=TENANT, actor=actor, command_id=uuid.uuid4())
        decided = await DecisionPoint(ledger).decide(context, intent)
        found = await of_decision(cast(Asking, There(ledger)), decided.event)
        assert (found.found.whole, found.found.sufficient, found.found.irreducible) == (True, True, True)
        log = await ledger.read(TENANT)
        events = [log[position - 1].payload for position in found.found.kept]
        outcome = told(decided.decision)
        assert await decided_anew(events, decided.event) == outcome
        for left_out in events:
            assert await decided_anew([event for event in events if event is not left_out], decided.event) != outcome
        check_absences(found, log)
        for missed in found.found.missed:
            place = sum(position <= missed.after for position in found.found.kept)
            more = [*events[:place], missed.contrary.payload, *events[place:]]
            assert await decided_anew(more, decided.event) != outcome
        named = sorted({*found.found.kept, *found.found.settled})
        assert await decided_anew([log[position - 1].payload for position in named], decided.event) == outcome
        for place in unclaimed(found, decided.event.position - 1):
            before = [log[position - 1].payload for position in named if position < place]
            after = [log[position - 1].payload for position in named if position > place]
            for missed in found.found.missed:
                payload = missed.contrary.payload
                if await decided_anew([*before, payload, *after], decided.event) != outcome:
                    assert contradicts(found, payload, place), (payload, place)

    asyncio.run(story())


def saying() -> st.SearchStrategy[Event]:
    """Return what may be said of the tool."""
    begins = st.none() | st.integers(-3, 3).map(lambda days: datetime(2026, 1, 10, tzinfo=UTC) + timedelta(days=days))
    facts = st.dictionaries(
        st.sampled_from(("owner", "purpose", "attributes.digest")), st.sampled_from(("a", "b", None)), min_size=1
    )
    return st.one_of(
        st.builds(
            estate.AssetChanged, asset=st.just(TOOL), facts=facts, source=st.sampled_from(("x", "y")), valid_from=begins
        ),
        st.builds(
            estate.AssetQuarantined, asset=st.just(TOOL), reason=st.just("odd"), previous_lifecycle=st.just("live")
        ),
        st.builds(estate.AssetReleased, asset=st.just(TOOL), lifecycle=st.just("live"), reason=st.just("looked at")),
        st.builds(estate.AssetPromoted, asset=st.just(TOOL), previous_tier=st.none(), reason=st.just("vital")),
        st.builds(
            estate.AssetOwnershipTransferred,
            asset=st.just(TOOL),
            owner=st.sampled_from(("a", "b")),
            team=st.none(),
            previous_owner=st.none(),
            previous_team=st.none(),
        ),
    )


def row_of(entries: list[tuple[int, bytes]]) -> Asset:
    """Return the tool's row as the projector would write it."""
    run = Run(entries[0][0], entries[0][0] - 1, [])
    assert Reading().extend(run, entries) is None
    values: dict[str, Any] = next(item for item in reversed(fold(run, {}).inserts[Asset]) if item["id"] == TOOL)
    return Asset(**values)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(saying(), max_size=12), st.sampled_from((None, ["lifecycle"], ["owner", "attributes.digest"], ["tier"]))
)
def test_any_state_is_forced_by_its_slice(history: list[Event], fields: list[str] | None) -> None:
    """Folded from the slice it is the same, without any of it it is not; what is absent is absent."""

    async def story() -> None:
        ledger, log = await recorded(*beginning(), *history, RoleGranted(principal_id=ANN, role="operator"))
        entries = await ledger.store.read(TENANT, None, 0, None, None, False)
        row = row_of(entries)
        found = await of_state(cast(Asking, There(ledger)), row, len(log), fields)
        assert (found.found.whole, found.found.sufficient, found.found.irreducible) == (True, True, True)
        kept = set(found.found.kept)
        assert {log[position - 1].type for position in kept} <= {event.type for event in log if TOOL in str(event.tags)}
        names = fields or ["owner", "purpose", "lifecycle", "tier", "attributes.digest", "changed_at"]
        last = max(event.position for event in log if TOOL in str(event.tags))
        assert fields is not None or last in kept
        # Only what the slice holds, recorded by itself: the projector's own fold has the same to say.
        again = row_of([(number, entry) for number, (_, entry) in enumerate(_only(entries, kept), 1)])
        for name in names:
            assert _said(again, name) == _said(row, name), name
        check_absences(found, log)

    asyncio.run(story())


OTHERS: Final = ("tool:one", "tool:two", "tool:three")


def concerning_others() -> st.SearchStrategy[Event]:
    """Return what happens to others, in which the tool is named: the tag does not tell whose event it is."""
    other = st.sampled_from(OTHERS)
    return st.one_of(
        st.builds(estate.AssetDeprecated, asset=other, reason=st.just("old"), successor=st.just(TOOL)),
        st.builds(estate.AssetsMerged, survivor=st.just(TOOL), merged=other),
    )


ENDS: Final[tuple[Event, ...]] = (
    estate.AssetDeprecated(asset=TOOL, reason="old"),
    estate.AssetRetired(asset=TOOL, reason="old"),
    estate.AssetsMerged(survivor="tool:other", merged=TOOL),
    estate.AssetQuarantined(asset=TOOL, reason="odd", previous_lifecycle="live"),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(concerning_others() | saying(), max_size=10))
def test_whatever_else_had_happened_to_it_contradicts_an_absence(history: list[Event]) -> None:
    """Put anywhere but where an event is named, before and after what happened to others that name the object."""

    async def story() -> None:
        begun = [
            estate.AssetRegistered(asset=asset, facts={}, source="test") for asset in (*OTHERS, TOOL, "tool:other")
        ]
        ended = estate.AssetRegistered(asset="tool:last", facts={}, source="test")
        ledger, log = await recorded(*begun, *history, ended)
        row = row_of(await ledger.store.read(TENANT, None, 0, None, None, False))
        found = await of_state(cast(Asking, There(ledger)), row, len(log), ["lifecycle"])
        assert (found.found.whole, found.found.sufficient, found.found.irreducible) == (True, True, True)
        check_absences(found, log)
        named = sorted({*found.found.kept, *found.found.settled})
        for place in unclaimed(found, len(log)):
            for contrary in ENDS:
                before = [log[position - 1].payload for position in named if position < place]
                after = [log[position - 1].payload for position in named if position > place]
                if place <= len(begun):
                    continue
                others = [payload for payload in begun if payload not in before]
                again, _ = await recorded(*others, *before, contrary, *after)
                would = row_of(await again.store.read(TENANT, None, 0, None, None, False))
                if would.lifecycle != row.lifecycle:
                    assert contradicts(found, contrary, place), (contrary.type, place, found.missing)

    asyncio.run(story())


async def test_whoever_succeeds_others_was_not_deprecated_before_them() -> None:
    """The events of others that name the object leave no stretch out of what is claimed."""
    begun = [estate.AssetRegistered(asset=asset, facts={}, source="test") for asset in (TOOL, *OTHERS)]
    ledger, log = await recorded(
        *begun,
        estate.AssetsMerged(survivor=TOOL, merged=OTHERS[0]),
        estate.AssetDeprecated(asset=OTHERS[1], reason="old", successor=TOOL),
    )
    row = row_of(await ledger.store.read(TENANT, None, 0, None, None, False))
    found = await of_state(cast(Asking, There(ledger)), row, len(log), ["lifecycle"])
    assert (found.found.kept, found.found.settled) == ((1,), (5, 6))
    (missing,) = (one for one in found.missing if "asset.deprecated" in one.types)
    assert (missing.after, missing.until) == (1, 6)
    for place in (2, 3, 4):
        assert all(contradicts(found, contrary, place) for contrary in ENDS)


async def test_the_successor_of_thousands() -> None:
    """All of them are named once, and asking takes no more replays for it."""
    ledger, _ = await recorded(estate.AssetRegistered(asset=TOOL, facts={}, source="test"))
    events = [
        NewEvent(
            id=uuid.uuid4(),
            payload=estate.AssetDeprecated(asset=f"tool:v{number}", reason="old", successor=TOOL),
            actor=SYSTEM,
        )
        for number in range(4_000)
    ]
    for start in range(0, len(events), 200):
        await ledger.append(TENANT, events[start : start + 200])
    entries = await ledger.store.read(TENANT, None, 0, 1, None, False)
    found = await of_state(cast(Asking, There(ledger)), row_of(entries), 4_001, ["lifecycle"])
    assert found.found.settled == tuple(range(2, 4_002))
    assert (found.found.settles, all(one.holds for one in found.missing)) == (True, True)
    assert sum(len(one.besides) for one in found.missing) == 4_000
    assert found.found.questions < 100
    said = next(absence(one) for one in found.missing if one.besides)
    assert said.endswith("events 2, 3, 4, 5, 6, 7, 8, 9 and 3,992 more aside")


def _only(entries: list[tuple[int, bytes]], kept: set[int]) -> list[tuple[int, bytes]]:
    return [item for item in entries if item[0] in kept]


def _said(row: Asset, name: str) -> object:
    return row.attributes.get("digest") if name == "attributes.digest" else getattr(row, name)


def seen(number: int) -> estate.RelationObserved:
    """Return that an agent was seen to call the tool."""
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
    return estate.RelationObserved(
        source="agent:bot", relation="calls", target=TOOL, count=1, first_seen=moment, last_seen=moment
    )


async def test_what_thousands_of_events_changed_is_explained_in_part() -> None:
    """Each of them forces the count: all of it is refused. What does not depend on each is explained at once."""
    ledger = EventLedger(MemoryStore(lambda: datetime.now(UTC)), MemoryKeyStore())
    events = [NewEvent(id=uuid.uuid4(), payload=seen(number), actor=SYSTEM) for number in range(2_400)]
    for start in range(0, len(events), 200):
        await ledger.append(TENANT, events[start : start + 200])
    entries = await ledger.store.read(TENANT, None, 0, None, None, False)
    run = Run(1, 0, [])
    assert Reading().extend(run, entries) is None
    row = Relation(**fold(run, {}).inserts[Relation][-1])
    there = cast(Asking, There(ledger))
    with pytest.raises(TooMuch, match="2400 events have a bearing on this"):
        await of_state(there, row, len(entries))
    part = await of_state(there, row, len(entries), ["declared", "last_seen"])
    assert (part.found.sufficient, part.found.irreducible) == (True, True)
    assert part.found.kept == (2_400,)
