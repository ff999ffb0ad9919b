"""The errors of the log, below the house's one root.

QuarterdeckError
├── Refused
│   ├── AppendConflict   somebody else recorded a matching event first
│   ├── Contended        the same, after every retry
│   ├── Expired          too late: the clock under the lock has passed the limit
│   └── IdReused         the id stands for something else already
├── Busy                 too many appends are waiting; nothing was recorded
├── Unavailable          the database does not answer
│   └── NewerSchema      a newer release has changed it
└── UnsafeServer         the database is set up so that it could lose or reorder events
"""

from __future__ import annotations

from quarterdeck_domain.errors import QuarterdeckError, Refused


class AppendConflict(Refused):
    """An event matching the condition was recorded after the position it was based on. Read and decide again."""

    code = "append_conflict"


class Contended(Refused):
    """The command met a conflict on every try. Try again; nothing was recorded."""

    code = "contended"


class Expired(Refused):
    """The moment until which this could be recorded has passed."""

    code = "expired"


class IdReused(Refused):
    """An id or idempotency key was used before with other content. Use a new one for a new request."""

    code = "id_reused"


class Busy(QuarterdeckError):
    """Too many appends are waiting. Nothing was recorded; try again after `retry_after_s`."""

    code = "busy"


class Unavailable(QuarterdeckError):
    """The database does not answer. Repeat with the same ids: what was recorded is not recorded twice."""

    code = "unavailable"


class NewerSchema(Unavailable):
    """A newer release has changed the database, and there is no way back. Install that release, or a later one."""

    code = "newer_schema"


class UnsafeServer(QuarterdeckError):
    """The database server is too old or set up to lose data; the message names the setting."""

    code = "unsafe_server"


class UnreleasedSchema(Unavailable):
    """An unreleased build made the database; its SQL was changed since. Back up with that build, restore with this."""

    code = "unreleased_schema"
