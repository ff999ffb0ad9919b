"""Commands on the objects of the estate, one at a time. Whole files are applied by `plan`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from eventsourcing.dcb.api import DCBQuery

from quarterdeck_domain.access.values import CommandSlice
from quarterdeck_domain.checks import MAX_REASON, line, optional_line
from quarterdeck_domain.errors import InvalidInput, WrongState
from quarterdeck_domain.estate.asset import AssetFold
from quarterdeck_domain.estate.drift import DIGEST, PARTS, PINNED, PINNED_PARTS, differs
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
    DriftDetected,
)
from quarterdeck_domain.estate.finding_types import command, line_of
from quarterdeck_domain.estate.secrets import refuse_secrets
from quarterdeck_domain.estate.values import check_changes, check_facts, check_not_over, check_validity, flat
from quarterdeck_domain.events import Actor, Event, RecordedEvent
from quarterdeck_domain.slices import Decision, boundary

EDITORS: Final = ("operator", "administrator")
MAX_SOURCE: Final = 120
_PINS: Final = frozenset({DIGEST, PARTS, PINNED, PINNED_PARTS})


class _OnAsset(CommandSlice):
    """A command on one object, and on others that it concerns."""

    def __init__(self, actor: Actor, asset: str, *others: str | None) -> None:
        super().__init__(actor)
        self.asset = AssetFold(asset)
        self.others = tuple(AssetFold(name) for name in others if name is not None)

    def consistency_boundary(self) -> DCBQuery:
        return boundary(*self.house(), self.asset.needs(), *(other.needs() for other in self.others))

    def apply(self, event: RecordedEvent) -> None:
        super().apply(event)
        self.asset.apply(event)
        for other in self.others:
            other.apply(event)


def _one(event: Event) -> Decision:
    return Decision(events=(event,))


class RegisterAsset(_OnAsset):
    """Let an object be part of the estate. A name alone is enough to begin with: what is missing shows as a gap."""

    def __init__(
        self,
        *,
        asset: str,
        facts: Mapping[str, Any],
        actor: Actor,
        source: str = "command",
        valid_from: datetime | None = None,
    ) -> None:
        super().__init__(actor, asset)
        refuse_secrets(asset, "the name")
        checked = check_facts(self.asset.kind, facts)
        if checked.lifecycle not in {"draft", "live"}:
            raise InvalidInput("what begins is a draft or live", field="lifecycle")
        check_validity(valid_from, None)
        self.facts = {"lifecycle": checked.lifecycle} | flat(facts, checked)
        self.source = line(source, "source", limit=MAX_SOURCE)
        self.valid_from = valid_from

    def decide(self, now: datetime) -> Decision:
        self.require_role(*EDITORS)
        if self.asset.known:
            raise WrongState(f"there is a {self.asset.asset} already; change that one", asset=self.asset.asset)
        return _one(
            AssetRegistered(asset=self.asset.asset, facts=self.facts, source=self.source, valid_from=self.valid_from)
        )


class ChangeAsset(_OnAsset):
    """Say that something else is true of an object, now or from and until other moments."""

    def __init__(
        self,
        *,
        asset: str,
        set: Mapping[str, Any],
        actor: Actor,
        unset: Iterable[str] = (),
        reason: str = "",
        source: str = "command",
        valid_from: datetime | None = None,
        valid_to: datetime | None = None,
    ) -> None:
        super().__init__(actor, asset)
        self.changes = check_changes(self.asset.kind, set, unset)
        if "lifecycle" in self.changes and self.changes["lifecycle"] not in {"draft", "live"}:
            raise InvalidInput("deprecate, quarantine and retire are commands of their own", field="lifecycle")
        check_validity(valid_from, valid_to)
        self.reason = optional_line(reason, "reason", limit=MAX_REASON)
        self.source = line(source, "source", limit=MAX_SOURCE)
        self.valid_from, self.valid_to = valid_from, valid_to

    def decide(self, now: datetime) -> Decision:
        self.require_role(*EDITORS)
        check_not_over(self.valid_from, self.valid_to, now)
        if "lifecycle" in self.changes and (self.valid_to or (self.valid_from or now) > now):
            raise InvalidInput(
                "a lifecycle is not announced and has no end: a quarantine would end by itself", field="lifecycle"
            )
        facts = self.asset.require_in_use(now)
        if "lifecycle" in self.changes and facts.get("lifecycle") == "quarantined":
            raise WrongState(f"{self.asset.asset} is in quarantine; release it first", asset=self.asset.asset)
        dated = self.valid_from is not None or self.valid_to is not None
        pins = [name for name in (PINNED, PINNED_PARTS) if name in self.changes]
        if pins and (dated or (facts.get(PINNED) and any(facts.get(name) != self.changes[name] for name in pins))):
            raise WrongState(
                f"{pins[0]} is said once, and moves only when somebody accepts a drift: note the drift, if nobody has, "
                "and accept it",
                asset=self.asset.asset,
                field=pins[0],
            )
        # To say what is said already is news where sources disagree, or where it was nobody's word but a source's.
        settled = self.asset.settled(*self.changes) and self.asset.confidence != "observed"
        if not dated and settled and all(facts.get(name) == value for name, value in self.changes.items()):
            return Decision()
        return _one(
            AssetChanged(
                asset=self.asset.asset,
                facts=self.changes,
                source=self.source,
                reason=self.reason,
                valid_from=self.valid_from,
                valid_to=self.valid_to,
            )
        )


class TransferAsset(_OnAsset):
    """Let somebody else answer for an object. Whoever answers for it is named, person's role and team."""

    def __init__(self, *, asset: str, owner: str, team: str | None, actor: Actor, reason: str = "") -> None:
        super().__init__(actor, asset)
        check_facts(self.asset.kind, {"owner": line(owner, "owner"), "team": team})
        self.owner, self.team = owner, team
        self.reason = optional_line(reason, "reason", limit=MAX_REASON)

    def decide(self, now: datetime) -> Decision:
        self.require_role(*EDITORS)
        facts = self.asset.require_in_use(now)
        team = facts.get("team") if self.team is None else self.team
        if (facts.get("owner"), facts.get("team")) == (self.owner, team) and self.asset.settled("owner", "team"):
            return Decision()
        return _one(
            AssetOwnershipTransferred(
                asset=self.asset.asset,
                owner=self.owner,
                team=team,
                previous_owner=facts.get("owner"),
                previous_team=facts.get("team"),
                reason=self.reason,
            )
        )


