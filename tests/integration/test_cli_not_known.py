"""What the command line says where little is known: before the first event, and of what was recorded late.

Serves S0-01, S0-72, C08.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from journey_house import Journey, journey

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
