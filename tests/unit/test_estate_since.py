"""A file that says since when its objects are there. Serves S0-20; time: as of, and as known at."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.estate.declaration import Link, read_declaration
from quarterdeck_domain.estate.events import AssetChanged, AssetRegistered, RelationDeclared
from quarterdeck_domain.estate.plan import make_plan
from quarterdeck_domain.estate.standing import Standing

SINCE = datetime(2025, 3, 3, 8, tzinfo=UTC)
FILE: dict[str, Any] = {
    "version": 1,
    "source": "platform",
    "assets": {"agent:a": {"owner": "x", "relations": {"calls": ["tool:t"]}}, "tool:t": {"owner": "y"}},
}


@pytest.mark.parametrize("said", ["2025-03-03T08:00:00Z", "2025-03-03T09:00:00+01:00", SINCE])
def test_what_a_file_registers_and_relates_is_so_since_then(said: object) -> None:
    """However the moment is written."""
    events = make_plan(read_declaration(FILE | {"valid_from": said}), Standing(facts={}, relations={}), "run").events
    assert [type(event) for event in events] == [AssetRegistered, AssetRegistered, RelationDeclared]
    assert {getattr(event, "valid_from", None) for event in events} == {SINCE}


def test_what_a_file_changes_is_so_from_now_on() -> None:
    """Else a fact that took effect later would go before it, and the file would never come true."""
    standing = Standing(
        facts={"agent:a": {"owner": "z", "lifecycle": "live"}, "tool:t": {"owner": "y", "lifecycle": "live"}},
        relations={("agent:a", "calls", "tool:t"): Link(to="tool:t")},
    )
    (event,) = make_plan(read_declaration(FILE | {"valid_from": SINCE}), standing, "run").events
    assert isinstance(event, AssetChanged)
    assert event.valid_from is None


@pytest.mark.parametrize("said", ["2025-03-03", "2025-03-03T08:00:00", "yesterday", 5, ["2025"], True])
def test_what_is_no_moment_is_refused(said: object) -> None:
    """With how to write one; a day alone, or a time without its zone, could mean many."""
    with pytest.raises(InvalidInput, match=r"2026-01-31T12:00:00Z"):
        read_declaration(FILE | {"valid_from": said})
