"""Whose word a fact is, and who says otherwise: the last writer does not win silently. Serves S0-71, C02."""

from __future__ import annotations

from typing import Any

import pytest
from assessed import ANN, Told
from hypothesis import given, settings
from hypothesis import strategies as st

from quarterdeck_domain.estate.asset import AssetFold
from quarterdeck_domain.estate.events import AssetChanged, AssetRegistered
from quarterdeck_domain.estate.slices import ChangeAsset
from quarterdeck_domain.estate.voices import Voices, heard
from quarterdeck_readmodels.estate import Asset

DATA = "dataset:orders"


def says(estate: Told, source: str, location: str | None, confidence: str = "imported") -> Told:
    """Let a source say where the data are."""
    return estate.apply({DATA: {"attributes": {"location": location}}}, source, confidence=confidence)


def contested(estate: Told) -> list[str]:
    """Return what is said of the contested facts."""
    return [item.message for item in estate.findings("contested")]


def test_two_importers_that_disagree_are_told_of_with_both_words() -> None:
    """Whichever wrote last; and once one of them agrees, they are not contested any more."""
    estate = says(says(Told(), "bom a", "s3://a"), "bom b", "s3://b")
    assert contested(estate) == ["bom b says that its location is s3://b; bom a says s3://a"]
    says(estate, "bom a", "s3://a")
    assert contested(estate) == ["bom a says that its location is s3://a; bom b says s3://b"]
    before = len(estate.log.events)
    for _ in range(5):
        says(says(estate, "bom b", "s3://b"), "bom a", "s3://a")
    assert len(estate.log.events) == before
    assert contested(estate) == ["bom a says that its location is s3://a; bom b says s3://b"]
    says(estate, "bom b", "s3://a")
    assert contested(estate) == []
    assert len(estate.log.events) == before + 1
    says(estate, "bom b", "s3://a")
    assert len(estate.log.events) == before + 1


def test_a_command_settles_it_until_a_source_says_otherwise_again() -> None:
    """Also where it says what holds already; and repeating it is nothing new."""
    estate = says(says(Told(), "bom a", "s3://a"), "bom b", "s3://b")
    settle = ChangeAsset(asset=DATA, set={"attributes": {"location": "s3://b"}}, actor=ANN)
    estate.when(settle)
    assert contested(estate) == []
    assert estate.log.decide(settle).events == ()
    says(estate, "bom a", "s3://a")
    assert contested(estate) == ["bom a says that its location is s3://a; command says s3://b"]


@pytest.mark.parametrize(
    ("first", "then", "disputed"),
    [
        ("imported", "imported", True),
        ("declared", "imported", True),
        ("declared", "observed", True),
        ("imported", "declared", False),
        ("observed", "imported", False),
        ("declared", "declared", True),
    ],
)
def test_what_people_declare_outweighs_what_was_found_before(first: str, then: str, disputed: bool) -> None:
    """And what is found does not outweigh what people declared."""
    estate = says(says(Told(), "one", "s3://a", first), "other", "s3://b", then)
    assert bool(contested(estate)) is disputed


def test_a_source_that_changes_its_mind_disagrees_with_nobody() -> None:
    """Nor does one that says more, or takes back what it said."""
    estate = says(says(Told(), "bom a", "s3://a"), "bom a", "s3://b")
    estate.apply({DATA: {"attributes": {"residency": "eu"}}}, "bom b", confidence="imported")
    assert contested(estate) == []
    says(says(estate, "bom b", "s3://c"), "bom b", None)
    assert contested(estate) == []


_WORDS = st.tuples(
    st.sampled_from(["a", "b", "c", "command"]),
    st.sampled_from(["declared", "imported", "observed"]),
    st.dictionaries(
        st.sampled_from(["owner", "team", "attributes.location"]), st.sampled_from(["x", "y", None]), min_size=1
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(_WORDS, min_size=1, max_size=8))
def test_commands_and_tables_hear_the_same(words: list[tuple[str, Any, dict[str, Any]]]) -> None:
    """What a command takes for contested is what the tables show; nobody is said to contest what it says itself."""
    estate = Told()
    for place, (source, confidence, facts) in enumerate(words):
        made: Any = AssetChanged if place else AssetRegistered
        given_ = {"lifecycle": "live", **facts} if place == 0 else facts
        estate.given(made(asset=DATA, facts=given_, source=source, confidence=confidence))
    fold = AssetFold(DATA)
    estate.log.fold(fold.apply)
    row: Asset = estate.rows()[Asset][DATA]
    assert fold.contested == row.contested.keys()
    for fact, claims in row.contested.items():
        holds = row.attributes.get("location") if "." in fact else getattr(row, fact)
        assert holds is not None
        assert holds not in claims.values()
        assert (row.voices.get(fact) or row.voices[""])[0] not in claims


def test_nothing_is_heard_of_what_importers_keep_for_themselves() -> None:
    """Pins move by people's word; a state of life is a command's."""
    facts = {"attributes.pinned": "sha256:1", "lifecycle": "live", "attributes.cautions": ["x"]}
    before = Voices({"": ["a", "imported"]}, {})
    assert heard(before, "b", "imported", facts, dict.fromkeys(facts, "other")) == before
