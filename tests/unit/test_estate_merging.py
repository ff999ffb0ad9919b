"""What was merged is one object for whoever assesses the map: its relations are the survivor's. Serves S0-14, S0-17."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from assessed import ANN, Told
from hypothesis import given
from hypothesis import strategies as st
from merged_estate import graph_of

from quarterdeck_domain.errors import NotFound
from quarterdeck_domain.estate.controls import Controls
from quarterdeck_domain.estate.landscape import Clock, Landscape, Object, Tie
from quarterdeck_domain.estate.merging import survivor, with_moved
from quarterdeck_domain.estate.slices import DeprecateAsset
from quarterdeck_domain.estate.slices_relations import UnrelateAssets
from quarterdeck_readmodels.bitemporal import holds
from quarterdeck_readmodels.estate import Asset, Relation

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


def reaches(told: Told, start: str, end: str) -> bool:
    """Tell whether a way leads from one object to another, by all that was recorded."""
    rows, now = told.rows(), told.log.now
    held = [row for row in rows[Relation].values() if holds(row, now)]
    return graph_of(rows[Asset], held, now).shortest(start, end) is not None


def chained(**last: str) -> Told:
    """Return an agent that calls a tool which was merged into another, and that into a third, which reads data."""
    told = Told(
        {
            "agent:j": {"relations": {"calls": ["tool:ja"]}},
            "tool:ja": {},
            "tool:jb": {},
            "tool:jc": {"relations": {"reads": ["dataset:j"]}, **last},
            "dataset:j": {},
        }
    )
    for merge in ("tool:jb tool:ja", "tool:jc tool:jb"):
        told.mend(f"quarterdeck estate merge {merge}")
    return told


def test_the_fix_of_what_leads_to_the_first_of_a_chain_of_merges_leads_to_the_last() -> None:
    """S0-58: it names the object that there is, and the way is still there once the fix has run."""
    told = chained()
    assert reaches(told, "agent:j", "dataset:j")
    (found,) = told.findings("retired_relation")
    assert "merged into tool:jc" in found.message
    assert found.fix.split(" && ") == [
        "quarterdeck estate relate agent:j calls tool:jc",
        "quarterdeck estate unrelate agent:j calls tool:ja",
    ]
    told.mend(found.fix)
    assert not told.findings("retired_relation")
    assert reaches(told, "agent:j", "dataset:j")


def test_what_became_part_of_something_in_quarantine_stays_related_to_it() -> None:
    """It comes back when that is released; of what is retired nothing is left to relate to."""
    told = chained().mend("quarterdeck estate quarantine tool:jc --reason odd")
    (found,) = told.findings("retired_relation")
    told.mend(found.fix).mend("quarterdeck estate release tool:jc --reason fine")
    assert reaches(told, "agent:j", "dataset:j")
    (found,) = chained().mend("quarterdeck estate retire tool:jc").findings("retired_relation")
    assert found.message.endswith("tool:ja, which is merged into tool:jc, which is retired")
    assert found.fix == "quarterdeck estate unrelate agent:j calls tool:ja"


def test_what_was_seen_of_a_merged_name_is_declared_of_the_survivor() -> None:
    """The name that was merged cannot be related to any more: the fix names what it is now, and mends it."""
    told = Told({"agent:s": {}, "tool:old": {}, "tool:mid": {}, "tool:new": {}}).seen("agent:s", "calls", "tool:old")
    for merge in ("tool:mid tool:old", "tool:new tool:mid"):
        told.mend(f"quarterdeck estate merge {merge}")
    (found,) = told.findings("undeclared_relation")
    assert found.fix == "quarterdeck estate relate agent:s calls tool:new"
    assert not told.mend(found.fix).findings("undeclared_relation")


def test_the_successor_of_what_ends_is_what_it_was_merged_into() -> None:
    """S2-50: a successor that was merged twice is told by the name that it has."""
    told = Told({"agent:d": {"relations": {"calls": ["tool:end"]}}, "tool:end": {}} | {f"tool:{x}": {} for x in "abc"})
    told.when(DeprecateAsset(asset="tool:end", successor="tool:a", sunset=told.log.now + timedelta(days=9), actor=ANN))
    for merge in ("tool:b tool:a", "tool:c tool:b"):
        told.mend(f"quarterdeck estate merge {merge}")
    (found,) = told.findings("sunset")
    assert found.message.endswith("; tool:c takes its place")
    assert found.fix.startswith("quarterdeck estate relate agent:d calls tool:c && ")
    assert not told.mend(found.fix).findings("sunset")


def test_who_withdraws_by_present_names_is_told_the_recorded_ones() -> None:
    """S0-14: literal, as it was: of chains and both ends, all that are declared still, and no other."""
    told = Told({f"{kind}:{x}": {} for kind in ("agent", "tool") for x in "abcd"})
    for pair in ("agent:a calls tool:b", "agent:b calls tool:a", "agent:c calls tool:c", "agent:d calls tool:d"):
        told.mend(f"quarterdeck estate relate {pair}")
    told.mend("quarterdeck estate unrelate agent:b calls tool:a")
    for merge in ("tool:b tool:c", "tool:a tool:b", "agent:b agent:c", "agent:a agent:b"):
        told.mend(f"quarterdeck estate merge {merge}")

    def unrelate(source: str, target: str) -> UnrelateAssets:
        return UnrelateAssets(source=source, relation="calls", target=target, actor=ANN)

    recorded = ["agent:a calls tool:b", "agent:c calls tool:c"]
    told.log.refuses(unrelate("agent:a", "tool:a"), NotFound, "merged since: withdraw agent:a calls tool:b and agent:c")
    for place, name in enumerate(recorded):
        told.log.refuses(unrelate("agent:a", "tool:a"), NotFound, recorded=recorded[place:])
        told.mend(f"quarterdeck estate unrelate {name}")
    told.log.refuses(unrelate("agent:a", "tool:a"), NotFound, "^no such relation is declared$")
    told.log.refuses(unrelate("agent:a", "tool:d"), NotFound, "^no such relation is declared$")
    told.mend("quarterdeck estate unrelate agent:d calls tool:d")
