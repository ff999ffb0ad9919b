"""The errors of approvals, below the house's one root.

    Refused
    ├── NotRequestable         policy did not say 'ask a human', or the path it names does not exist
    ├── ExpiredDenial          the decision is too old to ask on; evaluate again
    ├── InvalidDenialBinding   the request does not belong to the decision it names
    ├── DigestMismatch         what was shown or is about to be done is not what was asked for
    └── WrongState
        └── AlreadyRequested   the same action is being asked for already; the error names that approval

The first three have a standard name on the wire.

Source: ARAP draft, Error Responses.
"""

from __future__ import annotations

from quarterdeck_domain.errors import Refused, WrongState


class NotRequestable(Refused):
    """The decision was not 'ask a human', so there is nothing to ask."""

    code = "not_requestable"


class ExpiredDenial(Refused):
    """The decision is older than its window. Evaluate again, and ask on the new decision."""

    code = "expired_denial"


class InvalidDenialBinding(Refused):
    """The request cannot be bound to the decision it names: another subject, action, resource or requester."""

    code = "invalid_denial_binding"


class DigestMismatch(Refused):
    """The action's digest is not the one that was asked for. Load the approval again and look at it again."""

    code = "digest_mismatch"


class AlreadyRequested(WrongState):
    """The same requester's request for the same action is open. `details["approval_id"]` names it; wait for that."""

    code = "already_requested"
