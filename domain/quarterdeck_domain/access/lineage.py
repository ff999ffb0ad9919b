"""Which credential came of which: what is made with one ends no later than it, and is revoked with it.

The exception: a person who is signed in, by a session or a provider's token, may make lasting keys for services and
agents. Those can be revoked one by one, and none of them can administer.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from quarterdeck_domain.access.credentials import KEY_EVENTS, KeyFold
from quarterdeck_domain.access.events import ApiKeyIssued, ApiKeyRevoked, ApiKeyRotated
from quarterdeck_domain.access.values import Held, Item
from quarterdeck_domain.errors import NotAllowed
from quarterdeck_domain.events import RecordedEvent


class Bond(msgspec.Struct, frozen=True, kw_only=True):
    """What a new credential owes to the one it is made with: nothing, if all of this is None."""

    until: datetime | None = None
    """Its last moment."""
    issued_by_key: str | None = None
    bound_to: str | None = None
    """The API key or session that it ends with."""
    family: str | None = None

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
            NotAllowed: this one has stopped working.
        """
        if self._held is None:
            return Bond()
        key, until = self._key, self._held.ends_at
        issued = None if key is None else key.issued
        if key is not None:
            until = key.end()
        if (key is not None and key.state(now) != "active") or (until is not None and now >= until):
            raise NotAllowed("the credential that this is made with has stopped working")
        by_key = issued is not None and issued.purpose == "api"
        if lasting and not by_key:
            return Bond()
        return Bond(
            until=until,
            issued_by_key=self._held.key_id if by_key else None,
            bound_to=self._held.key_id,
            family=self._held.key_id if issued is None or issued.family is None else issued.family,
        )


class KeyFamily:
    """The keys that came of one first key, by being issued or rotated with it or with one another."""

    def __init__(self, first: str) -> None:
        self.first = first
        self._keys: dict[str, KeyFold] = {}
        self._made_with: dict[str, list[ApiKeyIssued]] = {}

    def needs(self) -> tuple[Item, ...]:
        """Return the boundary items of every event this fold must see."""
        return ((KEY_EVENTS, (f"key-family:{self.first}",)),)

    def apply(self, event: RecordedEvent) -> None:
        """Fold one event; others pass by."""
        payload = event.payload
        if isinstance(payload, ApiKeyIssued) and payload.family == self.first:
            self._keys[payload.key_id] = KeyFold(payload.key_id)
            self._made_with.setdefault(payload.bound_to or self.first, []).append(payload)
        if isinstance(payload, ApiKeyIssued | ApiKeyRotated | ApiKeyRevoked) and payload.key_id in self._keys:
            self._keys[payload.key_id].apply(event)

    def came_of(self, key_id: str) -> list[ApiKeyIssued]:
        """Return what came of a key of this family, to any depth, nearest first."""
        found: list[ApiKeyIssued] = []
        makers = [key_id]
        for maker in makers:
            made = self._made_with.get(maker, [])
            found += made
            makers += [issued.key_id for issued in made]
        return found

    def works(self, key_id: str, now: datetime) -> bool:
        """Tell whether a key of this family still opens anything by itself."""
        return self._keys[key_id].state(now) == "active"
