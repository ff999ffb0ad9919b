"""What happened to policy: its bundles, and every decision that was made with them."""

from __future__ import annotations

from typing import Literal

import msgspec

from quarterdeck_domain.events import Event, Personal

Outcome = Literal["permit", "deny", "approval_required"]
BundleMode = Literal["enforced", "shadow", "retired"]


class Obligation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something the enforcement point must do with a permit (AuthZEN obligations profile, draft)."""

    id: str
    type: str
    properties: dict[str, str] = {}


class BundlePublished(Event, frozen=True, kw_only=True):
    """A policy bundle exists: Cedar policies, and the Cedar schema and entities they are read with."""

    type = "policy_bundle.published"
    tag_fields = {"bundle_id": "bundle"}

    bundle_id: str
    name: str
    bundle_version: int
    policies: str
    """Cedar policy text; every policy carries an `@id`."""
    cedar_schema: str | None = None
    entities: str = "[]"
    """Cedar entities as JSON text."""
    digest: str


class BundleModeChanged(Event, frozen=True, kw_only=True):
    """A bundle was put in force (`enforced`, replacing the one before), watched (`shadow`) or retired."""

    type = "policy_bundle.mode_changed"
    tag_fields = {"bundle_id": "bundle", "replaces": "bundle"}

    bundle_id: str
    mode: BundleMode
    replaces: str | None = None
    reason: str = ""


class DecisionRecorded(Event, frozen=True, kw_only=True):
    """A decision was made, and this is all it takes to make it again."""

    type = "policy.decision_recorded"
    data_subject = "subject"
    tag_fields = {
        "decision_id": "decision",
        "subject": "subject",
        "resource": "resource",
        "bundle_id": "bundle",
        "approval_id": "approval",
    }

    decision_id: str
    """The AuthZEN `evaluation_id`."""
    subject: str
    """`type:id` of the AuthZEN subject."""
    action: str
    resource: str
    """`type:id` of the AuthZEN resource."""
    request: Personal
    """The AuthZEN request as RFC 8785 text."""
    action_digest: str
    binding_hash: str
    outcome: Outcome
    determining: tuple[str, ...] = ()
    """`@id` of the policies that decided."""
    reason: str = ""
    obligations: tuple[Obligation, ...] = ()
    approval_path: str | None = None
    """Name of the approval path to ask, where the outcome is `approval_required`."""
    bundle_id: str | None = None
    bundle_digest: str | None = None
    estate_position: int
    """Position of the log that the decision had seen."""
    approval_id: str | None = None
    """The approval presented on re-evaluation."""
    errors: tuple[str, ...] = ()
    """Evaluation errors: any makes the outcome `deny`."""


EVENTS = (BundlePublished, BundleModeChanged, DecisionRecorded)
