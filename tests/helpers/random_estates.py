"""Random estates as declarative files, made from what kinds and relations allow; and the standing that such a file is.

Every kind, every attribute and every relation type can come up, so one that is added is tried without a line here.
"""

from __future__ import annotations

import re
from typing import Any

from hypothesis import strategies as st
from msgspec import inspect

from quarterdeck_domain.estate.declaration import Declaration
from quarterdeck_domain.estate.kinds import KINDS
from quarterdeck_domain.estate.plan import Plan
from quarterdeck_domain.estate.relations import RELATION_TYPES
from quarterdeck_domain.estate.standing import Standing

_CHARACTERS = st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp", "Cf"))
_PERSON = re.compile(r"[^\s@]+@[^\s@]+")
NAMES = st.from_regex(r"[!-~]{1,12}", fullmatch=True)


def said(most: int, least: int = 0) -> st.SearchStrategy[str]:
    """Return a strategy for one line of text that people may be shown."""
    return st.text(_CHARACTERS, min_size=least, max_size=most)


def prose(most: int) -> st.SearchStrategy[str]:
    """Return a strategy for text of several lines."""
    return st.text(_CHARACTERS | st.sampled_from("\n\r\t"), max_size=most)


def _values(found: inspect.Type) -> st.SearchStrategy[Any]:
    if isinstance(found, inspect.Metadata):
        return _values(found.type)
    if isinstance(found, inspect.UnionType):
        return st.one_of([_values(part) for part in found.types if not isinstance(part, inspect.NoneType)])
    if isinstance(found, inspect.LiteralType):
        return st.sampled_from(found.values)
    if isinstance(found, inspect.IntType):
        return st.integers(found.ge or 0, found.le or 2**53 - 1)
    if isinstance(found, inspect.VarTupleType):
        return st.lists(_values(found.item_type), max_size=4)
    if isinstance(found, inspect.DictType):
        # Keys that are not ASCII are no keys of our canonical form: such a file is refused when it is planned.
        return st.dictionaries(
            st.from_regex(r"[!-~](?:[ -~]{0,10}[!-~])?", fullmatch=True), _values(found.value_type), max_size=3
        )
    assert isinstance(found, inspect.StrType), found
    if found.pattern:
        return st.from_regex(re.compile(found.pattern, re.ASCII), fullmatch=True).map(lambda text: text.strip())
    return said(30, found.min_length or 0) | st.just("https://models.example.com/a?b=c#d")


def attributes(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy for what objects of a kind can have."""
    described = inspect.type_info(KINDS[kind])
    assert isinstance(described, inspect.StructType)
    fields = {field.name: _values(field.type) for field in described.fields}
    found = st.fixed_dictionaries({}, optional=fields)
    return found.map(_pinned) if "pinned" in fields else found


def _pinned(attributes: dict[str, Any]) -> dict[str, Any]:
    # An import pins what nobody has pinned; these estates have been through that.
    return attributes | (
        {"pinned": attributes["digest"]} if {"digest", "pinned"} & attributes.keys() == {"digest"} else {}
    )


def _facts(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    nobody = said(20).filter(lambda text: not _PERSON.search(text))
    return st.fixed_dictionaries(
        {},
        optional={
            "title": said(20),
            "description": prose(40),
            "owner": nobody,
            "team": nobody,
            "purpose": said(20),
            "environments": st.lists(said(8), max_size=3),
            "classification": st.sampled_from(["public", "internal", "confidential", "restricted"]),
            "risk": st.sampled_from(["low", "moderate", "high", "critical"]),
            "policy_class": said(20),
            "tier": st.integers(1, 4),
            "lifecycle": st.sampled_from(["draft", "live"]),
            "attributes": attributes(kind),
        },
    )


@st.composite
def estates(draw: st.DrawFn, least: int = 0) -> dict[str, Any]:
    """Return a file of an estate, as it is exported: relations lead to what is in it, and in no circle."""
    kinds = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=least, max_size=9))
    names = list(dict.fromkeys(f"{kind}:{draw(NAMES)}" for kind in kinds))
    assets = {name: draw(_facts(name.partition(":")[0])) for name in names}
    for place, source in enumerate(names):
        for target in names[place + 1 :]:
            ends = source.partition(":")[0], target.partition(":")[0]
            possible = [name for name, of in RELATION_TYPES.items() if ends[0] in of.sources and ends[1] in of.targets]
            for relation in draw(st.lists(st.sampled_from(possible), unique=True, max_size=2)) if possible else ():
                links = assets[source].setdefault("relations", {}).setdefault(relation, [])
                extra = draw(
                    st.fixed_dictionaries({}, optional={"environment": said(8, 1), "evidence": prose(12).filter(bool)})
                )
                links.append({"to": target} | extra if extra else target)
    return {"version": 1, "source": "random", "assets": dict(sorted(assets.items()))}


def standing_of(said: Declaration) -> Standing:
    """Return what is true once a declaration was applied to nothing."""
    return Standing(
        facts={name: {"lifecycle": "live"} | entry.facts for name, entry in said.assets.items()},
        relations={
            (name, relation, link.to): link
            for name, entry in said.assets.items()
            for relation, links in entry.relations.items()
            for link in links
        },
        noted={
            name: frozenset({entry.facts["attributes.digest"]})
            for name, entry in said.assets.items()
            if entry.facts.get("attributes.digest")
        },
    )


def but_for_drift(plan: Plan) -> dict[str, int]:
    """Return what a plan does, but for noting what differs from its pin: a file notes nothing, an import does."""
    return {action: count for action, count in plan.counts().items() if action != "drift"}
