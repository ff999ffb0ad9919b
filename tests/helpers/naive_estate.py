"""The estate folded the plain way: of every object, all that was ever said of it, looked through anew for each answer.

Shares nothing with the read models. `Estate.hear` takes events in order, `rows` tells what the tables should say then,
and `true_at` what was true of an object at a moment, as far as it was known.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from quarterdeck_domain.estate import events as estate
from quarterdeck_domain.events import RecordedEvent

FIELDS = (
    *("title", "description", "owner", "team", "purpose", "classification", "risk", "policy_class", "tier"),
    *("lifecycle", "environments"),
)
FOREVER = datetime.max.replace(tzinfo=UTC)


class Estate:
    """Everything that was said, by what it was said of: (table, id)."""

    def __init__(self) -> None:
        self.said: dict[tuple[str, str], list[RecordedEvent]] = {}
        self.changed: set[tuple[str, str]] = set()
        """What was said something of since somebody emptied this."""

    def hear(self, event: RecordedEvent) -> None:
        """Take in the event that follows."""
        for key in concerned(event):
            self.said.setdefault(key, []).append(event)
            self.changed.add(key)

    def row(self, table: str, object_id: str) -> dict[str, Any]:
        """Return what a table should say of an object now."""
        return _ROW[table](object_id, self.said[table, object_id])

    def rows(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Return what all tables should say of everything now."""
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for table, object_id in self.said:
            found.setdefault(table, {})[object_id] = self.row(table, object_id)
        return found


def concerned(event: RecordedEvent) -> Iterator[tuple[str, str]]:
    """Yield what an event says something of."""
    match event.payload:
        case estate.AssetsMerged() as e:
            yield "assets", e.survivor
            yield "assets", e.merged
        case estate.RelationDeclared() | estate.RelationObserved() | estate.RelationWithdrawn() as e:
            yield "relations", f"{e.source} {e.relation} {e.target}"
        case estate.DriftDetected() | estate.DriftAccepted() as e:
            yield "drifts", e.drift_id
        case estate.EstateApplied():
            pass
        case e if e.type.startswith("asset."):
            yield "assets", e.asset  # type: ignore[attr-defined]


def true_at(asset: str, said: list[RecordedEvent], moment: datetime) -> dict[str, Any]:
    """Return which facts hold of an object at a moment, by all that was said of it."""
    found: dict[str, Any] = {}
    for name in {name for event in said for name in _facts(asset, event)}:
        covering = []
        for event in said:
            facts = _facts(asset, event)
            begins = getattr(event.payload, "valid_from", None) or event.recorded_at
            ends = getattr(event.payload, "valid_to", None) or FOREVER
            if name in facts and begins <= moment < ends:
                covering.append((begins, event.position, facts[name]))
        if covering:
            found[name] = max(covering, key=lambda item: item[:2])[2]
    return found


def _facts(asset: str, event: RecordedEvent) -> dict[str, Any]:
    match event.payload:
        case estate.AssetRegistered() | estate.AssetChanged() as e:
            return e.facts
        case estate.AssetOwnershipTransferred() as e:
            return {"owner": e.owner, "team": e.team}
        case estate.AssetPromoted():
            return {"tier": 1}
        case estate.AssetDeprecated():
            return {"lifecycle": "deprecated"}
        case estate.AssetRetired():
            return {"lifecycle": "retired"}
        case estate.AssetQuarantined():
            return {"lifecycle": "quarantined"}
        case estate.AssetReleased() as e:
            return {"lifecycle": e.lifecycle}
        case estate.AssetsMerged() as e:
            return e.adopted if e.survivor == asset else {"lifecycle": "retired"}
    return {}


_COUNTS = ("observed", "imported", "declared")
"""Confidences, by how much a word counts beside another."""


def _asset(asset: str, said: list[RecordedEvent]) -> dict[str, Any]:
    told = true_at(asset, said, said[-1].recorded_at)
    row: dict[str, Any] = {name: told.get(name) for name in FIELDS}
    row["lifecycle"] = told.get("lifecycle") or "draft"
    row["environments"] = told.get("environments") or []
    row["attributes"] = {
        name.split(".", 1)[1]: value
        for name, value in told.items()
        if name.startswith("attributes.") and value is not None
    }
    row |= {"aliases": [], "merged_into": None, "successor": None, "sunset": None}
    for event in said:
        match event.payload:
            case estate.AssetRegistered() as e:
                row |= {"source": e.source, "confidence": e.confidence, "valid_from": e.valid_from}
            case estate.AssetChanged() as e:
                if e.facts.get("lifecycle") in ("draft", "live"):
                    row |= {"successor": None, "sunset": None}
                # Source and confidence are of one word: the last that counts no less, and says something that holds.
                if e.facts and _COUNTS.index(e.confidence) >= _COUNTS.index(row["confidence"]):
                    row |= {"source": e.source, "confidence": e.confidence}
            case estate.AssetDeprecated() as e:
                row |= {"successor": e.successor, "sunset": e.sunset}
            case estate.AssetsMerged() as e if e.survivor == asset:
                row["aliases"] = sorted({*row["aliases"], e.merged})
            case estate.AssetsMerged() as e:
                row["merged_into"] = e.survivor
    kind, name = asset.split(":", 1)
    times = {"registered_at": said[0].recorded_at, "changed_at": said[-1].recorded_at}
    return row | times | {"kind": kind, "name": name}


