"""Errors as answers: each kind a type of its own, so that a mutation's result says what may happen.

A mutation answers with its payload or one of these; queries have them in `errors`, with the code in `extensions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import strawberry
from graphql import GraphQLError
from strawberry.scalars import JSON

from quarterdeck_domain.errors import InvalidInput as InvalidInputError
from quarterdeck_domain.errors import NotAllowed as NotAllowedError
from quarterdeck_domain.errors import NotFound as NotFoundError
from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_domain.errors import Refused as RefusedError
from quarterdeck_domain.errors import WrongState as WrongStateError
from quarterdeck_graphql.limits import Due
from quarterdeck_ledger import errors as ledger


@strawberry.interface(description="Why something was not done. Nothing was recorded, unless it says otherwise.")
class Problem:
    code: str = strawberry.field(description="Its stable name, the same in REST.")
    message: str = strawberry.field(description="What was wrong, and what would be right.")
    details: JSON = strawberry.field(description="The values it is about.")


def _problem(name: str, description: str) -> type[Problem]:
    found: type[Problem] = strawberry.type(type(name, (Problem,), {}), description=description)
    return found


InvalidInput = _problem("InvalidInput", "The input is malformed. Mend it as the message says.")
NotFound = _problem("NotFound", "What the input names does not exist.")
NotAllowed = _problem("NotAllowed", "You may not do this; the message says who may.")
WrongState = _problem("WrongState", "What the input names is not in a state that allows this.")
Conflict = _problem("Conflict", "Somebody else was first, again and again. Try again.")
Expired = _problem("Expired", "The moment until which this could be done has passed.")
IdempotencyKeyReused = _problem("IdempotencyKeyReused", "The idempotency key was used with another request.")
Busy = _problem("Busy", "Too much is waiting. Try again after `details.retry_after_s`.")
Unavailable = _problem(
    "Unavailable",
    "A part that is needed does not answer; whether it was recorded is unknown. Repeat with the same key.",
)
Refused = _problem("Refused", "A rule says no; `code` says which.")

PROBLEMS: Final = (
    InvalidInput,
    NotFound,
    NotAllowed,
    WrongState,
    Conflict,
    Expired,
    IdempotencyKeyReused,
    Busy,
    Unavailable,
    Refused,
)

_BY_CODE: Final[Mapping[str, type[Problem]]] = {
    "idempotency_key_reused": IdempotencyKeyReused,
    "too_many_requests": Busy,
    "too_many_connections": Busy,
    "too_many_subscriptions": Busy,
    "timed_out": Unavailable,
    "not_begun": Busy,
    "not_yet": Busy,
    "source_away": Busy,
}
_BY_CLASS: Final[Mapping[type[QuarterdeckError], type[Problem]]] = {
    InvalidInputError: InvalidInput,
    NotFoundError: NotFound,
    NotAllowedError: NotAllowed,
    WrongStateError: WrongState,
    ledger.AppendConflict: Conflict,
    ledger.Contended: Conflict,
    ledger.Expired: Expired,
    ledger.IdReused: IdempotencyKeyReused,
    ledger.Busy: Busy,
    ledger.Unavailable: Unavailable,
    RefusedError: Refused,
}


class Unauthorised(RefusedError):
    """The credential that a stream was opened with is no longer valid. Open another with one that is."""

    code = "unauthenticated"


_HIDDEN: Final = "a part that is needed does not answer; repeat the request with the same idempotency key"
_HIDDEN_IN_ANSWERS: Final = "a part that is needed does not answer; ask again later"


def problem_of(error: QuarterdeckError) -> Problem | None:
    """Return the answer that an error is; None for one that no caller can do anything about."""
    kind = _BY_CODE.get(error.code) or next(
        (_BY_CLASS[item] for item in type(error).__mro__ if item in _BY_CLASS), None
    )
    if kind is None:
        return None
    if kind is Unavailable:
        # The messages of these name hosts and settings: they are for the operator.
        return kind(code=error.code, message=_HIDDEN, details=JSON({}))
    return kind(code=error.code, message=error.message, details=JSON(plain(error.details)))


def graphql_error(error: QuarterdeckError, found: GraphQLError) -> GraphQLError:
    """Return the error of a query as it leaves: its code and details, and nothing of what is behind it."""
    answer = problem_of(error)
    if answer is None:
        return masked(found)
    extensions: dict[str, Any] = {"code": answer.code}
    if answer.details:
        extensions["details"] = answer.details
    message = _HIDDEN_IN_ANSWERS if isinstance(answer, Unavailable) else answer.message
    return GraphQLError(message, nodes=found.nodes, path=found.path, extensions=extensions)


def passes(error: QuarterdeckError) -> bool:
    """Tell whether an error is about the moment: the same may succeed later."""
    return isinstance(problem_of(error), Unavailable | Busy)


def late(due: Due) -> GraphQLError:
    """Return the error of what was not answered in time."""
    return GraphQLError(
        f"not answered within {due.deadline_s:g} s; ask for less. A command may have been recorded: repeat it with its "
        "key",
        extensions={"code": "timed_out", "limit_s": due.deadline_s},
    )


def masked(found: GraphQLError) -> GraphQLError:
    """Return an error that says only where it was met."""
    return GraphQLError(
        "something failed here that should not have",
        nodes=found.nodes,
        path=found.path,
        extensions={"code": "internal"},
    )


def plain(value: Any) -> Any:
    """Return a value as JSON values, whatever it was: an error must never fail while it is told."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(str(item) for item in value)
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return str(value)