class PromoteAsset(_OnAsset):
    """Name an object a tier-one dependency. It needs somebody who answers for it."""

    def __init__(self, *, asset: str, reason: str, actor: Actor) -> None:
        super().__init__(actor, asset)
        self.reason = line(reason, "reason", limit=MAX_REASON)

    def decide(self, now: datetime) -> Decision:
        self.require_role(*EDITORS)
        facts = self.asset.require_in_use(now)
        if facts.get("tier") == 1 and self.asset.settled("tier"):
            return Decision()
        if not facts.get("owner"):
            raise WrongState(
                "what the business does not run without needs somebody who answers for it: transfer it first",
                asset=self.asset.asset,
            )
        return _one(AssetPromoted(asset=self.asset.asset, previous_tier=facts.get("tier"), reason=self.reason))


class DeprecateAsset(_OnAsset):
    """Say that an object is on its way out, what takes its place, and its last day."""

    def __init__(
        self,
        *,
        asset: str,
        actor: Actor,
        successor: str | None = None,
        sunset: datetime | None = None,
        reason: str = "",
    ) -> None:
        super().__init__(actor, asset, successor)
        if successor == asset:
            raise InvalidInput("nothing succeeds itself", field="successor")
        check_validity(sunset, None)
        self.successor, self.sunset = successor, sunset
        self.reason = optional_line(reason, "reason", limit=MAX_REASON)

    def decide(self, now: datetime) -> Decision:
        self.require_role(*EDITORS)
        facts = self.asset.require_in_use(now)
        for other in self.others:
            other.require_in_use(now)
        if facts.get("lifecycle") != "live":
            raise WrongState(f"{self.asset.asset} is {facts.get('lifecycle')}, not live", asset=self.asset.asset)
        return _one(
            AssetDeprecated(asset=self.asset.asset, successor=self.successor, sunset=self.sunset, reason=self.reason)
        )


class RetireAsset(_OnAsset):
    """Say that an object is no longer in use. It stays readable, and so do its relations."""

    def __init__(self, *, asset: str, actor: Actor, reason: str = "") -> None:
        super().__init__(actor, asset)
        self.reason = optional_line(reason, "reason", limit=MAX_REASON)

    def decide(self, now: datetime) -> Decision:
        self.require_role(*EDITORS)
        self.asset.require_in_use(now)
        return _one(AssetRetired(asset=self.asset.asset, reason=self.reason))


