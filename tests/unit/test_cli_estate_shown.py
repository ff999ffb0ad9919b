"""The estate on the command line, without a server: what it prints of strangers' text, moments, facts, YAML, and that it
has a verb for every command.

Serves C02, DC-07, S0-43; threats T7.
"""

from __future__ import annotations

import inspect
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from quarterdeck_cli import estate_changes
from quarterdeck_cli.estate_plan_view import MAX_STEPS, counted, plan_lines
from quarterdeck_cli.estate_show import object_tree
from quarterdeck_cli.estate_state_view import blast_lines
from quarterdeck_cli.estate_ways_view import access_lines, ways_lines
from quarterdeck_cli.estate_words import facts_of, plainly, told, told_lines
from quarterdeck_cli.estate_yaml import as_yaml
from quarterdeck_cli.moments import read_moment
from quarterdeck_connectors.a2a import read_card
from quarterdeck_connectors.draft import Imported
from quarterdeck_connectors.errors import UnreadableSource
from quarterdeck_connectors.files import read_document, read_estate
from quarterdeck_connectors.imported import read_imported, write_imported
from quarterdeck_connectors.litellm import read_litellm
from quarterdeck_connectors.mcp_offer import Offer, to_declaration
from quarterdeck_connectors.models import read_models
from quarterdeck_connectors.openapi_tools import read_openapi
from quarterdeck_connectors.prompts import read_prompts
from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.estate.commands import COMMANDS

HOSTILE = "[red]x[/] \x1b[2J\r\n+ agent:y \u202egnp \u200b\\"
HIDDEN = set("\x1b\r\u202e\u200b")
VECTORS = Path(__file__).parents[1] / "vectors" / "estate"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def drawn(lines: Any) -> str:
    """Return what a terminal with colours would get."""
    out = Console(markup=False, emoji=False, highlight=False, width=400, file=io.StringIO(), force_terminal=True)
    for line in lines:
        out.print(line, soft_wrap=True)
    text: str = out.file.getvalue()  # type: ignore[attr-defined]
    return text


def styleless(text: str) -> str:
    """Return a terminal's text without the styles that we gave it."""
    import re

    return re.sub(r"\x1b\[[0-9;]*m", "", text)


# -- Parity ------------------------------------------------------------------------------------------------------------


def test_every_command_of_the_estate_has_a_verb_that_takes_all_it_takes() -> None:
    """Add a command or a field of one and forget the command line: this fails."""
    taken = {
        "set": "set",
        "facts": "set",
        "drift_id": "drift_id",
    }
    verbs = {found.callback.__name__: found.callback for found in estate_changes.app.registered_commands}  # type: ignore[union-attr]
    special = {"merge_assets": "merge", "relate_assets": "relate", "unrelate_assets": "unrelate"}
    special |= {"detect_drift": "note_drift", "accept_drift": "accept_drift"}
    found = {special.get(command.name, command.name.removesuffix("_asset")): command for command in COMMANDS}
    assert found.keys() == verbs.keys()
    for name, command in found.items():
        options = set(inspect.signature(verbs[name]).parameters) - {"json"}
        wanted = {taken.get(field, field) for field in command.input.__struct_fields__}
        assert options == wanted, name


# -- Strangers' text ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "action", ["register", "change", "retire", "relate", "unrelate", "drift", "quarantine", "contest", HOSTILE]
)
def test_a_plan_shows_strangers_text_as_text(action: str) -> None:
    """A line stays one line, and nothing moves the cursor or turns the writing."""
    fields = [{"field": HOSTILE, "before": [HOSTILE], "after": {HOSTILE: HOSTILE}}]
    plan = {"steps": [{"action": action, "subject": HOSTILE, "fields": fields}], "notes": [HOSTILE]}
    text = styleless(drawn(plan_lines(plan)))
    assert not set(text) & HIDDEN
    assert len(text.splitlines()) == 3
    assert "[red]x[/]" in text


