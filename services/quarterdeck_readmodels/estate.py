"""Read models of the estate: objects, relations, drift.

A row shows what is known at its position of the moment at which it was recorded. Facts that hold from or until other
moments are kept beside it (`dated`), and what nobody dated, of the same fields (`plain`), so that what was true at any
moment can be told from rows alone: see `facts_at`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from quarterdeck_domain.estate.values import FIELDS, Dated, holding
from quarterdeck_readmodels.tables import Change, Fold, Row, Seen

MAX_DATED: Final = 200
"""How many dated facts of one object, and intervals of one relation, are kept: the latest."""


class Asset(Row, frozen=True, kw_only=True):
    """An object of the estate. `id` is `kind:name`."""

    table = "assets"
    filters = ("owner", "team", "kind", "lifecycle", "classification", "policy_class", "merged_into", "environments")

    kind: str
    name: str
    title: str | None = None
    description: str | None = None
    owner: str | None = None
    team: str | None = None
    purpose: str | None = None
    environments: tuple[str, ...] = ()
    classification: str | None = None
    risk: str | None = None
    policy_class: str | None = None
    tier: int | None = None
    lifecycle: str = "live"
    attributes: dict[str, Any] = {}
    source: str = ""
    confidence: str = "declared"
    aliases: tuple[str, ...] = ()
    merged_into: str | None = None
    successor: str | None = None
    sunset: datetime | None = None
    registered_at: datetime
    changed_at: datetime
    valid_from: datetime | None = None
    """Since when it exists, where somebody said so."""
    since: dict[str, Any] = {}
    """For each fact that nobody dated: when and at which position it was recorded."""
    plain: dict[str, Any] = {}
    """What nobody dated, of the fields that somebody else did."""
    dated: tuple[dict[str, Any], ...] = ()


class Relation(Row, frozen=True, kw_only=True):
    """How one object is related to another. Declared, seen, or both; `intervals` say when what was declared held."""

    table = "relations"
    filters = ("source", "target", "relation", "source_kind", "target_kind")

    source: str
    relation: str
    target: str
    source_kind: str
    target_kind: str
    environment: str | None = None
    evidence: str = ""
    confidence: str = "declared"
    said_by: str = ""
    declared: bool = False
    observed: bool = False
    seen: int = 0
    first_seen: datetime | None = None
    last_seen: datetime | None = None
    observation: str = ""
    """The evidence of what was seen."""
    intervals: tuple[tuple[str, str | None], ...] = ()
    changed_at: datetime


class Drift(Row, frozen=True, kw_only=True):
    """One of the five inputs of behaviour was not what was pinned. `state`: `open` or `accepted`."""

    table = "drifts"
    filters = ("asset", "state", "input")

    asset: str
    input: str
    field: str
    expected: str
    found: str
    evidence: str = ""
    quarantined: bool = False
    state: str = "open"
    detected_at: datetime


def facts_at(moment: datetime, known: Mapping[str, Any], then: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what was true of an object at a moment, flat, as far as it was known.

    `known` is the row at the position as of which it is known, `then` the row at the last position recorded up to the
    moment, if that is another (None: there was none).
    """
    plain = then if then is not None else known
    items = [
        Dated(
            position=since[1],
            begins=datetime.fromisoformat(since[0]),
            facts={name: plain["plain"][name] if name in plain["plain"] else _value(plain, name)},
        )
        for name, since in plain["since"].items()
    ]
    return holding((*items, *map(_dated, known["dated"])), moment)


def stamp(moment: datetime | str) -> str:
    """Return a moment as text that sorts as moments do."""
    found = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return found.astimezone(UTC).isoformat(timespec="microseconds")


def _dated(item: Mapping[str, Any]) -> Dated:
    ends = item.get("ends")
    return Dated(
        position=item["position"],
        begins=datetime.fromisoformat(item["begins"]),
        ends=None if ends is None else datetime.fromisoformat(ends),
        facts=item["facts"],
    )


def _value(values: Mapping[str, Any], name: str) -> Any:
    if name.startswith("attributes."):
        return values["attributes"].get(name.removeprefix("attributes."))
    return values[name]


