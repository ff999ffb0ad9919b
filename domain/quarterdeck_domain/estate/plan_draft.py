"""A plan while it is made: what would be done so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from quarterdeck_domain.estate.declaration import Declaration
from quarterdeck_domain.estate.standing import Standing
from quarterdeck_domain.events import Event

Action = Literal["register", "change", "retire", "relate", "unrelate", "drift", "quarantine", "contest"]


class FieldChange(msgspec.Struct, frozen=True, kw_only=True):
    """One fact before and after."""

    field: str
    before: Any = None
    after: Any = None


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that would be done, to an object or to a relation as it reads."""

    action: Action
    subject: str
    fields: tuple[FieldChange, ...] = ()


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted, what stands, and the steps and events that lead from one to the other, as far as they are known.
    `run` is the run that the events belong to."""

    wanted: Declaration
    standing: Standing
    run: str
    steps: list[Step] = []
    events: list[Event] = []

    def add(self, action: Action, subject: str, event: Event, fields: tuple[FieldChange, ...] = ()) -> None:
        """Add a step, and the event that does it."""
        self.steps.append(Step(action=action, subject=subject, fields=fields))
        self.events.append(event)


def changes_of(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[FieldChange, ...]:
    """Return what of the facts changes, by name."""
    return tuple(FieldChange(field=name, before=before.get(name), after=value) for name, value in sorted(after.items()))
