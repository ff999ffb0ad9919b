"""The ARAP task that an approval belongs to: of its own, or one of several that were asked for together.

Source: ARAP draft, 'Access Request Response' (aggregate status) and 'Callback Completion'.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from quarterdeck_domain.approvals.bundles import MAX_ITEMS, bundle_id, is_bundle, item_ids
from quarterdeck_domain.approvals.events import ApprovalRequested
from quarterdeck_domain.approvals.values import ApprovalFold
from quarterdeck_domain.events import RecordedEvent, event_id
from quarterdeck_domain.ids import uuid_of
from quarterdeck_domain.slices import boundary
from quarterdeck_ledger.interface import Ledger


@dataclass(frozen=True)
class AskedTask:
    """What the requester holds a handle of. All items of a bundle were asked for with the same callback."""

    id: str
    status: str
    """`pending` until every item has ended; then what all came to, or `partial`."""
    request: ApprovalRequested


async def task_of(ledger: Ledger, tenant: str, approval_id: str, *, until: int | None = None) -> AskedTask | None:
    """Return the task of an approval as the log recorded it up to a position; None if there is no such approval."""
    found = await ledger.read(tenant, boundary(((ApprovalRequested,), (f"approval:{approval_id}",))), limit=1)
    if not found or not isinstance(found[0].payload, ApprovalRequested):
        return None
    bundle = await _bundle(ledger, found[0])
    ids = (approval_id,) if bundle is None else item_ids(bundle, MAX_ITEMS)
    folds = [ApprovalFold(name) for name in ids]
    for event in await ledger.read(tenant, boundary(*(item for fold in folds for item in fold.needs())), until=until):
        for fold in folds:
            fold.apply(event)
    statuses = {fold.status for fold in folds if fold.request is not None}
    status = "pending" if "pending" in statuses else statuses.pop() if len(statuses) == 1 else "partial"
    return AskedTask(approval_id if bundle is None else bundle_id(bundle), status, found[0].payload)


async def _bundle(ledger: Ledger, requested: RecordedEvent) -> uuid.UUID | None:
    """Return the UUID of the bundle that a request was asked in: its first item's, recorded by the same command."""
    if not requested.cause.command_id:
        return None
    first = await ledger.find(requested.tenant, event_id(uuid.UUID(requested.cause.command_id), 0))
    if first is None or not isinstance(first.payload, ApprovalRequested):
        return None
    value = uuid_of(first.payload.approval_id)
    return value if is_bundle(value) else None
