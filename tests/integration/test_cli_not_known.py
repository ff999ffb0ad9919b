"""What the command line says where little is known: before the first event, and of what was recorded late.

Serves S0-01, S0-72, C08.
"""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from journey_house import Journey, journey

from quarterdeck_cli.estate_state import TYPES
from quarterdeck_graphql.finding_words import FindingWord

NOTHING = "Nothing had been recorded by then"
PRAISE = ("Nothing is missing", "as it was pinned", "100 %", "Nothing is different", "There is nothing in the estate")


@pytest.fixture
async def there(migrated_database: Callable[[], str], tmp_path: Path) -> AsyncIterator[Journey]:
    """A house on a real socket."""
    async with journey(migrated_database(), tmp_path) as made:
        yield made


async def ran(there: Journey, *words: str, by: str = "audra") -> tuple[int, str]:
    """Run a command with everything recorded so far to be seen; return how it ended and all that it printed."""
    await there.projected()
    code, out, err = await there.cli(*words, by=by)
    return code, out + err


async def test_before_the_first_event(there: Journey) -> None:
    """Where nothing had been recorded yet, nothing is praised: it is said that nothing had been (S0-72)."""
    for moment in (("--at", "0"), ("--at", "2020-01-01"), ("--at", "2020-01-01", "--known-at", "now")):
        for words in (("estate", "findings"), ("estate", "drift"), ("estate", "coverage"), ("estate", "list")):
            code, said = await ran(there, *words, *moment)
            assert (code, NOTHING in said) == (0, True), (words, moment, said)
            assert not any(words in said for words in PRAISE), said
    for end in (("0", "0"), ("2019-01-01", "2020-01-01"), ("2019-01-01", "2020-01-01", "--known-at", "now")):
        code, said = await ran(there, "diff", *end)
        assert (code, NOTHING in said) == (0, True), (end, said)
        assert not any(words in said for words in PRAISE), said
    for command in (("reach", "agent:n"), ("ways", "agent:n", "tool:n"), ("reached-by", "tool:n"), ("show", "agent:n")):
        code, said = await ran(there, "estate", *command, "--at", "2020-01-01")
        assert (code, NOTHING.lower() in said.lower()) == (1, True), (command, said)


async def test_coverage_of_nothing(there: Journey) -> None:
    """Of no objects, no share is known: neither all nor nothing of it."""
    code, said = await ran(there, "estate", "coverage")
    assert (code, "Nothing is in use" in said, "%" in said) == (0, True, False), said
    _, said = await ran(there, "estate", "coverage", "--json")
    assert '"completeness": null' in said


async def test_what_was_recorded_late(there: Journey) -> None:
    """Of objects that are not known to have been in use then, no answer claims more: it says so, and how to say that
    they were; that command is all that it takes (S0-01)."""
    for words in (
        ("register", "tool:planned", "--set", "lifecycle=draft", "--valid-from", "2025-06-01"),
        ("register", "tool:draft", "--set", "lifecycle=draft"),
        ("register", "agent:n1"),
        ("register", "tool:n1"),
        ("relate", "agent:n1", "calls", "tool:n1", "--valid-from", "2026-01-10"),
    ):
        assert (await ran(there, "estate", *words, by="otto"))[0] == 0
    then = ("--at", "2026-01-15", "--known-at", "now")
    for words in (("ways", "agent:n1", "tool:n1"), ("show", "agent:n1"), ("reach", "agent:n1")):
        code, said = await ran(there, "estate", *words, *then)
        assert (code, "--known-at now" in said) == (1, False), said
        assert "quarterdeck estate change agent:n1 --set lifecycle=live --valid-from" in said
    for name in ("agent:n1", "tool:n1"):
        change = ("estate", "change", name, "--set", "purpose=x", "--valid-from", "2026-01-10")
        assert (await ran(there, *change, by="otto"))[0] == 0
    questions = (
        ("ways", "agent:n1", "tool:n1", *then),
        ("show", "agent:n1", *then),
        ("reach", "agent:n1", *then),
        ("reached-by", "tool:n1", *then),
        ("opened", "agent:n1", "tool:n1", "--since", "2026-01-12", "--until", "2026-01-15", "--known-at", "now"),
    )
    for words in questions:
        code, said = await ran(there, "estate", *words)
        assert (code, "Not known to have been in use then" in said) == (0, True), (words, said)
        offered = [line.strip().partition("   ")[0] for line in said.split("\n") if "lifecycle=live" in line]
        assert {shlex.split(line)[3] for line in offered} == {"agent:n1", "tool:n1"}, said
    code, said = await ran(there, "estate", *questions[0])
    for line in [line.strip().partition("   ")[0] for line in said.split("\n") if "lifecycle=live" in line]:
        assert (await ran(there, *shlex.split(line)[1:], by="otto"))[0] == 0
    for words in questions[:4]:
        code, said = await ran(there, "estate", *words)
        assert (code, "Not known" in said) == (0, False), (words, said)
    assert "way 1" in (await ran(there, "estate", *questions[0]))[1]
    # Without what was recorded late, nothing of the sort is said.
    assert "Not known" not in (await ran(there, "estate", "ways", "tool:n1", "agent:n1"))[1]


async def test_words_that_are_none(there: Journey) -> None:
    """A word that is no severity or type of finding is answered with those that there are; `now` is a moment."""
    assert [name.upper().replace("-", "_") for name in TYPES] == [item.name for item in FindingWord]
    for option, wrong, known in (("--severity", "nope", "critical"), ("--type", "un-owned", "over-permissioned")):
        code, said = await ran(there, "estate", "findings", option, wrong)
        assert (code, known in said, "Variable" in said) == (2, True, False), said
    assert (await ran(there, "estate", "findings", "--type", "over-permissioned", "--severity", "High"))[0] == 0
    await ran(there, "estate", "register", "tool:t1", by="otto")
    await ran(there, "estate", "register", "agent:a1", by="otto")
    before = str(await there.house.position())
    await ran(there, "estate", "relate", "agent:a1", "calls", "tool:t1", by="otto")
    code, said = await ran(there, "estate", "opened", "agent:a1", "tool:t1", "--since", "now", "--until", "now")
    assert (code, "There was a way" in said) == (0, True), said
    code, said = await ran(there, "estate", "opened", "agent:a1", "tool:t1", "--since", before)
    undone = said.partition("there would be none")[2]
    assert "- agent:a1 calls tool:t1  (" in undone, said
    assert "declared" in undone, said
