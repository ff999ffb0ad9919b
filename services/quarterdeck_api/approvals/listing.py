"""Approvals in pages, newest first, straight from the log.

One page looks at a bounded number of requests; where more may match, it says where to go on, even if it is not full.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final, Literal

from quarterdeck_api.approvals.view import sees_everything, summary, why_not_decide
from quarterdeck_api.auth.caller import Caller
from quarterdeck_api.authzen.state import ApprovalState, read_approvals
from quarterdeck_api.services import Services
from quarterdeck_domain.approvals.events import ApprovalRequested
from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.slices import boundary

Wanted = Literal["pending", "approved", "denied", "expired", "cancelled", "all"]

MAX_LIMIT: Final = 100
MAX_CURSOR: Final = 300
_STEP: Final = 200
_MAX_LOOKED_AT: Final = 1_000


async def list_approvals(
    services: Services, caller: Caller, wanted: Wanted, limit: int, cursor: str | None
) -> dict[str, Any]:
    """Return a page of the approvals that the caller may see, and the cursor of the next if there may be one.

    Raises:
        InvalidInput: the cursor is none of this list's.
    """
    now = await services.ledger.now()
    until = None if cursor is None else _position(cursor, caller, wanted)
    found: list[ApprovalState] = []
    looked_at = 0
    while looked_at < _MAX_LOOKED_AT and len(found) < limit:
        states = await _step(services, caller, until)
        for state, position in states:
            looked_at, until = looked_at + 1, position - 1
            if wanted in ("all", state.status(now)):
                found.append(state)
                if len(found) == limit:
                    break
        if len(states) < _STEP and len(found) < limit:
            until = 0
            break
    refusals = await why_not_decide(services, caller, found, now)
    page: dict[str, Any] = {
        "approvals": [
            summary(state, now) | {"can_decide": why_not is None, "why_not": why_not}
            for state, why_not in zip(found, refusals, strict=True)
        ]
    }
    if until:
        page["next_cursor"] = _cursor(caller, wanted, until)
    return page


async def _step(services: Services, caller: Caller, until: int | None) -> list[tuple[ApprovalState, int]]:
    """Return the next requests, newest first, with the positions at which they were made."""
    tags = () if sees_everything(caller) else (f"principal:{caller.actor.principal}",)
    requests = await services.ledger.read_sealed(
        caller.tenant, boundary(((ApprovalRequested,), tags)), until=until, limit=_STEP, backwards=True
    )
    places = {str(entry.data["approval_id"]): entry.position for entry in requests}
    states = await read_approvals(services.ledger, caller.tenant, tuple(places))
    return [(states[approval_id], position) for approval_id, position in places.items() if approval_id in states]


def _cursor(caller: Caller, wanted: Wanted, until: int) -> str:
    text = f"1|{caller.tenant}|{wanted}|{until}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _position(cursor: str, caller: Caller, wanted: Wanted) -> int:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        text = ""
    head, _, position = text.rpartition("|")
    if head != f"1|{caller.tenant}|{wanted}" or not position.isdigit() or len(position) > 18:
        raise InvalidInput("this cursor is not of this list; leave it out to begin again", field="cursor")
    return int(position)
