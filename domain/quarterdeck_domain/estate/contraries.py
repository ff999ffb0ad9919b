"""What could have happened to the estate, and did not. See `contraries`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from quarterdeck_domain.causes import NOBODY, NOTHING, SOME_DAY, SOMETHING, Known, Maker
from quarterdeck_domain.estate.events import (
    AssetChanged,
    AssetDeprecated,
    AssetOwnershipTransferred,
    AssetPromoted,
    AssetQuarantined,
    AssetRegistered,
    AssetReleased,
    AssetRetired,
    AssetsMerged,
    DriftAccepted,
    RelationDeclared,
    RelationObserved,
    RelationWithdrawn,
)
from quarterdeck_domain.estate.source_events import (
    SourceChanged,
    SourceFailed,
    SourceRegistered,
    SourceRemoved,
    SourceSynced,
)
from quarterdeck_domain.estate.values import FIELDS
from quarterdeck_domain.events import Event


def _registered_asset(known: Known) -> Iterable[Event]:
    facts: dict[str, Any] = {"lifecycle": "quarantined"}
    if "acts-as" in known:
        facts["attributes.principal"] = known["acts-as"]
    asset = f"agent:{NOTHING}" if "acts-as" in known else known["asset"]
    yield AssetRegistered(asset=asset, facts=facts, source=SOMETHING)


def _changed(known: Known) -> Iterable[Event]:
    yield AssetChanged(asset=known["asset"], facts=dict.fromkeys(FIELDS), source=SOMETHING)
    # Of what was only observed this is what a person's word makes of it: registered.
    yield AssetChanged(asset=known["asset"], facts={"lifecycle": "live"}, source=SOMETHING)
    if "attribute" in known:
        facts = {f"attributes.{known['attribute']}": None}
        yield AssetChanged(asset=known["asset"], facts=facts, source=SOMETHING)


def _asset(made: type[Event]) -> Maker:
    return lambda known: (made(asset=known["asset"], reason=SOMETHING),)


def _moved(known: Known) -> Iterable[Event]:
    yield AssetOwnershipTransferred(
        asset=known["asset"], owner=NOBODY, team=SOMETHING, previous_owner=None, previous_team=None
    )


def _promoted(known: Known) -> Iterable[Event]:
    yield AssetPromoted(asset=known["asset"], previous_tier=None, reason=SOMETHING)


def _quarantined(known: Known) -> Iterable[Event]:
    yield AssetQuarantined(asset=known["asset"], reason=SOMETHING, previous_lifecycle="live")


def _unlocked(known: Known) -> Iterable[Event]:
    for lifecycle in ("live", "deprecated"):
        yield AssetReleased(asset=known["asset"], lifecycle=lifecycle, reason=SOMETHING)


def _merged(known: Known) -> Iterable[Event]:
    another = f"{known['asset'].partition(':')[0]}:{NOTHING}"
    yield AssetsMerged(survivor=another, merged=known["asset"])
    yield AssetsMerged(survivor=known["asset"], merged=another)


def _related(known: Known) -> dict[str, Any]:
    return dict(zip(("source", "relation", "target"), known["relation"].split(" ", 2), strict=True))


def _declared(known: Known) -> Iterable[Event]:
    yield RelationDeclared(**_related(known), environment=SOMETHING, evidence=SOMETHING)


def _seen(known: Known) -> Iterable[Event]:
    yield RelationObserved(**_related(known), evidence=SOMETHING, first_seen=SOME_DAY, last_seen=SOME_DAY)


def _withdrawn(known: Known) -> Iterable[Event]:
    yield RelationWithdrawn(**_related(known))


def _accepted(known: Known) -> Iterable[Event]:
    yield DriftAccepted(drift_id=known["drift"], asset="", reason=SOMETHING)


def _source(known: Known) -> Iterable[Event]:
    yield SourceRegistered(source_id=known["source"], kind="mcp", address=SOMETHING)


def _source_changed(known: Known) -> Iterable[Event]:
    yield SourceChanged(source_id=known["source"], address=SOMETHING)


def _source_removed(known: Known) -> Iterable[Event]:
    yield SourceRemoved(source_id=known["source"])


def _synced(known: Known) -> Iterable[Event]:
    yield SourceSynced(
        source_id=known["source"],
        run=SOMETHING,
        trigger="request",
        said_by=SOMETHING,
        digest=SOMETHING,
        plan_digest=SOMETHING,
        objects=-1,
        changed=True,
        counts={SOMETHING: 1},
        gone=-1,
        notes=(SOMETHING,),
    )


def _failed(known: Known) -> Iterable[Event]:
    yield SourceFailed(source_id=known["source"], run=SOMETHING, trigger="request", error=SOMETHING, message=SOMETHING)


MAKERS: Final[Mapping[str, Maker]] = {
    "asset.registered": _registered_asset,
    "asset.changed": _changed,
    "asset.ownership_transferred": _moved,
    "asset.promoted": _promoted,
    "asset.deprecated": _asset(AssetDeprecated),
    "asset.retired": _asset(AssetRetired),
    "asset.quarantined": _quarantined,
    "asset.released": _unlocked,
    "asset.merged": _merged,
    "relation.declared": _declared,
    "relation.observed": _seen,
    "relation.withdrawn": _withdrawn,
    "drift.accepted": _accepted,
    "source.registered": _source,
    "source.changed": _source_changed,
    "source.removed": _source_removed,
    "source.synced": _synced,
    "source.failed": _failed,
}
