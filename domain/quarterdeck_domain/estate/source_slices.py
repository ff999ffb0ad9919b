"""Commands on the sources of the estate."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import msgspec
from eventsourcing.dcb.api import DCBQuery

from quarterdeck_domain.access.values import CommandSlice
from quarterdeck_domain.checks import MAX_REASON, legible, optional_line
from quarterdeck_domain.errors import InvalidInput, WrongState
from quarterdeck_domain.estate.slices import EDITORS
from quarterdeck_domain.estate.source_events import (
    Dialect,
    OnDrift,
    SourceChanged,
    SourceFailed,
    SourceKind,
    SourceRegistered,
    SourceRemoved,
    SourceSynced,
    Trigger,
)
from quarterdeck_domain.estate.sources import (
    MAX_SOURCES,
    Source,
    SourceFold,
    check_address,
    check_environment,
    check_every,
    check_name,
    check_new_name,
)
from quarterdeck_domain.events import Actor, Event, RecordedEvent
from quarterdeck_domain.slices import Decision, boundary

CLEARED: Final = ("every_s", "environment", "credential")
"""What a source may be without."""


class _OnSource(CommandSlice):
    def __init__(self, actor: Actor, source_id: str) -> None:
        super().__init__(actor)
        check_name(source_id, "source_id")
        self.source = SourceFold(source_id)

    def consistency_boundary(self) -> DCBQuery:
        return boundary(*self.house(), self.source.needs())

    def apply(self, event: RecordedEvent) -> None:
        super().apply(event)
        self.source.apply(event)


class RegisterSource(_OnSource):
    """Let the estate be imported from somewhere, on request and, with `every_s`, by a schedule."""

    def __init__(
        self,
        *,
        source_id: str,
        kind: SourceKind,
        address: str,
        actor: Actor,
        dialect: Dialect = "openai",
        every_s: int | None = None,
        on_drift: OnDrift = "note",
        environment: str | None = None,
        credential: str | None = None,
    ) -> None:
        super().__init__(actor, source_id)
        self.event = SourceRegistered(
            source_id=check_new_name(source_id),
            kind=kind,
            address=check_address(address),
            dialect=dialect,
            every_s=check_every(every_s),
            on_drift=on_drift,
            environment=check_environment(environment),
            credential=check_name(credential, "credential"),
        )
        self._there: set[str] = set()

    def consistency_boundary(self) -> DCBQuery:
        return boundary(*self.house(), self.source.needs(), ((SourceRegistered, SourceRemoved), ()))

    def apply(self, event: RecordedEvent) -> None:
        super().apply(event)
        if isinstance(event.payload, SourceRegistered):
            self._there.add(event.payload.source_id)
        elif isinstance(event.payload, SourceRemoved):
            self._there.discard(event.payload.source_id)

    def decide(self, now: datetime) -> Decision:
        self.require_role(*EDITORS)
        if self.source.now is not None:
            raise WrongState(
                f"there is a source {self.source.source_id} already; change that one", source=self.source.source_id
            )
        if len(self._there) >= MAX_SOURCES:
            raise WrongState(f"there are {MAX_SOURCES} sources already; remove one first", limit=MAX_SOURCES)
        return Decision(events=(self.event,))


class ChangeSource(_OnSource):
    """Read a source in another way. Its kind stays: another kind is another source."""

    def __init__(
        self,
        *,
        source_id: str,
        actor: Actor,
        address: str | None = None,
        dialect: Dialect | None = None,
        every_s: int | None = None,
        on_drift: OnDrift | None = None,
        environment: str | None = None,
        credential: str | None = None,
        clear: Iterable[str] = (),
        reason: str = "",
    ) -> None:
        super().__init__(actor, source_id)
        given: dict[str, Any] = {
            "address": None if address is None else check_address(address),
            "dialect": dialect,
            "every_s": check_every(every_s),
            "on_drift": on_drift,
            "environment": check_environment(environment),
            "credential": check_name(credential, "credential"),
        }
        self.changes = {name: value for name, value in given.items() if value is not None}
        for name in clear:
            if name not in CLEARED or name in self.changes:
                raise InvalidInput(f"{name[:60]!r} cannot be cleared here", field="clear", allowed=CLEARED)
            self.changes[name] = None
        if not self.changes:
            raise InvalidInput("nothing is changed: name a setting, or what to clear")
        self.reason = optional_line(reason, "reason", limit=MAX_REASON)

    def decide(self, now: datetime) -> Decision:
        self.require_role(*EDITORS)
        before = self.source.require()
        changed = msgspec.structs.replace(before, **self.changes)
        if changed == before:
            return Decision()
        settings = {name: getattr(changed, name) for name in Source.__struct_fields__ if name != "kind"}
        return Decision(events=(SourceChanged(**settings, reason=self.reason),))


class RemoveSource(_OnSource):
    """Import no longer from somewhere. What came from there stays as it is."""

    def __init__(self, *, source_id: str, actor: Actor, reason: str = "") -> None:
        super().__init__(actor, source_id)
        self.reason = optional_line(reason, "reason", limit=MAX_REASON)

    def decide(self, now: datetime) -> Decision:
        self.require_role(*EDITORS)
        self.source.require()
        return Decision(events=(SourceRemoved(source_id=self.source.source_id, reason=self.reason),))


class ImportSource(_OnSource):
    """Tell whether somebody may import a source now. What an import records comes of reading the source, not of this;
    whoever imports asks before it reads, and again once it has planned."""

    def __init__(self, *, source_id: str, actor: Actor) -> None:
        super().__init__(actor, source_id)

    def decide(self, now: datetime) -> Decision:
        self.require_role(*EDITORS)
        self.source.require()
        return Decision()


class FailImport(_OnSource):
    """Record that a source could not be imported, once a run."""

    def __init__(self, *, source_id: str, run: str, trigger: Trigger, error: str, message: str, actor: Actor) -> None:
        super().__init__(actor, source_id)
        self.event = SourceFailed(
            source_id=source_id,
            run=run,
            trigger=trigger,
            error=legible(error, limit=60),
            message=legible(message, limit=MAX_REASON),
        )
        self._told = False

    def consistency_boundary(self) -> DCBQuery:
        ends: tuple[type[Event], ...] = (SourceSynced, SourceFailed)
        return boundary(*self.house(), self.source.needs(), (ends, (f"estate-run:{self.event.run}",)))

    def apply(self, event: RecordedEvent) -> None:
        super().apply(event)
        if isinstance(event.payload, SourceSynced | SourceFailed) and event.payload.run == self.event.run:
            self._told = True

    def decide(self, now: datetime) -> Decision:
        self.require_role(*EDITORS)
        self.source.require()
        return Decision() if self._told else Decision(events=(self.event,))
