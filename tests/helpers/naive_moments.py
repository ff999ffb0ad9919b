"""What was true of an estate at a moment, as known at a position, told the plain way: everything that was said by then is
looked through for each answer. Shares nothing with the read models.

`Moments` are histories whose events are recorded hours apart, or at once, and dated before and after one another.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from estate_stream import EstateStream
from naive_estate import FIELDS, FOREVER, concerned, true_at

from quarterdeck_domain.estate import events as estate
from quarterdeck_domain.events import Actor, Cause, Event, RecordedEvent
from quarterdeck_readmodels.catalogue import FOLDS
from quarterdeck_readmodels.folding import Run
from quarterdeck_readmodels.tables import By, Seen

START = datetime(2026, 3, 1, tzinfo=UTC)
SPAN = 60
"""So many hours are dated."""
Key = tuple[str, str]


def hour(number: float) -> datetime:
    """Return an hour of the history."""
    return START + timedelta(hours=number)


class Moments(EstateStream):
    """A stream of payloads, dated in the hours of the history."""

    def __init__(self, chance: random.Random, dated: float = 1.0) -> None:
        super().__init__(chance)
        self._dated = dated

    def _moment(self) -> datetime:
        return hour(self._random.randrange(SPAN))

    def _dates(self) -> dict[str, datetime]:
        return super()._dates() if self._random.random() < self._dated else {}

    def _drift(self) -> list[Event]:
        return []

    def _register(self) -> list[Event]:
        (found,) = super()._register()
        undated = self._random.random() >= self._dated
        return [msgspec.structs.replace(found, valid_from=None) if undated else found]


def history(chance: random.Random, count: int, dated: float = 1.0) -> list[RecordedEvent]:
    """Return what happened: each event at the hour of the one before it, or up to two hours later."""
    stream, now, events = Moments(chance, dated), 10.0, list[RecordedEvent]()
    while len(events) < count:
        for payload in stream.take():
            # What is declared and withdrawn at one moment never held; recorded it was, and is told of as no more.
            now += chance.choice((0.5, 2) if isinstance(payload, estate.RelationWithdrawn) else (0, 0.5, 2))
            if isinstance(payload, estate.RelationObserved):
                seen = min(payload.first_seen, hour(now))
                sender = chance.choice((None, "prn_a", "prn_b"))
                payload = msgspec.structs.replace(payload, first_seen=seen, last_seen=seen, sender=sender)
            elif isinstance(payload, estate.RelationDeclared):
                payload = msgspec.structs.replace(payload, evidence=f"e{len(events)}", said_by=chance.choice("ab"))
            elif isinstance(payload, estate.RelationWithdrawn) and chance.random() >= dated:
                payload = msgspec.structs.replace(payload, valid_to=None)
            events.append(
                RecordedEvent(
                    tenant="acme",
                    position=len(events) + 1,
                    id=uuid.UUID(int=chance.getrandbits(128)),
                    recorded_at=hour(now),
                    actor=Actor(principal="prn_test", kind="service"),
                    cause=Cause(),
                    tags=payload.tags(),
                    payload=payload,
                )
            )
    return events


def run_of(events: Sequence[RecordedEvent]) -> Run:
    """Return what events do to the read models, as their folds say."""
    run = Run(events[0].position, events[-1].position, [])
    for event in events:
        seen = Seen(
            type=event.type,
            version=1,
            position=event.position,
            recorded_at=event.recorded_at,
            id=str(event.id),
            data=msgspec.json.decode(msgspec.json.encode(event.payload)),
            actor=By(principal=event.actor.principal),
        )
        run.changes += [(event.position, change) for change in FOLDS[event.type](seen)]
    return run


def recorded_by(events: Sequence[RecordedEvent], moment: datetime) -> int:
    """Return the last position recorded by a moment."""
    return max((event.position for event in events if event.recorded_at <= moment), default=0)


def truth(events: Sequence[RecordedEvent], moment: datetime, known: int) -> dict[Key, dict[str, Any]]:
    """Return what was there at a moment, by table and id, by all that was recorded up to a position."""
    said: dict[Key, list[RecordedEvent]] = {}
    for event in events[:known]:
        for key in concerned(event):
            said.setdefault(key, []).append(event)
    found: dict[Key, dict[str, Any]] = {}
    for (table, name), about in said.items():
        if table == "drifts":
            continue
        row = _asset(name, about, moment) if table == "assets" else _relation(about, moment)
        if row is not None:
            found[table, name] = row | {"created_position": about[0].position}
    return found


def _asset(asset: str, said: list[RecordedEvent], moment: datetime) -> dict[str, Any] | None:
    telling = [
        getattr(event.payload, "valid_from", None) or event.recorded_at
        for event in said
        if not isinstance(event.payload, estate.AssetsMerged) or event.payload.merged == asset or event.payload.adopted
    ]
    if min(telling) > moment:
        return None
    told = true_at(asset, said, moment)
    row: dict[str, Any] = {name: told.get(name) for name in FIELDS}
    row["lifecycle"] = told.get("lifecycle") or "draft"
    row["environments"] = tuple(told.get("environments") or ())
    row["attributes"] = {
        name.split(".", 1)[1]: value
        for name, value in told.items()
        if name.startswith("attributes.") and value is not None
    }
    row |= {"aliases": (), "merged_into": None, "successor": None, "sunset": None}
    for payload in [event.payload for event in said if event.recorded_at <= moment]:
        if isinstance(payload, estate.AssetDeprecated):
            row |= {"successor": payload.successor, "sunset": payload.sunset}
        elif isinstance(payload, estate.AssetChanged) and payload.facts.get("lifecycle") in ("draft", "live"):
            row |= {"successor": None, "sunset": None}
        elif isinstance(payload, estate.AssetsMerged) and payload.survivor == asset:
            row["aliases"] = tuple(sorted({*row["aliases"], payload.merged}))
        elif isinstance(payload, estate.AssetsMerged):
            row["merged_into"] = payload.survivor
    return row


def _relation(said: list[RecordedEvent], moment: datetime) -> dict[str, Any] | None:
    held = [span for place in range(len(said)) if (span := _span(said, place)) is not None and span[0] <= moment]
    seen = [event.payload for event in said if isinstance(event.payload, estate.RelationObserved)]
    early = [e.payload for e in said if isinstance(e.payload, estate.RelationObserved) and e.recorded_at <= moment]
    observed = any(payload.first_seen <= moment for payload in seen)
    if not held and not observed:
        return None
    # Of several that cover a moment, the one that took effect last, and of those the one recorded last.
    covering = sorted((span for span in held if moment < span[1]), key=lambda span: span[0])
    row: dict[str, Any] = {"declared": bool(covering), "observed": observed}
    whole = all(payload.last_seen <= moment for payload in seen)
    if observed and whole:
        row["seen"] = sum(payload.count for payload in seen)
    row["senders"] = {} if not observed else _words(seen if whole or not early else early, moment)
    if covering:
        declaration = covering[-1][2]
        row |= {name: getattr(declaration, name) for name in ("evidence", "confidence", "said_by")}
    elif not held:
        row |= {"evidence": "", "confidence": "observed", "said_by": ""}
    return row


def _words(seen: list[estate.RelationObserved], moment: datetime) -> dict[str, str]:
    """Return when each sender last said so: of those who spoke last by the moment, and all spoke by then only if none
    of them did."""
    last: dict[str, datetime] = {}
    for payload in seen:
        name = payload.sender or ""
        last[name] = max(last.get(name, payload.last_seen), payload.last_seen)
    by_then = {name: when for name, when in last.items() if when <= moment} or dict.fromkeys(last, moment)
    return {name: when.isoformat(timespec="microseconds") for name, when in by_then.items()}


def _span(said: list[RecordedEvent], place: int) -> tuple[datetime, datetime, estate.RelationDeclared] | None:
    """Return from when until when a declaration held, by what was said later: nothing ends it but its being withdrawn;
    None if it never did."""
    first = said[place].payload
    if not isinstance(first, estate.RelationDeclared):
        return None
    begins, ends = first.valid_from or said[place].recorded_at, first.valid_to or FOREVER
    for event in said[place + 1 :]:
        if isinstance(event.payload, estate.RelationWithdrawn):
            ends = min(ends, event.payload.valid_to or event.recorded_at)
    return (begins, ends, first) if begins < ends else None


def differences(expected: Mapping[Key, Mapping[str, Any]], found: Mapping[Key, Any]) -> list[str]:
    """Return what is told otherwise, in words."""
    wrong = [f"{key} is there" for key in found.keys() - expected.keys()]
    wrong += [f"{key} is not there" for key in expected.keys() - found.keys()]
    for key in expected.keys() & found.keys():
        for name, value in expected[key].items():
            mine = getattr(found[key], name)
            if (tuple(mine) if isinstance(mine, list) else mine) != value:
                wrong.append(f"{key} {name}: {mine!r}, not {value!r}")
    return sorted(wrong)
