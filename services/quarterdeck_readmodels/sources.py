"""Read model of the estate's sources: how each is read, how the last import of it ended, and when the next is due."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from quarterdeck_domain.estate.sources import due_after
from quarterdeck_readmodels.tables import Change, Fold, Row, Seen

_SETTINGS: Final = ("address", "dialect", "every_s", "on_drift", "environment", "credential")


class Source(Row, frozen=True, kw_only=True):
    """A server or address that the estate is imported from. `id` is its name; `state`: `active` or `removed`."""

    table = "sources"
    filters = ("state", "kind", "last_outcome")

    kind: str
    address: str
    dialect: str = "openai"
    every_s: int | None = None
    on_drift: str = "note"
    environment: str | None = None
    credential: str | None = None
    state: str = "active"
    registered_at: datetime
    changed_at: datetime
    next_at: datetime | None = None
    """When it is due next by its schedule; in the past: overdue. None: only on request."""
    last_outcome: str | None = None
    """`synced` or `failed`; None: it was never imported."""
    last_at: datetime | None = None
    last_run: str | None = None
    last_trigger: str | None = None
    last_error: str | None = None
    last_message: str | None = None
    synced_at: datetime | None = None
    digest: str | None = None
    """Of what it declared when it was last read to its end."""
    objects: int | None = None
    gone: int = 0
    """How many objects went missing when it was last read to its end."""
    counts: dict[str, Any] = {}
    notes: tuple[str, ...] = ()
    imports: int = 0
    failures: int = 0
    """One after another, until now."""


def _registered(event: Seen) -> Iterable[Change]:
    data = event.data
    values = {name: data[name] for name in _SETTINGS} | {
        "kind": data["kind"],
        "state": "active",
        "registered_at": event.recorded_at,
        "changed_at": event.recorded_at,
        # By a schedule it is imported at once, and then whenever it is due.
        "next_at": None if data["every_s"] is None else event.recorded_at,
    }
    yield Change(row=Source, id=data["source_id"], create=True, again=True, set=values)


def _changed(event: Seen) -> Iterable[Change]:
    values = {name: event.data[name] for name in _SETTINGS} | {"changed_at": event.recorded_at}
    yield Change(row=Source, id=event.data["source_id"], set=values, work=_due(event))


def _removed(event: Seen) -> Iterable[Change]:
    values = {"state": "removed", "next_at": None, "changed_at": event.recorded_at}
    yield Change(row=Source, id=event.data["source_id"], set=values)


def _synced(event: Seen) -> Iterable[Change]:
    data = event.data
    values = {
        "last_outcome": "synced",
        "last_at": event.recorded_at,
        "last_run": data["run"],
        "last_trigger": data["trigger"],
        "last_error": None,
        "last_message": None,
        "synced_at": event.recorded_at,
        "digest": data["digest"],
        "objects": data["objects"],
        "gone": data["gone"],
        "counts": data["counts"],
        "notes": list(data["notes"]),
        "failures": 0,
    }
    yield Change(row=Source, id=data["source_id"], set=values, count=("imports",), work=_due(event))


def _failed(event: Seen) -> Iterable[Change]:
    data = event.data
    values = {
        "last_outcome": "failed",
        "last_at": event.recorded_at,
        "last_run": data["run"],
        "last_trigger": data["trigger"],
        "last_error": data["error"],
        "last_message": data["message"],
    }
    yield Change(row=Source, id=data["source_id"], set=values, count=("imports", "failures"), work=_due(event))


def _due(event: Seen) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    def after(before: Mapping[str, Any]) -> dict[str, Any]:
        if before["every_s"] is None or before["state"] != "active":
            return {"next_at": None}
        return {"next_at": due_after(before["id"], before["every_s"], event.recorded_at)}

    return after


ROWS: Final = (Source,)
FOLDS: Final[Mapping[str, Fold]] = {
    "source.registered": _registered,
    "source.changed": _changed,
    "source.removed": _removed,
    "source.synced": _synced,
    "source.failed": _failed,
}
