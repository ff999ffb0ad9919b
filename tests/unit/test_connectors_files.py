"""YAML and JSON files of strangers: plain values, or an error that says where.

Serves C02 (filling the inventory), S0-154: a file that is wrong is refused with its line and column, and nothing happens.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from imported_twice import settles

from quarterdeck_connectors import plain_yaml
from quarterdeck_connectors.errors import UnreadableSource
from quarterdeck_connectors.files import bytes_of, read_document, read_estate
from quarterdeck_connectors.reading import Bounds
from quarterdeck_domain.checks import optional_line
from quarterdeck_domain.errors import InvalidInput

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "estate"

BOMB = b"a: &a [lol]\n" + b"".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 10)}]\n".encode() for n in range(9)
)

REFUSED = [
    pytest.param(BOMB, 6, 12, "references stand for more than", id="bomb"),
    pytest.param(b"&a [*a]", 1, 5, "*a stands for nothing", id="contains-itself"),
    pytest.param(b"a: &a 1\nb: &a [*a]", 2, 8, "*a stands for nothing", id="contains-itself-by-a-name-given-again"),
    pytest.param(b"&a {<<: *a}", 1, 9, "*a stands for nothing", id="merges-itself"),
    pytest.param(b"a: 1\nb: *c", 2, 4, "*c stands for nothing", id="refers-to-nothing"),
    pytest.param(b"a: {<<: [1]}", 1, 12, "<< takes mappings in", id="merges-a-number"),
    pytest.param(
        b"a: &a " + b"[" * 40 + b"]" * 40 + b"\nb: " + b"[" * 30 + b"*a" + b"]" * 30, 2, 34, "deeper", id="high"
    ),
    pytest.param(b"a: 1\nb: 2\na: 3", 3, 1, "'a' is given twice", id="twice"),
    pytest.param(b"a: 1\n'a': 3", 2, 1, "'a' is given twice", id="twice-in-quotes"),
    pytest.param(b'{"a": [1,\n {"b": 1,\n  "\\u0062": 2}]}', 3, 3, "'b' is given twice", id="twice-json"),
    pytest.param(b"a:\n  b: !!python/object/apply:os.system [id]", 2, 6, "the tag", id="program"),
    pytest.param(b"a: !!binary aGk=", 1, 4, "the tag", id="binary"),
    pytest.param(b"a: !!set {x}", 1, 4, "the tag", id="set"),
    pytest.param(b"a: !!timestamp 2026-01-01", 1, 4, "the tag", id="timestamp"),
    pytest.param(b"!!str a: 1\n!!int 2: 1", 2, 1, "the tag", id="key-tag"),
    pytest.param(b"? [a]\n: 1", 1, 3, "a key is text", id="key-list"),
    pytest.param(b"a: {? : 1}", 1, 7, "key is missing", id="key-missing"),
    pytest.param(b"a: 1\n---\nb: 2", 2, 1, "second document", id="two-documents"),
    pytest.param(b"a: 1\nb: ]", 2, 4, "not YAML", id="unopened"),
    pytest.param(b"a:\n\tb: 1", 2, 1, "not YAML", id="tab"),
    pytest.param(b"a: 1\nb: \xff", 2, 4, "UTF-8", id="bytes"),
    pytest.param(b"a: x\x00", 1, 5, "not YAML", id="nul"),
    pytest.param(b"a: .inf", 1, 4, "not a number", id="infinite"),
    pytest.param(b"a: [.NaN]", 1, 5, "not a number", id="nan"),
    pytest.param(b'{"a": NaN}', 1, 7, "not a number", id="nan-json"),
    pytest.param(b'{"a": 1,\n "b": -1e999}', 2, 7, "too large", id="overflow"),
    pytest.param(b"a: " + b"9" * 5_000, 1, 4, "5000 digits", id="digits"),
    pytest.param(b'{"a": ' + b"9" * 5_000 + b"}", 1, 7, "5000 digits", id="digits-json"),
    pytest.param(b"[" * 100_000, 1, 65, "deeper than 64", id="deep"),
    pytest.param(b"[" * 5_000 + b"]" * 5_000, 1, 65, "deeper than 64", id="deep-json"),
    pytest.param(b'{"a":' * 70 + b"1" + b"}" * 70, 1, 321, "deeper than 64", id="deep-mappings"),
    pytest.param(b'{"a": "\\ud800"}', 1, 7, "half a character", id="surrogate"),
    pytest.param(b'{"\\udfff": 1}', 1, 2, "half a character", id="surrogate-key"),
]


@pytest.mark.parametrize(("data", "line", "column", "why"), REFUSED)
def test_what_a_file_has_no_need_of_is_refused_with_its_place(data: bytes, line: int, column: int, why: str) -> None:
    """S0-154: a YAML bomb, a key given twice, a tag that names a type, depth: line, column and what is wrong."""
    with pytest.raises(UnreadableSource) as refused:
        read_document(data, "estate.yaml")
    assert why in refused.value.message
    assert (refused.value.details["line"], refused.value.details["column"]) == (line, column)
    assert refused.value.message.startswith(f"estate.yaml, line {line}, column {column}: ")


@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
def test_both_parsers_read_the_core_schema(loader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words of YAML 1.1 that mean something else (no, on, 12:30, 010, dates) stay what they look like."""
    monkeypatch.setattr(plain_yaml, "_LOADER", getattr(yaml, loader))
    text = b"a: no\nb: on\nc: 12:30\nd: 2026-01-01\ne: 010\nf: 0x1F\ng: 0o17\nh: ~\ni:\nj: True\nk: 1.50\nl: '1'\n200: ok\ntrue: t"
    assert read_document(text) == {
        "a": "no",
        "b": "on",
        "c": "12:30",
        "d": "2026-01-01",
        "e": 10,
        "f": 31,
        "g": 15,
        "h": None,
        "i": None,
        "j": True,
        "k": 1.5,
        "l": "1",
        "200": "ok",
        "true": "t",
    }
    with pytest.raises(UnreadableSource, match="references"):
        read_document(BOMB)
    for refused in REFUSED:
        with pytest.raises(UnreadableSource):
            read_document(refused.values[0])  # type: ignore[arg-type]


