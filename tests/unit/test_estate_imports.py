"""When a source is due, what an import may say, and how it follows mergers and notes what is gone. Serves S0-45, S0-49, S0-154."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from assessed import ANN, Told
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck_connectors.bom_foreign import _key
from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.estate.declaration import Declaration, Entry, Link
from quarterdeck_domain.estate.events import AssetChanged, RelationWithdrawn
from quarterdeck_domain.estate.imports import trusted
from quarterdeck_domain.estate.merging import survivor
from quarterdeck_domain.estate.plan import make_plan
from quarterdeck_domain.estate.slices import ReleaseAsset, RetireAsset
from quarterdeck_domain.estate.slices_drift import AcceptDrift
from quarterdeck_domain.estate.sources import check_address, due_after, phase_s
from quarterdeck_domain.estate.standing import Standing, Word
from quarterdeck_domain.estate.values import check_facts
from quarterdeck_readmodels.estate import Asset, Drift

PIN, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64
NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)
EVERY = st.integers(900, 31 * 86_400)
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2036, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(NAMES, EVERY, MOMENTS)
def test_a_source_is_due_once_an_interval(name: str, every_s: int, moment: datetime) -> None:
    """After the moment, at most an interval later, and at the same times whenever it is asked."""
    due = due_after(name, every_s, moment)
    assert moment < due <= moment + timedelta(seconds=every_s)
    assert due_after(name, every_s, due) == due + timedelta(seconds=every_s)
    assert due_after(name, every_s, due - timedelta(microseconds=1)) == due
    assert (int(due.timestamp()) - phase_s(name, every_s)) % every_s == 0


@given(st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("abcdef"), max_size=6))
def test_mergers_are_followed_to_their_end(aliases: dict[str, str]) -> None:
    """Also where somebody made a circle of them: it ends."""
    for name in "abcdef":
        last = survivor(name, aliases)
        assert last not in aliases or len({*aliases} & {*aliases.values()}) > 0


def offered(*names: str, source: str = "mcp crm") -> Declaration:
    """Return what a server declares that offers these tools."""
    tools = {
        f"tool:crm/{name}": Entry(facts={"attributes.digest": PIN}, first={"attributes.pinned": PIN}) for name in names
    }
    links = tuple(Link(to=name) for name in tools)
    server = {"mcp_server:crm": Entry(facts={}, relations={"exposes": links})}
    return trusted(Declaration(source="whoever", assets={**server, **tools}), source, None)


def test_what_is_gone_is_noted_once_and_comes_back() -> None:
    """Its relation ends, nothing is retired; a second import says nothing of it, a third takes the note back."""
    facts = {name: {"lifecycle": "live"} for name in ("mcp_server:crm", "tool:crm/a", "tool:crm/b")}
    ends = {("mcp_server:crm", "exposes", f"tool:crm/{name}"): Link(to=f"tool:crm/{name}") for name in "ab"}
    stands = Standing(
        facts=facts, relations=ends, said_by=dict.fromkeys(ends, Word("mcp crm", "imported")), offered=frozenset(facts)
    )
    plan = make_plan(offered("a"), stands, "run_1")
    assert plan.gone == ("tool:crm/b",)
    assert [
        event.asset for event in plan.events if isinstance(event, AssetChanged) and "attributes.gone" in event.facts
    ] == ["tool:crm/b"]
    assert [event.target for event in plan.events if isinstance(event, RelationWithdrawn)] == ["tool:crm/b"]
    noted = {**facts, "tool:crm/b": {"lifecycle": "live", "attributes.gone": "mcp crm"}}
    after = Standing(facts=noted, relations={}, offered=frozenset(facts))
    assert not [step for step in make_plan(offered("a"), after, "run_2").steps if step.subject == "tool:crm/b"]
    back = make_plan(offered("a", "b"), after, "run_3")
    (change,) = [event for event in back.events if isinstance(event, AssetChanged) and event.asset == "tool:crm/b"]
    assert change.facts["attributes.gone"] is None
    assert back.gone == ()


def test_another_source_neither_ends_nor_notes_anything() -> None:
    """What somebody else's import said is theirs to take back."""
    facts = {name: {"lifecycle": "live"} for name in ("mcp_server:crm", "tool:crm/a", "tool:crm/b")}
    ends = {("mcp_server:crm", "exposes", "tool:crm/b"): Link(to="tool:crm/b")}
    stands = Standing(facts=facts, relations=ends, said_by=dict.fromkeys(ends, Word("mcp crm", "imported")))
    plan = make_plan(offered("a", source="other"), stands, "run_1")
    assert not [event for event in plan.events if isinstance(event, RelationWithdrawn)]
    assert plan.gone == ()


