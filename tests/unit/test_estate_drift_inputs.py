"""Each of the five inputs of behaviour is noticed when it is not what it was, by imports or in traces, and is a finding.

Serves S0-71, S0-115, S2-12, S2-60.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from assessed import Told
from given import acting
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck_connectors.draft import Draft
from quarterdeck_connectors.mixing import Mixes
from quarterdeck_connectors.observing import Standing, asked_of, observe
from quarterdeck_connectors.otlp import Span
from quarterdeck_connectors.prompts import read_prompts
from quarterdeck_connectors.sightings import gather
from quarterdeck_domain.estate import input_mix
from quarterdeck_domain.estate.events import AssetRegistered
from quarterdeck_readmodels.estate import Asset, Drift
from quarterdeck_readmodels.standing import facts_of

SENDER = acting("collector", kind="service")


def digest(value: str) -> str:
    """Return a digest."""
    return "sha256:" + value * 64


class Traced(Told):
    """An estate that traces are told to, as the door for traces does."""

    def __init__(self) -> None:
        super().__init__()
        self.mixes = Mixes(enough=20)
        self._count = 0

    def trace(self, *, answers: str = "", tokens: int | None = None, times: int = 1) -> Traced:
        """Let an agent have asked a model."""
        spans = []
        for _ in range(times):
            self._count += 1
            said = {"gen_ai.request.model": "gpt", "gen_ai.agent.name": "bot", "gen_ai.operation.name": "chat"}
            said |= {"gen_ai.response.model": answers} if answers else {}
            said |= {} if tokens is None else {"gen_ai.usage.input_tokens": str(tokens)}
            spans.append(Span(trace=f"{self._count:032x}", id="1" * 16, name="chat", said=said, resource={}))
        found = gather(spans)
        rows = self.rows()
        open_ = {(row.asset, row.field, row.found) for row in rows[Drift].values() if row.state == "open"}
        facts = {name: facts_of(row) for name, row in rows[Asset].items()}
        standing = Standing(facts=facts, drifts=frozenset(open_))
        asked = asked_of(found, standing)
        full = self.mixes.full("acme", asked)
        self.given(*observe(found, standing, sender=SENDER, now=self.log.now, mixes=full).events)
        self.mixes.count("acme", asked)
        return self


def imported(kind: str, text: str) -> Callable[[], Traced]:
    """Return what imports an object of a kind twice, the second time with another digest."""

    def made() -> Traced:
        estate = Traced()
        for value in ("1", text):
            draft = Draft("a source")
            draft.add(kind, "x", None, {"digest": digest(value)})
            estate.take(draft.imported().declaration)
        return estate

    return made


CASES = {
    "model": imported("model_version", "2"),
    "retrieval": imported("retrieval_index", "2"),
    "retrieval, by a dataset": imported("dataset", "2"),
    "prompt": imported("prompt", "2"),
    "model, seen in traces": lambda: Traced().trace(answers="gpt-1").trace(answers="gpt-2"),
    "input_mix": lambda: Traced().trace(tokens=100, times=20).trace(tokens=9_000, times=20),
}


@pytest.mark.parametrize("case", CASES)
def test_drift_of_each_input_is_found_once_and_can_be_accepted(case: str) -> None:
    """One event type, one finding; taken as the new pin, it is gone, and the same again is no drift."""
    estate = CASES[case]()
    (found,) = estate.findings("drifted")
    (drift,) = estate.rows()[Drift].values()
    assert drift.input == case.partition(",")[0]
    estate.mend(found.fix, REASON="it is right")
    assert estate.findings("drifted") == []
    if "traces" in case:
        assert not estate.trace(answers="gpt-2").findings("drifted")
    if case == "input_mix":
        assert not estate.trace(tokens=9_000, times=20).findings("drifted")


def test_an_edited_prompt_file_is_drift(tmp_path: Path) -> None:
    """The prompt's newest version is what is compared; adding an older one is none."""
    (tmp_path / "answer.md").write_text("Answer in two sentences.")
    estate = Traced().take(read_prompts(tmp_path).declaration)
    assert estate.take(read_prompts(tmp_path).declaration).findings("drifted") == []
    (tmp_path / "answer.md").write_text("Answer in one sentence.")
    (found,) = estate.take(read_prompts(tmp_path).declaration).findings("drifted")
    assert found.asset == "prompt:answer"


def test_a_version_that_is_declared_current_is_no_drift() -> None:
    """Somebody has said that it answers now; the same unknown one is told of once, however often it answers."""
    estate = Traced().trace(answers="gpt-1")
    estate.apply(
        {"model_version:gpt-2": {"attributes": {"status": "current"}, "relations": {"version_of": ["model:gpt"]}}}
    )
    assert estate.trace(answers="gpt-2").findings("drifted") == []
    for _ in range(3):
        estate.trace(answers="gpt-3")
    assert len(estate.rows()[Drift]) == 1


def test_what_is_declared_stays_declared_when_traces_pin_it() -> None:
    """A pin from traces makes nobody unregistered."""
    estate = Traced().apply({"model:gpt": {"owner": "ml"}}).trace(answers="gpt-1")
    row = estate.rows()[Asset]["model:gpt"]
    assert (row.attributes["serves"], row.confidence) == ("gpt-1", "declared")
    assert ("unregistered", "model:gpt") not in {(item.type, item.asset) for item in estate.findings()}


def test_a_mix_is_compared_only_when_there_is_enough_of_it() -> None:
    """A few long questions are none; and mixes are each tenant's own, and bounded."""
    estate = Traced().trace(tokens=100, times=20).trace(tokens=9_000, times=19)
    assert estate.findings("drifted") == []
    mixes = Mixes(enough=3, most=2)
    mixes.count("acme", {"agent:a": {"under 1k": 2}})
    assert mixes.full("acme", {"agent:a": {"under 1k": 1}}) == {"agent:a": {"under 1k": 3}}
    assert mixes.full("other", {"agent:a": {"under 1k": 1}}) == {}
    for number in range(5):
        mixes.count("acme", {f"agent:{number}": {"under 1k": 1}})
    assert mixes.full("acme", {"agent:a": {"under 1k": 1}}) == {}


@given(st.dictionaries(st.sampled_from(["under 256", "under 1k", "under 64k", "64k and more"]), st.integers(1, 10_000)))
def test_a_mix_does_not_differ_from_itself(counts: dict[str, int]) -> None:
    """Nor from ten times as many of the same."""
    text = input_mix.told(counts)
    assert not input_mix.differs(text, text)
    assert not input_mix.differs(text, input_mix.told({name: 10 * count for name, count in counts.items()}))
    if counts:
        assert input_mix.differs(text, "under 4k: 100%")


def test_sizes_are_those_that_are_told() -> None:
    """Each limit belongs to the next class."""
    assert [input_mix.size_of(size) for size in (0, 255, 256, 65_535, 65_536)] == [
        "under 256",
        "under 256",
        "under 1k",
        "under 64k",
        "64k and more",
    ]


def test_only_a_model_has_a_version_that_answers() -> None:
    """A prompt's version is not told of as one."""
    said = {"gen_ai.prompt.name": "p", "gen_ai.prompt.version": "3", "gen_ai.agent.name": "bot"}
    span = Span(trace="1" * 32, id="1" * 16, name="chat", said=said, resource={})
    events = observe(gather([span]), Standing(facts={}), sender=SENDER, now=Told().log.now).events
    new = {event.asset: event.facts for event in events if isinstance(event, AssetRegistered)}
    assert "prompt:p" in new
    assert not any("attributes.serves" in facts for facts in new.values())
