"""What all importers share: names, addresses, text and digests made of what strangers wrote.

Serves C02 (filling the inventory), S0-154.
"""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imported_twice import NOTHING, settles

from quarterdeck_connectors import draft as module
from quarterdeck_connectors.digests import canonical_json, digest_of_json
from quarterdeck_connectors.draft import Draft, address, block, line
from quarterdeck_connectors.errors import UnreadableSource
from quarterdeck_domain.checks import optional_line, prose
from quarterdeck_domain.estate.naming import name_of, names_for, resource_name, seen_name_of
from quarterdeck_domain.estate.plan import make_plan
from quarterdeck_domain.estate.values import MAX_NAME, split

text = st.text(st.characters() | st.sampled_from("\u202e\u200b\x07\x00\ud800 -~"), max_size=30)


@given(text)
def test_every_name_is_one_of_ours(called: str) -> None:
    """Whatever a thing is called, it gets a name that may stand in the log."""
    split(f"tool:{name_of(called)}")


@given(st.sampled_from(["tool", "dataset"]), text | st.text("-/unamed@.x ", max_size=12))
def test_what_is_asked_for_as_it_is_called_is_found(kind: str, called: str) -> None:
    """Among the names that it may have are those that importers, and traces, make of it."""
    found = names_for(kind, called)
    assert {name_of(called), seen_name_of(called)} <= set(found)
    for name in found:
        split(f"{kind}:{name}")
    if kind == "dataset":
        assert {name_of(f"crm/{resource_name(called)}")} <= set(names_for(kind, f"crm/{called}"))


@given(text, text)
def test_names_that_differ_only_in_letters_we_do_not_have_stay_apart(one: str, other: str) -> None:
    """Two names become one only if all that tells them apart is white space or a dash."""
    if name_of(one) == name_of(other):
        assert "".join(one.split()).replace("-", "") == "".join(other.split()).replace("-", "")


def test_names_of_other_scripts_and_long_names() -> None:
    """Plain names stay as they are; others are told apart by a digest, and none is too long."""
    assert name_of("gpt-4o") == "gpt-4o"
    assert name_of(" Orders API ") == "Orders-API"
    assert name_of("客服") != name_of("退款")
    assert name_of("客服") == name_of("客服")
    assert len(name_of("x" * 500)) == MAX_NAME
    assert name_of("x" * 500) != name_of("x" * 501)
    assert name_of("") != "unnamed"


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        ("https://api.example.com/v1", "https://api.example.com/v1"),
        ("https://user:secret@api.example.com:8443/v1?key=secret#secret", "https://api.example.com:8443/v1"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
        ("https://hooks.example/sk-abcdefghijklmnop", ""),
        ("os.environ/API_BASE", ""),
        ("your_api_base", ""),
        ("https://", ""),
        ("https://[::1", ""),
        ("https://h:99999/", ""),
        ("https://h\u202e/", ""),
        ("https://h/\n", ""),
        (None, ""),
        (7, ""),
    ],
)
def test_an_address_is_kept_without_its_secrets(given_: object, kept: str) -> None:
    """User, password, query and fragment go; what is no absolute address, or has a key in its path, goes altogether."""
    assert address(given_) == kept


@given(text, st.integers(1, 40))
def test_text_is_bounded_and_legible(value: str, limit: int) -> None:
    """What comes out passes the checks of the domain, and is never longer than it may be."""
    optional_line(line(value, limit=limit), "x", limit=limit)
    prose(block(value, limit=limit), "x", limit=limit)


def test_said_twice_the_first_holds_and_gaps_are_filled() -> None:
    """Several entries may speak of one object."""
    draft = Draft("x")
    assert draft.add("tool", "t", {"title": "one"}, {"scope": "a"}, {"privileges": ["read"]}) == "tool:t"
    draft.add("tool", "t", {"title": "two", "description": "d", "purpose": ""}, {"scope": "b", "target_system": "s"})
    server = draft.add("mcp_server", "s")
    draft.relate(server, "exposes", "tool:t", evidence="seen")
    draft.relate(server, "exposes", "tool:t", evidence="seen again")
    found = draft.imported()
    assert found.declaration.confidence == "imported"
    assert found.declaration.assets["tool:t"].facts == {
        "title": "one",
        "description": "d",
        "attributes.scope": "a",
        "attributes.target_system": "s",
    }
    assert found.declaration.assets["tool:t"].first == {"attributes.privileges": ["read"]}
    standing = settles(found)
    assert standing.relations["mcp_server:s", "exposes", "tool:t"].evidence == "seen"
    draft = Draft("x")
    draft.lists(draft.add("mcp_server", "s"), "exposes")
    (step,) = make_plan(draft.imported().declaration, standing, "run_2").steps
    assert (step.action, step.subject) == ("unrelate", "mcp_server:s exposes tool:t")


