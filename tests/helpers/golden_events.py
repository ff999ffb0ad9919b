"""The recorded form of every event type and version: `tests/golden/events/<type>.v<version>.json`.

Run this file to write what is missing. It never rewrites a file: the shape of a version that was released is fixed
for ever, and another shape is another version with an upcaster from the one before.
"""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from quarterdeck_domain import canonical
from quarterdeck_domain.catalogue import REGISTRY
from quarterdeck_domain.events import Event

FOLDER = Path(__file__).parent.parent / "golden" / "events"
MOMENT = datetime(2026, 2, 3, 4, 5, 6, 789_000, tzinfo=UTC)


def example(event_class: type[Event]) -> Event:
    """Return an event with every field filled, optional ones too, with values made from the fields' names."""
    return event_class(**_fields(event_class))


def recorded(event: Event) -> dict[str, Any]:
    """Return what is kept of an event beside its place: its name, version, tags, data, and the data's digest."""
    data = REGISTRY.to_data(event)
    return {
        "type": event.type,
        "version": event.version,
        "tags": list(event.tags()),
        "data": data,
        "digest": canonical.digest(data),
    }


def file_of(event_class: type[Event]) -> Path:
    """Return where the current version of a type is recorded."""
    return FOLDER / f"{event_class.type}.v{event_class.version}.json"


def text_of(record: Mapping[str, Any]) -> str:
    """Return a record as the text of its file."""
    return json.dumps(record, indent=2, sort_keys=True, ensure_ascii=True) + "\n"


def write_missing() -> list[Path]:
    """Write the files that are not there, and return them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    missing = [event_class for event_class in REGISTRY.types() if not file_of(event_class).exists()]
    for event_class in missing:
        file_of(event_class).write_text(text_of(recorded(example(event_class))))
    return [file_of(event_class) for event_class in missing]


def _fields(struct: type[msgspec.Struct]) -> dict[str, Any]:
    hints = get_type_hints(struct, include_extras=True)
    return {field: _value(field, hints[field]) for field in struct.__struct_fields__}


def _value(name: str, hint: Any) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _value(name, arguments[0])
    if origin in (Union, types.UnionType):
        return _value(name, next(found for found in arguments if found is not type(None)))
    if origin is Literal:
        return arguments[-1]
    if origin is tuple:
        return (_value(name, arguments[0]),)
    if origin is dict:
        return {f"{name}-key": _value(name, arguments[1])}
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return hint(**_fields(hint))
    if hint in (str, Any):
        return f"{name} é"
    if hint is bool:
        return True
    if hint is int:
        return len(name)
    if hint is datetime:
        return MOMENT
    raise TypeError(f"no example value for {name}: {hint}")


if __name__ == "__main__":
    for path in write_missing():
        print(path)
