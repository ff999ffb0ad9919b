"""Secrets that a source was sent, and that its answers may repeat: kept out of what is said and of what is recorded."""

from __future__ import annotations

from typing import Final

import msgspec

from quarterdeck_connectors.draft import Imported
from quarterdeck_connectors.errors import UnreadableSource
from quarterdeck_domain.errors import QuarterdeckError

HIDDEN: Final = "[secret]"


def refuse_repeated(found: Imported, secret: str) -> None:
    """Let pass what has no secret in it, however its bytes are written in JSON.

    Raises:
        UnreadableSource: it has.
    """
    written = msgspec.json.encode(secret)[1:-1]
    if written in msgspec.json.encode(found):
        raise UnreadableSource("it repeats the credential that it was sent: nothing of that is recorded")


def without(error: QuarterdeckError, secret: str) -> QuarterdeckError:
    """Return an error without a secret in its words: servers repeat what they were sent."""
    cleaned = type(error)(
        error.message.replace(secret, HIDDEN),
        **{
            name: value.replace(secret, HIDDEN) if isinstance(value, str) else value
            for name, value in error.details.items()
        },
    )
    return cleaned if secret not in repr(cleaned.details) else type(error)(cleaned.message)
