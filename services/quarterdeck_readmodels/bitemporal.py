"""What was true of the estate at a moment, as known at a position: rows made of rows. Pure.

`known` is an object's row at the position as of which it is asked, `then` its row at the last position recorded up to
the moment (the same one, if nothing later is known; None where it was recorded later). What nobody dated holds from its
recording on: `then` tells it. What somebody dated, and when something was seen, `known` tells, however late it was
recorded. An object is there from the first moment at which anything that is said of it holds; a relation from
the first at which it is declared to hold, or was seen. Where what is known of something comes from is told as known.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from quarterdeck_domain.estate.values import FIELDS
from quarterdeck_readmodels.estate import DATED, Asset, Relation, columns_of, facts_at, stamp

_UNSAID: Final[Mapping[str, Any]] = {"since": {}, "plain": {}}
_NOT_YET: Final[Mapping[str, Any]] = {"aliases": (), "merged_into": None, "successor": None, "sunset": None}
_NOBODY: Final[Mapping[str, Any]] = {"evidence": "", "confidence": "observed", "said_by": ""}
_UNSEEN: Final[Mapping[str, Any]] = {"seen": 0, "first_seen": None, "last_seen": None, "observation": "", "senders": {}}


def asset_then(known: Asset, then: Asset | None, moment: datetime) -> Asset | None:
    """Return an object as it was at a moment; None if it was not there."""
    if known.timed is None:
        return then
    return _asset(known, then, moment) if _there(known, then, moment) else None


def asset_now(asset: Asset, moment: datetime) -> Asset:
    """Return an object as it is at a moment after its row was recorded: there, though nothing may hold of it yet."""
    if asset.announced is None:
        return asset
    recorded, here = stamp(asset.changed_at), stamp(moment)
    edges = (edge for item in asset.dated for edge in (item["begins"], item.get("ends")) if edge is not None)
    return _asset(asset, asset, moment) if any(recorded < edge <= here for edge in edges) else asset


def _asset(known: Asset, then: Asset | None, moment: datetime) -> Asset:
    facts = facts_at(moment, _values(known), _UNSAID if then is None else _values(then))
    columns: dict[str, Any] = dict.fromkeys(FIELDS) | columns_of(dict.fromkeys(("environments", "lifecycle")) | facts)
    columns["environments"] = tuple(columns["environments"])
    commanded = _NOT_YET if then is None else {name: getattr(then, name) for name in _NOT_YET}
    return msgspec.structs.replace(known, **columns, **commanded)


def relation_then(known: Relation, then: Relation | None, moment: datetime) -> Relation | None:
    """Return a relation as it was at a moment; None if it was not there."""
    if known.timed is None:
        return then
    said = _declared(known, then, moment)
    seen = known.first_seen is not None and known.first_seen <= moment
    if said is None and not seen:
        return None
    where = (then or known).environment
    columns = {**_NOBODY, "declared": False, "environment": where} if said is None else said
    if seen and columns["environment"] is None:
        columns["environment"] = where
    return msgspec.structs.replace(known, observed=seen, **columns, **_seen(known, then, moment))


def relation_now(relation: Relation, moment: datetime) -> Relation:
    """Return a relation as it is at a moment after its row was recorded: there, though it may not hold yet."""
    if relation.timed is None:
        return relation
    told = relation_then(relation, relation, moment)
    return msgspec.structs.replace(relation, declared=False, observed=False) if told is None else told


def holds(relation: Relation, moment: datetime) -> bool:
    """Tell whether a relation takes part at a moment: it was seen by then, or is declared to hold then."""
    if relation.observed and (relation.first_seen is None or relation.first_seen <= moment):
        return True
    return declares(relation, moment)


def declares(relation: Relation, moment: datetime) -> bool:
    """Tell whether somebody declares that a relation holds at a moment."""
    here = stamp(moment)
    return any(_covers(item, here) for item in relation.intervals)


def _there(known: Asset, then: Asset | None, moment: datetime) -> bool:
    if then is not None and (then.valid_from is None or then.since):
        return True
    if known.valid_from is not None and known.valid_from <= moment:
        return True
    return any(datetime.fromisoformat(item["begins"]) <= moment for item in known.dated)


def _values(asset: Asset) -> dict[str, Any]:
    return {name: getattr(asset, name) for name in asset.__struct_fields__}


def _declared(known: Relation, then: Relation | None, moment: datetime) -> dict[str, Any] | None:
    """Return whether a relation was declared, and what was said with that; None if nobody had declared it."""
    if known.timed != DATED:
        # Nothing of what was declared is dated: what was declared is what was recorded.
        if then is None or not (then.intervals or then.declared):
            return None
        return {name: getattr(then, name) for name in (*_NOBODY, "declared", "environment")}
    here = stamp(moment)
    # One that ended before it began never held.
    begun = [item for item in known.intervals if item[0] <= here and (item[1] is None or item[0] < item[1])]
    if not begun:
        return None
    covering = [item for item in begun if _covers(item, here)]
    told = (covering or begun)[-1]  # the one that took effect last
    said = told[2] if len(told) > 2 else {name: getattr(known, name) for name in (*_NOBODY, "environment")}
    return {**said, "declared": bool(covering)}


def _covers(item: tuple[Any, ...], here: str) -> bool:
    begins, ends, *_ = item
    return bool(begins <= here and (ends is None or here < ends))


def _by_then(senders: Mapping[str, Any], moment: datetime) -> dict[str, Any]:
    """Return who had said so by a moment: those whose last word is of then, and all only where none of them is known to
    have spoken that early. Of whoever spoke later, too, it is not known whether it had before."""
    here = stamp(moment)
    return {name: last for name, last in senders.items() if last <= here} or dict.fromkeys(senders, here)


def _seen(known: Relation, then: Relation | None, moment: datetime) -> Mapping[str, Any]:
    """Return how often and when a relation was seen by a moment: at least so often."""
    if known.first_seen is None or known.first_seen > moment:
        return _UNSEEN
    if known.last_seen is not None and known.last_seen <= moment:
        return {}
    if then is not None and then.observed:
        return {name: getattr(then, name) for name in ("seen", "last_seen", "observation", "senders")}
    return {"seen": 1, "last_seen": known.first_seen, "senders": _by_then(known.senders, moment)}
