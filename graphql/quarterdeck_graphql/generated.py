"""From Python types to GraphQL's: the inputs of commands, as their msgspec structs declare them.

`str`, `int`, `bool`, moments, tuples, `Literal`s (an enum each) and nested structs. A `Literal` that the domain gives a
name keeps it; any other is named after the field it stands in.
"""

from __future__ import annotations

import dataclasses
import types
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Final, Literal, Union, cast, get_args, get_origin, get_type_hints

import msgspec
import strawberry
from strawberry.scalars import JSON
from strawberry.types.base import has_object_definition

from quarterdeck_graphql.enums import OF_LITERAL
from quarterdeck_graphql.scalars import Position

MAX_INT: Final = 2**31 - 1


def enum_of(name: str, literal: Any, description: str) -> Any:
    """Return the enum of a `Literal`: its values in capitals, standing for the words themselves."""
    members = {value.upper(): value for value in get_args(literal)}
    make: Any = Enum  # its name and members are only known here
    return strawberry.enum(make(name, members), description=description)


class Inputs:
    """Makes input types, each struct's once."""

    def __init__(self) -> None:
        self._made: dict[type[msgspec.Struct], Any] = {}
        self._enums: dict[Any, Any] = dict(OF_LITERAL)

    def of(self, struct: type[msgspec.Struct], name: str) -> Any:
        """Return the input type of a struct; a field with a default may be left out."""
        if struct in self._made:
            return self._made[struct]
        hints = get_type_hints(struct, include_extras=True)
        annotations: dict[str, Any] = {}
        namespace: dict[str, Any] = {"__annotations__": annotations}
        for item in msgspec.structs.fields(struct):
            found = self._type(hints[item.name], f"{name}{_camel(item.name)}")
            if not item.required:
                found = found | None if not _optional(hints[item.name]) else found
                namespace[item.name] = strawberry.field(default=strawberry.UNSET)
            annotations[item.name] = found
        doc = " ".join((struct.__doc__ or "").split())
        return strawberry.input(type(name, (), namespace), description=doc)

    def _type(self, hint: Any, name: str) -> Any:
        meta: dict[str, Any] = {}
        while get_origin(hint) is Annotated:
            base, *extras = get_args(hint)
            for extra in extras:
                if isinstance(extra, msgspec.Meta):
                    meta["le"] = extra.le if extra.le is not None else meta.get("le")
            hint = base
        origin = get_origin(hint)
        if origin in (Union, types.UnionType):
            (inner,) = (item for item in get_args(hint) if item is not type(None))
            return self._type(inner, name) | None
        if origin is Literal:
            if hint not in self._enums:
                self._enums[hint] = enum_of(name, hint, "One of these.")
            return self._enums[hint]
        if origin in (tuple, list):
            return list[self._type(get_args(hint)[0], name)]  # type: ignore[misc]
        if origin is dict or hint in (Any, dict):
            return JSON
        if hint is int:
            return Position if (meta.get("le") or 0) > MAX_INT else int
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            return self._struct(hint)
        if hint in (str, bool, datetime):
            return hint
        raise TypeError(f"{name}: a command's input has no {hint!r}")

    def _struct(self, struct: type[msgspec.Struct]) -> Any:
        if struct not in self._made:
            self._made[struct] = self.of(struct, f"{struct.__name__}Input")
        return self._made[struct]


def value_of(given: Any) -> Any:
    """Return the JSON value of an input: what was left out stays out, so that it means the same as over REST."""
    if isinstance(given, Enum):
        return given.value
    if isinstance(given, list):
        return [value_of(item) for item in given]
    if isinstance(given, datetime):
        return msgspec.to_builtins(given)
    if has_object_definition(given):
        pairs = ((item.name, getattr(given, item.name)) for item in dataclasses.fields(cast(Any, given)))
        return {name: value_of(item) for name, item in pairs if item is not strawberry.UNSET}
    return given


def _optional(hint: Any) -> bool:
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    return get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint)


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
