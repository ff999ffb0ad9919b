"""One object of the estate as its own events tell it: the fold that every command on it shares."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from quarterdeck_domain.access.values import Item
from quarterdeck_domain.errors import NotFound, WrongState
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
)
from quarterdeck_domain.estate.values import Dated, holding, split
from quarterdeck_domain.estate.voices import COMMAND, WEIGHT, Voices, heard
from quarterdeck_domain.events import Event, RecordedEvent

ASSET_EVENTS = (
    AssetRegistered,
    AssetChanged,
    AssetOwnershipTransferred,
    AssetPromoted,
    AssetDeprecated,
    AssetRetired,
    AssetsMerged,
    AssetQuarantined,
    AssetReleased,
)


def said(payload: Event, asset: str) -> dict[str, Any] | None:
    """Return which facts an event says of an object, flat; None if it says nothing of it."""
    match payload:
        case AssetRegistered(asset=name, facts=facts) | AssetChanged(asset=name, facts=facts) if name == asset:
            return facts
        case AssetOwnershipTransferred(asset=name, owner=owner, team=team) if name == asset:
            return {"owner": owner, "team": team}
        case AssetPromoted(asset=name) if name == asset:
            return {"tier": 1}
        case AssetDeprecated(asset=name) if name == asset:
            return {"lifecycle": "deprecated"}
        case AssetRetired(asset=name) if name == asset:
            return {"lifecycle": "retired"}
        case AssetQuarantined(asset=name) if name == asset:
            return {"lifecycle": "quarantined"}
        case AssetReleased(asset=name, lifecycle=lifecycle) if name == asset:
            return {"lifecycle": lifecycle}
        case AssetsMerged(survivor=name, adopted=adopted) if name == asset:
            return adopted
        case AssetsMerged(merged=name) if name == asset:
            return {"lifecycle": "retired"}
        case _:
            return None


class AssetFold:
    """What is known of one object. Facts are resolved as of a moment; see `values.holding`."""

    def __init__(self, asset: str) -> None:
        self.asset = asset
        self.kind, self.name = split(asset)
        self.merged_into: str | None = None
        self.unreleased_since: int | None = None
        """Since which position it is in quarantine, also if it was retired from there; None where it is not."""
        self.confidence = "observed"
        self._dated: list[Dated] = []
        self._plain: dict[str, Any] = {}
        self._voices = Voices()

    def needs(self) -> Item:
        """Return the boundary item of every event this fold must see."""
        return (ASSET_EVENTS, (f"asset:{self.asset}",))

    def apply(self, event: RecordedEvent) -> None:
        """Fold one event; those of other objects pass by."""
        facts = said(event.payload, self.asset)
        if facts is None:
            return
        begins = getattr(event.payload, "valid_from", None) or event.recorded_at
        ends = getattr(event.payload, "valid_to", None)
        self._dated.append(Dated(position=event.position, begins=begins, ends=ends, facts=facts))
        source = getattr(event.payload, "source", COMMAND)
        confidence = getattr(event.payload, "confidence", "declared")
        if isinstance(event.payload, AssetRegistered) or (isinstance(event.payload, AssetChanged) and facts):
            # A word that does not hold, a mere claim, registers nothing.
            self.confidence = max(self.confidence, confidence, key=WEIGHT.__getitem__)
        dated = getattr(event.payload, "valid_from", None) is not None or ends is not None
        if ends is None or ends > event.recorded_at:
            claims = getattr(event.payload, "claims", {})
            self._voices = heard(self._voices, source, confidence, facts, self._plain, claims, dated=dated)
        if not dated:
            self._plain |= facts
        match event.payload:
            case AssetsMerged(survivor=survivor, merged=self.asset):
                self.merged_into = survivor
            case AssetQuarantined(asset=self.asset):
                self.unreleased_since = self.unreleased_since or event.position
            case AssetReleased(asset=self.asset):
                self.unreleased_since = None
            case _:
                pass

    @property
    def known(self) -> bool:
        """Whether it was ever registered."""
        return bool(self._dated)

    def facts(self, moment: datetime) -> dict[str, Any]:
        """Return what is true of it at a moment, flat; the object exists even before its facts begin to hold."""
        return holding(self._dated, moment)

    @property
    def contested(self) -> frozenset[str]:
        """The facts of which sources say different things."""
        return frozenset(self._voices.contested)

    def settled(self, *facts: str) -> bool:
        """Tell whether some facts are what people say, as far as anybody says anything, and no source contests them."""
        return all(
            name not in self._voices.contested and (self._plain.get(name) is None or self._voices.of_people(name))
            for name in facts
        )

    def require(self) -> None:
        """Refuse what was never registered, and what has become part of another.

        Raises:
            NotFound: it was never registered.
            WrongState: it was merged into another object.
        """
        if not self.known:
            raise NotFound(f"there is no {self.asset} in the estate; register it first", asset=self.asset)
        if self.merged_into is not None:
            raise WrongState(
                f"{self.asset} was merged into {self.merged_into}: name that one",
                asset=self.asset,
                survivor=self.merged_into,
            )

    def require_in_use(self, moment: datetime) -> dict[str, Any]:
        """Return its facts; refuse what is retired too.

        Raises:
            NotFound, WrongState: as `require`; or it is retired.
        """
        self.require()
        facts = self.facts(moment)
        if facts.get("lifecycle") == "retired":
            raise WrongState(f"{self.asset} is retired", asset=self.asset)
        return facts
