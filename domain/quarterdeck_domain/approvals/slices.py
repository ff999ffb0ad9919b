"""The commands of this room, one class each, in one place to import from."""

from quarterdeck_domain.approvals.slices_delivery import (
    ParkDispatch,
    RecordCallback,
    ReleaseDispatch,
    ResendCallback,
    RevealCallbackSecret,
)
from quarterdeck_domain.approvals.slices_grant import (
    ReconcileEffect,
    RedeemGrant,
    ReportEffect,
    RevokeGrant,
)
from quarterdeck_domain.approvals.slices_path import PublishApprovalPath
from quarterdeck_domain.approvals.slices_request import (
    CancelApproval,
    ExpireApproval,
    RemindApproval,
    RequestApproval,
)
from quarterdeck_domain.approvals.slices_vote import CastVote

__all__ = (
    "CancelApproval",
    "CastVote",
    "ExpireApproval",
    "ParkDispatch",
    "PublishApprovalPath",
    "ReconcileEffect",
    "RecordCallback",
    "RedeemGrant",
    "ReleaseDispatch",
    "RemindApproval",
    "ReportEffect",
    "RequestApproval",
    "ResendCallback",
    "RevealCallbackSecret",
    "RevokeGrant",
)
