"""The command that decides: one person's vote, and with the last quorum the grant."""

from __future__ import annotations

from datetime import datetime, timedelta

from eventsourcing.dcb.api import DCBQuery

from quarterdeck_domain.access.values import CommandSlice, RoleHolders
from quarterdeck_domain.approvals.errors import DigestMismatch
from quarterdeck_domain.approvals.events import (
    ApprovalDenied,
    ApprovalGranted,
    ApprovalRequested,
    GrantMinted,
    Stage,
    Verdict,
    VoteCast,
)
from quarterdeck_domain.approvals.values import VOTING_ROLES, ApprovalFold, Vote, open_stage
from quarterdeck_domain.checks import prose
from quarterdeck_domain.errors import NotAllowed, WrongState
from quarterdeck_domain.events import Actor, Event, RecordedEvent
from quarterdeck_domain.slices import Decision, boundary


class CastVote(CommandSlice):
    """Approve or deny, as an eligible human who neither wanted this nor answers for whoever did.

    One denial denies. An approval counts in the first stage without its quorum. Every vote is judged by the
    roles of this moment: whoever was deactivated or lost the role since no longer counts. With the last quorum
    the grant is minted in the same decision. `action_digest` is of what the voter was shown.
    """

    def __init__(
        self,
        *,
        approval_id: str,
        verdict: Verdict,
        action_digest: str,
        grant_id: str,
        actor: Actor,
        comment: str | None = None,
    ):
        super().__init__(actor)
        self.verdict: Verdict = verdict
        self.action_digest = action_digest
        self.grant_id = grant_id
        self.comment = prose(comment, "comment")
        self._approval = ApprovalFold(approval_id)
        self._electorate = RoleHolders(VOTING_ROLES)

    def consistency_boundary(self) -> DCBQuery:
        return boundary(*self._approval.needs(), *self._electorate.needs(), *self.house())

    def apply(self, event: RecordedEvent) -> None:
        super().apply(event)
        self._approval.apply(event)
        self._electorate.apply(event)

    def decide(self, now: datetime) -> Decision:
        self.require_commander()
        request = self._approval.pending(now)
        self._require_independent(request)
        if self.action_digest != request.action_digest:
            raise DigestMismatch(
                "what you were shown is not what is asked for; look at it again",
                shown=self.action_digest,
                asked=request.action_digest,
            )
        stage = self._stage(request)
        cast = VoteCast(
            approval_id=request.approval_id,
            approver=self.actor.principal,
            stage=stage.name,
            verdict=self.verdict,
            comment=self.comment,
            action_digest=self.action_digest,
        )
        return Decision(events=(cast, *self._outcome(request, stage, now)), not_after=request.expires_at)

    def _require_independent(self, request: ApprovalRequested) -> None:
        voter = self.people.active(self.actor.principal)
        if voter is None or voter.kind != "human" or self.actor.on_behalf_of:
            raise NotAllowed("a vote is given in person, by a human acting for nobody else")
        answers_for = self.people.answers_for(voter.id) & set(request.requesters)
        if voter.id == request.requester:
            why = "you requested this"
        elif request.requester in answers_for:
            why = "you answer for whoever requested this"
        elif answers_for:
            why = "you answer for whoever this was requested for"
        elif voter.id in request.owners:
            why = "when this was requested, you answered for whoever wanted it"
        elif voter.id in request.requesters:
            why = "this was requested for you"
        else:
            return
        details = {"requesters": tuple(sorted(answers_for))} if answers_for else {}
        raise NotAllowed(f"{why}; somebody else must decide", requester=request.requester, **details)

    def _stage(self, request: ApprovalRequested) -> Stage:
        """Return the stage that this vote is in."""
        votes = self._approval.votes
        if any(vote.approver == self.actor.principal for vote in votes):
            raise WrongState("you have voted already; nobody votes twice", approval_id=request.approval_id)
        # Roles that came back may have completed every quorum without a vote: then this one is in the last stage.
        stage = open_stage(request.stages, votes, self._electorate.roles_of) or request.stages[-1]
        if not self._electorate.roles_of(self.actor.principal) & set(stage.roles):
            raise NotAllowed(
                f"stage {stage.name!r} needs the role {' or '.join(stage.roles)}", stage=stage.name, needs=stage.roles
            )
        return stage

    def _outcome(self, request: ApprovalRequested, stage: Stage, now: datetime) -> tuple[Event, ...]:
        if self.verdict == "deny":
            return (ApprovalDenied(approval_id=request.approval_id, action_digest=request.action_digest),)
        mine = Vote(approver=self.actor.principal, stage=stage.name, verdict="approve")
        if open_stage(request.stages, (*self._approval.votes, mine), self._electorate.roles_of) is not None:
            return ()
        until = now + timedelta(seconds=request.grant_lifetime_s)
        if request.requested_until is not None:
            until = min(until, request.requested_until)
        granted = ApprovalGranted(
            approval_id=request.approval_id, action_digest=request.action_digest, approved_until=until
        )
        minted = GrantMinted(
            grant_id=self.grant_id,
            approval_id=request.approval_id,
            subject=request.subject,
            redeemer=request.requester,
            action_digest=request.action_digest,
            expires_at=until,
        )
        return granted, minted
