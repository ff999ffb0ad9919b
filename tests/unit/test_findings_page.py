"""The page about findings, the API's words and the code's own table say the same. Serves C02."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import Any, get_args

import pytest

from quarterdeck_domain.estate.controls import CONTROLS, Control
from quarterdeck_domain.estate.coverage import FACETS, Facet
from quarterdeck_domain.estate.finding_types import FINDING_TYPES, SEVERITIES, FindingType, Severity
from quarterdeck_graphql.finding_words import ControlWord, FacetWord, FindingWord, SeverityWord

PAGE = Path(__file__).parents[2] / "docs" / "findings.md"


def test_the_page_lists_every_finding_as_it_is() -> None:
    """Each type in its order, with how bad it is, what it means and what mends it."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.+?) \| (.+?) \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    assert rows == [(name, kind.severity, kind.title, kind.meaning, kind.mend) for name, kind in FINDING_TYPES.items()]


@pytest.mark.parametrize(
    ("words", "listed", "literal"),
    [
        (FindingWord, FINDING_TYPES, FindingType),
        (SeverityWord, SEVERITIES, Severity),
        (ControlWord, CONTROLS, Control),
        (FacetWord, FACETS, Facet),
    ],
)
def test_the_words_of_the_api_are_those_of_the_domain(words: type[Enum], listed: Any, literal: Any) -> None:
    """All of them, in their order."""
    assert [word.value for word in words] == list(listed)
    assert set(listed) == set(get_args(literal))
