"""One object of the estate, and who exposes it, as decisions know them: folds of their events. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from quarterdeck_domain.estate.asset import AssetFold
from quarterdeck_domain.estate.drift import DIGEST, PINNED
from quarterdeck_domain.estate.events import (
    AssetQuarantined,
    AssetReleased,
    AssetRetired,
    AssetsMerged,
    RelationDeclared,
    RelationWithdrawn,
)
from quarterdeck_domain.estate.periods import Period, declare, withdraw
from quarterdeck_domain.events import RecordedEvent
from quarterdeck_domain.policy.events import Barred
from quarterdeck_policy.estate import ATTRIBUTES


class Object(AssetFold):
    """One object. Quarantine ends with a release and with nothing else, whatever a dated fact says."""

    def __init__(self, asset: str) -> None:
        super().__init__(asset)
        self.aliases: set[str] = set()
        self.edges: set[datetime] = set()
        self._state: Literal["quarantined", "retired"] | None = None

    def apply(self, event: RecordedEvent) -> None:
        super().apply(event)
        match event.payload:
            case AssetQuarantined(asset=self.asset):
                self._state = "quarantined"
            case AssetRetired(asset=self.asset):
                self._state = "retired"
            case AssetReleased(asset=self.asset):
                self._state = None
            case AssetsMerged(survivor=self.asset, merged=merged):
                self.aliases.add(merged)
            case _:
                pass
        for edge in (getattr(event.payload, "valid_from", None), getattr(event.payload, "valid_to", None)):
            if edge is not None:
                self.edges.add(edge)

    def lifecycle(self, moment: datetime) -> str | None:
        """Return its state at a moment; None before it begins."""
        said: str | None = self._state or self.facts(moment).get("lifecycle")
        return said

    def shut_since(self, moment: datetime) -> int | None:
        """Return since which position it is in quarantine, also if it was retired from there; None where it is not. Of
        one that came so nobody knows since when: since ever."""
        return self.unreleased_since or (0 if self.lifecycle(moment) == "quarantined" else None)

    def by_people(self) -> bool:
        """Tell whether people say what it is, or have put it into quarantine: not an import, nor a trace alone."""
        return self.confidence == "declared" or self.unreleased_since is not None

    def barred(self, named: str, moment: datetime, *, spared: bool) -> Barred | None:
        """Return why it may not be used, if so. `spared`: something else of that name is in use, so that retiring this
        one ended nothing."""
        match self.lifecycle(moment):
            case "quarantined":
                return Barred(asset=self.asset, lifecycle="quarantined", named=named)
            case "retired" if not spared:
                return Barred(asset=self.asset, lifecycle="retired", named=named)
            case _:
                return None

    def attributes(self, moment: datetime) -> dict[str, Any]:
        """Return what policy sees of it at a moment; nothing before it begins, or while traces alone know of it: who
        sends them would register what is to be permitted."""
        facts = self.facts(moment)
        lifecycle = self.lifecycle(moment)
        if lifecycle is None or self.confidence == "observed":
            return {}
        said: dict[str, Any] = {name: facts.get(name) for name in ATTRIBUTES}
        pinned, digest = facts.get(PINNED), facts.get(DIGEST)
        said |= {"lifecycle": lifecycle, "digest": digest, "as_pinned": None if pinned is None else digest == pinned}
        return {name: value for name, value in said.items() if value not in (None, [], ())}


class Exposed:
    """The servers that expose one thing. An exposure whose beginning lies ahead counts already.

    What an import takes back counts for a server in quarantine all the same (`offered_since`): it decides itself what
    it lists. A person's command takes it back for good.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.servers: set[str] = set()
        self.edges: set[datetime] = set()
        self._periods: dict[str, list[Period[datetime]]] = {}
        self._offered: dict[str, int | None] = {}
        """Up to which position each server did; None while it does."""
        self.by_people: set[str] = set()
        """The servers of which people said last that they do."""

    def apply(self, event: RecordedEvent) -> None:
        payload = event.payload
        if not isinstance(payload, RelationDeclared | RelationWithdrawn) or not payload.source.startswith(
            "mcp_server:"
        ):
            return
        self.servers.add(payload.source)
        if payload.valid_to is not None:
            self.edges.add(payload.valid_to)
        known = self._periods.get(payload.source, [])
        if isinstance(payload, RelationDeclared):
            period = Period(payload.valid_from or event.recorded_at, payload.valid_to)
            self._periods[payload.source] = declare(known, period)
            if payload.valid_to is None:
                self._offered[payload.source] = None
            if payload.confidence == "declared":
                self.by_people.add(payload.source)
            else:
                self.by_people.discard(payload.source)
        else:
            self._periods[payload.source] = withdraw(known, payload.valid_to or event.recorded_at)
            if payload.run is None:
                self._offered.pop(payload.source, None)
            elif self._offered.get(payload.source, 0) is None:
                self._offered[payload.source] = event.position

    def at(self, moment: datetime) -> list[str]:
        """Return the servers that expose it at a moment."""
        return sorted(name for name, said in self._periods.items() if any(item.lasts(moment) for item in said))

    def offered_since(self, server: str, position: int) -> bool:
        """Tell whether a server exposed it at a position or later, whatever imports have taken back since."""
        ended = self._offered.get(server, 0)
        return ended is None or ended > position
