"""What one document may ask for: how deep, with how many aliases, for how many nodes. Nothing runs before it is known.

Cost is the number of nodes an answer could hold: the product of the page sizes down each path, added up. It depends on
variables, so it is computed for each request; depth and aliases are validation rules, and cached with the validation.
Fragments are measured once each, however often they are spread: a document cannot make the measuring itself dear.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

import msgspec
from graphql import (
    ASTValidationRule,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLField,
    GraphQLNamedType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
    get_named_type,
    is_interface_type,
    is_list_type,
    is_non_null_type,
    is_object_type,
    is_union_type,
)
from graphql.validation import ASTValidationContext

MAX_DEPTH: Final = 10
MAX_ALIASES: Final = 15
MAX_TOKENS: Final = 1_000
MAX_PAGE: Final = 100
MAX_NODES: Final = 1_000
DEADLINE_S: Final = 5.0
MAX_BODY_BYTES: Final = 65_536
MAX_SUBSCRIPTIONS: Final = 10
MAX_VALIDATION_ERRORS: Final = 5

LIST_SIZE: Final = "quarterdeck_list_size"
"""Key in a field's metadata: how many items to reckon with where a list is no connection."""
WEIGHT: Final = "quarterdeck_weight"
"""Key in a field's metadata: how many nodes each object it leads to counts as; 0 where its page has counted it."""
PART: Final = {LIST_SIZE: 1, WEIGHT: 0}
"""Metadata of a list of a few words that are part of the object they belong to, and count as nothing beside it."""
DEFAULT_LIST_SIZE: Final = 10
DUE: Final = "quarterdeck_due"
"""Key in a field's metadata: the share of the request's time after which the field is given up, and not the answer."""

T = TypeVar("T")


class Due(msgspec.Struct, frozen=True):
    """When a request has to be answered, by the loop's clock: so long after it arrived."""

    arrived: float
    deadline_s: float = DEADLINE_S

    def at(self, share: float = 1.0) -> float:
        """Return the moment at which that share of the time is over."""
        return self.arrived + self.deadline_s * share


class Connection(msgspec.Struct, frozen=True):
    """A page that a document asks for, the most it costs with that size, and the size that would have been admitted."""

    path: str
    first: int
    admissible: int


class _Walk:
    """Measures a document's selections, each fragment once. A fragment inside itself measures as nothing: another
    rule refuses it."""

    def __init__(self, document: DocumentNode) -> None:
        self.fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._memo: dict[tuple[str, str], Any] = {}
        self._open: set[tuple[str, str]] = set()

    def fragment(self, kind: str, name: str, measure: Callable[[FragmentDefinitionNode], T], nothing: T) -> T:
        """Return a fragment's measure, computed once for each kind of measure."""
        key = (kind, name)
        node = self.fragments.get(name)
        if node is None or key in self._open:
            return nothing
        if key not in self._memo:
            self._open.add(key)
            self._memo[key] = measure(node)
            self._open.discard(key)
        found: T = self._memo[key]
        return found


def depth_of(document: DocumentNode, operation: OperationDefinitionNode) -> int:
    """Return how many fields lie below each other at most. Introspection has its own rule and counts as nothing."""
    walk = _Walk(document)

    def measure(selections: SelectionSetNode) -> int:
        deepest = 0
        for node in selections.selections:
            if isinstance(node, FieldNode):
                if node.name.value.startswith("__"):
                    continue
                below = measure(node.selection_set) if node.selection_set else 0
                deepest = max(deepest, 1 + below)
            elif isinstance(node, InlineFragmentNode):
                deepest = max(deepest, measure(node.selection_set))
            elif isinstance(node, FragmentSpreadNode):
                found = walk.fragment("depth", node.name.value, lambda body: measure(body.selection_set), 0)
                deepest = max(deepest, found)
        return deepest

    return measure(operation.selection_set)


def aliases_of(document: DocumentNode, operation: OperationDefinitionNode) -> int:
    """Return how many fields are aliased, a fragment's as often as it is spread."""
    return count_of(document, operation, lambda node: node.alias is not None)


