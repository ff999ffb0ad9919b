"""What is asked of an import, and what it answers. Whoever only asks need not load what reads servers."""

from __future__ import annotations

import uuid
from typing import Final

import msgspec

from quarterdeck_connectors.errors import AddressNotAllowed, CredentialNotConfigured, SourceAway, UnreadableSource
from quarterdeck_domain.errors import InvalidInput
from quarterdeck_domain.estate.source_events import Trigger
from quarterdeck_domain.events import Actor
from quarterdeck_importing.applying import Planned

REQUEST_S: Final = 20.0
SCHEDULE_S: Final = 60.0
"""How long a reading may take: while somebody waits for the answer, and by a schedule."""
FAULTS_OF_SOURCE: Final = (SourceAway, UnreadableSource, AddressNotAllowed, CredentialNotConfigured, InvalidInput)
"""What is wrong with the source or with what it says: worth remembering, unlike a database that is away."""


class SourceImported(msgspec.Struct, frozen=True, kw_only=True):
    """What importing a source did. `position` is the last one recorded, `digest` that of what the source declares."""

    source_id: str
    run: str
    position: int
    digest: str
    plan_digest: str
    objects: int
    changed: bool
    counts: dict[str, int]
    gone: int
    notes: tuple[str, ...] = ()
    repeated: bool = False


class SourceLookedAt(msgspec.Struct, frozen=True, kw_only=True):
    """What importing a source would do, and the digest of what it declares now."""

    source_id: str
    digest: str
    objects: int
    gone: tuple[str, ...]
    plan: Planned


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Who wants a source to be imported, by which command, and how long reading it may take."""

    tenant: str
    source_id: str
    actor: Actor
    command_id: uuid.UUID
    trigger: Trigger
    seconds: float
    fingerprint: str | None = None
    traceparent: str | None = None

    @property
    def run(self) -> str:
        """Return the id of the run."""
        return f"run_{self.command_id.hex}"