@pytest.mark.parametrize("called", ["检索", "send mail", "x" * 250, "pay\u202epal"])
def test_what_had_to_be_called_otherwise_keeps_its_name_as_title(called: str) -> None:
    """Where a name cannot say what a thing is called, its title does, unless somebody gave it one: the source, or people
    before."""
    draft = Draft("x")
    plain, own, given_ = (draft.add("route", name) for name in ("fast", called, f"{called}2"))
    draft.add("route", f"{called}2", {"title": "Two"})
    found = draft.imported().declaration.assets
    assert (found[plain].first, found[given_].first) == ({}, {})
    assert found[own].first == {"title": line(called)}
    optional_line(line(called), "title")
    standing = settles(draft.imported())
    assert standing.facts[own]["title"] == line(called)
    standing.facts[own]["title"] = "what people call it"
    assert make_plan(draft.imported().declaration, standing, "run_2").steps == ()


@given(text)
def test_whatever_a_thing_is_called_can_be_said(called: str) -> None:
    """Titles made of hostile names pass the checks of the domain."""
    draft = Draft("x")
    draft.add("tool", called)
    draft.imported()


def test_how_much_is_said_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects and relations beyond what a file may have are refused while they are collected; notes come to an end."""
    monkeypatch.setattr(module, "MAX_ASSETS", 3)
    monkeypatch.setattr(module, "MAX_RELATIONS", 2)
    draft = Draft("x")
    made = [draft.add("tool", str(number)) for number in range(3)]
    with pytest.raises(UnreadableSource, match="more than 3 objects"):
        draft.add("tool", "3")
    draft.relate(made[0], "calls", made[1])
    draft.relate(made[0], "calls", made[2])
    with pytest.raises(UnreadableSource, match="more than 2 relations"):
        draft.relate(made[1], "calls", made[2])
    draft = Draft("x")
    for number in range(1_000):
        draft.note(f"note {number}")
    notes = draft.imported().notes
    assert len(notes) == module.MAX_NOTES + 1
    assert notes[-1] == "there is more than is noted here"
    assert make_plan(draft.imported().declaration, NOTHING, "run_1").steps == ()


@pytest.mark.parametrize(
    ("bits", "written"),
    [
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("8000000000000001", "-5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("ffefffffffffffff", "-1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("c340000000000000", "-9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("44b52d02c7e14af7", "1.0000000000000001e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef4f", "999999999999999900000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555553", "333333333.3333332"),
        ("41b3de4355555557", "333333333.33333343"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
        ("43143ff3c1cb0959", "1424953923781206.2"),
    ],
)
def test_numbers_are_written_as_the_standard_says(bits: str, written: str) -> None:
    """RFC 8785, appendix B: IEEE 754 doubles and their text."""
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical_json(value) == written


def test_keys_are_ordered_by_utf_16_and_text_is_escaped_as_little_as_may_be() -> None:
    """RFC 8785, section 3.2.3: an emoji (a pair of surrogates) stands before U+FB33; section 3.2.2.2: short escapes."""
    keys = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "\u00f6": 7}
    assert list(json.loads(canonical_json(keys)).values()) == [2, 4, 6, 7, 1, 5, 3]
    assert canonical_json('\u20ac$\x0f\nA\'B"\\"/') == '"\u20ac$\\u000f\\nA\'B\\"\\\\\\"/"'
    assert digest_of_json({"a": 1.0, "b": [None, True]}) == digest_of_json({"b": [None, True], "a": 1})
    for wrong in (float("nan"), float("inf"), b"x", object()):
        with pytest.raises(TypeError):
            digest_of_json(wrong)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_read_back(value: float) -> None:
    """However a number is written, it is the same number."""
    assert float(canonical_json(value)) == value
