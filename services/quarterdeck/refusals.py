"""Why a grant was not redeemed: from what the server said to the error that says what to do. Pure."""

from __future__ import annotations

from quarterdeck.errors import ActionChanged, ApprovalExpired, Denied, GrantSpent, Problem, QuarterdeckError, Refused
from quarterdeck.model import Grant, Task


def why_no_token(grant: Grant) -> QuarterdeckError:
    """Return the error of a grant that cannot be redeemed: its time is over, it was used, or it is not the caller's."""
    if grant.status == "expired":
        return ApprovalExpired(Task(grant.approval_id, "expired"), "the grant was not used in time")
    if grant.status == "unused":
        problem = Problem(403, _type("not_allowed"), "Not allowed", "this grant is another principal's to redeem")
        return Refused(problem)
    details = {"grant_id": grant.id, "approval_id": grant.approval_id, "state": grant.status}
    if grant.effect_id is not None:
        details["effect_id"] = grant.effect_id
    detail = f"this grant was {grant.status} already"
    return GrantSpent(Problem(409, _type("wrong_state"), "Wrong state", detail, details))


def why_not_redeemed(refused: Refused, grant: Grant) -> QuarterdeckError:
    """Return the error of a redemption that was refused."""
    problem = refused.problem
    match problem.code:
        case "wrong_state":
            return GrantSpent(problem)
        case "digest_mismatch":
            return ActionChanged(problem)
        case "grant_expired":
            return ApprovalExpired(Task(grant.approval_id, "expired"), "the grant was not used in time")
        case "not_allowed" if isinstance(reason := problem.details.get("reason"), str):
            says = problem.details.get("says")
            evaluation_id = problem.details.get("evaluation_id")
            return Denied(
                reason,
                says if isinstance(says, str) and says else problem.detail,
                evaluation_id=evaluation_id if isinstance(evaluation_id, str) else None,
            )
        case _:
            return refused


def _type(code: str) -> str:
    return f"urn:quarterdeck:problem:{code}"