def test_a_long_plan_begins_with_what_it_takes_away() -> None:
    """Of thousands of steps some are shown, what is lost among them; `--all` shows each."""
    steps = [{"action": "register", "subject": f"agent:a{number}"} for number in range(5_000)]
    steps.append({"action": "unrelate", "subject": "agent:a1 calls tool:t"})
    lines = styleless(drawn(plan_lines({"steps": steps}))).splitlines()
    assert lines[0] == "- withdraw agent:a1 calls tool:t"
    assert lines[-1] == f"  … and {5_001 - MAX_STEPS:,} more; --all shows everything"
    assert len(styleless(drawn(plan_lines({"steps": steps}, everything=True))).splitlines()) == 5_001
    assert counted({"register": 5_000, "change": 0, "unrelate": 1}) == "5,000 to register, 1 to withdraw"


def test_an_object_and_ways_show_strangers_text_as_text() -> None:
    """Every field of them is what somebody else wrote."""
    end = {"id": HOSTILE, "title": HOSTILE, "lifecycle": "LIVE", "owner": HOSTILE, "team": HOSTILE}
    relation = {"relation": "calls", "source": HOSTILE, "target": HOSTILE, "declared": False, "observed": True}
    relation |= {"allegedBy": [HOSTILE]}
    relation |= {"environment": HOSTILE, "evidence": HOSTILE, "seen": 2, "lastSeen": "2026-01-01T00:00:00Z", "to": end}
    names = [
        "id",
        "title",
        "description",
        "purpose",
        "classification",
        "risk",
        "policyClass",
        "mergedInto",
        "successor",
        "owner",
        "team",
        "source",
    ]
    found: dict[str, Any] = dict.fromkeys(names, HOSTILE)
    found |= {"lifecycle": "LIVE", "confidence": "DECLARED", "aliases": [HOSTILE], "environments": [HOSTILE]}
    found |= {"attributes": {HOSTILE: [HOSTILE]}, "out": [relation], "into": [relation | {"from": end}]}
    found |= {"registeredAt": HOSTILE, "changedAt": None, "tier": 1, "sunset": None}
    found["drifts"] = [dict.fromkeys(("id", "input", "fieldName", "expected", "found"), HOSTILE) | {"state": "OPEN"}]
    found["findings"] = [dict.fromkeys(("type", "message", "fix"), HOSTILE)]
    over = [{"on": HOSTILE, "relation": HOSTILE, "control": end, "expiresAt": HOSTILE}]
    path = {
        "declared": False,
        "alleged": True,
        "relations": [relation],
        "controls": over,
        "watchers": over,
        "exceptions": over,
    }
    cut = {
        "exact": True,
        "over": "CONTROLS",
        "considered": 3,
        "steps": [{"action": HOSTILE, "subject": HOSTILE, "seen": False, "closes": [HOSTILE]}],
    }
    ways = {"paths": [path], "more": True, "beyond": True, "cut": cut, "smallerCut": cut}
    for lines in (object_tree(found), ways_lines(HOSTILE, HOSTILE, ways, 6)):
        text = styleless(drawn(lines))
        assert not set(text) & HIDDEN
        assert not any(line.startswith("+ agent:y") for line in text.splitlines())


def test_what_is_alleged_is_told_as_that_and_by_whom() -> None:
    """Of a way, of who can reach something, and of whom it concerns; what is known is told as before."""
    claimed = {"relation": "calls", "source": "agent:a", "target": "tool:t", "declared": False, "environment": None}
    claimed["allegedBy"] = ["prn_x"]
    path: dict[str, Any] = {"declared": False, "alleged": True, "relations": [claimed]}
    path |= dict.fromkeys(("controls", "watchers", "exceptions"), ())
    ways = {"paths": [path], "more": False, "beyond": False}
    text = styleless(drawn(ways_lines("agent:a", "tool:t", ways, None)))
    assert "way 1  (alleged: not all of it is known)\n" in text
    assert "└ calls tool:t  (alleged by prn_x, never declared)\n" in text
    asset = {"id": "agent:a", "title": None, "owner": None, "team": None}
    access = {"asset": asset, "steps": 1, "alleged": True, "ungated": False, "tools": [], "path": path}
    access |= dict.fromkeys(("controls", "watchers", "exceptions"), ())
    found = {"accesses": [access], "total": 1}
    assert "    alleged by prn_x, and not known to be so\n" in styleless(drawn(access_lines(found)))
    hit = {"asset": asset, "steps": 1, "alleged": True, "relation": claimed}
    follows = hit | {"steps": 2, "relation": claimed | {"allegedBy": []}}
    data = [{"asset": {"id": "dataset:d", "classification": None}, "writes": True, "alleged": True}]
    blast: dict[str, Any] = {"of": {"id": "tool:t"}, "total": 2, "people": [], "data": data, "dataTotal": 1}
    blast["groups"] = [{"group": "AGENTS", "total": 2, "nearest": [hit, follows]}]
    text = styleless(drawn(blast_lines(blast)))
    assert "(1 step: agent:a calls tool:t, alleged by prn_x)" in text
    assert "(2 steps: agent:a calls tool:t, by what is alleged)" in text
    assert "writes dataset:d, alleged" in text
    known = claimed | {"allegedBy": []}
    text = styleless(drawn(ways_lines("agent:a", "tool:t", ways | {"paths": [path | {"relations": [known]}]}, None)))
    assert "(seen, never declared)" in text


