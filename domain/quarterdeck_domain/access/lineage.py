"""Which credential came of which: what is made with one ends no later, and is worth nothing once that is revoked.

Nothing is recorded of what came of a revoked key: whoever reads a credential reads those it is bound to, too, one
through the other. So a revocation is one event on one key, and nobody can get in its way by making more.

The exception: a person who is signed in, by a session or a provider's token, may make lasting keys for services and
agents, and links for other people. A session that came of an API key is none of theirs.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from quarterdeck_domain.access.credentials import KeyFold
from quarterdeck_domain.access.values import Held, Item
from quarterdeck_domain.errors import NotAllowed
from quarterdeck_domain.events import RecordedEvent

MAX_DEPTH: Final = 100
"""How many a credential can be bound to, one through the other: each is looked at whenever it is presented."""


class Bond(msgspec.Struct, frozen=True, kw_only=True):
    """What a new credential owes to the one it is made with: nothing, if all of this is None."""

    until: datetime | None = None
    """Its last moment."""
    issued_by_key: str | None = None
    bound_to: str | None = None
    """The API key or session that it ends with."""
    depth: int = 0

    def within(self, moment: datetime) -> datetime:
        """Return a moment unchanged.

        Raises:
            NotAllowed: it lies beyond the last; the error names that.
        """
        if self.until is not None and moment > self.until:
            raise NotAllowed(
                f"what is made with this credential ends no later than it does, at {self.until.isoformat()}",
                latest=self.until,
            )
        return moment


class Maker:
    """The credential that a command came with, as the log has it. None: the house itself, to which nothing is owed."""

    def __init__(self, held: Held | None) -> None:
        self._held = held
        self._key = None if held is None or held.key_id is None else KeyFold(held.key_id)

    def needs(self) -> tuple[Item, ...]:
        """Return the boundary items of every event this fold must see."""
        return () if self._key is None else self._key.needs()

    def apply(self, event: RecordedEvent) -> None:
        """Fold one event; others pass by."""
        if self._key is not None:
            self._key.apply(event)

    def bond(self, now: datetime, *, lasting: bool) -> Bond:
        """Return what a credential owes that is made with this one now. `lasting`: a person who is signed in may make
        it without owing anything.

        Raises:
            NotAllowed: this one has stopped working, or came of too many others.
        """
        if self._held is None:
            return Bond()
        key, until = self._key, self._held.ends_at
        issued = None if key is None else key.issued
        if key is not None:
            until = key.end()
        if (key is not None and key.state(now) != "active") or (until is not None and now >= until):
            raise NotAllowed("the credential that this is made with has stopped working")
        # A session that came of an API key is no person who is signed in: whoever stole the key has it.
        by_key = issued is not None and (issued.purpose == "api" or issued.issued_by_key is not None)
        if lasting and not by_key:
            return Bond()
        depth = 1 if issued is None else issued.depth + 1
        if depth > MAX_DEPTH:
            raise NotAllowed(
                f"this credential came of {MAX_DEPTH} others, one through the other, and makes no more: let somebody "
                "who is signed in make one",
                limit=MAX_DEPTH,
            )
        return Bond(
            until=until,
            issued_by_key=self._held.key_id if by_key else None,
            bound_to=self._held.key_id,
            depth=depth,
        )
