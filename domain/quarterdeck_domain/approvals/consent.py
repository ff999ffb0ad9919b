"""Whether what ended an approval follows from who had voted: the rule of `slices_vote`, asked of a part of the log."""

from __future__ import annotations

from collections.abc import Iterable

from quarterdeck_domain.access.values import ROLE_EVENTS, Item, RoleHolders
from quarterdeck_domain.approvals.events import ApprovalDenied, ApprovalGranted, VoteCast
from quarterdeck_domain.approvals.values import VOTING_ROLES, ApprovalFold, open_stage
from quarterdeck_domain.events import RecordedEvent


def voters(approval_id: str, events: Iterable[RecordedEvent]) -> tuple[Item, ...]:
    """Return the boundary items of those who voted on an approval: what roles they held."""
    found = {
        event.payload.approver
        for event in events
        if isinstance(event.payload, VoteCast) and event.payload.approval_id == approval_id
    }
    return tuple((ROLE_EVENTS, (f"principal:{name}",)) for name in sorted(found))


def follows(approval_id: str, events: Iterable[RecordedEvent]) -> bool:
    """Tell whether an approval, as far as it was granted or denied, was so by votes of people who could vote.

    `events` are those of the approval and of its voters, in order of position. One that is pending, has expired or was
    cancelled follows from its own events.
    """
    approval, electorate = ApprovalFold(approval_id), RoleHolders(VOTING_ROLES)
    sound = True
    for event in events:
        electorate.apply(event)
        approval.apply(event)
        payload = event.payload
        if not isinstance(payload, ApprovalGranted | ApprovalDenied) or payload.approval_id != approval_id:
            continue
        request = approval.request
        if request is None:
            sound = False
        elif isinstance(payload, ApprovalGranted):
            sound = open_stage(request.stages, approval.votes, electorate.roles_of) is None
        else:
            may = {role for stage in request.stages for role in stage.roles}
            sound = any(vote.verdict == "deny" and electorate.roles_of(vote.approver) & may for vote in approval.votes)
    return sound
