"""What can be wrong with a source."""

from __future__ import annotations

from quarterdeck_domain.errors import InvalidInput, QuarterdeckError


class UnreadableSource(InvalidInput):
    """A file or an answer that is not what it should be; the message says where and what would be right."""

    code = "unreadable_source"


class SourceAway(QuarterdeckError):
    """A source that should have been read does not answer, or answers too slowly or too much."""

    code = "source_away"
