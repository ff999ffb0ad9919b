"""What happened to the estate: its objects, their relations, and what was noticed about them.

Facts are recorded flat (`owner`, `attributes.family`) and say what was said, not what follows. `valid_from` and
`valid_to` are there when something holds from or until another moment than that of recording.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, ClassVar, Final, Literal

from quarterdeck_domain.estate.naming import tagged
from quarterdeck_domain.estate.relations import hierarchy
from quarterdeck_domain.estate.values import Confidence, relation_id
from quarterdeck_domain.events import Event

DriftInput = Literal["model", "prompt", "retrieval", "tools", "input_mix"]

ACTS_AS: Final = "acts-as"
"""The prefix of tags that say as which principal an object acts: `acts-as:prn_…`."""
EXPOSED: Final = "exposed"
"""The prefix of tags of the relations by which servers expose an object: `exposed:tool:crm/refund`."""
SERVES: Final = "serves"
"""The prefix of tags that say what a server may mean by a name, where the object is called after something else:
`serves:tool:payments/wipe`, where `payments` exposes `tool:pay/wipe`."""


class _WithFacts(Event, frozen=True, kw_only=True):
    def tags(self) -> tuple[str, ...]:
        """Return the tags of the object, and of the principal that it is said to act as."""
        said: dict[str, Any] = getattr(self, "facts", None) or getattr(self, "adopted", {})
        principal = said.get("attributes.principal")
        acting = (f"{ACTS_AS}:{tagged(principal)}",) if isinstance(principal, str) and principal else ()
        return tuple(sorted({*super().tags(), *acting}))


class AssetRegistered(_WithFacts, frozen=True, kw_only=True):
    """An object is part of the estate, with what is known of it. `source` says where from."""

    type = "asset.registered"
    tag_fields = {"asset": "asset", "run": "estate-run"}

    asset: str
    """`kind:name`."""
    facts: dict[str, Any]
    source: str
    confidence: Confidence = "declared"
    valid_from: datetime | None = None
    run: str | None = None
    """The bulk apply or import it was part of."""


class AssetChanged(_WithFacts, frozen=True, kw_only=True):
    """Something else is true of an object. What was unset is None in `facts`. `claims` are what the source says
    otherwise than those whose word it is: they do not hold, and are contested; None where it does so no longer."""

    type = "asset.changed"
    tag_fields = {"asset": "asset", "run": "estate-run"}

    asset: str
    facts: dict[str, Any]
    source: str
    confidence: Confidence = "declared"
    reason: str = ""
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    run: str | None = None
    claims: dict[str, Any] = {}


class AssetOwnershipTransferred(Event, frozen=True, kw_only=True):
    """Somebody else answers for an object."""

    type = "asset.ownership_transferred"
    tag_fields = {"asset": "asset"}

    asset: str
    owner: str | None
    team: str | None
    previous_owner: str | None
    previous_team: str | None
    reason: str = ""


class AssetPromoted(Event, frozen=True, kw_only=True):
    """An object was named a tier-one dependency: the business does not run without it."""

    type = "asset.promoted"
    tag_fields = {"asset": "asset"}

    asset: str
    previous_tier: int | None
    reason: str


class AssetDeprecated(Event, frozen=True, kw_only=True):
    """An object is on its way out; `successor` takes its place, `sunset` is its last day."""

    type = "asset.deprecated"
    tag_fields = {"asset": "asset", "successor": "asset"}

    asset: str
    successor: str | None = None
    sunset: datetime | None = None
    reason: str = ""


class AssetRetired(Event, frozen=True, kw_only=True):
    """An object is no longer in use. Its relations stay, shown as leading to something retired."""

    type = "asset.retired"
    tag_fields = {"asset": "asset", "run": "estate-run"}

    asset: str
    reason: str = ""
    run: str | None = None


class AssetsMerged(_WithFacts, frozen=True, kw_only=True):
    """Two objects were one: what is known of the survivor wins, the other's name stays as an alias of it."""

    type = "asset.merged"
    tag_fields = {"survivor": "asset", "merged": "asset"}

    survivor: str
    merged: str
    adopted: dict[str, Any] = {}
    """What only the other knew, and the survivor takes over."""
    reason: str = ""


class AssetQuarantined(Event, frozen=True, kw_only=True):
    """An object is not to be used until somebody has looked at it."""

    type = "asset.quarantined"
    tag_fields = {"asset": "asset"}

    asset: str
    reason: str
    previous_lifecycle: str


