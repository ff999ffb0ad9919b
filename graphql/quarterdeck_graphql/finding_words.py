"""The closed sets of what is found about an estate. Their values are the domain's own words."""

from __future__ import annotations

from enum import Enum
from typing import Any, cast

import strawberry

from quarterdeck_domain.estate.finding_types import FINDING_TYPES, FindingType


def _type(word: FindingType) -> Any:
    return strawberry.enum_value(word, description=FINDING_TYPES[word].meaning)


def _value(word: str, description: str) -> Any:
    return strawberry.enum_value(word, description=description)


@strawberry.enum(name="FindingType", description="What is missing or wrong, the worst first.")
class FindingWord(Enum):
    OUT_OF_SCOPE = _type("out_of_scope")
    FORBIDDEN_USE = _type("forbidden_use")
    DRIFTED = _type("drifted")
    SUSPICIOUS = _type("suspicious")
    UNREGISTERED = _type("unregistered")
    UNOWNED = _type("unowned")
    UNGATED = _type("ungated")
    OVER_PERMISSIONED = _type("over_permissioned")
    EXPIRED = _type("expired")
    UNGOVERNED = _type("ungoverned")
    FORGED = _type("forged")
    UNREAD = _type("unread")
    CONTESTED = _type("contested")
    ALLEGED_USE = _type("alleged_use")
    UNDECLARED_RELATION = _type("undeclared_relation")
    RETIRED_RELATION = _type("retired_relation")
    GONE = _type("gone")
    SUNSET = _type("sunset")
    UNPROMOTED = _type("unpromoted")
    UNMONITORED = _type("unmonitored")
    UNFUNDED = _type("unfunded")
    DUPLICATE = _type("duplicate")
    UNSEEN_RELATION = _type("unseen_relation")
    INCOMPLETE = _type("incomplete")
    ISOLATED = _type("isolated")


@strawberry.enum(name="Severity", description="How bad a finding is.")
class SeverityWord(Enum):
    CRITICAL = _value("critical", "It is being abused, or could be at any moment: look now.")
    HIGH = _value("high", "Nobody answers for it, nothing holds it, or it is not what was reviewed.")
    MODERATE = _value("moderate", "The map is not right, or a control is missing.")
    LOW = _value("low", "Something is not known.")


@strawberry.enum(name="CoverageBy", description="What objects are counted by.")
class CoverageBy(Enum):
    TEAM = _value("team", "The team that answers for them.")
    KIND = _value("kind", "What they are.")


@strawberry.enum(name="EstateControl", description="What an object should have, by what it is and can do.")
class ControlWord(Enum):
    OWNED = _value("owned", "Somebody answers for it.")
    GOVERNED = _value("governed", "A policy governs it.")
    GATED = _value("gated", "People consent before what has consequences.")
    FUNDED = _value("funded", "A budget bounds it.")
    MONITORED = _value("monitored", "Somebody watches it.")


@strawberry.enum(name="Facet", description="What should be known of an object.")
class FacetWord(Enum):
    OWNER = _value("owner", "Who answers for it.")
    PURPOSE = _value("purpose", "What it is for.")
    ENVIRONMENTS = _value("environments", "Where it runs.")
    DATA = _value("data", "What data it can reach.")
    TOOLS = _value("tools", "What tools it can call.")
    GATES = _value("gates", "What gates stand before what has consequences.")
    CLASSIFICATION = _value("classification", "How sensitive its data is.")
    ATTRIBUTES = _value("attributes", "What its kind alone should say.")


def word_of(type_: str) -> FindingWord:
    """Return the enum's member for a type of finding."""
    return FindingWord(cast(Any, type_))
