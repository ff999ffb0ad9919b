"""Folds a run of one tenant's entries in memory: what to insert and which stored versions end. No database here.

Ranges close and open so that at every position exactly one version of an object holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from quarterdeck_domain.catalogue import REGISTRY
from quarterdeck_domain.errors import UnknownEventType
from quarterdeck_domain.events import EventRegistry
from quarterdeck_readmodels.catalogue import FOLDS
from quarterdeck_readmodels.tables import Change, Fold, Row, Seen, defaults, storable

Values = dict[str, Any]
_ESCAPED_NUL: Final = b"\\u0000"
_decode: Final = msgspec.json.Decoder(Seen).decode


class Unfoldable(Exception):
    """An event that cannot be applied: the tenant's projection stops before it, visibly."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(f"event {position}: {reason}")
        self.position = position
        self.reason = reason


class Run:
    """What consecutive events do to objects, before it is known what these were: the part that needs no database."""

    def __init__(self, first: int, last: int, changes: list[tuple[int, Change]]) -> None:
        self.first = first
        self.last = last
        self.changes = changes
        self.causes: tuple[str, ...] = ()
        """`traceparent`s of what caused its events, where somebody looks and they are few."""

    def __len__(self) -> int:
        return self.last - self.first + 1

    def until(self, position: int) -> Run:
        """Return the part up to and including a position."""
        return Run(self.first, position, [item for item in self.changes if item[0] <= position])

    def touched(self) -> dict[type[Row], list[str]]:
        """Return the ids of the objects that are changed."""
        found: dict[type[Row], dict[str, None]] = {}
        for _, change in self.changes:
            found.setdefault(change.row, {})[change.id] = None
        return {row: list(ids) for row, ids in found.items()}


class Reading:
    """Turns entries into runs, by folds that know every type and version of the house's events."""

    def __init__(self, registry: EventRegistry = REGISTRY, folds: Mapping[str, Fold] = FOLDS) -> None:
        self._registry = registry
        self._folds = {event.type: folds.get(event.type) for event in registry.types()}
        self._current = {event.type: event.version for event in registry.types()}

    def extend(self, run: Run, entries: Sequence[tuple[int, bytes]]) -> Unfoldable | None:
        """Add the entries that follow a run to it, up to the first that cannot be read; return why it cannot."""
        for position, entry in entries:
            expected = run.last + 1
            try:
                if position != expected:
                    raise ValueError(f"{expected} is missing from the log")
                found = self._changes(entry)
            except Exception as error:  # whatever is wrong with an event, the projection stops there and says so
                return Unfoldable(expected, repr(error))
            run.last = position
            run.changes += [(position, change) for change in found]
        return None

    def _changes(self, entry: bytes) -> list[Change]:
        seen = _decode(entry)
        try:
            fold = self._folds[seen.type]
        except KeyError:
            raise UnknownEventType(f"event type {seen.type!r} is not known to this release") from None
        data = seen.data
        if seen.version != self._current[seen.type]:
            data = self._registry.lift(seen.type, seen.version, data)
        if _ESCAPED_NUL in entry:
            data = _without_nul(data)
        if data is not seen.data:
            seen = msgspec.structs.replace(seen, data=data)
        return [] if fold is None else list(fold(seen))


class _Table:
    """One table's part of a run: versions begun in it, and stored ones that end in it."""

    __slots__ = ("ends", "fresh", "inserts", "stored", "template")

    def __init__(self, row: type[Row], stored: Mapping[str, Values]) -> None:
        self.template = {"id": "", "created_position": 0, "from_position": 0, "to_position": None, **defaults(row)}
        self.stored = stored
        self.fresh: dict[str, Values] = {}
        self.inserts: list[Values] = []
        self.ends: list[tuple[str, int, int]] = []


class Writes:
    """What a run writes: per table, versions to insert and (id, from_position, to_position) of those that end."""

    def __init__(self) -> None:
        self.inserts: dict[type[Row], list[Values]] = {}
        self.ends: dict[type[Row], list[tuple[str, int, int]]] = {}


def fold(run: Run, stored: Mapping[type[Row], Mapping[str, Values]]) -> Writes:
    """Return what a run writes, given the current versions of the objects it touches.

    Raises:
        Unfoldable: an object is changed that never began, or begins twice; or a change cannot be worked out.
    """
    tables: dict[type[Row], _Table] = {}
    for position, change in run.changes:
        table = tables.get(change.row)
        if table is None:
            table = tables[change.row] = _Table(change.row, stored.get(change.row, {}))
        values = _version(table, position, change)
        try:
            _change(values, change)
        except Exception as error:
            raise Unfoldable(position, f"{change.row.table} {change.id}: {error!r}") from error
    writes = Writes()
    for row, table in tables.items():
        writes.inserts[row] = table.inserts
        if table.ends:
            writes.ends[row] = table.ends
    return writes


def _change(values: Values, change: Change) -> None:
    values.update(change.set)
    for name, member in change.add.items():
        values[name] = sorted({*values[name], member})
    for name, member in change.take.items():
        values[name] = [item for item in values[name] if item != member]
    for name in change.count:
        values[name] += 1
    if change.work is not None:
        values.update(change.work(values))


def _version(table: _Table, position: int, change: Change) -> Values:
    """Return the version of an object that holds from a position, ending the one before."""
    fresh = table.fresh.get(change.id)
    before = table.stored.get(change.id) if fresh is None else fresh
    if before is None:
        if not change.create:
            raise Unfoldable(position, f"changes {change.row.table} {change.id}, which never began")
        after = table.template.copy()
        after["id"], after["created_position"] = change.id, position
    else:
        if change.create and not change.again:
            begun = before["created_position"]
            raise Unfoldable(position, f"begins {change.row.table} {change.id}, which began at {begun}")
        if before["from_position"] == position:
            return before
        if fresh is None:
            table.ends.append((change.id, before["from_position"], position))
        else:
            before["to_position"] = position
        after = before.copy()
        after["to_position"] = None
    after["from_position"] = position
    table.fresh[change.id] = after
    table.inserts.append(after)
    return after


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    if isinstance(value, dict):
        return {storable(key): _without_nul(item) for key, item in value.items()}
    return value
