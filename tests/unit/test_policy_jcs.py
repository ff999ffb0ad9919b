"""RFC 8785 for what standards define: numbers as ECMAScript writes them, keys by UTF-16, nothing lossy.

Serves DC-02, S0-162.
"""

from __future__ import annotations

import json
import re
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck_domain.errors import InvalidInput
from quarterdeck_policy import jcs

# RFC 8785 appendix B: the bits of an IEEE 754 double, and its text.
APPENDIX_B = [
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
    ("41b3de4355555554", "333333333.33333325"),
    ("41b3de4355555555", "333333333.3333333"),
    ("41b3de4355555556", "333333333.3333334"),
    ("41b3de4355555557", "333333333.33333343"),
    ("becbf647612f3696", "-0.0000033333333333333333"),
    ("43143ff3c1cb0959", "1424953923781206.2"),
]
ES6_NUMBER = re.compile(
    r"-?(?:0|[1-9][0-9]{0,20}|(?:0|[1-9][0-9]{0,20})\.[0-9]*[1-9]|[1-9](?:\.[0-9]*[1-9])?e[+-][1-9][0-9]*)"
)


@pytest.mark.parametrize(("bits", "text"), APPENDIX_B)
def test_the_numbers_of_the_rfc(bits: str, text: str) -> None:
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert jcs.number(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_double_is_written_in_the_form_of_ecmascript_and_read_back_the_same(value: float) -> None:
    text = jcs.number(value)
    assert ES6_NUMBER.fullmatch(text)
    assert float(text) == value
    assert ("e" in text) == (value != 0 and not 1e-6 <= abs(value) < 1e21)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 2**53, -(2**53), 10**400])
def test_a_number_that_json_cannot_carry_is_refused(value: float) -> None:
    with pytest.raises(InvalidInput):
        jcs.encode([value])


@given(st.dictionaries(st.text(st.characters(max_codepoint=127)), st.text() | st.booleans() | st.none()))
def test_both_ways_of_writing_agree(value: dict[str, object]) -> None:
    # A float among them takes the slow way.
    slow = jcs.encode([value, 0.5])
    assert slow == f"[{jcs.encode(value)},0.5]"


def test_the_keys_of_the_rfc_are_ordered_by_utf16_code_units() -> None:
    value = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\u0080": 5, "\U0001f600": 6, "\u00f6": 7}
    assert list(json.loads(jcs.encode(value)).values()) == [2, 4, 5, 7, 1, 6, 3]


def test_the_example_of_the_rfc() -> None:
    value = json.loads(
        r"""{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"""
        r""""string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}"""
    )
    assert jcs.encode(value) == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


@pytest.mark.parametrize("value", ["\ud800", {"\udfff": 1}, {1: 2}, {"a": b"x"}, object()])
def test_what_is_no_json_text_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput):
        jcs.encode(value)


def test_depth_is_bounded() -> None:
    value: object = 1
    for _ in range(jcs.MAX_DEPTH + 2):
        value = [value]
    with pytest.raises(InvalidInput, match="deeper"):
        jcs.encode(value)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-jcs.MAX_INTEGER, jcs.MAX_INTEGER) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_the_text_means_the_value_and_is_the_same_for_any_key_order(value: object) -> None:
    text = jcs.encode(value)
    assert json.loads(text) == value
    assert jcs.encode(json.loads(json.dumps(_reversed(value)))) == text


def _reversed(value: object) -> object:
    if isinstance(value, dict):
        return {key: _reversed(value[key]) for key in reversed(value)}
    return [_reversed(item) for item in value] if isinstance(value, list) else value
