"""Commands on approval requests: ask, take back, remind, expire."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from eventsourcing.dcb.api import DCBQuery

from quarterdeck_domain.access.events import IdentityLinked
from quarterdeck_domain.access.values import SYSTEM, CommandSlice
from quarterdeck_domain.approvals.errors import (
    AlreadyRequested,
    ExpiredDenial,
    InvalidDenialBinding,
    NotRequestable,
)
from quarterdeck_domain.approvals.events import (
    ApprovalCancelled,
    ApprovalExpired,
    ApprovalPathPublished,
    ApprovalReminded,
    ApprovalRequested,
    Callback,
)
from quarterdeck_domain.approvals.values import DENIAL_WINDOW, ApprovalFold, SameAction, principal_of
from quarterdeck_domain.checks import MAX_ID, line, opaque, optional_line, prose
from quarterdeck_domain.errors import InvalidInput, NotAllowed, WrongState
from quarterdeck_domain.events import Actor, RecordedEvent
from quarterdeck_domain.intent import acting_for
from quarterdeck_domain.policy.events import DecisionRecorded
from quarterdeck_domain.slices import Decision, boundary

DEFAULT_PATH: Final = "default"
MAX_REF: Final = 400
MAX_CALLBACK_EVENTS: Final = 10
MAX_ENDPOINT: Final = 2_000
MAX_OPAQUE: Final = 4_000


class RequestApproval(CommandSlice):
    """Ask for a human's consent to exactly what a recorded decision was about.

    Everything about the action is taken from that decision, not from the asker. `subject` and `resource`
    (`type:id`), `binding_hash` and `action_digest` are of what is asked for, and must be the decision's; so must
    `actors`, the ids that its subject names in `properties.act`, nearest first. None of them may vote, nor may who owns
    one, nor whoever has one of the `identities`: digests of the accounts that subject and actors may be at an identity
    provider.
    """

    def __init__(
        self,
        *,
        approval_id: str,
        decision_id: str,
        subject: str,
        resource: str,
        binding_hash: str,
        action_digest: str,
        actor: Actor,
        actors: Iterable[str] = (),
        identities: Iterable[str] = (),
        justification: str | None = None,
        client: str | None = None,
        requested_until: datetime | None = None,
        emergency: bool = False,
        callback: Callback | None = None,
        callback_state: str | None = None,
        window: timedelta = DENIAL_WINDOW,
    ):
        self.actors = tuple(actors)
        named = (principal_of(ref) for ref in (*self.actors, subject, resource))
        self._named = tuple(name for name in named if name is not None)
        super().__init__(actor, *self._named)
        self.identities = frozenset(identities)
        self._linked: dict[str, str] = {}
        self.approval_id = approval_id
        self.decision_id = decision_id
        self.subject = _bounded_ref(subject, "subject")
        self.resource = _bounded_ref(resource, "resource")
        self.binding_hash = binding_hash
        self.action_digest = action_digest
        self.justification = prose(justification, "justification")
        self.client = opaque(client, "client", limit=MAX_OPAQUE)
        self.requested_until = _in_utc(requested_until, "requested_until")
        self.emergency = emergency
        self.callback = _check_callback(callback)
        self.callback_state = opaque(callback_state, "callback state", limit=MAX_OPAQUE)
        self.window = window
        if emergency and not (justification or "").strip():
            raise InvalidInput("an emergency needs a justification", field="justification")
        self._decision: DecisionRecorded | None = None
        self._decided_at: datetime | None = None
        self._decided_for: Actor | None = None
        self._paths: dict[str, ApprovalPathPublished] = {}
        self._same = SameAction(action_digest, binding_hash, actor.principal)

    def consistency_boundary(self) -> DCBQuery:
        return boundary(
            ((DecisionRecorded,), (f"decision:{self.decision_id}",)),
            ((ApprovalPathPublished,), ()),
            *(((IdentityLinked,), (f"identity:{identity}",)) for identity in sorted(self.identities)),
            *self._same.needs(),
            *self.house(),
        )

    def apply(self, event: RecordedEvent) -> None:
        super().apply(event)
        self._same.apply(event)
        match event.payload:
            case DecisionRecorded(decision_id=self.decision_id) as decision:
                self._decision, self._decided_at, self._decided_for = decision, event.recorded_at, event.actor
            case IdentityLinked(identity=identity, principal_id=person) if identity in self.identities:
                self._linked[identity] = person
            case ApprovalPathPublished(path_id=path_id) as path:
                self._paths[path_id] = path
            case _:
                pass

    def decide(self, now: datetime) -> Decision:
        self.require_commander()
        decision, path, askable_until = self._askable(now)
        existing = self._same.open_request(now)
        if existing is not None:
            raise AlreadyRequested(
                "you are asking for exactly this already; wait for that answer", approval_id=existing
            )
        if self.requested_until is not None and self.requested_until <= now:
            raise InvalidInput("requested_until is over already", field="requested_until", now=now)
        expires_at = now + timedelta(seconds=path.expires_after_s)
        wanting = self._wanting()
        owners = self._owners(wanting)
        requested = ApprovalRequested(
            approval_id=self.approval_id,
            decision_id=self.decision_id,
            subject=decision.subject,
            action=decision.action,
            resource=decision.resource,
            request=decision.request,
            justification=self.justification,
            callback_state=self.callback_state,
            client=self.client,
            action_digest=decision.action_digest,
            binding_hash=decision.binding_hash,
            path_id=path.path_id,
            path_version=path.path_version,
            stages=path.stages,
            remind_after_s=path.remind_after_s,
            grant_lifetime_s=path.grant_lifetime_s,
            requester=self.actor.principal,
            requesters=(*wanting, *owners),
            owners=owners,
            expires_at=expires_at if self.requested_until is None else min(expires_at, self.requested_until),
            requested_until=self.requested_until,
            emergency=self.emergency,
            callback=self.callback,
        )
        return Decision(events=(requested,), not_after=askable_until)

    def _askable(self, now: datetime) -> tuple[DecisionRecorded, ApprovalPathPublished, datetime]:
        """Return the decision, the path it names, and until when it may be asked on."""
        decision, decided_at = self._decision, self._decided_at
        # No such decision, somebody else's and another action's look the same from outside.
        if (
            decision is None
            or decided_at is None
            or self._decided_for != self.actor
            or decision.binding_hash != self.binding_hash
            or decision.action_digest != self.action_digest
            or (decision.subject, decision.resource) != (self.subject, self.resource)
            or decision.request is None
            or acting_for(decision.request) != self.actors
        ):
            raise InvalidDenialBinding(
                "this is not what that decision was about; evaluate what you want to do, and ask for exactly that",
                decision_id=self.decision_id,
            )
        if decision.outcome != "approval_required":
            raise NotRequestable(
                f"policy answered {decision.outcome}: there is nothing to ask a human",
                decision_id=self.decision_id,
                outcome=decision.outcome,
            )
        if now >= decided_at + self.window:
            raise ExpiredDenial(
                "that decision is too old to ask on; evaluate again",
                decision_id=self.decision_id,
                expired_at=decided_at + self.window,
            )
        return decision, _path(self._paths, decision.approval_path or DEFAULT_PATH), decided_at + self.window

    def _wanting(self) -> tuple[str, ...]:
        """Return everyone who wants this or gains by it: nearest first, each once."""
        wanting = (self.actor.principal, *self.actor.on_behalf_of, *self._named)
        return tuple(dict.fromkeys((*wanting, *sorted(self._linked.values()))))

    def _owners(self, wanting: tuple[str, ...]) -> tuple[str, ...]:
        """Return the humans behind those who want it, each once, but for those who want it themselves."""
        # Accounts are humans': nobody owns them.
        found = (self.people.find(name) for name in wanting if name in self.people.ids)
        owners = (person.owner for person in found if person is not None and person.owner is not None)
        return tuple(owner for owner in dict.fromkeys(owners) if owner not in wanting)


class _OnApproval(CommandSlice):
    """A command on one approval request."""

    def __init__(self, actor: Actor, approval_id: str):
        super().__init__(actor)
        self.approval = ApprovalFold(approval_id)

    def consistency_boundary(self) -> DCBQuery:
        return boundary(*self.approval.needs(), *self.house())

    def apply(self, event: RecordedEvent) -> None:
        super().apply(event)
        self.approval.apply(event)


class CancelApproval(_OnApproval):
    """Take a request back. Only the principal that asked may, for the same people as then."""

    def __init__(self, *, approval_id: str, actor: Actor, reason: str = ""):
        super().__init__(actor, approval_id)
        self.reason = optional_line(reason, "reason")

    def decide(self, now: datetime) -> Decision:
        self.require_commander()
        request = self.approval.pending(now)
        if self.actor.principal != request.requester or not set(self.actor.on_behalf_of) <= set(request.requesters):
            raise NotAllowed("only the principal that asked may take it back", requester=request.requester)
        cancelled = ApprovalCancelled(
            approval_id=request.approval_id, action_digest=request.action_digest, reason=self.reason
        )
        return Decision(events=(cancelled,), not_after=request.expires_at)


class ExpireApproval(_OnApproval):
    """State that nobody decided in time. The house does this; it is true only once the time is over."""

    def __init__(self, *, approval_id: str):
        super().__init__(SYSTEM, approval_id)

    def decide(self, now: datetime) -> Decision:
        self.require_open()
        request = self.approval.undecided()
        if now < request.expires_at:
            raise WrongState(
                "its time is not over yet", approval_id=request.approval_id, expires_at=request.expires_at, now=now
            )
        expired = ApprovalExpired(approval_id=request.approval_id, action_digest=request.action_digest)
        return Decision(events=(expired,))


class RemindApproval(_OnApproval):
    """State that the eligible people were told again. The house does this, once per `remind_after_s`."""

    def __init__(self, *, approval_id: str):
        super().__init__(SYSTEM, approval_id)

    def decide(self, now: datetime) -> Decision:
        self.require_open()
        request = self.approval.pending(now)
        due = (self.approval.told_at or now) + timedelta(seconds=request.remind_after_s)
        if now < due:
            raise WrongState("they were told a short while ago", approval_id=request.approval_id, due=due, now=now)
        reminded = ApprovalReminded(approval_id=request.approval_id)
        return Decision(events=(reminded,), not_after=request.expires_at)


def _path(paths: Mapping[str, ApprovalPathPublished], path_id: str) -> ApprovalPathPublished:
    found = paths.get(path_id)
    if found is None:
        raise NotRequestable(
            f"there is no approval path {path_id!r}; an administrator must publish it", path_id=path_id
        )
    return found


def _bounded_ref(ref: str, field: str) -> str:
    if len(ref) > MAX_REF:
        raise InvalidInput(f"{field} has {len(ref)} characters; at most {MAX_REF} are allowed", field=field)
    return ref


def _in_utc(moment: datetime | None, field: str) -> datetime | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise InvalidInput(f"{field} has no time zone; write it as RFC 3339 does", field=field)
    return moment.astimezone(UTC)


def _check_callback(callback: Callback | None) -> Callback | None:
    if callback is not None:
        line(callback.endpoint, "callback endpoint", limit=MAX_ENDPOINT)
        if len(callback.events) > MAX_CALLBACK_EVENTS:
            raise InvalidInput(f"a callback names at most {MAX_CALLBACK_EVENTS} events", field="callback.events")
        for name in callback.events:
            line(name, "callback event", limit=MAX_ID)
    return callback
