"""What was merged is one object for whoever assesses the map: its relations are the survivor's. Serves S0-14, S0-17."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from quarterdeck_domain.estate.controls import Controls
from quarterdeck_domain.estate.landscape import Clock, Landscape, Object, Tie
from quarterdeck_domain.estate.merging import survivor, with_moved

NOW = datetime(2026, 6, 1, tzinfo=UTC)
NAMES = [f"tool:{name}" for name in "abcde"]


def tie(source: str, relation: str, target: str, since: datetime = NOW - timedelta(days=1)) -> Tie:
    """Return a relation that is declared."""
    return Tie(source=source, relation=relation, target=target, since=since)


@given(
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from(NAMES), max_size=4),
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=8, unique=True),
)
def test_a_merge_takes_no_relation_away(merges: dict[str, str], pairs: list[tuple[str, str]]) -> None:
    """Whatever was merged into what: each relation is there as recorded and between what its ends are now, once."""
    objects = {name: Object(id=name, facts={}, merged_into=merges.get(name)) for name in NAMES}
    ties = [tie(source, "chains_to", target) for source, target in pairs]
    found = with_moved(objects, ties)
    ends = [(item.source, item.target) for item in found]
    assert len(ends) == len(set(ends))
    into = dict(merges)
    moved = {(survivor(source, into), survivor(target, into)) for source, target in pairs}
    assert set(ends) == set(pairs) | {(source, target) for source, target in moved if source != target}
    assert {item.ends for item in found} <= {item.ends for item in ties}


def test_a_gate_that_was_recorded_of_the_other_name_stands() -> None:
    """An agent whose tool was merged into a gated one needs no gate of its own, and has use of that tool."""
    writes = {"attributes.privileges": ["write"]}
    objects = {
        item.id: item
        for item in (
            Object(id="agent:z", facts={}),
            Object(id="tool:old", facts={**writes, "lifecycle": "retired"}, merged_into="tool:new"),
            Object(id="tool:new", facts=writes),
            Object(id="approval_path:p", facts={}),
        )
    }
    ties = [tie("agent:z", "calls", "tool:old"), tie("tool:old", "gated_by", "approval_path:p")]
    controls = Controls(Landscape(objects, with_moved(objects, ties), Clock(NOW)))
    assert [way.to for way in controls.consequences("agent:z")] == ["tool:new"]
    assert controls.expected("agent:z")["gated"]
    alone = Controls(Landscape(objects, with_moved(objects, ties[:1]), Clock(NOW)))
    assert not alone.expected("agent:z")["gated"]