REFERRING = """
base: &base {model: gpt, params: &params {rpm: 5, tags: [a, b]}}
name: &name claims
other: &other {model: claude, api: https://x.example}
one: {<<: *base, model: mine}
two: {model: mine, <<: [*base, *other]}
three:
  <<: {rpm: 1, tpm: 2}
  params: *params
four: [*name, *params, *name]
"<<": {x: 1}
five: {"<<": *name}
name_again: &name [new]
six: *name
"""


@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
def test_references_stand_for_what_they_name(loader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As everybody else reads them; what is said in the mapping itself holds; in quotes, << is a key like any other."""
    monkeypatch.setattr(plain_yaml, "_LOADER", getattr(yaml, loader))
    found = read_document(REFERRING.encode())
    assert found["five"] == {"<<": "claims"}
    assert found["<<"] == {"x": 1}
    assert found["six"] == ["new"]
    # What PyYAML takes for a merge though it is in quotes, and names that are given again, it does not read.
    theirs = yaml.safe_load(REFERRING.partition('"<<"')[0])
    assert {name: found[name] for name in theirs} == theirs
    assert found["three"]["params"] is not found["base"]["params"]
    found["three"]["params"]["tags"].append("c")
    assert found["base"]["params"]["tags"] == ["a", "b"]


def test_what_references_stand_for_is_counted() -> None:
    """However little is written, and among all values; two thousand routes with the same defaults are a file."""
    many = b"d: &d {a: 1, b: 2, c: 3}\n" + b"".join(b"r%d: {<<: *d}\n" % n for n in range(2_000))
    assert len(read_document(many)) == 2_001
    with pytest.raises(UnreadableSource, match="references stand for more than 100"):
        read_document(many, bounds=Bounds(copied=100))
    with pytest.raises(UnreadableSource, match="more than 9000 values"):
        read_document(many, bounds=Bounds(values=9_000))


def test_size_and_count_are_bounded() -> None:
    """S0-154: what is longer than it may be is refused before it is parsed, and many small values are counted."""
    with pytest.raises(UnreadableSource, match="longer than 10 bytes"):
        read_document(b"[1, 2, 3, 4]", bounds=Bounds(size=10))
    for many in (b"- 1\n" * 50, b"[" + b"1," * 49 + b"1]", b"a: {" + b"".join(b"k%d: ," % n for n in range(50)) + b"}"):
        with pytest.raises(UnreadableSource):
            read_document(many, bounds=Bounds(values=40))
        read_document(many, bounds=Bounds(values=200))


def test_a_file_that_says_json_is_read_as_json() -> None:
    """What YAML would let pass is refused in a file of which the name says that it is JSON."""
    assert read_document(b"\xef\xbb\xbf{a: 1}") == {"a": 1}
    with pytest.raises(UnreadableSource, match=r"x\.json, line 1, column 2: this is not JSON"):
        read_document(b"{a: 1}", "x.json")
    assert read_document(b'{"a": "\\ud83d\\ude00"}') == {"a": "\U0001f600"}


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_every_json_value_is_read_back(value: Any) -> None:
    """What was written as JSON is read as it was, whichever reader takes it."""
    assert read_document(json.dumps(value, ensure_ascii=False).encode(), "x.json") == value


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text("ab:#-?*&! '\"\n1", max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text("abc: -", min_size=1, max_size=5), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_every_yaml_of_plain_values_is_read_back(value: Any) -> None:
    """What PyYAML writes of plain values is read as it was, words of YAML 1.1 included (they are written in quotes)."""
    dumped = yaml.safe_dump(value, allow_unicode=True, default_flow_style=None)
    if "*id" not in dumped:
        assert read_document(dumped.encode(), form="yaml") == value


@given(st.binary(max_size=200) | st.text("[]{}:,-&*!|>?'\"#%@` \n\ta01.~<", max_size=60).map(str.encode))
def test_anything_else_is_refused_and_never_a_crash(data: bytes) -> None:
    """Whatever the bytes, the answer is a value of plain types or `UnreadableSource`."""
    try:
        value = read_document(data)
    except UnreadableSource as refused:
        optional_line(refused.message, "message", limit=1_000)
    else:
        json.dumps(value, allow_nan=False).encode()


@given(st.text("version: 1sourcaet\n{}[]\"'kind:nm,-", max_size=80).map(str.encode))
def test_an_estate_file_is_declared_or_refused(data: bytes) -> None:
    """No text makes an estate file fail otherwise than by an error of ours."""
    with contextlib.suppress(InvalidInput):
        read_estate(data)


def test_the_sample_estate_is_read_and_settles() -> None:
    """S0-48, S0-154: a file as people write it becomes a declaration; applied twice, it changes nothing."""
    declared = read_estate((VECTORS / "estate.yaml").read_bytes(), "estate.yaml")
    standing = settles(declared)
    assert declared.source == "platform"
    assert declared.confidence == "declared"
    assert standing.facts["agent:support-bot"]["environments"] == ["prod", "no"]
    assert standing.facts["agent:support-bot"]["attributes.max_steps"] == 12
    assert standing.relations["agent:support-bot", "calls", "tool:refund"].evidence == "design 12"


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """A pipe does not make us wait, a directory or nothing is an error that says so, and so is a file that is too long."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "long").write_bytes(b"x" * 11)
    for name, why in (
        ("pipe", "regular"),
        ("", "directory|regular"),
        ("nothing", "No such file"),
        ("long", "longer than 10"),
    ):
        with pytest.raises(UnreadableSource, match=why):
            bytes_of(tmp_path / name, limit=10)
    assert bytes_of(tmp_path / "long", limit=11) == b"x" * 11
    with pytest.raises(UnreadableSource):
        bytes_of(Path("with\0nul"))