def test_what_must_hold_on_a_way() -> None:
    """A grant is among it, until when; who watches, and what is excepted, are no controls. A smaller cut stands below."""

    def over(relation: str, name: str, until: str | None = None) -> list[dict[str, Any]]:
        control = {"id": name, "lifecycle": "LIVE"}
        return [{"on": "agent:a", "relation": relation, "control": control, "expiresAt": until}]

    step = {"relation": "holds", "target": "tool_grant:g", "declared": True, "allegedBy": [], "environment": None}
    watched, excepted = over("monitored_by", "monitoring_hook:m"), over("excepted_by", "exception_window:x", "2027")
    path = {"declared": True, "alleged": False, "relations": [step], "watchers": watched, "exceptions": excepted}
    held = path | {"controls": over("holds", "tool_grant:g", "2027-01-01T00:00:00.000000Z")}
    cut = {"exact": True, "over": "CONTROLS", "considered": 2}
    cut |= {"steps": [{"action": "revoke", "subject": "tool_grant:g", "seen": False, "closes": []}]}
    beside = cut | {
        "over": "EVERYTHING",
        "steps": [{"action": "quarantine", "subject": "tool:t", "seen": False, "closes": []}],
    }
    ways = {"paths": [held, path | {"controls": []}], "more": False, "beyond": False, "cut": cut, "smallerCut": beside}
    text = styleless(drawn(ways_lines("agent:a", "tool_grant:g", ways, None)))
    assert "must hold: holds tool_grant:g, until 2027-01-01T00:00:00.000000Z\n" in text
    assert text.count("nothing must hold on this way") == 1
    assert text.count("watched: monitored_by monitoring_hook:m\n") == 2
    assert text.count("excepted: excepted_by exception_window:x, until 2027\n") == 2
    assert "to close every way: 1 of 2 possible steps (no smaller set of controls and grants does)" in text
    assert "or, taking objects out of use: 1 of 2 possible steps (no smaller set does)" in text


def test_an_end_that_was_merged_is_shown_as_what_it_is_now() -> None:
    """The state is the survivor's, and not that of the name that was merged; a merged object has nobody to be given."""
    retired = {"lifecycle": "RETIRED", "title": None, "owner": None, "team": None}
    survivor = {"id": "dataset:w1", "lifecycle": "LIVE"}
    end = retired | {"id": "dataset:w2", "mergedInto": "dataset:w3", "survivor": survivor}
    relation: dict[str, Any] = {"relation": "reads", "source": "tool:wb", "target": "dataset:w2", "to": end}
    relation |= {"declared": True, "observed": False, "environment": None, "evidence": ""}
    found: dict[str, Any] = {"id": "tool:wa", "lifecycle": "LIVE", "source": "x", "confidence": "DECLARED"}
    found |= {"registeredAt": None, "changedAt": None, "out": [relation], "findings": []}

    def shown(**other: Any) -> list[str]:
        return styleless(drawn(object_tree(found | other))).splitlines()

    assert shown()[-1] == "  reads dataset:w1  (recorded of tool:wb and dataset:w2, which were merged)"
    gone = end | {"survivor": survivor | {"lifecycle": "DRAFT"}}
    assert shown(out=[relation | {"source": "tool:wa", "to": gone}])[-1] == (
        "  reads dataset:w1  (recorded of dataset:w2, which was merged; draft)"
    )
    # What could not be asked for is at least named.
    assert shown(out=[relation | {"to": end | {"survivor": None}}])[-1].startswith("  reads dataset:w3  (recorded of")
    assert "  nobody: quarterdeck estate transfer tool:wa --owner … --team …" in shown()
    lines = shown(lifecycle="RETIRED", mergedInto="tool:wc", survivor={"id": "tool:wd", "lifecycle": "LIVE"})
    assert "  merged into  tool:wd" in lines
    assert "  whoever answers for what it was merged into: quarterdeck estate show tool:wd" in lines
    assert not any("transfer" in line for line in lines)


