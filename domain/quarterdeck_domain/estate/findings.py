"""What is missing or wrong on the map, each with the command that would mend it. Pure questions of what stands.

`assess` answers for a whole estate at one moment. `finding_types` says what each finding means; which controls are
asked for is in `controls`, what should be known in `coverage`.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Final

import msgspec

from quarterdeck_domain.estate.controls import RELATION, Control
from quarterdeck_domain.estate.coverage import ASKED, Completeness, Coverage, coverage
from quarterdeck_domain.estate.finding_types import Finding, FindingType, command
from quarterdeck_domain.estate.findings_grants import beyond, ended, surplus
from quarterdeck_domain.estate.findings_senders import forged, said_by
from quarterdeck_domain.estate.findings_sources import contested, drifted, duplicates, suspicious, unread
from quarterdeck_domain.estate.landscape import Landscape
from quarterdeck_domain.estate.relation_drift import ending, forbidden, to_retired, undeclared, unseen
from quarterdeck_domain.estate.relations import RELATION_TYPES

TIER_ONE_DEPENDANTS: Final = 10
"""So many objects that depend on one make it a tier-one dependency, whether or not somebody has said so."""
_WITHOUT: Final[Mapping[Control, FindingType]] = {
    "governed": "ungoverned",
    "funded": "unfunded",
    "monitored": "unmonitored",
}
_CONTROLS: Final[Mapping[Control, str]] = {
    "governed": "policy_bundle:NAME",
    "gated": "approval_path:NAME",
    "funded": "budget:NAME",
    "monitored": "monitoring_hook:NAME",
}
_DEPENDS: Final = ("uses", "calls", "reads", "holds", "permits", "deployed_in", "chains_to", "derived_from")


class Assessment(msgspec.Struct, frozen=True, kw_only=True):
    """Everything found about an estate at a moment, in order, and how much of it is known and under control."""

    findings: tuple[Finding, ...]
    coverage: Coverage
    team_of: Mapping[str, str]
    """The team of each object that has one."""


def assess(landscape: Landscape) -> Assessment:
    """Return what is missing or wrong on the whole map, the worst first, and what is known and under control."""
    complete = Completeness(landscape)
    found = sorted(findings(landscape, complete), key=lambda finding: finding.place)
    concerned = {finding.asset for finding in found}
    team_of = {name: team for name, team in landscape.teams.items() if name in concerned}
    return Assessment(findings=tuple(found), coverage=coverage(complete), team_of=team_of)


def findings(landscape: Landscape, complete: Completeness) -> Iterator[Finding]:
    """Yield what is missing or wrong, in no order. What is retired, or part of another, is past; a draft and what is in
    quarantine are asked only for what matters before they are used."""
    for name in landscape.in_use:
        yield from _gaps(landscape, complete, name)
    yield from duplicates(landscape)
    yield from contested(landscape)
    yield from drifted(landscape)
    yield from suspicious(landscape)
    yield from unread(landscape)
    outside = list(beyond(landscape, complete.scope))
    yield from outside
    yield from surplus(landscape, complete.scope)
    yield from ended(landscape)
    told = {(item.asset, f"calls {item.subject}") for item in outside}
    yield from (item for item in undeclared(landscape, complete.scope) if (item.asset, item.subject) not in told)
    yield from unseen(landscape, complete.scope)
    yield from to_retired(landscape)
    yield from forbidden(landscape)
    yield from forged(landscape)
    yield from ending(landscape)


def _gaps(landscape: Landscape, complete: Completeness, name: str) -> Iterator[Finding]:
    found = landscape.objects[name]
    controls = complete.controls.expected(name)
    if found.confidence == "observed":
        yield Finding(
            type="unregistered",
            asset=name,
            message="it was seen in use and nobody has registered it",
            mend=command("change", name, "--set", "owner=OWNER", "--set", "purpose=PURPOSE"),
        )
    if controls.get("owned") is False:
        yield Finding(
            type="unowned",
            asset=name,
            message="nobody answers for it",
            mend=command("transfer", name, "--owner", "OWNER", "--team", "TEAM"),
        )
    for control, type_ in _WITHOUT.items():
        if controls.get(control) is False:
            relation = RELATION[control]
            yield Finding(
                type=type_,
                asset=name,
                message=f"it {RELATION_TYPES[relation].phrase} nothing in use{_by_parts(landscape, name)}",
                mend=command("relate", name, relation, _CONTROLS[control]),
            )
    if controls.get("gated") is False:
        ways = complete.controls.ungated(name)
        open_ = sorted({way.to for way in ways})
        shown = ", ".join(open_[:5]) + (f" and {len(open_) - 5} others" if len(open_) > 5 else "")
        yield Finding(
            type="ungated",
            asset=name,
            message=f"it can act through {shown}, and no approval path stands before that"
            f"{_whose_word(landscape, name, {way.through[0] for way in ways})}",
            mend=command("relate", name, RELATION["gated"], _CONTROLS["gated"]),
        )
    if gone := found.facts.get("attributes.gone"):
        yield Finding(
            type="gone",
            asset=name,
            message=f"{gone}, which it came from, no longer offers it",
            mend=command("retire", name),
        )
    yield from _unknown(landscape, complete, name)
    yield from _tier(landscape, name)


def _whose_word(landscape: Landscape, name: str, first: Container[str]) -> str:
    """Return, in words, who says that an object leads to what its ways begin with, where nobody who knows does."""
    ties = [tie for tie in landscape.out.get(name, ()) if tie.target in first and not tie.declared]
    return next(filter(None, (said_by(landscape, tie) for tie in ties)), "")


def _by_parts(landscape: Landscape, name: str) -> str:
    return ", nor is all that it is part of" if landscape.after(name, "part_of", "version_of") else ""


def _unknown(landscape: Landscape, complete: Completeness, name: str) -> Iterator[Finding]:
    facets = complete.facets(name)
    fields: list[str] = [facet for facet, there in facets.items() if not there and facet in ASKED - {"attributes"}]
    if facets.get("attributes") is False:
        fields += [f"attributes.{each}" for each in complete.attributes(name)]
    if fields:
        words = [field.removeprefix("attributes.").replace("_", " ") for field in fields]
        settings = [f"{field}={field.removeprefix('attributes.').upper()}" for field in fields]
        yield Finding(
            type="incomplete",
            asset=name,
            message=f"nobody has said its {', '.join(words)}",
            mend=command("change", name, *(word for each in settings for word in ("--set", each))),
        )
    if not name.startswith("team:") and not landscape.out.get(name) and not landscape.into.get(name):
        yield Finding(
            type="isolated",
            asset=name,
            message="nothing leads to it or from it",
            mend=command("relate", name, "RELATION", "OTHER"),
        )


def _tier(landscape: Landscape, name: str) -> Iterator[Finding]:
    found = landscape.objects[name]
    if found.facts.get("tier") == 1 or found.kind in ("team", "tool_grant"):
        return
    depending = dependants(landscape, name)
    if len(depending) < TIER_ONE_DEPENDANTS:
        return
    fix = command("promote", name, "--reason", "REASON")
    if not found.facts.get("owner"):
        fix = command("transfer", name, "--owner", "OWNER", "--team", "TEAM") + fix
    yield Finding(
        type="unpromoted",
        asset=name,
        message=f"{len(depending)} objects depend on it, and it is not named a tier-one dependency",
        mend=fix,
    )


def dependants(landscape: Landscape, name: str) -> set[str]:
    """Return what depends on an object straight away: on itself or one of its versions; for a grant, its holders."""
    found: set[str] = set()
    for end in (name, *landscape.before(name, "version_of")):
        for source in landscape.before(end, *_DEPENDS):
            found |= set(landscape.before(source, "holds")) if source.startswith("tool_grant:") else {source}
    return found - {name}
