"""What happened to policy: its bundles, and every decision that was made with them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from quarterdeck_domain.events import Event, Personal

Outcome = Literal["permit", "deny", "approval_required"]
BundleMode = Literal["enforced", "shadow", "retired"]
BundleField = Literal["policies", "cedar_schema", "entities"]


class Obligation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something the enforcement point must do with a decision (AuthZEN obligations profile, draft)."""

    id: str
    type: str
    properties: dict[str, str] = {}


class Judged(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What policy said of one member of the chain that an action was asked through."""

    principal: str
    """`type:id`, as policy was shown it."""
    outcome: Outcome
    determining: tuple[str, ...] = ()
    """`@id` of the policies that decided about this one."""


class Barred(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An object of the estate that nobody may use or be: whatever names it is denied, whatever policy says."""

    asset: str
    """What is in quarantine or retired, `kind:name`."""
    lifecycle: Literal["quarantined", "retired"]
    named: str
    """What the request named: the object itself, an older name of it, a principal, or a tool that it exposes."""


class BundlePublished(Event, frozen=True, kw_only=True):
    """A policy bundle exists: Cedar policies, and the Cedar schema and entities they are read with.

    A bundle too long for one entry has empty texts here and its text in the `parts - 1` events
    `BundleContinued` that follow in the same append; `values.assemble` puts it together.
    """

    type = "policy_bundle.published"
    tag_fields = {"bundle_id": "bundle", "name": "bundle-name"}

    bundle_id: str
    name: str
    bundle_version: int
    policies: str
    """Cedar policy text; every policy carries an `@id`."""
    cedar_schema: str | None = None
    entities: str = "[]"
    """Cedar entities as JSON text."""
    digest: str
    """`values.bundle_digest` of the whole text, parts included."""
    parts: int = 1
    """How many events hold the bundle, this one included."""


class BundleContinued(Event, frozen=True, kw_only=True):
    """The next piece of the text of a long bundle, in order."""

    type = "policy_bundle.continued"
    tag_fields = {"bundle_id": "bundle"}

    bundle_id: str
    part: int
    """From 2 to `parts`."""
    field: BundleField
    text: str


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
    # Not `bundle`, and not `asset`: the few events of a thing's own life must stay cheap to find among its decisions.
    tag_fields = {
        "decision_id": "decision",
        "subject": "subject",
        "resource": "resource",
        "bundle_id": "decided-by",
        "approval_id": "approval",
        "estate": "decided-about",
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
    binding_context: tuple[str, ...] = ()
    """Names of the context members that policy reads: they are bound with subject, action and resource
    (ARAP: the authorization-relevant context)."""
    outcome: Outcome
    determining: tuple[str, ...] = ()
    """`@id` of the policies that decided."""
    judged: tuple[Judged, ...] = ()
    """Where policy judged more than the named subject: each of them, the subject first, then from the caller on. All
    must be permitted. Empty where it was the subject alone."""
    reason: str = ""
    obligations: tuple[Obligation, ...] = ()
    approval_path: str | None = None
    """Name of the approval path to ask, where the outcome is `approval_required`; of the one that was
    satisfied, where `approval_id` turned that into `permit`."""
    bundle_id: str | None = None
    bundle_digest: str | None = None
    estate_position: int
    """Position of the log that the decision had seen."""
    evaluated_at: datetime | None = None
    """The database's time that policy was shown, and as of which dated facts of the estate were seen; None where no
    policy of the bundle asks for it and no date counts."""
    approval_id: str | None = None
    """The approval presented on re-evaluation, after it was found to apply."""
    errors: tuple[str, ...] = ()
    """Evaluation errors: any makes the outcome `deny`."""
    estate: tuple[str, ...] = ()
    """The objects of the estate that the request named or that stand behind those (a tool's server), as they are called
    at `estate_position`. What is not registered is not here."""
    barred: tuple[Barred, ...] = ()
    """Those of them that may not be used: any makes the outcome `deny`, and no policy was asked."""


EVENTS = (BundlePublished, BundleContinued, BundleModeChanged, DecisionRecorded)
