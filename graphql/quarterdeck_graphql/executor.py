"""Running a document: graphql-core's executor, with a short way for plain fields and a cap on the whole answer.

A field without a resolver is an attribute of its object. Strawberry and graphql-core build an info object, an argument
dictionary and several calls around reading it; here it is read, and serialised or descended into, at once. Whatever is
not plain (arguments, a resolver, null where none may be, an error in reading) goes the usual way, which says where.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple, cast

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
from graphql.pyutils import Path, gather_with_cancel
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from quarterdeck_graphql.limits import DUE, MAX_NODES, Due, metadata
from quarterdeck_graphql.problems import late

_PLAIN: Final = "quarterdeck_plain_fields"
_SLACK: Final = 4
"""The static cost counts nodes; this cap counts every listed object, edges and votes too."""
_TO_GO_THE_USUAL_WAY: Final = object()


class Plain(NamedTuple):
    """A field that is an attribute: a leaf with what serialises it, or an object that is never null."""

    attribute: str
    nullable: bool
    serialize: Callable[[Any], Any] | None
    target: GraphQLObjectType | None


def prepare(schema: GraphQLSchema) -> None:
    """Find the plain fields of every type, once; and let what may be left out be left out, not be null by default."""
    for found in schema.type_map.values():
        for field in getattr(found, "fields", {}).values():
            for argument in (*getattr(field, "args", {}).values(), field):
                if getattr(argument, "default_value", Undefined) is None:
                    argument.default_value = Undefined
        if isinstance(found, GraphQLObjectType) and not found.name.startswith("__"):
            found.extensions[_PLAIN] = dict(_plain_fields(found))
            dues = {name: metadata(field).get(DUE) for name, field in found.fields.items()}
            found.extensions[DUE] = {name: share for name, share in dues.items() if share is not None}


class RecordExecutor(StrawberryGraphQLCoreExecutionContext):
    """Executes one operation."""

    listed = 0
    _relevant_sub_fields: dict[Any, Any]

    def build_per_event_executor(self, payload: Any) -> RecordExecutor:
        """Return the executor of a stream's next event, with notes of its own.

        graphql-core's would share what it noted of the fields, under keys of that event alone: it would never be
        found again, and be kept as long as the stream lasts.
        """
        executor = cast(RecordExecutor, super().build_per_event_executor(payload))
        executor._relevant_sub_fields = {}
        return executor

    def execute_fields(
        self,
        parent_type: GraphQLObjectType,
        source_value: Any,
        path: Any,
        grouped_field_set: Any,
        position_context: Any,
    ) -> Any:
        """Return the completed fields of an object, or what they are awaited from."""
        plain: Mapping[str, Plain] = parent_type.extensions.get(_PLAIN, {})
        results: dict[str, Any] = {}
        pending: dict[str, Awaitable[Any]] = {}
        others: dict[str, Any] = {}
        try:
            for name, details in grouped_field_set.items():
                # What is not read here keeps its place: an answer has the order of its question.
                results[name] = None
                field = plain.get(details[0].node.name.value)
                found = _TO_GO_THE_USUAL_WAY if field is None else _read(field, source_value)
                if found is _TO_GO_THE_USUAL_WAY:
                    others[name] = details
                    continue
                if field is not None and field.target is not None:
                    # It is never null, so an error below goes up from here as it would the usual way.
                    here = Path(path, name, parent_type.name)
                    found = self._descend(field.target, details, here, found, position_context)
                    if self.is_awaitable(found):
                        pending[name] = found
                        continue
                results[name] = found
            rest = super().execute_fields(parent_type, source_value, path, others, position_context) if others else {}
        except Exception:
            self.settle_in_background(list(pending.values()))
            raise
        if pending or self.is_awaitable(rest):
            return _gathered(results, pending, rest)
        results.update(cast(dict[str, Any], rest))
        return results

    def execute_field(
        self, parent_type: GraphQLObjectType, source: Any, details: Any, path: Path, position_context: Any
    ) -> Any:
        """Return a field's value, or what it is awaited from: where its time is limited, no longer than that."""
        found = super().execute_field(parent_type, source, details, path, position_context)
        share = parent_type.extensions.get(DUE, {}).get(details[0].node.name.value)
        due: Due | None = self.context_value.due
        if share is None or due is None or not self.is_awaitable(found):
            return found
        return self._in_time(found, due, share, parent_type.fields[details[0].node.name.value].type, details, path)

    async def _in_time(
        self, found: Awaitable[Any], due: Due, share: float, return_type: Any, details: Any, path: Path
    ) -> Any:
        """Return what is awaited; if it is late, null, and an error beside whatever else the answer has."""
        try:
            async with asyncio.timeout_at(due.at(share)) as timeout:
                return await found
        except TimeoutError:
            if not timeout.expired():
                raise
        self.handle_field_error(late(due), return_type, details, path)
        return None

    def complete_list_value(
        self, return_type: Any, field_details_list: Any, info: Any, path: Any, result: Any, position_context: Any
    ) -> Any:
        """Complete a list, and count what it holds: no answer grows beyond the cap, whatever was reckoned before."""
        if not isinstance(result, list | tuple) or not is_composite_type(get_named_type(return_type)):
            return super().complete_list_value(return_type, field_details_list, info, path, result, position_context)
        self.listed += len(result)
        if self.listed > MAX_NODES * _SLACK:
            raise GraphQLError(
                f"the answer would hold more than {MAX_NODES * _SLACK} items in its lists: ask for pages of a tenth of "
                "the size (`first`), for what follows with `after`, or for fewer of the lists in each item",
                extensions={"code": "too_costly", "limit": MAX_NODES * _SLACK},
            )
        item_type = return_type.of_type
        target = item_type.of_type if isinstance(item_type, GraphQLNonNull) else None
        if not isinstance(target, GraphQLObjectType) or None in result:
            return super().complete_list_value(return_type, field_details_list, info, path, result, position_context)
        return self._complete_objects(target, field_details_list, path, result, position_context)

    def _complete_objects(self, target: GraphQLObjectType, details: Any, path: Path, items: Any, context: Any) -> Any:
        """Complete the objects of a list whose items are never null."""
        found: list[Any] = []
        waiting: list[int] = []
        try:
            for index, item in enumerate(items):
                found.append(self._descend(target, details, path.add_key(index, None), item, context))
                if self.is_awaitable(found[-1]):
                    waiting.append(index)
        except Exception:
            self.settle_in_background([found[index] for index in waiting])
            raise
        return _filled(found, waiting) if waiting else found

    def _descend(self, target: GraphQLObjectType, details: Any, path: Path, value: Any, context: Any) -> Any:
        """Complete an object. No `is_type_of` of ours looks at the info object, so there is none."""
        nothing: Any = None
        return self.complete_object_value(target, details, nothing, path, value, context)