def test_a_merged_tool_of_another_server_is_not_compared() -> None:
    """The survivor has its own server's digest: this one's would be drift each time."""
    facts = {
        "mcp_server:crm": {"lifecycle": "live"},
        "tool:crm/a": {"lifecycle": "retired"},
        "tool:pay/a": {"lifecycle": "live", "attributes.digest": OTHER, "attributes.pinned": OTHER},
    }
    aliases = {"tool:crm/a": "tool:pay/a"}
    mine = Standing(facts=facts, relations={}, aliases=aliases, offered_by={"tool:pay/a": "mcp pay"})
    assert [step.subject for step in make_plan(offered("a"), mine, "run").steps] == [
        "mcp_server:crm exposes tool:pay/a"
    ]
    alone = Standing(facts=facts, relations={}, aliases=aliases)
    assert "drift" in {step.action for step in make_plan(offered("a"), alone, "run").steps}


def test_labels_have_names_that_our_json_can_hold() -> None:
    """Refused where people write them, made fit where importers do."""
    assert check_facts("tool", {"attributes": {"labels": {"cost centre": "Überbau"}}})
    for name in ("größe", "", " x", "a\nb", "x" * 101):
        with pytest.raises(InvalidInput, match="labels"):
            check_facts("tool", {"attributes": {"labels": {name: "x"}}})
    assert _key("größe").isascii()
    assert _key("größe") != _key("grüße")


BOT = "agent:bot"


@pytest.mark.parametrize("source", ["sup", "platform"])
@pytest.mark.parametrize("known_as", ["a person's", "the import's own"])
def test_an_import_ends_nothing_and_brings_nothing_back(source: str, known_as: str) -> None:
    """What it calls retired it does not offer any more: that is noted where it came from there, and nothing else
    becomes of it, whoever registered it."""
    told = Told()
    own = known_as == "the import's own"
    told.apply({BOT: {"owner": "support-rota"}}, source, confidence="imported" if own else "declared", whole=own)
    for lifecycle in ("retired", "draft"):
        told.apply({BOT: {"lifecycle": lifecycle}}, source, confidence="imported", whole=True)
        assert told.rows()[Asset][BOT].lifecycle == "live"
    told.when(RetireAsset(asset=BOT, actor=ANN))
    told.apply({BOT: {"lifecycle": "live"}}, source, confidence="imported", whole=True)
    assert told.rows()[Asset][BOT].lifecycle == "retired"


def test_what_a_source_calls_retired_is_gone_from_there() -> None:
    """Its relations end, also those that lead to it; what was never here does not come."""
    stands = Standing(
        facts={"model:m": {"lifecycle": "live"}, "provider:p": {"lifecycle": "live"}},
        relations={("model:m", "deployed_in", "provider:p"): Link(to="provider:p")},
        said_by={("model:m", "deployed_in", "provider:p"): Word("sup", "imported")},
        offered=frozenset({"model:m", "provider:p"}),
    )
    over = Entry(facts={"lifecycle": "retired"})
    links = {"deployed_in": (Link(to="provider:p"), Link(to="provider:new"))}
    assets = {"model:m": Entry(facts={}, relations=links), "provider:p": over, "provider:new": over}
    plan = make_plan(trusted(Declaration(source="x", assets=assets), "sup", None), stands, "run")
    assert plan.gone == ("provider:p",)
    assert {(step.action, step.subject) for step in plan.steps} == {
        ("change", "provider:p"),
        ("unrelate", "model:m deployed_in provider:p"),
    }


