"""The commands of policy: publish a bundle, change its mode, record decisions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from eventsourcing.dcb.api import DCBQuery

from quarterdeck_domain.access.events import TenantClosed
from quarterdeck_domain.access.values import CommandSlice
from quarterdeck_domain.errors import InvalidInput, NotFound, WrongState
from quarterdeck_domain.estate.events import ESTATE_EVENTS
from quarterdeck_domain.events import Actor, RecordedEvent
from quarterdeck_domain.ids import check_id
from quarterdeck_domain.policy.events import BundleMode, BundleModeChanged, BundlePublished, DecisionRecorded
from quarterdeck_domain.policy.values import (
    BUNDLE_NAME,
    MAX_REASON,
    SUBJECT_EVENTS,
    BundleText,
    check_bundle_text,
    split,
)
from quarterdeck_domain.slices import Decision, Slice, boundary

POLICY_BASIS: Final = boundary(((BundleModeChanged, TenantClosed, *SUBJECT_EVENTS), ()))
"""Which bundle is in force, who the principals are, the tenant's end."""
ESTATE_BASIS: Final = boundary((ESTATE_EVENTS, ()))
"""What the estate's objects are, and which server exposes which of them."""
DECISION_BASIS: Final = boundary(((BundleModeChanged, TenantClosed, *SUBJECT_EVENTS, *ESTATE_EVENTS), ()))
"""Every event that could change a decision."""


class PublishBundle(CommandSlice):
    """Publish a version of a named policy bundle. It changes no decision until its mode is changed."""

    def __init__(self, bundle_id: str, name: str, text: BundleText, *, actor: Actor) -> None:
        """Take the bundle's text as it is; versions count from 1 per name.

        Raises:
            InvalidInput: a name that is none, or a text that is too long or malformed.
        """
        super().__init__(actor)
        if not BUNDLE_NAME.fullmatch(name):
            raise InvalidInput(
                f"{name[:70]!r} is not a bundle name", expected="lower-case letters, digits, inner hyphens, at most 63"
            )
        self._bundle_id = check_id(bundle_id, "bnd")
        self._name = name
        self._text = check_bundle_text(text)
        self._version = 0

    def consistency_boundary(self) -> DCBQuery:
        """Return the query of the versions published under this name, and of who publishes."""
        return boundary(((BundlePublished,), (f"bundle-name:{self._name}",)), *self.house())

    def apply(self, event: RecordedEvent) -> None:
        """Count a version."""
        super().apply(event)
        if isinstance(event.payload, BundlePublished):
            self._version = max(self._version, event.payload.bundle_version)

    def decide(self, now: datetime) -> Decision:
        """Publish it as the next version.

        Raises:
            WrongState: the tenant is closed.
            NotAllowed: the actor is no active administrator.
        """
        self.require_role("administrator")
        return Decision(events=split(self._bundle_id, self._name, self._version + 1, self._text))


class ChangeBundleMode(CommandSlice):
    """Put a bundle in force, watch it, or retire it.

    One bundle is in force at a time: enforcing another replaces it, and the replaced one may be
    enforced again. Retiring is for good. Taking the bundle in force away leaves no policy: everything is denied.
    """

    def __init__(self, bundle_id: str, mode: BundleMode, reason: str, *, actor: Actor) -> None:
        """Take the new mode and why.

        Raises:
            InvalidInput: not a bundle id, no reason, or one that is too long.
        """
        super().__init__(actor)
        if not reason.strip() or len(reason) > MAX_REASON:
            raise InvalidInput(f"say why, in 1 to {MAX_REASON} characters", field="reason")
        self._bundle_id = check_id(bundle_id, "bnd")
        self._mode: BundleMode = mode
        self._reason = reason
        self._published = False
        self._own_mode: BundleMode | None = None
        self._enforced: str | None = None

    def consistency_boundary(self) -> DCBQuery:
        """Return the query of this bundle's publication, of every mode change, and of who changes it."""
        return boundary(((BundlePublished,), (f"bundle:{self._bundle_id}",)), ((BundleModeChanged,), ()), *self.house())

    def apply(self, event: RecordedEvent) -> None:
        """Fold which bundle is in force, and this one's mode."""
        super().apply(event)
        payload = event.payload
        if isinstance(payload, BundlePublished):
            self._published = self._published or payload.bundle_id == self._bundle_id
        elif isinstance(payload, BundleModeChanged):
            self._enforced = enforced_after(payload, self._enforced)
            if payload.bundle_id == self._bundle_id:
                self._own_mode = payload.mode
            elif payload.replaces == self._bundle_id:
                self._own_mode = None

    def decide(self, now: datetime) -> Decision:
        """Change the mode.

        Raises:
            NotAllowed: the actor is no active administrator.
            NotFound: no such bundle.
            WrongState: it is retired, or has that mode already; or the tenant is closed.
        """
        self.require_role("administrator")
        if not self._published:
            raise NotFound(f"no policy bundle {self._bundle_id}", bundle_id=self._bundle_id)
        if self._own_mode == "retired":
            raise WrongState("the bundle is retired; publish its text again as a new version", mode="retired")
        if self._own_mode == self._mode:
            raise WrongState(f"the bundle is {self._mode} already", mode=self._mode)
        replaces = self._enforced if self._mode == "enforced" else None
        changed = BundleModeChanged(bundle_id=self._bundle_id, mode=self._mode, replaces=replaces, reason=self._reason)
        return Decision(events=(changed,))


class RecordDecision(Slice):
    """Record decisions, if what they stand on still holds."""

    def __init__(
        self, decisions: Sequence[DecisionRecorded], estate_position: int, not_after: datetime | None = None
    ) -> None:
        """Take decisions that were made with what the log said up to `estate_position`."""
        self._decisions = tuple(decisions)
        self._estate_position = estate_position
        self._not_after = not_after
        self._moved_at: int | None = None

    def consistency_boundary(self) -> DCBQuery:
        """Return the query of everything a decision stands on."""
        return DECISION_BASIS

    def apply(self, event: RecordedEvent) -> None:
        """Notice an event that the decisions had not seen."""
        if event.position > self._estate_position:
            self._moved_at = event.position

    def decide(self, now: datetime) -> Decision:
        """Record them.

        Raises:
            WrongState: policy, principals or the estate have changed since: evaluate again.
        """
        if self._moved_at is not None:
            raise WrongState(
                "policy, principals or the estate have changed since this was evaluated; evaluate again",
                estate_position=self._estate_position,
                changed_at=self._moved_at,
            )
        return Decision(events=self._decisions, not_after=self._not_after)


def enforced_after(change: BundleModeChanged, enforced: str | None) -> str | None:
    """Return the id of the bundle in force after a mode change."""
    if change.mode == "enforced":
        return change.bundle_id
    return None if change.bundle_id == enforced else enforced
