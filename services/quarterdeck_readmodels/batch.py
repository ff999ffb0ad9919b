"""Applies a run of one tenant's events to the tables: fold in memory, write in bulk, all in one transaction.

Ranges close and open so that at every position exactly one version of an object holds.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from quarterdeck_domain.catalogue import REGISTRY
from quarterdeck_readmodels.catalogue import FOLDS
from quarterdeck_readmodels.tables import Change, Fold, Row, Seen, columns, defaults

Key = tuple[type[Row], str]
Values = dict[str, Any]


class Unfoldable(Exception):
    """An event that the folds cannot apply: the tenant's projection stops before it, visibly."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(f"event {position}: {reason}")
        self.position = position
        self.reason = reason


class _Actor(msgspec.Struct, frozen=True):
    principal: str


class _Entry(msgspec.Struct, frozen=True):
    """The parts of an entry that folds need; the rest is skipped unread."""

    type: str
    version: int
    position: int
    recorded_at: datetime
    id: str
    data: msgspec.Raw
    actor: _Actor


_decode_entry: Final = msgspec.json.Decoder(_Entry).decode
_decode_data: Final = msgspec.json.Decoder(dict[str, Any]).decode


class Batch:
    """The rows a run of events changes, in memory."""

    def __init__(self, folds: Mapping[str, Fold] = FOLDS) -> None:
        self._folds = folds
        self.changes: list[tuple[int, Change]] = []
        self.last = 0

    def read(self, entries: Iterable[tuple[int, bytes]]) -> None:
        """Fold entries into changes, in order.

        Raises:
            Unfoldable: an entry is of an unknown type or lacks what its fold needs.
        """
        for position, entry in entries:
            try:
                seen = _decode_entry(entry)
                fold = self._folds.get(seen.type)
                if fold is not None:
                    data = _lifted(seen.type, seen.version, _decode_data(seen.data))
                    event = Seen(
                        seen.type, seen.version, position, seen.recorded_at, seen.id, data, seen.actor.principal
                    )
                    self.changes += [(position, change) for change in fold(event)]
            except (KeyError, ValueError, TypeError, msgspec.MsgspecError) as error:
                raise Unfoldable(position, repr(error)) from error
            self.last = position

    def needed(self) -> dict[type[Row], list[str]]:
        """Return the ids of objects that are changed here and did not begin here."""
        begun: set[Key] = set()
        wanted: dict[type[Row], dict[str, None]] = defaultdict(dict)
        for _, change in self.changes:
            key = (change.row, change.id)
            if change.create:
                begun.add(key)
            if key not in begun or change.create:
                wanted[change.row][change.id] = None
        return {row: list(ids) for row, ids in wanted.items()}

    def fold(
        self, current: Mapping[Key, Values]
    ) -> tuple[dict[type[Row], list[Values]], dict[type[Row], dict[str, int]]]:
        """Return the versions to insert and, per table, the position at which a stored version ends.

        Raises:
            Unfoldable: an object is changed that never began.
        """
        open_rows: dict[Key, Values] = {key: dict(values) for key, values in current.items()}
        inserted: dict[type[Row], list[Values]] = defaultdict(list)
        closed: dict[type[Row], dict[str, int]] = defaultdict(dict)
        for position, change in self.changes:
            key = (change.row, change.id)
            before = open_rows.get(key)
            if before is None:
                if not change.create:
                    raise Unfoldable(position, f"changes {change.row.table} {change.id}, which never began")
                after = _begin(change.row, change.id, position)
            elif before["from_position"] == position:
                after = before
            else:
                after = {**before, "from_position": position, "to_position": None}
                if "new" in before:
                    before["to_position"] = position
                else:
                    closed[change.row][change.id] = position
            if after is not before:
                after["new"] = True
                inserted[change.row].append(after)
                open_rows[key] = after
            _apply(after, change)
        return inserted, closed


def _begin(row: type[Row], object_id: str, position: int) -> Values:
    return {
        **_DEFAULTS(row),
        "id": object_id,
        "created_position": position,
        "from_position": position,
        "to_position": None,
    }


