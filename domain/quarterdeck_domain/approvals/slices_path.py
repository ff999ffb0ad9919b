"""Commands on approval paths: who decides, in which stages, and how long anything waits."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from eventsourcing.dcb.api import DCBQuery

from quarterdeck_domain.access.values import CommandSlice
from quarterdeck_domain.approvals.events import ApprovalPathPublished, Stage
from quarterdeck_domain.approvals.values import VOTING_ROLES
from quarterdeck_domain.checks import line, seconds
from quarterdeck_domain.errors import InvalidInput, WrongState
from quarterdeck_domain.events import Actor, RecordedEvent
from quarterdeck_domain.ids import TENANT_PATTERN
from quarterdeck_domain.slices import Decision, boundary

MAX_STAGES: Final = 10
MAX_QUORUM: Final = 10
MAX_STAGE_NAME: Final = 60
USUAL_REMINDER_S: Final = 3_600
MAX_PENDING_S: Final = 90 * 86_400
MAX_GRANT_LIFETIME_S: Final = 7 * 86_400
MAX_REMINDERS: Final = 200
"""How often a path may have people told again before it expires: every hour for a week, and some."""


def check_stages(stages: Iterable[Stage]) -> tuple[Stage, ...]:
    """Return the stages unchanged.

    Raises:
        InvalidInput: none, too many, a name twice, a quorum out of bounds, or roles that nobody could vote with.
    """
    checked = tuple(stages)
    if not 1 <= len(checked) <= MAX_STAGES:
        raise InvalidInput(f"a path has 1 to {MAX_STAGES} stages, not {len(checked)}", field="stages")
    if len({stage.name for stage in checked}) != len(checked):
        raise InvalidInput("every stage of a path needs its own name", field="stages")
    for stage in checked:
        line(stage.name, "stage name", limit=MAX_STAGE_NAME)
        if not 1 <= stage.quorum <= MAX_QUORUM:
            raise InvalidInput(f"a quorum is from 1 to {MAX_QUORUM}", stage=stage.name, quorum=stage.quorum)
        if not stage.roles or set(stage.roles) - set(VOTING_ROLES) or len(set(stage.roles)) != len(stage.roles):
            raise InvalidInput(
                f"a stage names, each once, one or more of the roles {', '.join(VOTING_ROLES)}",
                stage=stage.name,
                roles=stage.roles,
            )
    return checked


def check_reminders(remind_after_s: int, expires_after_s: int) -> int:
    """Return `remind_after_s` unchanged.

    Raises:
        InvalidInput: it is out of bounds, or people would be told more often than anybody listens; with the least that
            is allowed.
    """
    seconds(remind_after_s, "remind_after_s", at_most=expires_after_s)
    reminders = (expires_after_s - 1) // remind_after_s
    if reminders > MAX_REMINDERS:
        at_least = _least_wait(expires_after_s)
        raise InvalidInput(
            f"people would be told {reminders} times before this expires, and at most {MAX_REMINDERS} are allowed: "
            f"make remind_after_s at least {at_least} seconds, or expires_after_s shorter",
            field="remind_after_s",
            at_least=at_least,
            at_most=expires_after_s,
            reminders=reminders,
        )
    return remind_after_s


def usual_reminder(expires_after_s: int) -> int:
    """Return the seconds between reminders where nobody says: an hour, or as its expiry allows."""
    return min(max(USUAL_REMINDER_S, _least_wait(expires_after_s)), expires_after_s)


def _least_wait(expires_after_s: int) -> int:
    return -(-expires_after_s // (MAX_REMINDERS + 1))


class PublishApprovalPath(CommandSlice):
    """Publish a version of an approval path. Open requests keep the version they began with.

    `replaces` is the version its author has seen (0 for the first), so that nobody overwrites another's unread.
    """

    def __init__(
        self,
        *,
        path_id: str,
        stages: Iterable[Stage],
        remind_after_s: int,
        expires_after_s: int,
        grant_lifetime_s: int,
        actor: Actor,
        replaces: int = 0,
    ):
        super().__init__(actor)
        if not TENANT_PATTERN.fullmatch(path_id):
            raise InvalidInput(
                "this is not the name of an approval path",
                expected="lower-case letters, digits and inner hyphens, at most 63",
            )
        self.path_id = path_id
        self.stages = check_stages(stages)
        self.expires_after_s = seconds(expires_after_s, "expires_after_s", at_most=MAX_PENDING_S)
        self.remind_after_s = check_reminders(remind_after_s, expires_after_s)
        self.grant_lifetime_s = seconds(grant_lifetime_s, "grant_lifetime_s", at_most=MAX_GRANT_LIFETIME_S)
        self.replaces = replaces
        self._version = 0

    def consistency_boundary(self) -> DCBQuery:
        return boundary(((ApprovalPathPublished,), (f"path:{self.path_id}",)), *self.house())

    def apply(self, event: RecordedEvent) -> None:
        super().apply(event)
        match event.payload:
            case ApprovalPathPublished(path_id=self.path_id, path_version=version):
                self._version = max(self._version, version)
            case _:
                pass

    def decide(self, now: datetime) -> Decision:
        self.require_role("administrator")
        if self.replaces != self._version:
            raise WrongState(
                "this path has another version by now; look at it, and say that you replace it",
                path_id=self.path_id,
                version=self._version,
                replaces=self.replaces,
            )
        published = ApprovalPathPublished(
            path_id=self.path_id,
            path_version=self._version + 1,
            stages=self.stages,
            remind_after_s=self.remind_after_s,
            expires_after_s=self.expires_after_s,
            grant_lifetime_s=self.grant_lifetime_s,
        )
        return Decision(events=(published,))
