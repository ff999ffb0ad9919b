"""What was true at a moment, as known at a position: rows made of rows, against a naive look at everything that was said.

Serves S0-20, S0-43, C02.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_moments import SPAN, Key, differences, history, hour, recorded_by, run_of, truth

from quarterdeck_domain.estate.events import RelationObserved
from quarterdeck_domain.events import Actor, Cause, RecordedEvent
from quarterdeck_readmodels.bitemporal import asset_then, holds, relation_then
from quarterdeck_readmodels.estate import Asset, Relation
from quarterdeck_readmodels.folding import fold
from quarterdeck_readmodels.ranges import arrays, kinds, loaded

TABLES: dict[str, Any] = {"assets": Asset, "relations": Relation}


class Tables:
    """The rows of a history, as they come back from a database."""

    def __init__(self, events: Sequence[RecordedEvent]) -> None:
        self.versions: dict[Key, list[Any]] = {}
        for row, versions in fold(run_of(events), {}).inserts.items():
            if row.table == "drifts":
                continue
            for values in zip(*arrays(row, versions), strict=True):
                stored = loaded(row, dict(zip(kinds(row), values, strict=True)))
                told = {name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()}
                self.versions.setdefault((row.table, told["id"]), []).append(row(**told))

    def at(self, position: int) -> dict[Key, Any]:
        """Return every row at a position."""
        found = {key: [row for row in rows if row.from_position <= position] for key, rows in self.versions.items()}
        return {key: rows[-1] for key, rows in found.items() if rows}


def then(tables: Tables, events: Sequence[RecordedEvent], moment: Any, known: int) -> dict[Key, Any]:
    """Return every row as of a moment, as known at a position."""
    recorded = tables.at(min(known, recorded_by(events, moment)))
    found: dict[Key, Any] = {}
    for key, row in tables.at(known).items():
        held: Any = asset_then if key[0] == "assets" else relation_then
        found[key] = held(row, recorded.get(key), moment)
    return {key: row for key, row in found.items() if row is not None}


@settings(max_examples=300)
@given(st.integers(0, 2**32), st.integers(1, 60), st.sampled_from((0.0, 0.3, 1.0)), st.data())
def test_any_moment_as_known_at_any_position(seed: int, count: int, dated: float, data: st.DataObject) -> None:
    """Recorded late, announced, taken back, seen long ago: rows tell what everything that was said tells."""
    events = history(random.Random(seed), count, dated)
    tables = Tables(events)
    known = data.draw(st.integers(1, len(events)), "known at")
    moment = hour(data.draw(st.integers(-1, 2 * SPAN), "as of") / 2)
    found = then(tables, events, moment, known)
    assert differences(truth(events, moment, known), found) == []
    for (table, _), row in found.items():
        if table == "relations":
            assert holds(row, moment) == (row.declared or row.observed)


@given(st.integers(0, 2**32), st.integers(1, 40), st.data())
def test_what_nobody_dated_was_as_it_was_recorded(seed: int, count: int, data: st.DataObject) -> None:
    """As known later, it is the row of the position, in every column."""
    events = [event for event in history(random.Random(seed), count, 0.0) if event.type != "relation.observed"]
    events = [msgspec.structs.replace(event, position=place) for place, event in enumerate(events, 1)]
    if not events or events[0].type != "asset.registered":
        return
    tables = Tables(events)
    known = data.draw(st.integers(1, len(events)), "known at")
    moment = hour(data.draw(st.integers(0, 2 * SPAN), "as of") / 2)
    assert then(tables, events, moment, known) == tables.at(min(known, recorded_by(events, moment)))


def seen(position: int, sender: str | None, last: float, recorded: float) -> RecordedEvent:
    """Return that somebody said that an agent called a tool."""
    told = RelationObserved(
        source="agent:a", relation="calls", target="tool:t", first_seen=hour(last), last_seen=hour(last), sender=sender
    )
    return RecordedEvent(
        tenant="acme",
        position=position,
        id=uuid.UUID(int=position),
        recorded_at=hour(recorded),
        actor=Actor(principal="prn_test", kind="service"),
        cause=Cause(),
        tags=told.tags(),
        payload=told,
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        # Who knows spoke only of later: of then, it is alleged.
        ([("prn_b", 4), (None, 24)], {"prn_b"}),
        ([(None, 4), ("prn_b", 24)], {""}),
        ([("prn_b", 4), ("prn_c", 14), (None, 24)], {"prn_b", "prn_c"}),
        # Of those who spoke then and again, nobody can tell whose word of then it was: it may be anybody's.
        ([("prn_b", 4), ("prn_b", 24)], {"prn_b"}),
        ([("prn_b", 4), (None, 4), ("prn_b", 24), (None, 24)], {"prn_b", ""}),
    ],
)
def test_who_speaks_later_proves_nothing_of_then(words: list[tuple[str | None, float]], expected: set[str]) -> None:
    """Where all of it was recorded later. What is not empty becomes not empty: nobody's word would be known."""
    events = [seen(place, sender, last, 24) for place, (sender, last) in enumerate(words, 1)]
    (row,) = then(Tables(events), events, hour(14), len(events)).values()
    assert row.observed
    assert row.senders.keys() == expected
    assert {
        name: last <= hour(14).isoformat(timespec="microseconds") for name, last in row.senders.items()
    } == dict.fromkeys(expected, True)
