"""A large, plausible estate for benchmarks: its objects, their relations, and what happens to both, event after event.

What is yielded is what the commands could have recorded: objects are registered once and changed only while they are
in use, relations lead from and to what their types allow and are withdrawn only where they are declared. A few objects
are used by very many others, as everywhere: a shared server, the customers' dataset, the policy of the house.
"""

from __future__ import annotations

import random
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from quarterdeck_domain.estate import events as said
from quarterdeck_domain.estate.relation_drift import VISIBLE
from quarterdeck_domain.events import Event
from quarterdeck_domain.ids import make_id

SHARES: Final = {
    "team": 40,
    "provider": 4,
    "policy_bundle": 20,
    "approval_path": 15,
    "budget": 60,
    "monitoring_hook": 60,
    "guardrail": 30,
    "evaluation_suite": 80,
    "exception_window": 40,
    "model": 60,
    "model_version": 300,
    "deployment": 400,
    "route": 120,
    "dataset": 900,
    "retrieval_index": 300,
    "output_channel": 250,
    "tool": 2_500,
    "mcp_server": 320,
    "tool_grant": 900,
    "prompt": 800,
    "prompt_version": 1_400,
    "agent": 1_100,
    "workflow": 250,
    "application": 180,
}
"""How many objects of each kind there are among ten thousand, about."""

LEADS: Final[tuple[tuple[str, str, str, int], ...]] = (
    ("agent", "calls", "mcp_server", 30),
    ("agent", "calls", "tool", 50),
    ("agent", "uses", "route", 15),
    ("agent", "holds", "tool_grant", 12),
    ("agent", "reads", "dataset", 12),
    ("agent", "uses", "retrieval_index", 8),
    ("agent", "chains_to", "agent", 6),
    ("agent", "feeds", "output_channel", 6),
    ("agent", "part_of", "application", 6),
    ("agent", "governed_by", "policy_bundle", 12),
    ("agent", "gated_by", "approval_path", 8),
    ("agent", "funded_by", "budget", 8),
    ("agent", "monitored_by", "monitoring_hook", 8),
    ("agent", "evaluated_by", "evaluation_suite", 4),
    ("agent", "owned_by", "team", 12),
    ("workflow", "calls", "agent", 8),
    ("application", "calls", "agent", 8),
    ("mcp_server", "exposes", "tool", 30),
    ("mcp_server", "deployed_in", "deployment", 3),
    ("mcp_server", "owned_by", "team", 4),
    ("tool", "reads", "dataset", 25),
    ("tool", "writes", "dataset", 12),
    ("tool", "governed_by", "policy_bundle", 10),
    ("tool", "excepted_by", "exception_window", 1),
    ("tool", "owned_by", "team", 20),
    ("tool_grant", "permits", "tool", 15),
    ("route", "uses", "deployment", 4),
    ("route", "guarded_by", "guardrail", 2),
    ("model_version", "version_of", "model", 3),
    ("model_version", "deployed_in", "deployment", 4),
    ("deployment", "deployed_in", "provider", 4),
    ("prompt_version", "version_of", "prompt", 14),
    ("prompt", "drives", "agent", 10),
    ("retrieval_index", "reads", "dataset", 5),
    ("dataset", "derived_from", "dataset", 5),
    ("dataset", "owned_by", "team", 8),
)
"""Which relations there are, and how many of each for how many of the others."""

HAPPENS: Final = {
    "change": 330,
    "observe": 320,
    "late": 45,
    "planned": 15,
    "transfer": 45,
    "withdraw": 50,
    "declare_again": 60,
    "drift": 25,
    "accept": 20,
    "quarantine": 12,
    "release": 12,
    "promote": 6,
    "deprecate": 6,
    "retire": 5,
    "merge": 3,
}
"""What happens to objects and relations that are there, of about a thousand events."""
_LATE: Final = 40
"""So many dated facts of one object at most."""


