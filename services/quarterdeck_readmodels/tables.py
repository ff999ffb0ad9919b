"""What a read model is: a row type, its table, and the changes that events make to it.

A row holds from `from_position` up to, not including, `to_position` (None while it is current). `created_position`
never changes: it orders pages, so that an object keeps its place whatever happens to it.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping
from datetime import MINYEAR, UTC, datetime
from functools import cache
from operator import itemgetter
from typing import Any, ClassVar, Final, Union, get_args, get_origin, get_type_hints

import msgspec

COMMON: Final = ("id", "created_position", "from_position", "to_position")
_SQL: Final[Mapping[Any, str]] = {str: "text", int: "bigint", bool: "boolean", datetime: "timestamptz"}


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every row. `id` is the object's; the three positions are the log's."""

    table: ClassVar[str]
    filters: ClassVar[tuple[str, ...]] = ()
    """Columns that pages may be narrowed by, the most telling first; each is indexed, but for lists."""
    working: ClassVar[tuple[str, ...]] = ()
    """Columns with which rows are worked out, long ones: whoever only shows rows leaves them out (`Record.lean`)."""

    id: str
    created_position: int
    from_position: int
    to_position: int | None


class Change(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one event does to one object: fields it sets, members it adds to or takes from lists, counts it raises.

    `work` gives further fields from what the object is once these are done, where they depend on it.
    With `create`, the object begins here; with `again` too, it goes on if it began before. Anything else is a fault
    of the log or of a fold. An event begins at most one object of a kind.
    """

    row: type[Row]
    id: str
    set: Mapping[str, Any] = {}
    add: Mapping[str, str] = {}
    take: Mapping[str, str] = {}
    count: tuple[str, ...] = ()
    work: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    create: bool = False
    again: bool = False


class By(msgspec.Struct, frozen=True, gc=False):
    """Who recorded an event."""

    principal: str


class Seen(msgspec.Struct, frozen=True, gc=False):
    """An event as folds see it: personal fields in `data` are still sealed."""

    type: str
    version: int
    position: int
    recorded_at: datetime
    id: str
    data: dict[str, Any]
    actor: By


Fold = Callable[[Seen], Iterable[Change]]


def taking(*names: str) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Return what copies the named members (two or more) of an event's data."""
    get = itemgetter(*names)
    return lambda data: dict(zip(names, get(data), strict=True))


@cache
def columns(row: type[Row]) -> Mapping[str, str]:
    """Return the columns beyond the common ones and their SQL types. Lists and objects are `jsonb`."""
    hints = get_type_hints(row)
    return {name: _sql_type(hints[name]) for name in row.__struct_fields__ if name not in COMMON}


@cache
def defaults(row: type[Row]) -> Mapping[str, Any]:
    """Return the values of a new row's columns before its first event sets them."""
    return {field.name: _default(field) for field in msgspec.structs.fields(row) if field.name not in COMMON}


def _default(field: Any) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()  # an empty object or list, which folds replace and never change
    return None if field.default is msgspec.NODEFAULT else field.default


def storable(text: str) -> str:
    """Return text as PostgreSQL can hold it: it knows neither NUL nor lone surrogates, JSON strings may have both."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    return text if text.isascii() else text.encode(errors="replace").decode()


def tellable(moment: datetime) -> datetime:
    """Return a moment in UTC. What an offset puts before the first year or after the last is their end."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC) if moment.year == MINYEAR else datetime.max.replace(tzinfo=UTC)


def _sql_type(hint: Any) -> str:
    if get_origin(hint) in {Union, types.UnionType}:
        hint = next(argument for argument in get_args(hint) if argument is not type(None))
    return _SQL.get(hint, "jsonb")
