"""Random but possible histories of an estate, in small: what could follow what was said already, dated in every way."""

from __future__ import annotations

import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from quarterdeck_domain.estate import events as estate
from quarterdeck_domain.events import Event
from quarterdeck_domain.ids import make_id

START = datetime(2026, 1, 1, tzinfo=UTC)
KINDS = ("agent", "tool", "dataset", "policy_bundle", "tool_grant")
RELATIONS = ("calls", "reads", "writes", "governed_by", "part_of")
FACTS: dict[str, tuple[Any, ...]] = {
    "title": ("One", "Two", None),
    "description": ("as before", None),
    "owner": ("rota-a", "rota-b", None),
    "team": ("a", "b", None),
    "purpose": ("to help", None),
    "environments": (["prod"], ["prod", "dev"], []),
    "classification": ("internal", "restricted", None),
    "risk": ("low", "high", None),
    "policy_class": ("strict", None),
    "tier": (1, 2, None),
    "lifecycle": ("draft", "live"),
    "attributes.labels": ({"a": "b"}, {}, None),
    "attributes.cautions": (["odd"], None),
    "attributes.expires_at": (
        "2026-01-01T09:00:00Z",
        "2026-03-01T18:00:00",
        "2026-03-02T08:00:00+02:00",
        "2026-03-03",
        "2124-06-01T00:00:00",
        "as long as it is needed",
        None,
    ),
}
ENDS = "attributes.expires_at"


class EstateStream:
    """Yields payloads that could follow one another."""

    def __init__(self, chance: random.Random) -> None:
        self._random = chance
        self.assets: list[str] = []
        self.gone: set[str] = set()
        self.relations: dict[tuple[str, str, str], bool] = {}
        """Those there are, and whether they are declared."""
        self.drifts: list[tuple[str, str]] = []

    def take(self) -> list[Event]:
        """Return what happens next; nothing, now and then."""
        makers = [self._register] * 2
        if self.assets:
            makers += [self._change] * 10 + [self._lead] * 2 + [self._relate] * 8 + [self._drift]
        if self.relations:
            makers += [self._relation] * 6
        if self.drifts:
            makers.append(self._accept)
        return self._random.choice(makers)()

    def _register(self) -> list[Event]:
        asset = f"{self._random.choice(KINDS)}:a{len(self.assets)}"
        self.assets.append(asset)
        said = self._facts() | ({ENDS: self._random.choice(FACTS[ENDS])} if asset.startswith("tool_grant:") else {})
        facts = {"lifecycle": "live"} | {name: value for name, value in said.items() if value is not None}
        return [
            estate.AssetRegistered(
                asset=asset,
                facts=facts,
                source=self._random.choice(["file", "otlp"]),
                confidence=self._random.choice(["declared", "imported", "observed"]),  # type: ignore[arg-type]
                valid_from=self._moment() if self._random.random() < 0.3 else None,
            )
        ]

    def _facts(self) -> dict[str, Any]:
        names = self._random.sample(list(FACTS), self._random.randint(1, 4))
        return {name: self._random.choice(FACTS[name]) for name in names}

    def _moment(self) -> datetime:
        """Return a moment of long ago, or one that has not come."""
        year = self._random.choice([2025, 2025, 2124])
        return START.replace(year=year) + timedelta(hours=self._random.randrange(20))

    def _dates(self) -> dict[str, datetime]:
        """Return one of: no dates, from when on, until when, both."""
        begins, ends = sorted((self._moment(), self._moment()))
        chance = self._random.random()
        dates = {"valid_from": begins} if chance < 0.4 else {}
        return dates | ({"valid_to": ends} if 0.2 < chance < 0.5 and ends > begins else {})

    def _asset(self) -> str:
        return self._random.choice(self.assets)

    def _change(self) -> list[Event]:
        asset = self._asset()
        if asset in self.gone:
            return []
        source, confidence = self._random.choice(
            [("command", "declared"), ("file", "declared"), ("mcp", "imported"), ("otlp", "observed")]
        )
        said: dict[str, Any] = {"asset": asset, "source": source, "confidence": confidence}
        if confidence == "imported" and self._random.random() < 0.2:
            return [estate.AssetChanged(facts={}, claims=self._facts(), **said)]
        return [estate.AssetChanged(facts=self._facts(), **said, **self._dates())]

    def _lead(self) -> list[Event]:
        """Return one of the steps of an object's life."""
        asset, other = self._asset(), self._asset()
        if asset in self.gone:
            return []
        adopted = {name: value for name, value in self._facts().items() if name != "lifecycle" and value}
        found: Event = self._random.choice(
            [
                estate.AssetOwnershipTransferred(
                    asset=asset, owner="rota-c", team="c", previous_owner=None, previous_team=None
                ),
                estate.AssetPromoted(asset=asset, previous_tier=None, reason="needed"),
                estate.AssetDeprecated(asset=asset, successor=other, sunset=self._moment()),
                estate.AssetQuarantined(asset=asset, reason="odd", previous_lifecycle="live"),
                estate.AssetReleased(asset=asset, lifecycle="live", reason="looked at"),
                estate.AssetRetired(asset=asset),
                estate.AssetsMerged(survivor=asset, merged=other, adopted=adopted),
            ]
        )
        if isinstance(found, estate.AssetsMerged) and (asset == other or other in self.gone):
            return []
        if isinstance(found, estate.AssetRetired):
            self.gone.add(asset)
        if isinstance(found, estate.AssetsMerged):
            self.gone.add(other)
        return [found]

    def _relate(self) -> list[Event]:
        ends = (self._asset(), self._random.choice(RELATIONS), self._asset())
        self.relations.setdefault(ends, False)
        return self._said(ends)

    def _relation(self) -> list[Event]:
        return self._said(self._random.choice(list(self.relations)))

    def _said(self, ends: tuple[str, str, str]) -> list[Event]:
        source, relation, target = ends
        known: dict[str, Any] = {"source": source, "relation": relation, "target": target}
        way = self._random.randrange(3)
        if way == 0 and self.relations[ends]:
            self.relations[ends] = False
            ending = {"valid_to": self._moment()} if self._random.random() < 0.3 else {}
            return [estate.RelationWithdrawn(**known, **ending)]
        environment = self._random.choice([None, "prod", "dev"])
        if way == 1:
            seen = self._moment()
            count = self._random.randint(1, 9)
            return [
                estate.RelationObserved(
                    **known, environment=environment, evidence="trace", count=count, first_seen=seen, last_seen=seen
                )
            ]
        self.relations[ends] = True
        return [estate.RelationDeclared(**known, environment=environment, evidence="design", **self._dates())]

    def _drift(self) -> list[Event]:
        asset = self._asset()
        drift = make_id("drf", uuid.UUID(int=self._random.getrandbits(128)))
        self.drifts.append((drift, asset))
        return [
            estate.DriftDetected(
                drift_id=drift, asset=asset, input="tools", field="digest", expected="sha256:a", found="sha256:b"
            )
        ]

    def _accept(self) -> list[Event]:
        drift, asset = self.drifts.pop(self._random.randrange(len(self.drifts)))
        return [estate.DriftAccepted(drift_id=drift, asset=asset, reason="read")]
