"""Where what was declared and what was seen of relations differ: drift, as findings. Pure.

A relation is declared if it follows from what is: whoever may call an MCP server may call what that exposes, whoever
uses a model uses its versions. The same the other way round: a server is seen in use when one of its tools is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from quarterdeck_domain.estate.findings import Finding
from quarterdeck_domain.estate.values import relation_id

UNSEEN_AFTER: Final = timedelta(days=30)
VISIBLE: Final = frozenset({"uses", "calls", "reads", "exposes", "chains_to"})
"""The types that traces can show: of the others, not having been seen says nothing."""
_WHOLE: Final = frozenset({"exposes"})
_PART: Final = frozenset({"version_of"})

Ends = tuple[str, str, str]


def relation_drift(
    declared: Iterable[Ends],
    observed: Mapping[Ends, datetime],
    *,
    now: datetime,
    unseen_after: timedelta = UNSEEN_AFTER,
) -> tuple[Finding, ...]:
    """Return a finding for each relation that was seen and follows from nothing declared, and for each declared one
    that was not seen for long although its source was. `observed` says when each was seen last.

    A source that was never seen has no finding: nobody watches it, and that is another finding.
    """
    said = frozenset(declared)
    wholes = _wholes((*said, *observed))
    implied = {(source, target) for source, relation, target in said if relation in VISIBLE}
    recent = {ends for ends, last in observed.items() if last > now - unseen_after}
    used = {(source, end) for source, _, target in recent for end in (target, *wholes.get(target, ()))}
    watched = {source for source, relation, _ in observed if relation in VISIBLE}
    found: list[Finding] = []
    for source, relation, target in sorted(observed):
        if (source, relation, target) in said or relation not in VISIBLE:
            continue
        if relation != "exposes" and any((source, end) in implied for end in (target, *wholes.get(target, ()))):
            continue
        found.append(
            Finding(
                type="undeclared_relation",
                asset=source,
                message=f"it was seen that {relation_id(source, relation, target)}, and nobody has declared it",
                fix=f"quarterdeck estate relate {source} {relation} {target}   (or keep it from happening)",
            )
        )
    for source, relation, target in sorted(said):
        if relation not in VISIBLE or source not in watched or (source, target) in used:
            continue
        last = observed.get((source, relation, target))
        since = "never" if last is None else f"not since {last.isoformat(timespec='seconds')}"
        found.append(
            Finding(
                type="unseen_relation",
                asset=source,
                message=f"it is declared that {relation_id(source, relation, target)}, and that was {since} seen",
                fix=f"quarterdeck estate unrelate {source} {relation} {target}   (if it is no more)",
            )
        )
    return tuple(found)


def _wholes(relations: Iterable[Ends]) -> dict[str, set[str]]:
    """Return what each object is offered by or is a version of."""
    found: dict[str, set[str]] = {}
    for source, relation, target in relations:
        if relation in _WHOLE:
            found.setdefault(target, set()).add(source)
        elif relation in _PART:
            found.setdefault(source, set()).add(target)
    return found
