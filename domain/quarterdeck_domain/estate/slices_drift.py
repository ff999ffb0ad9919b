"""Commands on drift: note that an object is not what was pinned, and take what was found as the new pin."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec
from eventsourcing.dcb.api import DCBQuery

from quarterdeck_domain.access.values import CommandSlice
from quarterdeck_domain.checks import MAX_REASON, line, prose
from quarterdeck_domain.errors import InvalidInput, NotFound, WrongState
from quarterdeck_domain.estate.asset import AssetFold
from quarterdeck_domain.estate.drift import DIGEST, PARTS, PINNED, PINNED_PARTS, is_fact
from quarterdeck_domain.estate.events import (
    AssetChanged,
    AssetQuarantined,
    DriftAccepted,
    DriftDetected,
    DriftInput,
)
from quarterdeck_domain.estate.kinds import KINDS
from quarterdeck_domain.estate.slices import EDITORS
from quarterdeck_domain.estate.values import check_changes
from quarterdeck_domain.events import Actor, Event, RecordedEvent
from quarterdeck_domain.slices import Decision, boundary

MAX_SAID: Final = 300


class _OnDrift(CommandSlice):
    """A command on the drift of one object; it knows the object and every drift of it."""

    def __init__(self, actor: Actor, asset: str) -> None:
        super().__init__(actor)
        self.asset = AssetFold(asset)
        self.drifts: dict[str, DriftDetected] = {}
        self.accepted: set[str] = set()

    def consistency_boundary(self) -> DCBQuery:
        drifts = ((DriftDetected, DriftAccepted), (f"asset:{self.asset.asset}",))
        return boundary(*self.house(), self.asset.needs(), drifts)

    def apply(self, event: RecordedEvent) -> None:
        super().apply(event)
        self.asset.apply(event)
        match event.payload:
            case DriftDetected(asset=name, drift_id=drift_id) as drift if name == self.asset.asset:
                self.drifts[drift_id] = drift
            case DriftAccepted(asset=name, drift_id=drift_id) if name == self.asset.asset:
                self.accepted.add(drift_id)
            case _:
                pass


class DetectDrift(_OnDrift):
    """Note that one of the five inputs of behaviour is not what was pinned; the same drift, still open, is noted once.

    `field` names what differs: an attribute of the object's kind, where it is one. `quarantine` keeps the object from
    being used until somebody has looked at it.
    """

    def __init__(
        self,
        *,
        drift_id: str,
        asset: str,
        input: DriftInput,
        field: str,
        expected: str,
        found: str,
        actor: Actor,
        evidence: str = "",
        quarantine: bool = False,
    ) -> None:
        super().__init__(actor, asset)
        self.drift = DriftDetected(
            drift_id=drift_id,
            asset=asset,
            input=input,
            field=line(field, "field", limit=MAX_SAID),
            expected=line(expected, "expected", limit=MAX_SAID),
            found=line(found, "found", limit=MAX_SAID),
            evidence=prose(evidence, "evidence", limit=MAX_REASON) or "",
        )
        if expected == found:
            raise InvalidInput("what was found is what was expected: that is no drift", field="found")
        _pin(self.asset.kind, self.drift)
        self.quarantine = quarantine

    def decide(self, now: datetime) -> Decision:
        self.require_role(*EDITORS)
        facts = self.asset.require_in_use(now)
        drift = self.drift
        said = (drift.input, drift.field, drift.expected, drift.found)
        for name, other in self.drifts.items():
            if name not in self.accepted and (other.input, other.field, other.expected, other.found) == said:
                raise WrongState("this is noted already, and nobody has accepted it", asset=drift.asset, drift_id=name)
        lifecycle = facts.get("lifecycle") or "live"
        if not self.quarantine or lifecycle == "quarantined":
            return Decision(events=(drift,))
        reason = f"its {drift.field} is not as it was pinned"
        shut = AssetQuarantined(asset=drift.asset, reason=reason, previous_lifecycle=lifecycle)
        return Decision(events=(msgspec.structs.replace(drift, quarantined=True), shut))


class AcceptDrift(_OnDrift):
    """Take what was found as the new pin, having looked at it. An object in quarantine stays there until it is
    released: there may be other reasons for it.

    A drift of something that is as pinned again, or whose successor was accepted, is closed and moves no pin.
    """

    def __init__(self, *, drift_id: str, asset: str, reason: str, actor: Actor) -> None:
        super().__init__(actor, asset)
        self.drift_id = drift_id
        self.reason = line(reason, "reason", limit=MAX_REASON)

    def decide(self, now: datetime) -> Decision:
        self.require_role(*EDITORS)
        facts = self.asset.require_in_use(now)
        drift = self.drifts.get(self.drift_id)
        if drift is None:
            raise NotFound(f"{self.asset.asset} has no such drift", asset=self.asset.asset, drift_id=self.drift_id)
        if self.drift_id in self.accepted:
            raise WrongState("this drift was accepted already", asset=self.asset.asset, drift_id=self.drift_id)
        accepted = DriftAccepted(drift_id=self.drift_id, asset=self.asset.asset, reason=self.reason)
        changes = self._changes(drift, facts)
        events: tuple[Event, ...] = (accepted,)
        if changes:
            source = f"drift {self.drift_id}"
            changed = AssetChanged(asset=self.asset.asset, facts=changes, source=source, reason=self.reason)
            events = (accepted, changed)
        return Decision(events=events)

    def _changes(self, drift: DriftDetected, facts: dict[str, Any]) -> dict[str, Any]:
        if is_fact(drift.asset, drift.field, facts):
            pin = _pin(self.asset.kind, drift)
            return {name: value for name, value in pin.items() if facts.get(name) != value}
        found, pinned = facts.get(DIGEST), facts.get(PINNED)
        if found == pinned:
            return {}
        if found != drift.found:
            raise WrongState(
                f"{self.asset.asset} has changed again since: look at what it is now, and accept that drift",
                asset=self.asset.asset,
                looked_at=drift.found,
                found=found,
            )
        return {PINNED: found, PINNED_PARTS: facts.get(PARTS) or None}


def _pin(kind: str, drift: DriftDetected) -> dict[str, Any]:
    """Return the fact that pins what was found, where the drift's field is an attribute that can say it.

    Raises:
        InvalidInput: it is one, and what was found does not fit it.
    """
    if drift.field not in KINDS[kind].__struct_fields__:
        return {}
    return check_changes(kind, {"attributes": {drift.field: drift.found}}, ())
