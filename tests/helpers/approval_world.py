"""A small house in which approvals happen: who is there, what was decided, and short ways to say the commands."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from given import Log, acting, agent, named, prn, registered

from quarterdeck_domain.approvals.events import ApprovalPathPublished, Stage, Verdict
from quarterdeck_domain.approvals.slices import CastVote, RedeemGrant, RequestApproval
from quarterdeck_domain.events import Actor
from quarterdeck_domain.policy.events import DecisionRecorded, Outcome

APPROVAL, DECISION, GRANT, EFFECT = named("apr", "1"), named("dec", "1"), named("grt", "1"), named("eff", "1")
REEVALUATION = named("dec", "again")
ACTION = "sha256-action-v1:" + "a" * 64
OTHER_ACTION = "sha256-action-v1:" + "b" * 64
BINDING = "sha256:" + "c" * 64
SUBJECT, RESOURCE = f"agent:{prn('bot')}", "account:4711"
AGENT = acting("bot", "agent")

PATH = ApprovalPathPublished(
    path_id="default",
    path_version=1,
    stages=(Stage(name="decide"),),
    remind_after_s=600,
    expires_after_s=3_600,
    grant_lifetime_s=900,
)


def path(*stages: Stage, **changes: Any) -> ApprovalPathPublished:
    """Return a version of the default path with other stages."""
    fields = {name: getattr(PATH, name) for name in PATH.__struct_fields__} | {"stages": stages or PATH.stages}
    return ApprovalPathPublished(**(fields | changes))


def house(*stages: Stage) -> Log:
    """Ada administers; Bob, Cleo, Dora and Emil approve, Bob owns the agent; Otto operates; Audra audits."""
    return Log(
        registered("ada", "administrator"),
        registered("bob", "approver"),
        registered("cleo", "approver"),
        registered("dora", "approver"),
        registered("emil", "approver"),
        registered("otto", "operator"),
        registered("audra", "auditor"),
        agent("bot", "bob"),
        path(*stages),
    )


def decided(
    outcome: Outcome = "approval_required",
    *,
    decision_id: str = DECISION,
    approval_id: str | None = None,
    action_digest: str = ACTION,
    approval_path: str | None = "default",
    subject: str = SUBJECT,
    resource: str = RESOURCE,
    estate_position: int = 1,
    binding_hash: str = BINDING,
    request: str | None = '{"action":{"name":"refund"}}',
    estate: tuple[str, ...] = (),
) -> DecisionRecorded:
    """Return the fact that policy answered."""
    return DecisionRecorded(
        decision_id=decision_id,
        subject=subject,
        action="refund",
        resource=resource,
        request=request,
        action_digest=action_digest,
        binding_hash=binding_hash,
        outcome=outcome,
        approval_path=approval_path,
        estate_position=estate_position,
        approval_id=approval_id,
        estate=estate,
    )


def ask(
    by: Actor = AGENT,
    *,
    approval_id: str = APPROVAL,
    decision_id: str = DECISION,
    subject: str = SUBJECT,
    resource: str = RESOURCE,
    action_digest: str = ACTION,
    binding_hash: str = BINDING,
    **rest: Any,
) -> RequestApproval:
    """Ask for consent to what was decided."""
    return RequestApproval(
        approval_id=approval_id,
        decision_id=decision_id,
        subject=subject,
        resource=resource,
        action_digest=action_digest,
        binding_hash=binding_hash,
        actor=by,
        **rest,
    )


def vote(
    name: str | Actor,
    verdict: Verdict = "approve",
    *,
    shown: str = ACTION,
    approval_id: str = APPROVAL,
    comment: str | None = None,
) -> CastVote:
    """Vote in person."""
    return CastVote(
        approval_id=approval_id,
        verdict=verdict,
        action_digest=shown,
        grant_id=GRANT,
        comment=comment,
        actor=acting(name) if isinstance(name, str) else name,
    )


def redeem(
    by: Actor = AGENT, *, action_digest: str = ACTION, effect_id: str = EFFECT, decision_id: str = REEVALUATION
) -> RedeemGrant:
    """Use the grant on the re-evaluation."""
    return RedeemGrant(
        grant_id=GRANT,
        effect_id=effect_id,
        effect_class="at_most_once",
        action_digest=action_digest,
        decision_id=decision_id,
        actor=by,
    )


def requested(*stages: Stage, by: Actor = AGENT, **rest: Any) -> Log:
    """The house, in which the agent has asked."""
    log = house(*stages).given(decided(), by=by)
    log.when(ask(by, **rest))
    return log


def granted(*, requested_until: datetime | None = None) -> Log:
    """The house, in which the agent has asked, Cleo has approved, and policy was asked again."""
    log = requested(requested_until=requested_until)
    log.when(vote("cleo"))
    return reevaluated(log)


def reevaluated(log: Log, outcome: Outcome = "permit", *, by: Actor = AGENT, **changes: Any) -> Log:
    """Let policy answer again, with the approval presented."""
    fields = {"decision_id": REEVALUATION, "approval_id": APPROVAL, "estate_position": len(log.events)} | changes
    return log.given(decided(outcome, **fields), by=by)