class EstateStream:
    """Yields what could follow what it has yielded. `clock` says when the next event will have been recorded."""

    def __init__(
        self, seed: int, assets: int, relations: int, events: int, clock: Callable[[], datetime], start: float = 0.4
    ) -> None:
        """`start` is the share of objects and relations that is there from the beginning, as after a first import."""
        self._random = random.Random(seed)
        self._clock = clock
        self._wanted = (assets, relations, events)
        self._start = start
        kinds = list(SHARES)
        teams = max(2, assets * SHARES["team"] // 10_000)
        # One of each kind first, so that every relation has where to lead.
        rest = self._random.choices(kinds[1:], list(SHARES.values())[1:], k=max(0, assets - len(kinds) - teams + 1))
        self._to_come = [*kinds, *["team"] * (teams - 1), *rest]
        self._teams = [f"team-{number:03}" for number in range(teams)]
        self.assets: list[str] = []
        self.relations: list[tuple[str, str, str]] = []
        self.lifecycle: dict[str, str] = {}
        self._team: dict[str, str] = {}
        self._tier: dict[str, int] = {}
        self._dated: dict[str, int] = defaultdict(int)
        self._by_kind: dict[str, list[str]] = defaultdict(list)
        self._by_team: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._declared: dict[tuple[str, str, str], bool] = {}
        self._visible: list[tuple[str, str, str]] = []
        self._withdrawn: list[tuple[str, str, str]] = []
        self._quarantined: list[tuple[str, str]] = []
        self._drifts: list[tuple[str, str]] = []
        self._leads, self._weights = LEADS, [lead[3] for lead in LEADS]

    def __iter__(self) -> Iterator[Event]:
        """Yield exactly as many events as were wanted."""
        assets, relations, events = self._wanted
        ways = list(HAPPENS)
        weights = list(HAPPENS.values())
        done = 0
        while done < events:
            there = min(1.0, self._start + (1.1 - self._start) * done / events)
            found: list[Event] = []
            if len(self.assets) < assets * there:
                found = self._register()
            elif len(self.relations) < relations * there:
                found = self._relate()
            while not found:
                found = getattr(self, f"_{self._random.choices(ways, weights)[0]}")()
            yield from found[: events - done]
            done += len(found)

    # Objects

    def _register(self) -> list[Event]:
        place = len(self.assets)
        kind = self._to_come[place]
        name = self._teams[len(self._by_kind["team"])] if kind == "team" else f"{kind[:3]}-{place:06}"
        asset, team = f"{kind}:{name}", self._random.choice(self._teams)
        self.assets.append(asset)
        self.lifecycle[asset] = "live"
        self._team[asset] = team
        self._by_kind[kind].append(asset)
        self._by_team[kind, team].append(asset)
        chance = self._random.random()
        facts: dict[str, Any] = {
            "lifecycle": "live",
            "title": f"{kind.replace('_', ' ').title()} {place}",
            "team": team,
            "environments": self._random.choice([["prod"], ["prod", "staging"], ["dev"]]),
        }
        if chance < 0.9:
            facts["owner"] = f"rota-{team}"
        if chance < 0.8:
            facts["purpose"] = f"what {name} is for"
            facts["description"] = f"Runs for {team}; see the handbook, chapter {place % 97}."
        if chance < 0.6:
            facts["classification"] = self._random.choice(["public", "internal", "confidential", "restricted"])
            facts["policy_class"] = self._random.choice(["standard", "strict", "regulated"])
        facts |= self._attributes(kind, place)
        late = self._clock() - timedelta(days=self._random.randint(1, 90)) if chance < 0.03 else None
        self._dated[asset] += late is not None
        source, confidence = self._random.choice(
            [("platform.yaml", "declared"), ("mcp:tools", "imported"), ("litellm", "imported"), ("otlp", "observed")]
        )
        return [
            said.AssetRegistered(
                asset=asset,
                facts=facts,
                source=source,
                confidence=confidence,  # type: ignore[arg-type]
                valid_from=late,
            )
        ]

    def _attributes(self, kind: str, place: int) -> dict[str, Any]:
        digest = f"sha256:{place:064x}"
        known: dict[str, dict[str, Any]] = {
            "agent": {"autonomy": self._random.choice(["suggests", "acts_with_approval", "acts"]), "max_steps": 20},
            "tool": {
                "privileges": self._random.choice([["read"], ["read", "write"], ["trigger"]]),
                "side_effect": self._random.choice(["none", "idempotent", "at_most_once"]),
                "digest": digest,
                "pinned": digest,
            },
            "mcp_server": {
                "endpoint": f"https://mcp-{place}.example",
                "transport": "streamable_http",
                "digest": digest,
            },
            "tool_grant": {"privileges": ["read", "write"], "expires_at": f"2027-{place % 12 + 1:02}-01T00:00:00Z"},
            "dataset": {"source_kind": "customer_data", "residency": "eu", "retention_days": 90 + place % 300},
            "model_version": {"digest": digest, "pin": f"2026-{place % 12 + 1:02}-01"},
            "prompt_version": {"digest": digest},
            "deployment": {"region": "eu-west-1", "provider": "acme-cloud"},
            "budget": {"limit": f"{place % 900 + 100}.00", "currency": "EUR", "period": "month"},
        }
        mine = known.get(kind, {"labels": {"place": str(place)}})
        return {f"attributes.{name}": value for name, value in mine.items()}

    def _some(self, kind: str | None = None) -> str | None:
        """Return an object that is in use, those that came early more often than others."""
        names = self.assets if kind is None else self._by_kind[kind]
        for _ in range(4 if names else 0):
            found = names[int(len(names) * self._random.random() ** 2)]
            if self.lifecycle[found] in {"live", "deprecated"}:
                return found
        return None

    def _change(self, **dates: datetime) -> list[Event]:
        asset = self._some()
        if asset is None or (dates and self._dated[asset] >= _LATE):
            return []
        self._dated[asset] += bool(dates)
        number = self._random.randrange(10**6)
        facts: dict[str, Any] = self._random.choice(
            [
                {"description": f"As decided in meeting {number}."},
                {"purpose": f"purpose {number}"},
                {"risk": self._random.choice(["low", "moderate", "high", "critical"])},
                {"environments": self._random.choice([["prod"], ["prod", "staging"], ["dev"], []])},
                {"classification": self._random.choice(["internal", "confidential", "restricted", None])},
                {"policy_class": self._random.choice(["standard", "strict", None]), "title": f"Title {number}"},
                {"attributes.labels": {"reviewed": str(number)}},
            ]
        )
        source = self._random.choice(["command", "platform.yaml", "mcp:tools"])
        return [said.AssetChanged(asset=asset, facts=facts, source=source, **dates)]  # type: ignore[arg-type]

    def _late(self) -> list[Event]:
        """Something is said that was so for a while already, and sometimes is no more."""
        begins = self._clock() - timedelta(hours=self._random.randint(1, 24 * 45))
        ends = begins + timedelta(hours=self._random.randint(1, 24 * 60))
        return self._change(valid_from=begins, **({"valid_to": ends} if self._random.random() < 0.3 else {}))

    def _planned(self) -> list[Event]:
        """Something is said that will be so."""
        begins = self._clock() + timedelta(hours=self._random.randint(1, 24 * 30))
        ends = begins + timedelta(days=self._random.randint(1, 60))
        return self._change(valid_from=begins, **({"valid_to": ends} if self._random.random() < 0.3 else {}))

    def _transfer(self) -> list[Event]:
        asset = self._some()
        if asset is None:
            return []
        old, new = self._team[asset], self._random.choice(self._teams)
        self._team[asset] = new
        return [
            said.AssetOwnershipTransferred(
                asset=asset, owner=f"rota-{new}", team=new, previous_owner=f"rota-{old}", previous_team=old
            )
        ]

    def _promote(self) -> list[Event]:
        asset = self._some()
        if asset is None or self._tier.get(asset) == 1:
            return []
        self._tier[asset] = 1
        return [said.AssetPromoted(asset=asset, previous_tier=None, reason="ten others need it")]

    def _deprecate(self) -> list[Event]:
        asset = self._some()
        if asset is None or self.lifecycle[asset] != "live":
            return []
        self.lifecycle[asset] = "deprecated"
        successor = self._some(asset.partition(":")[0])
        sunset = self._clock() + timedelta(days=90)
        return [said.AssetDeprecated(asset=asset, successor=successor if successor != asset else None, sunset=sunset)]

    def _retire(self) -> list[Event]:
        asset = self._random.choice(self.assets)
        if self.lifecycle[asset] not in {"live", "deprecated"}:
            return []
        self.lifecycle[asset] = "retired"
        return [said.AssetRetired(asset=asset, reason="nobody uses it")]

    def _merge(self) -> list[Event]:
        merged = self._random.choice(self.assets)
        survivor = self._some(merged.partition(":")[0])
        if survivor in {None, merged} or self.lifecycle[merged] == "retired" or survivor is None:
            return []
        self.lifecycle[merged] = "retired"
        adopted = {"risk": "moderate"} if self._random.random() < 0.5 else {}
        return [said.AssetsMerged(survivor=survivor, merged=merged, adopted=adopted, reason="one and the same")]

    def _quarantine(self) -> list[Event]:
        asset = self._some()
        if asset is None:
            return []
        self._quarantined.append((asset, self.lifecycle[asset]))
        shut = said.AssetQuarantined(asset=asset, reason="looks wrong", previous_lifecycle=self.lifecycle[asset])
        self.lifecycle[asset] = "quarantined"
        return [shut]

    def _release(self) -> list[Event]:
        if not self._quarantined:
            return []
        asset, before = self._quarantined.pop(self._random.randrange(len(self._quarantined)))
        if self.lifecycle[asset] != "quarantined":
            return []  # merged meanwhile
        self.lifecycle[asset] = before
        return [said.AssetReleased(asset=asset, lifecycle=before, reason="looked at")]

    def _drift(self) -> list[Event]:
        asset = self._some("tool")
        if asset is None:
            return []
        drift = make_id("drf", uuid.UUID(int=self._random.getrandbits(128)))
        digest = f"sha256:{self._random.getrandbits(256):064x}"
        self._drifts.append((drift, asset))
        return [
            said.AssetChanged(
                asset=asset, facts={"attributes.digest": digest}, source="mcp:tools", confidence="imported"
            ),
            said.DriftDetected(
                drift_id=drift, asset=asset, input="tools", field="digest", expected="sha256:" + "0" * 64, found=digest
            ),
        ]

    def _accept(self) -> list[Event]:
        if not self._drifts:
            return []
        drift, asset = self._drifts.pop(self._random.randrange(len(self._drifts)))
        return [said.DriftAccepted(drift_id=drift, asset=asset, reason="read and found harmless")]

    # Relations

    def _relate(self) -> list[Event]:
        (kind, relation, target_kind, _) = self._random.choices(self._leads, self._weights)[0]
        source = self._some(kind)
        target = None if source is None else self._near(source, target_kind)
        if source is None or target is None or source == target:
            return []
        if relation == "derived_from" and source < target:
            source, target = target, source  # so that no circle closes
        ends = (source, relation, target)
        if ends in self._declared:
            return []
        self.relations.append(ends)
        if relation in VISIBLE:
            self._visible.append(ends)
            if self._random.random() < 0.1:
                self._declared[ends] = False
                return [self._seen(ends)]
        self._declared[ends] = True
        return [self._says(ends)]

    def _near(self, source: str, kind: str) -> str | None:
        """Return an object in use of a kind: mostly one of the same team, sometimes one that everybody uses."""
        own = self._by_team[kind, self._team[source]]
        names = own if own and self._random.random() < 0.7 else self._by_kind[kind]
        if not names:
            return None
        found = names[int(len(names) * self._random.random() ** (3 if names is not own else 1))]
        return found if self.lifecycle[found] in {"live", "deprecated"} else None

    def _says(self, ends: tuple[str, str, str]) -> Event:
        source, relation, target = ends
        begins, until = None, None
        if (chance := self._random.random()) < 0.04:
            begins = self._clock() - timedelta(days=self._random.randint(1, 60))
        elif chance < 0.06:
            until = self._clock() + timedelta(days=self._random.randint(1, 90))
        return said.RelationDeclared(
            source=source,
            relation=relation,
            target=target,
            environment="prod" if chance > 0.5 else None,
            evidence=f"design {self._random.randrange(10**4)}" if chance > 0.7 else "",
            said_by=self._random.choice(["platform.yaml", "command", "mcp:tools"]),
            valid_from=begins,
            valid_to=until,
        )

    def _seen(self, ends: tuple[str, str, str]) -> Event:
        source, relation, target = ends
        last = self._clock() - timedelta(seconds=self._random.randint(1, 600))
        return said.RelationObserved(
            source=source,
            relation=relation,
            target=target,
            environment="prod",
            evidence="trace 4bf92f3577b34da6a3ce929d0e0e4736",
            count=self._random.randint(1, 500),
            first_seen=last - timedelta(minutes=10),
            last_seen=last,
        )

    def _observe(self) -> list[Event]:
        if not self._visible:
            return []
        return [self._seen(self._visible[int(len(self._visible) * self._random.random() ** 2)])]

    def _withdraw(self) -> list[Event]:
        if not self.relations:
            return []
        ends = self._random.choice(self.relations)
        if not self._declared[ends]:
            return []
        self._declared[ends] = False
        self._withdrawn.append(ends)
        before = self._clock() - timedelta(days=1) if self._random.random() < 0.1 else None
        source, relation, target = ends
        return [
            said.RelationWithdrawn(source=source, relation=relation, target=target, reason="no more", valid_to=before)
        ]

    def _declare_again(self) -> list[Event]:
        if self._withdrawn and self._random.random() < 0.7:
            ends = self._withdrawn.pop(self._random.randrange(len(self._withdrawn)))
        elif not self.relations:
            return []
        else:
            ends = self._random.choice(self.relations)
        if not all(self.lifecycle[end] in {"live", "deprecated"} for end in (ends[0], ends[2])):
            return []
        self._declared[ends] = True
        return [self._says(ends)]
