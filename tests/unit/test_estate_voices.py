"""Whose word a fact is, and who says otherwise: the last writer does not win silently. Serves S0-71, C02."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from assessed import ANN, Told
from hypothesis import given, settings
from hypothesis import strategies as st

from quarterdeck_domain.estate.asset import AssetFold
from quarterdeck_domain.estate.events import AssetChanged, AssetRegistered
from quarterdeck_domain.estate.slices import ChangeAsset, PromoteAsset, TransferAsset
from quarterdeck_domain.estate.voices import Voices, heard, read
from quarterdeck_readmodels.estate import Asset

DATA = "dataset:orders"


def says(estate: Told, source: str, location: str | None, confidence: str = "imported") -> Told:
    """Let a source say where the data are."""
    return estate.apply({DATA: {"attributes": {"location": location}}}, source, confidence=confidence)


def contested(estate: Told) -> list[str]:
    """Return what is said of the contested facts."""
    return [item.message for item in estate.findings("contested")]


def place(estate: Told) -> Any:
    """Return where the data are said to be."""
    return estate.rows()[Asset][DATA].attributes.get("location")


def test_two_importers_that_disagree_are_told_of_with_both_words() -> None:
    """The word of the one that said it first holds, and is its to change; each other is heard once; and once it agrees
    nothing is contested any more."""
    estate = says(says(Told(), "bom a", "s3://a"), "bom b", "s3://b")
    assert contested(estate) == ["its location is s3://a (bom a has the say); bom b says s3://b"]
    before = len(estate.log.events)
    for _ in range(5):
        says(says(estate, "bom b", "s3://b"), "bom a", "s3://a")
    assert len(estate.log.events) == before
    says(estate, "bom b", "s3://a")
    assert contested(estate) == []
    assert len(estate.log.events) == before + 1
    says(estate, "bom b", "s3://a")
    assert len(estate.log.events) == before + 1
    says(estate, "bom a", "s3://c")
    assert place(estate) == "s3://c"


def test_a_command_settles_it_until_a_source_says_otherwise_again() -> None:
    """Also where it says what holds already; repeating it is nothing new, and nor is what it was said against."""
    estate = says(says(Told(), "bom a", "s3://a"), "bom b", "s3://b")
    settle = ChangeAsset(asset=DATA, set={"attributes": {"location": "s3://b"}}, actor=ANN)
    estate.when(settle)
    assert contested(estate) == []
    assert estate.log.decide(settle).events == ()
    says(estate, "bom a", "s3://a")
    assert contested(estate) == ["its location is s3://b (command has the say); bom a says s3://a"]
    (finding,) = estate.findings("contested")
    estate.mend(finding.fix)
    assert (place(estate), contested(estate)) == ("s3://b", [])
    before = len(estate.log.events)
    says(estate, "bom a", "s3://a")
    assert (len(estate.log.events), contested(estate)) == (before, [])
    says(estate, "bom a", "s3://c")
    assert contested(estate) == ["its location is s3://b (command has the say); bom a says s3://c"]


def test_a_person_who_says_what_an_import_said_takes_its_word_over() -> None:
    """Else the import would change it again; said twice, it is nothing new."""
    estate = says(Told(), "bom a", "s3://a")
    same = ChangeAsset(asset=DATA, set={"attributes": {"location": "s3://a"}}, actor=ANN)
    assert len(estate.log.decide(same).events) == 1
    estate.when(same)
    assert estate.log.decide(same).events == ()
    assert place(says(estate, "bom a", "s3://b")) == "s3://a"


def test_whoever_answers_is_a_persons_word_once_a_person_has_said_so() -> None:
    """To transfer or promote something to what an import said of it already takes that over, once."""
    said = {DATA: {"owner": "ann", "tier": 1}}
    estate = Told().apply(said, "bom a", confidence="imported")
    for command in (
        TransferAsset(asset=DATA, owner="ann", team=None, actor=ANN),
        PromoteAsset(asset=DATA, reason="r", actor=ANN),
    ):
        estate.when(command)
        assert estate.log.decide(command).events == ()
    estate.apply({DATA: {"owner": "mallory", "tier": 3}}, "bom a", confidence="imported")
    row = estate.rows()[Asset][DATA]
    assert (row.owner, row.tier) == ("ann", 1)


def test_no_source_speaks_as_people_do_by_its_name() -> None:
    """One that is called as commands are settles nothing."""
    estate = says(says(Told(), "bom a", "s3://a"), "bom b", "s3://b")
    says(estate, "command", "s3://c")
    assert contested(estate) == ["its location is s3://a (bom a has the say); bom b says s3://b; command says s3://c"]


def test_no_document_says_that_another_source_offers_something_no_longer() -> None:
    """Its word would be over."""
    estate = says(Told(), "bom a", "s3://a")
    said = {DATA: {"attributes": {"gone": "bom a", "location": "s3://b"}}}
    for _ in range(2):
        estate.apply(said, "bom b", confidence="imported")
    assert estate.rows()[Asset][DATA].attributes == {"location": "s3://a"}


def test_what_people_have_unset_is_anybodys_again() -> None:
    """That is how a person gives up a fact."""
    estate = says(Told(), "bom a", "s3://a")
    estate.when(ChangeAsset(asset=DATA, set={"attributes": {"location": "s3://mine"}}, actor=ANN))
    assert place(says(estate, "bom a", "s3://b")) == "s3://mine"
    estate.when(ChangeAsset(asset=DATA, set={}, unset=["attributes.location"], actor=ANN))
    assert place(says(estate, "bom a", "s3://b")) == "s3://b"
    assert contested(estate) == []


def test_a_source_that_offers_something_no_longer_has_no_word_in_it() -> None:
    """Else nobody but people could say anything of what came from there."""
    estate = says(Told(), "bom a", "s3://a")
    estate.given(AssetChanged(asset=DATA, facts={"attributes.gone": "bom a"}, source="bom a", confidence="imported"))
    assert place(says(estate, "bom b", "s3://b")) == "s3://b"


def test_what_is_said_of_another_time_is_a_persons_word_too() -> None:
    """Announced, or in force since before it was recorded; not what is over."""
    hour = timedelta(hours=1)
    for begins, ends, kept in ((-hour, None, True), (hour, None, True), (-hour, hour, True), (-2 * hour, -hour, False)):
        estate = says(Told(), "bom a", "s3://a")
        now = estate.log.now
        until = None if ends is None else now + ends
        said = {"attributes": {"location": "s3://mine"}}
        estate.when(ChangeAsset(asset=DATA, set=said, actor=ANN, valid_from=now + begins, valid_to=until))
        before = place(estate)
        assert (place(says(estate, "bom a", "s3://b")) == before) is kept
    since = Told().apply({DATA: {"owner": "ann"}}, valid_from=Told().log.now - hour)
    since.apply({DATA: {"owner": "mallory"}}, "bom a", confidence="imported")
    assert since.rows()[Asset][DATA].owner == "ann"


def test_where_an_object_is_known_from_is_told_of_one_word() -> None:
    """Source and confidence are those of whoever counts most, and of these of the last."""
    estate = says(Told().apply({DATA: {"owner": "ann"}}), "bom a", "s3://a")
    row = estate.rows()[Asset][DATA]
    assert (row.source, row.confidence) == ("platform", "declared")
    estate = says(says(Told(), "traces", "s3://a", "observed"), "bom a", "s3://a2")
    row = says(estate, "bom b", "s3://b").rows()[Asset][DATA]
    assert (row.source, row.confidence) == ("bom a", "imported")


_FACTS = {"owner": ["ann", "bob"], "team": ["red", "blue"], "classification": ["public", "restricted"]}
_SAID = st.dictionaries(st.sampled_from([*_FACTS]), st.integers(0, 1), min_size=1).map(
    lambda found: {name: _FACTS[name][place] for name, place in found.items()}
)
_SAYING = st.one_of(
    st.tuples(st.sampled_from(["bom a", "bom b"]), _SAID),
    st.tuples(st.just("file"), _SAID),
    st.tuples(st.just("command"), _SAID),
    st.tuples(st.just("unset"), st.sampled_from([*_FACTS])),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(_SAYING, min_size=1, max_size=9))
def test_after_a_persons_word_no_import_changes_that_fact(sayings: list[tuple[str, Any]]) -> None:
    """Until a person says otherwise, or takes it back; and an import that says otherwise is told of as contesting it."""
    estate = Told().given(
        AssetRegistered(asset=DATA, facts={"lifecycle": "live"}, source="bom a", confidence="imported")
    )
    people: dict[str, Any] = {}
    for source, said in sayings:
        before = estate.rows()[Asset][DATA]
        if source == "unset":
            estate.when(ChangeAsset(asset=DATA, set={}, unset=[said], actor=ANN))
            people.pop(said, None)
        elif source == "command":
            estate.when(ChangeAsset(asset=DATA, set=said, actor=ANN))
            people |= said
        elif source == "file":
            estate.apply({DATA: said}, "file")
            # What a file says that holds already is no news, and is whose word it was.
            people |= {name: value for name, value in said.items() if getattr(before, name) != value}
        else:
            estate.apply({DATA: said}, source, confidence="imported")
        row = estate.rows()[Asset][DATA]
        for fact, value in people.items():
            assert getattr(row, fact) == value
            if source.startswith("bom") and said.get(fact, value) != value:
                settled = read(row.voices, {}).settled.get(fact, {})
                assert row.contested.get(fact, {}).get(source) == said[fact] or settled.get(source) == said[fact]
        again = len(estate.log.events)
        if source.startswith("bom"):
            estate.apply({DATA: said}, source, confidence="imported")
            assert len(estate.log.events) == again


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