def _relation(relation: str, said: list[RecordedEvent]) -> dict[str, Any]:
    source, name, target = relation.split(" ")
    row: dict[str, Any] = {"source": source, "relation": name, "target": target, "changed_at": said[-1].recorded_at}
    row |= {"source_kind": source.split(":")[0], "target_kind": target.split(":")[0]}
    seen = [event.payload for event in said if isinstance(event.payload, estate.RelationObserved)]
    row |= {
        "observed": bool(seen),
        "seen": sum(e.count for e in seen),
        "first_seen": min((e.first_seen for e in seen), default=None),
        "last_seen": max((e.last_seen for e in seen), default=None),
        "observation": seen[-1].evidence if seen else "",
        "senders": {
            name: _text(max(e.last_seen for e in seen if (e.sender or "") == name))
            for name in sorted({e.sender or "" for e in seen})
        },
    }
    row |= {"declared": False, "environment": None, "evidence": "", "said_by": "", "confidence": "declared"}
    for place, event in enumerate(said):
        match event.payload:
            case estate.RelationDeclared() as e:
                told = _told(said[: place + 1], event.recorded_at)
                e = e if told is None else said[told].payload  # type: ignore[assignment]
                row |= {"declared": True, "environment": e.environment, "evidence": e.evidence}
                row |= {"said_by": e.said_by, "confidence": e.confidence}
            case estate.RelationWithdrawn():
                row["declared"] = False
            case estate.RelationObserved() as e:
                row["environment"] = row["environment"] or e.environment
                if not row["declared"]:
                    row["confidence"] = "observed"
    row["intervals"] = _intervals(said)
    return row


def _intervals(said: list[RecordedEvent]) -> list[list[str | None]]:
    """Return from when until when each declaration held, the one that took effect first first: until another that took
    effect later holds for good, or till its end. Looked at is every stretch between two moments at which something begins
    or ends."""
    periods = {place: item for place in range(len(said)) if (item := _period(said, place))}
    edges = sorted({edge for item in periods.values() for edge in item})
    last = {place: after for edge, after in pairwise(edges) if (place := _told(said, edge)) is not None}
    return [
        [_text(begins), None if last[place] == FOREVER else _text(last[place])]
        for place, (begins, _) in sorted(periods.items(), key=lambda item: item[1][0])
        if place in last
    ]


def _told(said: list[RecordedEvent], moment: datetime) -> int | None:
    """Return which declaration a moment is told by: of those that cover it the one that took effect last."""
    periods = {place: item for place in range(len(said)) if (item := _period(said, place))}
    covering = [(begins, place) for place, (begins, ends) in periods.items() if begins <= moment < ends]
    return max(covering, default=(None, None))[1]


def _period(said: list[RecordedEvent], place: int) -> tuple[datetime, datetime] | None:
    """Return from when until when something is declared to hold: nothing ends it before but its being withdrawn."""
    first = said[place].payload
    if not isinstance(first, estate.RelationDeclared):
        return None
    begins, ends = first.valid_from or said[place].recorded_at, first.valid_to or FOREVER
    for event in said[place + 1 :]:
        if isinstance(event.payload, estate.RelationWithdrawn):
            ends = min(ends, event.payload.valid_to or event.recorded_at)
    return (begins, ends) if begins < ends else None


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _drift(_: str, said: list[RecordedEvent]) -> dict[str, Any]:
    found = said[0].payload
    assert isinstance(found, estate.DriftDetected)
    names = ("asset", "input", "field", "expected", "found", "evidence", "quarantined")
    state = "open" if len(said) == 1 else "accepted"
    return {name: getattr(found, name) for name in names} | {"state": state, "detected_at": said[0].recorded_at}


_ROW = {"assets": _asset, "relations": _relation, "drifts": _drift}
