"""What stands around every operation: the limits before it runs, and discretion about what went wrong after."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final

from graphql import (
    ASTValidationRule,
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    ValueNode,
    validate,
)
from graphql.utilities import get_operation_ast
from strawberry.exceptions import StrawberryInputCoercionError
from strawberry.extensions import (
    AddValidationRules,
    MaskErrors,
    MaxTokensLimiter,
    ParserCache,
    SchemaExtension,
)
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

from quarterdeck_domain.errors import QuarterdeckError
from quarterdeck_graphql.limits import (
    MAX_TOKENS,
    MAX_VALIDATION_ERRORS,
    AliasRule,
    CostRule,
    DepthRule,
    IntrospectionRule,
    too_deep,
)
from quarterdeck_graphql.problems import graphql_error, masked

CACHED_DOCUMENTS: Final = 512
_MAX_MESSAGE: Final = 500


class CostLimiter(SchemaExtension):
    """Refuses an operation whose answer could hold too many nodes, before anything is resolved."""

    def on_execute(self) -> Iterator[None]:
        """Reckon the cost with the request's variables."""
        context = self.execution_context
        document = context.graphql_document
        if document is not None:
            if context._provided_operation_name is None and get_operation_ast(document) is None:
                raise GraphQLError(
                    "the document has several operations: name one with `operationName`",
                    extensions={"code": "invalid_request"},
                )
            operation: OperationDefinitionNode | None = get_operation_ast(document, context.operation_name)
            if operation is not None:
                CostRule(context.schema._schema, document, operation, context.variables).check()
        yield


class Validation(SchemaExtension):
    """Validates a document, once: a few errors of it, and no guesses at names, which cost more than all the rest."""

    def on_validate(self) -> Iterator[None]:
        """Find what is wrong with the document."""
        context = self.execution_context
        document = context.graphql_document
        if document is not None:
            found = _errors(context.schema._schema, document, tuple(context.validation_rules))
            context.pre_execution_errors = list(found)
        yield


@lru_cache(maxsize=CACHED_DOCUMENTS)
def _errors(
    schema: GraphQLSchema, document: DocumentNode, rules: tuple[type[ASTValidationRule], ...]
) -> tuple[GraphQLError, ...]:
    every = (*rules, MaybeNullValidationRule, OneOfInputValidationRule)
    return tuple(validate(schema, document, every, max_errors=MAX_VALIDATION_ERRORS, hide_suggestions=True))


class Discretion(MaskErrors):
    """Tells what the house raised on purpose and what the request itself got wrong; of anything else, only where."""

    def anonymise_error(self, error: GraphQLError) -> GraphQLError:
        """Return an error as it may leave."""
        return discreet(error)


def discreet(error: GraphQLError) -> GraphQLError:
    """Return an error as it may leave."""
    cause = _cause(error)
    if isinstance(cause, QuarterdeckError):
        return graphql_error(cause, error)
    if isinstance(cause, RecursionError):
        return too_deep()
    if error.extensions and "code" in error.extensions:
        return GraphQLError(error.message, nodes=error.nodes, path=error.path, extensions=error.extensions)
    if isinstance(cause, InvalidOperationTypeError | CannotGetOperationTypeError):
        return GraphQLError(
            "questions and commands go by POST, subscriptions by WebSocket; name one operation of the document",
            extensions={"code": "invalid_request"},
        )
    if isinstance(cause, GraphQLError) and any(isinstance(node, ValueNode) for node in cause.nodes or ()):
        # An argument's value, known only while running: null in a variable with a default, where none may be.
        return GraphQLError(
            without_suggestion(cause.message)[:_MAX_MESSAGE].replace("not to be None", "not to be null"),
            nodes=error.nodes,
            path=error.path,
            extensions={"code": "invalid_request"},
        )
    if error.path is None and isinstance(cause, ValueError | OverflowError):
        # Values too large for their type. The exception's own words are about Python.
        return GraphQLError(
            "a value in the request is not one of its type",
            nodes=error.nodes,
            extensions={"code": "invalid_request"},
        )
    if error.path is None and isinstance(cause, GraphQLError | StrawberryInputCoercionError | type(None)):
        return GraphQLError(
            without_suggestion(error.message)[:_MAX_MESSAGE],
            nodes=error.nodes,
            source=error.source,
            positions=error.positions,
            extensions={"code": "invalid_request"},
        )
    return masked(error)


def expected(error: GraphQLError) -> bool:
    """Tell whether an error is one that a caller can do something about: it needs no line in the operator's log."""
    return (discreet(error).extensions or {}).get("code") not in ("internal", "unavailable")


def without_suggestion(message: str) -> str:
    """Return a message without names that the asker did not know."""
    return message.split(" Did you mean", 1)[0]


def _cause(error: GraphQLError) -> Exception | None:
    cause: Exception | None = error.original_error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    return cause


def extensions(*, introspection: bool) -> list[Callable[[], SchemaExtension]]:
    """Return what every operation goes through, outermost first; a fresh set for each."""
    asked: type[ASTValidationRule] = IntrospectionRule if introspection else NoSchemaIntrospectionCustomRule
    rules: list[type[ASTValidationRule]] = [DepthRule, AliasRule, asked]
    return [
        Discretion,
        lambda: MaxTokensLimiter(max_token_count=MAX_TOKENS),
        lambda: AddValidationRules(rules),
        lambda: ParserCache(maxsize=CACHED_DOCUMENTS),
        Validation,
        CostLimiter,
    ]