class MergeAssets(_OnAsset):
    """Say that two objects of a kind are one. What is known of the survivor wins; the other's name becomes an alias."""

    def __init__(self, *, survivor: str, merged: str, actor: Actor, reason: str = "") -> None:
        super().__init__(actor, survivor, merged)
        if survivor == merged:
            raise InvalidInput("these are one already", field="merged")
        if self.asset.kind != self.others[0].kind:
            raise InvalidInput("only objects of one kind can be one", survivor=survivor, merged=merged)
        self.reason = optional_line(reason, "reason", limit=MAX_REASON)
        self._open: dict[str, None] = {}

    def consistency_boundary(self) -> DCBQuery:
        everyone = (self.asset, *self.others)
        drifts = ((DriftDetected, DriftAccepted), (f"asset:{self.others[0].asset}",))
        return boundary(*self.house(), *(one.needs() for one in everyone), drifts)

    def apply(self, event: RecordedEvent) -> None:
        super().apply(event)
        match event.payload:
            case DriftDetected(asset=name, drift_id=drift_id) if name == self.others[0].asset:
                self._open[drift_id] = None
            case DriftAccepted(drift_id=drift_id):
                self._open.pop(drift_id, None)
            case _:
                pass

    def decide(self, now: datetime) -> Decision:
        self.require_role(*EDITORS)
        mine = self.asset.require_in_use(now)
        other = self.others[0]
        other.require()
        theirs = other.facts(now)
        if "quarantined" in (mine.get("lifecycle"), theirs.get("lifecycle")):
            raise WrongState(
                "what is in quarantine is not made part of something else: release it first, having looked at it",
                survivor=self.asset.asset,
                merged=other.asset,
            )
        if other.unreleased_since is not None:
            raise WrongState(
                f"{other.asset} was retired from quarantine, and nobody has looked at it: it is not made part of "
                "something else; leave it retired",
                survivor=self.asset.asset,
                merged=other.asset,
            )
        if self._open and theirs.get("lifecycle") != "retired":
            raise WrongState(
                f"{other.asset} is not as it was pinned, and nobody would look at that once it is part of something "
                "else: accept its drift first",
                asset=other.asset,
                drift_id=next(iter(self._open)),
            )
        # A pin belongs to the digest that it was taken of: of another's, it would be drift.
        kept = {"lifecycle", *(_PINS if any(mine.get(name) for name in _PINS) else ())}
        adopted = {
            name: value
            for name, value in theirs.items()
            if name != "lifecycle"
            and name not in kept
            and value not in (None, [], ())
            and mine.get(name) in (None, [], ())
        }
        return _one(AssetsMerged(survivor=self.asset.asset, merged=other.asset, adopted=adopted, reason=self.reason))


class QuarantineAsset(_OnAsset):
    """Say that an object is not to be used until somebody has looked at it. Decisions respect that."""

    def __init__(self, *, asset: str, reason: str, actor: Actor) -> None:
        super().__init__(actor, asset)
        self.reason = line(reason, "reason", limit=MAX_REASON)

    def decide(self, now: datetime) -> Decision:
        self.require_role(*EDITORS)
        facts = self.asset.require_in_use(now)
        if facts.get("lifecycle") == "quarantined":
            return Decision()
        return _one(
            AssetQuarantined(
                asset=self.asset.asset, reason=self.reason, previous_lifecycle=facts.get("lifecycle") or "live"
            )
        )


class ReleaseAsset(_OnAsset):
    """Let an object in quarantine be used again, having looked at it.

    `digest` is what was looked at, and what it still has to be. Of what is not as it was pinned it must be said: a
    server may have changed it again since somebody looked.
    """

    def __init__(self, *, asset: str, reason: str, actor: Actor, digest: str | None = None) -> None:
        super().__init__(actor, asset)
        self.reason = line(reason, "reason", limit=MAX_REASON)
        self.digest = digest
        self._before = "live"

    def apply(self, event: RecordedEvent) -> None:
        super().apply(event)
        payload = event.payload
        if isinstance(payload, AssetQuarantined) and payload.asset == self.asset.asset:
            self._before = payload.previous_lifecycle

    def decide(self, now: datetime) -> Decision:
        self.require_role(*EDITORS)
        facts = self.asset.require_in_use(now)
        if facts.get("lifecycle") != "quarantined":
            raise WrongState(f"{self.asset.asset} is not in quarantine", asset=self.asset.asset)
        self._require_as_looked_at(facts)
        return _one(AssetReleased(asset=self.asset.asset, lifecycle=self._before, reason=self.reason))

    def _require_as_looked_at(self, facts: Mapping[str, Any]) -> None:
        asset, found = self.asset.asset, facts.get(DIGEST)
        if self.digest is not None:
            if self.digest != found:
                now = f"its digest is {found} now" if found else "it has no digest now"
                raise WrongState(
                    f"{asset} is not what was looked at: {now}, and {self.digest} was; look at it again",
                    asset=asset,
                    looked_at=self.digest,
                    found=found,
                )
        elif differs(facts, facts):
            release = line_of(command("release", asset, "--digest", str(found), "--reason", "REASON"))
            raise WrongState(
                f"{asset} is not as it was pinned: its digest is {found}, and {facts[PINNED]} was pinned; look at what "
                f"it is now, then say which digest that was: {release}",
                asset=asset,
                pinned=facts[PINNED],
                found=found,
            )