def count_of(document: DocumentNode, operation: OperationDefinitionNode, counts: Callable[[FieldNode], bool]) -> int:
    """Return how many fields count, a fragment's as often as it is spread."""
    walk = _Walk(document)

    def measure(selections: SelectionSetNode) -> int:
        count = 0
        for node in selections.selections:
            if isinstance(node, FieldNode):
                count += counts(node) + (measure(node.selection_set) if node.selection_set else 0)
            elif isinstance(node, InlineFragmentNode):
                count += measure(node.selection_set)
            elif isinstance(node, FragmentSpreadNode):
                count += walk.fragment("count", node.name.value, lambda body: measure(body.selection_set), 0)
        return count

    return measure(operation.selection_set)


def too_deep(depth: object = None) -> GraphQLError:
    """Return the error for a document that is nested too deeply."""
    return GraphQLError(
        f"the document is nested too deeply: at most {MAX_DEPTH} fields below each other are answered",
        extensions={"code": "too_deep", "limit": MAX_DEPTH} | ({} if depth is None else {"depth": depth}),
    )


class DepthRule(ASTValidationRule):
    """Refuses an operation that is nested too deeply."""

    def __init__(self, context: ASTValidationContext) -> None:
        super().__init__(context)
        for node in context.document.definitions:
            if isinstance(node, OperationDefinitionNode) and (found := depth_of(context.document, node)) > MAX_DEPTH:
                context.report_error(too_deep(found))
                return


class AliasRule(ASTValidationRule):
    """Refuses an operation with too many aliases."""

    def __init__(self, context: ASTValidationContext) -> None:
        super().__init__(context)
        for node in context.document.definitions:
            if not isinstance(node, OperationDefinitionNode):
                continue
            if (found := aliases_of(context.document, node)) > MAX_ALIASES:
                error = GraphQLError(
                    f"the document has too many aliases: at most {MAX_ALIASES} are answered",
                    extensions={"code": "too_many_aliases", "limit": MAX_ALIASES, "aliases": min(found, 2**53)},
                )
                context.report_error(error)
                return


class IntrospectionRule(ASTValidationRule):
    """Refuses an operation that asks for the schema, or for a type of it, more than once or with aliases."""

    def __init__(self, context: ASTValidationContext) -> None:
        super().__init__(context)
        for node in context.document.definitions:
            if not isinstance(node, OperationDefinitionNode):
                continue
            asked = [count_of(context.document, node, partial(_is_named, name)) for name in ("__schema", "__type")]
            if max(asked) > 1 or (any(asked) and aliases_of(context.document, node)):
                error = GraphQLError(
                    "`__schema` and `__type` are answered once each in a request without aliases",
                    extensions={"code": "too_costly", "limit": 1},
                )
                context.report_error(error)
                return