def test_what_was_only_seen_is_to_be_stopped() -> None:
    """What is declared is withdrawn, and stopped besides if it was seen, too; nobody can withdraw the rest."""

    def step(action: str, target: str, seen: bool) -> dict[str, Any]:
        return {"action": action, "subject": f"agent:a calls {target}", "seen": seen, "closes": []}

    steps = [step("stop", "tool:s", True), step("withdraw", "tool:w", False), step("withdraw", "tool:b", True)]
    cut = {"exact": True, "over": "EVERYTHING", "considered": 3, "steps": steps}
    ways = {"paths": [], "more": False, "beyond": True, "cut": cut, "smallerCut": None}
    assert styleless(drawn(ways_lines("agent:a", "tool:t", ways, 1))).splitlines()[2:] == [
        "  - stop where it happens, since it was only seen: agent:a calls tool:s",
        "  - withdraw: agent:a calls tool:w",
        "  - withdraw: agent:a calls tool:b",
        "    and stop it where it happens: it was seen, and that stays on the map",
    ]


def test_a_long_value_is_cut_and_says_so() -> None:
    """Nobody's description fills the screen; nothing is called nothing."""
    assert told("x" * 1_000) == f"{'x' * 160}… (1000 characters)"
    assert told("x" * 1_000, None) == "x" * 1_000
    assert (told([]), told(None), told(["a", "b"])) == ("(nothing)", "(nothing)", "a, b")


def test_prose_is_shown_in_the_lines_that_it_was_written_in() -> None:
    """The last line end says nothing; each line stands below the first, and many do not fill the screen either."""
    found: dict[str, Any] = {"id": "tool:t", "lifecycle": "LIVE", "description": "multi\nline\u202e\n", "tier": 1}
    found |= {
        "source": "x",
        "confidence": "DECLARED",
        "registeredAt": None,
        "changedAt": None,
        "attributes": {"n": "a\nb"},
    }
    text = styleless(drawn(object_tree(found))).splitlines()
    assert text[1:5] == ["  description  multi", "               line\\u202e", "  tier         1", "  n  a\\u000ab"]
    assert told_lines("one line\n") == ["one line"]
    assert told_lines("x\n" * 50)[-1] == "x… (100 characters)"
    assert len(told_lines("x\n" * 50)) == 8
    assert told_lines(["a", "b"]) == ["a, b"]


# -- Words -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("42", {"position": 42}),
        ("2026-11-14", {"time": "2026-11-14T00:00:00+00:00"}),
        ("2026-11-14T09:30:00Z", {"time": "2026-11-14T09:30:00+00:00"}),
        ("7d", {"time": "2026-11-14T12:00:00+00:00"}),
        ("2w", {"time": "2026-11-07T12:00:00+00:00"}),
    ],
)
def test_moments(text: str, moment: dict[str, Any]) -> None:
    """A position, a time, how long ago."""
    assert read_moment(text, NOW) == moment


@pytest.mark.parametrize("text", ["", "soon", "-1", "7", "7 days", "2026-13-01", "999999w", "١٢", "1e3"])
def test_what_is_no_moment(text: str) -> None:
    """Says what would be one. (A bare number is a position.)"""
    if text == "7":
        assert read_moment(text) == {"position": 7}
        return
    with pytest.raises(typer.BadParameter, match=r"write a position, 2026-11-14|\d"):
        read_moment(text, NOW)