class AssetReleased(Event, frozen=True, kw_only=True):
    """Somebody has looked at an object in quarantine, and it may be used again."""

    type = "asset.released"
    tag_fields = {"asset": "asset"}

    asset: str
    lifecycle: str
    reason: str


class _RelationEvent(Event, frozen=True, kw_only=True):
    tag_fields: ClassVar[Mapping[str, str]] = {"source": "asset", "target": "asset", "run": "estate-run"}

    source: str
    relation: str
    target: str
    run: str | None = None

    def tags(self) -> tuple[str, ...]:
        """Return the tags of both ends, of the relation itself, of the hierarchy it is part of, and of what a server
        exposes, also by the name that the server may have for it."""
        mine = {f"relation:{relation_id(self.source, self.relation, self.target)}"}
        if ranked := hierarchy(self.source, self.relation, self.target):
            mine.add(f"hierarchy:{ranked}")
        if self.relation == "exposes":
            mine.add(f"{EXPOSED}:{self.target}")
            mine.update(self._served())
        return tuple(sorted({*super().tags(), *mine}))

    def _served(self) -> Iterator[str]:
        kind, _, server = self.source.partition(":")
        target, _, name = self.target.partition(":")
        owner, slash, own = name.partition("/")
        if kind == "mcp_server" and slash and own and owner != server:
            yield f"{SERVES}:{target}:{server}/{own}"


class RelationDeclared(_RelationEvent, frozen=True, kw_only=True):
    """Somebody says that two objects are related."""

    type = "relation.declared"

    environment: str | None = None
    evidence: str = ""
    confidence: Confidence = "declared"
    said_by: str = "command"
    """The source that declares it, such as a file's or an importer's name."""
    valid_from: datetime | None = None
    valid_to: datetime | None = None


class RelationObserved(_RelationEvent, frozen=True, kw_only=True):
    """Two objects were seen to be related. `count` is how often in what led to this; what was seen in between and not
    recorded is not in it, so that the sum is a lower bound."""

    type = "relation.observed"

    environment: str | None = None
    evidence: str = ""
    count: int = 1
    first_seen: datetime
    last_seen: datetime
    sender: str | None = None
    """The principal who said so, where that is nobody who speaks for others: of all but itself it proves nothing."""


class RelationWithdrawn(_RelationEvent, frozen=True, kw_only=True):
    """A declared relation is no more."""

    type = "relation.withdrawn"

    reason: str = ""
    valid_to: datetime | None = None


class DriftDetected(Event, frozen=True, kw_only=True):
    """One of the five inputs of behaviour is not what was pinned: one event for all of them, and one treatment."""

    type = "drift.detected"
    tag_fields = {"asset": "asset", "drift_id": "drift", "run": "estate-run"}

    drift_id: str
    asset: str
    input: DriftInput
    field: str
    expected: str
    found: str
    evidence: str = ""
    quarantined: bool = False
    """Whether the object was put into quarantine because of it."""
    run: str | None = None


class DriftAccepted(Event, frozen=True, kw_only=True):
    """Somebody looked at a drift and took what was found as the new pin."""

    type = "drift.accepted"
    tag_fields = {"asset": "asset", "drift_id": "drift"}

    drift_id: str
    asset: str
    reason: str


class EstateApplied(Event, frozen=True, kw_only=True):
    """A declarative file or an import was applied, all of it or nothing. Its events are in the same append."""

    type = "estate.applied"
    tag_fields = {"run": "estate-run"}

    run: str
    source: str
    digest: str
    """Of what was applied, as text."""
    plan_digest: str
    """Of the plan that was shown and agreed to."""
    registered: int
    changed: int
    retired: int
    related: int
    unrelated: int
    drifted: int = 0
    quarantined: int = 0


ESTATE_EVENTS = (
    AssetRegistered,
    AssetChanged,
    AssetOwnershipTransferred,
    AssetPromoted,
    AssetDeprecated,
    AssetRetired,
    AssetsMerged,
    AssetQuarantined,
    AssetReleased,
    RelationDeclared,
    RelationWithdrawn,
)
"""Those that change what is declared: a plan made before one of them is out of date."""

EVENTS = (*ESTATE_EVENTS, RelationObserved, DriftDetected, DriftAccepted, EstateApplied)
