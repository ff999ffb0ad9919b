"""Read models of the estate: objects, relations, drift. What happens to relations and drifts is in `estate_relations`.

A row shows what is known at its position of the moment at which it was recorded. Facts that hold from or until other
moments are kept beside it (`dated`), and what nobody dated, of the same fields (`plain`), so that what was true at any
moment can be told from rows alone: see `facts_at`, and `bitemporal`, which makes rows of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from quarterdeck_domain.estate.drift import DIGEST
from quarterdeck_domain.estate.values import FIELDS, Dated, holding
from quarterdeck_domain.estate.voices import COMMAND, WEIGHT, heard, kept, read
from quarterdeck_readmodels.tables import Change, Fold, Row, Seen, tellable

_KEPT: Final = frozenset({"draft", "live"})
MAX_DATED: Final = 200
"""How many dated facts of one object are kept: the latest."""
DATED: Final = "dated"
ANNOUNCED: Final = "announced"
SEEN: Final = "seen"
MARKS: Final = frozenset({"timed", "announced", "began"})
"""Columns by which rows are found; they say nothing to people."""
PROMPTLY: Final = timedelta(days=1)
"""What was first seen so long before it was recorded, or less, was recorded promptly."""


class Asset(Row, frozen=True, kw_only=True):
    """An object of the estate. `id` is `kind:name`."""

    table = "assets"
    filters = (
        "owner",
        "team",
        "timed",
        "announced",
        "kind",
        "lifecycle",
        "classification",
        "policy_class",
        "merged_into",
        "offered_by",
        "environments",
    )
    working = ("since", "plain", "dated", "voices")

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
    offered_by: str | None = None
    """The import that it first came from: when that no longer offers it, it is gone from there."""
    aliases: tuple[str, ...] = ()
    merged_into: str | None = None
    successor: str | None = None
    sunset: datetime | None = None
    voices: dict[str, Any] = {}
    """Whose word each fact is; see `voices`."""
    contested: dict[str, Any] = {}
    """What other sources say of a fact than the one whose word holds."""
    registered_at: datetime
    changed_at: datetime
    valid_from: datetime | None = None
    """Since when it exists, where somebody said so."""
    since: dict[str, Any] = {}
    """For each fact that nobody dated: when and at which position it was recorded."""
    plain: dict[str, Any] = {}
    """What nobody dated, of the fields that somebody else did."""
    dated: tuple[dict[str, Any], ...] = ()
    timed: str | None = None
    """`dated` once a dated fact is known of it. Of all others, what was true is what was recorded."""
    announced: str | None = None
    """`announced` while a dated fact begins or ends to hold after the row was recorded. All others are as they read."""
    began: datetime | None = None
    """The first moment from which on a dated fact holds."""


class Relation(Row, frozen=True, kw_only=True):
    """How one object is related to another. Declared, seen, or both; `intervals` say when what was declared held."""

    table = "relations"
    filters = ("source", "target", "timed", "relation", "source_kind", "target_kind")

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
    senders: dict[str, Any] = {}
    """When it was last seen by whom, of the latest of those who said so; "" for all who speak for others."""
    intervals: tuple[tuple[Any, ...], ...] = ()
    """From when until when it is declared to hold, in the order in which it takes effect; third, what was said with it,
    where that is not what the row says. See `estate.periods` of the domain."""
    timed: str | None = None
    """`dated` once it was declared or withdrawn as of another moment than that of recording, or was first seen long
    before that was recorded; else `seen` once it was seen. Of all others, what was true is what was recorded."""
    began: datetime | None = None
    """The first moment at which it can have held: it was seen, or somebody declared it to hold from then on."""
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
    return tellable(found).isoformat(timespec="microseconds")


def earliest(*moments: datetime | str | None) -> datetime:
    """Return the first of some moments, of which one there is."""
    return min(
        datetime.fromisoformat(moment) if isinstance(moment, str) else moment
        for moment in moments
        if moment is not None
    )


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
        said = read(before["voices"], before["contested"])
        if ends is None or stamp(ends) > stamp(event.recorded_at):
            whose = (event.data.get("source", COMMAND), event.data.get("confidence", "declared"))
            undated = {name: _value(before, name) for name in facts if name in since}
            claims, dated_too = event.data.get("claims", {}), begins is not None or ends is not None
            said = heard(said, *whose, facts, undated, claims, dated=dated_too)
        if begins is None and ends is None:
            covered = {name for item in dated for name in item["facts"]}
            since |= {name: [stamp(event.recorded_at), event.position] for name in facts}
            plain |= {name: value for name, value in facts.items() if name in covered}
            base = {**before, **_merged(before, facts)}
        else:
            plain |= {name: _value(before, name) for name in facts if name in since and name not in plain}
            item = {"position": event.position, "begins": stamp(begins or event.recorded_at), "facts": dict(facts)}
            dated.append(item if ends is None else item | {"ends": stamp(ends)})
            columns["began"] = earliest(before["began"], begins or event.recorded_at)
        dated = dated[-MAX_DATED:]
        held = {"since": since, "plain": plain, "dated": dated, "changed_at": event.recorded_at}
        held |= {"voices": kept(said), "contested": said.contested}
        if not dated:
            return columns | _merged(before, facts) | held
        here = stamp(event.recorded_at)
        later = any(item["begins"] > here or item.get("ends", "") > here for item in dated)
        held |= {"timed": DATED, "announced": ANNOUNCED if later else None}
        told = facts_at(event.recorded_at, {**base, **held})
        every = dict.fromkeys((*since, *(name for item in dated for name in item["facts"])))
        return columns | _merged(before, every | told) | held

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
            "offered_by": data["source"] if data["confidence"] == "imported" else None,
            "registered_at": event.recorded_at,
            "changed_at": event.recorded_at,
            "valid_from": data["valid_from"],
        },
        work=_said(event, data["facts"]),
    )


def _changed(event: Seen) -> Iterable[Change]:
    data = event.data
    # What is kept after all has no end.
    kept: dict[str, Any] = {"successor": None, "sunset": None} if data["facts"].get("lifecycle") in _KEPT else {}
    told = _said(event, data["facts"], **kept)

    def after(before: Mapping[str, Any]) -> dict[str, Any]:
        # Who is declared stays so: what an import or a trace adds to that does not make it less. Nor does a word that
        # does not hold say where the object is known from.
        if not data["facts"] or WEIGHT[data["confidence"]] < WEIGHT[before["confidence"]]:
            return told(before)
        return told(before) | {"source": data["source"], "confidence": data["confidence"]}

    yield Change(row=Asset, id=data["asset"], work=after)


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
    told = _said(event, {"lifecycle": event.data["lifecycle"]})

    def after(before: Mapping[str, Any]) -> dict[str, Any]:
        found = told(before)
        looked_at = _value(before, DIGEST) or ""
        voices = read(found["voices"], found["contested"])._replace(released=looked_at)
        return found | {"voices": kept(voices)}

    yield Change(row=Asset, id=event.data["asset"], work=after)


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
}