def test_facts() -> None:
    """Values are read as the kind's schema has them; := takes JSON as it stands."""
    schema = {
        "properties": {
            "privileges": {"type": "array"},
            "max_steps": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "autonomy": {"anyOf": [{"enum": ["acts"]}, {"type": "null"}]},
        }
    }
    pairs = ["owner=a=b", "tier=1", "environments=prod, test", "attributes.privileges=read,write"]
    pairs += ["attributes.max_steps=20", "attributes.autonomy=acts", 'attributes.labels:={"a":"1"}', "title=12"]
    assert facts_of(pairs, schema) == {
        "owner": "a=b",
        "tier": 1,
        "environments": ["prod", "test"],
        "title": "12",
        "attributes": {"privileges": ["read", "write"], "max_steps": 20, "autonomy": "acts", "labels": {"a": "1"}},
    }
    for wrong in ("owner", "=x", "tier=one", "x:={", ":=1"):
        with pytest.raises(typer.BadParameter):
            facts_of([wrong], schema)


def test_ids_are_shown_as_commands_take_them() -> None:
    """Everywhere in an answer but in what people wrote."""
    answer = {"id": "asset:agent:x", "closes": ["asset:tool:t"], "out": [{"target": "asset:tool:t"}]}
    answer["closes"].append("relation:agent:x calls tool:t")
    answer |= {"attributes": {"id": "asset:agent:x"}}
    assert plainly(answer) == {
        "id": "agent:x",
        "closes": ["tool:t", "agent:x calls tool:t"],
        "out": [{"target": "tool:t"}],
        "attributes": {"id": "asset:agent:x"},
    }


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.sampled_from(
    [
        "no",
        "NULL",
        "1",
        "1e3",
        "0x1",
        "2026-01-01",
        "a: b",
        "- a",
        "#a",
        "a #b",
        "&a",
        "*a",
        "!t",
        "%",
        "@",
        "`",
        "",
        " a ",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(TEXTS, VALUES, max_size=5))
def test_what_is_written_as_yaml_is_read_as_it_was(value: dict[str, Any]) -> None:
    """By our own reader and by another; every character can be seen."""
    text = as_yaml(value)
    if value:
        assert read_document(text.encode(), form="yaml") == value
        assert yaml.safe_load(text) == value
    assert not any(char != "\n" and not char.isprintable() for char in text)


# -- What was read here, on its way ------------------------------------------------------------------------------------


def found_here() -> list[Imported]:
    """Return what importers make of their samples."""
    tool = {"name": "refund", "description": "Pay <b>back</b>", "inputSchema": {"type": "object"}}
    offer = Offer(protocol_version="2026-07-28", implementation={"name": "crm"}, instructions=None, tools=(tool,))
    return [
        read_models([(VECTORS / "models-openai.json").read_bytes()], dialect="openai", provider="openai"),
        read_litellm((VECTORS / "litellm.yaml").read_bytes(), proxy="house"),
        read_openapi((VECTORS / "openapi-3.0.yaml").read_bytes()),
        read_card((VECTORS / "a2a-1.0.json").read_bytes()),
        read_prompts(VECTORS / "prompts"),
        to_declaration(offer, server="crm", endpoint="crm", transport="stdio", on_drift="quarantine"),
    ]


@pytest.mark.parametrize("found", found_here(), ids=lambda found: found.declaration.source)
def test_what_was_read_here_arrives_as_it_was(found: Imported) -> None:
    """Confidence, pins and first guesses, what becomes of drift, notes: all of it."""
    assert read_imported(write_imported(found), "unused") == found


def test_what_is_no_import_is_refused() -> None:
    """With what would be right; and a declared file is not passed off as an import."""
    plain: dict[str, Any] = {"version": 1, "source": "x", "assets": {"agent:a": {}}}
    wrong: list[Any] = [
        [],
        plain | {"colour": "red"},
        plain | {"on_drift": "ignore"},
        plain | {"on_drift": []},
        plain | {"whole": "yes"},
        plain | {"notes": "x"},
        plain | {"first": {"agent:b": {}}},
        plain | {"first": {"agent:a": [1]}},
        plain | {"first": {"agent:a": {"attributes": {"colour": "red"}}}},
        plain | {"version": 2},
    ]
    for document in wrong:
        with pytest.raises((UnreadableSource, InvalidInput)):
            read_imported(json.dumps(document).encode(), "x")
    with pytest.raises(InvalidInput):
        write_imported(Imported(declaration=read_estate(b"version: 1\nsource: x\nassets: {}\n")))
