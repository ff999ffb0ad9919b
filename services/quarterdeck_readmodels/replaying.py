"""States told again from some events of the log alone: what `causes` asks of the read models.

The folds are those that fill the tables; here they fill one row, in memory. Rows are compared without the positions
between which they hold, and without what is remembered of the past beside an object.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from eventsourcing.dcb.api import DCBQueryItem

from quarterdeck_domain.catalogue import REGISTRY
from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.estate.voices import words
from quarterdeck_domain.events import RecordedEvent
from quarterdeck_readmodels import access, approvals, estate, policy, sources
from quarterdeck_readmodels.catalogue import FOLDS
from quarterdeck_readmodels.estate import stamp
from quarterdeck_readmodels.folding import Reading, Run, fold
from quarterdeck_readmodels.ranges import kinds
from quarterdeck_readmodels.tables import COMMON, By, Change, Row, Seen

_SINCE: Final = "since"
_VOICES: Final = "voices"


class About(msgspec.Struct, frozen=True):
    """By which tag and which types the events are found that make a row what it is."""

    tag: str
    types: tuple[str, ...]


ABOUT: Final[Mapping[type[Row], About]] = {
    access.Tenant: About("tenant", ("tenant.opened", "tenant.closed")),
    access.Principal: About(
        "principal",
        (
            "principal.registered",
            "principal.role_granted",
            "principal.role_revoked",
            "principal.ownership_transferred",
            "principal.deactivated",
            "principal.erased",
        ),
    ),
    access.ApiKey: About("key", ("api_key.issued", "api_key.rotated", "api_key.revoked")),
    policy.PolicyBundle: About("bundle", ("policy_bundle.published", "policy_bundle.mode_changed")),
    policy.DecisionRecord: About("decision", ("policy.decision_recorded",)),
    approvals.ApprovalPath: About("path", ("approval_path.published",)),
    approvals.Approval: About(
        "approval",
        (
            "approval.requested",
            "approval.reminded",
            "approval.granted",
            "approval.denied",
            "approval.expired",
            "approval.cancelled",
            "grant.minted",
        ),
    ),
    approvals.VoteRecord: About("approval", ("approval.vote_cast",)),
    approvals.Grant: About("grant", ("grant.minted", "grant.redeemed", "grant.revoked")),
    approvals.Effect: About("effect", ("grant.redeemed", "effect.reported", "effect.reconciled")),
    approvals.CallbackRecord: About("approval", ("callback.delivered", "callback.abandoned", "callback.resent")),
    approvals.Parked: About("parked", ("dispatch.parked", "dispatch.released")),
    estate.Asset: About(
        "asset",
        (
            "asset.registered",
            "asset.changed",
            "asset.ownership_transferred",
            "asset.promoted",
            "asset.deprecated",
            "asset.retired",
            "asset.merged",
            "asset.quarantined",
            "asset.released",
        ),
    ),
    estate.Relation: About("relation", ("relation.declared", "relation.observed", "relation.withdrawn")),
    estate.Drift: About("drift", ("drift.detected", "drift.accepted")),
    sources.Source: About(
        "source", ("source.registered", "source.changed", "source.removed", "source.synced", "source.failed")
    ),
}


def concerning(row: Row) -> DCBQueryItem:
    """Return the boundary of every event that can have made a row what it is.

    Raises:
        InvalidInput: nobody has said yet what its kind is made of.
    """
    about = ABOUT.get(type(row))
    if about is None:
        raise InvalidInput(f"{row.table} cannot be explained", table=row.table)
    tags = [f"{about.tag}:{row.id}"]
    if isinstance(row, approvals.VoteRecord):
        tags = [f"approval:{row.approval_id}", f"principal:{row.approver}"]
    elif isinstance(row, approvals.CallbackRecord):
        tags = [f"approval:{row.approval_id}"]
    return DCBQueryItem(types=list(about.types), tags=tags)


def object_of(position: int, entry: bytes) -> tuple[type[Row], str] | None:
    """Return what an event first makes or changes, by its row and id; None where it is nothing that is shown."""
    run = Run(position, position - 1, [])
    Reading().extend(run, ((position, entry),))
    return (run.changes[0][1].row, run.changes[0][1].id) if run.changes else None


def names(row: type[Row], wanted: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the columns that make up a row's state; or those that are wanted, checked.

    Raises:
        InvalidInput: there is no such column, or none is wanted.
    """
    known = tuple(name for name in kinds(row) if name not in COMMON)
    if wanted is None:
        return known
    for name in wanted:
        if name not in known and not (name.startswith("attributes.") and "attributes" in known):
            raise InvalidInput(f"{row.table} have no field {name[:80]!r}", known=known)
    if not wanted:
        raise InvalidInput("no field is asked about: leave `fields` out to ask about all of them", known=known)
    return tuple(dict.fromkeys(wanted))