def _apply(values: Values, change: Change) -> None:
    values.update(change.set)
    for name, member in change.add.items():
        values[name] = sorted({*values[name], member})
    for name, member in change.take.items():
        values[name] = [item for item in values[name] if item != member]


def _lifted(event_type: str, version: int, data: dict[str, Any]) -> dict[str, Any]:
    return REGISTRY.lift(event_type, version, data)


class _Defaults:
    def __init__(self) -> None:
        self._known: dict[type[Row], Values] = {}

    def __call__(self, row: type[Row]) -> Values:
        if row not in self._known:
            self._known[row] = defaults(row)
        return self._known[row]


_DEFAULTS: Final = _Defaults()


async def apply(connection: Any, schema: str, tenant: str, entries: Sequence[tuple[int, bytes]]) -> int:
    """Apply entries to the tables of a schema and move the tenant's progress; return the last position.

    `connection` is asyncpg's, in a transaction whose tenant is set. Entries are gapless after the progress.

    Raises:
        Unfoldable: nothing of this run is applied; what precedes the position can be, in a run of its own.
    """
    batch = Batch()
    batch.read(entries)
    current: dict[Key, Values] = {}
    for row, ids in batch.needed().items():
        for record in await connection.fetch(_select(schema, row), tenant, ids):
            current[row, record["id"]] = _loaded(row, record)
    inserted, closed = batch.fold(current)
    for row, ends in closed.items():
        await connection.execute(_close(schema, row), tenant, list(ends), list(ends.values()))
    for row, versions in inserted.items():
        await connection.execute(_insert(schema, row), tenant, *_arrays(row, versions))
    await connection.execute(
        f"""INSERT INTO {schema}.progress (tenant_id, position) VALUES ($1, $2)
        ON CONFLICT (tenant_id) DO UPDATE SET position = excluded.position, stopped_at = NULL, problem = NULL""",  # noqa: S608
        tenant,
        batch.last,
    )
    return batch.last


# The statements below are made of names of ours only (schemas, tables, columns); values are parameters.


def _select(schema: str, row: type[Row]) -> str:
    return f"SELECT * FROM {schema}.{row.table} WHERE tenant_id = $1 AND id = ANY ($2) AND to_position IS NULL"  # noqa: S608


def _close(schema: str, row: type[Row]) -> str:
    return f"""UPDATE {schema}.{row.table} t SET to_position = u.ends
        FROM unnest($2::text[], $3::bigint[]) AS u(id, ends)
        WHERE t.tenant_id = $1 AND t.id = u.id AND t.to_position IS NULL"""  # noqa: S608


def _insert(schema: str, row: type[Row]) -> str:
    kinds = {"id": "text", "created_position": "bigint", "from_position": "bigint", "to_position": "bigint"}
    kinds |= columns(row)
    arrays = ", ".join(
        f"${number}::{'text' if kind == 'jsonb' else kind}[]" for number, kind in enumerate(kinds.values(), 2)
    )
    names = ", ".join(kinds)
    values = ", ".join(f"u.{name}::jsonb" if kind == "jsonb" else f"u.{name}" for name, kind in kinds.items())
    return (
        f"INSERT INTO {schema}.{row.table} (tenant_id, {names}) SELECT $1, {values} FROM unnest({arrays}) AS u({names})"  # noqa: S608
    )


def _arrays(row: type[Row], versions: list[Values]) -> list[list[Any]]:
    found: list[list[Any]] = [
        [version[name] for version in versions] for name in ("id", "created_position", "from_position", "to_position")
    ]
    for name, kind in columns(row).items():
        column = [version[name] for version in versions]
        if kind == "jsonb":
            column = [None if value is None else json.dumps(value) for value in column]
        elif kind == "timestamptz":
            column = [datetime.fromisoformat(value) if isinstance(value, str) else value for value in column]
        found.append(column)
    return found


def _loaded(row: type[Row], record: Mapping[str, Any]) -> Values:
    values = dict(record)
    for name, kind in columns(row).items():
        if kind == "jsonb" and isinstance(values[name], str):
            values[name] = json.loads(values[name])
    return values