def test_an_import_says_neither_who_acts_nor_whom_to_trust() -> None:
    """Of new objects and known ones; what people said of it stays."""
    said: dict[str, Any] = {
        "agent:zz": {"attributes": {"principal": "prn_bot"}},
        BOT: {"attributes": {"principal": "prn_other"}},
        "mcp_server:s": {"attributes": {"trust": "trusted"}},
    }
    told = Told({BOT: {"attributes": {"principal": "prn_bot"}}}).apply(said, "sup", confidence="imported")
    told.apply(said, "sup", confidence="imported")
    rows = told.rows()[Asset]
    assert {name: rows[name].attributes for name in said} == {
        "agent:zz": {},
        BOT: {"principal": "prn_bot"},
        "mcp_server:s": {},
    }


def test_what_people_say_of_their_objects_is_not_an_imports_to_change() -> None:
    """Somebody else's document takes no ownership and declassifies nothing; it is told of, with what people said."""
    told = Told({"dataset:bulk": {"owner": "support-rota", "classification": "restricted"}})
    claim = {"dataset:bulk": {"owner": "attacker", "classification": "public"}}
    told.apply(claim, "sup", confidence="imported")
    row = told.rows()[Asset]["dataset:bulk"]
    assert (row.owner, row.classification) == ("support-rota", "restricted")
    found = {item.subject: item for item in told.findings("contested")}
    assert found.keys() == {"owner", "classification"}
    assert found["owner"].message == "its owner is support-rota (platform has the say); sup says attacker"
    assert found["classification"].fix.endswith("--set classification=restricted")
    for item in found.values():
        told.mend(item.fix)
    assert not told.apply(claim, "sup", confidence="imported").findings("contested")
    assert told.rows()[Asset]["dataset:bulk"].owner == "support-rota"


def _offering(*names: str, on_drift: Any = "note") -> Declaration:
    offer = "sha256:" + hashlib.sha256(" ".join(names).encode()).hexdigest()
    found = offered(*names)
    server = msgspec.structs.replace(found.assets["mcp_server:crm"], first={"attributes.offer": offer})
    return msgspec.structs.replace(found, assets=found.assets | {"mcp_server:crm": server}, on_drift=on_drift)


def test_a_tool_that_nobody_has_reviewed_is_shut_whoever_noted_it_first() -> None:
    """An import that only notes makes nobody review it; a release with its digest does, and so does accepting the drift
    of the server. It is told of once."""

    def shut(told: Told) -> set[str]:
        return {name for name, row in told.rows()[Asset].items() if row.lifecycle == "quarantined"}

    told = Told().take(_offering("a")).take(_offering("a", "b"))
    assert (shut(told), len(told.rows()[Drift])) == (set(), 1)
    strict = _offering("a", "b", on_drift="quarantine")
    assert shut(told.take(strict)) == {"tool:crm/b"}
    told.when(ReleaseAsset(asset="tool:crm/b", reason="read it", actor=ANN))
    assert shut(told.take(strict)) == set()
    (drift,) = told.rows()[Drift].values()
    told.take(_offering("a", "b", "c"))
    accept = AcceptDrift(asset="mcp_server:crm", drift_id=drift.id, reason="read b", actor=ANN)
    told.when(accept)
    assert shut(told.take(_offering("a", "b", "c", on_drift="quarantine"))) == {"tool:crm/c"}
    people = Told().take(_offering("a")).apply({"tool:crm/b": {}}).take(_offering("a", "b"))
    assert shut(people.take(strict)) == set()


@given(st.text(max_size=60))
def test_no_address_has_room_for_a_secret(text: str) -> None:
    """Whatever is written behind it: it is refused, or has neither user nor query nor fragment."""
    address = f"https://host.example/{text}"
    try:
        check_address(address)
    except InvalidInput as error:
        assert text not in error.message or len(text) < 8  # noqa: PT017
    else:
        assert not set("?#\\ ") & set(address.partition("://")[2])