def _plain_fields(found: GraphQLObjectType) -> Iterator[tuple[str, Plain]]:
    for name, field in found.fields.items():
        required = isinstance(field.type, GraphQLNonNull)
        inner: Any = field.type.of_type if isinstance(field.type, GraphQLNonNull) else field.type
        definition = field.extensions.get("strawberry-definition")
        if field.args or definition is None or not getattr(field.resolve, "_is_default", False):
            continue
        if is_leaf_type(inner):
            yield name, Plain(definition.python_name, not required, _serializer(inner), None)
        elif required and isinstance(inner, GraphQLObjectType):
            yield name, Plain(definition.python_name, False, None, inner)


def _read(field: Plain, source: Any) -> Any:
    """Return a leaf's serialised value or an object as it is; or that the field must go the usual way."""
    try:
        value = getattr(source, field.attribute)
        if value is None:
            return None if field.nullable else _TO_GO_THE_USUAL_WAY
        return value if field.serialize is None else field.serialize(value)
    except Exception:
        return _TO_GO_THE_USUAL_WAY


async def _gathered(results: dict[str, Any], pending: dict[str, Awaitable[Any]], rest: Any) -> dict[str, Any]:
    """Return an object's fields once all that is awaited is there, side by side."""
    if isinstance(rest, dict):
        results.update(rest)
        found = await gather_with_cancel(*pending.values())
    else:
        *found, others = await gather_with_cancel(*pending.values(), rest)
        results.update(others)
    results.update(zip(pending, found, strict=True))
    return results


async def _filled(found: list[Any], waiting: list[int]) -> list[Any]:
    """Return a list once its items are there, side by side."""
    for index, item in zip(waiting, await gather_with_cancel(*(found[index] for index in waiting)), strict=True):
        found[index] = item
    return found


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
