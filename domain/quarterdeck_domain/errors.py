"""The errors of the house: one root, each with the data that says what was wrong.

    QuarterdeckError
    ├── InvalidInput             the request itself is malformed
    │   ├── NotCanonical         bytes or values outside our JSON profile
    │   ├── UnknownEventType     no event of that type and version is known
    │   └── InvalidEvent         a payload that does not fit its schema
    ├── Refused                  well-formed, but a rule of the domain says no
    │   ├── NotFound             the thing named does not exist (or is another tenant's)
    │   ├── NotAllowed           the caller may not do this
    │   └── WrongState           the thing is not in a state that allows it
    └── (the ledger adds its own below this root)

`code` is stable and public: it names the error in REST problem types, GraphQL unions and
`--json` output.
"""

from __future__ import annotations

from typing import ClassVar


class QuarterdeckError(Exception):
    """Something Quarterdeck understood and would not or could not do."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class InvalidInput(QuarterdeckError):
    """The request is malformed. Mend it as the message says; nothing has changed."""

    code = "invalid_input"


class NotCanonical(InvalidInput):
    """A value or bytes outside our RFC 8785 profile (see `canonical`)."""

    code = "not_canonical"


class UnknownEventType(InvalidInput):
    """No event is registered under that type and version."""

    code = "unknown_event_type"


class InvalidEvent(InvalidInput):
    """An event payload that does not fit the schema of its type and version."""

    code = "invalid_event"


class Refused(QuarterdeckError):
    """A rule of the domain says no. Asking again unchanged gives the same answer."""

    code = "refused"


class NotFound(Refused):
    """The thing named does not exist, or belongs to another tenant: the two look the same."""

    code = "not_found"


class NotAllowed(Refused):
    """The caller may not do this; the message says who may."""

    code = "not_allowed"


class WrongState(Refused):
    """The thing exists but is not in a state that allows this."""

    code = "wrong_state"
