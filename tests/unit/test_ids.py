"""Ids and the keys of tags: what follows time in them, and what does not."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from quarterdeck_domain.ids import check_id, in_time_of, make_id, milliseconds, uuid_of
from quarterdeck_ledger.entry import tag_key

UUIDS = st.integers(0, 2**128 - 1).map(lambda number: uuid.UUID(int=number))
MOMENTS = st.integers(0, 2**48 - 1)


def _version_7(moment: int, rest: int = 0) -> uuid.UUID:
    return uuid.UUID(int=moment << 80 | 0x7 << 76 | 0x2 << 62 | rest)


@given(UUIDS)
def test_an_id_is_its_uuid_spelt_otherwise(value: uuid.UUID) -> None:
    """There and back."""
    spelt = make_id("apr", value)
    assert check_id(spelt, "apr") == spelt
    assert uuid_of(spelt) == value


@given(MOMENTS, UUIDS.map(lambda name: uuid.uuid5(name, "it")))
def test_an_id_with_a_time_tells_it(moment: int, derived: uuid.UUID) -> None:
    """Version 7 does, and version 8 derived from it; ids derived from others keep their own bits."""
    base = _version_7(moment)
    assert milliseconds(make_id("prn", base)) == moment
    following = in_time_of(base, derived)
    assert following.version == 8
    assert milliseconds(make_id("prn", following)) == moment
    random = uuid.uuid4()
    assert in_time_of(random, derived) == derived
    assert milliseconds(make_id("prn", random)) is None


@given(st.text())
def test_text_that_is_no_id_has_no_time(text: str) -> None:
    """Whatever a caller calls its things."""
    assert milliseconds(text) is None


@given(MOMENTS, MOMENTS)
def test_keys_of_tags_follow_the_time_of_their_ids(one: int, other: int) -> None:
    """So that what is new lies together, whatever kind of thing it is."""
    keys = [tag_key(f"{kind}:{make_id('apr', _version_7(at))}") for kind in ("approval", "task") for at in (one, other)]
    assert len(set(keys)) == (4 if one != other else 2)
    for first in (keys[0], keys[2]):
        for second in (keys[1], keys[3]):
            assert one == other or (first < second) == (one < other)


def test_keys_of_tags_stay_what_they_are() -> None:
    """They are stored: a change of the rule needs a migration."""
    assert tag_key("resource:order:4711") == "8dfd817678b4dd0b074880b01f7af117"
    assert tag_key(f"approval:{make_id('apr', _version_7(1_700_000_000_000))}") == "018bcfe56800d942ee07ab3b58996d3f"
