"""A source speaks for itself alone: what people said under the same name is theirs. Serves S0-45, S0-154, I12."""

from __future__ import annotations

from typing import Any

import pytest
from assessed import ANN, Told

from quarterdeck_connectors.observing import SOURCE
from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.estate.slices_relations import RelateAssets
from quarterdeck_domain.estate.source_slices import ChangeSource, RegisterSource
from quarterdeck_domain.estate.sources import TRACES
from quarterdeck_readmodels.estate import Relation

OTHER: dict[str, Any] = {"provider:p": {}}
HOW = {"confidence": "imported", "whole": True}
GATE = ("tool:h/pay", "gated_by", "approval_path:hp")


def related(told: Told) -> set[str]:
    """Return what is declared to be related, as it reads."""
    return {name for name, row in told.rows()[Relation].items() if row.declared}


def test_a_source_called_command_ends_nothing_that_people_said_by_command() -> None:
    """Neither by being silent nor by listing something else: a gate stays, and what a server exposes."""
    server = ("mcp_server:hs", "exposes", "tool:hs/t")
    told = Told({name: {} for name in ("tool:h/pay", "approval_path:hp", "approval_path:easy", "tool:hs/t", server[0])})
    for source, relation, target in (GATE, server):
        told.when(RelateAssets(source=source, relation=relation, target=target, actor=ANN))
    stood = related(told)
    assert stood == {" ".join(GATE), " ".join(server)}
    assert related(told.apply(OTHER, "command", **HOW)) == stood
    listed = {server[0]: {"relations": {"exposes": []}}, GATE[0]: {"relations": {GATE[1]: ["approval_path:easy"]}}}
    assert related(told.apply(listed, "command", **HOW)) == stood | {f"{GATE[0]} gated_by approval_path:easy"}
    assert related(told.apply(OTHER, "command", **HOW)) == stood


def test_a_source_and_a_file_of_one_name_are_two() -> None:
    """An import ends what it said itself, and what people's file says it neither ends nor says in another way."""
    file = {"agent:pl": {"relations": {"calls": [{"to": "tool:p/a", "evidence": "seen by us"}]}}, "tool:p/a": {}}
    told = Told().apply(file, "platform").apply(OTHER, "platform", **HOW)
    assert related(told) == {"agent:pl calls tool:p/a"}
    told.apply(
        file | {"agent:pl": {"relations": {"calls": ["tool:p/a"], "uses": ["model:m"]}}, "model:m": {}},
        "platform",
        **HOW,
    )
    assert related(told) == {"agent:pl calls tool:p/a", "agent:pl uses model:m"}
    assert told.rows()[Relation]["agent:pl calls tool:p/a"].evidence == "seen by us"
    assert related(told.apply(OTHER, "platform", **HOW)) == {"agent:pl calls tool:p/a"}
    told.apply({"agent:pl": {"relations": {"calls": []}}}, "platform")
    assert related(told) == set()


@pytest.mark.parametrize("kind", ["estate", "mcp"])
@pytest.mark.parametrize("name", ["command", "traces", "drift", "drift-drf_1", "drift.x"])
def test_no_source_is_called_as_the_estate_itself_speaks(name: str, kind: Any) -> None:
    """What was registered so before can still be changed, and removed."""
    with pytest.raises(InvalidInput, match="call it after what is read"):
        RegisterSource(source_id=name, kind=kind, address="https://h.example/", actor=ANN)
    ChangeSource(source_id=name, every_s=3_600, actor=ANN)


@pytest.mark.parametrize("name", ["driftwood", "commands", "traces-eu", "platform"])
def test_other_names_are_free(name: str) -> None:
    """Also those that only begin so."""
    RegisterSource(source_id=name, kind="estate", address="https://h.example/", actor=ANN)


def test_traces_speak_under_the_name_that_is_kept_for_them() -> None:
    """The name is written in two layers."""
    assert SOURCE == TRACES
