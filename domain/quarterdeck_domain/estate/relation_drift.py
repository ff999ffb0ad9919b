"""Where what is declared of relations differs from what was seen, or leads to what is no more. Pure.

A relation is declared if it follows from what is: whoever may call an MCP server may call what that exposes, whoever
uses a model uses its versions, whoever uses a route uses what that leads to, whoever holds a grant may use what that
permits. The same the other way round: a server is seen in use when one of its tools is.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.estate.finding_types import Finding, command
from quarterdeck_domain.estate.findings_grants import VISIBLE as VISIBLE
from quarterdeck_domain.estate.findings_grants import Scope, follows
from quarterdeck_domain.estate.findings_senders import alleged, said_by
from quarterdeck_domain.estate.landscape import Landscape, Tie
from quarterdeck_domain.estate.merging import mergers, survivor
from quarterdeck_domain.estate.relations import REACH, RELATION_TYPES, check_relation
from quarterdeck_domain.estate.values import relation_id

LEAD: Final = timedelta(days=90)
"""So long before the last day of what they depend on, objects are told so."""
_DEPENDS: Final = frozenset({"uses", "calls", "reads", "chains_to", "deployed_in", "permits", "drives"})


def undeclared(landscape: Landscape, scope: Scope) -> Iterator[Finding]:
    """Yield the relations that were seen of late and follow from nothing declared."""
    for tie in landscape.ties():
        if tie.declared or tie.relation not in VISIBLE or not landscape.recent(tie):
            continue
        if tie.source not in landscape.in_use or tie.target not in landscape.in_use:
            continue
        if tie.relation != "exposes" and follows(landscape, scope, tie.source, tie.target):
            continue
        yield Finding(
            type="undeclared_relation",
            asset=tie.source,
            subject=f"{tie.relation} {tie.target}",
            message=f"it was seen that {relation_id(*tie.ends)}, and nobody has declared it{said_by(landscape, tie)}",
            mend=command("relate", tie.source, tie.relation, tie.target),
        )


def unseen(landscape: Landscape, scope: Scope) -> Iterator[Finding]:
    """Yield the declared uses that were not seen for long, of those who were watched all that time."""
    recent: dict[str, set[str]] = {}
    for tie in landscape.ties():
        if not tie.declared or tie.relation not in VISIBLE or tie.relation == "exposes":
            continue
        if tie.source not in scope.watched or tie.source not in landscape.in_use or tie.target not in landscape.in_use:
            continue
        if landscape.recent(tie) or not landscape.for_long(tie):
            continue
        if tie.source not in recent:
            recent[tie.source] = {found.target for found in landscape.out[tie.source] if landscape.recent(found)}
        # A server's use shows in that of its tools, a model's in that of its versions, a version's in its model's.
        shown = scope.within(tie.target)
        if not recent[tie.source].isdisjoint(shown) or not recent[tie.source].isdisjoint(
            landscape.after(tie.target, "version_of")
        ):
            continue
        seen = landscape.seen(tie)
        since = "never" if seen is None else f"not since {seen.isoformat(timespec='seconds')}"
        yield Finding(
            type="unseen_relation",
            asset=tie.source,
            subject=f"{tie.relation} {tie.target}",
            message=f"it is declared that {relation_id(*tie.ends)}, and that was {since} seen",
            mend=command("unrelate", *tie.ends),
        )


def to_retired(landscape: Landscape) -> Iterator[Finding]:
    """Yield declared relations of what is in use to what is retired or became part of another."""
    into = mergers(landscape.objects)
    for tie in landscape.ties():
        if tie.target in landscape.in_use or not tie.declared or tie.source not in landscape.in_use:
            continue
        end = landscape.objects[tie.target]
        if end.merged_into is None and end.lifecycle != "retired":
            continue
        if tie.ends[0] == tie.source and tie.ends[2] != tie.target:
            continue  # told of it as it was recorded
        now = survivor(tie.target, into)
        gone = landscape.objects[now].lifecycle == "retired" if now in landscape.objects else True
        what = "retired" if now == tie.target else f"merged into {now}" + (", which is retired" if gone else "")
        fix = command("unrelate", *tie.ends)
        if not gone and now != tie.source:
            fix = command("relate", tie.source, tie.relation, now) + fix
        yield Finding(
            type="retired_relation",
            asset=tie.source,
            subject=f"{tie.relation} {tie.target}",
            message=f"it {RELATION_TYPES[tie.relation].phrase} {tie.target}, which is {what}",
            mend=fix,
        )


def forbidden(landscape: Landscape) -> Iterator[Finding]:
    """Yield uses of what is retired or in quarantine that were seen after it was taken out of use."""
    for tie in landscape.ties():
        if tie.last_seen is None or (tie.source in landscape.in_use and tie.target in landscape.in_use):
            continue
        if tie.relation not in REACH or not landscape.recent(tie):
            continue
        for name, other in ((tie.target, tie.source), (tie.source, tie.target)):
            end = landscape.objects[name]
            shut = end.lifecycle in ("retired", "quarantined") and end.merged_into is None
            if not shut or end.since is None or tie.last_seen <= end.since:
                continue
            proven = landscape.proven(tie)
            if proven is None or proven <= end.since:
                if name == tie.source or other in landscape.in_use:
                    state = "retired" if end.lifecycle == "retired" else "in quarantine"
                    yield from alleged(landscape, tie, f"{name} is {state}", end.since)
                continue
            state = "retired" if end.lifecycle == "retired" else "in quarantine"
            seen = proven.isoformat(timespec="seconds")
            if name == tie.target:
                if other not in landscape.in_use:
                    continue  # then whoever uses it is the finding
                yield Finding(
                    type="forbidden_use",
                    asset=other,
                    subject=f"{tie.relation} {name}",
                    message=f"it was seen on {seen} that {relation_id(*tie.ends)}, which is {state}",
                    mend=command("quarantine", other, "--reason", "REASON"),
                )
            else:
                principal = end.facts.get("attributes.principal") or "PRINCIPAL"
                yield Finding(
                    type="forbidden_use",
                    asset=name,
                    subject=f"{tie.relation} {other}",
                    message=f"it is {state}, and it was seen on {seen} that {relation_id(*tie.ends)}: stop it where "
                    "it runs",
                    mend=(("quarterdeck", "people", "deactivate", principal, "--reason", "REASON"),),
                )


def ending(landscape: Landscape) -> Iterator[Finding]:
    """Yield what depends on something deprecated whose last day is near or over (S2-50)."""
    into = mergers(landscape.objects)
    for name in sorted(landscape.in_use):
        end = landscape.objects[name]
        if end.lifecycle != "deprecated" or end.sunset is None or not landscape.clock.over(end.sunset - LEAD):
            continue
        successor = None if end.successor is None else survivor(end.successor, into)
        successor = successor if successor in landscape.in_use else None
        versions = [(part, f", a version of {name}") for part in landscape.before(name, "version_of")]
        for ending_, of in ((name, ""), *versions):
            for tie in landscape.into.get(ending_, ()):
                if tie.relation not in _DEPENDS or not tie.declared or tie.source not in landscape.in_use:
                    continue
                if tie.source == successor:
                    continue
                after = successor if successor is not None and _fits(tie, successor) else "SUCCESSOR"
                instead = f"; {successor} takes its place" if successor else ""
                yield Finding(
                    type="sunset",
                    asset=tie.source,
                    subject=f"{tie.relation} {ending_}",
                    message=f"it {RELATION_TYPES[tie.relation].phrase} {ending_}{of}, whose last day is "
                    f"{end.sunset.date().isoformat()}{instead}",
                    mend=command("relate", tie.source, tie.relation, after) + command("unrelate", *tie.ends),
                )


def _fits(tie: Tie, successor: str) -> bool:
    try:
        check_relation(tie.source.partition(":")[0], tie.relation, successor.partition(":")[0])
    except InvalidInput:
        return False
    return True