class CostRule:
    """The cost of one operation with its variables."""

    def __init__(
        self,
        schema: GraphQLSchema,
        document: DocumentNode,
        operation: OperationDefinitionNode,
        variables: Mapping[str, Any] | None,
    ) -> None:
        self._schema = schema
        self._document = document
        self._operation = operation
        self._defaults = {
            definition.variable.name.value: _whole(definition.default_value)
            for definition in operation.variable_definitions or ()
        }
        self._variables = variables or {}
        self._connections: dict[int, tuple[str, FieldNode]] = {}

    def nodes(self, sizes: Mapping[int, int] | None = None) -> int:
        """Return how many nodes the answer could hold; `sizes` takes the place of some connections' `first`."""
        root = self._schema.get_root_type(self._operation.operation)
        if root is None:
            return 0
        return self._measure(_Walk(self._document), self._operation.selection_set, root, "", sizes or {})

    def check(self) -> None:
        """Refuse an operation whose answer could be too long.

        Raises:
            GraphQLError: `too_costly`; it says which page sizes would be admitted.
        """
        cost = self.nodes()
        wrong = [
            (path, size)
            for path, node in self._connections.values()
            if not 1 <= (size := self._first(node)) <= MAX_PAGE
        ]
        if wrong:
            path, size = wrong[0]
            raise GraphQLError(
                f"`first` of {path} is {size}: a page holds 1 to {MAX_PAGE} nodes",
                extensions={"code": "invalid_input", "path": path, "first": size, "limit": MAX_PAGE},
            )
        if cost <= MAX_NODES:
            return
        admissible = self._admissible()
        hint = "; ".join(f"first: {item.admissible} in {item.path}" for item in admissible if item.admissible)
        raise GraphQLError(
            f"the answer could hold {min(cost, 2**53)} nodes, and at most {MAX_NODES} are answered at once"
            + (f". One of these would do: {hint}" if hint else ". Ask for it in several requests"),
            extensions={
                "code": "too_costly",
                "cost": min(cost, 2**53),
                "limit": MAX_NODES,
                "admissible": [msgspec.to_builtins(item) for item in admissible],
            },
        )

    def _admissible(self) -> list[Connection]:
        """Return, for the widest pages, the size with which the rest of the document would be admitted."""
        found = []
        for key, (path, node) in sorted(self._connections.items(), key=lambda item: -self._first(item[1][1]))[:5]:
            fixed = self.nodes({key: 0})
            each = self.nodes({key: 1}) - fixed
            room = (MAX_NODES - fixed) // each if each and fixed < MAX_NODES else 0
            found.append(Connection(path, self._first(node), min(room, MAX_PAGE)))
        return found

    def _measure(
        self, walk: _Walk, selections: SelectionSetNode, parent: GraphQLNamedType, path: str, sizes: Mapping[int, int]
    ) -> int:
        total = 0
        for node in selections.selections:
            if isinstance(node, FieldNode):
                total += self._field(walk, node, parent, path, sizes)
            elif isinstance(node, InlineFragmentNode):
                name = node.type_condition.name.value if node.type_condition else parent.name
                total += self._measure(walk, node.selection_set, self._type(name, parent), path, sizes)
            elif isinstance(node, FragmentSpreadNode):
                total += walk.fragment(
                    "cost",
                    node.name.value,
                    lambda body: self._measure(
                        walk,
                        body.selection_set,
                        self._type(body.type_condition.name.value, parent),
                        f"{path}...{body.name.value}.",
                        sizes,
                    ),
                    0,
                )
        return total

    def _field(
        self, walk: _Walk, node: FieldNode, parent: GraphQLNamedType, path: str, sizes: Mapping[int, int]
    ) -> int:
        fields: Mapping[str, GraphQLField] = getattr(parent, "fields", {})
        field = fields.get(node.name.value)
        if field is None or node.selection_set is None:
            return 0
        here = f"{path}{node.name.value}"
        target = get_named_type(field.type)
        below = self._measure(walk, node.selection_set, target, f"{here}.", sizes)
        if "first" in field.args:
            self._connections[id(node)] = (here, node)
            return sizes.get(id(node), self._first(node)) * (1 + below)
        marks = metadata(field)
        many = _is_list(field)
        weight: int = marks.get(WEIGHT, int(many or is_node(target)))
        size: int = marks.get(LIST_SIZE, DEFAULT_LIST_SIZE) if many else 1
        return size * (weight + below)

    def _first(self, node: FieldNode) -> int:
        for argument in node.arguments or ():
            if argument.name.value == "first":
                if isinstance(argument.value, VariableNode):
                    name = argument.value.name.value
                    given = self._variables.get(name, self._defaults.get(name))
                    # Anything but a whole number is refused before it is executed; it must not pass for little.
                    return given if isinstance(given, int) and not isinstance(given, bool) else MAX_PAGE
                size = _whole(argument.value)
                return MAX_PAGE if size is None else size
        return MAX_PAGE

    def _type(self, name: str, otherwise: GraphQLNamedType) -> GraphQLNamedType:
        return self._schema.get_type(name) or otherwise


def metadata(field: GraphQLField) -> Mapping[str, Any]:
    """Return what the field's declaration says about its cost."""
    found: Mapping[str, Any] = getattr(field.extensions.get("strawberry-definition"), "metadata", {})
    return found


def is_node(found: GraphQLNamedType) -> bool:
    """Tell whether a type stands for an object of the record."""
    if is_interface_type(found):
        return found.name == "Node" or any(item.name == "Node" for item in found.interfaces)
    if is_union_type(found):
        return any(is_node(item) for item in found.types)
    return is_object_type(found) and any(item.name == "Node" for item in found.interfaces)


def _is_named(name: str, node: FieldNode) -> bool:
    return node.name.value == name


def _is_list(field: GraphQLField) -> bool:
    kind: Any = field.type
    if is_non_null_type(kind):
        kind = kind.of_type
    return is_list_type(kind)


def _whole(value: object) -> int | None:
    if not isinstance(value, IntValueNode):
        return None
    # A literal as long as a document allows would take long to convert, and nothing above a page matters.
    return int(value.value) if len(value.value) <= 9 else (-1 if value.value.startswith("-") else 10**9)
