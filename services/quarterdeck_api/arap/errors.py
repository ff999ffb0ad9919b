"""The errors of access requests by the names that the profile gives them, and by ours where it gives none.

QuarterdeckError
├── InvalidInput (400)
│   ├── NotRequestable         urn:…:not_requestable
│   ├── InvalidDenialBinding   urn:…:invalid_denial_binding
│   └── CallbackRefused        ours: no name in the profile
├── NotFound (404)
│   └── UnknownTask            urn:…:unknown_task
├── Refused (409)
│   ├── DuplicateRequest       urn:…:duplicate_request
│   └── InvalidTaskState       urn:…:invalid_task_state
└── Expired (410)
    ├── ExpiredDenial          urn:…:expired_denial
    └── TaskExpired            urn:…:task_expired

Source: ARAP draft, 'Error Responses'.
"""

from __future__ import annotations

from typing import Final

from quarterdeck_domain.approvals import errors as domain
from quarterdeck_domain.errors import InvalidInput, NotFound, QuarterdeckError, Refused
from quarterdeck_ledger.errors import Expired, IdReused

URN: Final = "urn:openid:authzen:access-request:error:"


class NotRequestable(InvalidInput):
    """The evaluation was not answered with 'ask a human'. There is nothing to request."""

    code = f"{URN}not_requestable"


class InvalidDenialBinding(InvalidInput):
    """The request cannot be bound to the denial it names. Evaluate what you want to do, and send exactly that."""

    code = f"{URN}invalid_denial_binding"


class ExpiredDenial(Expired):
    """The denial is too old to ask on. Evaluate again."""

    code = f"{URN}expired_denial"


class DuplicateRequest(Refused):
    """The idempotency key was used before with another body. Use a new key for a new request."""

    code = f"{URN}duplicate_request"


class UnknownTask(NotFound):
    """There is no such task, or it is not for the caller to see: the two look the same."""

    code = f"{URN}unknown_task"


class TaskExpired(Expired):
    """The task ended long ago, and its handle with it."""

    code = f"{URN}task_expired"


class InvalidTaskState(Refused):
    """The task has ended already."""

    code = f"{URN}invalid_task_state"


class CallbackRefused(InvalidInput):
    """Callbacks may not be sent to this endpoint. The operator allows hosts in `webhook_allow`."""

    code = "callback_refused"


def on_the_wire(error: QuarterdeckError) -> QuarterdeckError:
    """Return a submission's error by the name it has in the profile; any other unchanged."""
    match error:
        case domain.NotRequestable():
            return NotRequestable(error.message, **error.details)
        case domain.InvalidDenialBinding():
            return InvalidDenialBinding(error.message, **error.details)
        case domain.ExpiredDenial():
            return ExpiredDenial(error.message, **error.details)
        case IdReused():
            return DuplicateRequest("this Idempotency-Key was used with another request", **error.details)
        case _:
            return error