class Replay:
    """One row, to be told again from whatever it is said that had happened."""

    def __init__(self, row: Row, events: Iterable[tuple[int, bytes]], wanted: Sequence[str] | None = None) -> None:
        """Take the row as it is recorded, and every event about it.

        Raises:
            InvalidInput: a field is wanted that it has not.
            Unfoldable: an entry cannot be read.
        """
        self.row = type(row)
        self.id = row.id
        self.names = names(self.row, wanted)
        self.recorded = self._of(self._plain(msgspec.structs.asdict(row)))
        self.changes: dict[int, list[Change]] = {}
        reading = Reading()
        for position, entry in events:
            run = Run(position, position - 1, [])
            problem = reading.extend(run, ((position, entry),))
            if problem is not None:
                raise problem
            mine = self._mine(change for _, change in run.changes)
            if mine:
                self.changes[position] = mine

    def state(self, events: Iterable[int | RecordedEvent]) -> Mapping[str, Any] | None:
        """Return what the row says if this is all that had happened, by position or as an event that is not recorded.
        None if it could not have been."""
        done: list[tuple[int, Change]] = []
        for event in events:
            if isinstance(event, int):
                done += [(event, change) for change in self.changes.get(event, ())]
            else:
                done += [(event.position, change) for change in self._mine(_changes(event))]
        try:
            versions = fold(Run(0, 0, done), {}).inserts.get(self.row, ())
        except Exception:  # a log with holes in it is none that folds were made for
            return None
        return self._of(self._plain(versions[-1])) if versions else None

    def _mine(self, changes: Iterable[Change]) -> list[Change]:
        return [change for change in changes if change.row is self.row and change.id == self.id]

    def _plain(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a row's values as JSON has them, so that what was stored and what was folded compare."""
        found = dict(values)
        for name, kind in kinds(self.row).items():
            if kind == "timestamptz" and found[name] is not None:
                found[name] = stamp(found[name])
        if _VOICES in found:
            found[_VOICES] = words(found[_VOICES])
        plain: Mapping[str, Any] = msgspec.json.decode(msgspec.json.encode(found))
        return plain

    def _of(self, values: Mapping[str, Any]) -> dict[str, Any]:
        found = {name: _value(values, name) for name in self.names}
        if _SINCE in values and _SINCE not in found:
            # Who says so counts, also where two said the same.
            found[_SINCE] = {name: values[_SINCE][name] for name in self.names if name in values[_SINCE]}
        return found


def _changes(event: RecordedEvent) -> Iterable[Change]:
    """Return what an event would do that nobody recorded."""
    by = FOLDS.get(event.type)
    seen = Seen(
        type=event.type,
        version=event.payload.version,
        position=event.position,
        recorded_at=event.recorded_at,
        id=str(event.id),
        data=REGISTRY.to_data(event.payload),
        actor=By(event.actor.principal),
    )
    return () if by is None else by(seen)


def _value(values: Mapping[str, Any], name: str) -> Any:
    if name.startswith("attributes."):
        return values["attributes"].get(name.removeprefix("attributes."))
    return values[name]
