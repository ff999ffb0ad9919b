"""What can be wrong with a source."""

from __future__ import annotations

from quarterdeck_domain.errors import InvalidInput, QuarterdeckError, Refused


class UnreadableSource(InvalidInput):
    """A file or an answer that is not what it should be, or too much; the message says what would be right."""

    code = "unreadable_source"


class SourceAway(QuarterdeckError):
    """A source that should have been read does not answer, or answers too slowly: it may later."""

    code = "source_away"


class AddressNotAllowed(Refused):
    """The operator does not allow that this address is read; the message says which setting would."""

    code = "address_not_allowed"


class CredentialNotConfigured(Refused):
    """The operator keeps no such secret for this tenant and this address; the message says in which setting it goes."""

    code = "credential_not_configured"
