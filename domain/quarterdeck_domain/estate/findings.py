"""What is missing or wrong on the map, each with the command that would mend it. Pure questions of what stands.

Completeness counts what a live object should carry (S0-59), coverage which controls its relations name (S0-04).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from quarterdeck_domain.estate.kinds import KINDS
from quarterdeck_domain.estate.relations import CONTROL, RELATION_TYPES

FindingType = Literal[
    "unowned",
    "incomplete",
    "ungoverned",
    "ungated",
    "unfunded",
    "unmonitored",
    "over_permissioned",
    "expired",
    "duplicate",
    "unregistered",
    "unpromoted",
    "drifted",
    "suspicious",
    "undeclared_relation",
    "unseen_relation",
]
Facet = Literal["owner", "purpose", "environments", "classification", "attributes", "relations"]
FACETS: Final[tuple[Facet, ...]] = ("owner", "purpose", "environments", "classification", "attributes", "relations")
CONTROLS: Final[Mapping[str, FindingType]] = {
    "governed_by": "ungoverned",
    "gated_by": "ungated",
    "funded_by": "unfunded",
    "monitored_by": "unmonitored",
}
"""The controls that what acts should have, and what it is called to be without."""
TIER_ONE_DEPENDANTS: Final = 10
"""So many objects that depend on one make it a tier-one dependency, whether or not somebody has said so."""
CONSEQUENTIAL: Final = frozenset({"write", "trigger", "route"})


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """An object's own part of the map: relations as (type, other end), those that begin at it and those that lead to
    it; how many depend on it."""

    out: tuple[tuple[str, str], ...] = ()
    into: tuple[tuple[str, str], ...] = ()


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something missing or wrong about one object, in words, and the fix: a command line that would mend it."""

    type: FindingType
    asset: str
    message: str
    fix: str


def completeness(kind: str, facts: Mapping[str, Any], around: Around) -> tuple[Facet, ...]:
    """Return which facets of an object nobody has said anything of, in their order."""
    missing: list[Facet] = []
    for facet in FACETS:
        if facet == "attributes":
            there = all(facts.get(f"attributes.{name}") not in (None, [], "") for name in KINDS[kind].expected)
        elif facet == "relations":
            there = bool(around.out or around.into)
        elif facet == "classification":
            there = not KINDS[kind].holds_data or bool(facts.get("classification"))
        elif facet == "environments":
            there = KINDS[kind].control or kind == "team" or bool(facts.get("environments"))
        else:
            there = kind == "team" or bool(facts.get(facet))
        if not there:
            missing.append(facet)
    return tuple(missing)


def findings(
    asset: str, facts: Mapping[str, Any], confidence: str, around: Around, privileges: frozenset[str], now: datetime
) -> tuple[Finding, ...]:
    """Return what is missing or wrong about one live object. `privileges` are those of the tools it can call."""
    kind = asset.partition(":")[0]
    found: list[Finding] = []

    def note(type_: FindingType, message: str, fix: str) -> None:
        found.append(Finding(type=type_, asset=asset, message=message, fix=fix))

    if confidence == "observed":
        note(
            "unregistered",
            "it was seen in use and nobody has registered it",
            f"quarterdeck estate change {asset} --set owner=… --set purpose=…   (declares it), or retire it",
        )
    pinned, digest = facts.get("attributes.pinned"), facts.get("attributes.digest")
    if pinned and digest and pinned != digest:
        note(
            "drifted",
            "it is not what was pinned when it was reviewed",
            f"quarterdeck estate accept-drift {asset} …   (having read it), or quarterdeck estate quarantine {asset} …",
        )
    if cautions := facts.get("attributes.cautions"):
        note(
            "suspicious",
            f"what it says of itself may be meant to deceive: {'; '.join(map(str, cautions))}",
            f"read it, then: quarterdeck estate quarantine {asset} --reason …",
        )
    if not facts.get("owner") and kind != "team":
        note("unowned", "nobody answers for it", f"quarterdeck estate transfer {asset} --owner … --team …")
    missing = [facet for facet in completeness(kind, facts, around) if facet != "owner"]
    if missing:
        note("incomplete", f"nobody has said its {', '.join(missing)}", f"quarterdeck estate change {asset} --set …")
    named = {relation for relation, _ in around.out}
    if KINDS[kind].acts:
        for relation, type_ in CONTROLS.items():
            if relation == "gated_by" and not privileges & CONSEQUENTIAL:
                continue
            if relation not in named:
                note(
                    type_,
                    f"it {RELATION_TYPES[relation].phrase} nothing",
                    f"quarterdeck estate relate {asset} {relation} …",
                )
    if kind == "tool_grant":
        _check_grant(asset, facts, around, privileges, now, found)
    elif expired := _expired(facts, now):
        note("expired", f"it ended on {expired}", f"quarterdeck estate retire {asset}")
    dependants = sum(1 for relation, _ in around.into if relation not in CONTROL)
    if dependants >= TIER_ONE_DEPENDANTS and facts.get("tier") != 1:
        note(
            "unpromoted",
            f"{dependants} objects depend on it, and it is not named a tier-one dependency",
            f"quarterdeck estate promote {asset} --reason …",
        )
    return tuple(found)


def _check_grant(
    asset: str, facts: Mapping[str, Any], around: Around, used: frozenset[str], now: datetime, found: list[Finding]
) -> None:
    granted = frozenset(facts.get("attributes.privileges") or ())
    surplus = sorted(granted - used)
    holders = sorted(other for relation, other in around.into if relation == "holds")
    if surplus and used:
        who = ", ".join(holders) or "nobody"
        found.append(
            Finding(
                type="over_permissioned",
                asset=asset,
                message=f"it grants {', '.join(surplus)} to {who}, which the tools behind it do not need",
                fix=f"quarterdeck estate change {asset} --set attributes.privileges={','.join(sorted(granted & used))}",
            )
        )
    if expired := _expired(facts, now):
        found.append(
            Finding(
                type="expired",
                asset=asset,
                message=f"it ended on {expired} and is still there",
                fix=f"quarterdeck estate retire {asset}",
            )
        )


def _expired(facts: Mapping[str, Any], now: datetime) -> str | None:
    text = facts.get("attributes.expires_at")
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return text if (moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)) <= now else None


def duplicates(names: Iterable[str]) -> tuple[Finding, ...]:
    """Return findings for objects of one kind whose names differ only in case or punctuation."""
    groups: dict[tuple[str, str], list[str]] = {}
    for asset in names:
        kind, _, name = asset.partition(":")
        plain = "".join(char for char in name.lower() if char.isalnum())
        groups.setdefault((kind, plain), []).append(asset)
    return tuple(
        Finding(
            type="duplicate",
            asset=asset,
            message=f"it may be the same as {sorted(group)[0]}",
            fix=f"quarterdeck estate merge {sorted(group)[0]} {asset}   (or give it another name)",
        )
        for group in groups.values()
        for asset in sorted(group)[1:]
    )
