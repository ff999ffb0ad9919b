"""Running a document: graphql-core's executor, with a short way for plain fields and a cap on the whole answer.

A field without a resolver is an attribute of its object. Strawberry and graphql-core build an info object, an argument
dictionary and two calls around reading it; here it is read and serialised at once. Whatever is not plain (arguments, a
resolver, null where none may be, an error) goes the usual way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from graphql import (
    GraphQLEnumType,
    GraphQLError,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    Undefined,
    get_named_type,
    is_composite_type,
    is_leaf_type,
)
from graphql.execution.executor import Executor
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from quarterdeck_graphql.limits import MAX_NODES

Leaf = tuple[str, Callable[[Any], Any]]
_PLAIN: Final = "quarterdeck_plain_fields"
_SLACK: Final = 4
"""The static cost counts nodes; this cap counts every listed object, edges and votes too."""


def prepare(schema: GraphQLSchema) -> None:
    """Find the plain fields of every type, once; and let what may be left out be left out, not be null by default."""
    for found in schema.type_map.values():
        for field in getattr(found, "fields", {}).values():
            for argument in (*getattr(field, "args", {}).values(), field):
                if getattr(argument, "default_value", Undefined) is None:
                    argument.default_value = Undefined
        if isinstance(found, GraphQLObjectType) and not found.name.startswith("__"):
            found.extensions[_PLAIN] = dict(_plain_fields(found))


class RecordExecutor(StrawberryGraphQLCoreExecutionContext):
    """Executes one operation."""

    listed = 0

    def execute_field(
        self, parent_type: GraphQLObjectType, source: Any, field_details_list: Any, path: Any, position_context: Any
    ) -> Any:
        """Return the completed value of a field; plain ones are read straight from their object."""
        plain = parent_type.extensions.get(_PLAIN)
        leaf: Leaf | None = plain.get(field_details_list[0].node.name.value) if plain else None
        if leaf is not None:
            try:
                value = getattr(source, leaf[0])
                if value is not None:
                    return leaf[1](value)
            except Exception:  # noqa: S110  the usual way meets it again, and says where
                pass
        return super().execute_field(parent_type, source, field_details_list, path, position_context)

    def complete_list_value(
        self, return_type: Any, field_details_list: Any, info: Any, path: Any, result: Any, position_context: Any
    ) -> Any:
        """Complete a list, and count what it holds: no answer grows beyond the cap, whatever was reckoned before."""
        if isinstance(result, list | tuple) and is_composite_type(get_named_type(return_type)):
            self.listed += len(result)
            if self.listed > MAX_NODES * _SLACK:
                raise GraphQLError(
                    "the answer would be too long; ask for smaller pages", extensions={"code": "too_costly"}
                )
        return super().complete_list_value(return_type, field_details_list, info, path, result, position_context)


def _plain_fields(found: GraphQLObjectType) -> Any:
    for name, field in found.fields.items():
        inner = field.type.of_type if isinstance(field.type, GraphQLNonNull) else field.type
        definition = field.extensions.get("strawberry-definition")
        if field.args or not is_leaf_type(inner) or definition is None:
            continue
        if getattr(field.resolve, "_is_default", False):
            yield name, (definition.python_name, _serializer(inner))


def _serializer(leaf: Any) -> Callable[[Any], Any]:
    if isinstance(leaf, GraphQLEnumType):
        names = {value.value: name for name, value in leaf.values.items()}
        return lambda value: names[value]
    if leaf.name in ("String", "ID"):
        return _text
    if leaf.name == "Boolean":
        return _truth
    serialize: Callable[[Any], Any] = leaf.coerce_output_value
    return serialize


def _text(value: Any) -> str:
    if type(value) is str:
        return value
    raise TypeError("not text")


def _truth(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    raise TypeError("neither true nor false")


__all__ = ["Executor", "RecordExecutor", "prepare"]
