"""Read models of the policy room: bundles and decisions. Texts of policies stay in the log."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from quarterdeck_readmodels.tables import Change, Fold, Row, Seen, taking


class PolicyBundle(Row, frozen=True, kw_only=True):
    """A version of a policy bundle; `mode` is `draft` until it is first put in force or watched."""

    table = "policy_bundles"
    filters = ("name", "mode")

    name: str
    bundle_version: int
    digest: str
    mode: str = "draft"
    published_at: datetime


class DecisionRecord(Row, frozen=True, kw_only=True):
    """A recorded decision. `request` is sealed under event `sealed_by`, whose data subject is `subject`."""

    table = "decisions"
    filters = ("approval_id", "resource", "subject", "requester", "outcome")

    requester: str
    """The principal that asked; `subject` is whom AuthZEN's request names."""
    subject: str
    action: str
    resource: str
    request: str | None = None
    action_digest: str
    outcome: str
    determining: tuple[str, ...] = ()
    reason: str = ""
    approval_path: str | None = None
    approval_id: str | None = None
    bundle_id: str | None = None
    bundle_digest: str | None = None
    estate_position: int
    errors: tuple[str, ...] = ()
    sealed_by: str
    decided_at: datetime


_BUNDLE: Final = taking("name", "bundle_version", "digest")
_DECISION: Final = taking(
    "subject",
    "action",
    "resource",
    "request",
    "action_digest",
    "outcome",
    "determining",
    "reason",
    "approval_path",
    "approval_id",
    "bundle_id",
    "bundle_digest",
    "estate_position",
    "errors",
)


def _published(event: Seen) -> Iterable[Change]:
    data = event.data
    values = _BUNDLE(data) | {"published_at": event.recorded_at}
    yield Change(row=PolicyBundle, id=data["bundle_id"], create=True, set=values)


def _mode_changed(event: Seen) -> Iterable[Change]:
    data = event.data
    if data["replaces"] is not None and data["replaces"] != data["bundle_id"]:
        yield Change(row=PolicyBundle, id=data["replaces"], set={"mode": "retired"})
    yield Change(row=PolicyBundle, id=data["bundle_id"], set={"mode": data["mode"]})


def _decided(event: Seen) -> Iterable[Change]:
    data = event.data
    values = _DECISION(data)
    values |= {"requester": event.actor.principal, "sealed_by": event.id, "decided_at": event.recorded_at}
    yield Change(row=DecisionRecord, id=data["decision_id"], create=True, set=values)


ROWS: Final = (PolicyBundle, DecisionRecord)
FOLDS: Final[dict[str, Fold]] = {
    "policy_bundle.published": _published,
    "policy_bundle.mode_changed": _mode_changed,
    "policy.decision_recorded": _decided,
}
