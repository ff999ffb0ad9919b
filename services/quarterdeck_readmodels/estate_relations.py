"""Folds of the estate's relations and drifts: what was declared and when that held, and what was seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from quarterdeck_domain.estate.periods import Period, declare, telling, withdraw
from quarterdeck_readmodels.estate import DATED, PROMPTLY, SEEN, Drift, Relation, earliest, stamp
from quarterdeck_readmodels.tables import Change, Fold, Seen

MAX_SENDERS: Final = 20
"""Of one relation."""
SAID: Final = ("environment", "evidence", "confidence", "said_by")
"""What is said of a relation with each declaration."""


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
    dated = data["valid_from"] is not None or data["valid_to"] is not None

    def after(before: Mapping[str, Any]) -> dict[str, Any]:
        said = {name: data[name] for name in SAID}
        periods = declare(_periods(before), Period(begins, ends, said))
        # Said of another time than the present, it changes nothing of what is said of that.
        here = telling(periods, stamp(event.recorded_at))
        told = said if here is None else here.said
        return told | {
            "intervals": _intervals(periods, told),
            "timed": DATED if dated else before["timed"],
            "began": earliest(before["began"], begins),
        }

    values = _ends(data) | {"declared": True, "changed_at": event.recorded_at}
    yield Change(row=Relation, id=_name(data), create=True, again=True, set=values, work=after)


def _observed(event: Seen) -> Iterable[Change]:
    data = event.data

    def after(before: Mapping[str, Any]) -> dict[str, Any]:
        first, last = _ordered(before["first_seen"], data["first_seen"])[0], data["last_seen"]
        late = _moment(event.recorded_at) - _moment(first) > PROMPTLY
        found = {
            "seen": before["seen"] + data["count"],
            "first_seen": first,
            "began": earliest(before["began"], first),
            "last_seen": _ordered(before["last_seen"], last)[-1],
            "senders": _senders(before["senders"], data["sender"] or "", stamp(last)),
            "environment": before["environment"] or data["environment"],
            "timed": DATED if before["timed"] == DATED or (late and first != before["first_seen"]) else SEEN,
        }
        told = {} if before["declared"] else {"confidence": "observed"}
        if all(before[name] == value for name, value in (found | told).items() if name in SAID):
            return found
        # What is seen is not what was said.
        return found | told | {"intervals": _intervals(_periods(before))}

    values = _ends(data) | {"observed": True, "observation": data["evidence"], "changed_at": event.recorded_at}
    yield Change(row=Relation, id=_name(data), create=True, again=True, set=values, work=after)


def _senders(before: Mapping[str, str], sender: str, last: str) -> dict[str, str]:
    """Return when a relation was last seen by whom: of those who said so last, and of those who speak for others."""
    found = {**before, sender: max(last, before.get(sender, last))}
    latest = sorted(found, key=lambda name: (name == "", name == sender, found[name], name), reverse=True)
    return {name: found[name] for name in sorted(latest[:MAX_SENDERS])}


def _withdrawn(event: Seen) -> Iterable[Change]:
    data = event.data
    ends = stamp(data["valid_to"] or event.recorded_at)

    def after(before: Mapping[str, Any]) -> dict[str, Any]:
        periods = withdraw(_periods(before), ends)
        timed = DATED if data["valid_to"] is not None else before["timed"]
        return {"intervals": _intervals(periods, _said(before)), "timed": timed}

    values = {"declared": False, "changed_at": event.recorded_at}
    yield Change(row=Relation, id=_name(data), set=values, work=after)


def _said(before: Mapping[str, Any]) -> dict[str, Any]:
    return {name: before[name] for name in SAID}


def _periods(before: Mapping[str, Any]) -> list[Period[str]]:
    """Return when a relation is declared to hold; of a single period the row itself can say what was said with it."""
    return [Period(begins, ends, *(said or [_said(before)])) for begins, ends, *said in before["intervals"]]


def _intervals(periods: Sequence[Period[str]], row: Mapping[str, Any] | None = None) -> list[list[Any]]:
    """Return periods as a row keeps them that says something itself."""
    if len(periods) == 1 and periods[0].said == row:
        return [[periods[0].begins, periods[0].ends]]
    return [list(item) for item in periods]


def _ordered(*moments: datetime | str | None) -> list[datetime | str]:
    return sorted((moment for moment in moments if moment is not None), key=_moment)


def _moment(moment: datetime | str) -> datetime:
    return datetime.fromisoformat(moment) if isinstance(moment, str) else moment


def _drifted(event: Seen) -> Iterable[Change]:
    data = event.data
    names = ("asset", "input", "field", "expected", "found", "evidence", "quarantined")
    values = {name: data[name] for name in names} | {"detected_at": event.recorded_at}
    yield Change(row=Drift, id=data["drift_id"], create=True, set=values)


def _accepted(event: Seen) -> Iterable[Change]:
    yield Change(row=Drift, id=event.data["drift_id"], set={"state": "accepted"})


FOLDS: Final[Mapping[str, Fold]] = {
    "relation.declared": _declared,
    "relation.observed": _observed,
    "relation.withdrawn": _withdrawn,
    "drift.detected": _drifted,
    "drift.accepted": _accepted,
}
