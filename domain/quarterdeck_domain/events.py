"""Events: what happened, before and after it is recorded.

An event class is a frozen msgspec struct with an explicit, stable type name and a schema
version; never a Python path. `EventRegistry` is the only way from a class to stored data and back.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, get_args, get_origin, get_type_hints

import msgspec

from quarterdeck_domain.errors import InvalidEvent, UnknownEventType
from quarterdeck_domain.ids import in_time_of

Personal = Annotated[str | None, msgspec.Meta(extra={"personal": True})]
"""Personal data of the event's data subject. Encrypted with the subject's key before it is stored;
None after the key was destroyed."""

EVENT_NAMESPACE: Final = uuid.UUID("5b0f6a34-6f0e-5d5c-9a52-3f0c1b7f9a11")

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]


class Event(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every event payload. Subclasses are past tense and name themselves with `type`."""

    type: ClassVar[str]
    version: ClassVar[int] = 1
    data_subject: ClassVar[str | None] = None
    """Name of the field that holds the id of the person whose `Personal` fields these are."""
    tag_fields: ClassVar[Mapping[str, str]] = {}
    """Field name to tag prefix: `{"approval_id": "approval"}` tags the event `approval:<id>`.
    A field may hold None (no tag) or a tuple of ids (a tag each)."""

    def tags(self) -> tuple[str, ...]:
        """Return the tags of every object this event concerns, sorted."""
        found: set[str] = set()
        for field, prefix in self.tag_fields.items():
            value = getattr(self, field)
            if isinstance(value, tuple):
                found.update(f"{prefix}:{item}" for item in value)
            elif value is not None:
                found.add(f"{prefix}:{value}")
        return tuple(sorted(found))


class Actor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The verified principal that acts, and the chain of principals it acts for (nearest first)."""

    principal: str
    kind: str
    on_behalf_of: tuple[str, ...] = ()

    def everyone(self) -> frozenset[str]:
        """Return the principal and everyone it acts for."""
        return frozenset((self.principal, *self.on_behalf_of))


class Cause(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Why the event was recorded: its command, the event that led to it, and the trace it is part of.

    `fingerprint` is a keyed digest of the command's request; it makes idempotency keys last as long as
    the events and those keys. `traceparent` is W3C Trace Context.
    """

    command_id: str | None = None
    fingerprint: str | None = None
    position: int | None = None
    traceparent: str | None = None


class NewEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event before append."""

    id: uuid.UUID
    payload: Event
    actor: Actor
    cause: Cause = Cause()
    tags: tuple[str, ...] = ()
    """Tags beside the payload's own."""


class RecordedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event after append. `position` is gapless from 1 per tenant; `recorded_at` (UTC) is the
    database's clock read under the log's lock and never decreases along positions."""

    tenant: str
    position: int
    id: uuid.UUID
    recorded_at: datetime
    actor: Actor
    cause: Cause
    tags: tuple[str, ...]
    payload: Event

    @property
    def type(self) -> str:
        """The stable name of the event, such as `approval.requested`."""
        return self.payload.type


def event_id(command_id: uuid.UUID, index: int) -> uuid.UUID:
    """Derive the id of a command's index-th event, so that a repeated command repeats its ids.

    A command id of version 7 lends its milliseconds to its events' ids.
    """
    return in_time_of(command_id, uuid.uuid5(EVENT_NAMESPACE, f"{command_id}/{index}"))


class EventRegistry:
    """The catalogue of event types: from a payload to stored data and back, across schema versions."""

    def __init__(
        self, types: Iterable[type[Event]], upcasters: Mapping[tuple[str, int], Upcaster] | None = None
    ) -> None:
        """Build from event classes and upcasters keyed by (type, the version they lift by one)."""
        self._by_type: dict[str, type[Event]] = {}
        self._upcasters = dict(upcasters or {})
        for event_class in types:
            if event_class.type in self._by_type:
                raise ValueError(f"event type {event_class.type!r} is registered twice")
            self._by_type[event_class.type] = event_class
        self._personal = {name: personal_fields(found) for name, found in self._by_type.items()}
        for name, found in self._by_type.items():
            if self._personal[name] and found.data_subject is None:
                raise ValueError(f"event type {name!r} has personal fields but names no data_subject")
            missing = [v for v in range(1, found.version) if (name, v) not in self._upcasters]
            if missing:
                raise ValueError(f"event type {name!r} has no upcaster from versions {missing}")

    def types(self) -> tuple[type[Event], ...]:
        """Return every registered event class, by type name."""
        return tuple(self._by_type[name] for name in sorted(self._by_type))

    def personal(self, event_type: str) -> tuple[str, ...]:
        """Return the names of the personal fields of a type."""
        return self._personal.get(event_type, ())

    def subject_field(self, event_type: str) -> str:
        """Return the name of the field that holds the data subject of a type's personal fields.

        Raises:
            ValueError: the type has none.
        """
        field = self._by_type[event_type].data_subject
        if field is None:
            raise ValueError(f"event type {event_type!r} has no data subject")
        return field

    def to_data(self, payload: Event) -> dict[str, Any]:
        """Return the payload as JSON values.

        Raises:
            UnknownEventType: the class is not registered.
            InvalidEvent: the payload does not fit its own schema.
        """
        if self._by_type.get(payload.type) is not type(payload):
            raise UnknownEventType(f"event type {payload.type!r} is not registered", type=payload.type)
        data: dict[str, Any] = msgspec.to_builtins(payload)
        try:
            msgspec.convert(data, type(payload))
        except msgspec.ValidationError as error:
            raise InvalidEvent(f"{payload.type}: {error}", type=payload.type) from None
        return data

    def lift(self, event_type: str, version: int, data: dict[str, Any]) -> dict[str, Any]:
        """Return stored data in the shape of the type's current schema version.

        Raises:
            UnknownEventType: no such type, or a version newer than this program knows.
        """
        event_class = self._by_type.get(event_type)
        if event_class is None or not 1 <= version <= event_class.version:
            raise UnknownEventType(
                f"event type {event_type!r} version {version} is not known to this release",
                type=event_type,
                version=version,
            )
        for step in range(version, event_class.version):
            data = self._upcasters[event_type, step](data)
        return data

    def from_data(self, event_type: str, version: int, data: dict[str, Any]) -> Event:
        """Return the payload of stored data, lifted to the current schema version.

        Raises:
            UnknownEventType: no such type, or a version newer than this program knows.
            InvalidEvent: the data does not fit the schema.
        """
        data = self.lift(event_type, version, data)
        event_class = self._by_type[event_type]
        try:
            return msgspec.convert(data, event_class)
        except msgspec.ValidationError as error:
            raise InvalidEvent(f"{event_type} v{version}: {error}", type=event_type) from None


def personal_fields(event_class: type[Event]) -> tuple[str, ...]:
    """Return the names of the fields declared `Personal`."""
    hints = get_type_hints(event_class, include_extras=True)
    return tuple(name for name, hint in hints.items() if _is_personal(hint))


def _is_personal(hint: object) -> bool:
    if get_origin(hint) is not Annotated:
        return False
    return any(isinstance(meta, msgspec.Meta) and (meta.extra or {}).get("personal") for meta in get_args(hint)[1:])
