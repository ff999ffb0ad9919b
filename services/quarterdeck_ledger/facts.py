"""From what a command decided to events before and after they are recorded."""

from __future__ import annotations

from collections.abc import Sequence

from quarterdeck_domain.events import Cause, Event, NewEvent, RecordedEvent, event_id
from quarterdeck_ledger.interface import Appended, Context


def new_events(payloads: Sequence[Event], context: Context) -> list[NewEvent]:
    """Return a command's events with the ids, actor and cause that its context gives them."""
    cause = Cause(
        command_id=str(context.command_id),
        fingerprint=context.fingerprint,
        position=context.causation_position,
        traceparent=context.traceparent,
    )
    return [
        NewEvent(id=event_id(context.command_id, index), payload=payload, actor=context.actor, cause=cause)
        for index, payload in enumerate(payloads)
    ]


def recorded(tenant: str, events: Sequence[NewEvent], placed: Appended) -> tuple[RecordedEvent, ...]:
    """Return events as they are once recorded at their places."""
    return tuple(
        RecordedEvent(
            tenant=tenant,
            position=placed.first + index,
            id=event.id,
            recorded_at=placed.recorded_at,
            actor=event.actor,
            cause=event.cause,
            tags=all_tags(event),
            payload=event.payload,
        )
        for index, event in enumerate(events)
    )


def all_tags(event: NewEvent) -> tuple[str, ...]:
    """Return the tags an event is recorded with: its payload's, its own, and its actor's."""
    actor = (f"actor:{event.actor.principal}",)
    return tuple(sorted({*event.payload.tags(), *event.tags, *actor}))
