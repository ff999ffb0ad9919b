"""What was true of an object, as of any moment and as known at any position: rows against a naive look at every fact.

Serves S0-20, S0-43, C02.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck_domain.estate.values import Dated, holding
from quarterdeck_readmodels.estate import FOLDS, Asset, facts_at
from quarterdeck_readmodels.folding import Run, fold
from quarterdeck_readmodels.tables import By, Seen

START = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ("owner", "purpose", "attributes.autonomy", "tier")


def day(number: int) -> datetime:
    """Return a day of the year."""
    return START + timedelta(days=number)


facts = st.dictionaries(st.sampled_from(NAMES), st.one_of(st.none(), st.sampled_from(("a", "b", "c"))), min_size=1)
said = st.tuples(facts, st.none() | st.integers(0, 40), st.none() | st.integers(1, 20))
"""Some facts; the day from which they hold, if not from that of recording; and for how many days, if not for ever."""


def recorded(position: int, given_: dict[str, Any], begins: int | None, lasts: int | None) -> Seen:
    """Return an event of the position-th day."""
    since = None if begins is None else day(begins)
    until = None if lasts is None else (since or day(position)) + timedelta(days=lasts)
    data = {
        "asset": "agent:a",
        "facts": given_,
        "source": "test",
        "confidence": "declared",
        "reason": "",
        "valid_from": None if since is None else since.isoformat(),
        "valid_to": None if until is None else until.isoformat(),
        "run": None,
    }
    kind = "asset.registered" if position == 1 else "asset.changed"
    return Seen(
        type=kind, version=1, position=position, recorded_at=day(position), id="", data=data, actor=By(principal="p")
    )


def rows_of(events: list[Seen]) -> list[dict[str, Any]]:
    """Return the object's row at each position, the way it comes back from a database."""
    versions: list[dict[str, Any]] = []
    stored: dict[str, Any] = {}
    for event in events:
        changes = [(event.position, change) for change in FOLDS[event.type](event)]
        writes = fold(Run(event.position, event.position, changes), {Asset: stored} if stored else {})
        (version,) = writes.inserts[Asset]
        for name in ("since", "plain", "dated", "attributes", "environments"):
            version[name] = msgspec.json.decode(msgspec.json.encode(version[name]))
        versions.append(version)
        stored = {"agent:a": version}
    return versions


def naive(events: list[Seen], moment: datetime, known: int) -> dict[str, Any]:
    """Return what held at a moment, by every fact that was recorded up to a position."""
    dated = [
        Dated(
            position=event.position,
            begins=datetime.fromisoformat(event.data["valid_from"]) if event.data["valid_from"] else event.recorded_at,
            ends=datetime.fromisoformat(event.data["valid_to"]) if event.data["valid_to"] else None,
            facts=event.data["facts"],
        )
        for event in events[:known]
    ]
    return holding(dated, moment)


@given(st.lists(said, min_size=1, max_size=12), st.data())
def test_any_moment_as_known_at_any_position(history: list[Any], data: st.DataObject) -> None:
    """Facts recorded late, ahead of their time, or for a while: the rows tell what the facts tell."""
    events = [recorded(position, *item) for position, item in enumerate(history, 1)]
    rows = rows_of(events)
    known = data.draw(st.integers(1, len(events)), "known at")
    moment = day(data.draw(st.integers(0, 45), "as of"))
    past = max((event.position for event in events[:known] if event.recorded_at <= moment), default=0)
    then = rows[past - 1] if past else None
    expected = {name: value for name, value in naive(events, moment, known).items() if value is not None}
    found = facts_at(moment, rows[known - 1], then)
    assert {name: value for name, value in found.items() if value is not None} == expected


@given(st.lists(said, min_size=1, max_size=12))
def test_a_row_shows_what_holds_when_it_is_recorded(history: list[Any]) -> None:
    """Its columns are the facts of the moment of its event."""
    events = [recorded(position, *item) for position, item in enumerate(history, 1)]
    for event, row in zip(events, rows_of(events), strict=True):
        holds = naive(events, event.recorded_at, event.position)
        assert {name: row[name] for name in ("owner", "purpose", "tier")} == {
            name: holds.get(name) for name in ("owner", "purpose", "tier")
        }
        assert row["attributes"].get("autonomy") == holds.get("attributes.autonomy")