def columns_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return flat facts as a row's columns."""
    found = {name: facts.get(name) for name in FIELDS if name in facts}
    if "environments" in found:
        found["environments"] = list(found["environments"] or ())
    if "lifecycle" in found and found["lifecycle"] is None:
        found["lifecycle"] = "draft"  # nothing said of it holds yet
    attributes = {
        name.removeprefix("attributes."): value
        for name, value in facts.items()
        if name.startswith("attributes.") and value is not None
    }
    return found | {"attributes": attributes}


def _said(event: Seen, facts: Mapping[str, Any], **columns: Any) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Return what an event's facts make of an object: dated ones are kept apart, then everything is told anew."""
    begins, ends = event.data.get("valid_from"), event.data.get("valid_to")

    def after(before: Mapping[str, Any]) -> dict[str, Any]:
        since, plain, dated = dict(before["since"]), dict(before["plain"]), list(before["dated"])
        base: Mapping[str, Any] = before
        if begins is None and ends is None:
            covered = {name for item in dated for name in item["facts"]}
            since |= {name: [stamp(event.recorded_at), event.position] for name in facts}
            plain |= {name: value for name, value in facts.items() if name in covered}
            base = {**before, **_merged(before, facts)}
        else:
            plain |= {name: _value(before, name) for name in facts if name in since and name not in plain}
            item = {"position": event.position, "begins": stamp(begins or event.recorded_at), "facts": dict(facts)}
            dated.append(item if ends is None else item | {"ends": stamp(ends)})
        kept = {"since": since, "plain": plain, "dated": dated[-MAX_DATED:], "changed_at": event.recorded_at}
        if not dated:
            return columns | _merged(before, facts) | kept
        told = facts_at(event.recorded_at, {**base, **kept})
        every = dict.fromkeys((*since, *(name for item in dated for name in item["facts"])))
        return columns | _merged(before, every | told) | kept

    return after


def _merged(before: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    found = columns_of(facts)
    gone = {name.removeprefix("attributes.") for name in facts if name.startswith("attributes.")}
    kept = {name: value for name, value in before["attributes"].items() if name not in gone}
    return found | {"attributes": kept | found["attributes"]}


def _registered(event: Seen) -> Iterable[Change]:
    data = event.data
    kind, _, name = data["asset"].partition(":")
    yield Change(
        row=Asset,
        id=data["asset"],
        create=True,
        set={
            "kind": kind,
            "name": name,
            "source": data["source"],
            "confidence": data["confidence"],
            "registered_at": event.recorded_at,
            "changed_at": event.recorded_at,
            "valid_from": data["valid_from"],
        },
        work=_said(event, data["facts"]),
    )


def _changed(event: Seen) -> Iterable[Change]:
    data = event.data
    columns = {"source": data["source"], "confidence": data["confidence"]}
    yield Change(row=Asset, id=data["asset"], work=_said(event, data["facts"], **columns))


def _transferred(event: Seen) -> Iterable[Change]:
    facts = {"owner": event.data["owner"], "team": event.data["team"]}
    yield Change(row=Asset, id=event.data["asset"], work=_said(event, facts))


def _promoted(event: Seen) -> Iterable[Change]:
    yield Change(row=Asset, id=event.data["asset"], work=_said(event, {"tier": 1}))


def _deprecated(event: Seen) -> Iterable[Change]:
    data = event.data
    columns = {"successor": data["successor"], "sunset": data["sunset"]}
    yield Change(row=Asset, id=data["asset"], work=_said(event, {"lifecycle": "deprecated"}, **columns))


def _retired(event: Seen) -> Iterable[Change]:
    yield Change(row=Asset, id=event.data["asset"], work=_said(event, {"lifecycle": "retired"}))


def _merged_assets(event: Seen) -> Iterable[Change]:
    data = event.data
    yield Change(row=Asset, id=data["survivor"], add={"aliases": data["merged"]}, work=_said(event, data["adopted"]))
    columns = {"merged_into": data["survivor"]}
    yield Change(row=Asset, id=data["merged"], work=_said(event, {"lifecycle": "retired"}, **columns))


def _quarantined(event: Seen) -> Iterable[Change]:
    yield Change(row=Asset, id=event.data["asset"], work=_said(event, {"lifecycle": "quarantined"}))


def _released(event: Seen) -> Iterable[Change]:
    facts = {"lifecycle": event.data["lifecycle"]}
    yield Change(row=Asset, id=event.data["asset"], work=_said(event, facts))


def _ends(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "source": data["source"],
        "relation": data["relation"],
        "target": data["target"],
        "source_kind": data["source"].partition(":")[0],
        "target_kind": data["target"].partition(":")[0],
    }


def _name(data: Mapping[str, Any]) -> str:
    return f"{data['source']} {data['relation']} {data['target']}"


def _declared(event: Seen) -> Iterable[Change]:
    data = event.data
    begins = stamp(data["valid_from"] or event.recorded_at)
    ends = None if data["valid_to"] is None else stamp(data["valid_to"])

    def after(before: Mapping[str, Any]) -> dict[str, Any]:
        kept = [list(item) for item in before["intervals"]]
        if kept and kept[-1][1] is None:
            # Said again, with other evidence or dates: what was open ends where this begins.
            kept[-1][1] = max(begins, kept[-1][0])
        whole = [item for item in kept if item[1] is None or item[0] < item[1]]
        return {"intervals": [*whole, [begins, ends]][-MAX_DATED:]}

    values = _ends(data) | {
        "environment": data["environment"],
        "evidence": data["evidence"],
        "confidence": data["confidence"],
        "said_by": data["said_by"],
        "declared": True,
        "changed_at": event.recorded_at,
    }
    yield Change(row=Relation, id=_name(data), create=True, again=True, set=values, work=after)


def _observed(event: Seen) -> Iterable[Change]:
    data = event.data

    def after(before: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "seen": before["seen"] + data["count"],
            "first_seen": before["first_seen"] or data["first_seen"],
            "environment": before["environment"] or data["environment"],
            "confidence": before["confidence"] if before["declared"] else "observed",
        }

    values = _ends(data) | {
        "observed": True,
        "last_seen": data["last_seen"],
        "observation": data["evidence"],
        "changed_at": event.recorded_at,
    }
    yield Change(row=Relation, id=_name(data), create=True, again=True, set=values, work=after)


def _withdrawn(event: Seen) -> Iterable[Change]:
    data = event.data
    ends = stamp(data["valid_to"] or event.recorded_at)

    def after(before: Mapping[str, Any]) -> dict[str, Any]:
        kept = [[begins, ends if until is None or until > ends else until] for begins, until in before["intervals"]]
        return {"intervals": [item for item in kept if item[0] < item[1]]}

    values = {"declared": False, "changed_at": event.recorded_at}
    yield Change(row=Relation, id=_name(data), set=values, work=after)


def _drifted(event: Seen) -> Iterable[Change]:
    data = event.data
    names = ("asset", "input", "field", "expected", "found", "evidence", "quarantined")
    values = {name: data[name] for name in names} | {"detected_at": event.recorded_at}
    yield Change(row=Drift, id=data["drift_id"], create=True, set=values)


def _accepted(event: Seen) -> Iterable[Change]:
    yield Change(row=Drift, id=event.data["drift_id"], set={"state": "accepted"})


ROWS: Final = (Asset, Relation, Drift)
FOLDS: Final[Mapping[str, Fold]] = {
    "asset.registered": _registered,
    "asset.changed": _changed,
    "asset.ownership_transferred": _transferred,
    "asset.promoted": _promoted,
    "asset.deprecated": _deprecated,
    "asset.retired": _retired,
    "asset.merged": _merged_assets,
    "asset.quarantined": _quarantined,
    "asset.released": _released,
    "relation.declared": _declared,
    "relation.observed": _observed,
    "relation.withdrawn": _withdrawn,
    "drift.detected": _drifted,
    "drift.accepted": _accepted,
}
